"""Where this package keeps what it can make again."""

import os
from pathlib import Path

__all__ = ["user_folder"]


def user_folder() -> Path | None:
    """The user's cache of this package: `$XDG_CACHE_HOME/vae_jax`, or `~/.cache/vae_jax`.

    Returns:
        Its path, which need not exist; None for a user without a home.

    Reference:
        XDG Base Directory Specification 0.8: a variable that is empty or a relative path is passed
        over.
    """
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(chosen):
        return Path(chosen, "vae_jax")
    try:
        return Path.home() / ".cache" / "vae_jax"
    except RuntimeError:
        return None
