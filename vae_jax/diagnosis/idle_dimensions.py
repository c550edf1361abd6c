"""Dimensions that carry nothing, and the latent size that would do."""

import numpy as np

from vae_jax.evaluation.elbo import COLLAPSE_RATE, carrying, effective_number

__all__ = ["KEPT", "SHARE", "find"]

KEPT = 0.99
"""The share of the rate (a scalar) that a smaller code has to carry."""
SHARE = 0.25
"""The share of the dimensions (a scalar) that may carry the rest of the rate."""


def find(evidence):
    """Whether more than `SHARE` of the dimensions together carry less than 1 − `KEPT` of the rate.

    Args:
        evidence: of a run, with the rates [L] of its dimensions.

    Reference:
        Hill 1973, Diversity and evenness, for the effective number, beside the count of Burda et
        al. 2015, arXiv 1509.00519, section 5.2.
    """
    rates, active = evidence.rates(), evidence.number("active_units")
    if rates is None or active is None or sum(rates) < COLLAPSE_RATE:
        return None
    num, share = carrying(rates, KEPT)
    if len(rates) - num <= SHARE * len(rates):
        return None
    effective = float(effective_number(np.float32(rates)))
    told = (
        f"{len(rates) - num} of {len(rates)} dimensions carry {1 - share:.1%} of the rate "
        f"(effective number {effective:.1f}; {active:.0f} pass Burda's criterion)"
    )
    beta = evidence.last("beta")
    more = "" if beta is None or beta <= 1 else ", or a smaller `beta` to use more of them"
    return told, f"take latent_dim={num}{more}"
