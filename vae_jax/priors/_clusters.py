"""k-means of the codes of a batch, from which the components of a mixture start."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from vae_jax import losses

__all__ = ["Clusters", "k_means"]

_NUM_STARTS = 10
_NUM_MOVES = 10
_LEAST_SHARE = 0.01
"""Of the variance of all points, so that as many clusters as points have one, too."""
_TINY = 1e-30
"""Added to squared distances, so that points can be drawn even if each is a center already."""


class Clusters(NamedTuple):
    """Clusters of points.

    Attributes:
        centers: [K, L].
        shares: of the points in each cluster, [K], positive: each cluster has one point more.
        variance: of the points around their centers, [L]; at least 1 % of that of all points.
    """

    centers: jax.Array
    shares: jax.Array
    variance: jax.Array


def k_means(key: jax.Array, points: jax.Array, weights: jax.Array, num_clusters: int) -> Clusters:
    """Lloyd's algorithm from centers by k-means++, the best of several starts by its own criterion.

    Args:
        key: PRNG key, scalar.
        points: [N, L].
        weights: 0 for points that do not count, else 1, [N].
        num_clusters: K, a count.

    Reference:
        Arthur & Vassilvitskii 2007, k-means++: the advantages of careful seeding.
    """

    num = jnp.sum(weights)
    middle = jnp.matmul(weights, points, precision="highest") / num
    points = points - middle[None]

    def start(own_key):
        first = _far_apart(own_key, points, weights, num_clusters)
        return jax.lax.fori_loop(0, _NUM_MOVES, lambda _, c: _moved(points, weights, c), first)

    every = jax.vmap(start)(jax.random.split(key, _NUM_STARTS))
    errors = jax.vmap(lambda centers: jnp.sum(_errors(points, weights, centers)))(every)
    centers = every[jnp.argmin(errors)]
    counts = losses.code_counts(losses.nearest_codes(points, centers), num_clusters, weights)
    within = jnp.sum(_errors(points, weights, centers), axis=0) / num
    least = _LEAST_SHARE * jnp.matmul(weights, jnp.square(points), precision="highest") / num
    shares = (counts + 1.0) / (num + num_clusters)
    return Clusters(centers + middle[None], shares, jnp.maximum(within, least))


def _far_apart(key, points, weights, num: int) -> jax.Array:
    """Points as centers [K, L], each drawn by its squared distance from those before it."""
    keys = jax.random.split(key, num)

    def drawn(own_key, chances):
        return points[jax.random.categorical(own_key, jnp.log(weights * chances))]

    first = drawn(keys[0], jnp.ones_like(weights))

    def add(index, centers):
        # those that are not chosen yet repeat the first, which adds no distance
        apart = jnp.square(points[:, None, :] - centers[None, :, :]).sum(axis=2)
        return centers.at[index].set(drawn(keys[index], apart.min(axis=1) + _TINY))

    return jax.lax.fori_loop(1, num, add, jnp.broadcast_to(first[None], (num, len(first))))


def _moved(points, weights, centers) -> jax.Array:
    """The mean of the points nearest to each center, [K, L]; one without points stays."""
    nearest = losses.nearest_codes(points, centers)
    own = jax.nn.one_hot(nearest, len(centers)) * weights[:, None]
    counts = own.sum(axis=0)[:, None]
    totals = jnp.matmul(own.T, points, precision="highest")
    return jnp.where(counts > 0, totals / jnp.maximum(counts, 1.0), centers)


def _errors(points, weights, centers) -> jax.Array:
    """The squared distances of points from their centers by dimension, 0 without weight: [N, L]."""
    nearest = losses.nearest_codes(points, centers)
    return jnp.square(points - centers[nearest]) * weights[:, None]
