"""What is said of flags, alone and together, and of flags that do not fit the data."""

import re

import jax
import numpy as np

from vae_jax import networks, schedules
from vae_jax.lab import config, sweep, train
from vae_jax.lab import rows as rows_lib
from vae_jax.lab.executors import kubernetes, local, slurm

from ._cases import at, attempt, flags_of, tries
from .of_data import PICTURES, RNG, TABLE, archive, csv, draw, rows, saved

CONFIG = "vae_jax/lab/config.py"
SMALL = {"widths": "4", "latent_dim": "2", "epochs": "1"}
UNIT = RNG.random((40, 6))


def prepare(given, **changes):
    """A program as it is before anything is compiled; a flag of None is not given."""
    flags = {**SMALL, **given, **changes}
    return train.prepare([config.from_flags({n: v for n, v in flags.items() if v is not None})])


def trace(given, **changes):
    """The same, with its initial values and its loss traced."""
    program, key = prepare(given, **changes), jax.random.key(0)
    rows = program.rows("train")
    rows = rows if isinstance(rows, dict) else {"x": rows}
    batch = {name: np.asarray(values[:4]) for name, values in rows.items()}
    batch |= {"x": program.preprocess(batch["x"], key), "mask": np.ones(4, np.float32)}
    first = jax.tree.map(lambda leaf: leaf[0], program.hparams.objective)
    settings = schedules.evaluate(first, np.int32(0))

    def loss(params):
        return program.loss_fn(program.model, params, batch, key, **settings)

    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), program.state_shape.params
    )
    return jax.eval_shape(loss, shapes)


def words_after(head, message, parting=", | or "):
    """The words that a message lists after others."""
    return re.split(parting, re.search(rf"{head}([\w, ]+?)(?:, or |[:;(]|$)", message)[1])


def text(folder):
    """Lines of several lengths."""
    return str(csv(folder / "a.txt", "one\ntwo\nthree\nfour\nfive\n"))


def series(folder, labels=None):
    """Series of several lengths."""
    x = TABLE.copy()
    x[::2, 2:] = np.nan
    own = {} if labels is None else {"y": labels}
    return str(archive(folder / "series.npz", series=x, **own))


def table(folder):
    """A table of real numbers."""
    return str(saved(folder / "a.npy", TABLE))


# --- Flags alone, and together

own = at("vae_jax/lab/parsers.py", "choice", "parse")


@tries(own("unknown…, choose from"))
def a_word_that_is_none_of_those_known(folder, patch):
    message = yield attempt(config.from_flags, {"network": "mpl"})
    named = re.search(r"choose from (.*)$", message)[1].split(", ")
    for name in named:
        yield attempt(config.from_flags, {"network": name})
    yield attempt(config.from_flags, {"network": re.search(r"did you mean (\w+)", message)[1]})


own = at(CONFIG, "plan_from_flags")


@tries(own("…=…: give executor=… too"))
def settings_of_slurm_without_it(folder, patch):
    given = {"slurm": "time=5"}
    message = yield attempt(config.plan_from_flags, given)
    yield attempt(config.plan_from_flags, {**given, "executor": flags_of(message)["executor"]})


@tries(own("num_workers=…: give executor=local too"))
def workers_without_an_executor(folder, patch):
    given = {"num_workers": "2"}
    message = yield attempt(config.plan_from_flags, given)
    yield attempt(config.plan_from_flags, {**given, "executor": flags_of(message)["executor"]})


own = at(CONFIG, "_check_together")


@tries(own("is several trainings whose losses do not compare: leave it"))
def patience_of_several_trainings(folder, patch):
    given = {"objective": "stacked", "patience": "3"}
    yield attempt(config.from_flags, given)
    yield attempt(config.from_flags, {"objective": "stacked"})


@tries(own("has none, give optimizer=adamw"))
def a_weight_decay_without_its_optimizer(folder, patch):
    message = yield attempt(config.from_flags, {"weight_decay": "0.1"})
    yield attempt(config.from_flags, flags_of(message))


@tries(own("…: … has none, give optimizer=adam"))
def a_moment_of_adam_without_its_optimizer(folder, patch):
    given = {"optimizer": "sgd", "adam_b1": "0.8"}
    message = yield attempt(config.from_flags, given)
    yield attempt(config.from_flags, {**given, **flags_of(message)})


