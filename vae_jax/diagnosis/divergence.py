"""A loss that is no longer finite, and where it began."""

__all__ = ["find", "slower"]


def find(evidence):
    """Whether the run diverged: which terms were not finite, at which step and learning rate.

    Args:
        evidence: of a run, whose result has `not_finite`, names of scalars.
    """
    result = evidence.result
    if result.get("status") != "diverged":
        return None
    bad = ", ".join(result["not_finite"]) or "the update"
    rate = _largest_rate(evidence)
    told = f"{bad} became non-finite at step {result['step']}"
    if rate is None or (result["step"] == 0 and result["not_finite"]):
        return told, "take init_scale=0.5, or a smaller `learning_rate`"
    told += f" (largest learning rate {rate:.3g})"
    return told, f"take {slower(rate)}"


def slower(rate: float) -> str:
    """A learning rate after a divergence, as text: a third, and at most that usual with Adam.

    Args:
        rate: the largest learning rate before the divergence, a scalar.
    """
    return f"learning_rate={min(rate / 3, 1e-3):.1g}" if rate > 0 else "another `learning_rate`"


def _largest_rate(evidence) -> float | None:
    """The largest learning rate so far, a scalar; None if it is unknown."""
    rates = evidence.column("learning_rate")
    return max(rates) if rates else evidence.last("learning_rate")
