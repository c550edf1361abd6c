"""Log-gamma functions in differences that keep their digits in float32.

log Γ of a large number is large, and differences of such terms lose all digits. Two functions hold
what is left when the large parts cancel: with L(x) = x log x − x − log Γ(x + 1) and
D(x, y) = x log(x/y) + y − x, a Poisson probability is exp(L(x) − D(x, λ)).

Reference: Loader 2000, Fast and accurate computation of binomial probabilities.
"""

import math

import jax
import jax.numpy as jnp

__all__ = ["deviance", "stirling"]

_FEW = 8.0
"""From here on, the series of Stirling is exact in float32."""
_NEAR = 0.3
"""Up to this, the series of eᵗ − 1 − t is exact in float32."""


def stirling(x: jax.Array) -> jax.Array:
    """L(x) = x log x − x − log Γ(x + 1), with L(0) = 0.

    For large x it is −½ log 2πx − 1/(12 x) + …

    Args:
        x: values ≥ 0, any shape.

    Returns:
        The same shape.

    Reference:
        NIST Digital Library of Mathematical Functions, eq. 5.11.1.
    """
    is_few = x < _FEW
    few = jnp.where(is_few & (x > 0), x, 1.0)
    many = jnp.where(is_few, _FEW, x)
    inverse = 1.0 / many
    square = inverse * inverse
    # log Γ(x + 1) = x log x − x + ½ log 2πx + 1/(12 x) − 1/(360 x³) + 1/(1260 x⁵)
    series = inverse * (1 / 12 - square * (1 / 360 - square / 1260))
    of_many = -0.5 * (math.log(2 * math.pi) + jnp.log(many)) - series
    of_few = few * jnp.log(few) - few - jax.lax.lgamma(few + 1.0)
    return jnp.where(is_few, jnp.where(x > 0, of_few, 0.0), of_many)


def deviance(x: jax.Array, y: jax.Array, log_ratio: jax.Array) -> jax.Array:
    """D(x, y) = x log(x/y) + y − x, at least 0, with D(0, y) = y.

    Args:
        x: values ≥ 0, any shape.
        y: values ≥ 0, the same shape.
        log_ratio: log(y/x), the same shape; not used if x = 0.

    Returns:
        The same shape.
    """
    log_ratio = jnp.where(x > 0, log_ratio, 1.0)
    is_near = jnp.abs(log_ratio) < _NEAR
    t = jnp.where(is_near, log_ratio, 0.0)
    # D = x (eᵗ − 1 − t), t = log(y/x)
    series = 1 / 2 + t * (1 / 6 + t * (1 / 24 + t * (1 / 120 + t * (1 / 720 + t / 5040))))
    return jnp.where(is_near, x * t * t * series, y - x - x * log_ratio)
