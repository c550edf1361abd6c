"""One file of pictures: what its header says, and its pages as arrays of pixels."""

import contextlib
import functools
import io
import os
import struct
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from vae_jax.data import _dicom
from vae_jax.errors import DataError, first_line
from vae_jax.looks import Look

__all__ = ["SUFFIXES", "Page", "Picture", "each", "is_dicom", "num_workers", "pages", "read"]

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
    *_dicom.SUFFIXES,
)
"""Suffixes of supported files."""

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")  # none that can run a program
_GRAY = ("1", "L", "LA", "La")
_DEEP = {"I;16": "uint16", "I;16B": "uint16", "I;16L": "uint16", "I": "int32", "F": "float32"}
_PLAIN = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX")
_OF_OTHER_COLORS = {"CMYK": "CMYK", "YCbCr": "YCbCr", "LAB": "CIELAB"}
"""Modes of images by how they are read."""
_ORIENTATION = 0x112  # the EXIF tag
_SIDEWAYS = range(5, 9)  # its values that exchange height and width
_OPAQUE = 255
_DAMAGE = (EOFError, KeyError, OSError, SyntaxError, TypeError, ValueError, struct.error)
_PROBES = 6  # of each primary color, to tell a color profile from sRGB
_CLOSE = 2  # of 255: how far profiles that are sRGB itself round
_MOST_WORKERS = 8
_building = threading.Lock()  # of transforms between color profiles
_warned = threading.local()  # what Pillow said of the file that a thread reads


class Page(NamedTuple):
    """What is known of a page before it is decoded.

    Attributes:
        size: the shape (H, W), upright; of the file, before it is resized.
        dtype: of its pixels.
        is_color: whether it has three channels.
    """

    size: tuple[int, int]
    dtype: str
    is_color: bool


class Picture(NamedTuple):
    """A decoded page: pixels [H, W, C], and what was converted or dropped, in words."""

    pixels: np.ndarray
    notes: tuple[str, ...]


def is_dicom(path: Path) -> bool:
    """Whether a file is read by pydicom, by its name."""
    return path.name.lower().endswith(_dicom.SUFFIXES)


def num_workers() -> int:
    """How many threads decode pictures, a count: one for each core of this process, at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, _MOST_WORKERS)


@contextlib.contextmanager
def each(function: Callable, *inputs: Sequence) -> Iterator[Iterator]:
    """Maps a function over inputs [N] in threads; the results in order, the first error too.

    Pillow warns of a picture of too many pixels, which is an error here, and of damaged tags, which
    is one for TIFF. The filters of warnings are those of all threads.
    """
    import concurrent.futures

    import PIL.Image

    PIL.Image.init()  # before there are threads
    with warnings.catch_warnings():
        warnings.filterwarnings("always", category=UserWarning, module=r"PIL\.")
        warnings.showwarning = _noted(warnings.showwarning)
        warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
        if num_workers() == 1 or len(inputs[0]) < 2:
            yield map(function, *inputs)
            return
        pool = concurrent.futures.ThreadPoolExecutor(num_workers())
        try:
            yield pool.map(function, *inputs)
        finally:
            pool.shutdown(cancel_futures=True)


def _noted(show: Callable) -> Callable:
    """A `warnings.showwarning` that keeps what Pillow says of a file, and shows all else."""

    def keep(message, category, filename, *details, **named) -> None:
        if issubclass(category, UserWarning) and "PIL" in Path(filename).parts:
            _warned.told = str(message)
        else:
            show(message, category, filename, *details, **named)

    return keep


def pages(path: Path, look: Look) -> list[Page]:
    """The pages of a file that are read, of any shape: the first, or all.

    Raises:
        DataError: it is not an image, or of a kind that cannot be read.
    """
    if is_dicom(path):
        found = _dicom.header(path)
        count = found.num_frames if look.frames == "all" else 1
        return [Page(found.size, found.dtype, found.is_color)] * count
    with _opened(path) as image:
        return [_page(path, image, number) for number in _numbers(image, look)]


def read(path: Path, look: Look) -> list[Picture]:
    """The pages of a file that are read, decoded: as many as `pages` has.

    Each is [H, W, C]: C is 1 or 3, and one more for alpha if the look keeps it.

    Raises:
        DataError: it is damaged, or transparent in places without a background.
    """
    if is_dicom(path):
        frames, notes = _dicom.read(path, every=look.frames == "all")
        if look.keeps_alpha:
            _refuse_alpha(path, "DICOM")
        return [_of_array(frame, look, notes) for frame in frames]
    with _opened(path) as image:
        return [_decoded(path, image, number, look) for number in _numbers(image, look)]


def _numbers(image, look: Look) -> range:
    return range(getattr(image, "n_frames", 1) if look.frames == "all" else 1)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The open image; whatever Pillow raises of it, then or later, is a DataError."""
    import PIL.Image

    try:
        # open it as a file object: given a name, Pillow memory-maps a TIFF, and then swaps the
        # sides of a rotated one
        _warned.told = None
        with path.open("rb") as file, PIL.Image.open(file, formats=_FORMATS) as image:
            yield image
            if image.format == "TIFF" and _warned.told is not None:
                raise ValueError(_warned.told)  # its pixels lie where its tags say
    except (
        *_DAMAGE,
        PIL.Image.DecompressionBombError,
        PIL.Image.DecompressionBombWarning,
    ) as error:
        raise DataError(f"{path}: not a readable image ({first_line(error)})") from None


