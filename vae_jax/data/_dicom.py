"""DICOM files (extra: dicom): their frames in the units that their header says."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax.errors import DataError, UsageError, first_line

__all__ = ["SUFFIXES", "Header", "header", "read"]

SUFFIXES = (".dcm", ".dicom")
_STORED = {(8, 0): "uint8", (16, 0): "uint16", (16, 1): "int16"}
"""(bits, whether signed) → dtype of pixels without a rescale; of others float32."""
_INVERTED = "MONOCHROME1"  # the smallest value is white
_PALETTE = "PALETTE COLOR"
_NEEDED = ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation", "PixelData")


class Header(NamedTuple):
    """What is known of a file before its pixels are decoded.

    Attributes:
        size: the shape (H, W).
        dtype: of its pixels once they are rescaled.
        is_color: whether they have three channels.
        num_frames: a count.
    """

    size: tuple[int, int]
    dtype: str
    is_color: bool
    num_frames: int


def header(path: Path) -> Header:
    """Reads the header of a file.

    Raises:
        DataError: it is not a DICOM image.
        UsageError: pydicom is not installed.
    """
    return _opened(path)[1]


def read(path: Path, *, every: bool) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Reads the frames of a file [H, W, 1 or 3], and what was converted, in words.

    Values are slope × stored + intercept, float32 if the file has a rescale, else as stored; white
    is the largest value of gray pictures.

    Args:
        path: the file.
        every: whether all frames are read, or the first.

    Raises:
        DataError: it is damaged, or compressed in a way that pydicom cannot decode here.
        UsageError: pydicom is not installed.

    Reference:
        DICOM PS3.3, C.11.1 (Modality LUT) and C.7.6.3.1.2 (Photometric Interpretation).
    """
    found, about = _opened(path)
    try:
        frames = _frames(found, about)
    except Exception as error:  # plugins for compressed pixels raise errors of their own
        raise DataError(
            f"{path}: its pixels cannot be decoded ({first_line(error)}): convert it to"
            " uncompressed DICOM or to PNG"
        ) from None
    notes = []
    if _is_rescaled(found):
        notes.append("are in the units of their header, rescaled by its slope and intercept")
    if found.PhotometricInterpretation == _INVERTED:
        notes.append("have white as their smallest value: inverted")
    if about.num_frames > 1 and not every:
        notes.append("have several frames, of which the first is read")
    return list(frames if every else frames[:1]), tuple(notes)


def _opened(path: Path) -> tuple[Any, Header]:
    try:
        import pydicom
    except ImportError:
        raise UsageError(
            f"{path}: reading DICOM needs pydicom: pip install 'vae_jax[dicom]'"
        ) from None
    try:
        found = pydicom.dcmread(path)
        missing = [name for name in _NEEDED if name not in found]
        if not missing:
            return found, _header(found)
    except Exception as error:  # a damaged header fails in many ways
        raise DataError(f"{path}: not a readable DICOM file ({first_line(error)})") from None
    raise DataError(f"{path}: is no DICOM image, it lacks {', '.join(missing)}")


def _header(found: Any) -> Header:
    is_color = found.PhotometricInterpretation == _PALETTE or found.get("SamplesPerPixel", 1) == 3
    stored = _STORED.get((found.BitsAllocated, found.get("PixelRepresentation", 0)), "float32")
    if found.PhotometricInterpretation == _PALETTE:
        stored = "uint8"
    dtype = "float32" if _is_rescaled(found) else stored
    num_frames = int(found.get("NumberOfFrames", None) or 1)
    return Header((int(found.Rows), int(found.Columns)), dtype, is_color, num_frames)


def _is_rescaled(found: Any) -> bool:
    """Whether the header has a table or a rescale that changes values."""
    line = float(found.get("RescaleSlope", 1)), float(found.get("RescaleIntercept", 0))
    return "ModalityLUTSequence" in found or line != (1.0, 0.0)


def _frames(found: Any, about: Header) -> np.ndarray:
    """All frames [F, H, W, C] in the dtype of the header."""
    from pydicom import pixels

    values = found.pixel_array
    if found.PhotometricInterpretation == _PALETTE:
        values = pixels.apply_color_lut(values, found)
        values = values >> 8 if values.dtype.itemsize > 1 else values
    elif not about.is_color:
        values = pixels.apply_modality_lut(values, found) if _is_rescaled(found) else values
    values = values.reshape(about.num_frames, *about.size, 3 if about.is_color else 1)
    if found.PhotometricInterpretation == _INVERTED:
        values = _inverted(values, found)
    return values.astype(about.dtype)


def _inverted(values: np.ndarray, found: Any) -> np.ndarray:
    """Values [F, H, W, 1] with their order reversed within the range of the stored bits."""
    bits, is_signed = int(found.BitsStored), int(found.get("PixelRepresentation", 0))
    ends = np.array([0, 2**bits - 1], np.float64) - is_signed * 2 ** (bits - 1)
    slope, shift = float(found.get("RescaleSlope", 1)), float(found.get("RescaleIntercept", 0))
    return np.sum(ends) * slope + 2 * shift - values.astype(np.float64)
