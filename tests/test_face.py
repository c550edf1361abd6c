"""The face: `make_model`, `fit`, `load`, `evaluate`, and what a notebook shows of them."""

import dataclasses
import pathlib
import re

import jax
import numpy as np
import optax
import pytest

import vae_jax
from vae_jax import keeping, latents, likelihoods, objectives, schedules
from vae_jax.errors import DataError, DivergedError, UsageError
from vae_jax.lab import config, pictures, train
from vae_jax.storage import exported, members

pytestmark = pytest.mark.usefixtures("traced_once")

SWEEP = pathlib.Path(__file__).parent / "fixtures" / "schema2" / "sweep"
SMALL = {"latent_dim": 3, "widths": (4,)}
MOST_SHOWN = 2000
"""Characters that a cell of a notebook may be shown, a count."""


@pytest.fixture(scope="module", autouse=True)
def strict():
    """What a test sets aside for itself comes back for the next."""
    before = jax.config.jax_default_matmul_precision
    yield
    jax.config.update("jax_default_matmul_precision", before)


@pytest.fixture(scope="module")
def digits():
    return vae_jax.data.load("digits")


def on_the_command_line(path, **flags):
    """The run that the command line trains in a directory, read by `load`; without pictures."""
    given = {"widths": "4", "latent_dim": "3", "epochs": "3", **flags}
    draw, pictures.draw = pictures.draw, lambda *_: {}
    try:
        train.train([config.from_flags(given)], workdir=path)
    finally:
        pictures.draw = draw
    return vae_jax.load(path)


@pytest.fixture(scope="module")
def pair(digits, tmp_path_factory):
    """The same training from Python and by the command line: (`Trained`, `Trained`)."""
    flags = {"beta": "4", "likelihood": "bernoulli", "patience": "2", "ema_decay": "0.9"}
    run = on_the_command_line(tmp_path_factory.mktemp("runs") / "run", **flags)
    model = vae_jax.make_model(digits, likelihood="bernoulli", **SMALL)
    settings = {"beta": 4, "patience": 2, "ema_decay": 0.9, "epochs": 3}
    return vae_jax.fit("beta_vae", model, digits, **settings), run


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


# --- The same as the command line


def test_fit_gives_the_command_line_s_parameters_bit_for_bit(pair):
    fitted, run = pair
    assert_same(fitted.params, run.params)
    assert fitted.model == run.model
    # also what each epoch came to, on both splits
    assert fitted.history == run.history
    assert len(fitted.history) == 3
    assert (fitted.step, fitted.status, fitted.best_epoch) == (45, "done", run.best_epoch)
    assert run.about["settings"]["beta"] == "4"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "flags", "settings"),
    [
        ("factor_vae", {"discriminator_width": "8"}, {"discriminator_width": 8}),
        ("vq_vae", {"num_codes": "8", "code_dim": "3"}, {"num_codes": 8, "code_dim": 3}),
        ("m2", {"num_labeled": "100"}, {"num_labeled": 100}),
        ("cvae", {"learning_rate": "1e-3"}, {"learning_rate": 1e-3}),
        ("stacked", {}, {}),
        ("autoencoder", {"optimizer": "adamw", "clip_norm": "1"}, {"clip_norm": 1}),
    ],
)
def test_fit_equals_the_command_line_for_parts_of_objectives(
    name, flags, settings, digits, tmp_path
):
    run = on_the_command_line(tmp_path / "run", objective=name, **flags)
    counts = {n: v for n, v in settings.items() if isinstance(v, int)}
    counts.pop("clip_norm", None)
    model = vae_jax.make_model(digits, objective=name, **SMALL, **counts)
    settings = settings | {"optimizer": flags.get("optimizer", "adam")}
    fitted = vae_jax.fit(name, model, digits, epochs=3, **settings)
    assert_same(fitted.params, {n: v for n, v in run.params.items() if n in fitted.params})
    assert fitted.history == run.history


