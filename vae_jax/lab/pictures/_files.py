"""Draws pictures and saves them, each on its own."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax import console, plots
from vae_jax.errors import StorageError, first_line
from vae_jax.storage import files

__all__ = ["draw_each"]


def draw_each(
    pictures: Mapping[str, Callable[[], Any]],
    root: Path,
    folder: Sequence[str],
    log: Callable[..., None] | None = None,
    of: str = "",
    tell: Callable[[str, str], None] = lambda name, reason: None,
    formats: Sequence[str] = ("png",),
) -> dict[str, str]:
    """Draws and saves pictures, each on its own: one that fails is a line in the log.

    Args:
        pictures: name → what makes it: a `plots.Picture`, lines of text, frames of a film
            [T, H, W, C], or the content of a file; None where it does not apply.
        root: the run's directory, or what else they are kept in; no link leads out of it.
        folder: names from there to the folder that receives them.
        log: takes a line, and `echo`, whether it is printed too; None: there is no log.
        of: what they are of, for the log.
        tell: takes the name of each picture once it was tried, and why it failed, or "".
        formats: of each `plots.Picture`, see `plots.FORMATS`.

    Returns:
        The names of those that failed → why, in a line.

    Raises:
        StorageError: a file cannot be written.
    """
    log = log or (lambda line, echo: console.say(line) if echo else None)
    drawn, failed, start = [], {}, time.perf_counter()
    for name, make in pictures.items():
        try:
            with console.doing(f"drawing {name}{of}"):
                made = _made(make)
            if made is not None:
                _save(made, root, root.joinpath(*folder, name), formats)
                drawn.append(name)
        except StorageError:
            raise
        except Exception as error:  # whatever it is, the results are safe
            failed[name] = f"{type(error).__name__}: {first_line(error)}"
            log(f"picture {name}{of} could not be drawn ({failed[name]})", echo=True)
        tell(name, failed.get(name, ""))
    log(f"pictures{of} in {time.perf_counter() - start:.1f} s: {', '.join(drawn)}", echo=False)
    return failed


def _made(make: Callable[[], Any]) -> Any:
    """What a function draws; a file that it cannot read is a fault of this picture alone."""
    try:
        return make()
    except StorageError as error:
        raise RuntimeError(str(error)) from None


def _save(made: Any, root: Path, path: Path, formats: Sequence[str]) -> None:
    """Writes the files of a picture; `path` is theirs but for the ending."""
    for ending, content in _encode_each(made, formats).items():
        files.write_bytes(path.with_name(f"{path.name}{ending}"), content, root=root)


def _encode_each(made: Any, formats: Sequence[str]) -> dict[str, bytes]:
    """Ending of a file → what it is to hold; none where the picture's name has one."""
    if isinstance(made, plots.Picture):
        endings = [f".{name}" for name in (*formats, "csv")]
        return dict(zip(endings, plots.encode(made, formats), strict=True))
    if isinstance(made, bytes):
        return {"": made}
    if isinstance(made, np.ndarray):
        return {"": plots.encode_gif(made)}
    return {"": "".join(f"{line}\n" for line in made).encode(errors="surrogateescape")}
