"""The estimate of log p(x) against models whose likelihood is known, and against its own draws."""

import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from properties import initial

from vae_jax import data, likelihoods, networks
from vae_jax.distributions import DiagonalGaussian
from vae_jax.errors import UsageError
from vae_jax.evaluation import elbo, nll
from vae_jax.model import Model

SHAPE = (4, 4, 1)


def identity(stored, key):
    del key
    return stored


def make(likelihood=None, latent_dim=3, **settings):
    likelihood = likelihood or likelihoods.Bernoulli()
    encoder, decoder = networks.build(
        "mlp",
        shape=SHAPE,
        latent_dim=latent_dim,
        num_outputs=likelihood.num_outputs,
        widths=(8,),
    )
    model = Model(encoder, decoder, likelihood, SHAPE, latent_dim, **settings)
    params = initial(model)
    # far enough from the prior and from each other that weights differ
    return model, jax.tree.map(lambda leaf: 2 * np.asarray(leaf), params)


def binary(num_examples, seed=1):
    return jax.random.bernoulli(jax.random.key(seed), 0.4, (num_examples, *SHAPE)).astype(float)


def estimate(model, params, x, key=2, preprocess=identity, **settings):
    return nll.sample(model, params, x, jax.random.key(key), preprocess=preprocess, **settings)


# ------------------------------------------------------------------------------- sums of weights


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def add_all(log_weights, cuts):
    sums = nll.empty_sums(log_weights.shape[1:])
    for chunk in np.split(log_weights, cuts):
        sums = jax.jit(nll.add_weights)(sums, chunk)
    return sums


@pytest.mark.parametrize("cuts", [[], [1], [1, 2, 30], [60], list(range(1, 61))])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e3])
@pytest.mark.parametrize("offset", [-1e4, 0.0, 300.0])
def test_sums_equal_those_of_all_weights_at_once(cuts, scale, offset):
    log_weights = scale * normal(0, 61, 3) + np.float32(offset)
    log_weights[:7, 0] = log_weights[50:, 1] = log_weights[::2, 2] = -np.inf
    sums = add_all(log_weights, cuts)
    exact = np.float64(log_weights)
    expected = scipy.special.logsumexp(exact, axis=0) - np.log(61)
    np.testing.assert_allclose(nll.log_mean_weight(sums, 61), expected, rtol=1e-6, atol=1e-5)
    normalized = np.exp(exact - scipy.special.logsumexp(exact, axis=0))
    expected = 1 / np.sum(normalized**2, axis=0)
    np.testing.assert_allclose(nll.effective_sample_size(sums), expected, rtol=1e-4)


@pytest.mark.parametrize("cuts", [[], [2]])
def test_weights_of_zero(cuts):
    sums = add_all(np.full((5, 2), -np.inf, np.float32), cuts)
    np.testing.assert_array_equal(nll.log_mean_weight(sums, 5), [-np.inf, -np.inf])
    np.testing.assert_array_equal(nll.effective_sample_size(sums), [0.0, 0.0])
    # what was nothing takes up the scale of what follows
    sums = nll.add_weights(sums, np.full((5, 2), -200.0, np.float32))
    np.testing.assert_allclose(nll.log_mean_weight(sums, 10), -200 - np.log(2), rtol=1e-6)


def test_effective_sample_size_known_answers():
    weights = np.float32([[1, 1, 1], [1, 0, 2], [1, 0, 3]])
    with np.errstate(divide="ignore"):
        sums = nll.add_weights(nll.empty_sums((3,)), np.log(weights))
    np.testing.assert_allclose(nll.effective_sample_size(sums), [3, 1, 36 / 14], rtol=1e-6)


