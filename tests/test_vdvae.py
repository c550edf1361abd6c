"""Codes on maps: one map is the flat model, rates of groups, temperature, masks, skipped steps."""

import jax
import jax.numpy as jnp
import keys
import numpy as np
import pytest

import vae_jax
from vae_jax import distributions, latents, posteriors, rates, residual
from vae_jax.errors import UsageError
from vae_jax.posteriors import _maps

KEY = keys.quick(0)
SHAPE = (5, 5, 1)
X = np.random.default_rng(0).random((6, *SHAPE)).astype(np.float32)
BATCH = {"x": jnp.asarray(X), "mask": jnp.ones(len(X))}
SMALL = posteriors.VDVAE(map_size=3, num_maps=3, groups_per_map=1, map_width=4, num_features=1)
"""Maps of 1, 2 and 3 rows: 14 places."""
TWO = posteriors.VDVAE(map_size=3, num_maps=2, map_width=4, num_features=1)
"""Maps of 2 and 3 rows, the two kinds of convolutions: 13 places."""


def made(posterior=SMALL, latent_dim=28, mask=None, **sizes):
    sizes = {"network": "resnet", "widths": (4,), **sizes}
    model = vae_jax.make_model(
        X, latent_dim=latent_dim, likelihood="bernoulli", posterior=posterior, **sizes
    )
    return model if mask is None else model.replace(latent_mask=jnp.float32(mask))


@jax.jit
def started(model):
    """The initial parameters of a model, by one program for all models like it."""
    return model.init(KEY)


def drawn(model, amount=0.3):
    """Parameters that are like no others: no leaf is as it begins."""
    draw = np.random.default_rng(0).normal
    shapes = model.param_shapes()
    return jax.tree.map(lambda v: jnp.asarray(draw(0, amount, v.shape), v.dtype), shapes)


@pytest.fixture(scope="module")
def known():
    """A model, its parameters away from zeros, and what is known of a draw."""
    model = made()
    params = drawn(model)

    @jax.jit
    def facts(params):
        posterior, prior = model.encode(params, BATCH["x"]), model.prior(params)
        drawn = rates.walk(posterior, prior, KEY, 3)
        flat = drawn.z.reshape(-1, model.latent_dim)
        return {
            "drawn": drawn,
            "log_q": posterior.log_prob(drawn.z),
            "log_qs": posterior.log_probs(drawn.z),
            "log_ps": prior.log_probs(drawn.z),
            "log_p": prior.log_prob(drawn.z),
            "rates": posterior.rates_given(prior, drawn.z),
            "sample": posterior.sample(KEY, 3),
            "read": model.latent.read(params["latent"], flat),
            "conditionals": prior.conditionals(drawn.z),
        }

    return model, params, jax.tree.map(np.asarray, facts(params))


def test_maps_and_codes_are_one_another(known):
    layout = _maps.Layout((1, 2, 3), 2)
    values = np.arange(2 * 28, dtype=np.float32).reshape(2, 1, 28)
    maps = layout.to_maps(jnp.asarray(values))
    assert [each.shape for each in maps] == [(2, 1, 1, 2), (2, 2, 2, 2), (2, 3, 3, 2)]
    np.testing.assert_array_equal(layout.from_maps(maps, (2, 1)), values)
    # the first P dimensions are the first channel of every place
    first = _maps.Layout((1, 2, 3), 1).to_maps(jnp.asarray(values[..., :14]))
    for a, b in zip(maps, first, strict=True):
        np.testing.assert_array_equal(a[..., :1], b)
    groups = np.asarray(layout.members())
    np.testing.assert_array_equal(groups.sum(axis=1), [18, 8, 2])
    np.testing.assert_array_equal(groups.sum(axis=0), 1)
    marked = layout.to_maps(jnp.asarray(groups[0][None]))
    assert [float(each.mean()) for each in marked] == [0, 0, 1]


