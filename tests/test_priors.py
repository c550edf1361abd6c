"""Other priors than N(0, I): what assumes it works from the value of the prior, or refuses."""

import dataclasses
import types
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats

from vae_jax import data, distributions, latents, likelihoods, losses, networks, objectives
from vae_jax.distributions import DiagonalGaussian, FullGaussian
from vae_jax.errors import UsageError
from vae_jax.evaluation import ais, elbo, exact, latent_use, nll
from vae_jax.evaluation.subject import NotApplicableError, Subject
from vae_jax.lab import metrics, pictures
from vae_jax.lab.pictures import latent_scatter, manifold, one_to_many, traversal
from vae_jax.model import Model

MEAN, DEVIATION = np.float32([1.5, -0.5, 0.25]), np.float32([0.6, 2.0, 0.3])
KEY = jax.random.key(0)
SIZE, VARIANCE, N = 5, 0.4, 7


class Mixture(NamedTuple):
    """Two Gaussians, of one weight and one deviation for all dimensions: means [2, L]."""

    means: jax.Array
    spread: jax.Array

    @property
    def mean(self):
        return self.means.mean(axis=0)

    @property
    def deviation(self):
        return jnp.sqrt(self.spread**2 + self.means.var(axis=0))

    def first(self, num):
        return self._replace(means=self.means[:, :num])

    def sample(self, key, num_samples=None):
        shape = () if num_samples is None else (num_samples,)
        which, noise = jax.random.split(key)
        centers = self.means[jax.random.randint(which, shape, 0, 2)]
        return centers + self.spread * jax.random.normal(noise, centers.shape)

    def log_prob(self, z):
        def one(mean):
            logvar = 2 * jnp.log(self.spread)
            each = distributions.gaussian_log_prob(z, jnp.broadcast_to(mean, z.shape), logvar)
            return each.sum(axis=-1)

        return jnp.logaddexp(one(self.means[0]), one(self.means[1])) - jnp.log(2.0)


class Opaque(NamedTuple):
    """The same, which tells neither its mean nor its deviation."""

    inner: Mixture

    def sample(self, key, num_samples=None):
        return self.inner.sample(key, num_samples)

    def log_prob(self, z):
        return self.inner.log_prob(z)


MEANS, SPREAD = np.float32([[-2.0, 1.0, 0.0], [2.0, 0.5, 0.0]]), 0.7


def shifted(latent_dim):
    mean, deviation = jnp.asarray(MEAN[:latent_dim]), jnp.asarray(DEVIATION[:latent_dim])
    return DiagonalGaussian(mean, 2 * jnp.log(deviation))


def mixture(latent_dim):
    return Mixture(jnp.asarray(MEANS[:, :latent_dim]), jnp.float32(SPREAD))


PRIORS = {
    "standard": distributions.standard_gaussian,
    "shifted": shifted,
    "mixture": mixture,
    "opaque": lambda latent_dim: Opaque(mixture(latent_dim)),
    "full": lambda latent_dim: FullGaussian(jnp.zeros(latent_dim), 3 * jnp.eye(latent_dim)),
}


@dataclasses.dataclass(frozen=True)
class Latent(latents.Gaussian):
    """Gaussian posteriors beside another prior: the family says nothing of it."""

    name: str = "standard"

    def prior(self, params, latent_dim, latent_mask=None):
        del params
        return PRIORS[self.name](latent_dim)


def identity(stored, key):
    del key
    return stored


def linear(name, latent_dim=1, mask=None):
    """A linear Gaussian model: x = bias + W z + noise, p(z) one of `PRIORS`."""
    encoder, decoder = networks.build("linear", shape=(SIZE,), latent_dim=latent_dim)
    gaussian = likelihoods.Gaussian("learned")
    model = Model(encoder, decoder, gaussian, (SIZE,), latent_dim, mask, Latent(name))
    rng, params = np.random.default_rng(0), model.init(KEY)
    kernel, bias = (
        np.float32(rng.normal(size=(latent_dim, SIZE))),
        np.float32(rng.normal(size=SIZE)),
    )
    params["decoder"] = {"latent": {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}}
    params["likelihood"] = {"logvar": jnp.log(jnp.float32(VARIANCE))}
    return model, params, (kernel, bias)


