"""Learned priors: densities that integrate to 1, maps that invert, all objectives with them."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import properties
import pytest
import scipy.stats
from properties import slow

from vae_jax import (
    distributions,
    latents,
    likelihoods,
    networks,
    objectives,
    priors,
    rates,
)
from vae_jax.distributions import DiagonalGaussian
from vae_jax.errors import UsageError
from vae_jax.evaluation import elbo, latent_use, nll
from vae_jax.model import Model
from vae_jax.priors import _components

KEY = jax.random.key(0)
SIZE, N, L = 6, 12, 3
GAUSSIAN = [name for name in priors.names() if not priors.load(name).of_codes]
"""The priors of Gaussian codes; a prior of quantized ones has tests of its own."""
LEARNED = [name for name in GAUSSIAN if name != "normal"]
DENSITIES = [n if n in ("mixture", "realnvp") else slow(n)[0] for n in LEARNED]
"""One density of components and one of a flow, the others as slow tests."""
small = functools.partial(properties.small, priors.FAMILY)
X = jax.random.bernoulli(jax.random.key(1), 0.4, (N, SIZE)).astype(jnp.float32)


def make_model(prior, latent_dim=L, latent_mask=None):
    encoder, decoder = networks.build(
        "mlp",
        shape=(SIZE,),
        latent_dim=latent_dim,
        num_outputs=1,
        num_parts=2,
        dtype=jnp.float32,
        widths=(8,),
        activation=None,
        teacher_dropout=None,
    )
    return Model(
        encoder,
        decoder,
        likelihoods.Bernoulli(),
        (SIZE,),
        latent_dim,
        latent_mask=latent_mask,
        prior_family=prior,
    )


def init(model, key=KEY):
    num = 0 if model.prior_family is None else model.prior_family.num_examples
    return model.init(key, X[:num] if num else None)


def first_dimensions(params, wanted):
    """The parameters, or gradients, of the first latent dimensions only, of the wanted shapes."""

    def cut(path, leaf, own):
        if "posterior" in jax.tree_util.keystr(path):  # (mean, logvar) side by side
            leaf = leaf.reshape(*leaf.shape[:-1], 2, -1)[..., : own.shape[-1] // 2]
        return (
            leaf.reshape(own.shape)
            if leaf.size == np.prod(own.shape)
            else (leaf[tuple(map(slice, own.shape))])
        )

    return jax.tree_util.tree_map_with_path(cut, params, wanted)


def perturbed(params, scale=0.3, key=5):
    """Parameters away from their initial values, so that a prior is no longer N(0, I)."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(key), len(leaves))
    moved = [a + scale * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, moved)


def density(name, latent_dim=L, latent_mask=None):
    """A prior with random parameters; VampPrior reads x by a fixed linear map."""
    prior = small(name)
    sizes = priors.Sizes(latent_dim, latent_mask, (SIZE,))
    params = perturbed(prior.init(KEY, sizes, X[: prior.num_examples]))
    return prior.of(params, latent_dim, latent_mask, encode(latent_dim))


def encode(latent_dim):
    def apply(x):
        maps = jax.random.normal(jax.random.key(7), (2, SIZE, latent_dim))
        return DiagonalGaussian(x @ maps[0], 0.3 * (x @ maps[1]))

    return apply


@pytest.mark.parametrize("name", GAUSSIAN)
def test_the_density_integrates_to_one_and_has_the_moments_of_its_draws(name):
    own = density(name, 2)
    side = np.linspace(-14, 14, 561, dtype=np.float32)
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1)
    mass = np.exp(np.asarray(jax.jit(own.log_prob)(grid.reshape(-1, 2))), dtype=np.float64)
    mass *= (side[1] - side[0]) ** 2
    np.testing.assert_allclose(mass.sum(), 1.0, atol=2e-3)
    mean = mass @ grid.reshape(-1, 2)
    z = np.asarray(jax.jit(own.sample, static_argnums=1)(jax.random.key(3), 40_000))
    error = z.std(axis=0) / math.sqrt(len(z))
    assert (np.abs(z.mean(axis=0) - mean) < 5 * error + 1e-3).all()
    assert (np.abs(np.asarray(own.mean) - mean) < 0.1).all()
    np.testing.assert_allclose(np.asarray(own.deviation), z.std(axis=0), rtol=0.05)


