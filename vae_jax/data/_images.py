"""Folders of images: which files are read, how they are decoded, and what folders mean."""

import collections
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vae_jax import memory
from vae_jax.data import _spelling
from vae_jax.data._part import Part, Reading, complete, named_splits
from vae_jax.errors import DataError, first_line

__all__ = ["SUFFIXES", "read"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
"""Suffixes of supported files."""

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")  # none that can run a program
_GREY = {"1": "L", "L": "L", "I;16": "I;16", "I;16B": "I;16B", "I;16L": "I;16L", "I": "I", "F": "F"}
_COLOR = {"P": "RGBA", "PA": "RGBA", "LA": "LA", "La": "LA", "RGB": "RGB", "RGBA": "RGBA"}
"""Mode of an image → the mode to read it in."""
_ORIENTATION = 0x112  # the EXIF tag
_BYTES_OF_PIXEL = 24  # while one image is decoded
_COPIES = 2  # of all images: one by one, and stacked
_REMEDY = "resize them, or give fewer pictures"
_DAMAGE = (EOFError, KeyError, OSError, SyntaxError, TypeError, ValueError, struct.error)


class _Image(NamedTuple):
    """An image: pixels [H, W, 1 or 3], and what was converted or dropped, in words."""

    pixels: np.ndarray
    notes: tuple[str, ...]


def read(
    folder: Path, files: Sequence[Path], reading: Reading
) -> tuple[dict[str, Part], list[str]]:
    """Reads images [N, H, W, C] of one size, with splits and labels from their folders.

    Args:
        folder: the folder given by the user.
        files: the images in it, sorted.
        reading: only its tally is used.

    Returns:
        (parts, notes).

    Raises:
        DataError: an image cannot be read, has another size than most, or is in a folder that does
            not tell its split or its label.
    """
    images = []
    for file in files:
        images.append(_read_image(file, reading.tally))
        if len(images) == 1:  # all must have the same size
            memory.check(folder, images[0].pixels.nbytes * len(files) * _COPIES, _REMEDY)
    pixels, notes = _of_one_size(folder, files, [image.pixels for image in images])
    reading.tally.add(folder, sum(image.nbytes for image in pixels), _REMEDY)
    told = collections.Counter(note for image in images for note in image.notes)
    notes += [f"{count} pictures {note}" for note, count in told.items()]

    paths = [file.relative_to(folder).parts[:-1] for file in files]
    splits, labels, more = _places(folder, files, paths)
    parts = {}
    for split in dict.fromkeys(splits):
        rows = [i for i, own in enumerate(splits) if own == split]
        parts[split] = Part(
            np.stack([pixels[i] for i in rows]),
            None if labels is None else np.array([labels[i] for i in rows]),
        )
    notes += more
    if "all" in parts:
        return parts, notes
    parts, told = complete(folder, parts, "folders")
    return parts, [*told, *notes]


def _of_one_size(
    folder: Path, files: Sequence[Path], pixels: list[np.ndarray]
) -> tuple[list[np.ndarray], list[str]]:
    sizes = collections.Counter(image.shape[:2] for image in pixels)
    if len(sizes) > 1:
        (common, _), *_ = sizes.most_common()
        odd = next(i for i, image in enumerate(pixels) if image.shape[:2] != common)
        raise DataError(
            f"{files[odd]}: is {_size(pixels[odd].shape)} pixels, most of {folder} are"
            f" {_size(common)}: all must be of one size; resize or crop them first"
        )
    dtypes = collections.Counter(image.dtype for image in pixels)
    if len(dtypes) > 1:
        (common, _), *_ = dtypes.most_common()
        odd = next(i for i, image in enumerate(pixels) if image.dtype != common)
        raise DataError(
            f"{files[odd]}: has values of {pixels[odd].dtype}, most of {folder} of {common}: all"
            " must be of one depth; convert it, or leave it out"
        )
    num_channels = max(image.shape[2] for image in pixels)
    gray = sum(image.shape[2] < num_channels for image in pixels)
    if not gray:
        return pixels, []
    shape = (*pixels[0].shape[:2], num_channels)
    return [np.broadcast_to(image, shape) for image in pixels], [
        f"{gray} gray pictures taken as color, as the others are"
    ]


def _places(
    folder: Path, files: Sequence[Path], paths: list[tuple[str, ...]]
) -> tuple[list[str], list[str] | None, list[str]]:
    """The split and the label of each image from the folders above it, and notes.

    The first level with a folder that names a split is the level of splits, and every image must be
    in one. The first other level on which folders differ is the level of labels.
    """
    splits = ["all"] * len(paths)
    for depth in range(max(map(len, paths))):
        names = {path[depth] for path in paths if len(path) > depth}
        meanings = named_splits(folder, names, "folders")
        if any(meanings.values()):
            _refuse_mixed(folder, files, paths, depth, meanings)
            splits = [meanings[path[depth]] for path in paths]
            above = [path[:depth] for path in paths]
            below = _undoubled(splits, [path[depth + 1 :] for path in paths])
            _refuse_both_sides(folder, above, below)
            paths = [first + second for first, second in zip(above, below, strict=True)]
            break
    labels, notes = _labels(folder, files, paths)
    return splits, labels, notes


def _undoubled(splits: Sequence[str], paths: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Paths below the folders of splits, without a folder that repeats the split's name.

    "seg_train/seg_train/cat": it is the only folder there, and is in no other split.
    """
    heads: dict[str, set[tuple[str, ...]]] = {}
    for split, path in zip(splits, paths, strict=True):
        heads.setdefault(split, set()).add(path[:1])
    doubled = {
        split
        for split, own in heads.items()
        for head in own
        if len(own) == 1 and head and _spelling.split(head[0]).split == split
        if sum(head in other for other in heads.values()) == 1
    }
    if not doubled:
        return paths
    pairs = zip(splits, paths, strict=True)
    return _undoubled(splits, [path[split in doubled :] for split, path in pairs])


def _refuse_both_sides(
    folder: Path, above: Sequence[tuple[str, ...]], below: Sequence[tuple[str, ...]]
) -> None:
    """Refuses folders that differ both above and below the folders of splits."""
    first, second = _names(above), _names(below)
    if len(first) > 1 and len(second) > 1:
        raise DataError(
            f"{folder}: the folders {_spelling.quoted(first)} lie above those of the splits,"
            f" {_spelling.quoted(second)} below, and either may be labels: give the path of one of"
            " the first"
        )


def _refuse_mixed(
    folder: Path,
    files: Sequence[Path],
    paths: Sequence[tuple[str, ...]],
    depth: int,
    meanings: dict[str, str | None],
) -> None:
    """Refuses folders of splits beside images that are in no split."""
    own = sorted(name for name, split in meanings.items() if split)
    lost = [
        file
        for file, path in zip(files, paths, strict=True)
        if len(path) <= depth or meanings[path[depth]] is None
    ]
    if lost:
        raise DataError(
            f"{lost[0]}: lies beside the folders {_spelling.quoted(own)}, which look like splits"
            f" ({len(lost):,} pictures do): move them into one of these or away, or rename these"
            " if they are labels"
        )


def _labels(
    folder: Path, files: Sequence[Path], paths: Sequence[tuple[str, ...]]
) -> tuple[list[str] | None, list[str]]:
    """The label of each image, or None if no folder tells it, and notes."""
    names = _names(paths)
    paths = [path[_shared(paths) :] for path in paths]
    bare = [file for file, path in zip(files, paths, strict=True) if not path]
    if not names or (len(names) == 1 and not bare and _spelling.is_data(names[0])):
        return None, []
    for depth in range(max(map(len, paths))):
        _refuse_parts(folder, sorted({path[depth] for path in paths if len(path) > depth}))
    _refuse_unlike_labels(folder, names)
    if bare:
        raise DataError(
            f"{bare[0]}: lies beside the folders {_spelling.quoted(names)}, which are the labels"
            f" ({len(bare):,} pictures do): move them into one of these, or away"
        )
    notes = [f"folders are the labels: {_spelling.quoted(names)}"]
    if max(map(len, paths)) > 1:
        notes.append("folders below those of the labels are not told apart")
    return [path[0] for path in paths], notes


def _refuse_parts(folder: Path, names: Sequence[str]) -> None:
    """Refuses sibling folders that hold parts of an example, such as images and masks."""
    if len(names) > 1 and all(map(_spelling.is_part, names)):
        raise DataError(
            f"{folder}: the folders {_spelling.quoted(names)} are parts of an example, no labels:"
            " move all but one of them away, or rename them if they are labels"
        )


def _refuse_unlike_labels(folder: Path, names: Sequence[str]) -> None:
    """Refuses folders of labels whose names mean something else."""
    told = f"{folder}: the folders {_spelling.quoted(names)}"
    if len(names) > 1 and all(map(_spelling.is_fold, names)):
        raise DataError(
            f"{told} are folds of a cross-validation, no labels: give the path of one of them, or"
            " rename them if they are labels"
        )
    if len(set().union(*map(_spelling.splits_in, names))) > 1:
        raise DataError(
            f"{told} name splits, but not each of them one: make one folder for each split, side by"
            " side, or rename them if they are labels"
        )


def _names(paths: Sequence[tuple[str, ...]]) -> list[str]:
    """The folder names, sorted, on the first level on which paths differ; see `_shared`."""
    place = _shared(paths)
    return sorted({path[place] for path in paths if len(path) > place})


def _shared(paths: Sequence[tuple[str, ...]]) -> int:
    """The number of leading folders that all paths share; a count.

    The last folder of a path is not counted: if it is the only one, it is a label.
    """
    most = max(min(map(len, paths)) - 1, 0)
    return next((d for d in range(most) if len({path[d] for path in paths}) > 1), most)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}×{shape[0]}"


def _read_image(path: Path, tally: memory.Tally) -> _Image:
    import PIL.Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            # open it as a file object: given a name, Pillow memory-maps a TIFF, and then swaps the
            # sides of a rotated one
            with path.open("rb") as file, PIL.Image.open(file, formats=_FORMATS) as image:
                return _counted(path, image, tally)
    except (
        *_DAMAGE,
        PIL.Image.DecompressionBombError,
        PIL.Image.DecompressionBombWarning,
    ) as error:
        raise DataError(f"{path}: not a readable image ({first_line(error)})") from None


def _counted(path: Path, image, tally: memory.Tally) -> _Image:
    """Calls `_decoded` if the image's mode is supported and it fits in memory."""
    if image.mode not in _GREY | _COLOR:
        raise DataError(
            f"{path}: is of mode {image.mode}: must be gray (8, 16 or 32 bits) or RGB:"
            " convert it first"
        )
    num_pixels = image.width * image.height
    memory.check(path, tally.num_bytes + num_pixels * _BYTES_OF_PIXEL, _REMEDY)
    found = _decoded(path, image)
    tally.add(path, found.pixels.nbytes, _REMEDY)
    return found


def _decoded(path: Path, image) -> _Image:
    """Pixels of an open image, upright, without an unused alpha channel."""
    import PIL.ImageOps

    notes = []
    if getattr(image, "n_frames", 1) > 1:
        notes.append("have several frames, of which the first is read")
    if any("16" in str(tile[3]) for tile in image.tile) and image.mode in ("RGB", "RGBA"):
        notes.append("have 16 bits a channel, of which 8 are read")
    if image.getexif().get(_ORIENTATION, 1) != 1:
        notes.append("were turned upright, as their EXIF says")
        image.load()  # this turns a TIFF, of which Pillow before 10.1 keeps the tag
        image = image if image.format == "TIFF" else PIL.ImageOps.exif_transpose(image)
    # a palette may contain colors or an alpha channel that the mode does not tell
    wanted = "RGB" if image.mode == "P" and "transparency" not in image.info else None
    pixels = np.asarray(image.convert(wanted or (_GREY | _COLOR)[image.mode]))
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if pixels.shape[2] in (1, 3):
        if "transparency" in image.info and image.mode in ("L", "RGB", "1"):
            return _Image(_opaque(path, np.asarray(image.convert("RGBA")), pixels), tuple(notes))
        return _Image(pixels.astype(pixels.dtype.newbyteorder("=")), tuple(notes))
    notes.append("have an alpha channel that is opaque everywhere: left out")
    return _Image(_opaque(path, pixels, pixels[..., :-1]), tuple(notes))


def _opaque(path: Path, with_alpha: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    if (with_alpha[..., -1] != 255).any():
        raise DataError(
            f"{path}: is transparent in places: put it on a background first, for instance with"
            " Pillow's Image.alpha_composite, or save it without an alpha channel"
        )
    return pixels
