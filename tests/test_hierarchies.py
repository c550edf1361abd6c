"""Codes in groups: densities that integrate to 1, one group is the flat model, masks are sizes."""

import itertools

import jax
import jax.numpy as jnp
import keys
import numpy as np
import pytest
from properties import slow

import vae_jax
from vae_jax import latents, posteriors, rates
from vae_jax.errors import UsageError
from vae_jax.evaluation import elbo
from vae_jax.posteriors import _hierarchy

KEY = keys.quick(0)
SIZE = 5
X = jnp.asarray(np.random.default_rng(1).random((12, SIZE)) < 0.4, jnp.float32)
BATCH = {"x": X, "mask": jnp.ones(len(X))}
HIERARCHIES = ("chain", "ladder")


def made(name, latent_dim=3, num_groups=2, mask=None, **sizes):
    posterior = posteriors.make(name, num_groups=num_groups, group_width=6)
    sizes = {"latent_dim": latent_dim, "likelihood": "bernoulli", "widths": (7,), **sizes}
    model = vae_jax.make_model(X, posterior=posterior, **sizes)
    return model if mask is None else model.replace(latent_mask=jnp.float32(mask))


@jax.jit
def started(model):
    """The initial parameters of a model, by one program for all models like it."""
    return model.init(KEY)


def drawn(model, amount=0.5):
    """Parameters that are like no others; moments of batch norm near theirs at the start."""
    draw = np.random.default_rng(9).normal

    def of(path, leaf):
        values = draw(float(path[-1].key == "var"), amount, leaf.shape)
        return jnp.asarray(np.abs(values) if path[-1].key == "var" else values, leaf.dtype)

    return jax.tree_util.tree_map_with_path(of, model.param_shapes())


@pytest.fixture(scope="module", params=HIERARCHIES)
def pair(request):
    """A model of 3 dimensions in two groups, and its parameters."""
    model = made(request.param)
    return model, drawn(model)


@pytest.fixture(scope="module")
def known(pair):
    """What is known of the pair, by one program."""
    model, params = pair

    @jax.jit
    def facts(params):
        posterior, prior = model.encode(params, X), model.prior(params)
        z, log_q = posterior.sample_and_log_prob(KEY, 4)
        cold = latents.at_temperature(prior, 0.0).sample(KEY, 4)
        z_of = z[0, :2]
        return {
            "z": z,
            "log_q": log_q,
            "sample": posterior.sample(KEY, 4),
            "log_prob": posterior.log_prob(z),
            "log_probs": posterior.log_probs(z),
            "rates": rates.per_dim(posterior, prior, z),
            "rate": rates.rate(posterior, prior, z),
            "cold": cold,
            "path of means": prior.conditionals(cold)[0],
            "decoded": [
                model.decode(params, each)
                for each in (z_of, z_of.at[:, 2].add(5.0), z_of.at[:, 0].add(1.0))
            ],
        }

    return jax.tree.map(np.asarray, facts(params))


def test_groups_are_halved_and_any_first_dimensions_have_all_of_them():
    found = np.stack(_hierarchy.groups(14, 3, None))
    np.testing.assert_array_equal(found.sum(axis=0), 1)
    np.testing.assert_array_equal(found.sum(axis=1), [8, 4, 2])
    np.testing.assert_array_equal(found[:, :7], np.stack(_hierarchy.groups(7, 3, None)))
    np.testing.assert_array_equal(np.stack(_hierarchy.groups(150, 2, None)).sum(axis=1), [100, 50])


def cube(num=35, width=7.0):
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


def test_the_density_of_a_draw_is_the_density_at_it(known):
    np.testing.assert_allclose(known["log_q"], known["log_prob"], atol=2e-5)
    np.testing.assert_allclose(known["log_probs"].sum(axis=-1), known["log_q"], atol=2e-5)
    np.testing.assert_array_equal(known["z"], known["sample"])


def test_the_rates_of_dimensions_sum_to_the_rate(known):
    np.testing.assert_allclose(known["rates"].sum(axis=1), known["rate"], rtol=1e-5)


def test_the_rate_of_a_ladder_has_the_mean_of_the_log_ratio():
    model = made("ladder")
    params = drawn(model)

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
    params = drawn(model)
    above = 0.7
    grid = np.linspace(-8.0, 8.0, 801, dtype=np.float32)
    z = np.stack([grid, np.full_like(grid, -0.3), np.full_like(grid, above)], axis=1)

    @jax.jit
    def logs(params):
        posterior, prior = model.encode(params, X[:1]), model.prior(params)
        own = [value[0, 0] for value in posterior.parameters[0]]
        return own, prior.log_probs(z)[:, 0], posterior.log_probs(z[:, None])[:, 0, 0]

    (mean, logvar), of_prior, found = jax.tree.map(np.float64, logs(params))
    product = of_prior - 0.5 * (grid - mean) ** 2 / np.exp(logvar)
    product -= np.log(np.exp(product).sum() * (grid[1] - grid[0]))
    np.testing.assert_allclose(found, product, atol=2e-3)


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
    loss = vae_jax.objectives.load("beta_vae")

    @jax.jit
    def terms(free_bits):
        return loss(model, drawn(model), BATCH, KEY, free_bits=free_bits)

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


