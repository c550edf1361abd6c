"""Tied weights: the decoder's kernels are the encoder's, transposed, in every step."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from properties import initial

import vae_jax
from vae_jax import networks
from vae_jax.errors import UsageError
from vae_jax.lab import config
from vae_jax.storage import exported

KEY = jax.random.key(0)
X = np.random.default_rng(0).uniform(size=(40, 6)).astype(np.float32)


def make(objective="autoencoder", latent_dim=2, network="mlp", widths=(5, 4), **settings):
    widths = None if network == "linear" else widths
    options = {"latent_dim": latent_dim, "widths": widths, "network": network}
    options = {"likelihood": "gaussian", "variance": 0.5, **options, **settings}
    return vae_jax.make_model(X, objective=objective, **options)


def untied_of(model):
    return model.replace(decoder=model.decoder.clone(tied=False))


def whole(model, params):
    """Parameters of the untied model with the same weights."""
    return {**params, "decoder": model.decoder_params(params)}


@pytest.mark.parametrize(
    ("objective", "network"),
    [
        ("beta_vae", "mlp"),
        pytest.param("contractive", "mlp", marks=pytest.mark.slow),
        pytest.param("autoencoder", "linear", marks=pytest.mark.slow),
    ],
)
def test_kernels_are_transposed_after_training_steps(objective, network):
    model = make(objective, network=network, tied=True)
    start = model.init(KEY)
    trained = vae_jax.fit(objective, model, X, epochs=3, batch_size=20, progress=False)
    params = trained.params
    layers = model.decoder.layers
    for (name,), path in zip(layers, model.encoder.layers[::-1], strict=True):
        own, mirror = params["decoder"][name], params["encoder"]
        assert own.keys() == {"bias"}
        for key in path:
            mirror = mirror[key]
        kernel = np.asarray(mirror["kernel"]).T
        # a Gaussian posterior has columns for the variance, too
        kernel = kernel[: model.latent_dim] if name == "latent" else kernel
        np.testing.assert_array_equal(model.decoder_params(params)[name]["kernel"], kernel)
    first = jax.tree.leaves(start["encoder"]), jax.tree.leaves(params["encoder"])
    assert all(np.abs(a - b).max() > 1e-4 for a, b in zip(*first, strict=True) if a.ndim == 2)
    z = jax.random.normal(KEY, (3, 2))
    np.testing.assert_array_equal(
        model.decode(params, z), untied_of(model).decode(whole(model, params), z)
    )


def test_the_gradient_is_the_sum_of_both_layers():
    model = make(tied=True)
    params = initial(model)

    def error(model, params):
        return jnp.square(model.reconstruct(params, X) - X).sum()

    tied = jax.grad(lambda params: error(model, params))(params)
    apart = jax.grad(lambda params: error(untied_of(model), params))(whole(model, params))
    pairs = model.encoder.pairs(model.decoder)
    assert len(pairs) == 3
    for layer, mirror in pairs:
        own, of_encoder, of_decoder = tied, apart, apart
        for key in layer:
            own, of_encoder = own[key], of_encoder[key]
        for key in mirror:
            of_decoder = of_decoder[key]
        want = of_encoder["kernel"] + of_decoder["kernel"].T
        np.testing.assert_allclose(own["kernel"], want, atol=1e-4)


def test_only_one_kernel_of_a_pair_is_counted():
    sizes = [784, 500, 300, 150, 100, 64]
    options = {"latent_dim": 64, "widths": sizes[1:-1], "likelihood": "gaussian", "variance": 0.5}
    num = {}
    for tied in (False, True):
        model = vae_jax.make_model((28, 28, 1), objective="autoencoder", tied=tied, **options)
        num[tied] = sum(leaf.size for leaf in jax.tree.leaves(model.param_shapes()))
    kernels = sum(a * b for a, b in itertools.pairwise(sizes))
    # the parameters of the same model in Keras
    assert num[False] == 1_219_748 == 2 * kernels + sum(sizes[1:]) + sum(sizes[:-1])
    assert num[True] == num[False] - kernels


def test_a_mask_makes_a_smaller_tied_model():
    large, small = make(latent_dim=5, tied=True), make(latent_dim=2, tied=True)
    masked = large.replace(latent_mask=jnp.array([1.0, 1, 0, 0, 0]))
    both = [(model, model.init(KEY)) for model in (masked, small)]
    restored = [model.reconstruct(params, X) for model, params in both]
    np.testing.assert_allclose(*restored, atol=1e-6)


def test_a_condition_and_penalties_on_the_decoder_remain():
    labels = np.arange(40) % 3
    model = vae_jax.make_model(
        {"x": X, "labels": labels}, objective="cvae", likelihood="gaussian", widths=(4,), tied=True
    )
    assert {"bias"} < {*model.init(KEY)["decoder"]["latent"], "kernel"}
    assert model.init(KEY)["decoder"]["condition"].keys() == {"kernel"}
    model = make("rae", tied=True)
    params, batch = initial(model), {"x": X, "mask": np.ones(40)}
    loss = vae_jax.objectives.bind("rae", num_examples=40)
    found, apart = (
        loss(each, own, batch, KEY)[1]["decoder_penalty"]
        for each, own in ((model, params), (untied_of(model), whole(model, params)))
    )
    np.testing.assert_array_equal(found, apart)


def test_an_export_stays_tied(tmp_path):
    model = make(tied=True)
    params = initial(model)
    exported.save(tmp_path / "a.safetensors", model, params)
    loaded, own, *_ = exported.load(tmp_path / "a.safetensors")
    assert loaded.is_tied
    np.testing.assert_array_equal(loaded.reconstruct(own, X), model.reconstruct(params, X))


def test_the_flag_ties_and_is_off_by_default():
    assert not config.from_flags({}).tied
    assert config.from_flags({"tied": True}).tied
    assert not make().is_tied
    names = networks.names(lambda each: each.can_tie)
    assert names == ["linear", "mlp"]


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (
            {"network": "gru", "widths": (3,)},
            "network 'gru' has no layers to share.*take linear or",
        ),
        ({"network": "cascade"}, "network 'cascade' has no layers to share"),
        ({"likelihood": "logistic_mixture", "variance": "learned"}, "tied=True: layer 'output' of"),
    ],
)
def test_what_cannot_be_tied_is_refused(settings, match):
    with pytest.raises(UsageError, match=match):
        make(**{"tied": True, **settings})


def test_layers_that_are_trained_in_turn_are_not_tied():
    model = make("stacked", tied=True)
    with pytest.raises(UsageError, match="layers are trained one by one with kernels of their own"):
        vae_jax.fit("stacked", model, X, epochs=1, progress=False)


@pytest.mark.slow
def test_a_tied_linear_autoencoder_has_orthonormal_directions():
    scales = np.array([3.0, 2.0, 0.3, 0.2, 0.1, 0.1])
    x = (np.random.default_rng(0).normal(size=(500, 6)) * scales).astype(np.float32)
    model = vae_jax.make_model(
        *(x,),
        objective="autoencoder",
        network="linear",
        latent_dim=2,
        likelihood="gaussian",
        variance=0.5,
        tied=True,
    )
    options = {"epochs": 1500, "batch_size": 500, "learning_rate": "cosine(1e-2, 0, 100%)"}
    trained = vae_jax.fit("autoencoder", model, x, progress=False, **options)
    kernel = np.asarray(trained.params["encoder"]["mean"]["kernel"])
    # ‖x − W Wᵀ x‖² is least at an orthonormal basis of the principal plane
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(2), atol=1e-2)
    assert np.abs(kernel[2:]).max() < 0.02
