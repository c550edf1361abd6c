"""Seeds that disagree: runs of the same settings end at different losses."""

__all__ = ["ERRORS", "find"]

ERRORS = 5.0
"""The difference of two seeds, in standard errors of a test loss (a scalar), that is no chance."""


def find(evidence):
    """Whether another seed of the same settings ended far better than this one.

    Args:
        evidence: of a run with `twins`; losses are scalars on the same test split.
    """
    own = evidence.number("loss")
    others = {seed: twin.get("loss") for seed, twin in evidence.twins.items()}
    known = {seed: loss for seed, loss in others.items() if isinstance(loss, int | float)}
    if own is None or not known:
        return None
    best = min(known, key=known.__getitem__)
    if own - known[best] < ERRORS * evidence.error():
        return None
    told = f"the test loss is {own - known[best]:.3g} nats above the best of {len(known) + 1} seeds"
    return told, f"take seed={best}, or a smaller `learning_rate`"
