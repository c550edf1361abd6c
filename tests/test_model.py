import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from properties import initial

from vae_jax import distributions, likelihoods, networks
from vae_jax.errors import UsageError
from vae_jax.model import Model

SHAPE = (8, 8, 1)
# those that read step by step have tests of their own
AT_ONCE = [name for name in networks.names() if not networks.load(name).reads_missing]


def make(latent_dim=4, network="mlp", likelihood=None, shape=SHAPE, mask=None, **options):
    likelihood = likelihood or likelihoods.Bernoulli()
    encoder, decoder = networks.build(
        network, shape=shape, latent_dim=latent_dim, num_outputs=likelihood.num_outputs, **options
    )
    return Model(encoder, decoder, likelihood, shape, latent_dim, latent_mask=mask)


@pytest.mark.parametrize("network", AT_ONCE)
@pytest.mark.parametrize(
    "shape",
    [
        pytest.param((8, 8, 1), marks=pytest.mark.slow),
        (12, 8, 3),
        pytest.param((28, 28, 1), marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    "likelihood", [likelihoods.Bernoulli(), likelihoods.Categorical(num_levels=5)]
)
def test_shapes(network, shape, likelihood):
    # of a map, one number for each place
    latent_dim = shape[0] * shape[1] // 16 if networks.load(network).has_fixed_codes else 3
    model = make(latent_dim, network, likelihood, shape)

    def everything(key, x):
        params = model.init(key)
        posterior = model.encode(params, x)
        outputs = model.decode(params, posterior.mean)
        return posterior, outputs, model.reconstruct(params, x), model.sample(params, key, 5)

    # shapes need no program
    x = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    posterior, outputs, reconstruction, (draws, means) = jax.eval_shape(
        everything, jax.random.key(0), x
    )
    assert posterior.mean.shape == posterior.logvar.shape == (2, latent_dim)
    assert outputs.shape == (2, *shape, *(() if likelihood.num_outputs == 1 else (5,)))
    assert reconstruction.shape == x.shape
    assert draws.shape == means.shape == (5, *shape)


def test_bfloat16_computes_in_half_and_returns_float32():
    model, other = make(dtype=jnp.bfloat16), make()

    @jax.jit
    def both(key, x):
        params = model.init(key)
        return params, model.encode(params, x), other.encode(params, x)

    x = np.random.default_rng(1).random((16, *SHAPE), np.float32)
    params, half, full = both(jax.random.key(0), x)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    assert half.mean.dtype == jnp.float32
    difference = float(jnp.abs(half.mean - full.mean).max())
    assert 0 < difference < 0.05


def test_masked_model_equals_an_unmasked_one_of_that_size():
    """Same weights, unused dimensions masked: same rate and same decoded output, exactly."""
    mask = np.float32([0, 1, 1, 0, 1])
    keep = np.flatnonzero(mask)
    native, masked = make(3), make(5, mask=jnp.asarray(mask))
    start = jax.jit(lambda *keys: (native.init(keys[0]), masked.init(keys[1])))
    params, wide = jax.tree.map(np.array, start(*map(jax.random.key, (0, 1))))
    columns = np.concatenate([keep, keep + 5])
    for name, own in params["encoder"]["head"]["posterior"].items():
        wide["encoder"]["head"]["posterior"][name][..., columns] = own
    own = params["decoder"]["latent"]
    wide["decoder"]["latent"]["kernel"][keep] = own["kernel"]
    wide["decoder"]["latent"]["bias"] = own["bias"]
    wide["encoder"] = {**params["encoder"], "head": wide["encoder"]["head"]}
    wide["decoder"] = {**params["decoder"], "latent": wide["decoder"]["latent"]}

    def terms(model, params, q, z):
        """The rate of q, log p(z) − log q(z|x), and what z decodes to."""
        prior = model.prior(params)
        rate = distributions.kl_divergence(q, prior)
        return rate, prior.log_prob(z) - q.log_prob(z), model.decode(params, z)

    @jax.jit
    def both(params, wide, x, key):
        q, q_masked = native.encode(params, x), masked.encode(wide, x)
        z = q_masked.sample(key)
        own = terms(native, params, q, z[:, keep])
        return (q, *own), (q_masked, *terms(masked, wide, q_masked, z))

    x = np.random.default_rng(2).random((7, *SHAPE), np.float32)
    (q, rate, weight, outputs), (q_masked, rate_masked, weight_masked, outputs_masked) = both(
        params, wide, x, jax.random.key(3)
    )
    # other columns beside them may be another order of summing
    np.testing.assert_allclose(q_masked.mean[:, keep], q.mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(rate_masked[:, keep], rate, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(rate_masked[:, mask == 0], 0.0)
    # log p(z) − log q(z|x): masked dimensions cancel, whatever was drawn for them
    np.testing.assert_allclose(weight_masked, weight, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(outputs_masked, outputs, rtol=1e-5, atol=1e-6)


def test_masked_model_starts_with_the_fan_in_of_its_unmasked_dimensions():
    mask = jnp.array([1.0, 0.0, 0.0, 0.0])
    models = make(4), make(4, mask=mask)
    start = jax.jit(lambda key: [model.init(key)["decoder"]["latent"] for model in models])
    plain, masked = (layer["kernel"] for layer in start(jax.random.key(0)))
    np.testing.assert_allclose(masked, 2.0 * plain, rtol=1e-6)


def test_draws_of_z_and_x_are_independent():
    """A decoder that ignores z: x has a variance of 1 about its mean, whatever z is."""
    num, model = 4000, make(4, "linear", likelihoods.Gaussian(1.0), (4,))
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    key = jax.random.key(1)
    z_key, x_key = jax.random.split(key)

    @jax.jit
    def draws(params):
        z = model.prior(params).sample(z_key, num)
        return z, model.sample(params, key, num), model.sample_given(params, x_key, z)

    z, (x, mean), given = draws(params)
    np.testing.assert_array_equal(x, given[0])
    np.testing.assert_array_equal(mean, 0.0)
    products = np.einsum("nl,nd->ld", z, x) / num
    assert np.abs(products).max() < 5 / np.sqrt(num)


def test_each_part_begins_with_draws_of_its_own_by_its_fan_in():
    """As many numbers in as out, twice: one key for two of them would make them equal."""
    model = make(40, widths=(40, 40), shape=(40,))
    params = jax.jit(model.init)(jax.random.key(0))
    encoder, decoder = params["encoder"], params["decoder"]
    mean, logvar = jnp.split(encoder["head"]["posterior"]["kernel"], 2, axis=1)
    layers = "hidden_0", "hidden_1"
    kernels = [
        part[name]["kernel"] for part in (encoder, decoder) for name in layers if name in part
    ]
    kernels += [mean, logvar, decoder["latent"]["kernel"], decoder["output"]["kernel"]]
    for own, other in itertools.combinations(kernels, 2):
        alike = np.corrcoef(np.ravel(own), np.ravel(other))[0, 1]
        assert abs(alike) < 5 / 40
    # LeCun: a variance of 1 / fan-in
    wide = networks._shared.by_latent(1, 2)(jax.random.key(1), (400, 20))
    tall = networks._shared.by_latent(0)(jax.random.key(1), (20, 400))
    for kernel, fan_in in ((wide, 400), (tall, 20)):
        assert np.square(kernel).mean() * fan_in == pytest.approx(1, abs=5 * np.sqrt(2 / 8000))


def test_samples_of_a_row_meet_its_own_x():
    model = make(2, "linear", likelihoods.Gaussian(1.0), (3,))
    generator = np.random.default_rng(0)
    x, z = (generator.normal(size=shape).astype(np.float32) for shape in ((4, 3), (5, 4, 2)))
    batch = {"x": x, "mask": np.ones(4, np.float32)}

    @jax.jit
    def both(key, z):
        params = model.init(key)
        each = [model.distortion(params, own, batch) for own in z]
        return model.distortion(params, z, batch), jnp.stack(each)

    np.testing.assert_allclose(*both(jax.random.key(0), z), rtol=1e-5)


def test_a_users_own_modules_plug_in():
    class Encoder(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = x.reshape(x.shape[0], -1)
            return nn.Dense(2)(h), nn.Dense(2)(h)

    class Decoder(nn.Module):
        @nn.compact
        def __call__(self, z):
            return nn.Dense(64)(z)

    model = Model(Encoder(), Decoder(), likelihoods.Bernoulli(), SHAPE, 2)
    params = initial(model)
    assert model.reconstruct(params, jnp.ones((3, *SHAPE))).shape == (3, *SHAPE)


@pytest.mark.parametrize(
    ("encoder_dim", "output_dim", "culprit"), [(3, 64, "encoder"), (2, 63, "decoder")]
)
def test_modules_of_the_wrong_shape_are_named(encoder_dim, output_dim, culprit):
    encoder, _ = networks.build("mlp", shape=SHAPE, latent_dim=encoder_dim)
    model = Model(encoder, networks.MLPDecoder(output_dim), likelihoods.Bernoulli(), SHAPE, 2)
    with pytest.raises(UsageError, match=f"the {culprit} returns shape"):
        model.init(jax.random.key(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "mpl"}, "did you mean mlp"),
        ({"name": "conv", "shape": (64,)}, "needs images"),
        ({"name": "conv", "widths": ()}, "at least one channel width"),
        ({"name": "linear", "widths": (3,)}, "no hidden layers"),
        ({"name": "conv_map", "latent_dim": 9}, "multiple of the 2×2 places .* latent_dim=8"),
    ],
)
def test_networks_that_do_not_fit_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        networks.build(**{"shape": SHAPE, "latent_dim": 2, **options})


def test_the_remedies_for_a_code_that_does_not_fit_a_map_help():
    options = {"shape": (29, 37, 1), "widths": (2, 3)}
    with pytest.raises(UsageError, match="8×10 places") as error:
        networks.build("conv_map", latent_dim=20, **options)
    found = re.search(r"latent_dim=(\d+) \(of quantized codes (\d+) × ", str(error.value))
    near, places = map(int, found.groups())
    networks.build("conv_map", latent_dim=near, **options)
    networks.build("conv_map", latent_dim=places * 4, **options)
    networks.build("conv_map", latent_dim=20, shape=(29, 37, 1), widths=(2, 3, 4))


@pytest.mark.parametrize(
    "network", ["conv", "conv_map", pytest.param("conv_pool", marks=pytest.mark.slow)]
)
def test_convolutions_take_pictures_of_any_size(network):
    """What is decoded has the picture's size, also where layers outnumber what can be halved."""
    sizes = [(1, 1), (1, 2), (3, 3), (97, 1), (5, 97), (29, 37), (33, 47), (28, 28)]
    for size, num_layers in itertools.product(sizes, (1, 2, 7)):
        num_places = math.prod(math.ceil(length / 2**num_layers) for length in size)
        latent_dim = 2 * num_places if network == "conv_map" else 2
        shape, widths = (*size, 3), (2,) * num_layers
        modules = networks.build(network, shape=shape, latent_dim=latent_dim, widths=widths)

        def both(modules=modules, shape=shape):
            x, key = jnp.zeros((2, *shape)), jax.random.key(0)
            (mean, _), _ = modules[0].init_with_output(key, x)
            return mean, modules[1].init_with_output(key, mean)[0]

        mean, outputs = jax.eval_shape(both)
        assert (mean.shape, outputs.shape) == ((2, latent_dim), (2, *shape))


BY_SHAPE = [name for name in networks.names() if networks.load(name).widths_by_shape]


@pytest.mark.parametrize("network", BY_SHAPE)
def test_the_default_layers_halve_pictures_to_maps_of_at_most_8(network):
    """As few layers as do, and at least the two of small pictures."""
    lengths = [8, 28, 32, 33, 64, 65, 100, 128, 129, 256, 257, 512]
    for size in itertools.product(lengths, lengths):
        shape = (*size, 3)
        encoder, decoder = networks.build(network, shape=shape, latent_dim=2)
        assert encoder.widths == decoder.widths[::-1] == networks.load(network).widths_for(shape)
        num, longest = len(encoder.widths), max(size)
        assert math.ceil(longest / 2**num) <= 8
        assert num == 2 or math.ceil(longest / 2 ** (num - 1)) > 8
        assert encoder.widths == (32, 64, 128, 128, 128, 128)[:num]
    assert [len(networks.load(network).widths_for((n, 1, 1))) for n in lengths] == [
        *(2, 2, 2, 3, 3, 4, 4, 4, 5, 5, 6, 6)
    ]


def test_networks_whose_layers_follow_the_size_of_pictures():
    """Places of a map are codes, and residual blocks halve to 1×1 whatever the widths."""
    assert BY_SHAPE == ["conv", "pixel"]
    for name in networks.names():
        network = networks.load(name)
        assert network.widths_for((28, 28, 1)) == network.widths
        if name not in BY_SHAPE:
            assert network.widths_for((256, 256, 3)) == network.widths


@pytest.mark.parametrize("side", [28, 64, 256, 512])
def test_the_number_of_parameters_of_default_convolutions(side):
    """4×4 kernels and biases, and the dense layers between a map of h×h and the code."""
    channels = [3, *networks.load("conv").widths_for((side, side, 3))]
    convs = sum(16 * a * b for a, b in itertools.pairwise(channels))
    places = math.ceil(side / 2 ** (len(channels) - 1)) ** 2 * channels[-1]
    encoder = convs + sum(channels[1:]) + (places + 1) * 256 + 257 * 2 * 4
    decoder = convs + sum(channels[:-1]) + (4 + 1) * 256 + 257 * places
    model = make(4, "conv", shape=(side, side, 3))
    assert sum(leaf.size for leaf in jax.tree.leaves(model.param_shapes())) == encoder + decoder
    assert encoder + decoder < 6.2e6


def test_widths_that_are_given_are_taken_at_any_size():
    encoder, decoder = networks.build("conv", shape=(256, 256, 3), latent_dim=2, widths=(32, 64))
    assert encoder.widths == decoder.widths[::-1] == (32, 64)


@pytest.mark.parametrize("network", ["conv", "conv_map"])
def test_an_odd_picture_is_the_even_one_without_its_last_row_and_column(network):
    """Same parameters: zeros are read below and right of it, and what is written there is cut."""
    odd, even = (make(8, network, shape=(*size, 2), widths=(3, 4)) for size in ((7, 7), (8, 8)))
    x = jax.random.uniform(jax.random.key(1), (3, *odd.shape))
    padded = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))

    shapes = [jax.eval_shape(model.init, jax.random.key(0)) for model in (odd, even)]
    assert shapes[0] == shapes[1]
    generator = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: generator.normal(size=leaf.shape).astype("f4"), shapes[0])

    @jax.jit
    def everything(params):
        code, wide = odd.encode(params, x), even.encode(params, padded)
        return (code, wide), [model.decode(params, code.mean) for model in (odd, even)]

    codes, (outputs, wide) = everything(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), *codes)
    np.testing.assert_allclose(outputs, wide[:, :7, :7], rtol=1e-4, atol=1e-4)


