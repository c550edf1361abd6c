"""Every test runs with strict promotion of dtypes and ranks; warnings are errors."""

import os
import pathlib

import jax
import pytest
from absl import flags

from experiments import compiled

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()
# many tests build the same programs; commands they start keep theirs in the same place
compiled.keep()


@pytest.fixture(scope="session")
def data_dir() -> pathlib.Path:
    """The folder of real datasets; a test that asks for it skips where there is none."""
    path = os.environ.get("VAE_JAX_DATA_DIR")
    if not path or not pathlib.Path(path).is_dir():
        pytest.skip("VAE_JAX_DATA_DIR names no folder: this test needs the real datasets")
    return pathlib.Path(path)