@pytest.mark.parametrize("name", ["realnvp", "maf"])
def test_the_log_determinant_is_that_of_the_jacobian_and_the_map_inverts(name):
    own = density(name, 5)

    def of_layer(index, layer, z):
        noise, log_det = own.inverse(layer, index, None, z)
        one = jax.jacfwd(lambda v: own.inverse(layer, index, None, v)[0])
        return own.forward(layer, index, None, noise), log_det, jax.vmap(one)(z)

    @jax.jit
    def measure(z):
        return [of_layer(index, layer, z) for index, layer in enumerate(own.layers)]

    z = own.sample(jax.random.key(2), 4)
    for again, log_det, jacobian in measure(z):
        np.testing.assert_allclose(again, z, atol=1e-5)
        _, expected = np.linalg.slogdet(np.asarray(jacobian, np.float64))
        np.testing.assert_allclose(log_det, expected, atol=1e-5)


def test_the_layers_of_maf_read_only_what_comes_before():
    own = density("maf", 5)

    @jax.jit
    def measure(z):
        ones = [
            jax.jacfwd(lambda z, i=index, own_=layer: own.inverse(own_, i, None, z)[0])
            for index, layer in enumerate(own.layers)
        ]
        return [jax.vmap(one)(z) for one in ones]

    for index, slopes in enumerate(measure(own.sample(KEY, 50))):
        slope = np.abs(np.asarray(slopes)).max(axis=0)
        slope = slope if index % 2 == 0 else slope[::-1, ::-1]
        assert (np.triu(slope, 1) == 0).all()
        assert (np.tril(slope, -1) > 0).sum() == 10


@pytest.mark.parametrize("name", ["realnvp", "maf"])
def test_a_flow_starts_as_the_standard_normal(name):
    prior = small(name)
    params = prior.init(KEY, priors.Sizes(L, None, (SIZE,)))
    own, standard = prior.of(params, L), distributions.standard_gaussian(L)
    z = standard.sample(KEY, 9)
    np.testing.assert_array_equal(own.log_prob(z), standard.log_prob(z))
    np.testing.assert_array_equal(own.sample(KEY, 9), z)


def test_a_mixture_is_scipys():
    own = density("mixture")
    z = np.asarray(own.sample(KEY, 50))
    weights = np.exp(np.asarray(own.log_weights, np.float64))
    means, deviations = np.asarray(own.means), np.exp(0.5 * np.asarray(own.logvars))
    each = scipy.stats.norm.logpdf(z[:, None], means[None], deviations[None])  # [N, K, L]
    expected = np.log((weights * np.exp(each.sum(axis=-1))).sum(axis=-1))

    @jax.jit
    def measure(z):
        of_first = own.first(2).log_probs(z[:, :2])
        return own.log_prob(z), own.log_probs(z), own.marginal_log_probs(z), of_first

    joint, each_given_before, each_alone, of_first = measure(z)
    np.testing.assert_allclose(joint, expected, atol=2e-5)
    np.testing.assert_allclose(each_given_before.sum(axis=-1), expected, atol=2e-5)
    alone = np.log((weights[:, None] * np.exp(each)).sum(axis=1))
    np.testing.assert_allclose(each_alone, alone, atol=2e-5)
    # p(z_1) p(z_2 | z_1) is the marginal of the first two
    np.testing.assert_allclose(each_given_before[:, :2], of_first, atol=2e-5)


