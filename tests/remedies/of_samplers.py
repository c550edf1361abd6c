"""What is said of samplers, layers of codes, priors of codes and settings of metrics."""

import re

import jax
import numpy as np

import vae_jax
from vae_jax import posteriors, priors, samplers

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
