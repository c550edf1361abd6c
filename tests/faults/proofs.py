"""Faults that the tests try already, in place and without a process: those marked `fault`."""

import functools
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

from ._lab import Lab, check, fault, finish

ROWS = {
    "R3": "killed between every two phases of a save",
    "R5": "step directories that are none: empty, renamed, linked, of another manifest",
    "R6": "a cache that is not of the data that was named",
    "R7": "NaN in a loss, a gradient, a run of a sweep",
    "R9": "directories that are a file, foreign, of another config or a newer version",
    "R11": "two processes in a directory, and the lock of a killed one",
    "R12": "another number of devices at resume, two processes",
    "R13": "the same seed twice, alone and in a sweep",
    "R14": "checkpoints and files of a stranger, in place",
    "R16": "nothing is served, asked of the network, unpickled or evaluated",
}
"""What the tests marked with a row try together."""


def marked(row: str, lab: Lab, tries: int | None) -> Iterator[str | None]:
    """Runs the tests that are marked with a row; what each of them lost."""
    report = lab.new().parent / "report.xml"
    report.parent.mkdir(parents=True)
    arguments = ["-m", "pytest", "-q", "-m", "fault", f"--fault={row}", f"--junitxml={report}"]
    ended = finish(lab.launch([*arguments, "-n0"]), timeout=1800)
    check(report.exists(), ended.words)
    found = list(ElementTree.parse(report).getroot().iter("testcase"))
    check(bool(found), f"no test is marked {row}: {ended.out[-300:]}")
    for case in found[:tries]:
        # a skipped one was not tried
        if case.find("skipped") is None:
            bad = case.find("failure") if case.find("error") is None else case.find("error")
            yield None if bad is None else f"{case.get('name')}: {bad.get('message', '')[:200]}"


for _row, _name in ROWS.items():
    fault(_row, _name)(functools.partial(marked, _row))
