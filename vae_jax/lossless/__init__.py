"""Lossless compression with a trained model: bits-back coding on asymmetric numeral systems."""

from vae_jax.lossless.codec import Compressed, compress, decompress, decompressed

__all__ = ["Compressed", "compress", "decompress", "decompressed"]
