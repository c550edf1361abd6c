"""Objectives with a discriminator: whose gradient is whose, what the discriminator comes to say."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from properties import initial, loss_of

from vae_jax import likelihoods, losses, networks, objectives, training
from vae_jax.errors import UsageError
from vae_jax.model import Model
from vae_jax.objectives import _adversary

SHAPE = (4, 4, 1)
B, L = 6, 3
SIZE = {"discriminator_width": 16, "discriminator_depth": 2}
PRICES = {"factor_vae": "gamma", "wae_gan": "lambda_gan"}


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@pytest.fixture(scope="module")
def setting():
    encoder, decoder = networks.build("mlp", shape=SHAPE, latent_dim=L, widths=(16,))
    model = Model(encoder, decoder, likelihoods.Bernoulli(), SHAPE, L)
    params = initial(model)
    params["objective"] = _adversary.init(model, jax.random.key(1), **SIZE)
    x = jax.random.bernoulli(jax.random.key(2), 0.3, (B, *SHAPE)).astype(jnp.float32)
    return model, params, {"x": x, "mask": jnp.ones(B)}, jax.random.key(3)


def gradient(name, setting, price):
    model, params, batch, key = setting
    loss_fn = objectives.load(name)
    both = jax.jit(
        jax.grad(lambda p: loss_fn(model, p, batch, key, **{PRICES[name]: price})[0].mean())
    )(params)
    own = both.pop("objective")
    return both, own


@pytest.mark.parametrize("name", PRICES)
def test_the_discriminator_is_trained_by_its_own_loss_alone(name, setting):
    """Its gradient is that of its cross-entropy, whatever the price of what it says."""
    model, params, batch, key = setting
    loss_fn = objectives.load(name)

    def cross_entropy(own):
        _, aux = loss_fn(model, {**params, "objective": own}, batch, key)
        return aux["discriminator_loss"].mean()

    expected = jax.jit(jax.grad(cross_entropy))(params["objective"])
    for price in (0.0, 30.0):
        _, own = gradient(name, setting, price)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), own, expected)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected)) > 1e-4


@pytest.mark.parametrize("name", PRICES)
def test_the_cross_entropy_does_not_train_the_model(name, setting):
    """Without a price the model's gradient is that of the terms that are left."""
    model, params, batch, key = setting
    loss_fn = objectives.load(name)

    def rest(model_params):
        _, aux = loss_fn(model, {**params, **model_params}, batch, key)
        return (aux["distortion"] + (aux["rate"] if name == "factor_vae" else 0.0)).mean()

    others = {part: params[part] for part in ("encoder", "decoder", "likelihood")}
    expected = jax.jit(jax.grad(rest))(others)
    without, _ = gradient(name, setting, 0.0)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), without, expected)
    priced, _ = gradient(name, setting, 30.0)
    change = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), priced, without)
    assert max(jax.tree.leaves(change["encoder"])) > 1e-3
    assert max(jax.tree.leaves(change["decoder"])) == 0


@pytest.mark.parametrize("name", PRICES)
def test_the_loss_is_the_models(name, setting):
    """What trains the discriminator adds nothing to the value."""
    model, params, batch, key = setting
    loss, aux = loss_of(name, model, params, batch, key, **{PRICES[name]: 2.0})
    expected = {
        "factor_vae": lambda: -aux["elbo"] + 2 * aux["discriminator_logit"],
        "wae_gan": lambda: aux["distortion"] + 2 * aux["adversarial_loss"],
    }[name]()
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_codes_and_draws_of_the_prior_are_independent(setting):
    """Of posteriors that are the prior, what is called real and fake would be one with one key."""
    model, params, batch, key = setting
    encoder = jax.tree.map(jnp.zeros_like, params["encoder"])
    _, aux = loss_of("wae_gan", model, {**params, "encoder": encoder}, batch, key)
    # softplus(−d) − softplus(d) = −d: of equal logits the cross-entropy follows from one of them
    of_codes = aux["adversarial_loss"]
    logits = -jnp.log(jnp.expm1(of_codes))
    of_equal = 0.5 * (of_codes + jax.nn.softplus(logits))
    assert jnp.abs(aux["discriminator_loss"] - of_equal).max() > 1e-4