def test_the_elbo_of_a_mixture_is_that_of_clusters_with_the_best_responsibilities():
    """Of each draw z, Σ_c γ_c (log γ_c − log p(c) p(z|c)) = −log p(z) with γ_c = p(c|z).

    A q(c) that is not told z costs the mean of KL(q(c) ‖ p(c|z)) more, whatever the draws; the best
    of those has q(c) ∝ exp E log p(c|z), and costs at least nothing.
    """
    own = density("mixture")
    z = np.asarray(own.sample(KEY, 50))
    gamma = np.asarray(own.responsibilities(z), np.float64)
    means, deviations = np.asarray(own.means), np.exp(0.5 * np.asarray(own.logvars))
    each = scipy.stats.norm.logpdf(z[:, None], means[None], deviations[None]).sum(axis=-1)
    joint = np.asarray(own.log_weights) + each  # log p(c) p(z|c), [N, K]
    cost = np.asarray(-own.log_prob(z), np.float64)
    np.testing.assert_allclose((gamma * (np.log(gamma) - joint)).sum(axis=1), cost, atol=2e-5)

    def more(q):
        return (q * (np.log(q) - joint.mean(axis=0))).sum() - cost.mean()

    def divergence(q):
        return (q * (np.log(q) - np.log(gamma))).sum(axis=1).mean()

    best = np.exp(np.log(gamma).mean(axis=0))
    assert more(best / best.sum()) == pytest.approx(-np.log(best.sum()), abs=2e-5)
    for q in (best / best.sum(), gamma.mean(axis=0), np.full(4, 0.25)):
        assert more(q) == pytest.approx(divergence(q), abs=2e-5)
        assert more(q) >= more(best / best.sum()) - 1e-9 > 0


def test_products_are_as_exact_as_sums_far_from_the_origin():
    @jax.jit
    def measure():
        means = 40.0 + jax.random.normal(KEY, (500, 40))
        own = _components.mixture(jnp.zeros(500), means, jnp.full((500, 40), -6.0))
        z = own.sample(jax.random.key(1), 64)
        return own.log_prob(z), own.log_probs(z).sum(axis=-1)

    products, sums = measure()
    np.testing.assert_allclose(products, sums, atol=0.02)


@pytest.mark.parametrize("name", ["beta_vae", "beta_tc_vae", *slow("iwae", "info_vae")])
def test_one_component_is_the_objective_of_today_bit_for_bit(name):
    plain, own = make_model(None), make_model(priors.Mixture(1))
    params, batch = init(own), {"x": X, "mask": jnp.ones(N)}
    bound = objectives.bind(name, num_examples=N)
    found = bound(own, params, batch, KEY)
    expected = bound(plain, params, batch, KEY)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_pseudo_inputs_at_the_data_make_the_aggregate_posterior():
    model = make_model(priors.Vamp(N))
    params = model.init(KEY, X)
    posterior, prior = model.encode(params, X), model.prior(params)
    z = posterior.sample(KEY)
    expected = latent_use.aggregate_log_density(z, *posterior, num_rows=4, num_columns=4)
    np.testing.assert_allclose(prior.log_prob(z), expected.joint, atol=1e-4)
    np.testing.assert_allclose(prior.marginal_log_probs(z), expected.marginals, atol=1e-4)
    found = latent_use.evaluate(*posterior, KEY, prior=prior, num_samples=300)
    for name in ("marginal_kl", "dimension_wise_kl"):
        assert found[name] == pytest.approx(0, abs=1e-4)
    assert found["rate"] == pytest.approx(found["mutual_information"], abs=1e-4)
    assert abs(found["mmd"]) < 5 * found["mmd_standard_error"]


def use_of(prior):
    mean, logvar = normal(0, 40, L), normal(1, 40, L) - 1
    return latent_use.evaluate(mean, logvar, KEY, prior=prior, num_samples=400)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_latent_use_of_a_mixture_of_equal_components_is_that_of_one_gaussian():
    mean, logvar = jnp.asarray(0.5 * normal(2, L)), jnp.asarray(0.3 * normal(3, L))
    both = [jnp.stack([each, each]) for each in (mean, logvar)]
    found = use_of(_components.GaussianMixture(jnp.float32([0.3, -1.0]), *both))
    expected = use_of(DiagonalGaussian(mean, logvar))
    for name in ("mutual_information", "marginal_kl", "dimension_wise_kl", "kl_per_dim"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4, err_msg=name)
    # from draws, not in closed form
    error = found["rate_standard_error"]
    assert abs(found["rate"] - expected["rate"]) < 5 * error < 1.0
    assert sum(found["rate_per_dim"]) == pytest.approx(found["rate"], abs=1e-4)
    difference = np.subtract(found["rate_per_dim"], expected["rate_per_dim"])
    assert (np.abs(difference) < 5 * error).all()


