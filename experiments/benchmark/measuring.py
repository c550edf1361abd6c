"""How things are measured and compared, and the tables that say so."""

import functools
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from vae_jax.devices import hardware
from vae_jax.devices import platform as devices
from vae_jax.errors import StorageError
from vae_jax.storage import provenance

UNITS: dict[str, Callable[[float], str]] = {
    "s/step": lambda value: f"{value * 1e6:,.1f} µs/step",
    "s": lambda value: f"{value:.2f} s",
    "s/image": lambda value: f"{value * 1e3:,.2f} ms/image",
    "bytes": lambda value: f"{value / 2**20:,.0f} MiB",
}
"""What a row may measure, by the unit of its value; each spells a value."""


class Target(NamedTuple):
    """A promise about a row.

    Attributes:
        bound: the ratio or the value, in the row's unit.
        is_floor: whether it is to be reached; else it is not to be exceeded.
        of_value: whether it bounds the row's value; else its ratio.
    """

    bound: float
    is_floor: bool = False
    of_value: bool = False


class Row(NamedTuple):
    """A line of a table.

    Attributes:
        case: what is trained; rows of one case were measured together.
        what: the way it is trained.
        value: the median over the rounds; of a step, that of one run.
        unit: of the value, a key of `UNITS`.
        ratio: to the row that `to` names, the median over the rounds.
        low, high: between these lie half of the rounds' ratios.
        to: what the ratio compares, in words.
        target: what was promised, or None.
    """

    case: str
    what: str
    value: float
    unit: str
    ratio: float
    low: float
    high: float
    to: str
    target: Target | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None:
            return None
        bound, found = self.target.bound, self.value if self.target.of_value else self.ratio
        return found >= bound if self.target.is_floor else found <= bound


