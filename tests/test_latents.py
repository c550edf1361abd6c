"""Families of latents: categorical, quantized, both kinds; against sums and draws by hand."""

import itertools

import jax
import jax.numpy as jnp
import keys
import numpy as np
import pytest
import scipy.special

from vae_jax import distributions, latents, likelihoods, losses, networks
from vae_jax.distributions import OneHotCategorical
from vae_jax.errors import UsageError
from vae_jax.model import Model

SHAPE = (4, 4, 1)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def make(latent, latent_dim=6, mask=None, network="mlp"):
    encoder, decoder = networks.build(
        network,
        shape=SHAPE,
        latent_dim=latent_dim,
        num_parts=len(latent.parts),
        widths=() if network == "linear" else (8,),
    )
    return Model(encoder, decoder, likelihoods.Bernoulli(), SHAPE, latent_dim, mask, latent)


FAMILIES = [
    latents.Gaussian(),
    latents.Categorical(3),
    latents.Joint(3, 1),
    latents.Quantized(8, 3),
    latents.Quantized(8, 3, num_stages=2),
]


@pytest.mark.parametrize(
    ("latent", "network"),
    [
        *((latent, "mlp") for latent in FAMILIES),
        pytest.param(FAMILIES[3], "linear", marks=pytest.mark.slow),
        pytest.param(FAMILIES[1], "conv", marks=pytest.mark.slow),
    ],
    ids=repr,
)
def test_shapes_and_masks(latent, network):
    """A masked group costs nothing, whatever is drawn for it, and what is left is the first."""
    mask = jnp.array([1.0, 1, 1, 0, 0, 0])
    model = make(latent, mask=mask, network=network)
    x = np.random.default_rng(1).random((5, *SHAPE), np.float32)

    @jax.jit
    def measure():
        params = model.init(keys.quick(0))
        posterior, prior = model.encode(params, x), model.prior(params)
        rate = distributions.kl_divergence(posterior, prior)
        z = posterior.sample(keys.quick(2))
        ratio = posterior.log_prob(z) - prior.log_prob(z)
        alone, of_prior = posterior.first(3), prior.first(3)
        native = alone.log_prob(z[:, :3]) - of_prior.log_prob(z[:, :3])
        both = posterior.mode, posterior.mean, z, jnp.broadcast_to(prior.deviation, z.shape)
        drawn = model.sample(params, keys.quick(3), 7)[0], posterior.sample(x_key, 2)
        return rate, ratio, native, distributions.kl_divergence(alone, of_prior), both, drawn

    x_key = keys.quick(4)
    rate, ratio, native, own_rate, both, drawn = measure()
    assert all(each.shape == rate.shape == (5, 6) for each in both)
    assert drawn[0].shape == (7, *SHAPE)
    assert drawn[1].shape == (2, 5, 6)
    np.testing.assert_array_equal(rate[:, 3:], 0)
    np.testing.assert_allclose(rate[:, :3], own_rate, rtol=1e-5)
    np.testing.assert_allclose(ratio, native, rtol=1e-4, atol=1e-4)


def test_sizes_of_what_is_discrete():
    latent = latents.Joint(3, 2)
    assert latent.discrete_capacity == pytest.approx(2 * np.log(3))
    assert latent.num_discrete(8) == 6


def test_each_stage_sees_what_those_before_it_have_left():
    """Codes of ±4, ±2 and ±1 spell a number as its digits do."""
    model = make(latents.Quantized(2, 1, num_stages=3), 1)
    codebook = jnp.array([[[4.0], [-4.0]], [[2.0], [-2.0]], [[1.0], [-1.0]]])
    x = jnp.array([[7.25], [-2.5], [0.75]])
    posterior = model.latent.posterior

    @jax.jit
    def found(x):
        own = posterior({"codebook": codebook}, (x,))
        return {n: getattr(own, n) for n in ("stages", "mean", "residuals", "rate_per_dim")}

    codes = found(x)
    np.testing.assert_array_equal(codes["stages"][..., 0], [[4, 2, 1], [-4, 2, -1], [4, -2, -1]])
    np.testing.assert_array_equal(codes["mean"], [[7.0], [-3.0], [1.0]])
    seen = [[7.25, 3.25, 1.25], [-2.5, 1.5, -0.5], [0.75, -3.25, -1.25]]
    np.testing.assert_array_equal(codes["residuals"][..., 0], seen)
    # log 2 for each stage
    np.testing.assert_allclose(codes["rate_per_dim"], 3 * np.log(2), rtol=1e-6)