@tries(own("counts rows from window to window, give `window` too"))
def a_hop_flag_without_a_window(folder, patch):
    yield attempt(config.from_flags, {"hop": "2"})
    yield attempt(config.from_flags, {"hop": "2", "window": "4"})


@tries(own("network=linear has no hidden layers: leave `widths` and `activation`"))
def widths_of_no_hidden_layers(folder, patch):
    given = {"network": "linear", "widths": "4", "activation": "relu"}
    message = yield attempt(config.from_flags, given)
    left = re.findall(r"`(\w+)`", message.partition("leave")[2])
    kept = {name: value for name, value in given.items() if name not in left}
    yield attempt(config.from_flags, kept)


own = at("vae_jax/lab/resolved.py", "complete")


@tries(own("examples, give at most that"))
def a_batch_larger_than_the_split(folder, patch):
    given = {"dataset": table(folder)}
    message = yield attempt(prepare, given, batch_size="25")
    yield attempt(prepare, given, batch_size=re.search(r"has (\d+) examples", message)[1])


@tries(own("which always become 0 to 1: leave the flag out"))
def a_scaling_of_levels(folder, patch):
    yield attempt(prepare, {"scaling": "unit"})
    yield attempt(prepare, {})


@tries(at("vae_jax/assembly.py", "binarization")(", leave it out"))
def a_binarization_of_binary_data(folder, patch):
    given = {"dataset": str(saved(folder / "a.npy", TABLE > 0))}
    yield attempt(prepare, given, binarization="soft")
    yield attempt(prepare, given)


@tries(at("vae_jax/assembly.py", "binarization")(", leave it out"))
def a_binarization_for_another_likelihood(folder, patch):
    yield attempt(prepare, {"likelihood": "gaussian"}, binarization="soft")
    yield attempt(prepare, {"likelihood": "gaussian"})


# --- Likelihoods

own = at("vae_jax/data/_dataset.py", "check")


@tries(own("likelihood=…"))
def another_likelihood_for_text(folder, patch):
    given = {"dataset": text(folder), "network": "gru", "widths": "4"}
    message = yield attempt(prepare, given, likelihood="bernoulli")
    told = message.partition("take ")[2]
    yield attempt(prepare, given, **flags_of(told))


@tries(own("store the data as …, or take"))
def levels_of_real_pictures(folder, patch):
    x = UNIT.reshape(40, 3, 2)
    given = {"dataset": str(saved(folder / "a.npy", x))}
    message = yield attempt(prepare, given, likelihood="categorical")
    stored = getattr(np, re.search(r"store the data as (\w+)", message)[1])
    yield attempt(prepare, given, **flags_of(message.partition("store")[2]))
    for kept in ((x > 0.5).astype(stored), (255 * x).astype(stored)):
        saved(folder / "a.npy", kept)
        yield attempt(prepare, given, likelihood="categorical")


@tries(own("store the data as …, or take"))
def levels_of_a_real_table(folder, patch):
    given = {"dataset": table(folder)}
    message = yield attempt(prepare, given, likelihood="categorical")
    assert "store the data as 0 and 1 alone" in message
    yield attempt(prepare, given, **flags_of(message.partition("store")[2]))
    saved(folder / "a.npy", np.where(TABLE > 0, 1.0, 0.0))
    yield attempt(prepare, given, likelihood="categorical")


own = at("vae_jax/data/_dataset.py")


@tries(own("rescale them with"))
def probabilities_of_real_numbers(folder, patch):
    given = {"dataset": table(folder), "likelihood": "bernoulli"}
    message = yield attempt(prepare, given)
    remedies = flags_of(message.partition("rescale")[2])
    assert len(remedies) == 2
    for name, value in remedies.items():
        yield attempt(prepare, given, **{name: value})


@tries(own("rescale them with"))
def probabilities_of_what_no_likelihood_fits(folder, patch):
    given = {"dataset": str(saved(folder / "a.npy", 1e20 * TABLE)), "likelihood": "bernoulli"}
    message = yield attempt(prepare, given, scaling="none")
    assert "gaussian" not in message
    yield attempt(prepare, given, **flags_of(message.partition("rescale")[2]))


own = at("vae_jax/likelihoods/__init__.py", "make")