def test_evaluate_measures_both_alike(pair):
    settings = {"nll": {"num_samples": 3}}
    one, other = (
        vae_jax.evaluate(each, ["objective", "nll", "udr"], settings=settings) for each in pair
    )
    assert one.values == other.values
    assert one["nll"]["nll_standard_error"] > 0
    assert one["objective"]["elbo"] == pytest.approx(
        -one["objective"]["distortion"] - one["objective"]["rate"], rel=1e-4
    )
    assert one.skipped == {"udr": "it compares the runs of a sweep"}
    assert one.definitions["nll"].keys() <= one["nll"].keys()
    with pytest.raises(KeyError, match="udr was skipped: it compares"):
        one["udr"]
    assert one["elbo"] == one["objective"]["elbo"]
    with pytest.raises(KeyError, match="elb is not in objective, nll: name the metric"):
        one["elb"]
    assert list(vae_jax.evaluate(pair[0]).values) == ["objective"]


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.full((4, 6), np.nan, "f4"), DataError, "x: 24 value(s) are not finite"),
        (
            np.zeros((4, 6), np.int32),
            UsageError,
            "x holds int32: give floats in the range",
        ),
        (np.array([["a"] * 6]), UsageError, "x: holds <U1, must be real numbers"),
    ],
    ids=["nan", "integers", "text"],
)
def test_data_that_cannot_be_measured_are_refused(x, error, message):
    model = vae_jax.make_model((6,), likelihood="gaussian", latent_dim=2, widths=[4])
    trained = vae_jax.Trained(model, model.init(jax.random.key(0)))
    with pytest.raises(error) as caught:
        vae_jax.evaluate(trained, "reconstruction", x)
    assert message in str(caught.value)


def test_the_model_is_the_command_line_s(digits):
    """For each objective, from a dataset; also its errors, which name settings."""
    for name in objectives.names():
        flags = {"objective": name, "widths": "4"}
        made = vae_jax.make_model(digits, objective=name, widths=(4,))
        assert made == train.prepare([config.from_flags(flags)]).model, name
    with pytest.raises(DataError, match=r"^likelihood=text: does .* take likelihood=gaussian$"):
        vae_jax.make_model(digits, likelihood="text")
    with pytest.raises(DataError, match=r"^likelihood=text: does .* take likelihood=gaussian$"):
        train.prepare([config.from_flags({"likelihood": "text"})])


# --- Models


def test_an_array_or_a_shape_tells_the_shape_alone(digits):
    x = digits.decode(digits.train.x)
    given = {"likelihood": likelihoods.Gaussian(), **SMALL}
    of_dataset = vae_jax.make_model(digits, **SMALL)
    for data in (x, np.asarray(x), {"x": x}, digits.shape):
        assert vae_jax.make_model(data, **given) == of_dataset
        assert vae_jax.make_model(data, **{**given, "likelihood": "gaussian"}) == of_dataset
        with pytest.raises(
            UsageError, match=r"likelihood: .* does not say what the values"
        ) as told:
            vae_jax.make_model(data, **SMALL)
        remedy = re.search(r"likelihood='(\w+)' for real numbers", str(told.value))[1]
        vae_jax.make_model(data, likelihood=remedy, **SMALL)


