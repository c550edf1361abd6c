"""Findings that measure the trained model first, which takes seconds; see `vae_jax.diagnosis`."""

from vae_jax import diagnosis, discovery
from vae_jax.evaluation.subject import NotApplicableError

__all__ = ["measure"]


def measure(subject) -> tuple[dict[str, dict], dict[str, str]]:
    """Measures what the probes need of a trained model.

    Args:
        subject: a `vae_jax.evaluation.subject.Subject`, arrays [N, *shape].

    Returns:
        (probe → plain numbers, probe → why it does not apply).
    """
    measured, skipped = {}, {}
    for name in diagnosis.names(__name__):
        try:
            measured[name] = discovery.load(__name__, name, "probe").measure(subject)
        except NotApplicableError as reason:
            skipped[name] = str(reason)
    return measured, skipped
