"""Autoencoders as pure JAX functions over Flax modules.

Import what you need: `from vae_jax import losses` brings JAX and nothing else of ours but
`distributions`; `vae_jax.model`, `vae_jax.training`, `vae_jax.data` and the rest are modules too.
"""

__version__ = "0.1.0"
