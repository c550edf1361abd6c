"""Families of latents: categorical, quantized, both kinds; against sums and draws by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import distributions, latents, likelihoods, losses, networks
from vae_jax.distributions import OneHotCategorical
from vae_jax.errors import UsageError
from vae_jax.model import Model

SHAPE = (4, 4, 1)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def make(latent, latent_dim=6, mask=None, network="mlp"):
    encoder, decoder = networks.build(
        network, shape=SHAPE, latent_dim=latent_dim, num_parts=len(latent.parts)
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
    params = jax.jit(model.init)(jax.random.key(0))
    x = jax.random.uniform(jax.random.key(1), (5, *SHAPE))

    def measure(params):
        posterior, prior = model.encode(params, x), model.prior(params)
        rate = distributions.kl_divergence(posterior, prior)
        z = posterior.sample(jax.random.key(2))
        ratio = posterior.log_prob(z) - prior.log_prob(z)
        alone, of_prior = posterior.first(3), prior.first(3)
        native = alone.log_prob(z[:, :3]) - of_prior.log_prob(z[:, :3])
        both = posterior.mode, posterior.mean, z, jnp.broadcast_to(prior.deviation, z.shape)
        drawn = model.sample(params, jax.random.key(3), 7)[0], posterior.sample(x_key, 2)
        return rate, ratio, native, distributions.kl_divergence(alone, of_prior), both, drawn

    x_key = jax.random.key(4)
    rate, ratio, native, own_rate, both, drawn = jax.jit(measure)(params)
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
    codes = model.latent.posterior({"codebook": codebook}, (x,))
    np.testing.assert_array_equal(codes.stages[..., 0], [[4, 2, 1], [-4, 2, -1], [4, -2, -1]])
    np.testing.assert_array_equal(codes.mean, [[7.0], [-3.0], [1.0]])
    seen = [[7.25, 3.25, 1.25], [-2.5, 1.5, -0.5], [0.75, -3.25, -1.25]]
    np.testing.assert_array_equal(codes.residuals[..., 0], seen)
    # log 2 for each stage
    np.testing.assert_allclose(codes.rate_per_dim, 3 * np.log(2), rtol=1e-6)


def test_gaussian_models_have_no_parameters_of_their_latents():
    params = make(latents.Gaussian()).init(jax.random.key(0))
    assert set(params) == {"encoder", "decoder", "likelihood"}
    quantized = make(latents.Quantized(8, 3)).init(jax.random.key(0))
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
        make(latent).init(jax.random.key(0))


def test_an_encoder_with_other_parts_is_refused():
    encoder, decoder = networks.build("mlp", shape=SHAPE, latent_dim=6)
    model = Model(
        encoder, decoder, likelihoods.Bernoulli(), SHAPE, 6, latent=latents.Categorical(3)
    )
    with pytest.raises(UsageError, match=r"must return \(logits\)"):
        model.init(jax.random.key(0))


def test_categories_are_drawn_as_often_as_they_are_likely():
    logits = normal(0, 6)
    value = OneHotCategorical(logits, 3)
    z = jax.jit(lambda key: value.sample(key, 40_000))(jax.random.key(0))
    np.testing.assert_array_equal(z.reshape(-1, 2, 3).sum(axis=2), 1)
    probabilities = jax.nn.softmax(logits.reshape(2, 3), axis=1).reshape(-1)
    np.testing.assert_allclose(value.mean, probabilities, rtol=1e-6)
    np.testing.assert_allclose(z.mean(axis=0), probabilities, atol=0.01)
    np.testing.assert_allclose(z.std(axis=0), value.deviation, atol=0.01)
    # the groups are independent
    assert abs(np.corrcoef(z[:, 0], z[:, 3])[0, 1]) < 0.02


def test_a_relaxed_draw_becomes_the_draw_as_temperature_falls():
    value, key = OneHotCategorical(normal(0, 50, 6), 3), jax.random.key(1)
    z = value.sample(key)
    distances = []
    for temperature in (2.0, 0.5, 0.1, 0.0):
        relaxed = value.relaxed(key, temperature)
        np.testing.assert_allclose(relaxed.reshape(50, 2, 3).sum(axis=2), 1, rtol=1e-5)
        np.testing.assert_array_equal(
            relaxed.reshape(50, 2, 3).argmax(2), z.reshape(50, 2, 3).argmax(2)
        )
        distances.append(float(jnp.abs(relaxed - z).mean()))
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 1e-3 < distances[-2]


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1e4])
def test_values_and_gradients_are_finite_for_any_logits(temperature):
    prior = OneHotCategorical(jnp.zeros(4), 4)

    def both(logits):
        value = OneHotCategorical(logits, 4)
        relaxed = value.relaxed(jax.random.key(0), temperature)
        return jnp.sum(relaxed * relaxed) + distributions.kl_divergence(value, prior).sum()

    logits = jnp.array([[1e4, -1e4, 0.0, 3.0], [0.0, 0.0, 0.0, 0.0]])
    value, grads = jax.value_and_grad(both)(logits)
    assert np.isfinite(value)
    assert np.isfinite(grads).all()


def test_categorical_rate_is_the_sum_over_all_codes():
    q, p = (OneHotCategorical(normal(seed, 6), 3) for seed in (0, 1))
    codes = jnp.array(
        [np.eye(3)[list(pair)].ravel() for pair in itertools.product(range(3), repeat=2)]
    )
    log_q, log_p = q.log_prob(codes), p.log_prob(codes)
    assert float(jnp.exp(log_q).sum()) == pytest.approx(1, rel=1e-5)
    expected = float(jnp.sum(jnp.exp(log_q) * (log_q - log_p)))
    rate = distributions.kl_divergence(q, p)
    assert float(rate.sum()) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(rate[:3], rate[0], rtol=1e-6)
    np.testing.assert_array_equal(distributions.kl_divergence(p, p), 0)


@pytest.mark.parametrize("latent", FAMILIES[1:3], ids=repr)
def test_draws_do_not_depend_on_what_follows(latent):
    parts = tuple(normal(seed, 5, 12) for seed in range(len(latent.parts)))
    whole, key = latent.posterior({}, parts), jax.random.key(0)
    for method in ("sample", "relaxed"):
        options = () if method == "sample" else (0.5,)
        few = latent.posterior({}, tuple(part[:2] for part in parts)).first(6)
        drawn = getattr(whole, method)(key, *options)
        np.testing.assert_allclose(
            drawn[:2, :6], getattr(few, method)(key, *options), rtol=1e-5, atol=1e-6
        )


def test_a_pair_without_categories_is_a_gaussian():
    joint, gaussian = latents.Joint(3, 0), latents.Gaussian()
    parts, key = (normal(0, 5, 4), normal(1, 5, 4)), jax.random.key(0)
    pair, plain = joint.posterior({}, parts), gaussian.posterior({}, parts)
    priors = joint.prior({}, 4), gaussian.prior({}, 4)
    np.testing.assert_array_equal(pair.sample(key), plain.sample(key))
    np.testing.assert_array_equal(pair.relaxed(key, 0.5), plain.sample(key))
    np.testing.assert_array_equal(
        *map(distributions.kl_divergence, (pair, plain), priors), strict=True
    )


@pytest.mark.parametrize("method", ["sample", "relaxed"])
def test_continuous_dimensions_are_independent_of_the_category(method):
    """Given the category that was drawn, the Gaussian dimensions have mean 0 and variance 1."""
    num, pair = 10_000, latents.Joint(3, 1).prior({}, 5)
    options = () if method == "sample" else (0.5,)
    keys = jax.random.split(jax.random.key(0), num)
    draw = jax.jit(jax.vmap(lambda key: getattr(pair, method)(key, *options)))
    z = np.asarray(draw(keys))
    for category in range(3):
        own = z[z[:, :3].argmax(axis=1) == category, 3:]
        assert abs(len(own) - num / 3) < 5 * np.sqrt(num * 2 / 9)
        assert np.abs(own.mean(axis=0)).max() < 5 / np.sqrt(len(own))
        assert np.abs(own.var(axis=0) - 1).max() < 5 * np.sqrt(2 / len(own))


def test_the_nearest_code_is_chosen():
    vectors, codebook = normal(0, 50, 3), normal(1, 8, 3)
    distances = np.square(np.asarray(vectors)[:, None] - np.asarray(codebook)[None]).sum(axis=2)
    np.testing.assert_array_equal(losses.nearest_codes(vectors, codebook), distances.argmin(axis=1))
    np.testing.assert_array_equal(losses.nearest_codes(codebook, codebook), np.arange(8))


def test_more_stages_leave_less():
    """Where a codebook can leave things as they are, another stage never does harm."""
    vectors = normal(0, 200, 3)
    codebook = 0.5 ** jnp.arange(4.0)[:, None, None] * normal(1, 4, 16, 3)
    codebook = codebook.at[:, 0].set(0.0)
    errors = []
    for num in range(1, 5):
        _, chosen = latents.residual_codes(vectors, codebook[:num])
        errors.append(jnp.square(vectors - chosen.sum(axis=0)).sum(axis=1))
    for before, after in itertools.pairwise(errors):
        assert (after <= before + 1e-6).all()
    assert errors[-1].mean() < 0.3 * errors[0].mean()
    # the first stage is that of one alone
    indices, _ = latents.residual_codes(vectors, codebook)
    np.testing.assert_array_equal(indices[0], losses.nearest_codes(vectors, codebook[0]))


def test_the_prior_of_codes_draws_each_as_often():
    codebook = normal(0, 2, 4, 3)
    prior = latents.UniformCodes(codebook, 6)
    z = jax.jit(lambda key: prior.sample(key, 20_000))(jax.random.key(0)).reshape(-1, 2, 3)
    sums = np.asarray(codebook[0][:, None] + codebook[1][None]).reshape(-1, 3)
    distances = np.square(np.asarray(z)[..., None, :] - sums).sum(axis=-1)
    assert distances.min(axis=-1).max() < 1e-8
    shares = np.bincount(distances.argmin(axis=-1).ravel(), minlength=16) / z.shape[0] / 2
    np.testing.assert_allclose(shares, 1 / 16, atol=0.005)
    np.testing.assert_allclose(z.reshape(-1, 6).std(axis=0), prior.deviation, rtol=0.02)
    # all 16² codes of two groups together have probability 1
    assert float(prior.log_prob(z.reshape(-1, 6))[0]) == pytest.approx(-np.log(16**2), rel=1e-6)


def test_quantized_values_are_codes_with_the_gradient_of_the_features():
    latent = latents.Quantized(8, 3, num_stages=2)
    params = {"codebook": normal(0, 2, 8, 3)}
    features, weights = normal(1, 5, 6), normal(2, 5, 6)

    def along(features, codebook):
        posterior = latent.posterior({"codebook": codebook}, (features,))
        return jnp.sum(weights * jnp.sin(posterior.sample(jax.random.key(0))))

    posterior = latent.posterior(params, (features,))
    z = posterior.sample(jax.random.key(0))
    np.testing.assert_array_equal(z, posterior.mode)
    grads, of_codes = jax.grad(along, argnums=(0, 1))(features, params["codebook"])
    np.testing.assert_allclose(grads, weights * jnp.cos(z), rtol=1e-6)
    np.testing.assert_array_equal(of_codes, 0)
    np.testing.assert_array_equal(posterior.log_prob(z), 0)
    assert (posterior.log_prob(z + 1) == -jnp.inf).all()


def test_perplexity_counts_the_codes_in_use():
    for num_used in (1, 3, 8):
        counts = losses.code_counts(jnp.arange(24) % num_used, 8)
        assert float(losses.perplexity(counts)) == pytest.approx(num_used, rel=1e-5)
    indices, weights = jnp.array([0, 0, 1, 2, 5]), jnp.array([1.0, 1, 1, 0, 0])
    np.testing.assert_array_equal(losses.code_counts(indices, 6, weights), [2, 1, 0, 0, 0, 0])


def test_commitment_pulls_the_features_alone():
    features, quantized = normal(0, 4, 2, 3), normal(1, 4, 2, 3)
    np.testing.assert_allclose(
        losses.commitment(features, quantized),
        np.square(np.asarray(features - quantized)).sum(axis=(1, 2)),
        rtol=1e-5,
    )
    both = jax.grad(lambda f, q: losses.commitment(f, q).sum(), argnums=(0, 1))(features, quantized)
    np.testing.assert_allclose(both[0], 2 * (features - quantized), rtol=1e-6)
    np.testing.assert_array_equal(both[1], 0)