def test_the_sums_need_neither_flax_nor_our_model():
    program = (
        "import sys; from vae_jax.evaluation import nll; "
        "loaded = {'flax', 'optax', 'orbax', 'vae_jax.model'} & set(sys.modules); "
        "sys.exit(', '.join(sorted(loaded)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- known likelihoods


def ppca(*, inflation=1.0):
    """A linear model with orthogonal columns, so that its exact posterior is diagonal.

    The posterior's variance is `inflation` times the exact one.
    """
    size, q, variance = 6, 2, 0.3
    weights = np.linalg.qr(normal(3, size, q))[0] * np.float32([1.5, 0.7])
    mean = normal(4, size)
    m = weights.T @ weights + variance * np.eye(q)
    gain = np.linalg.solve(m, weights.T)
    params = {
        "encoder": {
            "mean": {"kernel": gain.T, "bias": -gain @ mean},
            "logvar": np.log(inflation * variance / np.diag(m)),
        },
        "decoder": {"latent": {"kernel": weights.T, "bias": mean}},
        "likelihood": {},
    }
    encoder, decoder = networks.build("linear", shape=(size,), latent_dim=q)
    model = Model(encoder, decoder, likelihoods.Gaussian(variance), (size,), q)
    covariance = weights @ weights.T + variance * np.eye(size)
    exact = scipy.stats.multivariate_normal(mean, covariance)
    return model, jax.tree.map(jnp.float32, params), exact


@pytest.mark.parametrize("num_samples", [1, 2, 501, 1000])
def test_with_the_exact_posterior_one_sample_is_enough(num_samples):
    model, params, exact = ppca()
    x = exact.rvs(9, random_state=0)
    result = estimate(model, params, jnp.float32(x), num_samples=num_samples)
    np.testing.assert_allclose(result.nll, -exact.logpdf(x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(result.effective_samples, num_samples, rtol=1e-4)


@pytest.mark.slow
def test_the_gap_shrinks_with_the_number_of_samples():
    """log p(x) − E[log p̂(x)] ≈ Var(w / p(x)) / 2K, which for Gaussians is known.

    Reference: Burda et al. 2015, theorem 1; Nowozin 2018, Debiasing Evidence Approximations, ICLR.
    """
    inflation, num_examples = 3.0, 20_000
    model, params, exact = ppca(inflation=inflation)
    # E_q[(p/q)²] = s²/√(2s² − 1) in each dimension
    variance = (inflation / np.sqrt(2 * inflation - 1)) ** 2 - 1
    x = exact.rvs(num_examples, random_state=0)
    gaps = []
    for num_samples in (1, 8, 64, 500):
        result = estimate(
            model, params, jnp.float32(x), num_samples=num_samples, num_rows=5 * 10**4
        )
        gaps.append(np.mean(np.float64(result.nll) + exact.logpdf(x)))
    # one sample: the ELBO, whose gap is KL(q ‖ p(z|x))
    assert gaps[0] == pytest.approx(inflation - 1 - np.log(inflation), rel=0.05)
    assert gaps[0] > gaps[1] > gaps[2] > gaps[3]
    assert 8 * gaps[1] == pytest.approx(variance / 2, rel=0.3)
    assert 64 * gaps[2] == pytest.approx(variance / 2, rel=0.3)
    assert abs(gaps[3]) < 2e-3
    share = np.mean(result.effective_samples) / 500
    assert share == pytest.approx(1 / (1 + variance), rel=0.02)


def test_bernoulli_decoder_of_one_dimension_matches_quadrature():
    model, params = make(latent_dim=1)
    x = binary(5)
    z, step = np.linspace(-9, 9, 4001, retstep=True)
    logits = np.float64(model.decode(params, jnp.float32(z)[:, None])).reshape(1, len(z), -1)
    flat = np.asarray(x).reshape(5, 1, -1)
    log_joint = np.sum(flat * logits - np.logaddexp(0, logits), axis=-1) + scipy.stats.norm.logpdf(
        z
    )
    expected = -scipy.special.logsumexp(log_joint, axis=1) - np.log(step)
    result = estimate(model, params, x, num_samples=20_000)
    # a standard deviation of log p̂ is √(1/ESS − 1/K)
    tolerance = 5 / np.sqrt(np.asarray(result.effective_samples))
    np.testing.assert_array_less(np.abs(result.nll - expected), tolerance)
    assert np.max(tolerance) < 0.1


@pytest.mark.slow
def test_more_samples_are_better_in_expectation():
    model, params = make()
    x = binary(200)
    for key in range(3):
        means = [
            float(estimate(model, params, x, key, num_samples=k, num_rows=5000).nll.mean())
            for k in (1, 8, 64)
        ]
        assert means == sorted(means, reverse=True)


def test_one_sample_is_the_elbo_of_its_draw():
    model, params = make()
    x, key = binary(6), jax.random.key(2)
    result = estimate(model, params, x, num_samples=1)

    @jax.jit
    def negative_elbo(x, number):
        _, z_key = jax.random.split(jax.random.fold_in(key, number))
        posterior = model.encode(params, x)
        z = posterior.sample(jax.random.fold_in(z_key, 0), nll.SAMPLES_PER_KEY)[0]
        rate = posterior.log_prob(z) - model.prior(params).log_prob(z)
        return model.distortion(params, z, {"x": x, "mask": jnp.ones(1)}) + rate

    for i in range(6):
        expected = negative_elbo(x[i : i + 1], i)
        np.testing.assert_allclose(result.nll[i : i + 1], expected, rtol=1e-5)
    np.testing.assert_allclose(result.effective_samples, 1.0)


# ---------------------------------------------------------------- draws and chunks


@pytest.mark.slow
@pytest.mark.parametrize("num_samples", [1, 703])
@pytest.mark.parametrize("num_rows", [1, 7, 64, 2500])
def test_the_result_does_not_depend_on_how_the_work_is_cut(num_samples, num_rows):
    model, params = make()
    gray = jax.random.uniform(jax.random.key(1), (5, *SHAPE))

    def both(stored, key):
        return data.binarize(key, stored)

    expected = estimate(model, params, gray, preprocess=both, num_samples=num_samples)
    cut = estimate(model, params, gray, preprocess=both, num_samples=num_samples, num_rows=num_rows)
    rest = nll.sample(
        model,
        params,
        gray[3:],
        jax.random.key(2),
        3,
        preprocess=both,
        num_samples=num_samples,
        num_rows=num_rows,
    )
    for name in nll.Likelihoods._fields:
        value = getattr(expected, name)
        np.testing.assert_allclose(getattr(cut, name), value, rtol=1e-4)
        np.testing.assert_allclose(getattr(rest, name), value[3:], rtol=1e-4)


def test_samples_are_the_first_of_more():
    """Σ_k w_k grows with K, for every example, where the first draws stay.

    A second block of 500 draws has its own: the same once more would double the sum.
    """
    model, params = make()
    x = binary(20)
    totals = [
        np.log(k) - np.asarray(estimate(model, params, x, num_samples=k).nll)
        for k in (1, 2, 500, 1000)
    ]
    assert np.all(np.diff(totals, axis=0) > -1e-4)
    assert np.all(totals[1] > totals[0])
    assert np.all(np.abs(totals[3] - totals[2] - np.log(2)) > 1e-4)


def test_draws_follow_from_the_key_and_differ_between_examples():
    model, params = make()
    same = jnp.broadcast_to(binary(1), (8, *SHAPE))
    first = estimate(model, params, same, num_samples=3)
    again = estimate(model, params, same, num_samples=3)
    other = estimate(model, params, same, key=3, num_samples=3)
    np.testing.assert_array_equal(first.nll, again.nll)
    assert len({*np.asarray(first.nll).tolist(), *np.asarray(other.nll).tolist()}) == 16


def test_a_masked_model_equals_an_unmasked_one_of_that_size():
    wide, params = make(latent_mask=jnp.array([1.0, 1.0, 0.0]))
    narrow, _ = make(latent_dim=2)
    head = params["encoder"]["head"]["posterior"]
    kept = np.array([0, 1, 3, 4])
    native = {
        **params,
        "encoder": {
            **params["encoder"],
            "head": {"posterior": jax.tree.map(lambda leaf: leaf[..., kept], head)},
        },
        "decoder": {
            **params["decoder"],
            "latent": {
                **params["decoder"]["latent"],
                "kernel": params["decoder"]["latent"]["kernel"][:2],
            },
        },
    }
    x = binary(4)
    expected = estimate(narrow, native, x, num_samples=40)
    actual = estimate(wide, params, x, num_samples=40)
    np.testing.assert_allclose(actual.nll, expected.nll, rtol=1e-5)
    np.testing.assert_allclose(actual.effective_samples, expected.effective_samples, rtol=1e-4)


@pytest.mark.slow
def test_runs_are_an_axis():
    model, _ = make()
    keys = jax.random.split(jax.random.key(5), 2)
    params = jax.vmap(model.init)(keys)
    x = binary(4)

    def run(params, key):
        return nll.evaluate(model, params, x, key, preprocess=identity, num_samples=30)

    both = jax.jit(jax.vmap(run))(params, keys)
    for r in range(2):
        alone = run(jax.tree.map(lambda leaf, r=r: leaf[r], params), keys[r])
        for actual, expected in zip(both, alone, strict=True):
            np.testing.assert_allclose(actual[r], expected, rtol=1e-5)


def test_examples_weigh_the_same():
    model, params = make()
    x = binary(7)
    result = nll.evaluate(
        model, params, x, jax.random.key(2), preprocess=identity, num_samples=10, num_rows=30
    )
    each = estimate(model, params, x, num_samples=10)
    values = np.float64(each.nll)
    assert float(result.nll) == pytest.approx(values.mean(), rel=1e-5)
    assert float(result.standard_error) == pytest.approx(values.std(ddof=1) / 7**0.5, rel=1e-4)
    assert float(result.effective_samples) == pytest.approx(
        float(each.effective_samples.mean()), rel=1e-5
    )
    alone = nll.summarize(jax.tree.map(lambda leaf: leaf[:1], each))
    assert float(alone.standard_error) == 0


# ---------------------------------------------------------------- likelihoods


@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_values_are_finite_at_extreme_logits(scale):
    model, params = make()
    params["decoder"] = jax.tree.map(lambda leaf: scale * leaf, params["decoder"])
    for num_samples in (1, 50):
        result = estimate(model, params, binary(5), num_samples=num_samples)
        assert all(np.isfinite(value).all() for value in result)
        assert np.all(result.effective_samples >= 1 - 1e-6)


def test_bits_of_uniform_models():
    """With every level as probable as another, and q(z|x) = p(z), log₂ of their number."""
    for likelihood, bits in (
        (likelihoods.Bernoulli(), 1.0),
        (likelihoods.Categorical(5), np.log2(5)),
    ):
        model, params = make(likelihood)
        params = jax.tree.map(jnp.zeros_like, params)
        result = nll.summarize(estimate(model, params, binary(3), num_samples=4))
        assert float(result.bits_per_dim) == pytest.approx(bits, rel=1e-5)
        assert float(result.effective_samples) == pytest.approx(4, rel=1e-5)


def test_bits_are_of_discrete_data_only():
    x = binary(3)
    for likelihood in (likelihoods.Gaussian(0.3), likelihoods.Laplace(0.3)):
        model, params = make(likelihood)
        assert np.isnan(estimate(model, params, x, num_samples=2).bits_per_dim).all()
    model, params = make()
    soft = x.at[1, 0, 0, 0].set(0.5)
    bits = estimate(model, params, soft, num_samples=2).bits_per_dim
    np.testing.assert_array_equal(np.isnan(bits), [False, True, False])
    model, params = make(likelihoods.DiscretizedLogistic(0.1, 5))
    result = estimate(model, params, x, num_samples=2)
    np.testing.assert_allclose(result.bits_per_dim, result.nll / 16 / np.log(2), rtol=1e-6)


def test_a_variance_of_each_batch_is_refused():
    model, params = make(likelihoods.Gaussian("optimal"))
    x = binary(4)
    with pytest.raises(UsageError, match="freeze_likelihood"):
        estimate(model, params, x)
    frozen = elbo.freeze_likelihood(model, params, x, jax.random.key(0), preprocess=identity)
    assert np.isfinite(estimate(*frozen, x, num_samples=2).nll).all()


@pytest.mark.parametrize("settings", [{"num_samples": 0}, {"num_rows": 0}])
def test_numbers_below_one_are_refused(settings):
    model, params = make()
    with pytest.raises(UsageError, match="must be at least 1"):
        estimate(model, params, binary(1), **settings)


def test_any_posterior_with_samples_and_a_density_will_do():
    class Shifted(DiagonalGaussian):
        """Another type, not known to `kl_divergence`."""

    class WithShifted(Model):
        def encode(self, params, x):
            return Shifted(*super().encode(params, x))

    model, params = make()
    other = WithShifted(**{name: getattr(model, name) for name in model.__dataclass_fields__})
    x = binary(3)
    np.testing.assert_allclose(
        estimate(other, params, x, num_samples=5).nll,
        estimate(model, params, x, num_samples=5).nll,
        rtol=1e-6,
    )


def test_the_error_of_bits_of_examples_of_several_lengths_is_that_of_a_ratio():
    """Longer examples have more nats: what their lengths add to both is no error."""
    rng = np.random.default_rng(0)
    num = rng.integers(5, 40, 300)
    nats = num * rng.normal(1.5, 0.1, 300)
    bits = nats / num / np.log(2)

    def measure(nats, num):
        found = nll.Likelihoods(*np.float32([nats, np.ones(300), nats / num / np.log(2), num]))
        latent = types.SimpleNamespace(has_prior=True)
        model = types.SimpleNamespace(latent=latent, num_conditions=0)
        told = {"model": model, "over": lambda *_, **__: found, "size": lambda _: 0}
        return nll.measure(types.SimpleNamespace(**told))

    result = measure(nats, num)
    assert result["bits_per_dim"] == pytest.approx(nats.sum() / num.sum() / np.log(2), rel=1e-5)
    drawn = rng.integers(0, 300, (4000, 300))
    resampled = nats[drawn].sum(axis=1) / num[drawn].sum(axis=1) / np.log(2)
    assert result["bits_per_dim_standard_error"] == pytest.approx(resampled.std(), rel=0.05)
    # of one length it is the error of a mean
    result = measure(bits * 20 * np.log(2), np.full(300, 20))
    expected = bits.std(ddof=1) / np.sqrt(300)
    assert result["bits_per_dim_standard_error"] == pytest.approx(expected, rel=1e-4)