def test_linear_network_is_linear():
    model = make(3, "linear", likelihoods.Gaussian(1.0))
    x, y = np.random.default_rng(1).normal(size=(2, 4, *SHAPE)).astype(np.float32)

    @jax.jit
    def encode(key, *points):
        params = model.init(key)
        return [model.encode(params, point) for point in points]

    codes = encode(jax.random.key(0), np.zeros_like(x), x, y, x + y)
    zero, of_x, of_y, of_sum = (np.asarray(code.mean) for code in codes)
    np.testing.assert_allclose(of_sum - zero, of_x + of_y - 2 * zero, atol=1e-5)
    logvar = np.asarray(codes[1].logvar)
    np.testing.assert_array_equal(logvar, np.broadcast_to(logvar[:1], logvar.shape))


def test_a_number_of_a_map_belongs_to_its_place():
    """A code of a map depends on the pixels around its place, and changes pixels there."""
    model = make(8, "conv_map", likelihoods.Gaussian(1.0), widths=(4,), shape=(4, 8, 1))

    @jax.jit
    def jacobians(key, x, z):
        params = model.init(key)
        of_code = jax.jacobian(lambda x: model.encode(params, x).mean[0])(x)
        return of_code, jax.jacobian(lambda z: model.decode(params, z)[0])(z)

    x = np.random.default_rng(1).normal(size=(1, 4, 8, 1)).astype(np.float32)
    jacobian, output = jacobians(jax.random.key(0), x, np.ones((1, 8), np.float32))
    jacobian, output = np.asarray(jacobian)[:, 0, :, :, 0], np.asarray(output)[..., 0, 0, :]
    hears = np.abs(jacobian.reshape(2, 4, 4, 8)).max(axis=(0, 2)) > 0  # place × column
    heard = np.abs(output.reshape(4, 8, 2, 4)).max(axis=(0, 2)) > 0  # column × place
    np.testing.assert_array_equal(hears, heard.T)
    np.testing.assert_array_equal(hears.sum(axis=1), [3, 4, 4, 3])


