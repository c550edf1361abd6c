"""Every test runs with strict promotion of dtypes and ranks; warnings are errors."""

import gc
import os
import pathlib

import jax
import pytest
import quick
import sharing
from absl import flags

from vae_jax.lab import compiled
from vae_jax.plots._picture import STYLE

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()
# many tests build the same programs; commands they start keep theirs in the same place
compiled.keep()
# to keep what is compiled in an instant takes longer than it saves
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
# tracing makes many objects and little garbage: looking for it as often as Python does takes longer
gc.set_threshold(20_000, 10, 10)


def pytest_configure(config):
    quick.begin(config)


LONGEST = ("test_experiments", "test_sweep_faults", "test_sweep", "test_evaluate")
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


@pytest.fixture(autouse=True)
def coarse_pictures(request, monkeypatch):
    """Few pixels where no picture is tested: writing them takes longer than training here."""
    if not request.path.stem.startswith("test_plots"):
        monkeypatch.setitem(STYLE, "savefig.dpi", 50)


@pytest.fixture(scope="module")
def traced_once():
    """Like trainings of a file trace their functions once; only if it changes nothing in them."""
    with sharing.between_trainings():
        yield