def _page(path: Path, image, number: int) -> Page:
    image.seek(number)
    if image.mode not in (*_GRAY, *_DEEP, *_PLAIN, *_OF_OTHER_COLORS):
        raise DataError(
            f"{path}: is of mode {image.mode}, which is not read: must be gray (8, 16 or 32 bits),"
            " RGB, CMYK, YCbCr or CIELAB"
        )
    is_color = image.mode not in (*_GRAY, *_DEEP)
    dtype = _DEEP.get(image.mode, "uint8")
    if _may_be_turned(path, image) and _orientation(image) in _SIDEWAYS:
        if image.format == "TIFF":
            image.load()  # this turns it, and some versions of Pillow say the size before
        else:
            return Page(image.size, dtype, is_color)
    return Page(image.size[::-1], dtype, is_color)


def _may_be_turned(path: Path, image) -> bool:
    """Whether a page may have an orientation; a PNG is decoded to know it, most have none."""
    return image.format != "PNG" or b"eXIf" in path.read_bytes()


def _decoded(path: Path, image, number: int, look: Look) -> Picture:
    image.seek(number)
    notes: list[str] = []
    if look.frames == "first" and getattr(image, "n_frames", 1) > 1:
        notes.append("have several frames, of which the first is read")
    if any("16" in str(tile[3]) for tile in image.tile) and image.mode in ("RGB", "RGBA", "LA"):
        notes.append("have 16 bits a channel, of which 8 are read")
    dtype = _DEEP.get(image.mode, "uint8")
    image = _upright(image, notes)
    image = _in_srgb(_bare(image), look, image.info.get("icc_profile"), notes)
    image = _on_background(path, image, look, notes)
    image = _fitted(image, look, notes)
    pixels = np.asarray(image)
    return Picture(pixels.reshape(*pixels.shape[:2], -1).astype(dtype, copy=False), tuple(notes))


def _of_array(frame: np.ndarray, look: Look, notes: tuple[str, ...]) -> Picture:
    """A frame [H, W, C] of another reader in the look, of the same dtype, of 24 bits at most."""
    import PIL.Image

    channels, told = [], {}
    for channel in np.moveaxis(frame.astype(np.float32), -1, 0):
        own = list(notes)
        image = PIL.Image.fromarray(np.ascontiguousarray(channel))
        channels.append(np.asarray(_fitted(image, look, own)))
        told |= dict.fromkeys(own)
    pixels = np.stack(channels, axis=-1)
    pixels = pixels if frame.dtype.kind == "f" else np.rint(pixels)
    return Picture(pixels.astype(frame.dtype), tuple(told))


