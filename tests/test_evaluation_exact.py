"""The exact log-likelihood against SciPy, known integrals, published values and brute force."""

import compiling
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from properties import initial, jitted, slow

from vae_jax import data, likelihoods, networks
from vae_jax.errors import UsageError
from vae_jax.evaluation import elbo, exact, nll
from vae_jax.model import Model


def identity(stored, key):
    del key
    return stored


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def make(network, shape, latent_dim, likelihood, **settings):
    widths = {"widths": (8,)} if network == "mlp" else {}
    encoder, decoder = networks.build(
        network,
        shape=shape,
        latent_dim=latent_dim,
        num_outputs=likelihood.num_outputs,
        dtype=settings.pop("dtype", jnp.float32),
        **widths,
    )
    model = Model(encoder, decoder, likelihood, shape, latent_dim, **settings)
    return model, jax.tree.map(lambda leaf: 2 * np.asarray(leaf), initial(model))


def linear(latent_dim, variance=0.4, size=6, **settings):
    """A linear model whose posterior is correlated, its encoder far off, and p(x)."""
    model, params = make("linear", (size,), latent_dim, likelihoods.Gaussian("learned"), **settings)
    weights, mean = normal(1, latent_dim, size), normal(2, size)
    params["decoder"] = {"latent": {"kernel": np.float32(weights), "bias": np.float32(mean)}}
    params["likelihood"] = {"logvar": np.log(np.float32(variance))}
    active = weights if model.latent_mask is None else np.asarray(model.latent_mask) @ weights
    if model.latent_mask is not None:
        active = np.asarray(model.latent_mask)[:, None] * weights
    covariance = active.T @ active + variance * np.eye(size)
    return model, params, scipy.stats.multivariate_normal(mean, covariance)


# ---------------------------------------------------------------- linear-Gaussian models


@pytest.mark.parametrize("latent_dim", [1, 3, 7])
@pytest.mark.parametrize("variance", [1e-4, 0.3, "per_dimension"])
def test_a_linear_gaussian_is_a_gaussian(latent_dim, variance):
    weights, mean = normal(0, 5, latent_dim), normal(1, 5)
    if variance == "per_dimension":
        variance = np.exp(normal(2, 5))
    covariance = weights @ weights.T + variance * np.eye(5)
    density = scipy.stats.multivariate_normal(mean, covariance)
    x = np.vstack([density.rvs(4, random_state=0), mean + 3 * normal(3, 4, 5)])
    arguments = jax.tree.map(np.float32, (x, mean, weights, variance))
    # where the noise is small, the rounding of x itself is a part of it
    expected = density.logpdf(np.float64(arguments[0]))
    value = jitted(exact.linear_gaussian_log_prob)(*arguments)
    np.testing.assert_allclose(value, expected, rtol=2e-3, atol=1e-4)


def test_no_digits_are_lost_where_noise_explains_most():
    """784 dimensions, of which the latents explain little: terms of 1e3 nats do not cancel."""
    weights, mean = 0.3 * normal(0, 784, 10), normal(1, 784)
    covariance = weights @ weights.T + 0.035 * np.eye(784)
    density = scipy.stats.multivariate_normal(mean, covariance)
    x = np.float32(density.rvs(20, random_state=0))
    value = jitted(exact.linear_gaussian_log_prob)(x, *map(np.float32, (mean, weights, 0.035)))
    np.testing.assert_allclose(value, density.logpdf(np.float64(x)), atol=5e-3)


def test_a_model_is_read_as_it_was_made():
    model, params, _ = linear(3)
    read = exact.linear_gaussian(model, params)
    np.testing.assert_array_equal(read.mean, params["decoder"]["latent"]["bias"])
    np.testing.assert_array_equal(read.weights, params["decoder"]["latent"]["kernel"].T)
    np.testing.assert_allclose(read.variance, np.full(6, 0.4), rtol=1e-6)
    logvar = jnp.float32(normal(4, 6))
    model = model.replace(likelihood=likelihoods.Gaussian("learned_per_dimension"))
    read = exact.linear_gaussian(model, {**params, "likelihood": {"logvar": logvar}})
    np.testing.assert_allclose(read.variance, np.exp(logvar), rtol=1e-5)


@pytest.mark.parametrize(
    ("network", "likelihood"),
    [
        ("mlp", likelihoods.Gaussian(0.1)),
        ("linear", likelihoods.Laplace(0.1)),
        ("linear", likelihoods.Bernoulli()),
        ("linear", likelihoods.DiscretizedLogistic(0.1)),
        ("linear", likelihoods.Categorical(4)),
    ],
)
def test_other_models_have_no_closed_form(network, likelihood):
    model, params = make(network, (4, 4, 1), 3, likelihood)
    with pytest.raises(UsageError, match="closed form"):
        exact.linear_gaussian(model, params)