@tries(own("has no variance: leave it out"), own(", or take gaussian"))
def a_variance_of_no_likelihood_with_one(folder, patch):
    message = yield attempt(prepare, {"variance": "0.1", "likelihood": "bernoulli"})
    yield attempt(prepare, {"likelihood": "bernoulli"})
    other = re.search(r"or take (\w+)", message)[1]
    yield attempt(prepare, {"variance": "0.1", "likelihood": other})


@tries(own("has no variance: leave it out"))
def a_variance_of_text(folder, patch):
    given = {"dataset": text(folder), "network": "gru"}
    message = yield attempt(prepare, given, variance="0.1")
    assert "gaussian" not in message
    yield attempt(prepare, given)


@tries(own("must be at most …; take logistic or gaussian"))
def an_output_for_each_of_many_levels(folder, patch):
    x = 257 * PICTURES.astype(np.uint16)
    given = {"dataset": str(saved(folder / "a.npy", x))}
    message = yield attempt(prepare, given, likelihood="categorical")
    for name in words_after("take ", message):
        yield attempt(prepare, given, likelihood=name)


@tries(at("vae_jax/likelihoods/gaussian.py", "Gaussian", "__post_init__")("variance=learned"))
def a_variance_of_each_batch_of_several_lengths(folder, patch):
    given = {"dataset": series(folder), "network": "gru"}
    message = yield attempt(prepare, given, variance="optimal")
    yield attempt(prepare, given, variance=re.search(r"take variance=(\w+)", message)[1])


# --- Networks

own = at("vae_jax/assembly.py", "_model")


@tries(own("network=…"))
def networks_for_examples_of_several_lengths(folder, patch):
    message = yield attempt(prepare, {"dataset": text(folder)})
    for name in words_after("take network=", message):
        yield attempt(prepare, {"dataset": text(folder)}, network=name)


own = at("vae_jax/networks/_halving.py", "check")


@tries(own("needs images [H, W, C], the data has …: take mlp, or gru for sequences"))
def convolutions_of_what_is_no_image(folder, patch):
    message = yield attempt(prepare, {"dataset": table(folder)}, network="conv")
    dense, recurrent = re.search(r"take (\w+), or (\w+) for sequences", message).groups()
    yield attempt(prepare, {"dataset": table(folder)}, network=dense)
    for sequences in (text(folder), series(folder)):
        yield attempt(prepare, {"dataset": sequences}, network=recurrent)


@tries(at("vae_jax/networks/__init__.py", "build")("has no teacher, take …, or leave it out"))
def a_teacher_of_no_recurrent_network(folder, patch):
    message = yield attempt(prepare, {"teacher_dropout": "0.5"})
    for name in words_after("take ", message):
        yield attempt(prepare, {"teacher_dropout": "0.5"}, network=name)
    yield attempt(prepare, {})


@tries(at("vae_jax/networks/cascade.py", "CascadeEncoder", "__call__")("give network=mlp"))
def a_condition_of_a_cascade(folder, patch):
    given = {"objective": "cvae", "network": "cascade"}
    message = yield lambda: prepare(given).state_shape
    yield lambda: prepare(given, **flags_of(message)).state_shape


own = at("vae_jax/networks/_recurrent.py", "_build")


@tries(own("has its cell's activations: leave `activation`"))
def an_activation_of_a_recurrent_network(folder, patch):
    yield attempt(prepare, {"network": "gru", "activation": "relu"})
    yield attempt(prepare, {"network": "gru"})


@tries(at("vae_jax/networks/linear.py", "build")("leave `widths` and `activation`"))
def widths_of_a_linear_network_from_python(folder, patch):
    shape = {"shape": (6,), "latent_dim": 2}
    yield attempt(networks.build, "linear", **shape, widths=(4,), activation="relu")
    yield attempt(networks.build, "linear", **shape)


# --- Codes

own = at("vae_jax/latents.py", "_check_groups")


@tries(own("give latent_dim=…, or another …"))
def a_code_that_is_no_multiple(folder, patch):
    given = {"objective": "vq_vae", "code_dim": "4"}
    message = yield attempt(prepare, given, latent_dim="7")
    told, other = re.search(r"give latent_dim=(\d+), or another (\w+)", message).groups()
    yield attempt(prepare, given, latent_dim=told)
    yield attempt(prepare, given, **{"latent_dim": "7", other: "7"})


