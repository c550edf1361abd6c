"""What a result is computed with: which parameters, which split, which steps, which unit."""

import functools
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import likelihoods, program, schedules, training
from vae_jax.data import _sequences
from vae_jax.evaluation import elbo
from vae_jax.lab import build

AS_IT_IS = types.SimpleNamespace(
    read=lambda tree: jax.tree.map(np.asarray, tree),
    place=lambda tree: tree,
    place_slots=lambda tree: tree,
    replicate=lambda tree: tree,
    num_slots=2,
    num_runs=2,
)
"""A layout of two runs that spreads nothing."""


def state(step=20, ema=None):
    """Of two runs."""
    return types.SimpleNamespace(
        step=np.full(2, step),
        sums={"loss": np.array([30.0, 60.0])},
        params={"w": np.array([1.0, 2.0])},
        ema=ema,
        stopped=np.zeros(2, bool),
        replace=lambda **given: types.SimpleNamespace(**given),
    )


AVERAGE = {"w": np.array([3.0, 4.0])}
BEST = {"w": np.array([5.0, 6.0])}


def test_a_result_is_that_of_the_best_the_averaged_or_the_last_parameters():
    plain, averaged = state(), state(ema=AVERAGE)
    best = {"params": BEST, "score": 0.0, "epoch": 1}
    assert program.result_params(program.Carried(plain, None)) is plain.params
    assert program.result_params(program.Carried(averaged, None)) is AVERAGE
    assert program.result_params(program.Carried(averaged, best)) is BEST


@pytest.fixture
def watched(monkeypatch):
    """(an experiment of two runs and 10 examples, what was evaluated: (parameters, split))."""
    asked = []

    def evaluate(own, params, split, step):
        del own, step
        asked.append((params, split))
        terms = {"loss": np.array([7.0, 8.0]), "elbo": np.array([-7.0, -8.0])}
        return elbo.Evaluation(terms, {}, None, None, {})

    monkeypatch.setattr(program, "evaluate", evaluate)
    monkeypatch.setattr(program, "frozen", lambda own, params, num: params)
    hparams = training.Hparams(np.zeros(2, int), np.ones(2), {})
    experiment = types.SimpleNamespace(
        layout=AS_IT_IS,
        train=types.SimpleNamespace(steps_per_epoch=5),
        size=lambda split: 10,
        hparams=hparams,
        hparams_at=lambda h, step: h,
        patience=2,
        is_single=False,
        keep_best=jax.vmap(kept_best, (0, 0, 0, None)),
    )
    return experiment, asked


def kept_best(best, params, score, epoch):
    """As of one run of a program, see `program.Program.keep_best`."""
    experiment = object.__new__(program.Program)
    one_run = types.SimpleNamespace(over_runs=lambda function, shared: function)
    object.__setattr__(experiment, "layout", one_run)
    return experiment.keep_best(best, params, score, epoch)


@pytest.mark.parametrize("average", [None, AVERAGE])
def test_an_epoch_is_validated_with_the_parameters_that_count(average, watched):
    experiment, asked = watched
    now = state(ema=average)
    rows, _ = program.end_epoch(experiment, program.Carried(now, None), 20)
    ((params, split),) = asked
    assert split == "valid"
    assert params is (now.params if average is None else AVERAGE)
    assert [(row["run"], row["epoch"], row["loss"], row["valid_loss"]) for row in rows] == [
        (0, 4, 3.0, 7.0),
        (1, 4, 6.0, 8.0),
    ]


def test_the_best_parameters_stay_and_patience_ends_at_its_epoch(watched):
    """Of an ELBO of −7 and −8: the first run is better than before, the other is not, too long."""
    experiment, _ = watched
    best = {"params": BEST, "score": np.array([-7.5, -7.5]), "epoch": np.array([1, 2])}
    best = jax.tree.map(jnp.asarray, best)
    _, carried = program.end_epoch(experiment, program.Carried(state(), best), 20)
    np.testing.assert_array_equal(carried.best["params"]["w"], [1.0, 6.0])
    np.testing.assert_array_equal(carried.best["score"], [-7.0, -7.5])
    np.testing.assert_array_equal(carried.best["epoch"], [4, 2])
    # epoch 4 is two epochs after epoch 2
    np.testing.assert_array_equal(carried.state.stopped, [False, True])


