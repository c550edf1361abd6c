"""Under-training: the loss still falls at the end."""

import itertools

__all__ = ["ERRORS", "SHARE", "SLOW", "STEADY_ERRORS", "find", "longer"]

ERRORS = 2.0
"""The fall over the second half, in standard errors of the test loss (a scalar)."""
STEADY_ERRORS, SHARE = 1.0, 0.9
"""The same if the loss falls in at least this share of the epochs of the second half (scalars)."""
SLOW = 3e-4
"""A learning rate that never exceeds this (a scalar) is slow for Adam."""


def find(evidence):
    """Whether the second half of the epochs still lowered the loss by more than `ERRORS`.

    Args:
        evidence: of a run, [epochs] of losses.
    """
    losses = evidence.losses()
    if len(losses) < 4:
        return None
    half = losses[len(losses) // 2 :]
    fall, num = half[0] - half[-1], len(half) - 1
    is_steady = sum(b < a for a, b in itertools.pairwise(half)) >= SHARE * num and num > 10
    if fall < (STEADY_ERRORS if is_steady else ERRORS) * evidence.error():
        return None
    told = f"the second half of {len(losses)} epochs lowered the loss by {fall:.3g} nats"
    return told, longer(evidence, 2)


def longer(evidence, factor: int) -> str:
    """What trains more: a larger learning rate if it is small, otherwise more epochs, as text.

    Args:
        evidence: of a run, [epochs] of learning rates.
        factor: how many times as many epochs, a count.
    """
    rates = evidence.column("learning_rate")
    if rates and max(rates) < SLOW:
        return "take learning_rate=1e-3"
    return f"take epochs={factor * max(1, len(evidence.rows))}"