def gaussian_log_prob(x, kernel, bias, mean, deviation):
    """log p(x) under z ~ N(mean, diag deviation²)."""
    scaled = deviation[:, None] * kernel
    covariance = scaled.T @ scaled + VARIANCE * np.eye(SIZE)
    return scipy.stats.multivariate_normal(bias + mean @ kernel, covariance).logpdf(x)


def expected_nll(name, x, kernel, bias):
    x, num = np.float64(x), len(kernel)
    if name == "shifted":
        return -gaussian_log_prob(x, kernel, bias, MEAN[:num], DEVIATION[:num])
    each = [gaussian_log_prob(x, kernel, bias, m[:num], np.full(num, SPREAD)) for m in MEANS]
    return -(scipy.special.logsumexp(each, axis=0) - np.log(2))


X = np.float32(np.random.default_rng(3).normal(size=(N, SIZE)))


class Rows:
    """A dataset of three splits as an evaluation sees it."""

    def __init__(self):
        self.train = self.valid = self.test = data.Split(X, labels=None, factors=None)


def subject_of(name, latent_dim=1):
    model, params, _ = linear(name, latent_dim)
    return Subject(model, params, Rows(), preprocess=identity, key=KEY)


# --- The likelihood


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_the_closed_form_is_that_of_the_prior(latent_dim):
    """On the family alone it would be that of N(0, I), nats away."""
    model, params, (kernel, bias) = linear("shifted", latent_dim)
    wanted = expected_nll("shifted", X, kernel, bias)
    for found in (
        exact.closed_form(model, params, X, KEY, preprocess=identity),
        exact.quadrature(model, params, X, KEY, preprocess=identity),
    ):
        np.testing.assert_allclose(found.nll, wanted, rtol=1e-4)
    away = -gaussian_log_prob(X, kernel, bias, np.zeros(latent_dim), np.ones(latent_dim))
    assert np.abs(away - wanted).max() > 1
    measured = exact.measure(subject_of("shifted", latent_dim))
    assert measured["method"] == "closed_form"
    assert measured["nll"] == pytest.approx(wanted.mean(), rel=1e-4)


def test_a_masked_dimension_of_another_prior_integrates_to_one():
    mask = jnp.float32([0, 1, 0])
    model, params, (kernel, bias) = linear("shifted", 3, mask)
    kept = np.array([False, True, False])
    wanted = -gaussian_log_prob(X, kernel[kept], bias, MEAN[kept], DEVIATION[kept])
    for method in (exact.closed_form, exact.quadrature):
        found = method(model, params, X, KEY, preprocess=identity)
        np.testing.assert_allclose(found.nll, wanted, rtol=1e-4)


def test_a_mixture_is_integrated_and_has_no_closed_form():
    model, params, (kernel, bias) = linear("mixture")
    wanted = expected_nll("mixture", X, kernel, bias)
    with pytest.raises(
        UsageError, match=r"^closed_form: p\(z\) is of type Mixture, must be a Diagonal"
    ):
        exact.closed_form(model, params, X, KEY, preprocess=identity)
    measured = exact.measure(subject_of("mixture"))
    assert measured["method"] == "quadrature"
    assert measured["nll"] == pytest.approx(wanted.mean(), rel=1e-4)