def test_gaussian_models_have_no_parameters_of_their_latents():
    families = latents.Gaussian(), latents.Quantized(8, 3)
    params, quantized = jax.jit(lambda key: [make(each).init(key) for each in families])(
        keys.quick(0)
    )
    assert set(params) == {"encoder", "decoder", "likelihood"}
    assert quantized["latent"]["codebook"].shape == (1, 8, 3)
    jax.tree.map(np.testing.assert_array_equal, params["decoder"], quantized["decoder"])


@pytest.mark.parametrize(
    ("latent", "message"),
    [
        (latents.Categorical(4), "a multiple of num_categories=4.*latent_dim=8"),
        (latents.Quantized(8, 5), "a multiple of code_dim=5.*latent_dim=5"),
        (latents.Joint(3, 2), "more than the 6 of .*num_categories=3"),
    ],
)
def test_codes_that_do_not_fit_are_refused(latent, message):
    with pytest.raises(UsageError, match=f"latent_dim=6: must be {message}"):
        make(latent).init(keys.quick(0))


def test_an_encoder_with_other_parts_is_refused():
    encoder, decoder = networks.build("mlp", shape=SHAPE, latent_dim=6, widths=(8,))
    model = Model(
        encoder, decoder, likelihoods.Bernoulli(), SHAPE, 6, latent=latents.Categorical(3)
    )
    with pytest.raises(UsageError, match=r"must return \(logits\)"):
        model.param_shapes()


def test_categories_are_drawn_as_often_as_they_are_likely():
    logits = normal(0, 6)
    value = OneHotCategorical(logits, 3)
    draw = jax.jit(lambda key: (value.sample(key, 40_000), value.mean, value.deviation))
    z, mean, deviation = map(np.asarray, draw(keys.quick(0)))
    np.testing.assert_array_equal(z.reshape(-1, 2, 3).sum(axis=2), 1)
    probabilities = scipy.special.softmax(logits.reshape(2, 3), axis=1).reshape(-1)
    np.testing.assert_allclose(mean, probabilities, rtol=1e-6)
    np.testing.assert_allclose(z.mean(axis=0), probabilities, atol=0.01)
    np.testing.assert_allclose(z.std(axis=0), deviation, atol=0.01)
    # the groups are independent
    assert abs(np.corrcoef(z[:, 0], z[:, 3])[0, 1]) < 0.02


def test_a_relaxed_draw_becomes_the_draw_as_temperature_falls():
    value, temperatures = OneHotCategorical(normal(0, 50, 6), 3), (2.0, 0.5, 0.1, 0.0)

    @jax.jit
    def draws(key):
        return value.sample(key), [value.relaxed(key, each) for each in temperatures]

    z, drawn = jax.device_get(draws(keys.quick(1)))
    distances = []
    for relaxed in drawn:
        np.testing.assert_allclose(relaxed.reshape(50, 2, 3).sum(axis=2), 1, rtol=1e-5)
        np.testing.assert_array_equal(
            relaxed.reshape(50, 2, 3).argmax(2), z.reshape(50, 2, 3).argmax(2)
        )
        distances.append(np.abs(relaxed - z).mean())
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 1e-3 < distances[-2]


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1e4])
def test_values_and_gradients_are_finite_for_any_logits(temperature):
    prior = OneHotCategorical(jnp.zeros(4), 4)

    def both(logits):
        value = OneHotCategorical(logits, 4)
        relaxed = value.relaxed(keys.quick(0), temperature)
        return jnp.sum(relaxed * relaxed) + distributions.kl_divergence(value, prior).sum()

    logits = jnp.array([[1e4, -1e4, 0.0, 3.0], [0.0, 0.0, 0.0, 0.0]])
    value, grads = jax.jit(jax.value_and_grad(both))(logits)
    assert np.isfinite(value)
    assert np.isfinite(grads).all()


