"""Applies a trained run to new rows: encodes, scores, fills in, restores, draws.

A use is a file in `vae_jax/uses/`, whose settings are flags here.
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
from vae_jax.errors import UsageError
from vae_jax.lab import apply, config, entry, parsers

__all__ = ["DESCRIPTION", "FLAGS", "flag_texts", "main", "parse_use", "run"]

DESCRIPTION = (
    "Applies a trained run, or an exported file, to new rows. Columns are matched by name, in the "
    "units and words of the training; ids and the order of rows stay; files larger than memory are "
    "read block by block. The output has its name only when it is whole."
)
FLAGS = {
    "run": "directory of a run or of one program of a sweep, or an exported .safetensors file",
    "member": "which run of the program, from 0 (default: the only one)",
    "input": "the new rows: a table (.csv, .tsv, .parquet, .feather), an array (.npy, .npz) or a "
    "folder of pictures",
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


def main(name: str, values: dict) -> None:
    """Does with new rows what the flags say."""
    use = parse_use(name, values)
    for flag in ("run", "output", *(["input"] if use.takes_rows else [])):
        if values[flag] is None:
            raise UsageError(f"--{flag}: is missing: give {_example(name)}")
    if values["overwrite"] not in (None, "yes", "no"):
        raise UsageError(f"--overwrite={values['overwrite']}: must be yes or no")

    def parsed(flag: str, parse: Callable[[str], Any], default: Any = None) -> Any:
        text = values.get(flag)
        return default if text is None else config.parse_flag(flag, text, parse)

    apply.run(
        apply.Request(
            use,
            values["run"],
            Path(values["output"]),
            Path(values["input"]) if use.takes_rows else None,
            member=parsed("member", parsers.integer(0)),
            data_dir=values["data_dir"],
            num=parsed("num", parsers.integer(1)),
            label=parsed("label", _label),
            seed=parsed("seed", parsers.integer(0), 0),
            unseen=parsed("unseen", parsers.choice(UNSEEN), "refuse"),
            missing_values=parsed("missing_values", parsers.words),
            overwrite=values["overwrite"] == "yes",
            rows=parsed("rows", _rows, (0, None)),
        )
    )


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
    """Flag → its help line, of a use."""
    cls, helps = uses.load(name), uses.FAMILY.settings(name)
    texts = {n: t for n, t in FLAGS.items() if cls.takes_rows or n not in _OF_ROWS}
    texts |= {} if cls.takes_rows else _OF_SAMPLE
    for field in dataclasses.fields(cls):
        told = "" if field.default is None else f" (default: {field.default})"
        texts[field.name] = f"{helps[field.name].rstrip('.')}{told}"
    return texts


_OF_ROWS = ("input", "rows", "unseen", "missing_values")


def _example(name: str) -> str:
    """An example command of a use."""
    rows = "--input=new.csv" if uses.load(name).takes_rows else "--num=100"
    words = [*entry.words("apply"), name, "--run=runs/table-beta=4", rows, "--output=out.csv"]
    return " ".join(words)


def run() -> None:
    """Parses the use and the flags from `sys.argv`, applies the run, and exits."""
    asked = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if asked.startswith("-"):
        told = "; ".join(
            f"{name}: {uses.FAMILY.summary(name).rstrip('.')}" for name in uses.names()
        )
        first = f"{DESCRIPTION} The first word says what is done. {told}."
        cli.start(_refuse, FLAGS, first, example=_example("score"))
        return
    del sys.argv[1]
    cli.or_exit(lambda: uses.load(asked))
    name = aliases.canonical("use", asked)
    description = f"{uses.FAMILY.summary(name)} {DESCRIPTION}"
    example = _example(name)
    cli.start(lambda values: main(name, values), flag_texts(name), description, example=example)


def _refuse(values: dict) -> None:
    """Ends a command without a use."""
    raise UsageError(f"apply: say first what to do: one of {', '.join(uses.names())}")
