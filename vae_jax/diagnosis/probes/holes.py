"""Holes between aggregate posterior and prior: samples worse than reconstructions."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.evaluation.latent_neighbours import nearest_distance
from vae_jax.evaluation.subject import NotApplicableError

__all__ = ["NUM", "RATIO", "SHARE", "find", "measure"]

NUM = 500
"""Draws of each kind, a count."""
SHARE, RATIO = 0.6, 2.0
"""The share of draws (a scalar) that may be farther than 95 % of reconstructions, and how many
times as far (a scalar) they may be on average. Of codes of a codebook only the share counts: many
test rows have the very code of a training row, and are no distance from it."""


def measure(subject) -> dict[str, float]:
    """How far decoded draws of p(z) are from reconstructions, beside other reconstructions.

    The distance of a decoded code is that to the nearest reconstruction of a training row. For
    codes of test rows it has a distribution; for draws of p(z) it would have the same if the
    aggregate posterior were the prior.

    Args:
        subject: a `vae_jax.evaluation.subject.Subject`, rows [N, *shape].

    Returns:
        "far", the share of draws beyond 95 % of the reconstructions of test rows (5 % if equal);
        "ratio", of the two mean distances; scalars.

    Raises:
        NotApplicableError: the model has no prior, is conditional, or its rows have no distances.

    Reference:
        Rosca et al. 2018, Distribution matching in variational inference, arXiv 1802.06847, section
        4 (samples of the prior beside reconstructions).
    """
    if not subject.model.latent.has_prior:
        raise NotApplicableError("the code has no prior to draw from")
    decode = jax.jit(subject.decode_mean)
    keys = jax.random.split(jax.random.fold_in(subject.key, zlib.crc32(b"holes")), 3)
    near = decode(_codes(subject, "train", keys[0], 2 * NUM))
    of_test = nearest_distance(near, decode(_codes(subject, "test", keys[1], NUM)))
    of_prior = nearest_distance(near, decode(subject.prior.sample(keys[2], NUM)))
    of_test, of_prior = np.float64(of_test), np.float64(of_prior)
    return {
        "far": float(np.mean(of_prior > np.quantile(of_test, 0.95))),
        "ratio": float(of_prior.mean() / max(of_test.mean(), 1e-12)),
    }


def _codes(subject, split: str, key: jax.Array, num: int) -> jax.Array:
    """One draw of q(z|x) for each of at most `num` rows of a split, [N, L]."""

    def draw(params, stored, positions):
        own_key = jax.random.fold_in(key, positions[0])
        x = subject.inputs(stored, positions)
        return subject.given(params, stored, x).encode(params, x).sample(own_key)

    return jnp.asarray(subject.over(draw, split, num_examples=num)[:, : subject.latent_dim])


def find(evidence):
    """Whether draws of p(z) decode to where no reconstruction is: beyond `SHARE` or `RATIO`.

    Args:
        evidence: of a run whose `measured["holes"]` has scalars.
    """
    found = evidence.measured.get("holes")
    is_discrete = evidence.num_codes is not None
    if found is None or (found["far"] <= SHARE and (is_discrete or found["ratio"] <= RATIO)):
        return None
    told = (
        f"{found['far']:.0%} of decoded draws of p(z) are farther from reconstructions than 95 % "
        f"of reconstructions of test rows are, {found['ratio']:.2g} times as far on average"
    )
    beta = evidence.last("beta")
    if beta is not None and beta < 1:
        return told, "take beta=1"
    if evidence.last("variance") is not None:
        return told, "take variance=learned"
    if is_discrete:
        return told, "take prior=transformer"
    return told, "take prior=mixture, or a larger `beta`"
