"""Recordings, .wav files of integers, as series of frames."""

import collections
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax import sounds
from vae_jax.data import _folders, _label_files
from vae_jax.data._part import Part, Reading, complete
from vae_jax.errors import DataError, first_line

__all__ = ["SUFFIXES", "read"]

SUFFIXES = (".wav",)
"""Suffixes of supported files."""

_WHAT = "recordings"
_BYTES_OF_SAMPLE = 24  # while one recording becomes frames
_REMEDY = "give fewer or shorter recordings"


def read(
    folder: Path, files: Sequence[Path], reading: Reading
) -> tuple[dict[str, Part], list[str]]:
    """Reads recordings as series [N, T, C], with splits and labels from their folders.

    Args:
        folder: the folder given by the user; or one recording, which is a table [T, C] then.
        files: the recordings in it, sorted; and tables of labels.
        reading: its settings of sound, window and tally.

    Returns:
        (parts, notes).

    Raises:
        DataError: a recording cannot be read, or has another rate than most.
        UsageError: the settings of sound do not fit.
    """
    tables = [file for file in files if file.name.lower().endswith(".csv")]
    files = [file for file in files if file not in tables]
    held = [_read_file(file, reading) for file in files]
    framing = _framing(folder, files, [rate for rate, _ in held], reading)
    frames = [framing.frames(samples.mean(axis=1)) for _, samples in held]
    notes = _notes(framing, held)
    if folder == files[0]:
        if reading.window is None:
            raise DataError(
                f"{folder}: is one recording, of {len(frames[0]):,} frames: give window=16 to cut"
                " it into series of 16, or the path of a folder of recordings"
            )
        return {"all": Part(frames[0], framing=framing)}, notes
    splits, labels, told = _folders.places(folder, files, _WHAT)
    if tables and labels is None:
        labels, more = _label_files.read(folder, tables, files, _WHAT)
        told += more
    parts = {}
    longest = max(map(len, frames))
    reading.tally.add(folder, len(files) * longest * framing.num_channels * 4, _REMEDY)
    for split in dict.fromkeys(splits):
        rows = [i for i, own in enumerate(splits) if own == split]
        x = np.full((len(rows), longest, framing.num_channels), np.nan, np.float32)
        for row, i in enumerate(rows):
            x[row, : len(frames[i])] = frames[i]
        own = None if labels is None else _label_files.array([labels[i] for i in rows])
        parts[split] = Part(x, own, is_series=True, framing=framing)
    notes += told
    if "all" in parts:
        return parts, notes
    parts, told = complete(folder, parts, "folders")
    return parts, [*told, *notes]


def _framing(
    folder: Path, files: Sequence[Path], rates: Sequence[int], reading: Reading
) -> sounds.Framing:
    (common, count), *_ = collections.Counter(rates).most_common()
    if count < len(files):
        odd = next(i for i, rate in enumerate(rates) if rate != common)
        raise DataError(
            f"{files[odd]}: has {rates[odd]:,} samples per second, most of {folder} have"
            f" {common:,}: all must have one rate; resample it, or leave it out"
        )
    return sounds.make(common, **reading.sound)


def _notes(framing: sounds.Framing, held: Sequence[tuple[int, np.ndarray]]) -> list[str]:
    how = f"frames of {framing.frame} samples"
    if framing.kind == "mel":
        how = f"log energies of {framing.bands} mel bands, {how}, {framing.hop} apart"
    seconds = [len(samples) / rate for rate, samples in held]
    notes = [
        f"{len(held):,} recordings of {min(seconds):.3g} to {max(seconds):.3g} s at"
        f" {framing.rate:,} samples per second, read as {how}"
    ]
    num_several = sum(samples.shape[1] > 1 for _, samples in held)
    if num_several:
        notes.append(f"{num_several:,} recordings have several channels: averaged")
    return notes


def _read_file(path: Path, reading: Reading) -> tuple[int, np.ndarray]:
    """The rate of a recording, and its samples [n, channels] in [−1, 1)."""
    reading.tally.add(path, path.stat().st_size // 2 * _BYTES_OF_SAMPLE, _REMEDY)
    try:
        with path.open("rb") as file, wave.open(file) as held:
            about, raw = held.getparams(), held.readframes(held.getnframes())
    except wave.Error as error:
        raise DataError(
            f"{path}: is no recording of integers ({first_line(error)}): save it as 16-bit PCM"
        ) from None
    except (EOFError, OSError, RuntimeError, ValueError) as error:
        reason = first_line(error) or "it ends too early"
        raise DataError(f"{path}: not a readable recording ({reason})") from None
    size = about.sampwidth * about.nchannels
    if len(raw) != about.nframes * size or not raw:
        raise DataError(
            f"{path}: holds {len(raw) // size:,} of the {about.nframes:,} samples that its header"
            " says: fetch it again, or leave it out"
        )
    return about.framerate, _samples(raw, about).astype(np.float32)


def _samples(raw: bytes, about: Any) -> np.ndarray:
    """The integers of a recording, of 8 to 32 bits, as numbers [n, channels] in [−1, 1)."""
    if about.sampwidth == 1:  # these alone have no sign
        values = np.frombuffer(raw, np.uint8).astype(np.float64) / 128 - 1
    else:
        padded = np.zeros((len(raw) // about.sampwidth, 4), np.uint8)
        padded[:, 4 - about.sampwidth :] = np.frombuffer(raw, np.uint8).reshape(len(padded), -1)
        values = padded.view("<i4")[:, 0] / 2.0**31
    return values.reshape(-1, about.nchannels)
