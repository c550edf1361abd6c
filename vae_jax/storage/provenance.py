"""What a result depends on beside its settings: versions, devices, the code's revision."""

import importlib.metadata
import pathlib
import platform
import socket
import subprocess
from collections.abc import Iterable

__all__ = ["environment"]

_PACKAGES = ("vae_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def environment(devices: Iterable = ()) -> dict:
    """Describes what a result depends on beside its config, for `env.json`.

    Args:
        devices: any number of devices, as in `jax.devices()`; only their names are used.

    Returns:
        Scalars, strings and lists by name: `python`, `platform`, `host`, `packages` (versions, None
            if missing), `devices` and `git` (`{"revision", "dirty"}`, or None if no checkout tracks
            the package).
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "devices": [str(device) for device in devices],
        "git": _git(pathlib.Path(__file__).resolve()),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(source: pathlib.Path) -> dict | None:
    """The revision of the checkout that tracks this file, or None if there is none."""

    def ask(*words: str) -> str:
        # A repository's own settings may name programs to run: disable them.
        command = ["git", "-c", "core.fsmonitor=false", "-C", str(source.parent), *words]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()

    try:
        ask("ls-files", "--error-unmatch", source.name)
        return {
            "revision": ask("rev-parse", "HEAD"),
            "dirty": bool(ask("--no-optional-locks", "status", "--porcelain", "-uno")),
        }
    except (OSError, subprocess.SubprocessError):
        return None
