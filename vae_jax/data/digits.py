"""Handwritten digits, 8×8: the embedded default, it comes with scikit-learn."""

from pathlib import Path

import numpy as np

from vae_jax.data._dataset import Dataset, Split, image_dataset, sha256_of_arrays

__all__ = ["load"]


def load(data_dir: Path, num_valid: int | None = None) -> Dataset:
    """1,797 handwritten digits [8, 8, 1] in 17 grey levels, labels 0 … 9; needs no file.

    Args:
        data_dir: not looked at.
        num_valid: rows held out for validation (scalar); None means 10 %.

    Returns:
        The dataset, dealt 80 / 10 / 10.

    Reference:
        Alpaydin and Kaynak, Optical recognition of handwritten digits, UCI 1998 (its test part).
    """
    import sklearn.datasets

    images, labels = sklearn.datasets.load_digits(return_X_y=True)
    x = images.astype(np.uint8).reshape(-1, 8, 8, 1)
    return image_dataset(
        "digits",
        {"all": Split(x, labels.astype(np.int32))},
        num_valid,
        num_levels=17,
        sha256=sha256_of_arrays([x, labels.astype(np.int32)]),
    )
