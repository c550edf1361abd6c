"""A learned variance at its bound: some values are known exactly, and the ELBO has no maximum."""

from vae_jax.distributions import LOGVAR_BOUND

__all__ = ["SHARE", "find"]

SHARE = 0.6
"""The share of `LOGVAR_BOUND` (a scalar) from which on a log variance is on its way to it."""


def find(evidence):
    """Whether a learned log variance of p(x|z) is near ±`LOGVAR_BOUND`.

    Args:
        evidence: of a run with a learned variance, a scalar or one of each number of x [*shape].

    Reference:
        Mattei & Frellsen 2018, Leveraging the exact likelihood of deep latent variable models,
        arXiv 1802.04826, section 2 (the likelihood of a Gaussian decoder is unbounded).
    """
    if evidence.log_variances is None:
        return None
    low, high = evidence.log_variances
    far = max(low, high, key=abs)
    if abs(far) < SHARE * LOGVAR_BOUND:
        return None
    told = f"a log variance of p(x|z) is {far:.1f}, clamped at ±{LOGVAR_BOUND:g}"
    if evidence.settings.get("variance") == "learned_per_dimension":
        return told, "take variance=learned, or leave out columns that never change"
    return told, "take variance=0.001"
