"""Restricted Boltzmann machines: free energy, Gibbs chain, contrastive divergence.

p(v, h) ∝ exp(a·v + b·h + vᵀW h) μ(v) μ(h) over visible units v [V] and hidden units h [H], W [V,
H]. The measure μ defines the kind of a unit, by name: "bernoulli", 0 or 1, whose mean is a sigmoid;
"spin", −1 or 1, whose mean is a tanh; "gaussian", any number, μ(h) = exp(−h²/2), whose mean is
linear. So given v the hidden units are independent, with natural parameters b + vW; likewise v
given h.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from vae_jax import losses
from vae_jax.errors import unknown

__all__ = ["UNITS", "Unit", "contrastive_divergence", "free_energy", "gibbs_chain"]


class Unit(NamedTuple):
    """A kind of unit, as functions of its natural parameter η, arrays of any shape.

    Attributes:
        mean: E[h] under p(h) ∝ exp(η h) μ(h).
        log_partition: log ∫ exp(η h) μ(dh).
        sample: (key, η) to one draw per element.
    """

    mean: Callable
    log_partition: Callable
    sample: Callable


def _bernoulli(key, eta):
    return jax.random.bernoulli(key, jax.nn.sigmoid(eta)).astype(eta.dtype)


UNITS: dict[str, Unit] = {
    "bernoulli": Unit(jax.nn.sigmoid, jax.nn.softplus, _bernoulli),
    "spin": Unit(
        jnp.tanh,
        lambda eta: jnp.logaddexp(eta, -eta),
        lambda key, eta: 2.0 * _bernoulli(key, 2.0 * eta) - 1.0,
    ),
    "gaussian": Unit(
        lambda eta: eta,
        lambda eta: 0.5 * jnp.square(eta) + 0.5 * jnp.log(2.0 * jnp.pi),
        lambda key, eta: eta + jax.random.normal(key, eta.shape, eta.dtype),
    ),
}
"""Kinds of units by name, each elementwise, shape in = shape out."""


def _unit(name: str) -> Unit:
    if name not in UNITS:
        raise unknown("unit", name, UNITS)
    return UNITS[name]


def free_energy(
    v: jax.Array,
    kernel: jax.Array,
    visible_bias: jax.Array,
    hidden_bias: jax.Array,
    *,
    hidden: str = "bernoulli",
) -> jax.Array:
    """The free energy of v: minus the log of the unnormalized p(v), hidden units summed out.

    F(v) = −a·v − Σ_j log ∫ exp((b + vW)_j h) μ(dh), so p(v) ∝ exp(−F(v)) μ(v)

    Args:
        v: [B, V].
        kernel: W, [V, H].
        visible_bias: a, [V].
        hidden_bias: b, [H].
        hidden: the kind of hidden units, one of `UNITS`.

    Returns:
        [B], in nats up to a constant.

    Raises:
        UsageError: there is no such kind of unit.

    Reference:
        Hinton 2010, A practical guide to training restricted Boltzmann machines, section 16.1.
    """
    chex.assert_rank([v, kernel, visible_bias, hidden_bias], [2, 2, 1, 1])
    eta = v @ kernel + hidden_bias[None]
    return -v @ visible_bias - losses.sum_event(_unit(hidden).log_partition(eta))


def gibbs_chain(
    key: jax.Array,
    v: jax.Array,
    kernel: jax.Array,
    visible_bias: jax.Array,
    hidden_bias: jax.Array,
    *,
    num_steps: int = 1,
    visible: str = "bernoulli",
    hidden: str = "bernoulli",
) -> jax.Array:
    """Visible units after k steps of Gibbs sampling; the last is a mean: E[v_k | h_{k−1}].

    h_t ~ p(h | v_t), v_{t+1} ~ p(v | h_t)

    Args:
        key: PRNG key.
        v: the start of the chain, [B, V].
        kernel: W, [V, H].
        visible_bias: a, [V].
        hidden_bias: b, [H].
        num_steps: k, a count.
        visible, hidden: the kinds of units, of `UNITS`.

    Returns:
        [B, V].

    Raises:
        UsageError: there is no such kind of unit.

    Reference:
        Hinton 2010, A practical guide to training restricted Boltzmann machines, sections 3.1 and
        3.2.
    """
    chex.assert_rank([v, kernel, visible_bias, hidden_bias], [2, 2, 1, 1])
    above, below = _unit(hidden), _unit(visible)

    def from_hidden(key, v):
        h = above.sample(key, v @ kernel + hidden_bias[None])
        return h @ kernel.T + visible_bias[None]

    def step(i, v):
        hidden_key, visible_key = jax.random.split(jax.random.fold_in(key, i))
        return below.sample(visible_key, from_hidden(hidden_key, v))

    v = jax.lax.fori_loop(0, num_steps - 1, step, v)
    return below.mean(from_hidden(jax.random.fold_in(key, num_steps - 1), v))


def contrastive_divergence(
    key: jax.Array,
    v: jax.Array,
    kernel: jax.Array,
    visible_bias: jax.Array,
    hidden_bias: jax.Array,
    *,
    num_steps: int = 1,
    visible: str = "bernoulli",
    hidden: str = "bernoulli",
) -> jax.Array:
    """A surrogate loss with the gradient of contrastive divergence, CD-k, to be minimized.

    F(v) − F(sg[v_k]), sg = stop gradient: ∂/∂W = −(vᵀ E[h|v] − v_kᵀ E[h|v_k])

    Args:
        key: PRNG key, for the chain.
        v: data, [B, V].
        kernel: W, [V, H].
        visible_bias: a, [V].
        hidden_bias: b, [H].
        num_steps: k, a count.
        visible, hidden: the kinds of units, of `UNITS`.

    Returns:
        [B], a difference of free energies in nats: near 0 if chains stay near the data. It does not
        measure how well the machine fits.

    Raises:
        UsageError: there is no such kind of unit.

    Reference:
        Hinton 2002, Training products of experts by minimizing contrastive divergence, Neural
        Computation 14, section 4.
    """
    machine = kernel, visible_bias, hidden_bias
    options = {"num_steps": num_steps, "visible": visible, "hidden": hidden}
    fantasy = jax.lax.stop_gradient(gibbs_chain(key, v, *machine, **options))
    both = (free_energy(each, *machine, hidden=hidden) for each in (v, fantasy))
    return next(both) - next(both)