# --- Codes and lines between them


def test_predict_is_the_code_and_its_reconstruction():
    model = make()
    params = initial(model)
    x = np.random.default_rng(0).random((5, *SHAPE)).astype(np.float32)
    code, reconstruction = model.predict(params, x)
    np.testing.assert_array_equal(code, model.encode(params, x).mode)
    np.testing.assert_array_equal(reconstruction, model.reconstruct(params, x))


@pytest.mark.parametrize("mask", [None, jnp.array([1.0, 1.0, 0.0, 0.0])])
def test_the_ends_of_an_interpolation_are_reconstructions(mask):
    model = make(mask=mask)
    params = initial(model)
    first, last = np.random.default_rng(0).random((2, 3, *SHAPE)).astype(np.float32)
    lines = model.interpolate(params, first, last, 5)
    assert lines.shape == (3, 5, *SHAPE)
    np.testing.assert_allclose(lines[:, 0], model.reconstruct(params, first), rtol=1e-6)
    np.testing.assert_allclose(lines[:, -1], model.reconstruct(params, last), rtol=1e-6)
    middle = (model.encode(params, first).mode + model.encode(params, last).mode) / 2
    np.testing.assert_allclose(lines[:, 2], model.decode_mean(params, middle), rtol=1e-5)
    # of two examples alone, and back
    line = model.interpolate(params, first[1], last[1], 5)
    np.testing.assert_allclose(line, lines[1], rtol=1e-5)
    back = model.interpolate(params, last[1], first[1], 5)
    np.testing.assert_allclose(back[::-1], line, rtol=1e-5)