def test_an_optimal_variance_is_fixed_on_the_training_split():
    variances = {"train": 0.25, "valid": 1.0, "test": 4.0}
    experiment = types.SimpleNamespace(
        model=types.SimpleNamespace(likelihood=likelihoods.Gaussian("optimal")),
        size=lambda split: 8,
        hparams=None,
        layout=AS_IT_IS,
        blocks=lambda split, num: [(0, (variances[split], 4)), (4, (variances[split], num - 4))],
        add_variance=lambda total, params, hparams, x, first: total + x[0] * x[1],
        with_variance=lambda params, variance: {**params, "variance": variance},
    )
    for num in (None, 6):
        fixed = program.frozen(experiment, {}, num)["variance"]
        np.testing.assert_allclose(fixed, [0.25, 0.25], rtol=1e-6)


def test_terms_that_an_objective_has_measured_are_not_those_of_a_few_examples(monkeypatch):
    evaluated = elbo.Evaluation({"loss": 1.0, "total_correlation": 2.0}, {}, None, None, {})
    few = {"total_correlation": 5.0, "mutual_information": 3.0}
    monkeypatch.setattr(elbo, "summarize", lambda moments: evaluated)
    experiment = types.SimpleNamespace(
        layout=types.SimpleNamespace(read=lambda tree: tree),
        hparams=None,
        hparams_at=lambda h, step: h,
        blocks=lambda split: [],
        spread=lambda split: split,
        decompose_rate=lambda params, hparams, x: (few, {}),
    )
    found = program.evaluate(experiment, None, "test", 0).terms
    assert found == {"loss": 1.0, "total_correlation": 2.0, "mutual_information": 3.0}


def test_results_have_the_weights_of_the_last_step_that_was_done():
    experiment = object.__new__(program.Program)
    object.__setattr__(experiment, "layout", types.SimpleNamespace(over_runs=lambda f: f))
    h = training.Hparams(jnp.int32(0), 1e-3, {"beta": schedules.linear(0, 4, 4)})
    betas = [
        float(experiment.hparams_at(h, jnp.int32(step)).objective["beta"]) for step in (0, 1, 4)
    ]
    assert betas == [0.0, 0.0, 3.0]


def test_text_is_measured_in_bits_of_a_character_and_series_in_nats_of_a_step():
    """A model that knows nothing: of 3 characters and the end log₂ 4 bits each."""
    stored = np.array([[1, 2, 3, 0], [3, 0, 0, 0]])
    text = likelihoods.Text(4)
    dataset = types.SimpleNamespace(
        kind="sequence",
        alphabet=("a", "b", "c"),
        shape=(4,),
        test=types.SimpleNamespace(x=stored),
        decode=functools.partial(_sequences.decode_text, num_levels=4),
    )
    model = types.SimpleNamespace(likelihood=text)
    # 4 and 2 symbols, the ends among them
    nats = 3 * math.log(4)
    experiment = types.SimpleNamespace(dataset=dataset, model=model)
    found = build.in_units(experiment, np.array([-nats, -2 * nats]))
    np.testing.assert_allclose(found["bits_per_character"], [2.0, 4.0], rtol=1e-6)
    dataset.alphabet, dataset.shape = None, (4, 1)
    dataset.decode = lambda x: jnp.asarray(x, jnp.float32)[..., None]
    model.likelihood = likelihoods.Gaussian(1.0)
    np.testing.assert_allclose(build.in_units(experiment, np.array([-8.0]))["nats_per_step"], [2.0])
    dataset.kind = "image"
    assert build.in_units(experiment, np.array([-8.0])) == {}
