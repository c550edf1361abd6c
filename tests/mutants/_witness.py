"""A plugin of pytest: writes down what a run of tests imported, and which tests failed."""

import json
import os
import sys
from pathlib import Path

FILE = "MUTANTS_WITNESS"
"""The variable that names the file."""

_failed: list[str] = []


def pytest_collectreport(report):
    """A file of tests that cannot be imported."""
    if report.failed:
        _failed.append(f"collecting {report.nodeid}")


def pytest_runtest_logreport(report):
    """A test that failed, before or after it too."""
    if report.failed:
        _failed.append(report.nodeid)


def pytest_unconfigure():
    """Writes {"failed": tests, "files": module → its file}."""
    files = {
        name: module.__file__
        for name, module in sys.modules.items()
        if name.partition(".")[0] in ("vae_jax", "experiments") and getattr(module, "__file__", "")
    }
    Path(os.environ[FILE]).write_text(json.dumps({"failed": _failed, "files": files}))