def test_labels_make_a_model_conditional(digits):
    x, words = np.asarray(digits.decode(digits.train.x)), np.array(["a", "b", "c"])
    chosen = {"objective": "cvae", "likelihood": "bernoulli", **SMALL}
    with pytest.raises(UsageError, match=r"cvae gives the model a condition, .*: give \{'x': x, "):
        vae_jax.make_model(x, **chosen)
    model = vae_jax.make_model({"x": x, "labels": words[digits.train.labels % 3]}, **chosen)
    assert (model.num_conditions, model.classes) == (3, ("a", "b", "c"))
    model = vae_jax.make_model({"x": x, "labels": digits.train.labels}, **chosen)
    assert (model.num_conditions, model.classes) == (10, None)
    model = vae_jax.make_model({"x": x, "condition": np.ones((len(x), 2))}, **chosen)
    assert (model.num_conditions, model.classes) == (2, ())
    # −1 is no class
    some = np.where(digits.train.labels == 0, -1, digits.train.labels)
    model = vae_jax.make_model({"x": x, "labels": some}, **{**chosen, "objective": "m2"})
    assert model.classes == tuple(range(1, 10))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "bta_vae"}, "objective 'bta_vae' is unknown"),
        ({"beta": 4.0}, r"beta=4.0: is no part of a model: give it to fit\(…, beta=…\)"),
        ({"betta": 4.0}, "'betta' is unknown"),
        ({"network": "mpl"}, r"network 'mpl' is unknown \(did you mean mlp"),
        ({"activation": "tan"}, r"activation 'tan' is unknown \(did you mean tanh"),
        ({"likelihood": "gausian"}, "'gausian' is unknown"),
        ({"likelihood": likelihoods.Gaussian(), "variance": 0.5}, "leave variance out"),
        ({"objective": "vq_vae", "code_dim": 7}, "latent_dim=20: .*7"),
    ],
)
def test_settings_without_a_model_are_refused_in_one_line(settings, message, digits):
    with pytest.raises(UsageError, match=message) as error:
        vae_jax.make_model(digits, **settings)
    assert "\n" not in str(error.value)


def test_what_an_objective_asks_of_a_dataset_is_a_setting_too(digits):
    model = vae_jax.make_model(digits, objective="m2", num_labeled=100, **SMALL)
    assert model.num_conditions == 10
    with pytest.raises(DataError, match=r"num_labeled=3: .*: give at least 10"):
        vae_jax.fit("m2", model, digits, epochs=1, num_labeled=3)
    x = digits.decode(digits.train.x)
    with pytest.raises(UsageError, match="'num_labeled' is unknown"):
        vae_jax.fit("m2", model, {"x": x, "labels": digits.train.labels}, epochs=1, num_labeled=3)


def test_other_latents_are_remedied_by_make_model(digits):
    model = vae_jax.make_model(digits, **SMALL)
    with pytest.raises(UsageError, match=r"k_sparse asks for latents\.\w+") as error:
        vae_jax.fit("k_sparse", model, digits, epochs=1, num_active=2)
    call = re.search(r"make it with (make_model\(.*?\)), or", str(error.value))[1]
    made = eval(call, {"make_model": vae_jax.make_model, "data": digits})
    assert isinstance(made.latent, latents.Latent)
    assert made.latent == objectives.latent("k_sparse", num_active=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (64,)}, r"shape=\(64,\) of the model: digits has shape=\(8, 8, 1\)"),
        ({"likelihood": likelihoods.Categorical(5)}, "num_levels=5 of the model: digits has num_"),
    ],
)
def test_a_model_of_other_data_is_refused(changes, message, digits):
    likelihood = changes.get("likelihood", likelihoods.Gaussian())
    model = vae_jax.make_model(changes.get("shape", digits.shape), likelihood=likelihood, **SMALL)
    with pytest.raises(UsageError, match=message):
        vae_jax.fit("beta_vae", model, digits, epochs=1)


# --- Checkpoints, patience, callbacks

