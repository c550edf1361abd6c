"""What is said of samplers, layers of codes, priors of codes and settings of metrics."""

import re
import types

import jax
import numpy as np

import vae_jax
from vae_jax import posteriors, priors, samplers
from vae_jax.evaluation import feature_spaces, samples, two_samples
from vae_jax.lab import config

from ._cases import at, attempt, tries

KEY = jax.random.key(0)
CODES = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)


@tries(at("vae_jax/samplers/_sampler.py", "Sampler", "require")("take sampler='gaussian', or more"))
def too_few_codes_for_a_sampler(folder, patch):
    flow = samplers.MAF(num_flows=1, flow_width=4, num_epochs=1)
    message = yield attempt(flow.fit, CODES[:8], KEY)
    yield lambda: samplers.make(re.search(r"sampler='(\w+)'", message)[1]).fit(CODES[:8], KEY)
    yield lambda: flow.fit(CODES, KEY)


@tries(at("vae_jax/posteriors/_layers.py", "Layers", "__post_init__")("give num_groups=2"))
def too_many_groups_of_codes(folder, patch):
    message = yield attempt(posteriors.Ladder, num_groups=11)
    yield lambda: posteriors.Ladder(num_groups=int(re.search(r"give num_groups=(\d+)", message)[1]))


IMAGES = np.zeros((6, 5, 5, 1), np.float32)
VDVAE = "vae_jax/posteriors/vdvae.py"


def of_maps(network="resnet", latent_dim=1, **settings):
    """A model with groups on maps."""
    own = posteriors.VDVAE(**{"map_width": 2, **settings})
    options = {"latent_dim": latent_dim, "network": network, "widths": (2,)}
    return vae_jax.make_model(IMAGES, likelihood="bernoulli", posterior=own, **options)


@tries(at(VDVAE, "VDVAE", "__post_init__")("give num_maps="))
def too_many_maps(folder, patch):
    message = yield attempt(posteriors.VDVAE, map_size=3, num_maps=9)
    most = int(re.search(r"give num_maps=(\d+)", message)[1])
    yield lambda: posteriors.VDVAE(map_size=3, num_maps=most)


@tries(at(VDVAE, "VDVAE", "check")("give latent_dim="))
def a_code_that_does_not_fit_its_maps(folder, patch):
    message = yield attempt(of_maps, map_size=3, num_maps=3)
    near = int(re.search(r"give latent_dim=(\d+)", message)[1])
    yield lambda: of_maps(latent_dim=near, map_size=3, num_maps=3)
    yield lambda: of_maps(map_size=1, num_maps=1)


@tries(at("vae_jax/networks/__init__.py", "_check_maps")("give map_size="))
def maps_that_an_image_does_not_have(folder, patch):
    message = yield attempt(of_maps, latent_dim=16, map_size=4, num_maps=1)
    size = int(re.search(r"give map_size=(\d+)", message)[1])
    yield lambda: of_maps(latent_dim=size**2, map_size=size, num_maps=1)
    network = re.search(r"network='(\w+)', which", message)[1]
    yield lambda: of_maps(network, latent_dim=16, map_size=4, num_maps=1)


@tries(at("vae_jax/networks/resnet.py", "build")("take mlp, or gru"))
def a_residual_network_without_images(folder, patch):
    options = {"latent_dim": 1, "likelihood": "bernoulli", "widths": (2,)}
    yield attempt(vae_jax.make_model, IMAGES[:, 0], network="resnet", **options)
    for network in ("mlp", "gru"):
        yield attempt(vae_jax.make_model, IMAGES[:, 0], network=network, **options)


@tries(at("vae_jax/networks/resnet.py", "build")("leave `activation`"))
def an_activation_of_a_residual_network(folder, patch):
    options = {"latent_dim": 1, "likelihood": "bernoulli", "network": "resnet"}
    yield attempt(vae_jax.make_model, IMAGES, activation="relu", **options)
    yield attempt(vae_jax.make_model, IMAGES, **options)


@tries(at("vae_jax/latents.py", "at_temperature")("leave sampling_temperature out, or take"))
def a_temperature_of_no_gaussian(folder, patch):
    asked = {"prior": "mixture", "sampling_temperature": "0.5"}
    message = yield attempt(config.from_flags, asked)
    yield lambda: config.from_flags({"prior": "mixture"})
    prior = re.search(r"take prior=(\w+)", message)[1]
    yield lambda: config.from_flags({**asked, "prior": prior})
    posterior = re.search(r"posterior=(\w+)", message)[1]
    yield lambda: config.from_flags({"posterior": posterior, "sampling_temperature": "0.5"})


@tries(at("vae_jax/lab/config.py", "_check_temperature")("leave one of them out"))
def a_temperature_of_a_sampler(folder, patch):
    asked = {"sampler": "gaussian", "sampling_temperature": "0.5"}
    yield attempt(config.from_flags, asked)
    for name, value in asked.items():
        yield lambda name=name, value=value: config.from_flags({name: value})


@tries(at("vae_jax/priors/transformer.py", "Transformer", "__post_init__")("give model_width="))
def heads_that_do_not_divide_the_width(folder, patch):
    message = yield attempt(priors.Transformer, num_heads=3)
    width = int(re.search(r"give model_width=(\d+)", message)[1])
    yield lambda: priors.Transformer(num_heads=3, model_width=width)


@tries(at("vae_jax/evaluation/__init__.py", "_of_kind")("must be words: give one, or several with"))
def a_setting_of_a_metric_that_is_no_word(folder, patch):
    model = vae_jax.make_model(CODES, latent_dim=1, likelihood="gaussian", network="linear")
    trained = vae_jax.Trained(model, model.init(KEY))

    def measured(split):
        settings = {"exact": {"split": split}}
        return vae_jax.evaluate(trained, "exact", data=CODES, settings=settings)

    yield attempt(measured, 3)
    yield lambda: measured("test")


@tries(at("vae_jax/evaluation/feature_spaces.py", "classifier")("choose space=pca or pixels"))
def a_classifier_of_one_class(folder, patch):
    yield attempt(feature_spaces.classifier, CODES, np.zeros(len(CODES), int))
    for name in ("pca", "pixels"):
        yield attempt(samples._space(name, None, CODES, None).features, CODES)


@tries(at("vae_jax/evaluation/samples.py", "_space")("choose space=pca, pixels or codes"))
def a_classifier_of_no_labels(folder, patch):
    yield attempt(samples._space, "classifier", None, CODES, None)
    subject = types.SimpleNamespace(require_continuous=str, model=None, latent_dim=2)
    for name in ("pca", "pixels", "codes"):
        yield attempt(samples._space, name, subject, CODES, None)


@tries(at("vae_jax/evaluation/two_samples.py", "_require_alike")("many: take … of each"))
def samples_of_different_sizes(folder, patch):
    message = yield attempt(two_samples.frechet_distance, CODES, CODES[:20])
    num = int(re.search(r"take (\d+) of each", message)[1])
    yield attempt(two_samples.frechet_distance, CODES[:num], CODES[:20])
