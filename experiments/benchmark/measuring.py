"""Measuring, comparing, and tables of results."""

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
    "s/row": lambda value: f"{value * 1e6:,.2f} µs/row",
    "FLOP/s": lambda value: f"{value * 1e-12:,.4g} TFLOP/s",
    "bytes/s": lambda value: f"{value * 1e-9:,.4g} GB/s",
    "exponent": lambda value: f"n^{value:.2f}",
    "bytes": lambda value: f"{value / 2**20:,.0f} MiB",
}
"""Units of a row's value → a function that formats a value."""


class Target(NamedTuple):
    """A promised bound for a row.

    Attributes:
        bound: the bound for the ratio or the value, in the row's unit.
        is_floor: whether it is a minimum; otherwise a maximum.
        of_value: whether it is for the row's value; otherwise for its ratio.
    """

    bound: float
    is_floor: bool = False
    of_value: bool = False


class Row(NamedTuple):
    """A line of a table.

    Attributes:
        case: the workload; rows of one case were measured together.
        what: how it is trained.
        value: the median over the rounds; for a step, that of one run.
        unit: unit of the value, a key of `UNITS`.
        ratio: ratio to the reference row `to`, the median over the rounds.
        low, high: interquartile range of the rounds' ratios.
        to: the reference of the ratio, in words.
        target: the promised bound, or None.
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
        """Whether the target is met; None if there is none."""
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
    """Runs pieces of work interleaved, in alternating order, after warm-up turns.

    Args:
        works: each does some work when called, and returns the number of units.
        rounds: number of calls of each, a count.
        warmups: number of turns before; in training, the first compiles, the second finds how many
            steps fit in a turn.
        clock: returns the time in seconds.

    Returns:
        For each work, the seconds per unit of every round, [rounds].
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
    """Makes the row of a measurement: its median, and its ratio to a reference per round.

    Args:
        case, what, to, unit, target: see `Row`.
        values: measured values, [rounds].
        reference: values of the reference, in the same unit, [rounds].
        is_speed: whether the ratio is of speeds, not of times.
        scale: factor for the ratios.
    """
    pairs = zip(reference, values, strict=True) if is_speed else zip(values, reference, strict=True)
    ratios = [scale * a / b for a, b in pairs]
    low, ratio, high = np.quantile(ratios, [0.25, 0.5, 0.75]).tolist()
    return Row(case, what, statistics.median(values), unit, ratio, low, high, to, target)


def is_on_cpu() -> bool:
    """Whether runs are trained on the CPU."""
    return jax.devices()[0].platform == "cpu"


def machine() -> dict:
    """The machine that the numbers depend on: versions, devices, cores, PyTorch."""
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
    """The processor's name, or its architecture if the system does not know it."""
    names = [line.partition(":")[2].strip() for line in hardware.lines_of_cpuinfo("model name")]
    return names[0] if names else platform.machine()


def torch_version() -> str | None:
    """The version of PyTorch without importing it, None if it is not installed."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None


def machine_line(machine: Mapping) -> str:
    """Describes the machine in one line."""
    packages = [f"{n} {machine['packages'][n]}" for n in ("jax", "jaxlib", "flax")]
    packages += [f"torch {machine['torch']}"] if machine["torch"] else []
    kind, num = machine["device_kind"], len(machine["devices"])
    return (
        f"{num} × {kind}, {machine['num_cores']} cores ({machine['processor']}), "
        f"{machine['platform']}, Python {machine['python']}, {', '.join(packages)}"
    )


def is_busy(machine: Mapping) -> bool:
    """Whether the machine was busy before the first measurement, which may affect it."""
    return machine["load_average"] > 0.25 * machine["num_cores"]


HEADER = f"  {'':<56}{'measured':>18}{'ratio':>8}  {'half within':<17}to"


def row_line(row: Row) -> str:
    """Formats a row as text, to print below `HEADER`."""
    line = (
        f"  {row.what:<56}{UNITS[row.unit](row.value):>18}{row.ratio:>8.2f}  "
        f"{f'{row.low:.2f} to {row.high:.2f}':<17}{row.to}"
    )
    return line if row.target is None else f"{line}; {target_words(row)}"


def target_words(row: Row) -> str:
    """A row's target, and whether it is met."""
    bound = row.target.bound
    text = UNITS[row.unit](bound) if row.target.of_value else f"{bound:g}"
    sign = "≥" if row.target.is_floor else "≤"
    return f"target {sign} {text}: {'met' if row.is_met else 'missed'}"


def row_record(row: Row) -> dict:
    """A row as JSON: its fields, its target, and whether the target is met."""
    target = None if row.target is None else {**row.target._asdict(), "is_met": row.is_met}
    return {**row._asdict(), "target": target}


def table(title: str, rows: Iterable[Row | str]) -> Iterator[str]:
    """Formats a section, line by line as rows arrive; strings among the rows are remarks."""
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
    """Writes a result as JSON: the whole of it, or the file stays as it is.

    Raises:
        StorageError: the file cannot be written.
    """
    beside = Path(f"{path}.new")
    try:
        beside.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
        beside.replace(path)
    except OSError as error:
        raise StorageError(f"--json={path}: cannot be written ({error.strerror})") from None


def _noted(rows: Iterable[Row | str], told: dict, write: Callable) -> Iterator[Row | str]:
    """Passes rows and remarks on, each after it was added to a section's record and written."""
    for row in rows:
        if isinstance(row, str):
            told["remarks"].append(row)
        else:
            told["rows"].append(row_record(row))
        write()
        yield row


def report(
    sections: Mapping[str, Callable], effort, *, path: str | None = None, say: Callable = print
) -> dict:
    """Measures sections; prints and stores each row at once, so that an end loses none of them.

    Args:
        sections: name → function of an effort that yields rows and remarks.
        effort: an `Effort`: how much time to spend.
        path: path of a JSON file for the result, or None.
        say: prints a line.

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
    write()  # fail before the measurements, which take minutes
    for name, section in sections.items():
        title = f"{name}: {section.__doc__}"
        told = {"title": title, "rows": [], "remarks": []}
        result["sections"][name] = told
        for line in table(title, _noted(section(effort), told, write)):
            say(line)
    return result
