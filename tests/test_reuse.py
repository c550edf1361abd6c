"""Programs of `fit` that serve several trainings: the same bits, and when none is shared."""

import functools

import compiling
import jax
import numpy as np
import pytest
from flax import linen as nn

import vae_jax
from vae_jax import fitting, likelihoods, reuse, schedules

X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)


def make(**changes):
    settings = {"likelihood": "gaussian", "latent_dim": 1, "widths": (2,), **changes}
    return vae_jax.make_model(X, **settings)


def train(x=X, **changes):
    settings = {"epochs": 2, "batch_size": 8, "progress": False, "beta": 1.0, **changes}
    return vae_jax.fit("beta_vae", make(), x, **settings)


def kind(objective="beta_vae", model=None, x=X, settings=None, **options):
    """The kind of a training, from the arguments of `fit`; None if its program is its own."""
    found = []

    def kind_of(*arguments):
        found.append(own(*arguments))
        return found[-1]

    own, asked = reuse.kind_of, {"learning_rate": options.pop("learning_rate", 1e-3), "seed": 0}
    asked |= dict.fromkeys(("weight_decay", "adam", "clip_norm", "skip_norm", "ema_decay"))
    asked["init_scale"] = None
    options = {"epochs": 2, "batch_size": 8, **options}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reuse, "kind_of", kind_of)
        fitting._planned(objective, model or make(), x, settings or {}, asked, **options)
    return found[0] if found else None


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
    assert one.history == other.history


def test_fits_that_share_a_program_are_those_of_fresh_programs():
    """Other seeds, rates, β, schedules, rows and numbers of epochs between them change no bit."""
    reuse.program_of.cache_clear()
    changes = {"beta": 4.0, "seed": 3, "epochs": 3, "learning_rate": "linear(0.01, 0, 100%)"}
    with compiling.names() as once:
        first = train()
    with compiling.names() as again:
        others = [train(**changes), train(X[::-1] * 2, seed=1), train()]
    assert "spread" in once
    assert "spread" not in again
    assert reuse.program_of.cache_info()[:2] == (3, 1)
    assert len({trained.program.chunk for trained in (first, *others)}) == 1
    same(first, others[-1])
    reuse.program_of.cache_clear()
    fresh = train(**changes)
    assert fresh.program.chunk is not first.program.chunk
    same(fresh, others[0])
    assert np.abs(fresh.history[-1]["loss"] - first.history[-1]["loss"]) > 0


def test_a_shared_program_holds_no_rows():
    program = reuse.program_of(kind())
    assert program.size("train") == len(X)
    assert program.rows("train").strides == (0, 0)
    again = program.again(splits={"train": {"x": X}}, num_steps=5)
    assert again.chunk is program.chunk
    assert again.rows("train")["x"] is X


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(x), nn.Dense(1)(x)


OWN = vae_jax.Model(Encoder(), make().decoder, likelihoods.Gaussian("learned"), (3,), 1)


@pytest.mark.parametrize(
    ("left", "changes"),
    [
        ("a function of the user", {"objective": lambda m, p, b, k: (b["mask"], {})}),
        ("a network of the user", {"model": OWN}),
        ("a preprocessing of the user", {"preprocess": lambda stored, key: stored}),
        ("a schedule of the user", {"learning_rate": lambda step: 1e-3}),
        ("an optimizer of the user", {"optimizer": functools.partial(fitting.optax.sgd)}),
        ("values that are part of the program", {"learning_rate": "piecewise(0.1, 2, 0.01)"}),
        ("rows that are part of the program", {"model": make(prior="vamp")}),
    ],
)
def test_no_program_is_shared_with(left, changes):
    assert kind(**changes) is None, left


@pytest.mark.parametrize(
    "changes",
    [
        {"x": X[1:]},
        {"batch_size": 7},
        {"optimizer": "adamw"},
        {"model": make(widths=(3,))},
        {"model": make(likelihood="laplace")},
        {"settings": {"num_samples": 2}},
        {"model": make(prior="mixture"), "prior_phase": 1.0},
    ],
)
def test_what_is_static_has_a_program_of_its_own(changes):
    one, other = kind(), kind(**changes)
    assert None not in (one, other)
    assert one != other


def test_phases_have_a_program_of_their_own():
    model = make(prior="mixture")
    assert kind(model=model) != kind(model=model, prior_phase=1.0)


def test_numbers_share_a_program():
    """Seeds, schedules and rows are arguments."""
    changed = {"learning_rate": schedules.cosine(0.1, 0, 9), "settings": {"beta": 4.0}}
    assert kind() == kind(x=X + 1, epochs=7, **changed)
    assert hash(kind()) == hash(kind(model=make()))
