"""Folders of images: one form for all, decoded block by block, kept in the cache."""

import collections
import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vae_jax.data import _cache, _folders, _label_files, _pictures
from vae_jax.data._dataset import Rows, is_streamed, sha256_of_file, sha256_of_folder
from vae_jax.data._part import Part, Reading, complete
from vae_jax.errors import DataError
from vae_jax.looks import Look

__all__ = ["SUFFIXES", "read"]

SUFFIXES = _pictures.SUFFIXES
"""Suffixes of supported files."""

_VERSION = 1  # of decoding: cached pixels of another are made again
_BYTES_OF_PIXEL = 24  # while one image is decoded
_BLOCK_BYTES = 2**22  # that are decoded together
_LEAST_CACHED = 2**22  # pixels in files; fewer are decoded as fast as they are looked up
_MANIFEST = "manifest"
_WHAT = "pictures"
_REMEDY = "resize them, or give fewer pictures"


class _Row(NamedTuple):
    """One picture that becomes a row: the number of its file, and of its page in there."""

    file: int
    page: int


class _Plan(NamedTuple):
    """What is decoded to what.

    Attributes:
        folder: the path given by the user.
        files: the pictures.
        counts: how many pages of each are read.
        splits: split → numbers of its files.
        shape, dtype: of every picture, [H, W, C].
        look: how they are read.
    """

    folder: Path
    files: Sequence[Path]
    counts: Sequence[int]
    splits: Mapping[str, Sequence[int]]
    shape: tuple[int, int, int]
    dtype: str
    look: Look

    def rows(self, split: str) -> list[_Row]:
        """The rows of a split, in order."""
        return [_Row(f, page) for f in self.splits[split] for page in range(self.counts[f])]

    @property
    def row_bytes(self) -> int:
        """Bytes of one picture (scalar)."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


def read(
    folder: Path, files: Sequence[Path], reading: Reading
) -> tuple[dict[str, Part], list[str]]:
    """Reads images [N, H, W, C] of one size, with splits and labels from their folders.

    Args:
        folder: the folder given by the user, or one file of pages.
        files: the images in it, sorted; and tables of labels, see `_label_files.beside`.
        reading: its look, its tally, and whether and where decoded pictures are kept.

    Returns:
        (parts, notes).

    Raises:
        DataError: an image cannot be read, has another size than most, or is in a folder that does
            not tell its split or its label.
    """
    tables = [file for file in files if file.name.lower().endswith(".csv")]
    files = [file for file in files if file not in tables]
    base = folder if folder.is_dir() else folder.parent
    if base != folder and reading.look.frames == "first":
        raise DataError(
            f"{folder}: is one file of pictures: give frames=all to read each of its pages, or the"
            " path of a folder of pictures"
        )
    with _pictures.each(functools.partial(_pictures.pages, look=reading.look), files) as found:
        pages = list(found)
    shape, dtype, notes = _form(folder, files, pages, reading.look)
    splits, labels, more = _folders.places(base, files, _WHAT)
    if tables and labels is None:
        labels, told = _label_files.read(base, tables, files, _WHAT)
        more += told
    numbers = {s: [i for i, own in enumerate(splits) if own == s] for s in dict.fromkeys(splits)}
    plan = _Plan(folder, files, [*map(len, pages)], numbers, shape, dtype, reading.look)
    _check_memory(plan, pages, reading)
    pixels, told_of, kept = _prepared(plan, pages, reading)
    told = collections.Counter(note for own in told_of.values() for row in own for note in row)
    notes += [f"{count} pictures {note}" for note, count in told.items()]
    parts = {
        split: _part(plan, split, pixels[split], labels, told_of[split], base) for split in numbers
    }
    notes = [*notes, *more, *kept]
    if "all" in parts:
        return parts, notes
    parts, told = complete(folder, parts, "folders")
    return parts, [*told, *notes]


def _part(
    plan: _Plan, split: str, pixels, labels: Sequence | None, told: Sequence, base: Path
) -> Part:
    """A split with the labels of its rows, and what became of each of them."""
    rows = plan.rows(split)
    own = None if labels is None else [labels[row.file] for row in rows]
    manifest = []
    for number, row in enumerate(rows):
        line = {"file": plan.files[row.file].relative_to(base).as_posix()}
        line |= {"page": row.page} if plan.counts[row.file] > 1 else {}
        line |= {} if split == "all" else {"split": split}
        line |= {} if own is None else {"label": own[number]}
        manifest.append({**line, "what": "; ".join(["read", *told[number]])})
    values = None if own is None else _label_files.array(own)
    return Part(pixels, values, manifest=tuple(manifest))


# --- One form for all


def _form(
    folder: Path, files: Sequence[Path], pages: Sequence[Sequence[_pictures.Page]], look: Look
) -> tuple[tuple[int, int, int], str, list[str]]:
    """The shape [H, W, C] and dtype of all pictures, and notes; refuses those that differ."""
    flat = [(file, page) for file, own in zip(files, pages, strict=True) for page in own]
    sizes = collections.Counter(page.size for _, page in flat)
    if len(sizes) > 1 and look.resize is None:
        (common, _), *_ = sizes.most_common()
        odd, size = next((file, page.size) for file, page in flat if page.size != common)
        raise DataError(
            f"{odd}: is {_size(size)} pixels, most of {folder} are {_size(common)}: all must be of"
            f" one size; give resize={common[0]},{common[1]}, with crop=center or `pad=True` to"
            " keep their shape"
        )
    dtypes = collections.Counter(page.dtype for _, page in flat)
    if len(dtypes) > 1 and not all(_pictures.is_dicom(file) for file in files):
        (common, _), *_ = dtypes.most_common()
        odd, dtype = next((file, page.dtype) for file, page in flat if page.dtype != common)
        raise DataError(
            f"{odd}: has values of {dtype}, most of {folder} of {common}: all must be of one depth;"
            " convert it, or leave it out"
        )
    num_gray = sum(not page.is_color for _, page in flat)
    num_channels = (1 if num_gray == len(flat) else 3) + look.keeps_alpha
    notes = []
    if 0 < num_gray < len(flat):
        notes.append(f"{num_gray} gray pictures taken as color, as the others are")
    if max(map(len, pages)) > 1 and folder.is_dir():
        notes.append("pages of one file are rows like others, which splits may divide")
    dtype = np.result_type(*dtypes).name
    return (*(look.resize or next(iter(sizes))), num_channels), dtype, notes


def _check_memory(plan: _Plan, pages: Sequence, reading: Reading) -> None:
    """Refuses pictures that take too much memory, all together or while some are decoded."""
    num_rows = sum(plan.counts)
    largest = max(page.size[0] * page.size[1] for own in pages for page in own)
    decoding = largest * _BYTES_OF_PIXEL * min(_pictures.num_workers(), len(plan.files))
    reading.tally.add(plan.folder, min(_BLOCK_BYTES, num_rows * plan.row_bytes) + decoding, _REMEDY)
    if not _stays(plan, reading):
        reading.tally.add(plan.folder, num_rows * plan.row_bytes, _REMEDY)


def _stays(plan: _Plan, reading: Reading) -> bool:
    """Whether decoded pictures are left in the cache's files, and read block by block."""
    num_bytes = sum(plan.counts) * plan.row_bytes
    return reading.cache_dir is not None and is_streamed(reading.loading, num_bytes)


