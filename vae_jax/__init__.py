"""Autoencoders as pure JAX functions over Flax modules.

Each part is imported on first use, so `import vae_jax` costs almost nothing and `vae_jax.losses`
needs only JAX:

    import vae_jax

    distortion = vae_jax.losses.bernoulli_distortion(x, logits)  # [B]

    digits = vae_jax.data.load("digits")
    model = vae_jax.make_model(digits, latent_dim=8)
    trained = vae_jax.fit("beta_vae", model, digits, epochs=50, beta=4.0)
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vae_jax import (
        data,
        distributions,
        evaluation,
        fitting,
        latents,
        likelihoods,
        loggers,
        losses,
        mechanisms,
        networks,
        objectives,
        plots,
        posteriors,
        priors,
        samplers,
        schedules,
        sklearn,
        training,
        uses,
    )
    from vae_jax.assembly import make_model
    from vae_jax.fitting import fit
    from vae_jax.lab.loading import load
    from vae_jax.model import Model
    from vae_jax.storage import exported
    from vae_jax.trained import Trained, evaluate

__all__ = [
    "Model",
    "Trained",
    "data",
    "distributions",
    "evaluate",
    "evaluation",
    "exported",
    "fit",
    "fitting",
    "latents",
    "likelihoods",
    "load",
    "loggers",
    "losses",
    "make_model",
    "mechanisms",
    "networks",
    "objectives",
    "plots",
    "posteriors",
    "priors",
    "samplers",
    "schedules",
    "sklearn",
    "training",
    "uses",
]

_HOMES = {
    "Model": "model",
    "Trained": "trained",
    "evaluate": "trained",
    "fit": "fitting",
    "load": "lab.loading",
    "make_model": "assembly",
}
"""Names that are not modules → the module that defines them."""


def _attribute(name: str) -> Any:
    """Imports a name of `__all__` on first use."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"vae_jax.{_HOMES[name]}"), name)
    if name in __all__:
        room = "storage." if name == "exported" else ""
        return importlib.import_module(f"vae_jax.{room}{name}")
    raise AttributeError(f"module 'vae_jax' has no attribute {name!r}")


if not TYPE_CHECKING:  # a type checker would then accept any name
    __getattr__ = _attribute


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
