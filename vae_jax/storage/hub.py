"""Repositories of a hub that hold an exported model: `hf://user/name`.

A repository holds the model as `exported` writes it, and a model card. Reading fetches the model's
file alone, by the client of Hugging Face, and verifies it as any exported file; nothing in it is
executed. `HF_ENDPOINT` names another hub, `HF_HUB_OFFLINE=1` reads the client's cache alone.
"""

import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from vae_jax.errors import StorageError, UsageError, first_line

__all__ = ["MODEL", "PREFIX", "check_name", "fetch", "is_address", "push"]

PREFIX = "hf://"
"""What the address of a repository begins with."""
MODEL = "model.safetensors"
"""Name of the exported model in a repository."""
_NAME = r"[A-Za-z0-9][\w.-]{0,95}"
_REVISION = r"[\w][\w./-]{0,99}"


def is_address(path: Any) -> bool:
    """Whether a path, a scalar, is the address of a repository."""
    return isinstance(path, str) and path.startswith(PREFIX)


def check_name(repo: str, setting: str = "repo") -> str:
    """Returns the name of a repository, a scalar.

    Args:
        repo: a name such as `user/name`.
        setting: what it was given as, for the message.

    Raises:
        UsageError: it is no such name.
    """
    if not re.fullmatch(f"{_NAME}/{_NAME}", repo) or ".." in repo or "--" in repo:
        raise UsageError(f"{setting}={repo}: is no repository: write it as user/name")
    return repo


def fetch(address: str) -> pathlib.Path:
    """Fetches the exported model of a repository, unless the cache has it; returns its path.

    Args:
        address: `hf://user/name`, or `hf://user/name@revision` for a branch, tag or commit.

    Raises:
        UsageError: it is no such address, or the client is not installed.
        StorageError: the hub or the repository cannot be read, or holds no model.
    """
    repo, _, revision = address.removeprefix(PREFIX).partition("@")
    has_revision = "@" in address
    if has_revision and (not re.fullmatch(_REVISION, revision) or ".." in revision):
        raise UsageError(f"{address}: names no revision after @: write hf://user/name@main")
    check_name(repo, "hf")
    client = _client()
    try:
        path = client.hf_hub_download(repo, MODEL, revision=revision or None)
    except Exception as error:  # the client and what it uses raise many types
        raise StorageError(
            f"{address}: its {MODEL} cannot be fetched ({_told(error)}): check the name, and run "
            "`hf auth login` if it is private"
        ) from None
    # the cache of the client links to what it holds by content
    return pathlib.Path(os.path.realpath(path))


def push(repo: str, files: Mapping[str, bytes], *, is_private: bool, message: str) -> str:
    """Makes a repository unless it exists, and replaces its files in one commit.

    Args:
        repo: name of the repository, `user/name`.
        files: name in the repository → content of any length.
        is_private: whether a new repository is private, a scalar.
        message: subject of the commit.

    Returns:
        The address of the repository for a browser.

    Raises:
        UsageError: it is no such name, or the client is not installed.
        StorageError: the hub refuses, or cannot be reached.
    """
    check_name(repo)
    client = _client()
    operations = [
        client.CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
        for name, content in files.items()
    ]
    try:
        hub = client.HfApi()
        made = hub.create_repo(repo, private=is_private, exist_ok=True, repo_type="model")
        hub.create_commit(repo, operations, commit_message=message)
    except Exception as error:
        raise StorageError(
            f"repo={repo}: cannot be written ({_told(error)}): check the name, and run "
            "`hf auth login` with a token that may write"
        ) from None
    return str(made)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def _client() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise UsageError(
            "hf://: huggingface_hub is not installed: pip install 'vae_jax[hub]', or EXTRAS=hub "
            "./launch.sh …"
        ) from None
    return huggingface_hub
