"""Statically binarized MNIST, the fixed sample used for published likelihoods."""

from pathlib import Path

import jax
import jax.numpy as jnp

from vae_jax.data import _npy
from vae_jax.data._dataset import (
    Dataset,
    Split,
    data_file,
    image_dataset,
    mismatch,
    sha256_of_arrays,
)

__all__ = ["decode", "load"]

_FILE = "binarized_mnist_packedbits.npz"
_SHA256 = "573218a14eb73df6d8d4a8c9eb54b41511317b6df0acf65330e76f13ff3d0987"


def decode(x: jax.Array) -> jax.Array:
    """Unpacks eight pixels from each byte, the most significant bit first (like np.unpackbits).

    Args:
        x: [B, 98] uint8.

    Returns:
        [B, 28, 28, 1] float32, each 0 or 1.
    """
    return jnp.unpackbits(x, axis=1).reshape(-1, 28, 28, 1).astype(jnp.float32)


def load(data_dir: Path, num_valid: int | None = None) -> Dataset:
    """50,000 + 10,000 + 10,000 digits [28, 28, 1], each pixel 0 or 1, no labels, own splits.

    Args:
        data_dir: holds binarized_mnist/binarized_mnist_packedbits.npz with the keys `train`,
            `valid` and `test`, each [N, 98] uint8.
        num_valid: must not be set: the source has its own validation split.

    Returns:
        The dataset, stored packed: 98 bytes for 784 pixels.

    Raises:
        DataError: if the file is missing, unreadable or not the original file.

    Reference:
        Salakhutdinov and Murray, On the quantitative analysis of deep belief networks, ICML 2008;
        the splits of Larochelle and Murray, The neural autoregressive distribution estimator,
        AISTATS 2011.
    """
    path = data_file(data_dir, "binarized_mnist", _FILE)
    parts = {part: _npy.read(path, part) for part in ("train", "valid", "test")}
    sha256 = sha256_of_arrays(parts.values())
    if sha256 != _SHA256:
        raise mismatch(path, sha256, _SHA256)
    return image_dataset(
        "binarized_mnist",
        {part: Split(x) for part, x in parts.items()},
        num_valid,
        num_levels=2,
        sha256=sha256,
        shape=(28, 28, 1),
        decode=decode,
    )