@tries(at("vae_jax/latents.py", "Joint", "check")("the rest is continuous: give latent_dim=…"))
def a_joint_code_without_room(folder, patch):
    message = yield attempt(prepare, {"objective": "joint_vae", "latent_dim": "10"})
    told = re.search(r"give latent_dim=(\d+)", message)[1]
    yield attempt(prepare, {"objective": "joint_vae", "latent_dim": told})


# --- Objectives

own = at("vae_jax/objectives/_layers.py", "_pairs")


@tries(own("of x without missing numbers: give objective=autoencoder"))
def layers_of_examples_of_several_lengths(folder, patch):
    given = {"dataset": text(folder), "network": "gru", "objective": "stacked"}
    message = yield attempt(trace, given)
    yield attempt(trace, given, **flags_of(message))


@tries(own("of network …, the model has"))
def layers_of_convolutions(folder, patch):
    given = {"network": "conv", "objective": "stacked"}
    message = yield attempt(trace, given)
    for name, value in flags_of(message).items():
        yield attempt(trace, given, **{name: value})


@tries(own("with kernels of their own: leave tied out, or give objective="))
def layers_of_tied_kernels(folder, patch):
    given = {"tied": True, "objective": "stacked"}
    message = yield attempt(trace, given)
    yield attempt(trace, {"objective": "stacked"})
    yield attempt(trace, given, **flags_of(message))


@tries(at("vae_jax/networks/__init__.py", "build")("has no layers to share"))
def a_network_without_layers_to_tie(folder, patch):
    given = {"tied": True, "network": "conv"}
    message = yield attempt(trace, given)
    for network in re.search(r"take (.*), or leave", message)[1].replace(" or ", ", ").split(", "):
        own = {"widths": None} if network == "linear" else {}
        yield attempt(trace, given, network=network, **own)
    yield attempt(trace, {"network": "conv"})


@tries(at("vae_jax/model.py", "Model._without_kernels")("or leave tied out"))
def tied_layers_of_several_outputs(folder, patch):
    given = {"tied": True, "likelihood": "logistic_mixture"}
    message = yield attempt(trace, given)
    yield attempt(trace, given, likelihood=re.search(r"likelihood='(\w+)'", message)[1])
    yield attempt(trace, {"likelihood": "logistic_mixture"})


own = at("vae_jax/objectives/_layers.py", "_units")


@tries(own("x must be of Bernoulli units"))
def machines_of_real_numbers(folder, patch):
    given = {"objective": "stacked", "pretraining": "rbm", "dataset": table(folder)}
    message = yield attempt(trace, given)
    remedies = flags_of(message.partition("give ")[2])
    yield attempt(trace, given, pretraining=remedies.pop("pretraining"))
    yield attempt(trace, given, **remedies)


@tries(own("give activation=sigmoid or tanh, or pretraining=denoising"), is_slow=True)
def machines_of_other_activations(folder, patch):
    given = {"objective": "stacked", "pretraining": "rbm", "likelihood": "bernoulli"}
    given["activation"] = "relu"
    message = yield attempt(trace, given)
    for name in words_after("activation=", message):
        yield attempt(trace, given, activation=name)
    yield attempt(trace, given, pretraining=flags_of(message)["pretraining"])


@tries(
    at("vae_jax/objectives/_layers.py", "by_layer")("stages of network cascade are"), is_slow=True
)
def stages_that_are_no_machines(folder, patch):
    given = {"objective": "stacked", "pretraining": "denoising", "network": "cascade"}
    message = yield attempt(trace, given)
    for name in words_after("give pretraining=", message):
        yield attempt(trace, given, pretraining=name)
    yield attempt(trace, given, network=flags_of(message)["network"])


@tries(at("vae_jax/objectives/_deterministic.py", "require_numbers")("take objective="))
def an_objective_of_numbers_on_text(folder, patch):
    given = {"dataset": text(folder), "network": "gru"}
    message = yield attempt(trace, given, objective="denoising")
    yield attempt(trace, given, **flags_of(message))
    yield attempt(trace, given, objective="beta_vae")


@tries(at("vae_jax/objectives/_surrogate.py", "require_numbers")("take objective=beta_vae"))
def a_reconstruction_that_is_not_of_the_code_alone(folder, patch):
    given = {"network": "pixel", "widths": "4,4", "likelihood": "bernoulli"}
    message = yield attempt(trace, given, objective="vae_gan")
    yield attempt(trace, given, **flags_of(message))