def _orientation(image) -> int | None:
    """The orientation that EXIF says; None if its data are damaged beside sound pixels."""
    if image.format == "PNG":
        image.load()  # asked for EXIF data, Pillow does so too: damaged pixels are an error here
    try:
        found = image.getexif().get(_ORIENTATION)
    except _DAMAGE:
        if image.format == "TIFF":
            raise
        return None
    is_damaged = found is None and "EXIF" in (_warned.told or "")
    return None if is_damaged else found or 1


def _upright(image, notes: list[str]):
    """The image turned as its EXIF says."""
    import PIL.ImageOps

    orientation = _orientation(image)
    if orientation is None:
        notes.append("have damaged EXIF data: read as they lie in the file")
    if orientation in (None, 1):
        return image
    notes.append("were turned upright, as their EXIF says")
    image.load()  # this turns a TIFF, of which Pillow before 10.1 keeps the tag
    return image if image.format == "TIFF" else PIL.ImageOps.exif_transpose(image)


def _bare(image):
    """The image in a mode of its own colors: L, LA, RGB, RGBA, or deep; no palette, no bits."""
    if image.mode in _DEEP or image.mode in _OF_OTHER_COLORS:
        return image
    has_alpha = "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa")
    if image.mode in _GRAY:
        # a gray level that stands for "transparent" is converted to alpha by way of colors alone
        image = image.convert("RGBA") if "transparency" in image.info else image
        return image.convert("LA" if has_alpha else "L")
    return image.convert("RGBA" if has_alpha else "RGB")


def _in_srgb(image, look: Look, profile: bytes | None, notes: list[str]):
    """The image in sRGB, or in gray; its numbers are kept if its profile is, or unless asked."""
    if image.mode in _OF_OTHER_COLORS:
        notes.append(f"are {_OF_OTHER_COLORS[image.mode]}: converted to sRGB")
        own = profile if image.mode == "CMYK" else None
        transform = None if image.mode == "YCbCr" else _transform(own, image.mode)
        return image.convert("RGB") if transform is None else transform.apply(image)
    if profile is None or image.mode in _DEEP:
        return image
    base = "RGB" if image.mode.startswith("RGB") else "L"
    transform = _transform(profile, base)
    if transform is None:
        notes.append("have a color profile that cannot be used: their numbers are kept")
        return image
    if _is_identity(profile, base):
        return image
    if look.icc == "stored":
        notes.append("have another color profile than sRGB, give icc=srgb to convert them")
        return image
    notes.append("were converted to sRGB from their own color profile")
    return _applied(transform, image, base)


def _applied(transform, image, base: str):
    """An image of mode `base`, or that with alpha, transformed; alpha is kept."""
    converted = transform.apply(image.convert(base))
    if base == "L":  # sRGB has no gray of its own: a neutral color
        converted = converted.getchannel(1)
    if image.mode == base:
        return converted
    converted.putalpha(image.getchannel("A"))
    return converted


@functools.lru_cache(maxsize=64)
def _transform(profile: bytes | None, mode: str):
    """Pillow's transform of a mode from a profile to sRGB; None if there is none that fits."""
    from PIL import ImageCms

    if profile is None and mode != "LAB":
        return None
    try:
        with _building:
            source = (
                ImageCms.createProfile("LAB")
                if profile is None
                else ImageCms.ImageCmsProfile(io.BytesIO(profile))
            )
            return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ImportError):
        return None


