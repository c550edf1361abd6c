"""Handwritten digits, 8×8: the built-in default, included in scikit-learn."""

import importlib.util
from pathlib import Path

import numpy as np

from vae_jax.data._dataset import Dataset, Split, image_dataset, sha256_of_arrays

__all__ = ["load"]


def load(data_dir: Path, num_valid: int | None = None) -> Dataset:
    """1,797 handwritten digits [8, 8, 1] in 17 gray levels, labels 0 … 9; needs no file.

    Args:
        data_dir: not used.
        num_valid: rows held out for validation (scalar); None means 10 %.

    Returns:
        The dataset, split 80 / 10 / 10.

    Reference:
        Alpaydin and Kaynak, Optical recognition of handwritten digits, UCI 1998 (its test part).
    """
    table = _read()
    x, labels = table[:, :-1].reshape(-1, 8, 8, 1), table[:, -1].astype(np.int32)
    return image_dataset(
        "digits",
        {"all": Split(x, labels)},
        num_valid,
        num_levels=17,
        sha256=sha256_of_arrays([x, labels]),
        classes=tuple(range(10)),
    )


def _read() -> np.ndarray:
    """Pixels and label of each digit, [1797, 65] uint8.

    Read from the package's file: importing the package would take longer than everything else
    before the first step.
    """
    package = importlib.util.find_spec("sklearn")
    for folder in package.submodule_search_locations if package else ():
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            return np.loadtxt(file, np.uint8, delimiter=",")
    import sklearn.datasets

    images, labels = sklearn.datasets.load_digits(return_X_y=True)
    return np.column_stack([images, labels]).astype(np.uint8)