def test_a_prior_that_a_grid_cannot_integrate_is_refused():
    model, params, _ = linear("opaque")
    told = (
        r"^p\(z\) is of type Opaque, without mean, deviation, which a grid needs; take ais or nll"
    )
    with pytest.raises(UsageError, match=told):
        exact.quadrature(model, params, X, KEY, preprocess=identity)
    with pytest.raises(NotApplicableError, match=told):
        exact.measure(subject_of("opaque"))
    # what is named instead helps
    estimate = nll.evaluate(model, params, X, KEY, preprocess=identity, num_samples=10)
    assert np.isfinite(float(estimate.nll))
    masked = linear("mixture", 3, jnp.float32([1, 0, 0]))[:2]
    with pytest.raises(UsageError, match="without marginal of the dimensions that are not masked"):
        exact.quadrature(*masked, X, KEY, preprocess=identity)
    with pytest.raises(UsageError, match="FullGaussian, without log_prob"):
        exact.quadrature(*linear("full")[:2], X, KEY, preprocess=identity)


@pytest.mark.parametrize(
    ("name", "initial"),
    [
        ("mixture", "prior"),
        pytest.param("mixture", "posterior", marks=pytest.mark.slow),
        pytest.param("shifted", "prior", marks=pytest.mark.slow),
        pytest.param("shifted", "posterior", marks=pytest.mark.slow),
        pytest.param("opaque", "posterior", marks=pytest.mark.slow),
    ],
)
def test_annealing_reaches_the_likelihood_under_any_prior(name, initial):
    model, params, (kernel, bias) = linear(name)
    wanted = expected_nll(name.replace("opaque", "mixture"), X, kernel, bias)
    settings = {"num_chains": 100, "num_temperatures": 60, "initial": initial}
    found = ais.sample(model, params, X, KEY, preprocess=identity, **settings)
    np.testing.assert_allclose(found.nll, wanted, atol=0.25)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shifted", "mixture"])
def test_annealing_holds_the_likelihood_from_both_sides_under_any_prior(name):
    model, params, (kernel, bias) = linear(name)
    settings = {"num_examples": 5, "num_chains": 50, "num_temperatures": 100}
    bounds = ais.sandwich(model, params, KEY, **settings, initial="prior")
    _, x = ais.simulate(model, params, KEY, num_examples=5)
    wanted = -expected_nll(name, x, kernel, bias)
    np.testing.assert_allclose(bounds.lower, wanted, atol=0.3)
    np.testing.assert_allclose(bounds.joint_upper, wanted, atol=0.3)


def test_annealing_from_a_prior_without_a_scale_is_refused():
    model, params, _ = linear("opaque")
    told = (
        r"^initial=prior: p\(z\) is of type Opaque, which has no deviation .*: give initial=poste"
    )
    with pytest.raises(UsageError, match=told):
        ais.sample(model, params, X, KEY, initial="prior", preprocess=identity)


# --- The parts of the rate


def posteriors(num=40, latent_dim=3):
    rng = np.random.default_rng(1)
    mean, logvar = rng.normal(size=(2, num, latent_dim)).astype(np.float32)
    return jnp.asarray(mean), jnp.asarray(0.3 * logvar - 1)


def moved(mean, logvar):
    """The same posteriors in units in which N(0, I) is the shifted prior."""
    prior = shifted(mean.shape[1])
    return prior.mean[None] + prior.deviation[None] * mean, logvar + prior.logvar[None]


def test_the_parts_of_the_rate_do_not_depend_on_units():
    """z' = m + s z with p(z') = N(m, s²): each part is as of z under N(0, I)."""
    mean, logvar = posteriors()
    prior, mask = shifted(3), jnp.float32([1, 0, 1])
    z = DiagonalGaussian(mean, logvar).sample(KEY)
    weights = losses.aggregate_weights(len(z), 1000)
    of_prior = {"prior_mean": prior.mean, "prior_logvar": prior.logvar}
    both = moved(mean, logvar)
    for kept in (None, mask):
        parts = losses.rate_decomposition(z, mean, logvar, weights, kept)
        there = prior.mean[None] + prior.deviation[None] * z
        other = losses.rate_decomposition(there, *both, weights, kept, **of_prior)
        for a, b in zip(parts, other, strict=True):
            np.testing.assert_allclose(a, b, atol=2e-4)


