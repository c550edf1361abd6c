"""Lossless compression of a file with a trained run, and back."""

import math
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vae_jax import console, lossless
from vae_jax.data import _npy
from vae_jax.errors import DataError
from vae_jax.lab import loading, outputs
from vae_jax.storage import files
from vae_jax.trained import Trained

__all__ = ["Request", "compress", "decompress"]

_ROWS, _FILE = ".npy", ".vaez"


class Request(NamedTuple):
    """What is done with which files.

    Attributes:
        run: path of a run directory or an exported file.
        input: path of the rows, or of the compressed file.
        output: path of the other.
        member: index of one of several runs, a count, or None.
        data_dir: folder of the data of the training, or None.
        overwrite: whether an existing output is replaced.
        baselines: whether other codes are measured, too.
    """

    run: str
    input: Path
    output: Path
    member: int | None = None
    data_dir: str | None = None
    overwrite: bool = False
    baselines: bool = True


def compress(request: Request) -> None:
    """Compresses the array of an .npy file, and says what each code takes.

    Raises:
        UsageError: a setting or the model does not fit.
        DataError: the rows cannot be read, or are none of the model.
        StorageError: a file of the run cannot be read, or the output cannot be written.
    """
    start = time.perf_counter()
    _check(request, _ROWS, _FILE)
    trained, rows = _load(request), _npy.FileRows(request.input)
    where = str(request.input)
    made = lossless.compress(trained, rows, has_baselines=request.baselines, where=where)
    with outputs.replaced(request.output) as file:
        file.write(made.data)
    took = time.perf_counter() - start
    console.say(
        f"in {request.output}: {len(rows):,} rows of {math.prod(rows.shape[1:]):,} values in "
        f"{len(made.data):,} bytes, {took:.1f} s"
    )
    if not made.bits:
        return
    bits = {name: f"{value:.4f}" for name, value in made.bits.items()}
    console.say(
        f"bits per value: {bits.pop('file')} in the file, {bits.pop('coded')} without its header, "
        f"{bits.pop('net')} without {made.initial_bits:,} initial bits, too; −ELBO "
        f"{bits.pop('elbo')}"
    )
    if bits:
        others = ", ".join(f"{name} {value}" for name, value in bits.items())
        console.say(f"other codes, bits per value: {others}")


def decompress(request: Request) -> None:
    """Writes the rows of a compressed file as .npy; the output has its name once they are verified.

    Raises:
        UsageError: a setting does not fit, or another model or machine compressed the file.
        DataError: the file is damaged.
        StorageError: a file of the run cannot be read, or the output cannot be written.
    """
    start = time.perf_counter()
    _check(request, _FILE, _ROWS)
    data = files.read_bytes(request.input, remedy="give one that compress has made")
    shape, dtype, blocks = lossless.decompressed(_load(request), data, where=str(request.input))
    files.check_space(request.output.parent, math.prod(shape) * dtype.itemsize)
    with outputs.npy(request.output, shape[0]) as write:
        write(np.zeros((0, *shape[1:]), dtype))
        for block in blocks:
            write(block)
    took = time.perf_counter() - start
    console.say(f"in {request.output}: {shape[0]:,} rows, as they were compressed, {took:.1f} s")


def _check(request: Request, source: str, target: str) -> None:
    """Checks the names of the files before anything is computed."""
    if not request.input.is_file():
        raise DataError(f"{request.input}: is no file: give the path of one that ends in {source}")
    if request.input.suffix.lower() != source:
        raise DataError(
            f"{request.input}: must end in {source}: give an array that numpy.save wrote to "
            "compress, and what compress made to decompress"
        )
    outputs.check(request.output, request.input, overwrite=request.overwrite, suffixes=(target,))


def _load(request: Request) -> Trained:
    given = {"member": request.member, "data_dir": request.data_dir}
    return loading.load(request.run, **{n: v for n, v in given.items() if v is not None})
