"""Compiled programs kept on disk: what was compiled once starts in seconds the next time."""

import contextlib
import hashlib
import os
import platform
import warnings
from pathlib import Path

import jax

from experiments import hardware
from vae_jax import cache

MAX_BYTES = 2**30
"""Where kept programs take more than this, the oldest are deleted until half of it is left."""


def keep() -> None:
    """Has JAX keep what it compiles in the user's cache, unless the user has said where.

    A folder that cannot be written, or a file in it that cannot be read, costs a compilation and
    nothing else. `JAX_COMPILATION_CACHE_DIR` names another folder,
    `JAX_ENABLE_COMPILATION_CACHE=false` keeps nothing.
    """
    if jax.config.jax_compilation_cache_dir is not None:
        return
    folder = cache_folder()
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if not os.access(folder, os.W_OK):
        return
    prune(folder.parent)
    warnings.filterwarnings("ignore", message=".*persistent compilation cache")
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # a run compiles some fifty programs, most of them in less than JAX's threshold of a second
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def cache_folder() -> Path | None:
    """Where programs for this kind of processor are kept: a home may be shared by several kinds."""
    folder = cache.user_folder()
    return None if folder is None else folder / "compiled" / processor()


def processor() -> str:
    """A name for what this processor can execute, equal where compiled code can be shared."""
    features = platform.machine() + platform.processor()
    features += "".join(hardware.lines_of_cpuinfo("model name", "flags", "Features"))
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:8]}"


def prune(folder: Path, max_bytes: int = MAX_BYTES) -> None:
    """Deletes the oldest files under a folder until half of a size in bytes is left."""
    files = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file():
                files.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in files)
    if total <= max_bytes:
        return
    for _, size, path in sorted(files):
        with contextlib.suppress(OSError):
            path.unlink()
        total -= size
        if total <= max_bytes // 2:
            return