def test_latent_use_of_a_flow_knows_its_joint_density_alone():
    prior = small("realnvp")
    start = prior.of(prior.init(KEY, priors.Sizes(L, None, (SIZE,))), L)  # N(0, I)
    found, expected = use_of(start), use_of(distributions.standard_gaussian(L))
    for name in ("mutual_information", "marginal_kl", "total_correlation", "active_units"):
        assert found[name] == pytest.approx(expected[name], abs=1e-4)
    assert abs(found["rate"] - expected["rate"]) < 5 * found["rate_standard_error"]
    for name in ("rate_per_dim", "kl_per_dim", "dimension_wise_kl", "top_rate_share"):
        assert found[name] is None
    assert "of it in the top" not in found["verdict"]
    assert found.keys() == expected.keys()


@pytest.mark.parametrize("pseudo_inputs", ["learned", "data"])
def test_pseudo_inputs_move_only_if_they_are_learned(pseudo_inputs):
    model = make_model(priors.Vamp(4, pseudo_inputs))
    params, bound = init(model), objectives.bind("beta_vae", num_examples=N)

    def mean_loss(params):
        return bound(model, params, {"x": X, "mask": jnp.ones(N)}, KEY)[0].mean()

    gradient = jax.jit(jax.grad(mean_loss))(params)["prior"]["inputs"]
    assert bool(jnp.any(gradient != 0)) == (pseudo_inputs == "learned")
    np.testing.assert_array_equal(params["prior"]["inputs"], X[:4])


@pytest.mark.parametrize("name", DENSITIES)
def test_the_estimated_rate_has_the_mean_of_the_divergence(name):
    own = density(name, 1)
    posterior = DiagonalGaussian(jnp.float32([[0.4]]), jnp.float32([[-1.0]]))
    axis = np.linspace(-8.0, 8.0, 4001, dtype=np.float32)[:, None]

    @jax.jit
    def measure(key):
        z = posterior.sample(key, 20_000)
        estimate = posterior.log_prob(z) - own.log_prob(z)
        log_q, log_p = posterior.log_prob(axis[:, None])[:, 0], own.log_prob(axis)
        expected = jnp.sum(jnp.exp(log_q) * (log_q - log_p)) * (axis[1, 0] - axis[0, 0])
        return estimate.std(), expected, rates.rate(posterior, own, z)[0]

    deviation, expected, found = map(float, measure(jax.random.key(4)))
    assert abs(found - expected) < 5 * deviation / math.sqrt(20_000) + 1e-3


OBJECTIVES = [
    pytest.param(("beta_vae", "iwae", "beta_tc_vae"), id="some"),
    *slow(("stl", "dreg", "tvo", "info_vae", "capacity_vae"), ids=["others"]),
]


@pytest.mark.parametrize("names", OBJECTIVES)
@pytest.mark.parametrize("name", LEARNED)
def test_objectives_are_finite_and_masked_as_a_smaller_model(name, names):
    big = make_model(small(name), L + 2, (jnp.arange(L + 2) < L).astype(jnp.float32))
    native = make_model(small(name))
    batch, params = {"x": X, "mask": jnp.ones(N)}, init(big)
    cut = first_dimensions(params, native.param_shapes())
    for objective in names:
        bound = objectives.bind(objective, num_examples=N)

        def both(model, params, bound=bound):
            def mean_loss(params):
                loss, aux = bound(model, params, batch, KEY)
                return loss.mean(), aux

            return jax.grad(mean_loss, has_aux=True)(params)

        gradient, aux = jax.jit(both)(big, params)
        expected_gradient, expected = jax.jit(both)(native, cut)
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradient))
        for term in aux:
            np.testing.assert_allclose(aux[term], expected[term], rtol=2e-4, atol=2e-4)
        own = first_dimensions(gradient, expected_gradient)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4),
            own,
            expected_gradient,
        )