def test_latent_use_does_not_depend_on_units():
    mean, logvar = posteriors()
    plain = latent_use.evaluate(mean, logvar, KEY, num_samples=200)
    other = latent_use.evaluate(*moved(mean, logvar), KEY, prior=shifted(3), num_samples=200)
    for name in (
        *("rate", "mutual_information", "marginal_kl", "total_correlation", "dimension_wise_kl"),
        *("rate_per_dim", "kl_per_dim", "gaussian_tc_means", "gaussian_tc_samples", "active_units"),
    ):
        np.testing.assert_allclose(other[name], plain[name], rtol=1e-3, atol=1e-3, err_msg=name)


@pytest.mark.parametrize(
    ("name", "lacking"), [("opaque", "first, mean, deviation"), ("full", "log_prob")]
)
def test_latent_use_of_a_prior_without_its_terms_is_refused(name, lacking):
    mean, logvar = posteriors()
    prior = PRIORS[name](3)
    told = rf"p\(z\) is of type {type(prior).__name__}, without {lacking}, which its terms need$"
    with pytest.raises(UsageError, match=f"^latent_use: {told}"):
        latent_use.evaluate(mean, logvar, KEY, prior=prior, num_samples=10)
    density = latent_use.AggregateDensity(jnp.zeros(40), jnp.zeros((40, 3)))
    with pytest.raises(UsageError, match=f"^decompose: {told}"):
        latent_use.decompose(mean, DiagonalGaussian(mean, logvar), density, prior)
    with pytest.raises(NotApplicableError, match=f"^{told}"):
        latent_use.measure(subject_of(name), num_samples=10)


def test_runs_of_another_prior_are_not_compared():
    for name in ("mixture", "opaque", "full"):
        assert metrics.code_of(types.SimpleNamespace(), subject_of(name), {}) is None


def test_latent_use_of_a_mixture_is_measured():
    """KL(q(z) ‖ p(z)) by quadrature, of q(z) with as many components as examples."""
    subject = subject_of("mixture")
    found = latent_use.measure(subject, num_samples=2000)
    axis = np.linspace(-12, 12, 4001)
    q, prior = subject.posterior(), mixture(1)
    each = scipy.stats.norm.pdf(axis, np.float64(q.mean), np.exp(0.5 * np.float64(q.logvar)))
    aggregate = each.mean(axis=0)
    log_p = np.float64(prior.log_prob(jnp.asarray(axis[:, None], jnp.float32)))
    terms = -scipy.special.entr(aggregate) - aggregate * log_p
    expected = scipy.integrate.trapezoid(terms, axis)
    error = found["marginal_kl_standard_error"]
    assert abs(found["marginal_kl"] - expected) < 5 * error < 0.5


def test_a_gaussian_prior_of_any_kind_is_one():
    for name in ("standard", "shifted"):
        subject_of(name).require_gaussian()


@pytest.mark.parametrize("name", ["shifted", "mixture"])
def test_the_decomposed_rate_is_that_of_the_prior(name):
    model, params, _ = linear(name, 3)
    parts, _ = elbo.decompose_rate(model, params, X, KEY, 50, preprocess=identity)
    posterior = model.encode(params, X)
    z = posterior.sample(jax.random.split(KEY)[1])
    rates = posterior.log_prob(z) - model.prior(params).log_prob(z)
    assert float(sum(parts.values())) == pytest.approx(float(rates.mean()), rel=1e-4)


@pytest.mark.parametrize("name", ["standard", "shifted"])
def test_the_rate_of_a_masked_dimension_is_zero(name):
    """Its posterior is the prior, whichever that is."""
    model, params, _ = linear(name, 3, jnp.float32([1, 0, 1]))
    rates = distributions.kl_divergence(model.encode(params, X), model.prior(params))
    np.testing.assert_allclose(rates[:, 1], 0, atol=1e-6)
    assert (rates[:, np.array([0, 2])] > 1e-3).all()


def test_a_mask_beside_a_prior_of_another_type_is_refused():
    model, params, _ = linear("mixture", 3, jnp.float32([1, 0, 1]))
    with pytest.raises(UsageError, match=r"^latent_mask: p\(z\) is of type Mixture"):
        model.encode(params, X)


