"""Samplers: densities that are fit to codes, and what is drawn from them."""

import types

import jax
import numpy as np
import pytest

import vae_jax
from vae_jax import distributions, latents, samplers
from vae_jax.copula import GaussianCopula
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


# --- Codes in a range of their own


def codes_of(activation, num_active=0, num=500):
    """A family of codes and codes [num, 4] of it, two of them correlated."""
    family = latents.Deterministic(activation, num_active)
    features = np.random.default_rng(1).normal(size=(num, 4)) - 0.5
    features[:, 1] = 0.9 * features[:, 0] + 0.1 * features[:, 1]
    return family, np.asarray(family.posterior(None, (features.astype(np.float32),)).mode)


@pytest.mark.parametrize(
    ("activation", "num_active"), [("relu", 0), ("sigmoid", 0), ("linear", 2), ("relu", 2)]
)
def test_draws_are_numbers_that_codes_had(activation, num_active):
    family, codes = codes_of(activation, num_active)
    density = family.fitted(codes)
    draws = np.asarray(density.sample(KEY, 4000))
    for dim in range(4):
        assert np.isin(draws[:, dim], codes[:, dim]).all()
    # the share of zeros is exact, and so is every other quantile
    for value in (0.0, 0.3):
        share = (codes <= value).mean(axis=0)
        error = np.sqrt(share * (1 - share) / 4000)
        assert (np.abs((draws <= value).mean(axis=0) - share) <= 5 * error).all()
    np.testing.assert_array_equal(family.onto(draws), draws)
    np.testing.assert_allclose(density.mean, codes.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(density.deviation, codes.std(axis=0), rtol=1e-4)


def test_codes_without_a_range_are_drawn_as_before():
    family, codes = codes_of("linear")
    before = distributions.FullGaussian.fit(codes).sample(KEY, 10)
    np.testing.assert_array_equal(family.fitted(codes).sample(KEY, 10), before)
    assert family.onto(before) is before


def test_a_copula_of_gaussian_codes_has_their_correlation():
    draw = np.random.default_rng(0)
    factor = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])
    codes = (draw.normal(size=(5000, 3)) @ factor.T).astype(np.float32)
    found = GaussianCopula.fit(codes)
    want = np.corrcoef(codes.T)
    np.testing.assert_allclose(found.factor @ found.factor.T, want, atol=0.03)
    np.testing.assert_allclose(np.corrcoef(found.sample(KEY, 20_000).T), want, atol=0.03)
    # any increasing map of a dimension leaves the scores
    moved = GaussianCopula.fit(np.exp(codes))
    np.testing.assert_allclose(
        moved.factor @ moved.factor.T, found.factor @ found.factor.T, atol=1e-5
    )
    np.testing.assert_allclose(moved.sample(KEY, 50), np.exp(found.sample(KEY, 50)), rtol=1e-5)


def test_parts_of_a_copula():
    codes = codes_of("relu")[1]
    found = GaussianCopula.fit(codes)
    first = found.first(2)
    np.testing.assert_allclose(
        first.factor @ first.factor.T, (found.factor @ found.factor.T)[:2, :2], atol=1e-6
    )
    assert first.sample(KEY).shape == (2,)
    assert first.sample(KEY, 5).shape == (5, 2)
    medians = latents.at_temperature(found, 0.0).sample(KEY, 3)
    np.testing.assert_array_equal(medians, np.sort(codes, axis=0)[[250] * 3])
    once = latents.at_temperature(found, 1.0).sample(KEY, 3)
    np.testing.assert_array_equal(once, found.sample(KEY, 3))
    # a dimension that never fires is 0 in every draw
    dead = GaussianCopula.fit(np.column_stack([codes, np.zeros(len(codes))]))
    assert (np.asarray(dead.sample(KEY, 100))[:, -1] == 0).all()


@pytest.mark.parametrize(("activation", "ends"), [("relu", (0, None)), ("sigmoid", (0, 1))])
def test_points_outside_of_the_range_become_the_nearest_code(activation, ends):
    family = latents.Deterministic(activation)
    z = np.array([[-1.0, 0.0, 0.5, 2.0]], np.float32)
    np.testing.assert_array_equal(family.onto(z), np.clip(z, *ends))
    # the derivative at a code is 1, also of one that is 0
    slope = jax.jacfwd(lambda row: family.onto(row[None])[0])(z[0])
    np.testing.assert_array_equal(np.diag(slope)[1:3], 1)
    assert not family.is_curved


@pytest.mark.parametrize(("penalty", "high"), [("l1", None), ("kl", 1)])
def test_pictures_draw_codes_in_their_range(penalty, high):
    options = {"objective": "sparse", "penalty": penalty, "likelihood": "gaussian"}
    model = vae_jax.make_model((6,), latent_dim=4, widths=(8,), **options)
    params = model.init(KEY)
    codes = np.asarray(model.encode(params, jax.random.normal(KEY, (200, 6))).mode)
    prior = _seen._prior(model, params, codes)
    asked = types.SimpleNamespace(sampler=None, sampling_temperature=None)
    draws, source = _seen._draws(asked, prior, model, {"drawn": codes}, KEY)
    assert source == "a Gaussian copula fit to the codes"
    for each in (
        draws,
        _seen._draws(
            types.SimpleNamespace(sampler="gaussian", sampling_temperature=None),
            *(prior, model, {"drawn": codes}, KEY),
        )[0],
    ):
        drawn = np.asarray(each.sample(KEY, 300))
        np.testing.assert_array_equal(drawn, np.clip(drawn, 0, high))


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