@pytest.mark.parametrize("name", LEARNED)
def test_masked_dimensions_start_and_are_drawn_as_in_a_smaller_model(name):
    mask = (jnp.arange(L + 2) < L).astype(jnp.float32)
    big, native = make_model(small(name), L + 2, mask), make_model(small(name))
    params, own = init(big)["prior"], init(native)["prior"]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[tuple(map(slice, b.shape))], b, rtol=1e-6),
        params,
        own,
    )
    draws = density(name, L + 2, mask).first(L).sample(KEY, 5)
    assert draws.shape == (5, L)
    if name != "vamp":  # its codes come from another encoder here
        masked = small(name).of(params, L + 2, mask).sample(KEY, 5)[:, :L]
        np.testing.assert_allclose(masked, small(name).of(own, L).sample(KEY, 5), atol=1e-5)


@pytest.mark.parametrize("name", DENSITIES)
def test_the_importance_weighted_bound_meets_the_integral_over_one_dimension(name):
    model = make_model(small(name), 1)
    params = init(model)
    params |= {"prior": perturbed(params["prior"])}
    x, axis = X[:3], jnp.linspace(-12.0, 12.0, 4801)[:, None]

    def exact(row):
        log_prior = model.prior(params).log_prob(axis)
        rows = jnp.broadcast_to(row, (len(axis), SIZE))
        batch = {"x": rows, "mask": jnp.ones(len(axis))}
        log_joint = log_prior - model.distortion(params, axis, batch)
        return jax.nn.logsumexp(log_joint) + jnp.log(axis[1, 0] - axis[0, 0])

    found = nll.sample(
        model, params, x, KEY, preprocess=lambda stored, key: stored, num_samples=20_000
    )
    # the variance of log 1/K Σ w is about 1 / (effective samples)
    error = 1 / np.sqrt(found.effective_samples)
    assert (np.abs(-found.nll - jax.jit(jax.vmap(exact))(x)) < 6 * error + 1e-3).all()
    assert (error < 0.2).all()


@pytest.mark.parametrize("name", LEARNED)
def test_an_evaluation_knows_the_terms_of_every_prior(name):
    model = make_model(small(name))
    num = 4000
    found = elbo.evaluate(
        objectives.bind("beta_vae", num_examples=num),
        model,
        init(model),
        jnp.tile(X[:1], (num, 1)),
        KEY,
        {},
        preprocess=lambda stored, key: stored,
    )
    assert all(bool(jnp.isfinite(value)) for value in found.terms.values())
    assert found.mean_variance.shape == (L,)
    if name in ("mixture", "vamp"):
        # other draws than those of the objective, of one and the same posterior
        error = 7 * float(found.standard_errors["rate"])
        assert abs(float(found.rate_per_dim.sum() - found.terms["rate"])) < error
    else:
        assert found.rate_per_dim is None


def test_what_does_not_go_together_is_refused_before_anything_is_compiled():
    of_codes = make_model(priors.Mixture(4)).replace(latent=latents.Quantized(8, 1))
    with pytest.raises(UsageError, match="is a density of Gaussian codes"):
        of_codes.check_prior()
    with pytest.raises(UsageError, match="without a condition"):
        make_model(priors.Vamp(4)).replace(num_conditions=2).check_prior()
    with pytest.raises(UsageError, match="starts from training rows"):
        make_model(priors.Vamp(4)).init(KEY)
    with pytest.raises(UsageError, match="examples have shape"):
        make_model(priors.Vamp(4)).init(KEY, X[:3])
    model = make_model(small("realnvp"))
    params, bound = init(model), objectives.bind("beta_vae", num_examples=N)
    with pytest.raises(UsageError, match="only known jointly"):
        bound(model, params, {"x": X, "mask": jnp.ones(N)}, KEY, free_bits=0.1)
    for wrong in (0, 2.5, True):
        with pytest.raises(UsageError, match="num_components"):
            priors.Mixture(wrong)
    with pytest.raises(UsageError, match="pseudo_inputs"):
        priors.Vamp(4, "fixed")
    with pytest.raises(UsageError, match="prior"):
        priors.make("vampp")
    with pytest.raises(UsageError, match="num_flows"):
        priors.make("mixture", num_flows=2)
