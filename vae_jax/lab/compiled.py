"""A disk cache of compiled programs: a program that was compiled once starts in seconds.

A cached program is native code, so it is only used if this user stored it for the same program: see
`vae_jax.cache`.
"""

import contextlib
import functools
import hmac
import os
import secrets
import stat
import warnings
from collections.abc import Iterator
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
    "prune",
]

MAX_BYTES = 2**30
"""If compiled programs exceed this size, the oldest are deleted until half of it is left."""
_SCHEME = "vae-jax-programs://"


def keep() -> str | None:
    """Makes JAX store compiled programs in the user's cache, unless the user set another folder.

    A folder that cannot be written, or a file that cannot be read, only costs a compilation.
    `JAX_COMPILATION_CACHE_DIR` sets another folder, which JAX then manages itself;
    `JAX_ENABLE_COMPILATION_CACHE=false` disables the cache.

    Returns:
        Why nothing is stored, in one line, if that needs a remedy; otherwise None.
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
    # XLA's own caches have no authentication codes
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    # a run compiles about fifty programs, most of them in less than JAX's threshold of a second
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return None


def keep_reason() -> str | None:
    """Why the user's cache cannot be used, in one line with a remedy, or None."""
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
    """Registers `Kept` with JAX for paths of our scheme, as for a cloud store."""
    from etils import epath

    epath.register_path_cls(_SCHEME)(Kept)


class Kept:
    """The folder of compiled programs, or one of them, with the path interface of JAX's cache.

    A file holds an authentication code, then JAX's data. If the code does not match this user, name
    and content, the file is ignored: JAX compiles again and replaces it.

    Args:
        path: the path that `keep` passes to JAX, or one below it.
    """

    secret: bytes = b""
    """The user's key."""

    def __init__(self, path: str | Path):
        self._path = Path(str(path).removeprefix(_SCHEME))
        self._content: bytes | None = None

    def __truediv__(self, name: str) -> "Kept":
        return self.joinpath(name)

    def joinpath(self, *names: str) -> "Kept":
        """A path below it."""
        return Kept(self._path.joinpath(*names))

    def __str__(self) -> str:
        return f"{_SCHEME}{self._path}"

    def mkdir(self, *arguments, **keywords) -> None:
        """Does nothing: `keep` has created the private folder."""

    def exists(self) -> bool:
        """Whether there is such a program, stored by this user under this name."""
        self._content = self._read()
        return self._content is not None

    def read_bytes(self) -> bytes:
        """Returns JAX's data."""
        content = self._read() if self._content is None else self._content
        if content is None:
            raise FileNotFoundError(self._path)
        return content

    def write_bytes(self, content: bytes) -> None:
        """Stores JAX's data atomically."""
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
    """The folder for this kind of processor: a home may be shared by several kinds."""
    folder = cache.user_folder()
    return None if folder is None else folder / "compiled" / hardware.processor()


def prune(folder: Path, max_bytes: int = MAX_BYTES) -> None:
    """Deletes the oldest files in a folder above a size in bytes, until half of it is left."""
    files = list(_files(folder))
    total = sum(size for _, size, _ in files)
    if total <= max_bytes:
        return
    for _, size, path in sorted(files):
        with contextlib.suppress(OSError):
            os.unlink(path)
        total -= size
        if total <= max_bytes // 2:
            return


def _files(folder: str | Path) -> Iterator[tuple[float, int, str]]:
    """Yields (time of change, size in bytes, path) of each file in a folder and those below."""
    entries = []
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        entries += found
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path)
            continue
        with contextlib.suppress(OSError):
            held = entry.stat(follow_symlinks=False)
            yield held.st_mtime, held.st_size, entry.path
