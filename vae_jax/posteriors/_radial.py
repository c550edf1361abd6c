"""Densities of one number that are known up to a constant: their integral, moments and draws.

All functions are of scalars, for `jax.vmap`. The density is a function of its logarithm and of an
interval outside of which there is no mass to speak of. Gauss–Legendre quadrature on panels of the
interval is exact to float32 if a panel is about half a standard deviation wide.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["REACH", "Table", "draw", "tabulate", "uniform"]

REACH = 9.0
"""Half the width of an interval in standard deviations, a scalar: beyond is less than 1e-8."""

_NUM_PANELS = 32
_NODES, _WEIGHTS = (np.float32(a) for a in np.polynomial.legendre.leggauss(4))
_NODES, _WEIGHTS = 0.5 + 0.5 * _NODES, 0.5 * _WEIGHTS  # of [0, 1]
_NUM_NEWTON = 8
_LEAST = 1e-6


class Table(NamedTuple):
    """The integral of a density, panel by panel.

    Attributes:
        low, width: start of the interval, and width of a panel, scalars.
        nodes: where the density is known, [panels, 4].
        shares: mass at each node, relative to exp(top), [panels, 4].
        top: the largest log-density at a node, a scalar.
    """

    low: jax.Array
    width: jax.Array
    nodes: jax.Array
    shares: jax.Array
    top: jax.Array

    @property
    def log_mass(self) -> jax.Array:
        """log ∫ exp(log_density), a scalar, or an array from a table of each example."""
        return self.top + jnp.log(jnp.sum(self.shares, axis=(-2, -1)))

    def mean_of(self, values: jax.Array) -> jax.Array:
        """The mean of a function whose values at the nodes, [panels, 4], are given; a scalar."""
        return jnp.sum(self.shares * values) / jnp.sum(self.shares)


def tabulate(log_density: Callable, params: Any, low: jax.Array, high: jax.Array) -> Table:
    """Integrates exp(log_density) from `low` to `high`.

    Args:
        log_density: (numbers of any shape inside the interval, params) to the same shape, smooth.
        params: a pytree of scalars.
        low, high: the interval, scalars; its ends have no gradient.
    """
    low = jax.lax.stop_gradient(low)
    width = jax.lax.stop_gradient(high - low) / _NUM_PANELS
    place = np.arange(_NUM_PANELS, dtype=np.float32)[:, None] + _NODES[None, :]
    nodes = low + width * place
    logs = log_density(nodes, params)
    top = jax.lax.stop_gradient(jnp.max(logs))
    shares = width * _WEIGHTS[None, :] * jnp.exp(logs - top)
    return Table(low, width, nodes, shares, top)


def draw(log_density: Callable, params: Any, table: Table, level: jax.Array) -> jax.Array:
    """The quantile of a level, with the derivative that leaves the level as it is.

    With F the distribution function and p the density, dr/dκ = −(∂F/∂κ) / p(r). So a mean over
    uniform levels has an unbiased gradient in the parameters. Levels above ½ are integrated from
    the other end, so both tails are exact. Only first derivatives are right.

    Args:
        log_density, params: as in `tabulate`.
        table: its result.
        level: number in (0, 1), a scalar; without a gradient.

    Returns:
        r, a scalar.

    Reference:
        Figurnov et al. 2018, Implicit Reparameterization Gradients, arXiv 1805.08498, equation 6.
    """
    is_upper = level > 0.5
    level = jnp.where(is_upper, 1.0 - level, level)  # from the end that is nearer
    sign = jnp.where(is_upper, -1.0, 1.0)

    def below(table):
        """The mass before each panel, and all of it: [panels + 1]."""
        masses = jnp.sum(table.shares, axis=1)
        masses = jnp.where(is_upper, masses[::-1], masses)
        return jnp.concatenate([jnp.zeros(1), jnp.cumsum(masses)])

    fixed, held = jax.lax.stop_gradient((params, table))
    known = below(held)
    wanted = level * known[-1]
    panel = jnp.minimum(jnp.sum(known[1:] < wanted), _NUM_PANELS - 1)
    edge = jnp.where(is_upper, _NUM_PANELS - panel, panel).astype(jnp.float32)
    start = table.low + table.width * edge

    def density(share, params):
        place = start + sign * table.width * share
        return table.width * jnp.exp(log_density(place, params) - table.top)

    def mass(share, params):
        return share * jnp.sum(_WEIGHTS * density(share * _NODES, params))

    def improve(_, share):
        slope = jnp.maximum(density(share, fixed), jnp.finfo(jnp.float32).tiny)
        missing = wanted - known[panel] - mass(share, fixed)
        return jnp.clip(share + missing / slope, _LEAST, 1.0)

    guess = (wanted - known[panel]) / (known[panel + 1] - known[panel])
    share = jax.lax.fori_loop(0, _NUM_NEWTON, improve, jnp.clip(guess, _LEAST, 1.0))
    own = below(table)
    found = (own[panel] + mass(share, params)) / own[-1]
    # 0, with the gradient of F
    change = (found - jax.lax.stop_gradient(found)) * known[-1] / density(share, fixed)
    return start + sign * table.width * (share - change)


def uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Levels for `draw` in (0, 1), at the centers of 2²³ cells; of any shape."""
    return jax.random.uniform(key, shape) + jnp.float32(2.0**-24)
