"""Codes in groups: densities that integrate to 1, one group is the flat model, masks are sizes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from properties import slow

import vae_jax
from vae_jax import distributions, latents, posteriors, rates
from vae_jax.errors import UsageError
from vae_jax.evaluation import elbo
from vae_jax.posteriors import _hierarchy

KEY = jax.random.key(0)
SIZE = 5
X = jax.random.bernoulli(jax.random.key(1), 0.4, (12, SIZE)).astype(jnp.float32)
HIERARCHIES = ("chain", "ladder")


def made(name, latent_dim=3, num_groups=2, mask=None, **sizes):
    """A model with parameters that are like no others."""
    posterior = posteriors.make(name, num_groups=num_groups, group_width=6)
    sizes = {"latent_dim": latent_dim, "likelihood": "bernoulli", "widths": (7,), **sizes}
    model = vae_jax.make_model(X, posterior=posterior, **sizes)
    return model if mask is None else model.replace(latent_mask=jnp.float32(mask))


def moved(params, amount=0.3):
    """Parameters moved away from zeros, each leaf by its own draws."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(9), len(leaves))
    drawn = [
        leaf + amount * jax.random.normal(k, leaf.shape)
        for leaf, k in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(tree, drawn)


@jax.jit
def moved_of(model):
    """Parameters of a model, moved away from its initial ones."""
    return moved(model.init(KEY))


@pytest.fixture(scope="module", params=HIERARCHIES)
def pair(request):
    """A model of 3 dimensions in two groups, and its parameters."""
    model = made(request.param)
    return model, moved_of(model)


def test_groups_are_halved_and_any_first_dimensions_have_all_of_them():
    found = np.stack(_hierarchy.groups(14, 3, None))
    np.testing.assert_array_equal(found.sum(axis=0), 1)
    np.testing.assert_array_equal(found.sum(axis=1), [8, 4, 2])
    np.testing.assert_array_equal(found[:, :7], np.stack(_hierarchy.groups(7, 3, None)))
    np.testing.assert_array_equal(np.stack(_hierarchy.groups(150, 2, None)).sum(axis=1), [100, 50])


def cube(num=49, width=7.0):
    """Points of a grid [num³, 3], and the volume of a cell."""
    axis = np.linspace(-width, width, num)
    points = np.array(list(itertools.product(axis, repeat=3)), np.float32)
    return jnp.asarray(points), (axis[1] - axis[0]) ** 3


def test_the_densities_integrate_to_one_and_have_the_means_of_their_draws(pair):
    model, params = pair
    z, volume = cube()

    @jax.jit
    def densities(params):
        posterior, prior = model.encode(params, X[:1]), model.prior(params)
        draws = posterior.sample(KEY, 4000)[:, 0], prior.sample(KEY, 4000)
        return jnp.exp(posterior.log_prob(z[:, None])[:, 0]), jnp.exp(prior.log_prob(z)), draws

    of_posterior, of_prior, draws = densities(params)
    for density, drawn in zip((of_posterior, of_prior), draws, strict=True):
        assert density.sum() * volume == pytest.approx(1.0, abs=2e-3)
        mean = (density[:, None] * z).sum(axis=0) * volume
        np.testing.assert_allclose(mean, drawn.mean(axis=0), atol=5 * drawn.std() / 4000**0.5)


def test_the_density_of_a_draw_is_the_density_at_it(pair):
    model, params = pair
    posterior = model.encode(params, X)
    z, log_q = posterior.sample_and_log_prob(KEY, 4)
    np.testing.assert_allclose(log_q, posterior.log_prob(z), atol=2e-5)
    np.testing.assert_allclose(posterior.log_probs(z).sum(axis=-1), log_q, atol=2e-5)
    np.testing.assert_array_equal(z, posterior.sample(KEY, 4))


def test_the_rates_of_dimensions_sum_to_the_rate(pair):
    model, params = pair
    posterior, prior = model.encode(params, X), model.prior(params)
    z = posterior.sample(KEY, 3)
    of_dims = rates.per_dim(posterior, prior, z)
    np.testing.assert_allclose(of_dims.sum(axis=1), rates.rate(posterior, prior, z), rtol=1e-5)


def test_the_rate_of_a_ladder_has_the_mean_of_the_log_ratio():
    model = made("ladder")
    params = moved_of(model)

    @jax.jit
    def both(params):
        posterior, prior = model.encode(params, X[:2]), model.prior(params)
        z, log_q = posterior.sample_and_log_prob(KEY, 20_000)
        ratio = log_q - prior.log_prob(z)
        return ratio, posterior.rates_given(prior, z).sum(axis=-1)

    ratio, given = map(np.asarray, both(params))
    error = ratio.std(axis=0) / len(ratio) ** 0.5
    assert (np.abs(ratio.mean(axis=0) - given.mean(axis=0)) < 5 * error).all()
    assert (given.std(axis=0) < 0.5 * ratio.std(axis=0)).all()


def test_a_ladder_multiplies_prior_and_evidence():
    """Normalized on a grid, N(z; m, v) p(z | above) is the conditional density of its draws."""
    model = made("ladder")
    params = moved_of(model)
    posterior, prior = model.encode(params, X[:1]), model.prior(params)
    mean, logvar = posterior.parameters[0]
    above = 0.7
    grid = jnp.linspace(-8.0, 8.0, 801)
    z = jnp.stack([grid, jnp.full(801, -0.3), jnp.full(801, above)], axis=1)
    evidence = distributions.gaussian_log_prob(grid, jnp.full(801, mean[0, 0]), logvar[0, 0])
    product = np.float64(evidence + prior.log_probs(z)[:, 0])
    product -= np.log(np.exp(product).sum() * (grid[1] - grid[0]))
    np.testing.assert_allclose(posterior.log_probs(z[:, None])[:, 0, 0], product, atol=2e-3)


def test_a_draw_on_the_way_is_that_of_the_separate_functions(pair):
    model, params = pair

    @jax.jit
    def both(params):
        posterior, prior = model.encode(params, X), model.prior(params)
        drawn = rates.walk(posterior, prior, KEY, 3)
        again = posterior.sample_and_log_prob(KEY, 3)
        known = rates.Draw(*again)
        found = [f(posterior, prior, drawn) for f in (rates.of_draw, rates.per_dim_of_draw)]
        wanted = [f(posterior, prior, known) for f in (rates.of_draw, rates.per_dim_of_draw)]
        return (*drawn[:2], *found), (*again, *wanted)

    for a, b in zip(*both(params), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", [*HIERARCHIES[:1], *slow(*HIERARCHIES[1:])])
def test_rates_of_groups_sum_to_the_rate_and_free_bits_are_of_groups(name):
    model = made(name, 7, num_groups=3, mask=[1, 1, 1, 1, 1, 0, 0])
    batch = {"x": X, "mask": jnp.ones(len(X))}
    loss = vae_jax.objectives.load("beta_vae")

    @jax.jit
    def terms(free_bits):
        value, aux = loss(model, moved(model.init(KEY)), batch, KEY, free_bits=free_bits)
        return value, aux

    value, aux = terms(jnp.float32(0.0))
    of_groups = np.stack([aux[f"rate_group_{index}"] for index in (1, 2, 3)])
    np.testing.assert_allclose(of_groups.sum(axis=0), aux["rate"], rtol=1e-5)
    np.testing.assert_allclose(value, -aux["elbo"], rtol=1e-5)
    means = np.sort(of_groups.mean(axis=1))
    # of the three groups one, then all, are below their floor; the group at the top is masked
    members = np.asarray(model.groups).sum(axis=1)
    np.testing.assert_array_equal(members, [4, 1, 0])
    floor = float(means[1:].mean())
    expected = aux["distortion"] + sum(
        np.where(rate.mean() >= floor, rate, floor if num else 0.0)
        for rate, num in zip(of_groups, members, strict=True)
    )
    np.testing.assert_allclose(terms(jnp.float32(floor))[0], expected, rtol=1e-5)
    np.testing.assert_allclose(terms(jnp.float32(1e3))[0], aux["distortion"] + 2e3, rtol=1e-5)


def test_evaluation_of_any_objective_has_the_rates_of_groups(pair):
    model, params = pair
    bound = vae_jax.objectives.bind("iwae", num_examples=len(X), num_samples=2)
    found = elbo.evaluate(
        bound, model, params, X, KEY, {}, preprocess=lambda stored, key: stored, batch_size=5
    )
    of_groups = [found.terms[f"rate_group_{index}"] for index in (1, 2)]
    np.testing.assert_allclose(of_groups, np.asarray(model.groups) @ found.rate_per_dim, rtol=1e-5)
    assert found.standard_errors["rate_group_1"] > 0


def test_at_temperature_0_draws_of_the_prior_are_its_path_of_means(pair):
    model, params = pair
    prior = model.prior(params)
    z = latents.at_temperature(prior, 0.0).sample(KEY, 4)
    np.testing.assert_allclose(z, prior.conditionals(z)[0], atol=1e-6)
    assert np.abs(z).max() > 1e-3
    assert latents.at_temperature(prior, 1.0) is prior


def products(jaxpr, shape):
    """How often an array of a shape is the right factor of a product."""
    found = 0
    for equation in jaxpr.eqns:
        inner = [v for v in equation.params.values() if hasattr(v, "jaxpr") or hasattr(v, "eqns")]
        found += sum(products(getattr(each, "jaxpr", each), shape) for each in inner)
        if equation.primitive.name == "dot_general":
            found += equation.invars[1].aval.shape == shape
    return found


def test_a_ladder_runs_its_path_once():
    model = made("ladder", num_groups=2)
    loss = vae_jax.objectives.load("beta_vae")
    batch = {"x": X, "mask": jnp.ones(len(X))}

    def mean_loss(params):
        return loss(model, params, batch, KEY, free_bits=jnp.float32(0.1))[0].mean()

    jaxpr = jax.make_jaxpr(mean_loss)(model.param_shapes()).jaxpr
    assert products(jaxpr, (6, 6)) == 1  # between the two hidden layers of p(z_1 | z_2)


def test_batch_norm_of_a_ladder_has_the_moments_of_the_batch_in_training():
    ladder = posteriors.Ladder(3, 6, normalization="batch")
    model = vae_jax.make_model(
        X, latent_dim=7, likelihood="bernoulli", widths=(7,), posterior=ladder
    )
    assert model.has_modes
    params = moved_of(model)
    training = model.replace(train_key=KEY)
    parts = [jax.random.normal(jax.random.fold_in(KEY, i), (12, 7)) for i in range(4)]
    own, features = params["latent"], jnp.stack(parts[2:], axis=1)
    _, moments = ladder._hidden(own, features)
    normal = {**own, "batch_stats": moments}
    np.testing.assert_allclose(
        ladder.posterior(own, parts).mean, ladder.posterior(normal, parts).mean, atol=1e-6
    )
    # moved and scaled features of the first layer, which sees them linearly, change nothing
    scaled = [*parts[:2], *(3.0 * part for part in parts[2:])]
    np.testing.assert_allclose(
        ladder.posterior(own, parts).mean, ladder.posterior(own, scaled).mean, atol=1e-3
    )
    before = params["batch_stats"]["latent"]
    after = training.update_statistics(params, X, KEY)["batch_stats"]["latent"]
    outputs, _ = training._run("encoder", params, X)
    _, of_batch = ladder._hidden(own, jnp.stack(outputs[2:], axis=1))
    for name in ("up_1", "up_2"):
        for moment in ("mean", "var"):
            wanted = 0.99 * before[name][moment] + 0.01 * of_batch[name][moment]
            np.testing.assert_allclose(after[name][moment], wanted, rtol=1e-5, atol=1e-7)
    # evaluation reads the running statistics, so an example has one code in any batch
    alone = model.encode(params, X[:1]).mode
    np.testing.assert_allclose(alone, model.encode(params, X).mode[:1], atol=1e-6)
    assert np.abs(training.encode(params, X).mode[:1] - alone).max() > 1e-3


@pytest.mark.slow
def test_a_ladder_with_batch_norm_trains_and_resumes():
    ladder = posteriors.Ladder(2, 6, normalization="batch")
    model = vae_jax.make_model(
        X, latent_dim=3, likelihood="bernoulli", widths=(7,), posterior=ladder
    )
    whole = vae_jax.fit("beta_vae", model, X, epochs=4, progress=False, batch_size=5)
    assert np.isfinite(whole.history[-1]["loss"])
    moved_by = jax.tree.map(jnp.subtract, whole.params, jax.jit(model.init)(KEY))
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(moved_by["batch_stats"]))


@pytest.mark.parametrize("name", HIERARCHIES)
def test_one_group_is_the_flat_model_bit_for_bit(name):
    flat = vae_jax.make_model(X, latent_dim=3, likelihood="bernoulli", widths=(7,))
    one = made(name, num_groups=1)
    batch = {"x": X, "mask": jnp.ones(len(X))}
    loss = vae_jax.objectives.load("beta_vae")
    params = [model.init(KEY) for model in (flat, one)]
    jax.tree.map(np.testing.assert_array_equal, *params)
    values = [loss(model, params[0], batch, KEY)[0] for model in (flat, one)]
    np.testing.assert_array_equal(*values)


@pytest.mark.parametrize("name", HIERARCHIES)
def test_a_masked_hierarchy_is_a_smaller_one(name):
    small, large = made(name, 4), made(name, 7, mask=[1, 1, 1, 1, 0, 0, 0])
    batch = {"x": X, "mask": jnp.ones(len(X))}
    loss = vae_jax.objectives.load("beta_vae")

    @jax.jit
    def values(model):
        params = model.init(KEY)
        value, aux = loss(model, params, batch, KEY)
        posterior, prior = model.encode(params, X), model.prior(params)
        return value, aux["rate"], rates.per_dim(posterior, prior, posterior.sample(KEY))

    (*found, of_small), (*wanted, of_large) = values(small), values(large)
    for a, b in zip([*found, of_small], [*wanted, of_large[:, :4]], strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5)
    assert (of_large[:, 4:] == 0).all()


def test_the_decoder_reads_the_lowest_group_alone(pair):
    model, params = pair
    z = jax.random.normal(KEY, (2, 3))
    changed = z.at[:, 2].add(5.0)
    np.testing.assert_array_equal(model.decode(params, z), model.decode(params, changed))
    assert (model.decode(params, z) != model.decode(params, z.at[:, 0].add(1.0))).all()


def test_a_prior_of_flat_codes_is_refused():
    with pytest.raises(UsageError, match=r"prior=.*: is a density of Gaussian codes"):
        vae_jax.make_model(X, latent_dim=3, likelihood="bernoulli", posterior="ladder", prior="maf")


@pytest.mark.slow
@pytest.mark.parametrize("name", HIERARCHIES)
def test_the_importance_weighted_bound_meets_the_integral(name):
    model = made(name)
    params = moved_of(model)
    z, volume = cube(41, 6.0)
    batch = {"x": X[:2], "mask": jnp.ones(2)}

    @jax.jit
    def exact(params):
        rows = jnp.broadcast_to(X[:2], (len(z), 2, SIZE))
        distortion = jax.vmap(
            lambda one, x: model.distortion(
                params, jnp.broadcast_to(one, (2, 3)), {**batch, "x": x}
            )
        )(z, rows)
        return jax.nn.logsumexp(model.prior(params).log_prob(z)[:, None] - distortion, axis=0)

    wanted = exact(params) + np.log(volume)
    bound = vae_jax.objectives.bind("iwae", num_examples=12, num_samples=20_000)
    found = jax.jit(lambda params: bound(model, params, batch, KEY)[1]["bound"])(params)
    np.testing.assert_allclose(found, wanted, atol=0.02)
