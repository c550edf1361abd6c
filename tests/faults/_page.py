"""The campaign's table in docs/reliability.md: rows that were tried replace older ones."""

import re
from collections.abc import Iterable

_HEAD = "| | fault | tries | survived | lost |\n|---|---|---|---|---|\n"
_ROW = re.compile(r"\| (R(\d+)) \| (.*) \| [\d,]+ \| [\d,]+ \| [\d,]+ \|")


def inserted(text: str, lines: Iterable[str]) -> str:
    """A text with these rows in its table, each in the place of that of the same fault.

    Args:
        text: that holds the table.
        lines: of the table, without those that were skipped.
    """
    before, head, after = text.partition(_HEAD)
    table, end, rest = after.partition("\n\n")
    if not end:  # the page ends with its table
        table, end = table.removesuffix("\n"), "\n"
    rows = {}
    for line in [*table.split("\n"), *lines]:
        found = _ROW.fullmatch(line)
        rows[found[1], found[3]] = (int(found[2]), line)
    ordered = [line for _, line in sorted(rows.values(), key=lambda row: row[0])]
    return f"{before}{head}{chr(10).join(ordered)}{end}{rest}"
