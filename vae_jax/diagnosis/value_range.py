"""Values far from what the likelihood expects."""

__all__ = ["find"]


def find(evidence):
    """Whether values or columns of x [N, *shape] are far from the scale of the likelihood.

    Args:
        evidence: of a run, with the warnings about its data.
    """
    if not evidence.far_values:
        return None
    told, _, remedy = evidence.far_values[0].rpartition(": ")
    return told, remedy