def test_ends_that_are_no_examples_are_refused():
    model = make()
    params, x = initial(model), np.zeros((2, *SHAPE), np.float32)
    for ends, num, message in [
        ((x, x), 1, "num=1: must be an integer, at least 2"),
        ((x, x[0]), 3, r"x0 and x1 have shapes \[2, 8, 8, 1\] and \[8, 8, 1\]: must be both \[8"),
        ((x[:, :7], x[:, :7]), 3, r"must be both \[8, 8, 1\], or both \[B, …\]"),
    ]:
        with pytest.raises(UsageError, match=message):
            model.interpolate(params, *ends, num)


def test_arrays_may_be_those_of_numpy():
    model, key = make(), jax.random.key(1)
    params = jax.tree.map(np.asarray, initial(model))
    x = np.random.default_rng(0).random((3, *SHAPE)).astype(np.float32)
    z = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    batch = {"x": x, "mask": np.ones(3, np.float32)}

    def everything(params, x, z, batch):
        return (
            model.encode(params, x).mean,
            model.decode(params, z),
            model.decode_mean(params, z),
            model.reconstruct(params, x),
            model.predict(params, x),
            model.distortion(params, z, batch),
            model.sample_given(params, key, z),
        )

    given = params, x, z, batch
    jax.tree.map(
        np.testing.assert_array_equal,
        everything(*given),
        everything(*jax.tree.map(jnp.asarray, given)),
    )