def test_maps_of_any_size_are_halved_and_doubled_back():
    assert residual.sizes((5, 3), (1, 1)) == [(5, 3), (3, 2), (2, 1), (1, 1)]
    assert residual.sizes((5, 3), (2, 2)) is None
    x = jnp.asarray(np.random.default_rng(0).random((2, 5, 3, 2)), jnp.float32)
    halved = residual.halve(x)
    assert halved.shape == (2, 3, 2, 2)
    np.testing.assert_allclose(halved[:, 0, 0], x[:, :2, :2].mean(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_allclose(halved[:, 2, 1], x[:, 4, 2], rtol=1e-6)
    # what is constant on each 2×2 survives both
    doubled = residual.double(halved, (5, 3))
    np.testing.assert_allclose(residual.halve(doubled), halved, rtol=1e-6)


def test_a_draw_knows_its_density_its_rates_and_what_the_decoder_reads(known):
    _, _, found = known
    drawn = found["drawn"]
    np.testing.assert_array_equal(drawn.z, found["sample"])
    np.testing.assert_allclose(drawn.log_q, found["log_q"], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(drawn.rates, found["rates"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(drawn.read.reshape(found["read"].shape), found["read"], atol=1e-5)
    np.testing.assert_allclose(found["log_qs"].sum(-1), found["log_q"], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found["log_ps"].sum(-1), found["log_p"], rtol=1e-5, atol=1e-4)
    expected = distributions.gaussian_log_prob(drawn.z, *found["conditionals"])
    np.testing.assert_allclose(found["log_ps"], expected, rtol=1e-6)


def test_rates_of_groups_sum_to_the_joint_rate(known):
    model, params, found = known
    loss = vae_jax.objectives.load("beta_vae")
    _, aux = jax.jit(lambda params: loss(model, params, BATCH, KEY, num_samples=3))(params)
    of_groups = np.stack([aux[f"rate_group_{index}"] for index in (1, 2, 3)])
    np.testing.assert_allclose(of_groups.sum(axis=0), aux["rate"], rtol=1e-5)
    rates_of_dims = found["drawn"].rates.mean(axis=0)
    np.testing.assert_allclose(of_groups, (rates_of_dims @ model.groups.T).T, rtol=1e-4)
    np.testing.assert_allclose(aux["elbo"], -(aux["rate"] + aux["distortion"]), rtol=1e-6)


def test_the_rate_has_the_mean_of_the_log_ratio(known):
    model, params, _ = known

    @jax.jit
    def both(params):
        posterior, prior = model.encode(params, BATCH["x"][:2]), model.prior(params)
        drawn = rates.walk(posterior, prior, KEY, 4000)
        return drawn.log_q - prior.log_prob(drawn.z), drawn.rates.sum(axis=-1)

    ratio, given = map(np.asarray, both(params))
    error = ratio.std(axis=0) / len(ratio) ** 0.5
    assert (np.abs(ratio.mean(axis=0) - given.mean(axis=0)) < 5 * error).all()


def products(jaxpr, shape):
    """How often arrays of a shape are the right factor of a product."""
    found = 0
    for equation in jaxpr.eqns:
        inner = [v for v in equation.params.values() if hasattr(v, "jaxpr") or hasattr(v, "eqns")]
        found += sum(products(getattr(each, "jaxpr", each), shape) for each in inner)
        if equation.primitive.name == "dot_general":
            found += equation.invars[1].aval.shape == shape
    return found


def test_a_step_runs_the_path_once():
    """Each layer is read once for the draw, the rates and the decoder together."""
    model = made(latent_dim=42)
    loss = vae_jax.objectives.load("beta_vae")

    def mean_loss(params):
        return loss(model, params, BATCH, KEY)[0].mean()

    jaxpr = jax.make_jaxpr(mean_loss)(model.param_shapes()).jaxpr
    # the kernels that read a code of three channels, one for each of three groups
    assert products(jaxpr, (3, SMALL.map_width)) == 3


def test_one_group_on_one_place_is_the_flat_model():
    one = posteriors.VDVAE(map_size=1, num_maps=1, map_width=5, num_features=1)
    flat, deep = (
        vae_jax.make_model(X, latent_dim=3, likelihood="bernoulli", widths=(7,), posterior=each)
        for each in (None, one)
    )
    params, own = drawn(flat), jax.jit(one.init, static_argnums=1)(KEY, 3)
    head = params["encoder"]["head"]["posterior"]
    wide = {n: np.pad(np.asarray(v), [(0, 0)] * (v.ndim - 1) + [(0, 3)]) for n, v in head.items()}
    encoder = {**params["encoder"], "head": {"posterior": wide}}
    own = jax.tree.map(np.asarray, own)
    # the path reads z as it is, and its blocks add nothing
    own["group_1"]["code"] = {"kernel": np.eye(3, 5, dtype=np.float32), "bias": np.zeros(5)}
    own["group_1"]["state"]["last"] = jax.tree.map(np.zeros_like, own["group_1"]["state"]["last"])
    kernel = np.pad(np.asarray(params["decoder"]["latent"]["kernel"]), [(0, 2), (0, 0)])
    latent = {**params["decoder"]["latent"], "kernel": kernel}
    same = {
        **params,
        "encoder": encoder,
        "decoder": {**params["decoder"], "latent": latent},
        "latent": own,
    }
    loss = vae_jax.objectives.load("beta_vae")

    @jax.jit
    def both(params, same):
        return loss(flat, params, BATCH, KEY)[1], loss(deep, same, BATCH, KEY)[1]

    wanted, found = both(params, same)
    # the flat rate is exact given x, and so is that of the only group
    np.testing.assert_allclose(found["rate"], wanted["rate"], rtol=1e-5)
    np.testing.assert_allclose(found["distortion"], wanted["distortion"], rtol=1e-5)
    np.testing.assert_allclose(found["elbo"], wanted["elbo"], rtol=1e-5)


def test_a_new_model_has_a_standard_prior_and_the_posterior_of_its_encoder():
    model = made(TWO, latent_dim=13)

    @jax.jit
    def facts(params):
        posterior, prior = model.encode(params, BATCH["x"]), model.prior(params)
        noise = distributions.standard_gaussian(13).sample(KEY, 4)
        return prior.sample(KEY, 4), noise, posterior.mean, posterior.parts[0]

    drawn, noise, mean, of_encoder = facts(started(model))
    np.testing.assert_allclose(drawn, noise, atol=1e-6)
    np.testing.assert_allclose(mean, of_encoder, atol=1e-6)


def test_at_temperature_0_the_model_draws_one_decoding():
    model = made(TWO, latent_dim=26, network="mlp")

    @jax.jit
    def draws(params):
        prior = latents.at_temperature(model.prior(params), 0.0)
        z = prior.sample(KEY, 5)
        _, means = model.sample(params, KEY, 5, temperature=0.0)
        _, usual = model.sample(params, KEY, 5)
        return z, prior.conditionals(z)[0], means, model.decode_mean(params, z[:1]), usual

    z, of_path, means, wanted, usual = map(np.asarray, draws(drawn(model)))
    np.testing.assert_allclose(z, of_path, atol=1e-6)
    np.testing.assert_array_equal(z, np.broadcast_to(z[:1], z.shape))
    np.testing.assert_allclose(means, np.broadcast_to(wanted, means.shape), rtol=1e-5)
    assert np.ptp(usual, axis=0).max() > 1e-3


def test_a_temperature_scales_the_deviations_of_a_gaussian():
    density = distributions.DiagonalGaussian(jnp.float32([1.0, -2.0]), jnp.float32([0.0, 1.0]))
    z, half, none = (
        latents.at_temperature(density, each).sample(KEY, 4) for each in (1.0, 0.5, 0.0)
    )
    np.testing.assert_allclose(half - density.mean[None], 0.5 * (z - density.mean[None]), rtol=1e-5)
    np.testing.assert_array_equal(none, np.broadcast_to(density.mean, (4, 2)))
    assert latents.at_temperature(density, 1) is density
    with pytest.raises(UsageError, match=r"^sampling_temperature=-1: must be at least 0"):
        latents.at_temperature(density, -1)
    with pytest.raises(UsageError, match=r"which has no temperature: leave sampling_temperature"):
        latents.at_temperature(latents.Point(density.mean), 0.5)


@pytest.mark.parametrize("network", ["resnet", pytest.param("mlp", marks=pytest.mark.slow)])
def test_masked_channels_are_a_smaller_model(network):
    sizes = {"network": network, "widths": (4,)}
    small = made(TWO, latent_dim=13, **sizes)
    large = made(TWO, latent_dim=26, mask=[1] * 13 + [0] * 13, **sizes)
    loss = vae_jax.objectives.load("beta_vae")

    @jax.jit
    def values(model, params):
        # the heads of the path start at 0: move what does not depend on the number of channels
        moved = jax.tree.map(lambda leaf: leaf + 0.1, params["latent"]["start_2"])
        params = {**params, "latent": {**params["latent"], "start_2": moved}}
        value, aux = loss(model, params, BATCH, KEY)
        posterior, prior = model.encode(params, BATCH["x"]), model.prior(params)
        z = posterior.sample(KEY)
        return value, aux, rates.per_dim(posterior, prior, z), prior.sample(KEY, 2)

    wanted, found = (values(model, started(model)) for model in (small, large))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5), wanted[:2], found[:2])
    np.testing.assert_allclose(found[2][:, :13], wanted[2], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found[2][:, 13:], 0)
    np.testing.assert_allclose(found[3][:, :13], wanted[3], rtol=1e-5, atol=1e-6)


def test_sizes_that_do_not_fit_are_refused_with_a_remedy_that_works():
    with pytest.raises(UsageError, match=r"^latent_dim=20: .* 14 places .*: give latent_dim=14"):
        made(latent_dim=20)
    with pytest.raises(UsageError, match=r"^num_maps=4: .*: give num_maps=3"):
        posteriors.VDVAE(map_size=3, num_maps=4)
    assert posteriors.VDVAE(map_size=3, num_maps=3).maps() == (1, 2, 3)
    with pytest.raises(UsageError, match=r"halved to square maps of 5, 3, 2, 1 rows.*map_size=5"):
        made(posteriors.VDVAE(map_size=4, num_maps=1), latent_dim=16)
    made(posteriors.VDVAE(map_size=5, num_maps=1), latent_dim=25)
    with pytest.raises(UsageError, match=r"has its own p\(z\)"):
        made(prior="maf")