def measure(
    works: Mapping[str, Callable[[], float]],
    *,
    rounds: int,
    warmups: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Lets pieces of work take turns, there and back again, after turns that do not count.

    Args:
        works: each does some work when called and returns how many units of it.
        rounds: how often each is called, a count.
        warmups: turns before that; of training the first compiles, the second finds how much fits
            a turn.
        clock: to seconds.

    Returns:
        For each work the seconds per unit of every round, [rounds].
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(-warmups, rounds):
        for name in works if turn % 2 else reversed(works):
            start = clock()
            units = works[name]()
            seconds = clock() - start
            if turn >= 0:
                times[name].append(seconds / units)
    return times


def compare(
    case: str,
    what: str,
    values: Sequence[float],
    reference: Sequence[float],
    to: str,
    *,
    unit: str = "s/step",
    is_speed: bool = False,
    scale: float = 1.0,
    target: Target | None = None,
) -> Row:
    """The row of a measurement: its median, and its ratio to another round by round.

    Args:
        case, what, to, unit, target: see `Row`.
        values: what was measured, [rounds].
        reference: what it is compared to, in the same unit, [rounds].
        is_speed: whether the ratio is one of speeds, not of times.
        scale: by which the ratios are multiplied.
    """
    pairs = zip(reference, values, strict=True) if is_speed else zip(values, reference, strict=True)
    ratios = [scale * a / b for a, b in pairs]
    low, ratio, high = np.quantile(ratios, [0.25, 0.5, 0.75]).tolist()
    return Row(case, what, statistics.median(values), unit, ratio, low, high, to, target)


def is_on_cpu() -> bool:
    """Whether runs are trained by the processor."""
    return jax.devices()[0].platform == "cpu"


def machine() -> dict:
    """What the numbers depend on: versions, the kind of device, the cores, PyTorch."""
    found = jax.devices()
    return {
        **provenance.environment(found),
        "device_kind": found[0].device_kind,
        "processor": processor(),
        "num_cores": hardware.num_cores(),
        "torch": torch_version(),
        "load_average": os.getloadavg()[0],
    }


def processor() -> str:
    """The name that the processor gives itself, or its kind if the system does not tell."""
    names = [line.partition(":")[2].strip() for line in hardware.lines_of_cpuinfo("model name")]
    return names[0] if names else platform.machine()


def torch_version() -> str | None:
    """The version of PyTorch, None where it is not installed; does not import it."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None


def machine_line(machine: Mapping) -> str:
    """The machine in a line."""
    packages = [f"{n} {machine['packages'][n]}" for n in ("jax", "jaxlib", "flax")]
    packages += [f"torch {machine['torch']}"] if machine["torch"] else []
    kind, num = machine["device_kind"], len(machine["devices"])
    return (
        f"{num} × {kind}, {machine['num_cores']} cores ({machine['processor']}), "
        f"{machine['platform']}, Python {machine['python']}, {', '.join(packages)}"
    )


def is_busy(machine: Mapping) -> bool:
    """Whether so much was computed here before the first measurement that it may matter."""
    return machine["load_average"] > 0.25 * machine["num_cores"]


HEADER = f"  {'':<56}{'measured':>18}{'ratio':>8}  {'half within':<17}to"


def row_line(row: Row) -> str:
    """A row as text, under `HEADER`."""
    line = (
        f"  {row.what:<56}{UNITS[row.unit](row.value):>18}{row.ratio:>8.2f}  "
        f"{f'{row.low:.2f} to {row.high:.2f}':<17}{row.to}"
    )
    return line if row.target is None else f"{line}; {target_words(row)}"


def target_words(row: Row) -> str:
    """What was promised of a row, and whether it is so."""
    bound = row.target.bound
    text = UNITS[row.unit](bound) if row.target.of_value else f"{bound:g}"
    sign = "≥" if row.target.is_floor else "≤"
    return f"target {sign} {text}: {'met' if row.is_met else 'missed'}"


def row_record(row: Row) -> dict:
    """A row for a JSON file: its fields, the target's as well, and whether that is met."""
    target = None if row.target is None else {**row.target._asdict(), "is_met": row.is_met}
    return {**row._asdict(), "target": target}


def table(title: str, rows: Iterable[Row | str]) -> Iterator[str]:
    """A section as lines, each as soon as its row is there; strings among the rows are remarks."""
    yield ""
    yield title
    yield HEADER
    case = None
    for row in rows:
        if isinstance(row, str):
            yield f"  ({row})"
            continue
        if row.case != case:
            case = row.case
            yield case
        yield row_line(row)


def write_json(path: str, result: dict) -> None:
    """Writes a result.

    Raises:
        StorageError: it cannot be written there.
    """
    try:
        Path(path).write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise StorageError(f"--json={path}: cannot be written ({error.strerror})") from None


def report(
    sections: Mapping[str, Callable], effort, *, path: str | None = None, say: Callable = print
) -> dict:
    """Measures sections, prints their tables and writes them down, each as soon as it is done.

    Args:
        sections: name → function from an effort, which yields rows and remarks.
        effort: an `Effort`: how much to spend.
        path: of a file for the result, as JSON, or None.
        say: takes a line of the tables.

    Returns:
        `machine`, `effort`, and `sections`: name → {"title", "rows", "remarks"}.

    Raises:
        StorageError: the file cannot be written.
    """
    devices.warn()
    result = {"machine": machine(), "effort": effort._asdict(), "sections": {}}
    say(machine_line(result["machine"]))
    if is_busy(result["machine"]):
        say(
            f"others compute here (load average {result['machine']['load_average']:.1f}): "
            "ratios of programs that use threads differently mean little"
        )
    write = functools.partial(write_json, path, result) if path else lambda: None
    write()  # fails before minutes are spent
    for name, section in sections.items():
        title, found = f"{name}: {section.__doc__}", []
        for line in table(title, (found.append(row) or row for row in section(effort))):
            say(line)
        result["sections"][name] = {
            "title": title,
            "rows": [row_record(row) for row in found if not isinstance(row, str)],
            "remarks": [remark for remark in found if isinstance(remark, str)],
        }
        write()
    return result