@pytest.mark.parametrize("name", PRICES)
def test_the_two_pull_against_each_other(name, setting):
    """The discriminator comes to tell the codes apart; the model, priced, to hide them."""
    model, params, _, _ = setting
    x = jax.random.bernoulli(jax.random.key(6), 0.3, (256, *SHAPE)).astype(jnp.float32)
    batch = {"x": x, "mask": jnp.ones(len(x))}
    head = params["encoder"]["head"]["posterior"]
    # codes far from the prior, of dimensions that are all the same: of a high TC
    kernel = jnp.tile(head["kernel"][:, :1] * 5, (1, 2 * L)).at[:, L:].set(0.0)
    far = {"kernel": kernel, "bias": jnp.repeat(jnp.array([2.0, -6.0]), L)}
    params = {**params, "encoder": {**params["encoder"], "head": {"posterior": far}}}
    draw = jax.jit(lambda params: model.encode(params, x).sample(jax.random.key(7)))
    z = draw(params)
    if name == "factor_vae":
        codes_are, other = "real", losses.permute_dimensions(jax.random.key(8), z)
    else:
        codes_are, other = "fake", normal(8, len(x), L)

    loss_fn, adam = objectives.load(name), optax.adam(1e-2)

    def step(carry, key):
        own, state = carry
        told = functools.partial(loss_fn, model, batch=batch, key=key)
        grads = jax.grad(lambda own: told({**params, "objective": own})[0].mean())(own)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = adam.update(grads, state)
        return (optax.apply_updates(own, updates), state), None

    start, keys = params["objective"], jax.random.split(jax.random.key(4), 200)
    (own, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, keys))((start, adam.init(start)))
    gap = (_adversary.logits(own, z) - _adversary.logits(own, other)).mean()
    assert gap > 0.5 if codes_are == "real" else gap < -0.5

    params = {**params, "objective": own}
    model_part, _ = gradient(name, (model, params, batch, jax.random.key(3)), 1e4)

    def said(encoder):
        return float(_adversary.logits(own, draw({**params, "encoder": encoder})).mean())

    steps = jax.tree.map(lambda p, g: p - 1e-7 * g, params["encoder"], model_part["encoder"])
    change = said(steps) - said(params["encoder"])
    assert change < 0 if codes_are == "real" else change > 0


def fit_discriminator(real_and_fake, num_steps):
    encoder, decoder = networks.build("mlp", shape=SHAPE, latent_dim=2, widths=(4,))
    model = Model(encoder, decoder, likelihoods.Bernoulli(), SHAPE, 2)
    own = _adversary.init(model, jax.random.key(0), discriminator_width=64, discriminator_depth=2)
    adam = optax.adam(2e-3)

    def step(carry, key):
        own, state = carry
        grads = jax.grad(lambda own: _adversary.terms(own, *real_and_fake(key))[0].mean())(own)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = adam.update(grads, state)
        return (optax.apply_updates(own, updates), state), None

    keys = jax.random.split(jax.random.key(1), num_steps)
    (own, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, keys))((own, adam.init(own)))
    return own


def test_the_discriminator_tells_the_total_correlation():
    """TC = −½ log(1 − ρ²) of two Gaussians of correlation ρ."""
    correlation = 0.8

    def draws(key, size=500):
        a, b = jax.random.normal(key, (2, size))
        return jnp.stack([a, correlation * a + (1 - correlation**2) ** 0.5 * b], axis=1)

    def real_and_fake(key):
        z_key, shuffle_key = jax.random.split(key)
        z = draws(z_key)
        return z, losses.permute_dimensions(shuffle_key, z)

    own = fit_discriminator(real_and_fake, 500)
    estimate = float(_adversary.logits(own, draws(jax.random.key(7), 20_000)).mean())
    assert estimate == pytest.approx(-0.5 * np.log(1 - correlation**2), abs=0.06)


def test_the_discriminator_tells_a_divergence_from_the_prior():
    """The log-ratio of N(0, I) and N(a, I) is −a·z + ‖a‖²/2."""
    shift = jnp.array([1.0, -0.5])

    def real_and_fake(key):
        real, fake = jax.random.normal(key, (2, 500, 2))
        return real, shift[None] + fake

    own = fit_discriminator(real_and_fake, 500)
    z = normal(3, 2000, 2)
    expected = -z @ shift + 0.5 * jnp.sum(shift**2)
    errors = jnp.abs(_adversary.logits(own, z) - expected)
    assert float(errors.mean()) < 0.15


