"""Posterior collapse: z, or a group of its dimensions, says nothing of x."""

from vae_jax.evaluation.elbo import COLLAPSE_RATE

__all__ = ["find"]


def find(evidence):
    """Whether the rate, or that of a group, is below `COLLAPSE_RATE`, or no dimension is active.

    Args:
        evidence: of a run, with the rates [L] of its dimensions.

    Reference:
        Lucas et al. 2019, Don't blame the ELBO!, arXiv 1911.02469; Sønderby et al. 2016, Ladder
        variational autoencoders, arXiv 1602.02282, section 3.2 (groups and warm-up).
    """
    rate, active = evidence.number("rate"), evidence.number("active_units")
    if rate is None or active is None:
        return None
    if rate < COLLAPSE_RATE or active == 0:
        told = f"the rate is {rate:.3g} nats and {active:.0f} dimensions vary with x"
        return told, _remedy(evidence)
    groups = _groups(evidence)
    empty = [name for name, own in groups.items() if own < COLLAPSE_RATE]
    if empty:
        carry = "carries" if len(empty) == 1 else "carry"
        told = f"group {', '.join(empty)} of {len(groups)} {carry} less than {COLLAPSE_RATE} nats"
        return told, _remedy(evidence)
    return None


def _groups(evidence) -> dict[str, float]:
    """The rate of each group of a hierarchy in nats, by its number."""
    start = "rate_group_"
    names = [name for name in evidence.result if name.startswith(start)]
    names = [name for name in names if not name.endswith("_standard_error")]
    found = {name.removeprefix(start): evidence.number(name) for name in sorted(names)}
    return {number: rate for number, rate in found.items() if rate is not None}


def _remedy(evidence) -> str:
    """What brings z back, by what weighs it down."""
    beta = evidence.last("beta")
    if beta is not None and beta > 1:
        return "take beta=1"
    if evidence.last("variance") is not None:
        return "take variance=learned"
    if evidence.settings.get("posterior") == "chain":
        return "take posterior=ladder, or beta='linear(0, 1, 50%)'"
    return "take beta='linear(0, 1, 50%)'"
