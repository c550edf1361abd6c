"""The settings of pictures: how each file becomes rows of one size."""

import dataclasses
import numbers
from typing import Any

from vae_jax.errors import UsageError, shown

__all__ = ["CROPS", "FRAMES", "ICC", "LARGEST", "Look", "check_together", "make", "size"]

CROPS = ("none", "center")
"""Values of crop."""
FRAMES = ("first", "all")
"""Values of frames."""
ICC = ("stored", "srgb")
"""Values of icc."""
_CHOICES = {"crop": CROPS, "frames": FRAMES, "icc": ICC}
LARGEST = 2**15
"""Pixels of a side, a count."""


@dataclasses.dataclass(frozen=True)
class Look:
    """How pictures are read, named as in `vae_jax.data.load`.

    Attributes:
        resize: (H, W) of every picture, or None for their own size.
        crop: 'center' cuts the middle of the wanted shape out before resizing; 'none' stretches.
        pad: whether pictures are resized to fit inside (H, W) and the rest is `background`.
        background: a color over which transparent pictures are put, as Pillow reads it; 'alpha'
            keeps the alpha channel; None refuses transparent pictures.
        frames: 'first' or 'all' of the pages of a file.
        icc: 'srgb' converts pictures with another color profile; 'stored' keeps their numbers.
    """

    resize: tuple[int, int] | None = None
    crop: str = "none"
    pad: bool = False
    background: str | None = None
    frames: str = "first"
    icc: str = "stored"

    @property
    def keeps_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.background == "alpha"

    @property
    def color(self) -> tuple[int, int, int]:
        """The background's red, green and blue, 0 … 255 each; black if none is given."""
        import PIL.ImageColor

        if self.background is None or self.keeps_alpha:
            return (0, 0, 0)
        return PIL.ImageColor.getrgb(self.background)[:3]

    def refuse(self, why: str) -> None:
        """Refuses settings that were given for data that are no folder of pictures."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                told = ",".join(map(str, value)) if isinstance(value, tuple) else value
                raise UsageError(
                    f"{field.name}={told}: is a setting of pictures, {why}: leave it out"
                )


def make(**settings: Any) -> Look:
    """Checks the settings of pictures [H, W, C].

    Args:
        **settings: as in `Look`; resize may be one number, for square pictures.

    Raises:
        UsageError: a value is not allowed, or two do not go together.
    """
    look = Look(**{**settings, "resize": size(settings["resize"])})
    for name, allowed in _CHOICES.items():
        if getattr(look, name) not in allowed:
            raise UsageError(
                f"{name}={shown(getattr(look, name))}: must be one of {', '.join(allowed)}"
            )
    if not isinstance(look.pad, bool):
        raise UsageError(f"pad={shown(look.pad)}: must be True or False")
    check_together(look)
    _check_background(look.background)
    return look


def check_together(settings: Any) -> None:
    """Refuses crop and pad without the shape (H, W) to resize to, or with one another.

    Args:
        settings: has all of `Look` as attributes.

    Raises:
        UsageError: two settings do not go together.
    """
    asked = {"crop=center": settings.crop == "center", "`pad=True`": settings.pad}
    given = [name for name, is_given in asked.items() if is_given]
    if given and settings.resize is None:
        raise UsageError(f"{given[0]}: has no size to come to, give resize=64,64, say")
    if len(given) == 2:
        raise UsageError("crop=center: cuts what `pad=True` keeps: give one of them")


def size(value: Any) -> tuple[int, int] | None:
    """The shape (height, width) from one number of pixels, a pair, or None.

    Raises:
        UsageError: it is something else.
    """
    if value is None:
        return None
    found = (value, value) if isinstance(value, numbers.Integral) else value
    is_pair = isinstance(found, tuple | list) and len(found) in (1, 2)
    if not is_pair or not all(
        isinstance(n, numbers.Integral) and not isinstance(n, bool) and 1 <= n <= LARGEST
        for n in found
    ):
        raise UsageError(
            f"resize={shown(value)}: must be a height and a width in pixels, 1 to {LARGEST:,}: "
            "give (64, 64), for example"
        )
    return int(found[0]), int(found[-1])


def _check_background(background: Any) -> None:
    if background in (None, "alpha"):
        return
    import PIL.ImageColor

    try:
        if len(PIL.ImageColor.getrgb(background)) == 3:
            return
    except (AttributeError, TypeError, ValueError):
        pass
    raise UsageError(
        f"background={shown(background)}: must be a color without transparency, or alpha: give "
        "white, black or #808080, for example"
    )