def test_categorical_rate_is_the_sum_over_all_codes():
    q, p = (OneHotCategorical(normal(seed, 6), 3) for seed in (0, 1))
    pairs = itertools.product(range(3), repeat=2)
    codes = np.float32([np.eye(3)[list(pair)].ravel() for pair in pairs])

    @jax.jit
    def facts():
        rate = distributions.kl_divergence(q, p), distributions.kl_divergence(p, p)
        return q.log_prob(codes), p.log_prob(codes), *rate

    log_q, log_p, rate, none = map(np.asarray, facts())
    assert float(np.exp(log_q).sum()) == pytest.approx(1, rel=1e-5)
    expected = float(np.sum(np.exp(log_q) * (log_q - log_p)))
    assert float(rate.sum()) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(rate[:3], rate[0], rtol=1e-6)
    np.testing.assert_array_equal(none, 0)


@pytest.mark.parametrize("latent", FAMILIES[1:3], ids=repr)
def test_draws_do_not_depend_on_what_follows(latent):
    parts = tuple(normal(seed, 5, 12) for seed in range(len(latent.parts)))
    methods = {"sample": (), "relaxed": (0.5,)}

    @jax.jit
    def draws(key):
        whole = latent.posterior({}, parts)
        few = latent.posterior({}, tuple(part[:2] for part in parts)).first(6)
        return [[getattr(o, n)(key, *given) for o in (whole, few)] for n, given in methods.items()]

    for drawn, alone in draws(keys.quick(0)):
        np.testing.assert_allclose(drawn[:2, :6], alone, rtol=1e-5, atol=1e-6)


def test_a_pair_without_categories_is_a_gaussian():
    joint, gaussian = latents.Joint(3, 0), latents.Gaussian()
    parts = normal(0, 5, 4), normal(1, 5, 4)

    @jax.jit
    def facts(key):
        pair, plain = joint.posterior({}, parts), gaussian.posterior({}, parts)
        priors = joint.prior({}, 4), gaussian.prior({}, 4)
        rates = map(distributions.kl_divergence, (pair, plain), priors)
        return [pair.sample(key), plain.sample(key), pair.relaxed(key, 0.5)], list(rates)

    (drawn, expected, relaxed), rates = facts(keys.quick(0))
    np.testing.assert_array_equal(drawn, expected)
    np.testing.assert_array_equal(relaxed, expected)
    np.testing.assert_array_equal(*rates, strict=True)


@pytest.mark.parametrize("method", ["sample", "relaxed"])
def test_continuous_dimensions_are_independent_of_the_category(method):
    """Given the category that was drawn, the Gaussian dimensions have mean 0 and variance 1."""
    num, pair = 10_000, latents.Joint(3, 1).prior({}, 5)
    options = () if method == "sample" else (0.5,)

    @jax.jit
    def draw(key):
        draw_one = jax.vmap(lambda own: getattr(pair, method)(own, *options))
        return draw_one(jax.random.split(key, num))

    z = np.asarray(draw(keys.quick(0)))
    for category in range(3):
        own = z[z[:, :3].argmax(axis=1) == category, 3:]
        assert abs(len(own) - num / 3) < 5 * np.sqrt(num * 2 / 9)
        assert np.abs(own.mean(axis=0)).max() < 5 / np.sqrt(len(own))
        assert np.abs(own.var(axis=0) - 1).max() < 5 * np.sqrt(2 / len(own))


def test_the_nearest_code_is_chosen():
    vectors, codebook = normal(0, 50, 3), normal(1, 8, 3)
    distances = np.square(np.asarray(vectors)[:, None] - np.asarray(codebook)[None]).sum(axis=2)
    nearest = jax.jit(losses.nearest_codes)
    np.testing.assert_array_equal(nearest(vectors, codebook), distances.argmin(axis=1))
    np.testing.assert_array_equal(nearest(codebook, codebook), np.arange(8))


