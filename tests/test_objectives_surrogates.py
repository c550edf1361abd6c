"""Reconstruction terms that are no likelihoods: whose gradient is whose, and an honest ELBO."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from properties import initial, loss_of

import vae_jax
from vae_jax import likelihoods, losses, networks, objectives
from vae_jax.errors import UsageError
from vae_jax.model import Model
from vae_jax.objectives import ms_ssim, vae_gan

SHAPE, B, L = (8, 6, 1), 5, 3
KEY = jax.random.key(3)
SMALL = {"discriminator_width": 4, "discriminator_depth": 2}
NAMES = ("ms_ssim", "vae_gan")


def make(shape=SHAPE, network="mlp", likelihood=None, **options):
    likelihood = likelihood or likelihoods.Gaussian()
    encoder, decoder = networks.build(
        network,
        shape=shape,
        latent_dim=L,
        widths=(8,),
        num_outputs=likelihood.num_outputs,
        **options,
    )
    return Model(encoder, decoder, likelihood, shape, L)


@pytest.fixture(scope="module")
def setting():
    model = make()
    params = initial(model)
    params["objective"] = vae_gan.init(model, jax.random.key(1), **SMALL)
    x = jax.random.uniform(jax.random.key(2), (B, *SHAPE))
    return model, params, {"x": x, "mask": jnp.ones(B)}


@pytest.mark.parametrize("name", NAMES)
def test_the_elbo_is_that_of_the_same_model_in_a_vae(name, setting):
    model, params, batch = setting
    _, aux = loss_of(name, model, params, batch, KEY)
    own_key = jax.random.split(KEY)[0] if name == "vae_gan" else KEY
    _, expected = loss_of("beta_vae", model, params, batch, own_key)
    for term in ("elbo", "rate", "distortion"):
        np.testing.assert_allclose(aux[term], expected[term], rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_variance_is_trained_by_the_likelihood_and_by_nothing_else(name, setting):
    """And the likelihood trains nothing else: another variance, the same gradient elsewhere."""
    model, params, batch = setting
    loss = objectives.load(name)

    @jax.jit
    def slopes(logvar):
        own = {**params, "likelihood": {"logvar": logvar}}
        found = jax.grad(lambda p: loss(model, p, batch, KEY)[0].mean())(own)
        expected = jax.grad(lambda p: loss(model, p, batch, KEY)[1]["distortion"].mean())(own)
        return found, expected["likelihood"]

    (one, expected), (other, _) = (slopes(jnp.float32(value)) for value in (0.3, -2.0))
    np.testing.assert_allclose(one["likelihood"]["logvar"], expected["logvar"], rtol=1e-5)
    assert abs(float(expected["logvar"])) > 1e-2
    for part in ("encoder", "decoder"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
            one[part],
            other[part],
        )


def test_the_value_is_the_price_of_the_similarity_and_the_rate(setting):
    model, params, batch = setting
    loss, aux = loss_of("ms_ssim", model, params, batch, KEY, lambda_similarity=7.0, beta=3.0)
    np.testing.assert_allclose(loss, 7 * (1 - aux["similarity"]) + 3 * aux["rate"], rtol=1e-5)
    z = model.encode(params, batch["x"]).sample(KEY)
    restored = model.decode_mean(params, z)
    # 8×6 pixels: a window of 6, at one scale
    expected = losses.multiscale_similarity(batch["x"], restored, window=6, num_scales=1)
    np.testing.assert_allclose(aux["similarity"], expected, rtol=1e-4)


def features_by_hand(own, x):
    """Those of a discriminator of dense layers, in NumPy: (features, logits)."""
    h = np.asarray(x, np.float64).reshape(len(x), -1)
    layers = sorted(name for name in own if name.startswith("hidden"))
    for name in layers:
        features = h @ np.float64(own[name]["kernel"]) + np.float64(own[name]["bias"])
        h = np.where(features > 0, features, 0.2 * features)
    last = own["head"]["posterior"]
    return features, (h @ np.float64(last["kernel"]) + np.float64(last["bias"]))[:, 0]


def test_features_are_of_the_last_hidden_layer():
    model = make((5,))
    own = vae_gan.init(model, jax.random.key(1), discriminator_width=3, discriminator_depth=11)
    x = jax.random.normal(jax.random.key(2), (4, 5))
    features, logits = vae_gan._seen(own, x)
    # hidden_10 comes after hidden_9
    names = [f"hidden_{i}" for i in range(11)]
    ordered = {f"hidden_{i:02}": own[name] for i, name in enumerate(names)}
    expected = features_by_hand({**ordered, "head": own["head"]}, x)
    np.testing.assert_allclose(features, expected[0], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(logits, expected[1], rtol=1e-3, atol=1e-5)


def test_of_images_the_discriminator_is_a_convolution(setting):
    _, params, batch = setting
    own = params["objective"]
    kernels = {name: own[name]["kernel"].shape for name in own if name != "head"}
    assert kernels == {"conv_0": (4, 4, 1, 32), "conv_1": (4, 4, 32, 64), "hidden": (256, 4)}
    features, logits = vae_gan._seen(own, batch["x"])
    assert features.shape == (B, 4)
    hidden = np.where(features > 0, features, 0.2 * features)
    head = jax.tree.map(np.asarray, own["head"]["posterior"])
    np.testing.assert_allclose(logits, (hidden @ head["kernel"] + head["bias"])[:, 0], rtol=1e-4)


def test_each_player_has_its_own_loss(setting):
    """Larsen et al., algorithm 1: the gradient of encoder, decoder and discriminator."""
    model, params, batch = setting
    loss, gamma, beta = objectives.load("vae_gan"), 3.0, 0.5
    z_key, prior_key = jax.random.split(KEY)
    eps = model.encode(params, batch["x"]).sample(z_key)

    def seen(own, x):
        return vae_gan._seen(own, x)

    def error(p, restored):
        own = params["objective"]
        return 0.5 * jnp.square(seen(own, batch["x"])[0] - seen(own, restored)[0]).sum(axis=1)

    def of_encoder(encoder):
        own = {**params, "encoder": encoder}
        posterior = model.encode(own, batch["x"])
        rate = vae_jax.distributions.kl_divergence(posterior, model.prior(own)).sum(axis=1)
        restored = model.decode_mean(params, posterior.sample(z_key))
        return (error(own, restored) + beta * rate).mean()

    draws = model.prior(params).sample(prior_key, B)

    def of_decoder(decoder):
        own = {**params, "decoder": decoder}
        restored, imagined = model.decode_mean(own, eps), model.decode_mean(own, draws)
        logits = [seen(params["objective"], x)[1] for x in (restored, imagined)]
        return (gamma * error(own, restored) - 0.5 * sum(map(jax.nn.log_sigmoid, logits))).mean()

    def of_discriminator(own):
        restored, imagined = model.decode_mean(params, eps), model.decode_mean(params, draws)
        real = jax.nn.log_sigmoid(seen(own, batch["x"])[1])
        fakes = [jax.nn.log_sigmoid(-seen(own, x)[1]) for x in (restored, imagined)]
        return -(0.5 * real + 0.25 * sum(fakes)).mean()

    @jax.jit
    def slopes(params):
        found = jax.grad(lambda p: loss(model, p, batch, KEY, gamma=gamma, beta=beta)[0].mean())
        players = {
            "encoder": of_encoder,
            "decoder": of_decoder,
            "objective": of_discriminator,
        }
        return found(params), {n: jax.grad(f)(params[n]) for n, f in players.items()}

    found, expected = slopes(params)
    for part, own in expected.items():
        check = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-6, err_msg=part)
        jax.tree.map(check, found[part], own)
        assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(own)) > 1e-4


def test_the_loss_and_its_terms_are_what_they_are_called(setting):
    model, params, batch = setting
    loss, aux = loss_of("vae_gan", model, params, batch, KEY, beta=2.0, gamma=9.0)
    np.testing.assert_allclose(loss, aux["feature_error"] + 2 * aux["rate"], rtol=1e-5)
    verdict = jnp.full(4, 0.7)
    term, told = vae_gan._adversary.contest(verdict, -verdict)
    np.testing.assert_array_equal(term, 0.0)
    np.testing.assert_array_equal(told["discriminator_accuracy"], 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_the_run_is_told_that_it_is_no_likelihood(name):
    bound = objectives.bind(name, num_examples=10)
    (warning, *others) = bound.notes(make())
    assert warning.startswith("warning: ")
    assert "is no likelihood: the loss bounds no log p(x)" in warning
    assert len(others) == (name == "ms_ssim")
    assert not bound.notes(make((200, 180, 1)))[1:]


def test_what_an_image_has_no_room_for_is_said():
    bound = objectives.bind("ms_ssim", num_examples=10, window_size=7, num_scales=4)
    _, line = bound.notes(make((28, 30, 1)))
    assert line == (
        "images of 28×30 pixels: window_size=7 and num_scales=3 are used for window_size=7 and "
        "num_scales=4"
    )
    _, line = objectives.bind("ms_ssim", num_examples=10).notes(make((8, 9, 1)))
    assert "window_size=8 and num_scales=1 are used for window_size=11 and num_scales=5" in line
    x = jnp.zeros((1, 8, 8, 1))
    with pytest.raises(UsageError, match="num_scales=2: images of 8×8 pixels and window=5 allow 1"):
        losses.multiscale_similarity(x, x, window=5, num_scales=2)
    with pytest.raises(UsageError, match="window=9: must be from 1 to 8 for images of 8×8 pixels"):
        losses.structural_similarity(x, x, window=9)


def test_the_gradient_is_finite_if_a_scale_is_the_opposite():
    """A similarity that is negative has a gradient against it; constant images have one, too."""
    rows, columns = np.indices((16, 16))
    coarse, fine = (rows // 8 + columns // 8) % 2, (rows + columns) % 2
    x, y = (jnp.float32(0.25 + 0.25 * coarse + 0.2 * sign * fine) for sign in (1, -1))
    x, y = (jnp.stack([each, jnp.ones_like(each)])[..., None] for each in (x, y))
    assert float(losses.structural_similarity(x, y, window=4)[0]) < 0

    @jax.jit
    def slope(y):
        def total(y):
            each = losses.multiscale_similarity(x, y, window=4, num_scales=3)
            return each.sum(), each

        return jax.grad(total, has_aux=True)(y)

    found, each = slope(y)
    assert 0.1 < each[0] < 0.9
    assert each[0] < float(losses.multiscale_similarity(x, (x + y) / 2, window=4, num_scales=3)[0])
    assert each[1] == pytest.approx(1.0, abs=1e-6)
    assert np.isfinite(found).all()
    # along the fine pattern of x, which y has with the other sign
    along = x[0] - x[0].mean() - (y[0] - y[0].mean())
    assert float(jnp.sum(found[0] * along)) > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_what_has_no_reconstruction_of_its_code_is_refused(name):
    function = objectives.load(name)
    step_by_step = make(network="gru")
    missing = make(likelihood=likelihoods.Gaussian(has_missing=True))
    for model in (step_by_step, missing):
        with pytest.raises(UsageError, match=f"objective={name}: compares x with E.x.z.*beta_vae"):
            function(model, {"objective": {}}, {"x": jnp.zeros((1, *SHAPE))}, KEY)
    with pytest.raises(UsageError, match=r"objective=ms_ssim: needs images \[H, W, C\]"):
        ms_ssim.notes(make((5,)))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_trains_on_digits_and_its_pictures_get_alike(name):
    from sklearn.datasets import load_digits

    x = (load_digits().images[:600, :, :, None] / 16).astype(np.float32)
    model = vae_jax.make_model(x, objective=name, likelihood="gaussian", widths=(100,))
    settings = {"epochs": 30, "batch_size": 100, "learning_rate": 2e-3, "progress": False}
    trained = vae_jax.fit(name, model, x, **settings)
    first, *_, last = trained.history
    assert last["distortion"] < first["distortion"] - 10
    restored = model.reconstruct(trained.params, x[:100])
    other = np.roll(x[:100], 1, axis=0)
    found = losses.structural_similarity(x[:100], restored, window=8).mean()
    assert found > losses.structural_similarity(x[:100], other, window=8).mean() + 0.2
