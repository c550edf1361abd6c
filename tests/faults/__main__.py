"""The command: `python -m tests.faults`. Ends non-zero where anything was lost."""

import argparse
import importlib
import json
import shutil
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vae_jax import discovery

from ._lab import FAULTS, Fault, Lab, LostError, SkippedError
from ._page import inserted

MAX_TOLD = 5
"""Losses of a fault that are told in words, a count."""


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", default="", help="rows (R1,R5) or words of names, with commas")
    parser.add_argument("--share", type=float, default=1.0, help="of the tries, for a first look")
    parser.add_argument("--jobs", type=int, default=2, help="faults that are tried side by side")
    parser.add_argument("--seed", type=int, default=0, help="of the moments that are drawn")
    parser.add_argument("--json", help="a file for the table")
    parser.add_argument("--page", help="writes the rows into a page: docs/reliability.md")
    parser.add_argument("--folder", help="where to try; what was lost stays there")
    return parser.parse_args()


def chosen(only: str) -> list[Fault]:
    """The faults whose row or name is asked for; all of them where nothing is."""
    asked = [word.strip() for word in only.split(",") if word.strip()]
    if not asked:
        return list(FAULTS)
    return [f for f in FAULTS if any(w == f.row or (len(w) > 3 and w in f.name) for w in asked)]


def attempt(fault: Fault, folder: Path, seed: int, share: float) -> dict:
    """Tries a fault as often as it says; a row of the table."""
    folder.mkdir(parents=True)
    start = time.monotonic()
    lab = Lab(folder, seed)
    tries = fault.tries
    if share < 1:
        tries = max(1, round((tries or 10) * share))
    lost: list[str] = []
    num = 0
    skipped = None
    try:
        for reason in fault.run(lab, tries):
            num += 1
            lost += [] if reason is None else [reason]
    except SkippedError as why:
        skipped = str(why)
    except LostError as why:
        num, lost = num + 1, [*lost, str(why)]
    except Exception as error:  # a fault of the campaign is none that was survived
        num, lost = num + 1, [*lost, f"{type(error).__name__}: {error}"]
    if not lost:
        shutil.rmtree(folder, ignore_errors=True)
    seconds = round(time.monotonic() - start)
    return {
        "row": fault.row,
        "fault": fault.name,
        "tries": num,
        "survived": num - len(lost),
        "lost": len(lost),
        "reasons": lost,
        "skipped": skipped,
        "seconds": seconds,
    }


def line(row: dict) -> str:
    """A row of the table as text."""
    counts = f"| {row['tries']} | {row['survived']} | {row['lost']} |"
    note = f" ({row['skipped']})" if row["skipped"] else ""
    return f"| {row['row']} | {row['fault']}{note} {counts}"


def main() -> int:
    """Tries what is asked for, prints the table; the exit code."""
    flags = parse()
    for name in discovery.names(__package__):
        importlib.import_module(f"{__package__}.{name}")
    faults = chosen(flags.only)
    if not faults:
        print(f"--only={flags.only}: no such fault, rows are R1 to R22", file=sys.stderr)
        return 2
    folder = Path(flags.folder or tempfile.mkdtemp(prefix="faults-"))
    start, lock, rows = time.monotonic(), threading.Lock(), {}

    def one(number: int) -> None:
        row = attempt(faults[number], folder / f"fault{number}", flags.seed, flags.share)
        with lock:
            rows[number] = row
            print(f"{line(row)} {row['seconds']} s", flush=True)
            for reason in row["reasons"][:MAX_TOLD]:
                print(f"    lost: {reason}", flush=True)
            if flags.json:
                table = [rows[n] for n in sorted(rows)]
                Path(flags.json).write_text(json.dumps(table, indent=1) + "\n")

    numbers = range(len(faults))
    for number in (n for n in numbers if faults[n].alone):
        one(number)
    with ThreadPoolExecutor(flags.jobs) as pool:
        list(pool.map(one, (n for n in numbers if not faults[n].alone)))
    print("\n| | fault | tries | survived | lost |\n|---|---|---|---|---|")
    for number in sorted(rows, key=lambda n: (int(faults[n].row[1:]), n)):
        print(line(rows[number]))
    if flags.page:
        path, tried = Path(flags.page), (row for row in rows.values() if not row["skipped"])
        path.write_text(inserted(path.read_text(), map(line, tried)))
    num_tries, num_lost = (sum(row[name] for row in rows.values()) for name in ("tries", "lost"))
    minutes = (time.monotonic() - start) / 60
    print(f"\n{num_tries:,} tries, {num_lost} lost, {minutes:.0f} min, seed {flags.seed}")
    if num_lost:
        print(f"what was lost is in {folder}")
    return 1 if num_lost else 0


if __name__ == "__main__":
    sys.exit(main())
