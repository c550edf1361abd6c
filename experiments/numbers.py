"""Reruns the command behind a number in the docs: `python -m experiments.numbers digits`.

Without a name it lists the rows of docs/numbers.csv. A row has a command, the value that the docs
quote, and how to read the value from the command's output. The command runs in an empty folder;
both values are printed, the old one above the new one.
"""

import csv
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vae_jax import console
from vae_jax.errors import UsageError, VaeJaxError, did_you_mean

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs" / "numbers.csv"


class Row(NamedTuple):
    """A number in the docs, or several numbers from one command.

    Attributes:
        name: name of the row.
        claim: the measured quantity.
        command: command for bash.
        read: a regular expression whose groups are the value in the command's output; an empty one
            measures the seconds that the command takes.
        value: the value in the docs, cells separated by " | ".
        machine: the machine of the measurement.
        date: the date of the measurement.
    """

    name: str
    claim: str
    command: str
    read: str
    value: str
    machine: str
    date: str


def rows() -> dict[str, Row]:
    """The rows of the table by name."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        return {row["name"]: Row(**row) for row in csv.DictReader(file)}


def found(read: str, printed: str, seconds: float) -> str:
    """The value of a row in its command's output, as text; "" if it is not there."""
    if not read:
        return f"{seconds:.0f} s"
    groups = [match.groups() for match in re.finditer(read, printed, re.MULTILINE)]
    return " | ".join(text.strip() for match in groups for text in match)


def run(command: str) -> tuple[str, float]:
    """Runs a command in bash; returns its output and its seconds.

    Raises:
        VaeJaxError: the command fails.
    """
    own = os.path.dirname(sys.executable)
    path = {
        "PATH": os.pathsep.join([own, os.environ.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    with tempfile.TemporaryDirectory(prefix="numbers-") as folder:
        # tests are named by their path in the checkout
        where = ROOT if command.startswith(("python -m pytest", "python -m tests.")) else folder
        start = time.monotonic()
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=where,
            env={**os.environ, **path},
            stdout=subprocess.PIPE,
            text=True,
        )
        seconds = time.monotonic() - start
    if done.returncode:
        raise VaeJaxError(f"{command}: ended with exit code {done.returncode}, see above")
    return done.stdout, seconds


def main(argv: Sequence[str]) -> None:
    """Lists the rows, or runs the one with the given name.

    Raises:
        UsageError: there is no such row, or more than one name.
        VaeJaxError: the command fails, or does not print the number.
    """
    table = rows()
    if not argv:
        for row in table.values():
            console.say(f"{row.name}: {row.claim}")
        return
    if len(argv) > 1:
        raise UsageError(f"{' '.join(argv)}: name one row, or none for a list")
    if argv[0] not in table:
        hint = did_you_mean(argv[0], table)
        raise UsageError(f"{argv[0]!r} is no row{hint}: without a name all rows are listed")
    row = table[argv[0]]
    console.say(row.claim)
    console.say(f"  {row.command}")
    printed, seconds = run(row.command)
    value = found(row.read, printed, seconds)
    if not value:
        raise VaeJaxError(f"{row.name}: its command does not print the number any more")
    console.say(f"old: {row.value}  ({row.machine}, {row.date})")
    console.say_page(f"new: {value}  ({seconds:.0f} s)")


if __name__ == "__main__":
    if any(word in ("-h", "--help") for word in sys.argv[1:]):
        console.say_page(__doc__.strip())
        sys.exit()
    try:
        main(sys.argv[1:])
    except VaeJaxError as error:
        console.say(f"error: {error}", is_error=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
