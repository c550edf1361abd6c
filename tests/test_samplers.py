"""Samplers: densities that are fit to codes, and what is drawn from them."""

import types

import jax
import numpy as np
import pytest

import vae_jax
from vae_jax import samplers
from vae_jax.errors import DataError, UsageError
from vae_jax.lab.pictures import _seen

KEY = jax.random.key(0)
SMALL = {
    "maf": {"num_flows": 2, "flow_width": 16, "num_epochs": 20},
    "second_stage": {"stage_width": 16, "stage_epochs": 200},
}


def small(name):
    """A sampler that is fit quickly; one that a file adds has its defaults."""
    return samplers.make(name, **SMALL.get(name, {}))


def clusters(num):
    """Codes [num, 3]: two clusters of unequal size, and a dimension that is constant."""
    rng = np.random.default_rng(0)
    first = rng.normal(4.0, 1.0, (num - num // 4, 2))
    second = rng.normal(-4.0, 0.5, (num // 4, 2))
    codes = np.concatenate([first, second])
    return np.column_stack([codes, np.full(num, 7.0)]).astype(np.float32)


@pytest.mark.parametrize("name", samplers.names())
def test_draws_have_the_moments_of_the_codes(name):
    codes = clusters(1000)
    fitted = small(name).fit(codes, KEY)
    draws = np.asarray(fitted.sample(jax.random.key(1), 4000))
    assert draws.shape == (4000, 3)
    np.testing.assert_array_equal(draws, fitted.sample(jax.random.key(1), 4000))
    # the shares of the clusters are the hardest part
    np.testing.assert_allclose(draws.mean(axis=0), codes.mean(axis=0), atol=1.2)
    np.testing.assert_allclose(draws.std(axis=0), codes.std(axis=0), atol=0.8)


def test_a_mixture_finds_clusters_that_a_gaussian_fills_in():
    codes = clusters(1000)

    def between(name):
        draws = np.asarray(samplers.make(name).fit(codes, KEY).sample(jax.random.key(1), 4000))
        return np.mean(np.abs(draws[:, 0]) < 1.0)

    assert between("mixture") < 0.01 < 0.1 < between("gaussian")


def test_the_number_of_components_is_the_one_of_least_bic():
    codes = clusters(1000)
    found = samplers.Mixture().fit(codes, KEY).own
    assert len(found.means) == 2
    np.testing.assert_allclose(np.sort(np.exp(found.log_weights)), [0.25, 0.75], atol=0.01)
    assert len(samplers.Mixture(5).fit(codes, KEY).own.means) == 5


def test_a_mixture_of_one_component_is_the_gaussian():
    codes = clusters(1000)[:, :2]
    one = samplers.Mixture(1).fit(codes, KEY)
    whole = one.own.factors[0] * one.scale[:, None]
    np.testing.assert_allclose(whole @ whole.T, np.cov(codes.T, bias=True), rtol=2e-3)
    np.testing.assert_allclose(
        one.own.means[0] * one.scale + one.center, codes.mean(axis=0), rtol=1e-4
    )


@pytest.mark.parametrize(
    "name",
    [n if n == "mixture" else pytest.param(n, marks=pytest.mark.slow) for n in samplers.names()],
)
def test_the_same_key_gives_the_same_fit(name):
    codes = clusters(100)
    first, second = (small(name).fit(codes, KEY).sample(KEY, 5) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_too_few_codes_are_refused_with_a_remedy_that_works():
    codes = clusters(8)
    with pytest.raises(
        DataError, match=r"is fit to 8 codes, must be at least 20: take sampler='ga"
    ):
        samplers.make("maf").fit(codes, KEY)
    assert np.isfinite(samplers.make("gaussian").fit(codes, KEY).sample(KEY, 2)).all()


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("gausian", {}, "sampler 'gausian' is unknown .did you mean gaussian"),
        ("maf", {"num_flow": 3}, "setting of sampler=maf 'num_flow' is unknown"),
        ("maf", {"num_flows": 0}, "num_flows=0: must be an integer, at least 1"),
        ("mixture", {"num_components": 0}, "num_components=0: must be an integer, at least 1, or"),
    ],
)
def test_what_is_no_sampler_is_refused(name, settings, message):
    with pytest.raises(UsageError, match=message):
        samplers.make(name, **settings)


@pytest.fixture(scope="module")
def trained():
    """A regularized autoencoder of clusters."""
    x = clusters(200)[:, :2] / 8.0 + 0.5
    sizes = {"latent_dim": 2, "likelihood": "gaussian", "widths": (16,)}
    model = vae_jax.make_model(x, objective="rae", **sizes)
    return vae_jax.fit("rae", model, x, epochs=30, batch_size=50, progress=False), x


def test_draws_of_an_evaluation_come_from_the_sampler(trained):
    own, x = trained

    def measured(sampler):
        settings = {"latent_neighbours": {"sampler": sampler, "num_draws": 500}}
        found = vae_jax.evaluate(own, "latent_neighbours", data=x, settings=settings)
        return found["latent_neighbours"]

    # without a prior, draws are from a Gaussian fit already, which fills the space between
    assert measured("mixture")["precision"] > measured("prior")["precision"] + 0.05
    # neighbors of codes are no matter of draws
    assert measured("mixture")["trustworthiness"] == measured("prior")["trustworthiness"]


def test_an_unknown_sampler_of_an_evaluation_is_refused(trained):
    settings = {"latent_neighbours": {"sampler": "mixtur"}}
    with pytest.raises(UsageError, match="did you mean mixture"):
        vae_jax.evaluate(trained[0], "latent_neighbours", data=trained[1], settings=settings)


def test_draws_for_pictures_are_codes():
    model = vae_jax.make_model(
        (4,), likelihood="gaussian", posterior="power_spherical", latent_dim=3, widths=(4,)
    )
    codes = np.asarray(jax.random.normal(KEY, (50, 3)))
    codes = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    asked = types.SimpleNamespace(sampler="gaussian", sampling_temperature=None)
    draws, _ = _seen._draws(asked, None, model, {"drawn": codes}, KEY)
    norms = np.linalg.norm(draws.sample(jax.random.key(1), 100), axis=1)
    np.testing.assert_allclose(norms, 1.0, atol=1e-5)
