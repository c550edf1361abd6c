"""Autoencoders as pure JAX functions over Flax modules.

Each part is imported at its first use, so that `import vae_jax` costs nothing and
`vae_jax.losses` needs JAX alone:

    import vae_jax

    distortion = vae_jax.losses.bernoulli_distortion(x, logits)  # [B]
    digits = vae_jax.data.load("digits")
    model = vae_jax.Model(encoder, decoder, vae_jax.likelihoods.Bernoulli(), digits.shape, 8)
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
        losses,
        networks,
        objectives,
        plots,
        schedules,
        training,
    )
    from vae_jax.model import Model
    from vae_jax.storage import exported

__all__ = [
    "Model",
    "data",
    "distributions",
    "evaluation",
    "exported",
    "fitting",
    "latents",
    "likelihoods",
    "losses",
    "networks",
    "objectives",
    "plots",
    "schedules",
    "training",
]


def __getattr__(name: str) -> Any:
    if name == "Model":
        return importlib.import_module("vae_jax.model").Model
    if name in __all__:
        room = "storage." if name == "exported" else ""
        return importlib.import_module(f"vae_jax.{room}{name}")
    raise AttributeError(f"module 'vae_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