def test_a_variance_that_each_batch_brings_is_fixed_first():
    model, params = make("linear", (4, 4, 1), 3, likelihoods.Gaussian("optimal"))
    with pytest.raises(UsageError, match=r"no density: fix it with .*freeze_likelihood"):
        exact.linear_gaussian(model, params)
    x, key = normal(0, 8, 4, 4, 1), jax.random.key(0)
    fixed, _ = elbo.freeze_likelihood(model, params, x, key, preprocess=lambda x, key: x)
    assert jnp.unique(exact.linear_gaussian(fixed, params).variance).size == 1


@pytest.mark.parametrize("mask", [None, (1.0, 0.0, 1.0)])
def test_closed_form_of_a_model(mask):
    model, params, density = linear(3, latent_mask=None if mask is None else jnp.array(mask))
    x = density.rvs(7, random_state=0)
    result = exact.closed_form(
        model, params, jnp.float32(x), jax.random.key(0), preprocess=identity, num_rows=3
    )
    np.testing.assert_allclose(result.nll, -density.logpdf(x), rtol=1e-4)
    np.testing.assert_array_equal(result.error, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize(("q", "train", "test"), [(2, 12.428, 14.360), (10, 182.155, 186.024)])
def test_published_values_of_mnist(data_dir, q, train, test):
    """Probabilistic PCA of all 60,000 training images, pixels/255, to the last published digit."""
    dataset = data.load("mnist", data_dir=data_dir, num_valid=0)
    x = np.asarray(dataset.train.x, np.float32).reshape(60_000, -1) / np.float32(255)
    mean = x.mean(axis=0, dtype=np.float64)
    second = (x.T @ x).astype(np.float64) / len(x)
    values, vectors = np.linalg.eigh(second - np.outer(mean, mean))
    variance = values[:-q].mean()
    weights = vectors[:, -q:] * np.sqrt(values[-q:] - variance)
    model, params = make("linear", dataset.shape, q, likelihoods.Gaussian("learned"))
    params["decoder"] = {"latent": {"kernel": weights.T, "bias": mean}}
    params["likelihood"] = {"logvar": np.log(variance)}
    params = jax.tree.map(jnp.float32, params)

    def decode(stored, key):
        del key
        return dataset.decode(stored)

    for split, expected in ((dataset.train, train), (dataset.test, test)):
        result = exact.evaluate(
            model, params, jnp.asarray(split.x), jax.random.key(0), preprocess=decode
        )
        assert result["method"] == "closed_form"
        assert float(result["nll"]) == pytest.approx(-expected, abs=1e-3)


# ---------------------------------------------------------------- integrals


def integrate(log_density, dim, reach=8.0, **settings):
    @jax.jit
    def whole(corner):
        return exact.integrate(log_density, -corner, corner, **settings)

    return whole(np.full(dim, reach, np.float32))


@pytest.mark.parametrize("deviation", [1.0, 1e-3, *slow(1e-1, 1e-2)])
@pytest.mark.parametrize("ratio", [None, 1.0, 0.02, *slow(0.1)])
def test_gaussians_from_wide_to_narrow(deviation, ratio):
    """Of one dimension, or two of that ratio, along axes that are not the grid's."""
    deviations = [deviation] if ratio is None else [deviation, deviation * ratio]
    dim = len(deviations)
    turn = np.linalg.qr(normal(0, dim, dim))[0]
    mean = np.float32(np.array([0.813, -1.377])[:dim])
    # rows of R / s, so that the exponent is a square
    root = np.float32((turn / deviations).T)

    def log_density(z):
        scaled = jnp.matmul(z - mean[None], root.T, precision="highest")
        return -0.5 * jnp.sum(jnp.square(scaled), axis=1)

    result = integrate(log_density, dim)
    expected = 0.5 * dim * np.log(2 * np.pi) - np.log(abs(np.linalg.det(np.float64(root))))
    # at 2e-5 the float32 numbers around 1 are what limits the grid
    tolerance = 1e-5 if min(deviations) > 1e-3 else 1e-3
    assert float(result.value) == pytest.approx(expected, abs=tolerance)
    assert float(result.error) < 1e-3


@pytest.mark.parametrize("power", [0.7, 3.0, 40.0])
def test_gamma_function(power):
    """∫ exp(a z − e^z) dz = Γ(a), skewed."""
    result = integrate(lambda z: power * z[:, 0] - jnp.exp(z[:, 0]), 1, reach=45.0)
    assert float(result.value) == pytest.approx(scipy.special.gammaln(power), rel=1e-5, abs=1e-5)
    assert float(result.error) < 1e-5


@pytest.mark.parametrize("bend", [1.0, 20.0])
def test_a_bent_ridge(bend):
    """∫∫ exp(−x² − b(y − x²)²) dx dy = π/√b."""

    def log_density(z):
        return -jnp.square(z[:, 0]) - bend * jnp.square(z[:, 1] - jnp.square(z[:, 0]))

    result = integrate(log_density, 2, reach=40.0)
    assert float(result.value) == pytest.approx(np.log(np.pi / bend**0.5), abs=1e-3)
    assert float(result.error) < 0.03


@pytest.mark.parametrize("dim", [1, 2])
def test_two_peaks(dim):
    """Narrow ones at −5 and 6, the second e² as large."""

    def log_density(z):
        a, b = (-0.5 * jnp.sum(jnp.square((z - m) / 0.2), axis=1) for m in (-5.0, 6.0))
        return jnp.logaddexp(a, b + 2.0)

    result = integrate(log_density, dim)
    expected = 0.5 * dim * np.log(2 * np.pi * 0.04) + np.logaddexp(0, 2)
    assert float(result.value) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("offset", [-1e4, 1e4])
def test_scale_does_not_matter(offset):
    result = integrate(lambda z: -0.5 * jnp.square(z[:, 0]) + offset, 1)
    assert float(result.value) == pytest.approx(offset + 0.5 * np.log(2 * np.pi), abs=2e-3)


@pytest.mark.parametrize("num_points", [5, 7, 9, 13, 101])
def test_the_error_is_not_below_the_true_one(num_points):
    """A coarse grid knows that it is; so does a box that cuts the integrand off."""
    for scale, reach in ((1.0, 8.0), (2.0, 8.0), (1.0, 3.0), (1.0, 1.5)):
        result = integrate(
            lambda z, scale=scale: -0.5 * jnp.square(z[:, 0] / scale),
            1,
            reach=reach,
            num_points=num_points,
            num_zooms=0,
        )
        expected = np.log(scale * np.sqrt(2 * np.pi))
        assert abs(float(result.value) - expected) <= float(result.error) + 1e-6


# ---------------------------------------------------------------- models of one or two latents


def quadrature(model, params, x, key=0, first=0, preprocess=identity, **settings):
    return exact.quadrature(
        model, params, x, jax.random.key(key), first, preprocess=preprocess, **settings
    )


@pytest.mark.parametrize("latent_dim", [1, 2])
@pytest.mark.parametrize("variance", [1.0, 1e-2, 1e-4])
def test_quadrature_is_the_closed_form(latent_dim, variance):
    model, params, density = linear(latent_dim, variance)
    x = jnp.float32(density.rvs(3, random_state=0))
    expected = exact.closed_form(model, params, x, jax.random.key(0), preprocess=identity)
    result = quadrature(model, params, x)
    np.testing.assert_allclose(result.nll, expected.nll, rtol=1e-4, atol=2e-4)
    np.testing.assert_array_less(result.error, 1e-3)


@pytest.mark.slow
def test_masked_dimensions_are_not_integrated():
    model, params, density = linear(4, latent_mask=jnp.array([0.0, 1.0, 0.0, 1.0]))
    x = density.rvs(3, random_state=0)
    np.testing.assert_allclose(
        quadrature(model, params, jnp.float32(x)).nll, -density.logpdf(x), rtol=1e-4
    )
    model, params, density = linear(2, latent_mask=jnp.zeros(2))
    x = density.rvs(3, random_state=0)
    np.testing.assert_allclose(
        quadrature(model, params, jnp.float32(x)).nll, -density.logpdf(x), rtol=1e-4
    )


def binary(num_examples, shape=(4, 4, 1)):
    return jax.random.bernoulli(jax.random.key(1), 0.4, (num_examples, *shape)).astype(float)


@pytest.mark.slow
@pytest.mark.parametrize("latent_dim", [1, 2])
def test_bernoulli_decoder_against_brute_force(latent_dim):
    model, params = make("mlp", (4, 4, 1), latent_dim, likelihoods.Bernoulli())
    params = jax.tree.map(lambda leaf: 2 * leaf, params)
    x = binary(4)
    axis, step = np.linspace(-8, 8, 401, retstep=True)
    z = np.stack(np.meshgrid(*[axis] * latent_dim), axis=-1).reshape(-1, latent_dim)
    logits = np.float64(model.decode(params, jnp.float32(z))).reshape(len(z), -1)
    log_prob = np.asarray(x, np.float64).reshape(4, -1) @ logits.T
    log_prob = log_prob - np.logaddexp(0, logits).sum(axis=1)
    log_joint = log_prob + scipy.stats.norm.logpdf(z).sum(axis=1)
    expected = scipy.special.logsumexp(log_joint, axis=1) + latent_dim * np.log(step)
    result = quadrature(model, params, x)
    # the true error is at most about the square of the one that is given
    np.testing.assert_array_less(np.abs(result.nll + expected), 2 * result.error**2 + 5e-5)
    np.testing.assert_array_less(result.error, 0.1)


@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_values_are_finite_at_extreme_logits(scale):
    model, params = make("mlp", (4, 4, 1), 2, likelihoods.Bernoulli())
    params["decoder"] = jax.tree.map(lambda leaf: scale * leaf, params["decoder"])
    result = quadrature(model, params, binary(3), num_points=33)
    assert np.isfinite(result.nll).all()
    assert np.isfinite(result.error).all()


@pytest.mark.slow
def test_half_precision():
    model, params = make("mlp", (4, 4, 1), 2, likelihoods.Bernoulli())
    half, _ = make("mlp", (4, 4, 1), 2, likelihoods.Bernoulli(), dtype=jnp.bfloat16)
    expected = quadrature(model, params, binary(3)).nll
    result = quadrature(half, params, binary(3)).nll
    np.testing.assert_allclose(result, expected, rtol=2e-2)
    assert result.dtype == jnp.float32


@pytest.mark.slow
def test_blocks_and_binarization_are_those_of_the_other_estimate():
    """With the same key both see the same binary images, whatever the cut of the data."""
    model, params = make("mlp", (4, 4, 1), 1, likelihoods.Bernoulli())
    gray = jax.random.uniform(jax.random.key(1), (6, 4, 4, 1))

    def both(stored, key):
        return data.binarize(key, stored)

    whole = quadrature(model, params, gray, key=3, preprocess=both)
    with compiling.names() as compiled:
        parts = [
            quadrature(model, params, gray[i : i + 2], 3, i, preprocess=both, num_rows=77)
            for i in (0, 2, 4)
        ]
    assert compiled.count("_quadrature") == 1
    np.testing.assert_allclose(np.concatenate([p.nll for p in parts]), whole.nll, rtol=1e-5)
    estimate = nll.sample(
        model, params, gray, jax.random.key(3), preprocess=both, num_samples=20_000
    )
    # a standard deviation of log p̂ is √(1/ESS − 1/K)
    tolerance = 5 / np.sqrt(np.asarray(estimate.effective_samples))
    np.testing.assert_array_less(np.abs(estimate.nll - whole.nll), tolerance)


# ---------------------------------------------------------------- summaries


def test_evaluate_takes_the_closed_form_where_there_is_one():
    model, params, density = linear(2)
    x = jnp.float32(density.rvs(7, random_state=0))
    values = -density.logpdf(np.float64(x))
    for method, taken in (("auto", "closed_form"), ("quadrature", "quadrature")):
        result = exact.evaluate(
            model,
            params,
            x,
            jax.random.key(0),
            preprocess=identity,
            method=method,
            num_points=65,
            num_rows=3,
        )
        assert result["method"] == taken
        assert float(result["nll"]) == pytest.approx(values.mean(), rel=1e-4)
        expected = values.std(ddof=1) / 7**0.5
        assert float(result["standard_error"]) == pytest.approx(expected, rel=1e-3)
        assert 0 <= float(result["error"]) <= float(result["largest_error"]) < 1e-4
    model, params = make("mlp", (4, 4, 1), 1, likelihoods.Bernoulli())
    result = exact.evaluate(model, params, binary(1), jax.random.key(0), preprocess=identity)
    assert result["method"] == "quadrature"
    assert float(result["standard_error"]) == 0


def test_models_without_an_exact_likelihood_are_refused():
    model, params = make("mlp", (4, 4, 1), 3, likelihoods.Bernoulli())
    x, key = binary(2), jax.random.key(0)
    with pytest.raises(UsageError, match="3 latent dimensions"):
        exact.evaluate(model, params, x, key, preprocess=identity)
    with pytest.raises(UsageError, match="method=guess"):
        exact.evaluate(model, params, x, key, preprocess=identity, method="guess")
    model, params = make("mlp", (4, 4, 1), 1, likelihoods.Gaussian("optimal"))
    with pytest.raises(UsageError, match="freeze_likelihood"):
        exact.evaluate(model, params, x, key, preprocess=identity)
    with pytest.raises(UsageError, match="num_points=4"):
        integrate(lambda z: z[:, 0], 1, num_points=4)
    with pytest.raises(UsageError, match="num_zooms=-1"):
        integrate(lambda z: z[:, 0], 1, num_zooms=-1)
    with pytest.raises(UsageError, match="num_rows=0"):
        exact.closed_form(*linear(1)[:2], jnp.zeros((1, 6)), key, preprocess=identity, num_rows=0)