def test_at_temperature_0_draws_of_the_prior_are_its_path_of_means(pair, known):
    model, params = pair
    np.testing.assert_allclose(known["cold"], known["path of means"], atol=1e-6)
    assert np.abs(known["cold"]).max() > 1e-3
    prior = model.prior(params)
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

    def mean_loss(params):
        return loss(model, params, BATCH, KEY, free_bits=jnp.float32(0.1))[0].mean()

    jaxpr = jax.make_jaxpr(mean_loss)(model.param_shapes()).jaxpr
    assert products(jaxpr, (6, 6)) == 1  # between the two hidden layers of p(z_1 | z_2)


def test_batch_norm_of_a_ladder_has_the_moments_of_the_batch_in_training():
    ladder = posteriors.Ladder(3, 6, normalization="batch")
    model = vae_jax.make_model(
        X, latent_dim=7, likelihood="bernoulli", widths=(7,), posterior=ladder
    )
    assert model.has_modes
    params = drawn(model)
    training = model.replace(train_key=KEY)
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(12, 7)).astype(np.float32) for _ in range(4)]

    @jax.jit
    def facts(params):
        own = params["latent"]
        _, moments = ladder._hidden(own, jnp.stack(parts[2:], axis=1))
        # moved and scaled features of the first layer, which sees them linearly, change nothing
        scaled = [*parts[:2], *(3.0 * part for part in parts[2:])]
        read = (own, parts), ({**own, "batch_stats": moments}, parts), (own, scaled)
        means = [ladder.posterior(*each).mean for each in read]
        outputs, _ = training._run("encoder", params, X)
        _, of_batch = ladder._hidden(own, jnp.stack(outputs[2:], axis=1))
        after = training.update_statistics(params, X, KEY)["batch_stats"]["latent"]
        runs = (model, X[:1]), (model, X), (training, X)
        return means, of_batch, after, [each.encode(params, x).mode[:1] for each, x in runs]

    means, of_batch, after, modes = jax.tree.map(np.asarray, facts(params))
    np.testing.assert_allclose(means[0], means[1], atol=1e-6)
    np.testing.assert_allclose(means[0], means[2], atol=1e-3)
    before = jax.tree.map(np.asarray, params["batch_stats"]["latent"])
    for name in ("up_1", "up_2"):
        for moment in ("mean", "var"):
            wanted = 0.99 * before[name][moment] + 0.01 * of_batch[name][moment]
            np.testing.assert_allclose(after[name][moment], wanted, rtol=1e-5, atol=1e-7)
    # evaluation reads the running statistics, so an example has one code in any batch
    alone, among_others, in_training = modes
    np.testing.assert_allclose(alone, among_others, atol=1e-6)
    assert np.abs(in_training - alone).max() > 1e-3


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
    loss = vae_jax.objectives.load("beta_vae")
    params = [started(model) for model in (flat, one)]
    jax.tree.map(np.testing.assert_array_equal, *params)

    @jax.jit
    def value(model, params):
        return loss(model, params, BATCH, KEY)[0]

    np.testing.assert_array_equal(*(value(model, params[0]) for model in (flat, one)))


@pytest.mark.parametrize("name", HIERARCHIES)
def test_a_masked_hierarchy_is_a_smaller_one(name):
    small, large = made(name, 4), made(name, 7, mask=[1, 1, 1, 1, 0, 0, 0])
    loss = vae_jax.objectives.load("beta_vae")

    @jax.jit
    def values(model):
        params = model.init(KEY)
        value, aux = loss(model, params, BATCH, KEY)
        posterior, prior = model.encode(params, X), model.prior(params)
        return value, aux["rate"], rates.per_dim(posterior, prior, posterior.sample(KEY))

    (*found, of_small), (*wanted, of_large) = values(small), values(large)
    for a, b in zip([*found, of_small], [*wanted, of_large[:, :4]], strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5)
    assert (of_large[:, 4:] == 0).all()


def test_the_decoder_reads_the_lowest_group_alone(known):
    usual, above_changed, changed = known["decoded"]
    np.testing.assert_array_equal(usual, above_changed)
    assert (usual != changed).all()


def test_a_prior_of_flat_codes_is_refused():
    with pytest.raises(UsageError, match=r"prior=.*: is a density of Gaussian codes"):
        vae_jax.make_model(X, latent_dim=3, likelihood="bernoulli", posterior="ladder", prior="maf")


@pytest.mark.slow
@pytest.mark.parametrize("name", HIERARCHIES)
def test_the_importance_weighted_bound_meets_the_integral(name):
    model = made(name)
    # near enough to p(z|x) that no few of the draws decide the bound
    params = drawn(model, 0.2)
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
    bound = vae_jax.objectives.bind("iwae", num_examples=12, num_samples=200_000)
    found = jax.jit(lambda params: bound(model, params, batch, KEY)[1]["bound"])(params)
    np.testing.assert_allclose(found, wanted, atol=0.02)
