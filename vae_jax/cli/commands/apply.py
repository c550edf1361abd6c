"""Applies a trained run to new rows: encodes, scores, fills in, restores, draws, compresses.

A use is a file in `vae_jax/uses/`, whose settings are flags here. Compression is of whole files.
"""

import dataclasses
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vae_jax import aliases, uses
from vae_jax.cli import command as cli
from vae_jax.data._matching import UNSEEN
from vae_jax.errors import UsageError, unknown
from vae_jax.lab import apply, compress, config, entry, parsers

__all__ = ["DESCRIPTION", "FLAGS", "flag_texts", "main", "names", "parse_use", "run"]

DESCRIPTION = (
    "Applies a trained run, or an exported file, to new rows. Columns are matched by name, in the "
    "units and words of the training; ids and the order of rows stay; files larger than memory are "
    "read block by block. The output has its name only when it is whole."
)
FLAGS = {
    "run": "directory of a run or of one program of a sweep, or an exported .safetensors file",
    "member": "which run of the program, from 0 (default: the only one)",
    "input": "the new rows: a table (.csv, .tsv, .parquet, .feather), an array (.npy, .npz), a "
    "text (.txt) or a folder of pictures",
    "output": "where the results go: a file of the format of the input, or a folder of pictures",
    "overwrite": "yes: an existing output is replaced",
    "rows": "which rows of the input, such as 0:1000, the first thousand: for several processes, "
    "each of which writes its own output (default: all)",
    "seed": "decides every draw, together with the index of the row (default: 0)",
    "unseen": "what a category becomes that training did not have: refuse, or missing (default: "
    "refuse)",
    "missing_values": "texts of missing cells, with commas between them (default: as in training)",
    "data_dir": "where datasets lie, or files that moved (default: where they lay in training)",
}
"""Flag → its help line, of every use."""
_OF_SAMPLE = {
    "num": "rows that are drawn (default: 100)",
    "label": "the label of all rows, of a conditional model",
}


_OF_FILES = {
    "compress": (
        compress.compress,
        "Compresses the array of an .npy file without loss: the better the model, the smaller.",
        {
            "input": "the rows: an .npy file",
            "output": "where the compressed file goes: .vaez",
            "baselines": "no: gzip, bz2, xz and independent values are not measured (default: yes)",
        },
    ),
    "decompress": (
        compress.decompress,
        "Restores the array that compress read, bit for bit, with the run that compressed it.",
        {"input": "the compressed file: .vaez", "output": "where the rows go: .npy"},
    ),
}
"""Word → what is done with a whole file, its summary, and the help lines of its own flags."""
_OF_ANY_FILE = ("run", "member", "overwrite", "data_dir")


def names() -> list[str]:
    """The first words of the command: the uses, and what is done with whole files."""
    return [*uses.names(), *_OF_FILES]


def main(name: str, values: dict) -> None:
    """Does with new rows what the flags say."""
    use = None if name in _OF_FILES else parse_use(name, values)
    needs_input = use is None or use.takes_rows
    for flag in ("run", "output", *(["input"] if needs_input else [])):
        if values[flag] is None:
            raise UsageError(f"--{flag}: is missing: give {_example(name)}")
    for flag in ("overwrite", "baselines"):
        if values.get(flag) not in (None, "yes", "no"):
            raise UsageError(f"--{flag}={values[flag]}: must be yes or no")
    given = {
        "member": _parsed(values, "member", parsers.integer(0)),
        "data_dir": values["data_dir"],
        "overwrite": values["overwrite"] == "yes",
    }
    paths = values["run"], Path(values["output"]), Path(values["input"]) if needs_input else None
    if use is None:
        run, output, source = paths
        request = compress.Request(run, source, output, **given)
        work = _OF_FILES[name][0]
        work(request._replace(baselines=values.get("baselines") != "no"))
        return
    apply.run(
        apply.Request(
            use,
            *paths,
            **given,
            num=_parsed(values, "num", parsers.integer(1)),
            label=_parsed(values, "label", _label),
            seed=_parsed(values, "seed", parsers.integer(0), 0),
            unseen=_parsed(values, "unseen", parsers.choice(UNSEEN), "refuse"),
            missing_values=_parsed(values, "missing_values", parsers.words),
            rows=_parsed(values, "rows", _rows, (0, None)),
        )
    )