def test_equal_codes_cost_log_two():
    z = normal(0, 50, 3)
    encoder, decoder = networks.build("mlp", shape=SHAPE, latent_dim=3, widths=(4,))
    model = Model(encoder, decoder, likelihoods.Bernoulli(), SHAPE, 3)
    zeros = jax.tree.map(jnp.zeros_like, _adversary.init(model, jax.random.key(0), **SIZE))
    term, aux = _adversary.terms(zeros, z, z)
    np.testing.assert_allclose(aux["discriminator_loss"], np.log(2), rtol=1e-6)
    np.testing.assert_array_equal(aux["discriminator_accuracy"], 0.5)
    np.testing.assert_array_equal(term, 0.0)


def test_shuffled_dimensions_keep_their_values_and_lose_their_company():
    z = normal(1, 4000, 1) + 0.1 * normal(2, 4000, 3)
    shuffled = losses.permute_dimensions(jax.random.key(0), z)
    np.testing.assert_array_equal(jnp.sort(shuffled, axis=0), jnp.sort(z, axis=0))
    correlations = np.corrcoef(shuffled.T) - np.eye(3)
    assert np.abs(correlations).max() < 4 / 4000**0.5
    assert np.corrcoef(z.T).min() > 0.9


@pytest.mark.parametrize("mask", [[1, 1, 1, 1, 0, 0], [0, 1, 0, 1, 1, 1]])
def test_shuffling_ignores_padding(mask):
    z, kept = normal(3, 6, 3), np.array(mask) > 0
    for seed in range(20):
        key = jax.random.key(seed)
        shuffled = losses.permute_dimensions(key, z, jnp.array(mask, jnp.float32))
        np.testing.assert_array_equal(jnp.sort(shuffled[kept], axis=0), jnp.sort(z[kept], axis=0))
        np.testing.assert_array_equal(shuffled[~kept], z[~kept])


def trained_once(setting, **settings):
    """One step of a training with both optimizers: (before, after)."""
    model, _, batch, key = setting
    train = training.make_train(
        objectives.bind("factor_vae", num_examples=B, **SIZE),
        model,
        preprocess=lambda stored, key: stored,
        num_examples=B,
        batch_size=B,
        optimizer="adam",
    )
    hparams = training.Hparams(seed=jnp.int32(0), learning_rate=jnp.float32(1e-3), **settings)
    before = train.init(hparams)
    return before, jax.jit(train.step)(before, hparams, batch, key)[0]


def largest_change(before, after):
    changes = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), before, after)
    return max(jax.tree.leaves(changes), default=0.0)


@pytest.mark.parametrize("own_rate", [1e-4, 5e-3])
def test_each_part_has_its_own_optimizer(own_rate, setting):
    """Adam's first step is as long as its learning rate, whatever the gradient."""
    h = {"gamma": jnp.float32(10), "discriminator_learning_rate": jnp.float32(own_rate)}
    before, after = trained_once(setting, objective=h)
    own = largest_change(before.params["objective"], after.params["objective"])
    assert own == pytest.approx(own_rate, rel=1e-2)
    model_part = largest_change(before.params["encoder"], after.params["encoder"])
    assert model_part == pytest.approx(1e-3, rel=1e-2)


def test_clipping_the_model_does_not_clip_the_discriminator(setting):
    """Clipped to a norm below Adam's epsilon, the model stays where it is."""
    h = {"gamma": jnp.float32(10), "discriminator_learning_rate": jnp.float32(1e-3)}
    before, after = trained_once(setting, objective=h, clip_norm=jnp.float32(1e-12))
    assert largest_change(before.params["encoder"], after.params["encoder"]) < 1e-6
    own = largest_change(before.params["objective"], after.params["objective"])
    assert own == pytest.approx(1e-3, rel=1e-2)


def test_the_models_first_weights_do_not_depend_on_the_objective(setting):
    model = setting[0]
    hparams = training.Hparams(seed=jnp.int32(4), learning_rate=jnp.float32(1e-3))
    firsts = []
    for name, size in (("beta_vae", {}), ("factor_vae", SIZE)):
        train = training.make_train(
            objectives.bind(name, num_examples=B, **size),
            model,
            preprocess=lambda stored, key: stored,
            num_examples=B,
            batch_size=B,
        )
        firsts.append(dict(train.init(hparams).params))
    firsts[1].pop("objective")
    jax.tree.map(np.testing.assert_array_equal, *firsts)


def test_an_unknown_setting_is_refused():
    with pytest.raises(UsageError, match="did you mean discriminator_width"):
        objectives.bind("factor_vae", num_examples=B, discriminator_widht=10)