def test_more_stages_leave_less():
    """Where a codebook can leave things as they are, another stage never does harm."""
    vectors = normal(0, 200, 3)
    codebook = np.float32(0.5) ** np.arange(4, dtype=np.float32)[:, None, None]
    codebook = codebook * normal(1, 4, 16, 3)
    codebook[:, 0] = 0.0

    @jax.jit
    def facts(vectors, codebook):
        found = [latents.residual_codes(vectors, codebook[:num]) for num in range(1, 5)]
        chosen, indices = [each[1].sum(axis=0) for each in found], found[-1][0]
        return chosen, indices[0], losses.nearest_codes(vectors, codebook[0])

    chosen, first, nearest = jax.device_get(facts(vectors, codebook))
    errors = [np.square(vectors - each).sum(axis=1) for each in chosen]
    for before, after in itertools.pairwise(errors):
        assert (after <= before + 1e-6).all()
    assert errors[-1].mean() < 0.3 * errors[0].mean()
    # the first stage is that of one alone
    np.testing.assert_array_equal(first, nearest)


def test_the_prior_of_codes_draws_each_as_often():
    codebook = normal(0, 2, 4, 3)
    prior = latents.UniformCodes(jnp.asarray(codebook), 6)

    @jax.jit
    def facts(key):
        z = prior.sample(key, 20_000)
        return z, prior.deviation, prior.log_prob(z)[0]

    z, deviation, log_prob = jax.device_get(facts(keys.quick(0)))
    z = z.reshape(-1, 2, 3)
    sums = np.asarray(codebook[0][:, None] + codebook[1][None]).reshape(-1, 3)
    distances = np.square(np.asarray(z)[..., None, :] - sums).sum(axis=-1)
    assert distances.min(axis=-1).max() < 1e-8
    shares = np.bincount(distances.argmin(axis=-1).ravel(), minlength=16) / z.shape[0] / 2
    np.testing.assert_allclose(shares, 1 / 16, atol=0.005)
    np.testing.assert_allclose(z.reshape(-1, 6).std(axis=0), deviation, rtol=0.02)
    # all 16² codes of two groups together have probability 1
    assert float(log_prob) == pytest.approx(-np.log(16**2), rel=1e-6)


def test_quantized_values_are_codes_with_the_gradient_of_the_features():
    latent = latents.Quantized(8, 3, num_stages=2)
    params = {"codebook": jnp.asarray(normal(0, 2, 8, 3))}
    features, weights = normal(1, 5, 6), normal(2, 5, 6)

    def along(features, codebook):
        posterior = latent.posterior({"codebook": codebook}, (features,))
        return jnp.sum(weights * jnp.sin(posterior.sample(keys.quick(0))))

    @jax.jit
    def facts():
        posterior = latent.posterior(params, (features,))
        z = posterior.sample(keys.quick(0))
        logs = posterior.log_prob(z), posterior.log_prob(z + 1)
        slopes = jax.grad(along, argnums=(0, 1))(features, params["codebook"])
        return z, posterior.mode, slopes, logs

    z, mode, (grads, of_codes), (at_codes, elsewhere) = jax.device_get(facts())
    np.testing.assert_array_equal(z, mode)
    np.testing.assert_allclose(grads, weights * np.cos(z), rtol=1e-6)
    np.testing.assert_array_equal(of_codes, 0)
    np.testing.assert_array_equal(at_codes, 0)
    assert (elsewhere == -np.inf).all()


def test_perplexity_counts_the_codes_in_use():
    count, perplexity = jax.jit(losses.code_counts, static_argnums=1), jax.jit(losses.perplexity)
    for num_used in (1, 3, 8):
        counts = count(np.arange(24) % num_used, 8)
        found = perplexity(counts)
        assert float(found) == pytest.approx(num_used, rel=1e-5)
    indices, weights = np.array([0, 0, 1, 2, 5]), np.float32([1, 1, 1, 0, 0])
    np.testing.assert_array_equal(count(indices, 6, weights), [2, 1, 0, 0, 0, 0])


def test_commitment_pulls_the_features_alone():
    features, quantized = normal(0, 4, 2, 3), normal(1, 4, 2, 3)

    @jax.jit
    def facts(features, quantized):
        slopes = jax.grad(lambda *both: losses.commitment(*both).sum(), argnums=(0, 1))
        return losses.commitment(features, quantized), slopes(features, quantized)

    value, slopes = facts(features, quantized)
    expected = np.square(features - quantized).sum(axis=(1, 2))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(slopes[0], 2 * (features - quantized), rtol=1e-6)
    np.testing.assert_array_equal(slopes[1], 0)
