"""The learning rate: so large that the loss jumps, or 0 for most of the training."""

import itertools
import math

__all__ = ["ERRORS", "JUMPS", "VANISHED", "find"]

ERRORS = 5.0
"""A jump of the training loss, in standard errors of its mean over an epoch (a scalar)."""
JUMPS = 0.05
"""The share of the epochs (a scalar) in which the loss may jump."""
VANISHED = 1e-3
"""A learning rate below this share (a scalar) of the largest one no longer trains."""


def find(evidence):
    """Whether the training loss jumps up in many epochs, or most epochs have no learning rate.

    Args:
        evidence: of a run, [epochs] of losses and learning rates.
    """
    rates, losses = evidence.column("learning_rate"), evidence.losses("train")
    if len(rates) < 5 or len(losses) != len(rates):
        return None
    largest, num = max(rates), len(rates)
    at_rest = sum(rate < VANISHED * largest for rate in rates)
    if at_rest > num / 2:
        told = f"of {num} epochs {at_rest} had a learning rate below {VANISHED:g} of the largest"
        return told, f"take learning_rate='cosine({largest:.2g}, 0, 100%)'"
    least = ERRORS * _error_of_epoch(evidence)
    jumps = sum(b - a > least for a, b in itertools.pairwise(losses))
    if jumps <= JUMPS * num or jumps < 3:
        return None
    told = f"the training loss jumped up by more than {least:.2g} nats in {jumps} of {num} epochs"
    return told, f"take learning_rate={largest / 10:.1g}"


def _error_of_epoch(evidence) -> float:
    """The standard error of the mean loss of an epoch in nats, from that of the test split."""
    num_test = evidence.number("num_examples") or 1
    return evidence.error() * math.sqrt(num_test / evidence.num_train)
