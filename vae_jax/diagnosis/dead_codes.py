"""Dead codes: most of a codebook is never chosen."""

__all__ = ["SHARE", "find"]

SHARE = 0.25
"""The share of the codebook (a scalar) that has to be in use."""


def find(evidence):
    """Whether the perplexity of the codes is below `SHARE` of the codebook.

    Args:
        evidence: of a run with a codebook of K codes [K, D].

    Reference:
        Dhariwal et al. 2020, Jukebox, arXiv 2005.00341, section 3.1.
    """
    used, num = evidence.number("perplexity"), evidence.num_codes
    if used is None or num is None or used >= SHARE * num:
        return None
    told = f"about {used:.1f} of {num} codes are in use"
    fewer = max(2, round(2 * used))
    if evidence.last("revival") == 0:
        return told, f"take revival=0.1, or num_codes={fewer}"
    return told, f"take num_codes={fewer}"
