"""The command: `python -m tests.mutants`. Ends non-zero if too few faults are caught."""

import argparse
import collections
import importlib
import json
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vae_jax import discovery

from ._lab import FAULTS, LIMIT_LEAST, LIMIT_SHARE, Ended, Fault, Lab

SHARE_TO_CATCH = 0.95


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", default="", help="modules (training,evaluation), with commas")
    parser.add_argument("--jobs", type=int, default=1, help="faults that are tried side by side")
    parser.add_argument("--list", action="store_true", help="names the faults and tries none")
    parser.add_argument(
        "--json", help="a file for what became of each fault; what saw it there last runs first"
    )
    return parser.parse_args()


def chosen(only: str) -> list[Fault]:
    """The faults of the modules that are named, and of those below them; all if none is."""
    asked = [word.strip() for word in only.split(",") if word.strip()]
    if not asked:
        return list(FAULTS)
    return [f for f in FAULTS if any(f"{f.module}.".startswith(f"{word}.") for word in asked)]


def verdict(ended: Ended) -> str:
    """What became of a fault, in a word: only a test that ran and failed has caught it."""
    if ended.code is None:
        return "over time"
    if ended.code == 0:
        return "survived"
    is_test = ended.code == 1 and ended.failed and not ended.failed[0].startswith("collecting")
    return "caught" if is_test else "broken"


def baselines(lab: Lab, tests: Sequence[str], pool: ThreadPoolExecutor) -> dict[str, float]:
    """Test file → the seconds that it takes without a fault.

    Raises:
        RuntimeError: one does not pass, and so could not tell a fault.
    """
    seconds = {}
    for test, ended in zip(tests, pool.map(lab.baseline, tests), strict=True):
        if ended.code != 0:
            raise RuntimeError(
                f"tests/test_{test}.py does not pass without a fault:\n{ended.output[-3000:]}"
            )
        seconds[test] = ended.seconds
        print(f"without a fault: {test} passes in {ended.seconds:.0f} s", flush=True)
    return seconds


class Ledger:
    """What became of each fault, and what has seen it before.

    Args:
        file: of --json, where it is kept after each fault; None: nowhere. Rows of an earlier run
            stay until their fault was tried anew.
    """

    def __init__(self, file: str | None):
        self._file = None if file is None else Path(file)
        earlier = self._file is not None and self._file.exists()
        rows = json.loads(self._file.read_text()) if earlier else []
        self._rows = {(row["module"], row["what"]): row for row in rows}
        self._lock = threading.Lock()

    def likely(self, fault: Fault) -> list[str]:
        """The tests that saw a fault, as pytest names them; none if none did."""
        row = self._rows.get((fault.module, fault.what), {"verdict": "new"})
        return row["by"] if row["verdict"] == "caught" else []

    def enter(self, row: dict) -> None:
        """Prints and keeps what became of a fault."""
        by = f" by {row['by'][0]}" if row["by"] else ""
        told = f"{row['verdict']}{by}, {row['seconds']} s"
        with self._lock:
            print(f"{row['module']}: {row['what']}: {told}", flush=True)
            self._rows[row["module"], row["what"]] = row
            if self._file is not None:
                self._file.write_text(json.dumps([*self._rows.values()], indent=1) + "\n")


def attempt(lab: Lab, fault: Fault, seconds: dict[str, float], likely: Sequence[str]) -> dict:
    """Tries a fault; a row of what is printed and kept."""
    limit = max(LIMIT_LEAST, LIMIT_SHARE * sum(seconds[test] for test in fault.tests))
    row = {"module": fault.module, "what": fault.what, "by": [], "seconds": 0}
    try:
        ended = lab.attempt(fault, limit, likely)
    except RuntimeError as error:
        return {**row, "verdict": "broken", "output": str(error)}
    row |= {"verdict": verdict(ended), "by": ended.failed[:1], "seconds": round(ended.seconds)}
    return {**row, "output": ended.output[-1000:]} if row["verdict"] == "broken" else row


def table(rows: Sequence[dict]) -> list[str]:
    """Caught and survived by module, then the survivors by name."""
    by_module: dict[str, collections.Counter] = {}
    for row in rows:
        by_module.setdefault(row["module"], collections.Counter())[row["verdict"]] += 1
    lines = ["", "| module | caught | survived |", "|---|---|---|"]
    for module, counts in by_module.items():
        lines.append(f"| {module} | {counts['caught']} | {counts.total() - counts['caught']} |")
    caught = sum(counts["caught"] for counts in by_module.values())
    lines += [f"| all | {caught} | {len(rows) - caught} |", ""]
    others = [row for row in rows if row["verdict"] != "caught"]
    return lines + [f"{row['verdict']}: {row['module']}: {row['what']}" for row in others]


def main() -> int:
    """Tries the faults that are asked for and prints the table; the exit code."""
    flags = parse()
    for name in discovery.names(__package__):
        importlib.import_module(f"{__package__}.{name}")
    faults = chosen(flags.only)
    if not faults:
        print(f"--only={flags.only}: no such module, see --list", file=sys.stderr)
        return 2
    if flags.list:
        for fault in faults:
            print(f"{fault.module}: {fault.what}")
        return 0
    start, ledger = time.monotonic(), Ledger(flags.json)

    def one(fault: Fault) -> dict:
        row = attempt(lab, fault, seconds, ledger.likely(fault))
        ledger.enter(row)
        return row

    tests = sorted({test for fault in faults for test in fault.tests})
    with (
        tempfile.TemporaryDirectory(prefix="mutants-") as folder,
        ThreadPoolExecutor(flags.jobs) as pool,
    ):
        lab = Lab(Path(folder), flags.jobs)
        try:
            seconds = baselines(lab, tests, pool)
            rows = list(pool.map(one, faults))
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 2
        finally:
            lab.stop()
    print(*table(rows), sep="\n")
    share = sum(row["verdict"] == "caught" for row in rows) / len(rows)
    minutes = (time.monotonic() - start) / 60
    print(f"\n{len(rows)} faults, {share:.1%} caught, {minutes:.0f} min")
    return 0 if share >= SHARE_TO_CATCH else 1


if __name__ == "__main__":
    sys.exit(main())