# --- Objectives

BATCH = {"x": jnp.asarray(X), "mask": jnp.ones(N)}
ASSUMING = {"beta_tc_vae": {"num_examples": 50, "beta": 1.0}, "dip_vae_i": {}, "dip_vae_ii": {}}


@pytest.mark.parametrize("name", ["shifted", "mixture"])
def test_beta_tc_vae_at_1_is_the_elbo_of_the_prior(name):
    model, params, _ = linear(name, 3)
    loss, aux = objectives.load("beta_tc_vae")(model, params, BATCH, KEY, **ASSUMING["beta_tc_vae"])
    posterior = model.encode(params, BATCH["x"])
    z = posterior.sample(KEY)
    rates = posterior.log_prob(z) - model.prior(params).log_prob(z)
    np.testing.assert_allclose(loss, aux["distortion"] + rates, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("name", "share"), [("dip_vae_i", 0.0), ("dip_vae_ii", 1.0)])
def test_dip_vae_draws_the_covariance_to_that_of_the_prior(name, share):
    model, params, _ = linear("shifted", 3)
    _, aux = objectives.load(name)(model, params, BATCH, KEY, lambda_od=2.0, lambda_d=3.0)
    posterior = jax.tree.map(np.asarray, model.encode(params, BATCH["x"]))
    covariance = np.cov(posterior.mean.T, bias=True)
    covariance = covariance + share * np.diag(np.exp(posterior.logvar).mean(axis=0))
    distance = np.square(covariance / np.outer(DEVIATION, DEVIATION) - np.eye(3))
    diagonal = np.trace(distance)
    expected = 2 * (distance.sum() - diagonal) + 3 * diagonal
    np.testing.assert_allclose(aux["penalty"], expected, rtol=1e-3)


@pytest.mark.parametrize("name", ["dip_vae_i", "dip_vae_ii"])
def test_objectives_that_assume_a_gaussian_prior_refuse_another(name):
    model, params, _ = linear("mixture", 3)
    with pytest.raises(
        UsageError, match=rf"^{name}: p\(z\) is of type Mixture, must be a Diagonal"
    ):
        objectives.load(name)(model, params, BATCH, KEY, **ASSUMING[name])


# --- Pictures


def seen_of(name, latent_dim=2):
    """What pictures are made of, whose decoder keeps the codes that it is shown."""
    model, params, _ = linear(name, latent_dim)
    shown = []

    def decode(z, condition=None):
        del condition
        shown.append(np.array(z))
        return np.zeros((*z.shape[:2], 4, 4, 1), np.float32)

    codes = np.random.default_rng(0).normal(size=(9, latent_dim)).astype(np.float32)
    nothing = dict.fromkeys(pictures.Seen._fields)
    seen = pictures.Seen(**nothing)._replace(
        model=model,
        params=params,
        decode=decode,
        x=X,
        codes=codes,
        means=codes,
        prior=model.prior(params),
        rates=np.ones(latent_dim),
        is_active=np.ones(latent_dim, bool),
        continuous=np.arange(latent_dim),
        few=np.arange(3),
    )
    return seen, shown


def drawn(module, seen):
    """The picture of images of a file, or None if what it needs is not there."""
    return next(each for each in module.PICTURES if "image" in each.kinds)(seen)