def _parsed(values: dict, flag: str, parse: Callable[[str], Any], default: Any = None) -> Any:
    """The value of a flag, or the default if it was not given."""
    text = values.get(flag)
    return default if text is None else config.parse_flag(flag, text, parse)


def parse_use(name: str, values: dict) -> uses.Use:
    """A use with the settings that the flags give it.

    Raises:
        UsageError: a value does not fit.
    """
    given = {}
    for field in dataclasses.fields(uses.load(name)):
        if values.get(field.name) is not None:
            parse = _parser(field.default)
            given[field.name] = config.parse_flag(field.name, values[field.name], parse)
    return uses.make(name, **given)


def _parser(default: Any) -> Callable[[str], Any]:
    """The parser of a setting, from its default: a count, a number or a word."""
    if isinstance(default, int) or default is None:
        return parsers.integer(1)
    return _number if isinstance(default, float) else parsers.text


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError("must be a number") from None


def _rows(text: str) -> tuple[int, int | None]:
    """The first row and the one after the last, from FIRST:LAST."""
    found = re.fullmatch(r"(\d{0,15}):(\d{0,15})", text)
    first = int(found[1] or 0) if found else 0
    last = int(found[2]) if found and found[2] else None
    if found is None or (last is not None and last <= first):
        raise UsageError("must be rows such as 0:1000, from the first to before the last")
    return first, last


def _label(text: str) -> Any:
    """A label as a number if it is one."""
    try:
        return int(text)
    except ValueError:
        return text


def flag_texts(name: str) -> dict[str, str]:
    """Flag → its help line, of one of `names()`."""
    if name in _OF_FILES:
        return {n: FLAGS[n] for n in _OF_ANY_FILE} | _OF_FILES[name][2]
    cls, helps = uses.load(name), uses.FAMILY.settings(name)
    texts = {n: t for n, t in FLAGS.items() if cls.takes_rows or n not in _OF_ROWS}
    texts |= {} if cls.takes_rows else _OF_SAMPLE
    for field in dataclasses.fields(cls):
        told = "" if field.default is None else f" (default: {field.default})"
        texts[field.name] = f"{helps[field.name].rstrip('.')}{told}"
    return texts


_OF_ROWS = ("input", "rows", "unseen", "missing_values")


def _example(name: str) -> str:
    """An example command of one of `names()`."""
    if name in _OF_FILES:
        ends = (".npy", ".vaez") if name == "compress" else (".vaez", ".npy")
        rows = "--run=runs/digits-beta=4 --input=new{} --output=out{}".format(*ends)
        return " ".join([*entry.words("apply"), name, rows])
    rows = "--input=new.csv" if uses.load(name).takes_rows else "--num=100"
    words = [*entry.words("apply"), name, "--run=runs/table-beta=4", rows, "--output=out.csv"]
    return " ".join(words)


def _summary(name: str) -> str:
    return _OF_FILES[name][1] if name in _OF_FILES else uses.FAMILY.summary(name)


def run() -> None:
    """Parses the use and the flags from `sys.argv`, applies the run, and exits."""
    asked = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if asked.startswith("-"):
        told = "; ".join(f"{name}: {_summary(name).rstrip('.')}" for name in names())
        first = f"{DESCRIPTION} The first word says what is done. {told}."
        cli.start(_refuse, FLAGS, first, example=_example("score"))
        return
    del sys.argv[1]
    name = asked if asked in _OF_FILES else aliases.canonical("use", asked)
    cli.or_exit(lambda: _check_name(name))
    description = f"{_summary(name)} {DESCRIPTION if name not in _OF_FILES else ''}".strip()
    example = _example(name)
    cli.start(lambda values: main(name, values), flag_texts(name), description, example=example)


def _check_name(name: str) -> None:
    if name not in names():
        raise unknown("use", name, names())


def _refuse(values: dict) -> None:
    """Ends a command without a use."""
    raise UsageError(f"apply: say first what to do: one of {', '.join(names())}")
