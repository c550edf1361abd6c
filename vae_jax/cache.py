"""The cache of this package: its folder, and how it recognizes its own entries.

Cached data is trusted like code: compiled programs are run, prepared arrays are trained on. So
every entry carries an authentication code that only this user can compute: HMAC-SHA-256, with a key
that nobody else can read, over the content and over the name of the entry. An entry that was
changed, moved to the place of another, or written by somebody else is ignored.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

__all__ = ["CODE_BYTES", "code", "key", "private_folder", "user_folder"]

CODE_BYTES = 32
"""Length of the result of `code`, a count."""
_KEY = "key"


def user_folder() -> Path | None:
    """The user's cache of this package: `$XDG_CACHE_HOME/vae_jax`, or `~/.cache/vae_jax`.

    Returns:
        Its path, which need not exist; None for a user without a home.

    Reference:
        XDG Base Directory Specification 0.8: a variable that is empty or a relative path is
        ignored.
    """
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(chosen):
        return Path(chosen, "vae_jax")
    try:
        return Path.home() / ".cache" / "vae_jax"
    except RuntimeError:
        return None


def private_folder(path: Path) -> str | None:
    """Makes a folder that only its owner can enter, or restricts an existing one.

    Args:
        path: path of the folder, which need not exist.

    Returns:
        Why it must not be used, in words; None if it is private.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode):
            return "is a symbolic link or no folder"
        if found.st_uid != os.geteuid():
            return "belongs to another user"
        if found.st_mode & 0o077:
            os.chmod(path, 0o700, follow_symlinks=os.chmod not in os.supports_follow_symlinks)
        return None if os.access(path, os.W_OK | os.X_OK) else "cannot be written"
    except OSError as error:
        return f"cannot be used ({error.strerror})"


def key() -> bytes | None:
    """The user's key, made on first use; None if there is no private place to keep it."""
    folder = user_folder()
    if folder is None or private_folder(folder) is not None:
        return None
    path = folder / _KEY
    with contextlib.suppress(OSError):
        if not os.path.lexists(path):
            _make_key(path)
        return _read_key(path)
    return None


def _make_key(path: Path) -> None:
    """Writes a key of random bytes atomically, unless another process was first."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(secrets.token_bytes(CODE_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()


def _read_key(path: Path) -> bytes | None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        is_private = stat.S_ISREG(found.st_mode) and found.st_mode & 0o077 == 0
        if not is_private or found.st_uid != os.geteuid():
            return None
        content = file.read(CODE_BYTES + 1)
    return content if len(content) == CODE_BYTES else None


def code(secret: bytes, what: str, content: bytes) -> bytes:
    """HMAC-SHA-256 of a content and its name, which only the holder of the key can compute.

    Args:
        secret: the key.
        what: the name of the entry, a scalar.
        content: bytes of any length, a scalar.

    Returns:
        `CODE_BYTES` bytes.

    Reference:
        RFC 2104.
    """
    # the separator keeps what and content apart
    bound = hashlib.sha256(what.encode("utf-8", "surrogatepass")).digest()
    return hmac.digest(secret, bound + content, "sha256")