@tries(at("vae_jax/objectives/ms_ssim.py", "_sizes")("needs images [H, W, C], x has shape …"))
def a_similarity_of_no_images(folder, patch):
    given = {"dataset": table(folder)}
    message = yield attempt(trace, given, objective="ms_ssim")
    yield attempt(trace, given, **flags_of(message))


@tries(at("vae_jax/corruptions.py", "_require_images")("take gaussian, masking or salt_and_pepper"))
def a_corruption_of_images_alone(folder, patch):
    given = {"dataset": table(folder), "objective": "denoising"}
    message = yield attempt(trace, given, corruption="patch")
    for name in words_after("take ", message):
        yield attempt(trace, given, corruption=name)


own = at("vae_jax/objectives/_conditions.py", "conditions")


@tries(own("leave them out, or take objective=m2"))
def conditions_of_rows_without_a_label(folder, patch):
    labels = np.where(np.arange(30) % 5 == 0, -1, np.arange(30) % 3)
    given = {"dataset": str(archive(folder / "a.npz", x=TABLE, y=labels))}
    message = yield attempt(prepare, given, objective="cvae", condition="labels")
    yield attempt(prepare, given, **flags_of(message.partition("leave")[2]))
    archive(folder / "a.npz", x=TABLE[labels >= 0], y=labels[labels >= 0])
    yield attempt(prepare, given, objective="cvae", condition="labels")


own = at("vae_jax/objectives/_conditions.py", "_numbers")


@tries(own("an .npz file with an array [N, C] under the key condition"))
def conditions_of_an_array_that_is_not_there(folder, patch):
    labels = np.arange(30) % 3
    given = {"objective": "cvae", "dataset": str(archive(folder / "a.npz", x=TABLE, y=labels))}
    message = yield attempt(prepare, given, condition="array")
    yield attempt(prepare, given, **flags_of(message.partition("give")[2]))
    archive(folder / "a.npz", x=TABLE, condition=TABLE)
    yield attempt(prepare, given, condition="array")


@tries(own("an .npz file with an array [N, C] under the key condition"))
def conditions_of_an_array_without_labels(folder, patch):
    given = {"objective": "cvae", "dataset": table(folder), "condition": "array"}
    message = yield attempt(prepare, given)
    assert "labels" not in message
    path = str(archive(folder / "a.npz", x=TABLE, condition=TABLE))
    yield attempt(prepare, given, dataset=path)


@tries(own("has no factors: give …dataset=sprites"))
def conditions_of_factors_that_are_not_there(folder, patch):
    given = {"objective": "cvae", "condition": "factors"}
    message = yield attempt(prepare, given)
    for name, value in flags_of(message.partition("give")[2]).items():
        yield attempt(prepare, given, **{name: value})


@tries(at("vae_jax/objectives/_conditions.py", "classes")("give a dataset that has some"))
def labels_that_are_not_there(folder, patch):
    labels = np.arange(30) % 3
    message = yield attempt(prepare, {"objective": "cvae", "dataset": table(folder)})
    key = re.search(r"an \.npz file with the key (\w+)", message)[1]
    path = archive(folder / "a.npz", **{"x": TABLE, key: labels})
    yield attempt(prepare, {"objective": "cvae", "dataset": str(path)})
    column = re.search(r"a table with a column (\w+)", message)[1]
    path = csv(folder / "a.csv", rows({"a": TABLE[:, 0], "b": TABLE[:, 1], column: labels}))
    yield attempt(prepare, {"objective": "cvae", "dataset": str(path)})
    draw(folder / "pictures" / "cat", PICTURES)
    draw(folder / "pictures" / "dog", PICTURES)
    yield attempt(prepare, {"objective": "cvae", "dataset": str(folder / "pictures")})


@tries(at("vae_jax/objectives/dbn.py", "conditions")("give num_classes=…"))
def another_number_of_classes(folder, patch):
    labels = np.arange(30) % 3
    given = {"objective": "dbn", "dataset": str(archive(folder / "a.npz", x=TABLE, y=labels))}
    message = yield attempt(prepare, given)
    yield attempt(prepare, given, **flags_of(message.partition("give")[2]))


own = at("vae_jax/objectives/m2.py", "conditions")


