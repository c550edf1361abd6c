"""The runs that a command line asks for: several values of a flag, and the rows of a file."""

import itertools
import json
import math
import os
import re

from vae_jax.errors import UsageError, verbatim
from vae_jax.lab import config as config_lib
from vae_jax.lab import rows as rows_lib
from vae_jax.lab.settings import Config, flag_fields

__all__ = ["expand", "make_configs", "split"]


def expand(values: dict[str, str | None], file: str | None = None) -> list[dict[str, str | None]]:
    """Expands flags with several values, and the rows of a file, to all runs.

    Args:
        values: flag → text, or None if it was not given; commas separate values.
        file: file with rows, or None.

    Returns:
        Flag → text with one value each, for each run: rows outermost, then the product of the flags
            in the order of the help page.

    Raises:
        UsageError: the file is invalid, a flag is given both there and here, or there are too many
        runs.
    """
    fields = {f.name: f for f in flag_fields()}
    lists = {}
    for name, value in values.items():
        sweeps = name not in fields or fields[name].metadata["sweeps"]
        lists[name] = split(value, name) if sweeps and isinstance(value, str) else [value]
    rows = [{}] if file is None else rows_lib.read_rows(file, values)
    names = [name for name in lists if name not in rows[0]]
    # count the runs before making them: a product may be huge
    num_runs = len(rows) * math.prod(len(lists[name]) for name in names)
    if num_runs > rows_lib.MAX_RUNS:
        raise UsageError(f"{num_runs} runs: at most {rows_lib.MAX_RUNS} in one sweep, split it")
    products = list(itertools.product(*(lists[name] for name in names)))
    return [dict(zip(names, product, strict=True)) | row for row in rows for product in products]


def split(value: str, name: str) -> list[str]:
    """Splits the values of a flag at commas outside parentheses, or `widths` at semicolons."""
    if name == "dataset" and os.path.lexists(value):
        return [value]
    if name != "dataset" and value.count("(") != value.count(")"):
        raise UsageError(f"{name}={value}: a parenthesis is not closed, or not opened")
    separator = ";" if name == "widths" else r",(?![^()]*\))"
    items = [item.strip() for item in re.split(separator, value)]
    if len(items) > 1 and "" in items:
        raise UsageError(f"{name}={value}: holds an empty value, give one after each comma")
    return items


def make_configs(values: dict[str, str | None], file: str | None = None) -> list[Config]:
    """The `Config` of each run requested by the flags.

    Raises:
        UsageError: a value does not fit, or two runs are the same.
    """
    rows = expand(values, file)
    configs, seen = [], {}
    for number, row in enumerate(rows, 1):
        config = _config(row, number, len(rows), file)
        settings = config.requested()
        key = json.dumps(settings, sort_keys=True)
        if key in seen:
            told = ", ".join(
                f"{name}={row[name]}" for name in row if row[name] and name in settings
            )
            listed = [f"{n}={v}" for n, v in values.items() if v and v != row.get(n)]
            where = f"{' '.join(listed)}: " if listed else ""
            raise UsageError(
                f"{where}runs {seen[key]} and {number} of the sweep are the same "
                f"({verbatim(told or 'defaults')}): give each value once"
            )
        seen[key] = number
        configs.append(config)
    return configs


def _config(row: dict[str, str | None], number: int, num_runs: int, file: str | None) -> Config:
    """The `Config` of one run; an error names the run among several, and how they may differ."""
    try:
        return config_lib.from_flags(row)
    except config_lib.CombinationError as error:
        if num_runs == 1 or file is not None:
            raise UsageError(f"{_place(number, file)}{error}") from None
        raise UsageError(
            f"run {number} of {num_runs}: {error} (rows of sweep=FILE may leave a cell empty)"
        ) from None
    except UsageError as error:
        raise UsageError(f"{_place(number, file)}{error}") from None


def _place(number: int, file: str | None) -> str:
    return "" if file is None else f"sweep={file}, run {number}: "
