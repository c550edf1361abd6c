"""Posteriors q(z|x) in place of a Gaussian with independent dimensions. One file each, by name.

A posterior is a frozen dataclass below `Posterior`, a family of latents, so it is a static part of
a model; its fields are settings. It names the arrays [B, L] that an encoder returns, and turns them
into q(z|x): a value with `sample`, `log_prob`, `mean`, `mode`, `deviation` and `first`. If log q is
cheap at draws alone, the value has `sample_and_log_prob` too, see `vae_jax.rates.draw`.

To add one, add a file `NAME.py` with one public subclass of `Posterior` that has `parts_for` and
`posterior`, and fields with a default. `make_model(…, posterior=NAME)`, the class as a name of this
package, and export to one file follow. Modules with a leading underscore are what several share.
"""

from typing import Any

from vae_jax import families, latents
from vae_jax.errors import UsageError
from vae_jax.posteriors._posterior import Posterior, Summary

__all__ = ["FAMILY", "Posterior", "Summary", "classes", "instead_of", "load", "make", "names"]

FAMILY = families.Family(__name__, Posterior, "posterior")
"""All posteriors by name."""
names, load, classes, make = FAMILY.names, FAMILY.load, FAMILY.classes, FAMILY.make


def instead_of(latent: latents.Latent, posterior: Posterior) -> Posterior:
    """Returns a posterior that takes the place of that of codes [B, L].

    Raises:
        UsageError: these codes are not Gaussian.
    """
    if type(latent) is not latents.Gaussian:
        raise UsageError(
            f"posterior={type(posterior).__name__}: is of Gaussian codes, these are "
            f"{type(latent).__name__}: leave posterior out, or take an objective with Gaussian "
            "codes, such as beta_vae"
        )
    return posterior


def __getattr__(name: str) -> Any:
    return FAMILY.attribute(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *classes()})
