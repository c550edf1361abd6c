"""What is said of posteriors that do not fit: latents, priors, sizes, objectives."""

import re

import jax
import jax.numpy as jnp

from vae_jax import assembly, objectives, posteriors, priors, rates
from vae_jax.distributions import DiagonalGaussian

from ._cases import at, attempt, tries

KEY, SHAPE, N = jax.random.key(0), (4,), 6


def made(posterior, objective="beta_vae", data=SHAPE, **settings):
    """A model of a shape, or of arrays, with a posterior."""
    given = {"likelihood": "gaussian", "latent_dim": 4, "objective": objective, **settings}
    return assembly.make_model(data, posterior=posterior, **given)


def posterior_named(message):
    """The posterior that a message says to take."""
    return re.search(r"posterior='?(\w+)'?$", message)[1]


def trace(posterior, objective, data=SHAPE):
    """Traces the loss of an objective."""
    model, bound = made(posterior, objective, data), objectives.bind(objective, num_examples=N)

    def loss():
        x = jnp.zeros((N, 4))
        batch = {"x": x, "mask": jnp.ones(N)}
        params = model.init(KEY)
        if bound.beside is not None:
            batch |= {n: jnp.asarray(v) for n, v in bound.beside(model, data).items() if n != "x"}
        if bound.init is not None:
            params["objective"] = bound.init(model, KEY)
        return bound(model, params, batch, KEY)[0]

    return jax.eval_shape(loss)


@tries(at("vae_jax/posteriors/__init__.py", "instead_of")("leave posterior out, or take an objec"))
def a_posterior_of_codes_that_are_not_gaussian(folder, patch):
    message = yield attempt(made, "full", "vq_vae", code_dim=2)
    yield lambda: made(None, "vq_vae", code_dim=2)
    yield lambda: made("full", re.search(r"such as (\w+)", message)[1])


POSTERIOR = "vae_jax/posteriors/_posterior.py"


@tries(at(POSTERIOR, "Posterior", "check_prior")("must be Gaussians with independent dimensions"))
def pseudo_inputs_under_another_posterior(folder, patch):
    message = yield attempt(made, "full", prior=priors.Vamp(2))
    yield lambda: made(None, prior=priors.Vamp(2))
    yield lambda: made("full", prior=re.search(r"prior='(\w+)'$", message)[1])


@tries(at(POSTERIOR, "Posterior", "check_prior")("leave prior or posterior out"))
def a_prior_beside_that_of_a_sphere(folder, patch):
    yield attempt(made, "vmf", prior="mixture")
    yield lambda: made("vmf")
    yield lambda: made(None, prior="mixture")


@tries(at(POSTERIOR, "Posterior", "check_prior")("posterior out and take an objective with quan"))
def a_prior_of_quantized_codes_beside_a_posterior(folder, patch):
    message = yield attempt(made, "full", prior="transformer")
    yield lambda: made("full")
    objective = re.search(r"such as (\w+)$", message)[1]
    yield lambda: made(None, objective, prior="transformer", code_dim=2)


@tries(at("vae_jax/posteriors/_sphere.py", "Sphere", "check")("give latent_dim=2 or more"))
def a_sphere_of_one_dimension(folder, patch):
    message = yield attempt(made, "vmf", latent_dim=1)
    yield lambda: made("vmf", latent_dim=int(re.search(r"give latent_dim=(\d+)", message)[1]))
    yield lambda: made(None, latent_dim=1)


@tries(at("vae_jax/posteriors/poincare.py", "Poincare", "check")("or less, or leave posterior out"))
def a_ball_of_too_many_dimensions(folder, patch):
    posterior = posteriors.Poincare("riemannian")
    message = yield attempt(made, posterior, latent_dim=9)
    yield lambda: made(posterior, latent_dim=int(re.search(r"give latent_dim=(\d+)", message)[1]))
    yield lambda: made(None, latent_dim=9)


@tries(at("vae_jax/rates.py", "require_gaussian")("leave posterior out, or take another objec"))
def an_objective_of_gaussians_with_another_posterior(folder, patch):
    yield attempt(trace, "full", "dip_vae_i")
    yield lambda: trace(None, "dip_vae_i")
    yield lambda: trace("full", "info_vae")


@tries(at("vae_jax/rates.py", "per_dim")("leave free_bits out, or leave posterior out"))
def rates_of_dimensions_of_a_joint_posterior(folder, patch):
    base, prior = DiagonalGaussian(*jnp.zeros((2, 2, 3))), DiagonalGaussian(*jnp.zeros((2, 3)))
    turned = posteriors.Householder(1).posterior({}, [*base, jnp.ones((2, 3))])
    z = turned.sample(KEY)
    yield attempt(rates.per_dim, turned, prior, z)
    yield lambda: rates.rate(turned, prior, z)
    yield lambda: rates.per_dim(base, prior, z)


@tries(at("vae_jax/objectives/m2.py", "_by_class")("leave posterior out, or take posterior=full"))
def a_flow_of_codes_for_each_class(folder, patch):
    data = {"x": jnp.zeros((N, 4)), "labels": [0, 1, 2, 0, 1, 2]}
    flow = posteriors.IAF(num_steps=1, step_width=4)
    message = yield attempt(trace, flow, "m2", data)
    yield lambda: trace(None, "m2", data)
    yield lambda: trace(posterior_named(message), "m2", data)
