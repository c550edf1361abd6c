"""Counts what a training passes: `python -m experiments.walk --beta=4`.

It trains with the given flags, and prints the files of this project that were imported, those in
which a function was called, those that read a setting of a `Config`, and how often an objective was
bound. `--list` as the first word lists the files.
"""

import atexit
import functools
import os
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from vae_jax import console

ROOT = Path(__file__).resolve().parent.parent


class Walk:
    """What this process has passed so far.

    Attributes:
        entered: files in which a function was called.
        reading: files that read a setting of a `Config`.
        calls: "file: function" → number of calls, a count.
    """

    def __init__(self):
        self.entered: set[str] = set()
        self.reading: set[str] = set()
        self.calls: Counter[str] = Counter()

    def profile(self, frame: FrameType, event: str, _: Any) -> None:
        """Notes a call; `sys.setprofile` takes it."""
        file = own(frame.f_code.co_filename)
        if event == "call" and file is not None and frame.f_code.co_name != "<module>":
            self.entered.add(file)
            self.calls[f"{file}: {frame.f_code.co_name}"] += 1

    def watch(self, settings: type) -> None:
        """Notes the files that read attributes of `settings`, a dataclass."""
        fields = frozenset(settings.__dataclass_fields__)

        def read(instance: Any, name: str) -> Any:
            if name in fields:
                file = own(sys._getframe(1).f_code.co_filename)
                self.reading |= {file} - {None, own(sys.modules[settings.__module__].__file__)}
            return object.__getattribute__(instance, name)

        settings.__getattribute__ = read

    def lines(self, is_long: bool) -> list[str]:
        """The counts, each followed by its files if `is_long`."""
        modules = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
        found = {
            "files imported": {own(file) for file in modules if file} - {None, own(__file__)},
            "files entered": self.entered - {own(__file__)},
            "files that read a setting of a Config": self.reading,
        }
        lines = []
        for what, files in found.items():
            lines += [f"{what}: {len(files)}", *(f"  {file}" for file in sorted(files) if is_long)]
        binds = self.calls["vae_jax/objectives/__init__.py: bind"]
        return [*lines, f"times an objective was bound: {binds}"]


@functools.cache
def own(file: str) -> str | None:
    """The path of a file from the root of this project; None if it lies elsewhere."""
    path = os.path.relpath(file, ROOT)
    return None if path.startswith("..") or "site-packages" in path else path


def main() -> None:
    """Trains with the flags in `sys.argv`, and prints the counts at the end."""
    is_long = sys.argv[1:2] == ["--list"]
    sys.argv[1:] = sys.argv[1 + is_long :]
    walk = Walk()
    atexit.register(lambda: console.say_page("\n".join(walk.lines(is_long))))
    atexit.register(sys.setprofile, None)
    threading.setprofile(walk.profile)
    sys.setprofile(walk.profile)
    from vae_jax.cli import beginning
    from vae_jax.cli import main as cli

    # before JAX is imported, which the settings need
    beginning.begin()
    from vae_jax.lab.config import Config

    walk.watch(Config)
    cli.start("train")


if __name__ == "__main__":
    if any(word in ("-h", "--help") for word in sys.argv[1:]):
        console.say_page(__doc__.strip())
        sys.exit()
    main()
