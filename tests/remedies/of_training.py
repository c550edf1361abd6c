"""What is said of trainings, and of what they left."""

import functools
import re
import shutil

import jax
import jax.numpy as jnp
import pytest

from vae_jax import (
    console,
    fitting,
    likelihoods,
    memory,
    sources,
)
from vae_jax.errors import UsageError
from vae_jax.evaluation import nll
from vae_jax.lab import config, metrics, pictures, sweep, train

from ._cases import SaidError, at, attempt, flags_of, tries
from .of_data import TABLE, saved
from .of_python import X, make

SMALL = {"widths": "4", "latent_dim": "2", "epochs": "1"}
TRAIN = "vae_jax/lab/train.py"


def trained(path, is_overwritten=False, **changes):
    """Trains runs that differ in numbers as one program, without pictures."""
    configs = sweep.make_configs({**SMALL, "workdir": str(path), **changes})
    return train.train(configs, workdir=path, overwrite=is_overwritten)


def undrawn(patch):
    """Leaves the pictures out, which take longer than such a training."""
    patch.setattr(pictures, "draw", lambda *_: [])
    patch.setattr(pictures, "draw_sweep", lambda *_: [])


def diverged(folder, patch, bad, choose, train=trained):
    """A training that diverges, then with what `choose` makes of the message, in both places."""
    undrawn(patch)
    message = yield attempt(train, folder / "a", **bad)
    for chosen in choose(message):
        yield attempt(train, folder / f"b-{'-'.join(chosen)}", **{**bad, **chosen})
        yield attempt(train, folder / "a", is_overwritten=True, **{**bad, **chosen})


@tries(at(TRAIN, "_check_pictures")("pictures show the first … test examples, give 0 to …"))
def an_example_of_a_traversal_that_no_picture_shows(folder, patch):
    def prepared(example):
        return train.prepare(sweep.make_configs({**SMALL, "traversal_example": str(example)}))

    message = yield attempt(prepared, 5000)
    last = int(message.rpartition(" ")[2])
    yield lambda: prepared(0)
    yield lambda: prepared(last)
    with pytest.raises(UsageError):
        prepared(last + 1)


@tries(at(TRAIN, "_check_pictures")("leave `snapshots` out, or give runs_per_program=1"))
def snapshots_of_several_runs(folder, patch):
    several = {**SMALL, "snapshots": "2", "seed": "0,1"}
    yield lambda: train.prepare(sweep.make_configs(several))
    yield lambda: train.prepare(sweep.make_configs({**SMALL, "seed": "0,1"}))
    for config_ in sweep.make_configs(several):
        yield lambda config_=config_: train.prepare([config_])


@tries(at(TRAIN, "_check_pictures")("has none: leave `snapshots` out"))
def snapshots_of_what_is_no_image(folder, patch):
    asked = {**SMALL, "dataset": str(saved(folder / "a.npy", TABLE))}
    yield lambda: train.prepare(sweep.make_configs({**asked, "snapshots": "2"}))
    yield lambda: train.prepare(sweep.make_configs(asked))


own = at("vae_jax/lab/divergence.py", "error")
TRY = own("…try …, with another `workdir` or `overwrite=True`")


@tries(TRY, is_slow=True)
def a_run_that_diverges(folder, patch):
    bad = {"learning_rate": "1e30"}
    yield from diverged(folder, patch, bad, lambda message: [flags_of(message)])


@tries(TRY, is_slow=True)
def a_run_that_diverges_by_another_rate(folder, patch):
    def choose(message):
        name = re.search(r"or a smaller `(\w+)`", message)[1]
        return [{name: "1e-4"}]

    bad = {"objective": "factor_vae", "discriminator_learning_rate": "1e30"}
    bad |= {"discriminator_width": "8", "discriminator_depth": "1"}
    yield from diverged(folder, patch, bad, choose)


@tries(TRY, is_slow=True)
def several_runs_that_diverge(folder, patch):
    def choose(message):
        assert "smaller values of `learning_rate`" in message
        return [{"learning_rate": "1e-3"}]

    yield from diverged(folder, patch, {"learning_rate": "1e30", "seed": "0,1"}, choose)


@tries(TRY, is_slow=True)
def a_first_loss_that_is_not_finite(folder, patch):
    def choose(message):
        assert "learning_rate=" not in message.partition("try ")[2]
        return [{re.search(r"or another `(\w+)`", message)[1]: "1"}]

    yield from diverged(folder, patch, {"beta": "1e38"}, choose)


@tries(TRY, is_slow=True)
def initial_weights_that_are_too_large(folder, patch):
    def choose(message):
        return [{re.search(r"try a smaller `(\w+)`", message)[1]: "1"}]

    yield from diverged(folder, patch, {"init_scale": "1e20"}, choose)


@tries(at(TRAIN, "_train_in")("the test loss is not finite at step …: try …"), is_slow=True)
def a_last_update_that_is_too_large(folder, patch):
    def choose(message):
        assert "try a smaller `learning_rate`" in message
        return [{"learning_rate": "1e-3"}]

    bad = {"batch_size": "1439", "learning_rate": "1e38"}
    yield from diverged(folder, patch, bad, choose)


def swept(path, is_overwritten=False, **changes):
    """Trains a sweep."""
    flags = {**SMALL, "workdir": str(path), **changes}
    plan = config.Plan(overwrite=is_overwritten, runs_per_program=1)
    return sweep.run(sweep.make_configs(flags), plan, [])


@tries(
    at("vae_jax/lab/sweep_results.py", "report")("try smaller values of `learning_rate`"),
    is_slow=True,
)
def a_sweep_that_diverges(folder, patch):
    def choose(message):
        return [{"learning_rate": "1e-3,1e-4"}]

    yield from diverged(folder, patch, {"learning_rate": "1e30,1e31"}, choose, swept)


