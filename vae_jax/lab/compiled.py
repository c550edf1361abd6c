"""Compiled programs kept on disk: what was compiled once starts in seconds the next time.

A kept program is native code that runs unseen, so none is taken that this user did not keep for
the same program: see `vae_jax.cache`.
"""

import contextlib
import functools
import hashlib
import hmac
import os
import platform
import secrets
import stat
import warnings
from pathlib import Path

import jax

from vae_jax import cache
from vae_jax.devices import hardware

__all__ = [
    "MAX_BYTES",
    "Kept",
    "cache_folder",
    "keep",
    "keep_reason",
    "processor",
    "prune",
]

MAX_BYTES = 2**30
"""If kept programs take more than this, the oldest are deleted until half of it is left."""
_SCHEME = "vae-jax-programs://"


def keep() -> str | None:
    """Has JAX keep what it compiles in the user's cache, unless the user has said where.

    A folder that cannot be written, or a file in it that cannot be read, costs a compilation and
    nothing else. `JAX_COMPILATION_CACHE_DIR` names another folder, which is then JAX's alone;
    `JAX_ENABLE_COMPILATION_CACHE=false` keeps nothing.

    Returns:
        Why nothing is kept, in a line, if that needs a remedy; else None.
    """
    folder = cache_folder()
    if jax.config.jax_compilation_cache_dir is not None or folder is None:
        return None
    refused = keep_reason()
    if refused is not None:
        return refused
    prune(folder.parent)
    warnings.filterwarnings("ignore", message=".*persistent compilation cache")
    _register()
    Kept.secret = cache.key()
    jax.config.update("jax_compilation_cache_dir", f"{_SCHEME}{folder}")
    # XLA's own caches are files without a code
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    # a run compiles some fifty programs, most of them in less than JAX's threshold of a second
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return None


def keep_reason() -> str | None:
    """Why nothing can be kept in the user's cache, in a line with a remedy, or None."""
    folder = cache_folder()
    for each in (folder.parents[1], folder.parent, folder):
        reason = cache.private_folder(each)
        if reason is not None:
            return f"{each} {reason}: programs are compiled afresh each time; move it away"
    if cache.key() is None:
        place = cache.user_folder() / "key"
        return f"{place} is not this user's alone: programs are compiled afresh; delete it"
    return None


@functools.cache
def _register() -> None:
    """Has JAX find `Kept` for paths of our scheme, as it finds those of a cloud store."""
    from etils import epath

    epath.register_path_cls(_SCHEME)(Kept)


class Kept:
    """The folder of kept programs, or one of them, as JAX's cache uses a path.

    A file holds a code and then what JAX gave. One whose code is not that of this user, of this
    name and of this content is none: JAX compiles again, and what it gives takes its place.

    Args:
        path: as `keep` gives it to JAX, or below it.
    """

    secret: bytes = b""
    """The user's key."""

    def __init__(self, path: str | Path):
        self._path = Path(str(path).removeprefix(_SCHEME))
        self._content: bytes | None = None

    def __truediv__(self, name: str) -> "Kept":
        return self.joinpath(name)

    def joinpath(self, *names: str) -> "Kept":
        """What lies below it."""
        return Kept(self._path.joinpath(*names))

    def __str__(self) -> str:
        return f"{_SCHEME}{self._path}"

    def mkdir(self, *arguments, **keywords) -> None:
        """Nothing: `keep` has made the folder, for its owner alone."""

    def exists(self) -> bool:
        """Whether there is such a program, of this user and for this name."""
        self._content = self._read()
        return self._content is not None

    def read_bytes(self) -> bytes:
        """What JAX gave."""
        content = self._read() if self._content is None else self._content
        if content is None:
            raise FileNotFoundError(self._path)
        return content

    def write_bytes(self, content: bytes) -> None:
        """Keeps what JAX gives: whole, or not at all."""
        temporary = self._path.with_name(f".{secrets.token_hex(8)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(self._code(content) + content)
            os.replace(temporary, self._path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _code(self, content: bytes) -> bytes:
        return cache.code(self.secret, self._path.name, content)

    def _read(self) -> bytes | None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            with open(os.open(self._path, flags), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    return None
                found = file.read()
        except OSError:
            return None
        told, content = found[: cache.CODE_BYTES], found[cache.CODE_BYTES :]
        return content if hmac.compare_digest(told, self._code(content)) else None


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
