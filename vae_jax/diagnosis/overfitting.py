"""Overfitting over time: the validation loss rises while the training loss falls."""

__all__ = ["ERRORS", "SHARE", "find"]

ERRORS = 2.0
"""The rise, in standard errors of the test loss, that is more than chance (a scalar)."""
SHARE = 0.1
"""The rise relative to the fall of the training loss since then, at least (a scalar)."""


def find(evidence):
    """Whether validation was better before the end, and the best parameters were not kept.

    Args:
        evidence: of a run with a validation split, [epochs] of losses.
    """
    losses, of_training = evidence.losses("valid"), evidence.losses("train")
    is_kept = evidence.result.get("best_epoch") is not None
    if is_kept or len(losses) < 5 or len(of_training) != len(losses):
        return None
    best = min(range(len(losses)), key=losses.__getitem__)
    rise, fall = losses[-1] - losses[best], of_training[best] - of_training[-1]
    if rise < ERRORS * evidence.error() or rise < SHARE * fall or fall <= 0:
        return None
    epoch = evidence.rows[best].get("epoch", best + 1)
    told = (
        f"since epoch {epoch} of {len(losses)} the validation loss rose by {rise:.3g} nats while "
        f"the training loss fell by {fall:.3g}"
    )
    return told, "take patience=10, which keeps the best epoch, or smaller `widths`"