def test_the_manifold_and_the_traversal_are_in_the_units_of_the_prior():
    seen, shown = seen_of("shifted")
    picture = drawn(manifold, seen)
    levels = scipy.stats.norm.cdf(shown[0], MEAN[:2], DEVIATION[:2])
    wanted = np.linspace(0.02, 0.98, manifold.NUM_QUANTILES)
    np.testing.assert_allclose(levels[0, :, 0], wanted, atol=1e-4)
    np.testing.assert_allclose(levels[:, 0, 1], wanted, atol=1e-4)
    # the numbers beside the picture are those that were decoded
    assert picture.table.columns[:2] == ("z0", "z1")
    table = np.array([row[:2] for row in picture.table.rows])
    np.testing.assert_allclose(table, shown[0].reshape(-1, 2), atol=1e-4)

    traversed = traversal.traversed(seen)
    for dimension, z in enumerate(shown[1]):
        expected = MEAN[dimension] + DEVIATION[dimension] * traversal.VALUES
        np.testing.assert_allclose(z[:, dimension], expected, rtol=1e-5)
    np.testing.assert_array_equal(traversed["values"], traversal.VALUES)
    (axes,) = drawn(traversal, seen).figure.axes
    assert "standard deviations of the prior" in axes.get_xlabel()
    (axes,) = drawn(traversal, seen_of("standard")[0]).figure.axes
    assert axes.get_xlabel() == "value of this dimension, the others held"


def of_rates(rates, example=None):
    """What a traversal is drawn of, for these rates."""
    order = np.argsort(-np.asarray(rates), kind="stable")
    seen, shown = seen_of("standard", len(rates))
    return seen._replace(rates=np.asarray(rates), continuous=order, example=example), shown


@pytest.mark.parametrize(
    ("rates", "dimensions", "told"),
    [
        ((0.5, 3.0, 0.01, 1.5), [1, 3, 0], "3 dimensions carry 100% of the rate, 1 left out"),
        ((0.0, 0.0, 2.0), [2], "1 dimension carries 100% of the rate, 2 left out"),
        ((0.0, 0.0), [0], "1 dimension carries 0% of the rate, 1 left out"),
        ([1.0] * 16, [*range(12)], "12 dimensions carry 75% of the rate, 4 left out"),
    ],
)
def test_a_traversal_shows_the_dimensions_that_matter_and_says_what_is_left_out(
    rates, dimensions, told
):
    seen, _ = of_rates(rates)
    assert traversal.traversed(seen)["dimensions"].tolist() == dimensions
    (axes,) = drawn(traversal, seen).figure.axes
    assert axes.get_title("left").endswith(f": {told}")
    frames = next(each for each in traversal.PICTURES if each.ending == ".gif")(seen)
    assert frames.ndim == 4


def test_a_traversal_is_of_the_example_asked_for_or_of_the_one_nearest_to_the_mean():
    seen, shown = of_rates((2.0, 1.0))
    codes = np.array([[9.0, 1.0], [1.1, -0.9], [-9.0, 1.0], [1.0, -5.0]], np.float32)
    seen = seen._replace(codes=codes)
    traversal.traversed(seen)  # the mean is (0.525, -0.975)
    np.testing.assert_array_equal(shown[-1][0, :, 1], np.full(len(traversal.VALUES), codes[1, 1]))
    assert "a typical test example, number 1:" in drawn(traversal, seen).figure.axes[0].get_title(
        "left"
    )
    seen = seen._replace(example=3)
    traversal.traversed(seen)
    np.testing.assert_array_equal(shown[-1][1, :, 0], np.full(len(traversal.VALUES), codes[3, 0]))
    assert "of test example 3:" in drawn(traversal, seen).figure.axes[0].get_title("left")


def test_the_ellipses_are_those_of_the_prior():
    axes = drawn(latent_scatter, seen_of("shifted")[0]).figure.axes[0]
    for sigma, patch in zip((1, 2), axes.patches, strict=True):
        in_data = patch.get_transform() - axes.transData
        outline = in_data.transform(patch.get_path().vertices)
        for side, end in ((-1, outline.min(axis=0)), (1, outline.max(axis=0))):
            np.testing.assert_allclose(end, MEAN[:2] + side * sigma * DEVIATION[:2], atol=1e-3)
    for name in ("mixture", "opaque"):
        assert not drawn(latent_scatter, seen_of(name)[0]).figure.axes[0].patches