@tries(own("give at least …, at most …"))
def more_labels_than_there_are(folder, patch):
    labels = np.arange(30) % 3
    given = {"objective": "m2", "dataset": str(archive(folder / "a.npz", x=TABLE, y=labels))}
    message = yield attempt(prepare, given, num_labeled="200")
    for number in re.search(r"give at least (\d+), at most (\d+)", message).groups():
        yield attempt(prepare, given, num_labeled=number)


@tries(own("label at least … of its rows"))
def fewer_labels_than_classes(folder, patch):
    labels = np.where(np.arange(30) < 2, np.arange(30), -1)
    path = folder / "a.npz"
    parts = {"x_train": TABLE, "x_valid": TABLE, "x_test": TABLE, "y_valid": np.arange(30) % 3}
    archive(path, **parts, y_train=labels, y_test=np.arange(30) % 3)
    given = {"objective": "m2", "dataset": str(path), "num_labeled": "3"}
    message = yield attempt(prepare, given)
    least = int(re.search(r"label at least (\d+)", message)[1])
    labels[:least] = np.arange(least)
    archive(path, **parts, y_train=labels, y_test=np.arange(30) % 3)
    yield attempt(prepare, given)


@tries(at("vae_jax/objectives/m2.py", "init")("take cvae, of rows that all have a label"))
def a_classifier_of_several_lengths(folder, patch):
    given = {"dataset": series(folder, np.arange(30) % 3), "network": "gru", "num_labeled": "9"}
    message = yield attempt(trace, given, objective="m2")
    other = re.search(r"take (\w+)", message)[1]
    yield attempt(trace, given, objective=other, num_labeled=None)


# --- Sweeps

own = at("vae_jax/lab/expansion.py", "expand")


@tries(own("at most … in one sweep, split it"))
def too_many_runs(folder, patch):
    patch.setattr(rows_lib, "MAX_RUNS", 4)
    message = yield attempt(sweep.make_configs, {"seed": "0,1,2", "beta": "1,2"})
    most = int(re.search(r"at most (\d+)", message)[1])
    for beta in "12":
        seeds = ",".join(map(str, range(min(3, most))))
        yield attempt(sweep.make_configs, {"seed": seeds, "beta": beta})


@tries(at("vae_jax/lab/expansion.py", "split")("holds an empty value, give one after each comma"))
def an_empty_value_in_a_list(folder, patch):
    yield attempt(sweep.make_configs, {"seed": "1,,2"})
    yield attempt(sweep.make_configs, {"seed": "1,3,2"})


own = at("vae_jax/lab/rows.py", "read_rows")


def of_file(folder, lines, **values):
    """The runs of `sweep`."""
    return sweep.make_configs(values, str(csv(folder / "runs.csv", "\n".join(lines))))


@tries(own("holds no runs: give a row for each"))
def a_file_without_runs(folder, patch):
    yield attempt(of_file, folder, ["beta"])
    yield attempt(of_file, folder, ["beta", "1"])


@tries(own("row 1 sets no flag, name at least one (its value may be empty)"))
def a_row_without_a_flag(folder, patch):
    path = csv(folder / "runs.json", "[{}]")
    yield attempt(sweep.make_configs, {}, str(path))
    csv(path, '[{"beta": ""}]')
    yield attempt(sweep.make_configs, {}, str(path))


@tries(at("vae_jax/lab/rows.py", "_csv_rows")("has more than … runs, split it"))
def a_file_of_too_many_runs(folder, patch):
    patch.setattr(rows_lib, "MAX_RUNS", 4)
    yield attempt(of_file, folder, ["beta", *"12345"])
    yield attempt(of_file, folder, ["beta", *"123"])
    yield attempt(of_file, folder, ["beta", *"45"])


@tries(at("vae_jax/lab/rows.py", "_csv_rows")("put values with commas in double quotes"))
def a_cell_with_commas(folder, patch):
    yield attempt(of_file, folder, ["widths,seed", "16,8,0"])
    yield attempt(of_file, folder, ["widths,seed", '"16,8",0'])


@tries(own("sets … twice, give it once"))
def a_flag_that_a_file_sets_twice(folder, patch):
    yield attempt(of_file, folder, ["beta,beta", "1,2"])
    yield attempt(of_file, folder, ["beta", "1"])


@tries(own("sets it too, give it in one place"))
def a_flag_beside_a_file_that_sets_it(folder, patch):
    yield attempt(of_file, folder, ["beta", "1"], beta="2")
    yield attempt(of_file, folder, ["beta", "1"])
    yield attempt(of_file, folder, ["seed", "1"], beta="2")


