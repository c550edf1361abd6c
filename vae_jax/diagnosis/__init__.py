"""What is wrong with a training: each file is one finding, a pure function of an `Evidence`.

A file of this package reads what every run has: the rows of its epochs, its result, its settings. A
file of `vae_jax.diagnosis.probes` also measures the trained model, which takes seconds. Each has

    find(evidence) -> (evidence in words, remedy) | None
    measure(subject) -> dict                     a probe only: plain numbers for its `find`

Its name is the name of the finding. Words name settings, not flags.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vae_jax import discovery
from vae_jax.diagnosis._evidence import Evidence, Finding
from vae_jax.evaluation import elbo

__all__ = ["Evidence", "Finding", "diagnose", "names", "use"]

MOST = 0.95
"""The share of the rate (a scalar) that "carry" means in a sentence about dimensions."""


def names(package: str = __name__) -> list[str]:
    """Names of all findings of a package, sorted: of this one, or of its probes."""
    return [name for name in discovery.names(package) if name != "probes"]


def diagnose(evidence: Evidence, package: str = __name__) -> list[Finding]:
    """What the evidence shows, in the order of the names.

    Args:
        evidence: of one run, with rows [epochs].
        package: where to look: this package, or that of the probes.
    """
    found = []
    for name in names(package):
        told = discovery.load(package, name, "finding").find(evidence)
        if told is not None:
            found.append(Finding(name, *told))
    return found


def use(result: Mapping[str, Any]) -> str | None:
    """Which dimensions carry the rate, in a sentence; None if their rates are unknown.

    Args:
        result: of a run, with "rate_per_dim" [L] and "active_units".
    """
    rates = Evidence({}, (), result).rates()
    if rates is None:
        return None
    num, share = elbo.carrying(rates, MOST)
    carry = "1 dimension carries" if num == 1 else f"{num} dimensions carry"
    effective = float(elbo.effective_number(np.float32(rates)))
    return (
        f"{carry} {share:.0%} of the rate (effective number {effective:.1f}); "
        f"{result['active_units']} pass Burda's criterion"
    )