@functools.lru_cache(maxsize=64)
def _is_identity(profile: bytes, mode: str) -> bool:
    """Whether a profile is sRGB, or its gray, up to rounding."""
    import PIL.Image

    steps = np.linspace(0, _OPAQUE, _PROBES if mode == "RGB" else _PROBES**3).astype(np.uint8)
    axes = np.meshgrid(*[steps] * len(mode)) if mode == "RGB" else [steps]
    colors = np.stack([np.ravel(axis) for axis in axes], axis=-1)[None]
    probe = PIL.Image.fromarray(colors if mode == "RGB" else colors[..., 0])
    found = np.asarray(_applied(_transform(profile, mode), probe, mode), np.int32)
    return bool(np.max(np.abs(found - np.asarray(probe))) <= _CLOSE)


def _on_background(path: Path, image, look: Look, notes: list[str]):
    """The image without its alpha channel; or with one, if the look keeps it."""
    import PIL.Image

    if look.keeps_alpha:
        if image.mode in _DEEP:
            _refuse_alpha(path, _DEEP[image.mode])
        return image if image.mode in ("LA", "RGBA") else image.convert(f"{image.mode}A")
    if image.mode not in ("LA", "RGBA"):
        return image
    plain = image.mode[:-1]
    if image.getchannel("A").getextrema()[0] == _OPAQUE:
        notes.append("have an alpha channel that is opaque everywhere: left out")
        return image.convert(plain)
    if look.background is None:
        raise DataError(
            f"{path}: is transparent in places: give background=white, or another color to put it"
            " on, or background=alpha to keep the alpha channel"
        )
    notes.append(f"are transparent in places: composited over background={look.background}")
    below = PIL.Image.new("RGBA", image.size, (*look.color, _OPAQUE))
    return PIL.Image.alpha_composite(below, image.convert("RGBA")).convert(plain)


def _refuse_alpha(path: Path, kind: str) -> NoReturn:
    raise DataError(
        f"{path}: has pixels of {kind}, background=alpha is for those of 8 bits: leave it out, or"
        " convert the picture"
    )


def _fitted(image, look: Look, notes: list[str]):
    """The image in the size of the look: stretched, cropped or padded; see `Look`."""
    if look.resize is None or image.size == look.resize[::-1]:
        return image
    height, width = look.resize
    notes.append(f"were resized to {width}×{height}")
    if image.mode.startswith("I;"):
        image = image.convert("I")  # 16 bits, which Pillow resizes by nearest neighbors alone
    across, down = image.size
    if look.pad:
        return _padded(image, look)
    if look.crop == "center":
        image = image.crop(_middle(across, down, width, height))
    elif abs(across * height - down * width) > max(across, down):
        notes.append(
            "were stretched to another shape, give crop=center or `pad=True` to keep theirs"
        )
    return _resized(image, width, height)


def _middle(across: int, down: int, width: int, height: int) -> tuple[int, int, int, int]:
    """The largest centered box in across × down pixels with the shape of width × height."""
    cut_across = min(across, max(1, round(down * width / height)))
    cut_down = min(down, max(1, round(across * height / width)))
    left, top = (across - cut_across) // 2, (down - cut_down) // 2
    return left, top, left + cut_across, top + cut_down


def _padded(image, look: Look):
    import PIL.Image

    height, width = look.resize
    factor = min(width / image.width, height / image.height)
    inner = [max(1, round(side * factor)) for side in image.size]
    canvas = PIL.Image.new(image.mode, (width, height), _fill(image.mode, look))
    place = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas.paste(_resized(image, *inner), place)
    return canvas


def _fill(mode: str, look: Look):
    """The value of padding in a mode: the background, with white the largest value; or nothing."""
    if mode in ("LA", "RGBA"):
        return (0,) * len(mode)
    if mode == "RGB":
        return look.color
    red, green, blue = look.color
    gray = (299 * red + 587 * green + 114 * blue) / 1000  # as Pillow's mode L
    return {"L": round(gray), "I": round(gray * 257), "F": gray / _OPAQUE}[mode]


def _resized(image, width: int, height: int):
    import PIL.Image

    # a triangle filter of the size of the reduction: without overshoot, so within the range
    return image.resize((width, height), PIL.Image.Resampling.BILINEAR)
