"""Uses of a trained model: pure functions of a row, mapped in batches of one size."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vae_jax import likelihoods, priors, rates, uses
from vae_jax.errors import UsageError
from vae_jax.evaluation import nll
from vae_jax.latents import Deterministic
from vae_jax.model import Model
from vae_jax.trained import Trained
from vae_jax.uses import CELLS, Engine

N, D, L = 11, 3, 2
X = np.random.default_rng(0).normal(size=(N, D)).astype("f4")


class Affine(nn.Module):
    """x [B, D] to (mean, logvar), [B, L] each; `spread` is their log variance."""

    latent_dim: int = L
    spread: float = -1.0

    @nn.compact
    def __call__(self, x):
        mean = nn.Dense(self.latent_dim, name="mean")(x)
        return mean, jnp.full_like(mean, self.spread)


class Linear(nn.Module):
    """z [B, L] to [B, size]."""

    size: int = D

    @nn.compact
    def __call__(self, z):
        return nn.Dense(self.size, name="latent")(z)


MODEL = Model(
    Affine(), Linear(), likelihoods.Gaussian(0.3), (D,), L, prior_family=priors.Mixture(3)
)
PARAMS = MODEL.init(jax.random.key(1))


def engine(name, model=MODEL, params=PARAMS, seed=0, batch_size=4, **settings):
    return Engine(uses.make(name, **settings), model, params, seed=seed, batch_size=batch_size)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("score", {"by": "all", "num_samples": 3}),
        ("encode", {"code": "draw"}),
        ("impute", {"num_draws": 2, "num_samples": 3}),
    ],
)
def test_a_row_depends_on_its_index_alone(name, settings):
    """Not on the rows beside it, their order, or how they are cut into blocks: bit for bit."""
    run = engine(name, **settings)
    x = np.where(np.arange(N * D).reshape(N, D) % 4 == 0, np.nan, X) if name == "impute" else X
    whole = run(x)
    blocks = [run(x[a:b], a) for a, b in ((0, 1), (1, 9), (9, 9), (9, N))]
    order = np.random.default_rng(1).permutation(N)
    shuffled = run(x[order], order)
    for key, values in whole.items():
        assert len(values) == N
        np.testing.assert_array_equal(np.concatenate([b[key] for b in blocks]), values)
        np.testing.assert_array_equal(shuffled[key], values[order])
    elsewhere = run(x, 1)
    assert not np.array_equal(elsewhere[min(whole)], whole[min(whole)])


def test_rows_that_are_made_do_not_depend_on_their_number():
    run = engine("sample")
    many = run.made(7)[CELLS]
    np.testing.assert_array_equal(run.made(2)[CELLS], many[:2])
    np.testing.assert_array_equal(run.made(3, 4)[CELLS], many[4:])
    assert len(np.unique(many[:, 0])) == 7
    assert not np.array_equal(engine("sample", seed=1).made(7)[CELLS], many)


def test_codes_and_reconstructions_are_those_of_the_model():
    masked = MODEL.replace(latent_mask=jnp.array([1.0, 0.0]))
    z = engine("encode", model=masked)(X)["z"]
    mean = np.asarray(masked.encode(PARAMS, X).mean)
    assert z.shape == (N, 1)  # the dimensions in use
    np.testing.assert_allclose(z, mean[:, :1], rtol=1e-6)
    expected = np.asarray(MODEL.reconstruct(PARAMS, X))
    for name in ("reconstruct", "denoise"):
        np.testing.assert_allclose(engine(name)(X)[CELLS], expected, rtol=2e-6, atol=1e-6)
    zeros = engine("denoise", corruption="masking", level=1.0)(X)[CELLS]
    expected = np.asarray(MODEL.reconstruct(PARAMS, np.zeros_like(X)))
    np.testing.assert_allclose(zeros, expected, rtol=2e-6, atol=1e-6)


def test_scores_are_the_terms_of_the_bound():
    found = engine("score", by="all", num_samples=nll.SAMPLES_PER_KEY)(X)
    total = found["score_reconstruction"] + found["score_rate"]
    np.testing.assert_allclose(found["score_elbo"], total, rtol=1e-6)
    # the same key gives the same draws as the evaluation
    known = nll.sample(
        MODEL,
        PARAMS,
        X,
        jax.random.key(0),
        preprocess=lambda stored, key: stored,
        num_samples=nll.SAMPLES_PER_KEY,
    ).nll
    np.testing.assert_allclose(found["score_iwae"], known, rtol=1e-5)
    assert np.all(found["score_iwae"] <= found["score_elbo"] + 0.2)  # the bound, up to its draws


def test_the_score_of_one_draw_is_the_elbo_of_the_objective():
    plain = MODEL.replace(prior_family=None)
    found = engine("score", model=plain, num_samples=1, by="all")(X)
    posterior = plain.encode(PARAMS, X)
    rate = rates.rate(posterior, plain.prior(PARAMS))
    np.testing.assert_allclose(found["score_rate"], rate, rtol=1e-5)
    row = N - 1
    _, key = jax.random.split(jax.random.fold_in(jax.random.key(0), row))
    z = plain.encode(PARAMS, X[row:]).sample(jax.random.fold_in(key, 0), 1)[0]
    distortion = plain.distortion(PARAMS, z, {"x": X[row:], "mask": np.ones(1, "f4")})[0]
    np.testing.assert_allclose(found["score_reconstruction"][row], distortion, rtol=1e-5)


def test_a_code_without_a_prior_is_scored_by_its_reconstruction():
    class Code(nn.Module):
        @nn.compact
        def __call__(self, x):
            return (nn.Dense(L)(x),)

    model = Model(Code(), Linear(), likelihoods.Gaussian(0.3), (D,), L, latent=Deterministic())
    params = model.init(jax.random.key(1))
    found = engine("score", model, params)(X)["score"]
    z = model.encode(params, X).mode
    expected = model.distortion(params, z, {"x": X, "mask": np.ones(N, "f4")})
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for name, settings in (
        ("score", {"by": "rate"}),
        ("impute", {}),
        ("sample", {}),
        ("cluster", {}),
    ):
        with pytest.raises(UsageError):
            engine(name, model, params, **settings)


# x = w z + b + noise of variance s: one latent dimension, two numbers
W, B, S = np.array([1.5, -2.0]), np.array([0.5, 1.0]), 0.3
FACTOR = Model(Affine(1, 0.0), Linear(2), likelihoods.Gaussian(S), (2,), 1)
FACTOR_PARAMS = {
    # q(z|x) = N(0, 1) whatever x: the weights have all to do
    "encoder": {"mean": {"kernel": jnp.zeros((2, 1)), "bias": jnp.zeros(1)}},
    "decoder": {"latent": {"kernel": jnp.array(W[None], "f4"), "bias": jnp.array(B, "f4")}},
    "likelihood": {},
}


def test_missing_cells_have_their_conditional_mean_and_variance():
    """Of a linear Gaussian model p(x_2|x_1) is known."""
    x = np.array([[0.2, np.nan], [2.5, np.nan], [-1.0, 4.0], [np.nan, np.nan]], "f4")
    gain = W[0] * W[1] / (W[0] ** 2 + S)
    mean = B[1] + gain * (x[:2, 0] - B[0])
    variance = W[1] ** 2 + S - gain * W[0] * W[1]
    single = engine("impute", FACTOR, FACTOR_PARAMS, num_samples=8000)(x)[CELLS]
    np.testing.assert_allclose(single[:2, 1], mean, atol=0.1)
    np.testing.assert_array_equal(single[2], x[2])
    np.testing.assert_array_equal(single[:2, 0], x[:2, 0])
    np.testing.assert_allclose(single[3], B, atol=0.1)
    draws = engine("impute", FACTOR, FACTOR_PARAMS, num_samples=8000, num_draws=2000)(x)[CELLS]
    assert draws.shape == (4, 2000, 2)
    np.testing.assert_array_equal(draws[:2, :, 0], np.broadcast_to(x[:2, :1], (2, 2000)))
    np.testing.assert_allclose(draws[:2, :, 1].mean(axis=1), mean, atol=0.15)
    np.testing.assert_allclose(draws[:2, :, 1].var(axis=1), variance, rtol=0.2)


def test_clusters_are_the_components_of_the_prior():
    """Two components far apart, and an encoder that is sure: the sign of x tells."""
    model = Model(
        Affine(1, -9.0),
        Linear(1),
        likelihoods.Gaussian(1.0),
        (1,),
        1,
        prior_family=priors.Mixture(2),
    )
    params = model.init(jax.random.key(0))
    params["encoder"] = {"mean": {"kernel": jnp.ones((1, 1)), "bias": jnp.zeros(1)}}
    params["prior"] = {
        "logits": jnp.zeros(2),
        "mean": jnp.array([[-2.0], [2.0]]),
        "logvar": jnp.zeros((2, 1)),
    }
    x = np.array([[-2.0], [3.0], [0.25]], "f4")
    found = engine("cluster", model, params)(x)
    np.testing.assert_array_equal(found["cluster"], [0, 1, 1])
    # p(1|z) = 1 / (1 + exp(−4 z))
    np.testing.assert_allclose(found["cluster_probability"][2], 1 / (1 + np.exp(-1)), atol=0.02)
    every = engine("cluster", model, params, answer="probabilities")(x)["cluster"]
    np.testing.assert_allclose(every.sum(axis=1), 1.0, rtol=1e-5)


MINE = '''
"""The sum of the numbers of each row."""

import dataclasses

from vae_jax.uses import Use


@dataclasses.dataclass(frozen=True)
class Total(Use):
    """The sum of x, times a factor.

    Attributes:
        factor: what it is multiplied by.
    """

    factor: int = 1

    def of_row(self, model, params, x, key):
        return {"total": self.factor * x.sum()}
'''


def test_a_use_is_one_file(tmp_path, monkeypatch):
    """It is found, and becomes a method of what is trained."""
    (tmp_path / "total.py").write_text(MINE)
    monkeypatch.setattr(uses, "__path__", [*uses.__path__, str(tmp_path)])
    try:
        trained = Trained(MODEL, PARAMS)
        assert "total" in dir(trained)
        np.testing.assert_allclose(trained.total(X, factor=2), 2 * X.sum(axis=1), rtol=1e-5)
        assert uses.FAMILY.settings("total") == {"factor": "what it is multiplied by."}
    finally:
        sys.modules.pop("vae_jax.uses.total", None)
        vars(uses).pop("total", None)
    assert not hasattr(trained, "totals")
    with pytest.raises(AttributeError, match="no attribute 'totals'"):
        trained.totals  # noqa: B018


def test_a_conditional_model_asks_for_a_condition():
    class Given(nn.Module):
        inner: nn.Module

        @nn.compact
        def __call__(self, x, condition):
            return self.inner(jnp.concatenate([x, condition], axis=1))

    model = Model(
        Given(Affine()), Given(Linear()), likelihoods.Gaussian(0.3), (D,), L, num_conditions=2
    )
    params = model.init(jax.random.key(0))
    run = engine("reconstruct", model, params)
    one_hot = np.eye(2, dtype="f4")[np.arange(N) % 2]
    expected = model.given(one_hot).reconstruct(params, X)
    np.testing.assert_allclose(run(X, 0, one_hot)[CELLS], expected, rtol=2e-6, atol=1e-6)
    with pytest.raises(UsageError, match="the model is conditional, on 2 numbers"):
        run(X)
    with pytest.raises(UsageError, match=r"condition: has shape \[3\]"):
        run(X, 0, np.zeros(3))
    with pytest.raises(UsageError, match="left out, the model is not conditional"):
        engine("reconstruct")(X, 0, one_hot)
