"""Frey faces: frames of a film of one face, 28×20, 256 gray levels."""

from pathlib import Path

from vae_jax.data import _npy
from vae_jax.data._dataset import (
    Dataset,
    Split,
    data_file,
    image_dataset,
    mismatch,
    sha256_of_arrays,
)

__all__ = ["load"]

_SHA256 = "b0ec1a9c525ebaa85fd71da093f69f9b72ac08cd77611005a328e1f44ab5c9b5"


def load(data_dir: Path, num_valid: int | None = None) -> Dataset:
    """1,965 faces [28, 20, 1] in 256 gray levels, no labels; freyfaces/freyfaces.npz.

    Args:
        data_dir: holds freyfaces/freyfaces.npz with the key `images`.
        num_valid: rows held out for validation (scalar); None means 10 %.

    Returns:
        The dataset, split 80 / 10 / 10.

    Raises:
        DataError: if the file is missing, unreadable or not the original file.

    Reference:
        Roweis, Saul and Hinton, Global coordination of local linear models, NIPS 2001.
    """
    path = data_file(data_dir, "freyfaces", "freyfaces.npz")
    images = _npy.read(path, "images")
    sha256 = sha256_of_arrays([images])
    if sha256 != _SHA256:
        raise mismatch(path, sha256, _SHA256)
    return image_dataset(
        "freyfaces", {"all": Split(images)}, num_valid, num_levels=256, sha256=sha256
    )