@tries(own("give the same flags in each"))
def rows_of_other_flags(folder, patch):
    path = csv(folder / "runs.json", '[{"beta": 1}, {"seed": 1}]')
    yield attempt(sweep.make_configs, {}, str(path))
    csv(path, '[{"beta": 1, "seed": 0}, {"beta": 2, "seed": 1}]')
    yield attempt(sweep.make_configs, {}, str(path))


@tries(at("vae_jax/lab/expansion.py", "make_configs")("are the same (…): give each value once"))
def a_value_that_stands_twice(folder, patch):
    yield attempt(sweep.make_configs, {"seed": "0,1,0"})
    yield attempt(sweep.make_configs, {"seed": "0,1"})


own = at("vae_jax/lab/executors/slurm.py", "_values")


@tries(own("is chosen by the sweep itself: leave it out"))
def a_setting_of_slurm_that_is_not_the_users(folder, patch):
    yield attempt(slurm.parse, "time=5,array=3")
    yield attempt(slurm.parse, "time=5")


own = at("vae_jax/lab/executors/_task.py", "pairs")


@tries(own("is unknown…: give it as in …"))
def a_setting_of_slurm_that_is_unknown(folder, patch):
    message = yield attempt(slurm.parse, "partitoin=gpu")
    yield attempt(slurm.parse, message.partition("give it as in ")[2])
    yield attempt(slurm.parse, re.search(r"did you mean (\w+)", message)[1] + "=gpu")


@tries(own("a quote is not closed: give it as in …"))
def a_quote_of_slurm_that_is_open(folder, patch):
    message = yield attempt(slurm.parse, "setup='module load cuda")
    yield attempt(slurm.parse, message.partition("give it as in ")[2])


own = at("vae_jax/lab/executors/kubernetes.py", "parse")


@tries(own("names no image: give …, for example"))
def an_image_that_is_not_named(folder, patch):
    message = yield attempt(kubernetes.parse, "cpus=2")
    yield attempt(kubernetes.parse, message.partition(": give ")[2].removesuffix(", for example"))


@tries(own("claim and mount go together: give …, for example"))
def a_claim_without_a_mount(folder, patch):
    message = yield attempt(kubernetes.parse, "image=a,claim=b")
    yield attempt(kubernetes.parse, message.partition(": give ")[2].removesuffix(", for example"))


@tries(at("vae_jax/lab/executors/kubernetes.py", "_read")("cannot be read: move it away"))
def a_damaged_record_of_a_job(folder, patch):
    path = csv(folder / "kubernetes.json", "7")
    yield attempt(kubernetes.recorded, [], folder)
    path.rename(folder / "away.json")
    yield attempt(kubernetes.recorded, [], folder)


own = at("vae_jax/lab/executors/slurm.py", "_check_time")


@tries(own("the signal to save would come before a step: give at least time=…"))
def a_time_of_slurm_that_is_too_short(folder, patch):
    message = yield attempt(slurm.parse, "time=2,signal_delay_s=300")
    yield attempt(slurm.parse, message.partition("give at least ")[2] + ",signal_delay_s=300")


own = at("vae_jax/lab/executors/slurm.py", "_check_folder")


@tries(own("SLURM reads % and \\ in a path in its own way: choose another"))
def a_folder_that_slurm_misreads(folder, patch):
    yield attempt(slurm.preview, [], folder / "50%", slurm.parse(""))
    yield attempt(slurm.preview, [], folder / "half", slurm.parse(""))


@tries(at("vae_jax/lab/executors/slurm.py", "_read")("cannot be read (…): move it away"))
def damaged_records_of_jobs(folder, patch):
    path = csv(folder / "jobs.json", "7")
    yield attempt(slurm.jobs, folder)
    path.rename(folder / "away.json")
    yield attempt(slurm.jobs, folder)


@tries(
    at("vae_jax/lab/executors/_task.py", "storing")(
        "cannot be written (…): choose another `workdir`"
    )
)
def a_sweep_that_cannot_be_written(folder, patch):
    csv(folder / "file")
    yield attempt(local.run_local, [], folder / "file", num_workers=1)
    yield attempt(local.run_local, [], folder / "other", num_workers=1)
