"""Every test runs with strict promotion of dtypes and ranks; warnings are errors."""

import os
import pathlib

import jax
import pytest
from absl import flags

from vae_jax.lab import compiled

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()
# many tests build the same programs; commands they start keep theirs in the same place
compiled.keep()


COMPILE_BOUND = ("test_objectives", "test_likelihoods", "test_latents")
"""Heads of the names of files whose many small programs take longer to compile than to run."""


def pytest_runtest_setup(item):
    is_bound = item.path.stem.startswith(COMPILE_BOUND)
    if jax.config.read("jax_disable_most_optimizations") != is_bound:
        # a program that was compiled the other way rounds its last bits otherwise
        jax.clear_caches()
        jax.config.update("jax_disable_most_optimizations", is_bound)


LONGEST = ("test_sweep_faults", "test_experiments", "test_sweep", "test_training")
"""Files that a worker should begin with, lest one of them runs alone at the end."""


def pytest_addoption(parser):
    parser.addoption("--fault", help="only tests marked with this row of the faults, as R7")


def pytest_collection_modifyitems(config, items):
    row = config.getoption("--fault")
    if row is not None:
        items[:] = [i for i in items if any(row in m.args for m in i.iter_markers("fault"))]
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(scope="session")
def data_dir() -> pathlib.Path:
    """The folder of real datasets; a test that asks for it skips where there is none."""
    path = os.environ.get("VAE_JAX_DATA_DIR")
    if not path or not pathlib.Path(path).is_dir():
        pytest.skip("VAE_JAX_DATA_DIR names no folder: this test needs the real datasets")
    return pathlib.Path(path)
