"""What is said of priors that do not fit: flags, latents, conditions, pseudo-inputs."""

import re

import jax
import jax.numpy as jnp

from vae_jax import assembly, priors, rates
from vae_jax.distributions import DiagonalGaussian
from vae_jax.lab import config

from ._cases import at, attempt, tries

KEY, SHAPE = jax.random.key(0), (4,)
MODEL = "vae_jax/model.py"
SIZES = priors.Sizes(3, None, SHAPE)


def made(prior, objective="beta_vae", data=SHAPE, **settings):
    """A model of a shape, or of arrays, with a prior."""
    given = {"likelihood": "gaussian", "latent_dim": 4, "objective": objective, **settings}
    return assembly.make_model(data, prior=prior, **given)


def prior_named(message):
    """The prior that a message says to take."""
    return re.search(r"prior='?(\w+)'?$", message)[1]


@tries(at("vae_jax/lab/config.py", "_misplaced")("give … too, or leave it out"))
def a_setting_of_a_prior_that_is_not_given(folder, patch):
    asked = {"num_components": "3"}
    message = yield attempt(config.from_flags, asked)
    for prior in re.findall(r"prior=(\w+)", message.partition("give")[2]):
        yield lambda prior=prior: config.from_flags({**asked, "prior": prior})
    yield lambda: config.from_flags({})


@tries(at("vae_jax/latents.py", "Latent", "check_prior")("leave prior out, or take an objective"))
def a_prior_of_codes_that_are_not_gaussian(folder, patch):
    message = yield attempt(made, "mixture", "vq_vae", code_dim=2)
    yield lambda: made(None, "vq_vae", code_dim=2)
    yield lambda: made("mixture", re.search(r"such as (\w+)", message)[1])


@tries(at(MODEL, "Model", "check_prior")("encodes examples without a condition"))
def pseudo_inputs_of_a_conditional_model(folder, patch):
    data = {"x": jnp.zeros((6, 4)), "labels": [0, 1, 2, 0, 1, 2]}
    message = yield attempt(made, "vamp", "cvae", data)
    yield lambda: made(prior_named(message), "cvae", data)


@tries(at(MODEL, "Model", "check_prior")("its pseudo-inputs are numbers of one length"))
def pseudo_inputs_of_text(folder, patch):
    text = {"data": (4, 5), "likelihood": "text", "network": "gru"}
    message = yield attempt(made, "vamp", **text)
    yield lambda: made(prior_named(message), **text)


@tries(at("vae_jax/priors/vamp.py", "Vamp", "init")("give model.init(key, examples)"))
def pseudo_inputs_without_training_rows(folder, patch):
    model = made(priors.Vamp(2))
    message = yield attempt(model.init, KEY)
    shape = [int(n) for n in re.search(r"shape \[([\d, ]+)\]", message)[1].split(",")]
    yield lambda: jax.eval_shape(model.init, KEY, jnp.zeros(shape))


@tries(at("vae_jax/rates.py", "per_dim")("leave free_bits out, or take prior=normal"))
def rates_of_dimensions_that_are_only_known_jointly(folder, patch):
    posterior = DiagonalGaussian(*jnp.zeros((2, 2, 3)))
    z = posterior.sample(KEY)

    def density(name):
        prior = priors.make(name, **({"num_flows": 1, "flow_width": 8} if name == "maf" else {}))
        return prior.of(prior.init(KEY, SIZES), 3)

    message = yield attempt(rates.per_dim, posterior, density("maf"), z)
    yield lambda: rates.rate(posterior, density("maf"), z)
    for name in re.findall(r"prior=(\w+)", message):
        yield lambda name=name: rates.per_dim(posterior, density(name), z)


@tries(
    at("vae_jax/phases.py", "require_learned")("leave prior_phase out, or give the model one, such")
)
def phases_of_a_prior_that_is_not_learned(folder, patch):
    asked = {"prior_phase": "1"}
    message = yield attempt(config.from_flags, asked)
    yield lambda: config.from_flags({})
    prior = re.search(r"such as prior=(\w+)", message)[1]
    yield lambda: config.from_flags({**asked, "prior": prior})


@tries(at("vae_jax/priors/mixture.py", "Mixture", "at_codes")("give batch_size=… or more"))
def more_components_than_codes_of_a_batch(folder, patch):
    prior = priors.Mixture(5)
    z = jax.random.normal(KEY, (9, 2))
    message = yield attempt(prior.at_codes, KEY, {}, z[:4], jnp.ones(4))
    num = int(re.search(r"batch_size=(\d+)", message)[1])
    yield lambda: jax.eval_shape(prior.at_codes, KEY, {}, z[:num], jnp.ones(num))
    # without phases there is no batch to start from
    yield lambda: jax.eval_shape(made(prior).init, KEY)


@tries(at("vae_jax/families.py", "Family", "make")("has its own settings: leave out …"))
def settings_beside_a_prior(folder, patch):
    message = yield attempt(priors.make, priors.Mixture(3), num_components=4)
    assert message.endswith("leave out num_components")
    yield lambda: priors.make(priors.Mixture(3))
