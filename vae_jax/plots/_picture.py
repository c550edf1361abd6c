"""What every picture is drawn with: the one style, the checks, and how a file is written."""

import contextlib
import errno
import functools
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.errors import StorageError, UsageError

__all__ = [
    "BLUE",
    "FAINT",
    "INK",
    "MUTED",
    "ORANGE",
    "STYLE",
    "as_float",
    "house_style",
    "legible",
    "new_figure",
    "plain",
    "require",
    "require_length",
    "write",
]

INK, MUTED, FAINT = "#2b2b2b", "#7a7a7a", "#e4e4e4"
BLUE, ORANGE = "#2a6f9e", "#e0822f"

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#b5b5b5",
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#ededed",
    "grid.linewidth": 0.8,
    "xtick.color": "#b5b5b5",
    "ytick.color": "#b5b5b5",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.1,
    "pdf.fonttype": 42,  # TrueType: journals refuse Type 3
    "svg.hashsalt": "vae_jax",
}
"""The style of every picture, in matplotlib's names."""
_STYLING = threading.RLock()


def write(path: Path, content: bytes) -> None:
    """Writes `content`, of any shape, to a file atomically; raises StorageError on failure."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        with partial.open("xb") as file:  # "x" does not follow a link in its place
            file.write(content)
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "free some space" if is_full else "choose another folder"
        raise StorageError(
            f"{path}: cannot write {len(content):,} bytes ({error.strerror}): {remedy}"
        ) from error


@contextlib.contextmanager
def house_style():
    """A context that applies our style on top of matplotlib's defaults, not the user's settings.

    Only one thread draws at a time, because the settings of matplotlib are global. Numbers that
    overflow in the layout of axes are drawn as far as possible, without a warning.
    """
    _import_matplotlib()
    import matplotlib.style

    is_expected = {"over": "ignore", "invalid": "ignore", "divide": "ignore"}
    with _STYLING, matplotlib.style.context(["default", STYLE]), np.errstate(**is_expected):
        yield


def _import_matplotlib() -> None:
    """Imports matplotlib, whose import would fail if MPLBACKEND names a missing backend.

    Notebooks set it for every program they start. It is not used here, and is left unchanged for
    other code.
    """
    if "matplotlib" in sys.modules:
        return
    named = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if named is not None:
            os.environ["MPLBACKEND"] = named
    if named is not None:
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = named


@functools.cache
def _characters() -> frozenset[int]:
    """Code points in our font."""
    from matplotlib import font_manager

    path = font_manager.findfont(STYLE["font.family"])
    return frozenset(font_manager.get_font(path).get_charmap())


def legible(text: Any, length: int) -> str:
    """Makes text drawable: one line, short, with characters of our font only.

    Args:
        text: a scalar; whitespace becomes single spaces, a character that the font lacks becomes □.
        length: maximum number of characters, a count; a longer text is cut in the middle.
    """
    words, known = " ".join(str(text).split()), _characters()
    head = (length - 1) // 2
    if len(words) > length:
        words = f"{words[: length - 1 - head]}…{words[-head:]}"
    return "".join(c if ord(c) in known else "□" for c in words)


def new_figure(width: float, height: float):
    """A figure of a size in inches, drawn with Agg and not registered anywhere."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def require(name: str, x, axes: str) -> np.ndarray:
    """Returns `x` as an array of a shape with one axis per word in `axes`, or raises UsageError."""
    x = np.asarray(x)
    if x.ndim != len(axes.split()):
        raise UsageError(f"{name} has shape {list(x.shape)}: must be [{axes.replace(' ', ', ')}]")
    return x


def require_length(name: str, x, length: int) -> np.ndarray:
    """Returns `x` as an array [length]; otherwise raises UsageError."""
    x = np.asarray(x)
    if x.shape != (length,):
        raise UsageError(f"{name} has shape {list(x.shape)}: must be [{length}]")
    return x


def as_float(x) -> np.ndarray:
    """Converts numbers of any type and shape to floats of the same value: a binary 1 to 1.0."""
    x = np.asarray(x)
    return x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)


def plain(value: float, spec: str = ".2g") -> str:
    """Formats a number with a true minus sign, no negative zero, no decimals if it is huge."""
    value = float(value)
    return f"{value:z{spec if abs(value) < 1e9 else '.4g'}}".replace("-", "−")