def test_ellipses_are_of_typical_examples_and_named_with_the_prior():
    asked = []

    def covariances(rows, plane):
        asked.append((rows, plane))
        return np.tile(0.25 * np.eye(2), (len(rows), 1, 1))

    seen = seen_of("shifted", 3)[0]._replace(continuous=np.array([2, 0, 1]))
    for name, told in (("standard", "one and two of the prior N(0, I)"), ("shifted", "prior")):
        seen = seen_of(name, 3)[0]._replace(continuous=np.array([2, 0, 1]))
        picture = drawn(latent_scatter, seen._replace(covariances=covariances))
        rows, plane = asked[-1]
        np.testing.assert_array_equal(plane, np.eye(3)[[0, 2]])
        caption = picture.figure.get_supxlabel()
        assert caption.startswith(f"ellipses: one standard deviation of q(z|x) of {len(rows)} ")
        assert caption.endswith(told)
        assert picture.table.rows[rows[0]][2:] == (0.25, 0.0, 0.25)
    # not Gaussian, or deterministic: as it was
    picture = drawn(latent_scatter, seen._replace(covariances=lambda *_: None))
    assert (picture.figure.get_supxlabel(), picture.table.columns) == ("", ("z0", "z2"))


def test_typical_examples_are_spread_over_labels_and_lie_near_their_mean():
    codes = np.concatenate([np.zeros((40, 2)), np.full((40, 2), 9.0), np.full((5, 2), -5.0)])
    codes += 0.01 * np.random.default_rng(0).normal(size=codes.shape)
    codes[::2] += 100.0  # the farther half of each label
    codes[1] = np.nan
    labels = np.repeat([0, 4, -1], [40, 40, 5])
    codes[80:84:2] -= 100.0  # of the five of the third label one stays far
    found = latent_scatter.typical(codes, labels, 9)
    assert np.bincount(labels[found] + 1).tolist() == [3, 3, 0, 0, 0, 3]
    assert np.abs(codes[found[labels[found] < 0]] + 5).max() < 1
    assert 1 not in found
    assert (np.diff(found) > 0).all()
    assert len(latent_scatter.typical(codes, np.arange(85), 9)) == 9
    assert len(latent_scatter.typical(codes, None, 200)) == 42
    assert not len(latent_scatter.typical(np.full((3, 2), np.nan), None, 9))


def test_one_input_has_many_codes_unless_its_code_is_decided():
    seen, shown = seen_of("standard", 3)
    noise = np.random.default_rng(0).normal(size=(3, one_to_many.NUM_DRAWS, 3)).astype(np.float32)
    asked = []

    def draw(numbers, num):
        asked.append(numbers.tolist())
        return np.zeros((len(numbers), 4, 4, 1), np.float32), noise[: len(numbers), :num]

    # 0 to 2 are the few; 0 has the label of the example asked for, and 2 an unknown one as 5 has
    seen = seen._replace(draw=draw, example=7, labels=np.array([1, 0, -1, 0, 0, -1, 0, 1, 0]))
    picture = drawn(one_to_many, seen._replace(label_names=("oak", "ash")))
    assert asked == [[7, 1, 2]]
    np.testing.assert_array_equal(shown[-1], noise)
    words = {text.get_text() for text in picture.figure.texts}
    assert {"number 7\nlabeled ash", "number 1\nlabeled oak", "number 2"} <= words
    assert picture.table.columns[3:5] == ("z0", "z1")
    assert drawn(one_to_many, seen._replace(draw=lambda n, k: (None, 0 * noise))) is None
    assert drawn(one_to_many, seen._replace(draw=None)) is None


def test_pictures_that_need_a_gaussian_prior_are_skipped():
    for name in ("mixture", "opaque"):
        assert drawn(manifold, seen_of(name)[0]) is None
    seen, shown = seen_of("mixture")
    assert traversal.traversed(seen) is not None
    deviation = np.sqrt(SPREAD**2 + MEANS[:, 0].var())
    expected = MEANS[:, 0].mean() + deviation * traversal.VALUES
    np.testing.assert_allclose(shown[0][0, :, 0], expected, rtol=1e-5)
    assert drawn(traversal, seen_of("opaque")[0]) is None