def _prepared(
    plan: _Plan, pages: Sequence, reading: Reading
) -> tuple[dict[str, np.ndarray], dict[str, list], list[str]]:
    """Pixels of each split [N, H, W, C], notes of each row, and notes on the cache."""
    num_pixels = sum(page.size[0] * page.size[1] for own in pages for page in own)
    stays = _stays(plan, reading)
    if reading.cache_dir is None or not (stays or num_pixels >= _LEAST_CACHED):
        arrays, notes = _cache.gathered(_blocks(plan)), ()
    else:
        source = (
            sha256_of_folder(plan.folder, plan.files)
            if plan.folder.is_dir()
            else sha256_of_file(plan.folder)
        )
        # rows are copied from the files to their splits, without all of them in memory before
        arrays, notes = _cache.cached(
            reading.cache_dir,
            _cached_name(plan),
            source,
            _VERSION,
            lambda: _blocks(plan),
            on_disk=True,
            is_needed=stays,
        )
    told = json.loads(bytes(arrays.pop(_MANIFEST)[:]))
    if not stays:
        arrays = {k: x if isinstance(x, np.ndarray) else Rows(x) for k, x in arrays.items()}
    return arrays, told, list(notes)


def _cached_name(plan: _Plan) -> str:
    """The name of an entry of the cache: the folder, and what else decides its pixels."""
    import PIL

    path = plan.folder.resolve()
    key = f"{path} {plan.look} {plan.shape} {plan.dtype} {PIL.__version__}"
    digest = hashlib.sha256(os.fsencode(key)).hexdigest()
    return f"{re.sub('[^a-zA-Z0-9-]+', '_', path.stem)}-{digest[:16]}"


def _blocks(plan: _Plan) -> Iterator[_cache.Block]:
    """The pictures of each split, block by block; then the notes of each, as JSON."""
    told: dict[str, list] = {split: [] for split in plan.splits}
    for split, numbers in plan.splits.items():
        num_rows = sum(plan.counts[number] for number in numbers)
        most = max(1, _BLOCK_BYTES // plan.row_bytes)
        for own in _chunks(numbers, plan.counts, most):
            files = [plan.files[number] for number in own]
            with _pictures.each(functools.partial(_pictures.read, look=plan.look), files) as found:
                pictures = [_alike(plan, n, read) for n, read in zip(own, found, strict=True)]
            told[split] += [picture.notes for each in pictures for picture in each]
            yield split, num_rows, np.stack([p.pixels for each in pictures for p in each])
    content = np.frombuffer(json.dumps(told).encode(), np.uint8)
    yield _MANIFEST, len(content), content


def _chunks(numbers: Sequence[int], counts: Sequence[int], most: int) -> Iterator[list[int]]:
    """Numbers of consecutive files with at most `most` rows, or of one file."""
    chunk: list[int] = []
    for number in numbers:
        if chunk and sum(counts[n] for n in (*chunk, number)) > most:
            yield chunk
            chunk = []
        chunk.append(number)
    yield chunk


def _alike(plan: _Plan, number: int, found: list[_pictures.Picture]) -> list[_pictures.Picture]:
    """Pictures of a file in the common form."""
    alike = [each._replace(pixels=_widened(each.pixels, plan)) for each in found]
    if len(found) != plan.counts[number] or any(p.pixels.shape != plan.shape for p in alike):
        raise DataError(
            f"{plan.files[number]}: holds other pictures than its header says, or changes while it"
            " is read: repair it, or leave it out"
        )
    return alike


def _widened(pixels: np.ndarray, plan: _Plan) -> np.ndarray:
    """Pixels [H, W, C] with the channels of the plan: gray becomes color, alpha stays the last."""
    num_colors = pixels.shape[-1] - plan.look.keeps_alpha
    if num_colors == 1 and plan.shape[-1] > pixels.shape[-1]:
        pixels = pixels[..., [0, 0, 0, *range(1, pixels.shape[-1])]]
    return pixels.astype(plan.dtype, copy=False)


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[1]}×{shape[0]}"
