"""Deterministic codes: autoencoders that corrupt, keep few activations, or hardly move."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from properties import initial, loss_of
from sklearn.decomposition import PCA

from vae_jax import (
    data,
    distributions,
    fitting,
    latents,
    likelihoods,
    losses,
    networks,
    objectives,
)
from vae_jax.errors import UsageError
from vae_jax.evaluation import elbo
from vae_jax.model import Model

SHAPE, L, B = (4, 4, 1), 5, 7


def make(name, *, latent_dim=L, network="mlp", shape=SHAPE, likelihood=None, mask=None, **own):
    objective = objectives.bind(name, num_examples=100, **own)
    latent = objective.latent()
    widths = () if network == "linear" else (12,)
    encoder, decoder = networks.build(
        network, shape=shape, latent_dim=latent_dim, widths=widths, num_parts=1
    )
    likelihood = likelihood or likelihoods.Gaussian(0.5)
    return objective, Model(encoder, decoder, likelihood, shape, latent_dim, mask, latent)


def batch_of(num=B, shape=SHAPE):
    return {"x": jax.random.uniform(jax.random.key(1), (num, *shape)), "mask": jnp.ones(num)}


def test_variance_of_one_half_is_the_sum_of_squares():
    objective, model = make("autoencoder")
    batch = batch_of()
    loss, aux = loss_of(objective, model, initial(model), batch, jax.random.key(2))
    # −log N(x; x̂, ½) = (x − x̂)² + ½ log π
    np.testing.assert_allclose(loss, aux["squared_error"] + 8 * np.log(np.pi), rtol=1e-5)


@pytest.mark.slow
def test_a_linear_autoencoder_finds_the_principal_components():
    digits, latent_dim = data.load("digits"), 8
    x = np.asarray(digits.decode(digits.train.x))
    x = x - x.mean(axis=0)
    objective, model = make(
        "autoencoder", latent_dim=latent_dim, network="linear", shape=digits.shape
    )
    h = {"learning_rate": "cosine(3e-2, 0, 100%)", "epochs": 3000, "batch_size": len(x)}
    trained = fitting.fit(objective, model, x, **h)
    state, rows = trained.state, trained.history
    pca = PCA(latent_dim).fit(x.reshape(len(x), -1))
    restored = pca.inverse_transform(pca.transform(x.reshape(len(x), -1)))
    least = np.square(x.reshape(len(x), -1) - restored).sum(axis=1).mean()
    assert least <= rows[-1]["squared_error"] * (1 + 1e-5)
    assert rows[-1]["squared_error"] < 1.001 * least
    decoder = np.asarray(state.params["decoder"]["latent"]["kernel"]).T
    angles = np.degrees(scipy.linalg.subspace_angles(decoder, pca.components_.T))
    assert angles.max() < 2


@pytest.mark.parametrize(("num_inputs", "num_outputs"), [(3, 6), (6, 3)])
def test_jacobian_of_a_sigmoid_layer_in_closed_form(num_inputs, num_outputs):
    keys = jax.random.split(jax.random.key(0), 2)
    weights = jax.random.normal(keys[0], (num_inputs, num_outputs))
    x = jax.random.normal(keys[1], (B, num_inputs))

    def encode(x):
        return jax.nn.sigmoid(x @ weights)

    h = encode(x)
    # Σ_j (h_j (1 − h_j))² Σ_i W_ij², Rifai et al. 2011, section 5.3
    want = jnp.square(h * (1 - h)) @ jnp.square(weights).sum(axis=0)
    np.testing.assert_allclose(losses.jacobian_norm(encode, x), want, rtol=1e-5)
    each = jax.vmap(jax.jacfwd(lambda row: encode(row[None])[0]))(x)
    np.testing.assert_allclose(want, jnp.square(each).sum(axis=(1, 2)), rtol=1e-5)


def test_the_estimate_of_the_jacobian_has_no_bias():
    _, model = make("contractive")
    params = initial(model)
    x = batch_of()["x"]

    def encode(x):
        return model.encode(params, x).mode

    exact = losses.jacobian_norm(encode, x)
    keys = jax.random.split(jax.random.key(3), 1000)
    draws = jax.vmap(lambda key: losses.estimated_jacobian_norm(encode, x, key))(keys)
    error = draws.std(axis=0) / np.sqrt(len(keys))
    assert (np.abs(draws.mean(axis=0) - exact) < 5 * error).all()
    assert (error < 0.1 * exact).all()
    # of a map that scales each dimension every probe is exact
    scales = jnp.arange(1.0, 4.0)
    for num_probes in (1, 3):
        estimate = functools.partial(losses.estimated_jacobian_norm, num_probes=num_probes)
        found = estimate(lambda x: x * scales[None], jnp.ones((2, 3)), keys[0])
        np.testing.assert_allclose(found, 14.0, rtol=1e-6)


def test_both_jacobians_train_alike():
    batch, key = batch_of(), jax.random.key(4)

    def gradient(**own):
        objective, model = make("contractive", **own)
        params = initial(model)

        def mean(params):
            return objective(model, params, batch, key, lambda_jacobian=10.0)[0].mean()

        leaves = jax.tree.leaves(jax.jit(jax.grad(mean))(params)["encoder"])
        return np.concatenate([np.asarray(leaf).ravel() for leaf in leaves])

    exact, estimated = gradient(), gradient(jacobian="hutchinson", num_probes=3000)
    assert np.linalg.norm(estimated - exact) < 0.1 * np.linalg.norm(exact)


def test_contraction_contracts():
    norms = {}
    x = np.asarray(batch_of(64)["x"])
    for weight in (0.0, 10.0):
        objective, model = make("contractive")
        h = {"learning_rate": 1e-2, "lambda_jacobian": weight}
        trained = fitting.fit(objective, model, x, epochs=10, batch_size=32, **h)
        norms[weight] = trained.history[-1]["jacobian_norm"]
    assert norms[10.0] < 0.1 * norms[0.0]


@pytest.mark.parametrize("num_active", [1, 3, L])
def test_exactly_k_dimensions_are_kept_also_of_equal_ones(num_active):
    family = latents.Deterministic(num_active=num_active)
    features = jax.random.normal(jax.random.key(0), (B, L)).at[0].set(1.0)
    z = np.asarray(family.posterior(None, (features,)).mode)
    assert ((z != 0).sum(axis=1) == num_active).all()
    largest = np.sort(np.asarray(features[1:]), axis=1)[:, -num_active:]
    np.testing.assert_array_equal(
        np.sort(np.where(z[1:] != 0, z[1:], -np.inf))[:, -num_active:], largest
    )


def test_masked_dimensions_are_never_kept():
    mask = jnp.array([1.0, 1.0, 1.0, 0.0, 0.0])
    family = latents.Deterministic(num_active=2)
    features = jnp.array([[1.0, 2.0, 3.0, 9.0, 9.0], [-1.0, -2.0, -3.0, 9.0, 9.0]])
    z = family.posterior(None, (features,), mask).mode
    np.testing.assert_array_equal(z, [[0, 2, 3, 0, 0], [-1, -2, 0, 0, 0]])


def test_more_active_dimensions_than_there_are_is_refused():
    with pytest.raises(UsageError, match="num_active=6: must be at most latent_dim=5"):
        latents.Deterministic(num_active=6).check(5)


def test_divergence_of_activations_is_that_of_coins():
    rates = jnp.array([0.01, 0.05, 0.5, 0.0, 1.0])
    found = losses.activation_divergence(rates, 0.05)
    p = np.array([0.05, 0.95])
    want = [np.sum(p * np.log(p / np.array([r, 1 - r]))) for r in (0.01, 0.05, 0.5)]
    np.testing.assert_allclose(found[:3], want, atol=1e-5)
    assert np.isfinite(found).all()
    assert found[3] > 0.4
    assert found[4] > 10
    slope = jax.grad(lambda r: losses.activation_divergence(r, 0.05).sum())(rates)
    assert slope[0] < 0 < slope[2]
    assert slope[3] < slope[0]
    assert slope[4] > slope[2]
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("penalty", ["l1", "kl"])
def test_a_price_on_activations_makes_them_few(penalty):
    x = np.asarray(batch_of(64)["x"])
    reached = {}
    for weight in (0.0, 20.0):
        objective, model = make("sparse", penalty=penalty)
        h = {"lambda_sparsity": weight, "target_activation": 0.1, "learning_rate": 1e-2}
        trained = fitting.fit(objective, model, x, epochs=40, batch_size=64, **h)
        reached[weight] = trained.history[-1]["mean_activation"]
    assert reached[20.0] < 0.5 * reached[0.0]
    if penalty == "kl":
        assert abs(reached[20.0] - 0.1) < 0.05


def test_a_deterministic_code_has_no_prior_and_no_rate():
    objective, model = make("autoencoder")
    params, batch = initial(model), batch_of()
    with pytest.raises(UsageError, match=r"no prior: draw codes from distributions.FullGaussian"):
        model.sample(params, jax.random.key(1), 3)
    evaluated = elbo.evaluate(
        objective, model, params, batch["x"], jax.random.key(0), {}, preprocess=lambda s, key: s
    )
    assert evaluated.rate_per_dim is None
    assert evaluated.mean_variance is None
    assert set(evaluated.terms) == {"loss", "distortion", "squared_error"}
    posterior = model.encode(params, batch["x"])
    draws = posterior.sample(jax.random.key(0), 3)
    np.testing.assert_array_equal(draws, np.stack([posterior.mode] * 3))


def test_the_gaussian_of_codes_has_their_moments():
    codes = np.random.default_rng(0).normal(size=(50, 3)) @ np.diag([1.0, 2.0, 0.0])
    codes[:, 2] = codes[:, 0] - 1.0  # depends on another: a singular covariance
    fitted = distributions.FullGaussian.fit(codes)
    np.testing.assert_allclose(fitted.mean, codes.mean(axis=0), atol=1e-5)
    covariance = np.cov(codes.T, bias=True)
    np.testing.assert_allclose(fitted.factor @ fitted.factor.T, covariance, atol=1e-5)
    np.testing.assert_allclose(fitted.deviation, codes.std(axis=0), rtol=1e-4)
    marginal = fitted.first(2)
    np.testing.assert_allclose(marginal.factor @ marginal.factor.T, covariance[:2, :2], atol=1e-5)
    draws = np.asarray(fitted.sample(jax.random.key(0), 20_000))
    np.testing.assert_allclose(np.cov(draws.T, bias=True), covariance, atol=0.1)
    np.testing.assert_allclose(draws[:, 2], draws[:, 0] - 1.0, atol=1e-2)
    assert fitted.sample(jax.random.key(0)).shape == (3,)


def test_only_an_overcomplete_code_is_warned_of():
    for latent_dim, num_lines in ((15, 0), (16, 1), (20, 1)):
        objective, model = make("autoencoder", latent_dim=latent_dim)
        assert len(objective.notes(model)) == num_lines
    assert "latent_dim=20 is overcomplete, x has 16 numbers" in objective.notes(model)[0]
    objective, model = make("sparse", latent_dim=20)
    assert not objective.notes(model)


def test_the_target_is_the_clean_x():
    objective, model = make("denoising", corruption="masking")
    params, batch, key = initial(model), batch_of(), jax.random.key(1)
    _, aux = loss_of(objective, model, params, batch, key, level=0.5)
    shown = objective.corrupt(batch["x"], key, level=0.5)
    restored = model.decode_mean(params, model.encode(params, shown).mode)
    np.testing.assert_allclose(
        aux["squared_error"], losses.squared_error(batch["x"], restored), rtol=1e-6
    )
    np.testing.assert_allclose(
        aux["corruption_error"], losses.squared_error(batch["x"], shown), rtol=1e-6
    )
    of_clean, _ = make("autoencoder")[0](model, params, batch, key)
    clean, _ = loss_of(objective, model, params, batch, key, level=0.0)
    np.testing.assert_allclose(clean, of_clean, rtol=1e-6)


@pytest.mark.parametrize("corruption", ["gaussian", "masking"])
def test_the_loss_of_a_corrupted_x_is_of_the_clean_one(corruption):
    objective, model = make("denoising", corruption=corruption)
    params, batch, key = initial(model), batch_of(), jax.random.key(1)
    loss, aux = loss_of(objective, model, params, batch, key, level=0.5)
    z = model.encode(params, objective.corrupt(batch["x"], key, level=0.5)).mode
    np.testing.assert_allclose(loss, model.distortion(params, z, batch), rtol=1e-6)
    # −log N(x; x̂, ½) = (x − x̂)² + ½ log π
    np.testing.assert_allclose(loss, aux["squared_error"] + 8 * np.log(np.pi), rtol=1e-5)


def test_clip_limits_what_the_encoder_is_shown():
    objective, model = make("denoising", clip="unit")
    plain, _ = make("denoising")
    params, batch, key = initial(model), batch_of(), jax.random.key(1)
    shown = objective.corrupt(batch["x"], key, level=0.5)
    noisy = plain.corrupt(batch["x"], key, level=0.5)
    np.testing.assert_array_equal(shown, np.clip(noisy, 0, 1))
    assert noisy.min() < 0 < 1 < noisy.max()
    loss, aux = loss_of(objective, model, params, batch, key, level=0.5)
    z = model.encode(params, shown).mode
    np.testing.assert_allclose(loss, model.distortion(params, z, batch), rtol=1e-6)
    error = losses.squared_error(batch["x"], shown)
    np.testing.assert_allclose(aux["corruption_error"], error, rtol=1e-6)
    # for x between 0 and 1 clipping brings each number nearer to it
    assert (error <= losses.squared_error(batch["x"], noisy)).all()


@pytest.mark.parametrize("penalty", ["l1", "kl"])
def test_the_price_of_activations_by_hand_with_padding_and_masked_dimensions(penalty):
    mask, weight, rho = np.array([1.0, 1.0, 0.0, 1.0, 0.0]), 3.0, 0.2
    objective, model = make("sparse", penalty=penalty, mask=jnp.asarray(mask, jnp.float32))
    params, batch = initial(model), batch_of()
    # the last row is padding, and unlike the others
    batch["x"] = batch["x"].at[-1].add(20.0)
    batch["mask"] = batch["mask"].at[-1].set(0.0)
    loss, aux = objective(
        model,
        params,
        batch,
        jax.random.key(2),
        lambda_sparsity=weight,
        target_activation=rho,
    )
    # the linear code of the same network
    _, plain = make("autoencoder")
    features = np.asarray(plain.encode(params, batch["x"]).mode, np.float64)
    if penalty == "l1":
        z = np.maximum(features, 0) * mask
        price, is_active = z.sum(axis=1), z > 0
    else:
        z = mask / (1 + np.exp(-features))
        rates = z[:-1].mean(axis=0)[mask > 0]
        price = np.sum(rho * np.log(rho / rates) + (1 - rho) * np.log((1 - rho) / (1 - rates)))
        is_active = z > rho
    codes = jnp.asarray(z, jnp.float32)
    want = np.asarray(model.distortion(params, codes, batch)) + weight * price
    np.testing.assert_allclose(loss, want, rtol=1e-4)
    shares = is_active.sum(axis=1) / 3
    assert 0 < shares.mean() <= 1
    np.testing.assert_allclose(aux["active_share"], shares, rtol=1e-6)
    np.testing.assert_allclose(aux["mean_activation"], z.sum(axis=1) / 3, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("num_active", "mask", "share"), [(4, None, 4 / 5), (2, [1.0, 0.0, 1.0, 0.0, 1.0], 2 / 3)]
)
def test_a_k_sparse_code_has_k_active_dimensions(num_active, mask, share):
    mask = None if mask is None else jnp.array(mask)
    objective, model = make("k_sparse", num_active=num_active, mask=mask)
    params = initial(model)
    _, aux = loss_of(objective, model, params, batch_of(), jax.random.key(2))
    np.testing.assert_allclose(aux["active_share"], share, rtol=1e-6)


def test_the_contractive_penalty_is_the_norm_of_the_jacobian():
    objective, model = make("contractive")
    params, batch = initial(model), batch_of()
    loss, aux = objective(model, params, batch, jax.random.key(2), lambda_jacobian=0.7)

    def encode(x):
        return model.encode(params, x).mode

    norm = losses.jacobian_norm(encode, batch["x"])
    np.testing.assert_allclose(aux["jacobian_norm"], norm, rtol=1e-5)
    want = model.distortion(params, encode(batch["x"]), batch) + 0.7 * norm
    np.testing.assert_allclose(loss, want, rtol=1e-5)


# --- The regularized autoencoder


@pytest.mark.parametrize("penalty", ["l2", "gradient", "spectral"])
def test_the_terms_of_a_regularized_autoencoder(penalty):
    objective, model = make("rae", penalty=penalty, mask=jnp.array([1.0, 1, 1, 0, 0]))
    params, batch = initial(model), batch_of()
    weights = {"lambda_code": 0.3, "lambda_decoder": 0.7}
    loss, aux = objective(model, params, batch, jax.random.key(2), **weights)
    z = model.encode(params, batch["x"]).mode
    kernels = {name: np.asarray(own["kernel"]) for name, own in params["decoder"].items()}
    kernels["latent"] = kernels["latent"][:3]  # what masked dimensions would add is not there
    if penalty == "l2":
        biases = [np.asarray(own["bias"]) for own in params["decoder"].values()]
        want = sum(np.square(each).sum() for each in [*kernels.values(), *biases])
    elif penalty == "spectral":
        want = sum(np.linalg.norm(each, 2) ** 2 for each in kernels.values())
    else:
        each = jax.vmap(jax.jacfwd(lambda one: model.decode_mean(params, one[None])[0].ravel()))(z)
        want = np.square(each).sum(axis=(1, 2))
    np.testing.assert_allclose(aux["decoder_penalty"], np.broadcast_to(want, B), rtol=2e-3)
    np.testing.assert_allclose(aux["code_norm"], 0.5 * np.square(z).sum(axis=1), rtol=1e-5)
    want = aux["distortion"] + 0.3 * aux["code_norm"] + 0.7 * aux["decoder_penalty"]
    np.testing.assert_allclose(loss, want, rtol=1e-5)


def test_without_penalties_it_is_the_plain_autoencoder():
    (plain, model), (objective, _) = make("autoencoder"), make("rae")
    params, batch, key = initial(model), batch_of(), jax.random.key(2)
    loss, _ = objective(model, params, batch, key, lambda_code=0.0, lambda_decoder=0.0)
    np.testing.assert_array_equal(loss, plain(model, params, batch, key)[0])


def test_the_spectral_norm_has_the_gradient_of_the_largest_singular_value():
    kernel = jax.random.normal(jax.random.key(0), (6, 4)) + 1.0
    left, values, right = np.linalg.svd(kernel)
    value, slope = jax.value_and_grad(losses.squared_spectral_norms)({"kernel": kernel})
    np.testing.assert_allclose(value, values[0] ** 2, rtol=1e-4)
    # ∂σ²/∂W = 2σ u vᵀ
    np.testing.assert_allclose(
        slope["kernel"], 2 * values[0] * np.outer(left[:, 0], right[0]), atol=2e-2
    )


def test_a_penalty_on_the_gradient_of_text_is_refused():
    shape, likelihood = (5,), likelihoods.Text(4)
    objective = objectives.bind("rae", num_examples=100, penalty="gradient")
    sizes = {"shape": shape, "latent_dim": L, "num_outputs": 4, "widths": (6,), "num_parts": 1}
    model = Model(*networks.build("gru", **sizes), likelihood, shape, L, None, objective.latent())
    batch = {"x": jnp.zeros((B, *shape)), "mask": jnp.ones(B)}
    with pytest.raises(UsageError, match="penalty=gradient: characters have no derivative: x is t"):
        jax.eval_shape(lambda key: objective(model, initial(model), batch, key), jax.random.key(0))