LOST = at(TRAIN, "_told_complete")("`overwrite=True` trains again, or copy its checkpoints back")


def told(train, path, **options):
    """Raises what a training that is complete says of checkpoints that are lost."""
    lines, say = [], console.say
    console.say = lines.append
    try:
        train(path, **options)
    finally:
        console.say = say
    for line in lines:
        if "holds no checkpoint that verifies" in line:
            raise SaidError(line)


@tries(LOST, is_slow=True)
def a_complete_run_without_checkpoints(folder, patch):
    undrawn(patch)
    trained(folder / "a")
    (folder / "a" / "checkpoints").rename(folder / "checkpoints")
    message = yield attempt(told, trained, folder / "a")
    place = re.search(r"but (\S+) holds no checkpoint", message)[1]
    shutil.copytree(folder / "checkpoints", place)
    yield attempt(told, trained, folder / "a")
    shutil.rmtree(place)
    yield attempt(told, trained, folder / "a", is_overwritten=True)
    yield attempt(told, trained, folder / "a")


@tries(LOST, is_slow=True)
def a_complete_program_without_checkpoints(folder, patch):
    undrawn(patch)
    swept(folder / "a", seed="0,1")
    shutil.rmtree(next((folder / "a" / "programs").iterdir()) / "checkpoints")
    message = yield attempt(told, swept, folder / "a", seed="0,1")
    shutil.move(re.search(r"move (\S+) away", message)[1], folder / "away")
    yield attempt(told, swept, folder / "a", seed="0,1")
    yield attempt(told, swept, folder / "a", seed="0,1")


def fitted(objective=None, **changes):
    """Trains in memory."""
    given = {"learning_rate": 1e-3, **(objective or {}), **changes}
    return fitting.fit("beta_vae", make(), X, epochs=2, batch_size=20, **given)


own = at("vae_jax/fitting.py", "_refuse_failure")


@tries(own("loss, gradient or update not finite at step …: try …"), is_slow=True)
def a_fit_that_diverges(folder, patch):
    message = yield attempt(fitted, learning_rate=jnp.float32(1e30))
    assert message.endswith("try a smaller learning_rate")
    yield attempt(fitted, learning_rate=jnp.float32(1e-2))


@tries(own("loss, gradient or update not finite at step …: try …"), is_slow=True)
def a_fit_whose_first_loss_is_not_finite(folder, patch):
    message = yield attempt(fitted, {"beta": jnp.float32(1e38)}, init_scale=jnp.float32(10))
    assert "learning_rate" not in message
    yield attempt(fitted, {re.search(r"or another (\w+)", message)[1]: jnp.float32(1)})


@tries(own("loss, gradient or update not finite at step …: try …"), is_slow=True)
def initial_weights_of_a_fit_that_are_too_large(folder, patch):
    message = yield attempt(fitted, init_scale=jnp.float32(1e20))
    scale = float(re.search(r"try init_scale=(\S+)", message)[1])
    yield attempt(fitted, init_scale=jnp.float32(scale))


@tries(at("vae_jax/lab/metrics.py", "notes")("give a larger `nll_num_samples`"), is_slow=True)
def too_few_samples_that_count(folder, patch):
    model = make(likelihoods.Gaussian(0.5))
    params, key = jax.jit(model.init)(jax.random.key(0)), jax.random.key(1)

    def measured(num_samples):
        own = {"preprocess": sources.undecoded, "num_samples": num_samples}
        found = nll.evaluate(model, params, X, key, **own)
        values = {"num_samples": num_samples, "effective_samples": float(found.effective_samples)}
        subject = type("Subject", (), {"conditions": None, "model": model})
        for note in metrics.notes("nll", values, subject):
            raise SaidError(note)

    yield functools.partial(measured, 2)
    yield functools.partial(measured, 500)


@tries(
    at("vae_jax/data/_dataset.py", "other_content")("name the folder of those by `data_dir`"),
    is_slow=True,
)
def other_data_than_those_of_training(folder, patch):
    undrawn(patch)
    place = saved(folder / "new" / "x.npy", TABLE)
    trained(folder / "a", dataset=str(place))
    shutil.copytree(folder / "new", folder / "old")
    saved(place, -TABLE)
    yield attempt(metrics.load, folder / "a", 0)
    yield attempt(metrics.load, folder / "a", 0, str(folder / "old"))


# --- More memory than there is


def needs(**flags):
    """Refuses a training by what it needs beside what this process has in use."""
    experiment = train.prepare(sweep.make_configs({**SMALL, **flags}))
    footprint = experiment.footprint()._replace(used=0, peak=0)
    footprint.refuse(len(experiment.configs))
    return footprint


@tries(
    at("vae_jax/lab/build.py", "Footprint", "refuse")(
        "give a smaller `batch_size`, narrower `widths`…, or set … to more GiB if there is more"
    ),
    is_slow=True,
)
def a_training_that_needs_more_memory_than_there_is(folder, patch):
    wide = {"widths": "64", "batch_size": "1000", "seed": "0,1"}
    least = needs(**{**wide, "batch_size": "20"}).total
    patch.setattr(memory, "_system_bytes", lambda: least + 2**16)
    message = yield attempt(needs, **wide)
    assert "fewer `runs_per_program`" in message
    yield attempt(needs, **{**wide, "batch_size": "20"})
    yield attempt(needs, **{**wide, "widths": "2", "batch_size": "20"})
    variable = re.search(r"set (\w+) to more GiB", message)[1]
    patch.setenv(variable, "8")
    yield attempt(needs, **wide)