X = np.random.default_rng(0).random((40, 6)).astype(np.float32)
OTHERS = np.random.default_rng(1).random((30, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return vae_jax.make_model(X, likelihood="bernoulli", **SMALL)


def fit(model, **changes):
    settings = {"epochs": 3, "batch_size": 16, "learning_rate": 1e-2, **changes}
    return vae_jax.fit("beta_vae", model, settings.pop("data", X), **settings)


def test_a_training_that_was_killed_resumes_bit_for_bit(model, tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "_SECONDS", 0.0)
    monkeypatch.setattr(keeping, "_SHARE", 0)
    whole = fit(model, valid=OTHERS, patience=3)

    class KilledError(Exception):
        pass

    def kill(epoch):
        if epoch.epoch == 3:
            raise KilledError

    options = {"valid": OTHERS, "patience": 3, "checkpoint": tmp_path / "fit"}
    with pytest.raises(KilledError):
        fit(model, callbacks=[kill], **options)
    seen = []
    resumed = fit(model, callbacks=[lambda epoch: seen.append(epoch.epoch)], **options)
    assert seen == [3]
    assert_same((resumed.params, resumed.state), (whole.params, whole.state))
    assert resumed.history == whole.history
    # nothing is left to do
    again = fit(model, callbacks=[lambda epoch: pytest.fail("trains")], **options)
    assert_same((again.params, again.state), (whole.params, whole.state))


def test_more_epochs_go_on_where_no_schedule_is_a_share_of_the_run(model, tmp_path):
    fit(model, epochs=1, checkpoint=tmp_path)
    assert_same(fit(model, checkpoint=tmp_path).params, fit(model).params)
    with pytest.raises(UsageError, match="epochs=2: the checkpoint has trained 3 epochs already"):
        fit(model, epochs=2, checkpoint=tmp_path)


def test_a_directory_of_another_training_is_refused(model, tmp_path):
    kept = tmp_path / "fit"
    fit(model, epochs=1, checkpoint=kept)
    before = sorted(path.name for path in kept.rglob("*"))
    wide = vae_jax.make_model(X, likelihood="bernoulli", latent_dim=3, widths=(5,))
    others = [
        ({"beta": 2.0}, "beta=1.0, this one has 2.0"),
        ({"seed": 1}, "seed=0, this one has 1"),
        ({"data": OTHERS}, "data="),
        ({"valid": OTHERS}, "data="),
        ({"batch_size": 8}, "batch_size=16, this one has 8"),
        (
            {"learning_rate": "linear(1e-2, 0, 100%)"},
            "learning_rate=0.01, this one has linear.0.01, 0, 3",
        ),
        ({"optimizer": "adamw"}, "optimizer=adam, this one has adamw"),
        ({"optimizer": optax.sgd}, "optimizer=adam, this one has .*sgd"),
    ]
    for changes, message in others:
        with pytest.raises(
            UsageError, match=f"checkpoint={kept}: is of a training with .*{message}"
        ):
            fit(model, epochs=1, checkpoint=kept, **changes)
    with pytest.raises(UsageError, match="is of a training with model="):
        fit(wide, epochs=1, checkpoint=kept)
    assert sorted(path.name for path in kept.rglob("*")) == before
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty and holds no training of fit"):
        fit(model, checkpoint=tmp_path)
    with pytest.raises(UsageError, match="is a file: name a directory"):
        fit(model, checkpoint=tmp_path / "letters.txt")
    with pytest.raises(UsageError, match="holds the checkpoints of a fit, without its model"):
        vae_jax.load(kept)


def test_patience_keeps_the_best_parameters(model):
    seen = {}
    settings = {"valid": OTHERS, "patience": 2, "epochs": 200, "learning_rate": 0.1}
    trained = fit(
        model, callbacks=[lambda epoch: seen.update({epoch.epoch: epoch.params})], **settings
    )
    elbos = [row["valid_elbo"] for row in trained.history]
    best = int(np.argmax(elbos)) + 1
    assert trained.status == "stopped early"
    assert (trained.best_epoch, len(elbos)) == (best, best + 2)
    assert_same(trained.params, seen[best])
    assert (
        np.abs(
            seen[best + 2]["decoder"]["output"]["bias"]
            - trained.state.params["decoder"]["output"]["bias"]
        ).max()
        == 0
    )


def test_a_callback_is_told_of_each_epoch_and_may_end_the_training(model):
    epochs = []

    def note(epoch):
        epochs.append(epoch)
        return epoch.epoch == 2

    trained = fit(model, callbacks=[note, lambda epoch: None])
    assert [(e.epoch, e.num_epochs, e.step) for e in epochs] == [(1, 3, 3), (2, 3, 6)]
    assert [e.metrics for e in epochs] == [*trained.history]
    assert (trained.status, trained.step) == ("stopped early", 6)
    assert_same(epochs[-1].params, trained.params)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs=0: must be an integer, at least 1"),
        ({"batch_size": 2.5}, "batch_size=2.5: must be an integer"),
        ({"seed": -1}, "seed=-1: must be an integer from 0"),
        ({"patience": 2}, "patience=2: needs a validation split: give valid="),
        ({"optimizer": "adma"}, r"optimizer 'adma' is unknown \(did you mean adam"),
        ({"optimizer": 3}, "optimizer=3: must be one of adam, adamw, sgd, momentum, a fac"),
        ({"optimizer": optax.sgd(0.1)}, "learning_rate=0.01: the optimizer is a transformation"),
        ({"learning_rate": -1.0}, "learning_rate=-1: must be finite and > 0"),
        ({"learning_rate": "fast"}, "learning_rate=fast: 'fast' is not a finite number"),
        ({"learning_rate": [1, 2]}, r"learning_rate=\[1, 2\]: .* is no number"),
        ({"weight_decay": 0.1}, "weight_decay=0.1: adam has none: give optimizer='adamw'"),
        ({"beta": -1.0}, "beta=-1: must be finite and >= 0"),
        ({"beta": "linear(0, -2, 10)"}, "beta=-2: must be finite and >= 0"),
        ({"betta": 1.0}, "'betta' is unknown"),
        ({"binarization": "soft"}, "binarization=soft: is for a Dataset"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_one_line(changes, message, model):
    with pytest.raises(UsageError, match=message) as error:
        fit(model, **changes)
    assert "\n" not in str(error.value)


def test_a_dataset_is_treated_as_it_asks(digits):
    model = vae_jax.make_model(digits, likelihood="bernoulli", **SMALL)
    for changes, message in [
        ({"valid": X}, "valid: a Dataset has its own validation split"),
        ({"binarization": "sof"}, r"binarization 'sof' is unknown \(did you mean soft"),
    ]:
        with pytest.raises(UsageError, match=message):
            vae_jax.fit("beta_vae", model, digits, epochs=1, **changes)
    plain = vae_jax.make_model(digits, **SMALL)
    with pytest.raises(UsageError, match="binarization=soft: only for bernoulli, leave it out"):
        vae_jax.fit("beta_vae", plain, digits, epochs=1, binarization="soft")


def test_any_function_of_the_step_is_a_schedule():
    for value, at_3 in [
        (2, 2.0),
        (np.float64(0.5), 0.5),
        ("linear(0, 4, 4)", 3.0),
        ("linear(0, 1, 50%)", 0.75),
        (schedules.linear(0, 4, 8), 1.5),
        (optax.linear_schedule(0.0, 4.0, 4), 3.0),
        (lambda step: 2.0 * step, 6.0),
    ]:
        made = schedules.make(value, steps_per_epoch=2, num_steps=8)
        assert float(schedules.evaluate(made, jax.numpy.int32(3))) == pytest.approx(at_3)


# --- Files


def test_an_exported_model_is_loaded_and_measured(pair, digits, tmp_path):
    fitted, _ = pair
    path = tmp_path / "model.safetensors"
    exported.save(path, fitted.model, fitted.params, {"step": fitted.step})
    loaded = vae_jax.load(path)
    assert_same(loaded.params, fitted.params)
    assert (loaded.model, loaded.step, loaded.history) == (fitted.model, 45, ())
    asked = {"metrics": "reconstruction", "num_examples": 50}
    wanted = vae_jax.evaluate(fitted, **asked)["reconstruction"]
    assert vae_jax.evaluate(loaded, data=digits, **asked)["reconstruction"] == wanted
    with pytest.raises(UsageError, match="data: this model came without a test split: give data="):
        vae_jax.evaluate(loaded, **asked)
    assert "objective" in vae_jax.evaluate(loaded, "objective", digits).skipped


def test_a_model_fit_to_arrays_is_evaluated_on_arrays(model):
    trained = fit(model)
    with pytest.raises(UsageError, match="give data="):
        vae_jax.evaluate(trained, "reconstruction")
    found = vae_jax.evaluate(trained, ["reconstruction", "exact"], OTHERS)
    squares = np.square(OTHERS - trained.model.reconstruct(trained.params, OTHERS)).sum(axis=1)
    assert found["reconstruction"]["squared_error"] == pytest.approx(squares.mean(), rel=1e-4)
    for wrong, message in [
        ({"metrics": "nl"}, r"metric 'nl' is unknown \(did you mean nll"),
        ({"metrics": "nll", "settings": {"nll": {"num_sample": 1}}}, "'num_sample' is unknown"),
        ({"metrics": "nll", "settings": {"exact": {}}}, "leaves out: add it"),
        ({"metrics": "nll", "data": OTHERS[:, :5]}, r"shape \[5\], the model takes|takes \[6\]"),
    ]:
        with pytest.raises(UsageError, match=message):
            vae_jax.evaluate(trained, **{"data": OTHERS, **wrong})


def test_a_member_of_a_sweep_is_loaded_by_its_number():
    """Of a sweep that an older version left."""
    held = sorted(SWEEP.rglob("*"))
    with pytest.raises(UsageError, match=r"holds \d runs: name one, such as load\('") as error:
        vae_jax.load(SWEEP)
    names = {"load": vae_jax.load}
    first = eval(re.search(r"such as (load\(.*\))$", str(error.value))[1], names)
    last = vae_jax.load(SWEEP, member=len(members.settings(SWEEP / "programs" / "all")) - 1)
    for number, member in enumerate((first, last)):
        settings = member.about["settings"]
        mask = member.model.latent_mask
        used = member.model.latent_dim if mask is None else int(mask.sum())
        assert used == settings["latent_dim"]
        assert [row["epoch"] for row in member.history] == [*range(1, settings["epochs"] + 1)]
        assert "run" not in member.history[0], number
    assert first.about["settings"] != last.about["settings"]
    # reading writes nothing
    assert sorted(SWEEP.rglob("*")) == held


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("no.safetensors", {}, "no such file or directory: name"),
        ("", {}, "holds no run"),
        ("", {"encoder": None}, r"'encoder' is unknown.*: choose from member, data_dir"),
    ],
)
def test_a_path_without_a_run_is_refused(name, options, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        vae_jax.load(tmp_path / name, **options)


# --- What a notebook shows


def test_a_cell_shows_a_summary_or_a_figure(pair, digits):
    fitted, run = pair
    measured = vae_jax.evaluate(fitted, "reconstruction", num_examples=20)
    for shown in (digits, digits.train, fitted, run, fitted.model, measured, vae_jax.load):
        assert len(repr(shown)) < MOST_SHOWN
        html = getattr(shown, "_repr_html_", lambda: "")()
        assert len(html) < MOST_SHOWN
        assert html.count("<table>") == html.count("</table>")
    assert "8×8×1" in repr(digits)
    assert "1,439" in repr(digits)
    assert "epoch 3" in fitted._repr_html_()
    curves = fitted.curves()
    assert len(repr(curves)) < 100
    assert curves._repr_png_().startswith(b"\x89PNG")


def test_a_name_is_no_markup(digits):
    shown = dataclasses.replace(digits, name="<script>")._repr_html_()
    assert "<script>" not in shown


def test_a_loss_that_diverges_ends_in_one_line(model):
    with pytest.raises(DivergedError, match=r"try a smaller learning_rate$"):
        fit(model, learning_rate=1e30)
