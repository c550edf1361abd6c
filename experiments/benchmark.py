"""What the design promises about speed, measured: `python -m experiments.benchmark`.

A section is a function that yields `Row`s; its docstring is its title, and `SECTIONS` names it.
Whatever a section compares takes turns, so that a machine that slows down slows all of it.
"""

import contextlib
import dataclasses
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments import cli, train
from experiments.build import Experiment, build
from experiments.config import from_flags, resolve
from vae_jax import data, runs, training
from vae_jax.errors import StorageError, UsageError
from vae_jax.layout import Layout, make_layout

DESCRIPTION = (
    "Measures what a member of a sweep costs, how runs spread over devices, and what streaming "
    "costs. Programs that are compared take turns; times are medians, without compilation."
)
SWEEP_SIZE = 8
"""Runs of a sweep, where a row says nothing else (a count)."""


class Row(NamedTuple):
    """A line of a table.

    Attributes:
        case: what is trained; rows of one case were measured together.
        what: the way it is trained.
        seconds: for a step of one run, the median over the rounds.
        ratio: to the row that `to` names, the median over the rounds.
        low, high: between these lie half of the rounds' ratios.
        to: what the ratio compares, in words.
        target: the ratio that should not be exceeded, or None.
    """

    case: str
    what: str
    seconds: float
    ratio: float
    low: float
    high: float
    to: str
    target: float | None = None


class Workload(NamedTuple):
    """A model and its data.

    Attributes:
        name: of the case.
        flags: as `experiments.vae` takes them.
        image_size: H = W of images of noise, or None for scikit-learn's digits.
    """

    name: str
    flags: dict[str, str]
    image_size: int | None = None


DIGITS = Workload(
    "digits 8×8, MLP 200,200, batch 100",
    {"widths": "200,200", "latent_dim": "20", "batch_size": "100"},
)
MNIST = Workload(
    "28×28 uint8, MLP 784-400-20, batch 128",
    {"widths": "400", "latent_dim": "20", "batch_size": "128", "likelihood": "bernoulli"},
    image_size=28,
)


class Effort(NamedTuple):
    """How much is spent on a number.

    Attributes:
        rounds: how often each program takes its turn, a count.
        seconds: what a turn lasts at least.
        num_images: of the data that is made up, a count.
        workloads: what is trained, where a section leaves it open.
        num_devices: that a processor is divided into, counts.
    """

    rounds: int = 7
    seconds: float = 0.6
    num_images: int = 60_000
    workloads: tuple[Workload, ...] = (DIGITS, MNIST)
    num_devices: tuple[int, ...] = (1, 2, 4)


QUICK = Effort(rounds=2, seconds=0.02, num_images=1_000, workloads=(DIGITS,), num_devices=(1, 2))


def measure(
    works: Mapping[str, Callable[[], float]],
    *,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Lets pieces of work take turns, there and back again, after two turns that do not count.

    Args:
        works: each does some work when called and returns how many units of it.
        rounds: how often each is called, a count.
        clock: to seconds.

    Returns:
        For each work the seconds per unit of every round, [rounds].
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    # the first turn compiles, the second finds how much fits a turn
    for turn in range(-2, rounds):
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
    times: Sequence[float],
    reference: Sequence[float],
    to: str,
    *,
    is_speed: bool = False,
    target: float | None = None,
) -> Row:
    """The row of a measurement: its median, and its ratio to another round by round.

    Args:
        case, what, to, target: see `Row`.
        times: seconds per unit, [rounds].
        reference: seconds per unit of what it is compared to, [rounds].
        is_speed: whether the ratio is one of speeds, not of times.
    """
    pairs = zip(reference, times, strict=True) if is_speed else zip(times, reference, strict=True)
    low, ratio, high = np.quantile([a / b for a, b in pairs], [0.25, 0.5, 0.75]).tolist()
    return Row(case, what, statistics.median(times), ratio, low, high, to, target)


def make_dataset(workload: Workload, num_images: int, loading: str = "memory") -> data.Dataset:
    """The data of a workload, [N, *stored], made if need be.

    Args:
        workload: whose data it is.
        num_images: N of the training split of data that is made up, a count.
        loading: "memory", or "stream" from an .npy file that ceases to exist when it is closed.
    """
    if workload.image_size is None:
        return data.load("digits", loading=loading)
    shape = (num_images * 10 // 8, workload.image_size, workload.image_size, 1)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "noise.npy")
        np.save(path, images)
        return data.load(str(path), loading=loading)


def make_program(
    workload: Workload, dataset: data.Dataset, num_runs: int, layout: Layout | None = None
) -> Experiment:
    """The program of a sweep over seeds; where no layout is given, the one that users get."""
    configs = [from_flags({**workload.flags, "seed": str(seed)}) for seed in range(num_runs)]
    configs = [resolve(config, dataset) for config in configs]
    if layout is None:
        return build(configs, dataset)
    program = build(configs, dataset, num_data=1)
    hparams = layout.place(program.layout.read(program.hparams))
    return dataclasses.replace(program, layout=layout, hparams=hparams)


def turns(states: Iterator[tuple[int, training.State]], num_runs: int, seconds: float, feed=None):
    """Training as a piece of work: a function that trains a while and returns the steps it did.

    Args:
        states: from `training.train_until`, at step 0.
        num_runs: R, a count.
        seconds: what a call lasts at least.
        feed: a `vae_jax.streaming.Feed`, of which a call uses whole blocks and pays for as many.
    """
    done = 0

    def turn() -> int:
        nonlocal done
        before, start = done, time.perf_counter()
        while time.perf_counter() - start < seconds or (feed and done % feed.num_steps):
            done, _ = next(states)
        if feed:
            feed.wait()
        return (done - before) * num_runs

    return turn


def train_program(experiment: Experiment, seconds: float, x=None) -> Callable[[], int]:
    """The training of a program as `experiments.vae` does it, to be measured, see `turns`.

    Args:
        experiment: from `make_program`.
        seconds: what a turn lasts at least.
        x: of `experiments.train.source`; None means the data on the devices.
    """
    states = training.train_until(
        experiment.chunk,
        experiment.init(experiment.hparams),
        experiment.hparams,
        experiment.resident("train") if x is None else x,
        first_step=0,
        num_steps=2**31 - 1,
        steps_per_epoch=experiment.train.steps_per_epoch,
        chunk_seconds=seconds,
        read=experiment.layout.read,
    )
    return turns(states, len(experiment.configs), seconds, x)


def train_plainly(experiment: Experiment, seconds: float) -> Callable[[], int]:
    """The training of a run alone by `jax.jit(train.chunk)`, without an axis of runs."""
    state, hparams = jax.tree.map(
        lambda leaf: jnp.asarray(leaf[0]),
        experiment.layout.read((experiment.init(experiment.hparams), experiment.hparams)),
    )
    states = training.train_until(
        jax.jit(experiment.train.chunk, donate_argnums=0),
        state,
        hparams,
        jnp.asarray(experiment.dataset.train.x),
        first_step=0,
        num_steps=2**31 - 1,
        steps_per_epoch=experiment.train.steps_per_epoch,
        chunk_seconds=seconds,
    )
    return turns(states, 1, seconds)


def sweep(effort: Effort) -> Iterator[Row]:
    """What a member of a sweep costs against a run alone."""
    for workload in effort.workloads:
        dataset = make_dataset(workload, effort.num_images)
        alone = make_program(workload, dataset, 1)
        works = {
            "1 run, jax.jit(train.chunk)": train_plainly(alone, effort.seconds),
            "1 run, a sweep of length one": train_program(alone, effort.seconds),
        }
        plain, single = works
        chosen = []
        for num_runs in sweep_sizes():
            program = make_program(workload, dataset, num_runs)
            chosen.append(f"{num_runs} runs, {describe(program.layout)} (default)")
            works[chosen[-1]] = train_program(program, effort.seconds)
        for layout in other_layouts(program.layout):
            program = make_program(workload, dataset, layout.num_runs, layout)
            what = f"{layout.num_runs} runs, {describe(layout)}"
            works[what] = train_program(program, effort.seconds)
        times = measure(works, rounds=effort.rounds)
        targets = dict.fromkeys(chosen, 1.05)
        yield compare(workload.name, plain, times[plain], times[plain], "time of jax.jit")
        yield compare(
            workload.name, single, times[single], times[plain], "time of jax.jit", target=1.05
        )
        for what in list(works)[2:]:
            yield compare(
                workload.name,
                what,
                times[what],
                times[single],
                "time of a sweep of one",
                target=targets.get(what),
            )


def is_on_cpu() -> bool:
    """Whether runs are trained by the processor."""
    return jax.devices()[0].platform == "cpu"


def sweep_sizes() -> tuple[int, ...]:
    """R of the sweeps that are measured, counts: an accelerator has room for more runs."""
    return (SWEEP_SIZE,) if is_on_cpu() else (SWEEP_SIZE, 64, 256)


def other_layouts(chosen: Layout) -> list[Layout]:
    """The ways to train a sweep on CPU that were not chosen, on one device."""
    one = make_layout(chosen.num_runs, devices=jax.devices()[:1]).mesh
    layouts = [Layout(one, chosen.num_runs, is_vectorized=kind) for kind in (False, True)]
    return [x for x in layouts if describe(x) != describe(chosen)] if is_on_cpu() else []


def describe(layout: Layout) -> str:
    """Where runs are trained and how, in words."""
    num_devices = layout.mesh.shape["runs"]
    where = "1 device" if num_devices == 1 else f"over {num_devices} devices"
    return f"{where}, {'vmap' if layout.is_vectorized else 'lax.map'}"


def devices(effort: Effort) -> Iterator[Row]:
    """How the speed of a sweep grows with the devices its runs are spread over."""
    for workload in effort.workloads:
        case = f"{SWEEP_SIZE} runs of {workload.name}"
        with contextlib.ExitStack() as stack:
            if is_on_cpu():
                works = {
                    num: stack.enter_context(worker(workload, num, effort))
                    for num in effort.num_devices
                }
            else:
                works = train_over_accelerators(workload, effort)
            times = measure(works, rounds=effort.rounds)
        for num, own in times.items():
            what = f"{num} device{'s' * (num > 1)}"
            if is_on_cpu():
                what += f" on {num_cores()} cores"
            yield compare(case, what, own, times[1], "speed of 1 device", is_speed=True)


def train_over_accelerators(workload: Workload, effort: Effort) -> dict[int, Callable[[], int]]:
    """Trainings over 1, 2, 4, … of the devices there are, by their number."""
    dataset = make_dataset(workload, effort.num_images)
    counts = [n for n in (1, 2, 4, 8) if n <= len(jax.devices())]
    layouts = {n: make_layout(SWEEP_SIZE, devices=jax.devices()[:n]) for n in counts}
    return {
        n: train_program(make_program(workload, dataset, SWEEP_SIZE, layout), effort.seconds)
        for n, layout in layouts.items()
    }


@contextlib.contextmanager
def worker(workload: Workload, num_devices: int, effort: Effort) -> Iterator[Callable[[], int]]:
    """Training in a process of its own, for JAX fixes the number of host devices once.

    Args:
        workload: what `SWEEP_SIZE` runs train.
        num_devices: that XLA makes of the processor, a count.
        effort: as the process should spend it.

    Yields:
        The piece of work, see `turns`: it asks the process for a turn and waits.
    """
    call = f"from experiments import benchmark; benchmark.{serve.__name__}()"
    process = subprocess.Popen(
        [sys.executable, "-c", call, json.dumps([workload, effort])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
        env={
            **os.environ,
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}",
            "JAX_PLATFORMS": "cpu",
        },
        start_new_session=True,  # ends with its input, not by a signal in the middle of a turn
    )

    def turn() -> int:
        print(file=process.stdin, flush=True)
        return int(process.stdout.readline())

    with process:
        yield turn


def serve() -> None:
    """The process of `worker`: compiles at once, then a turn for each line of its input."""
    workload, effort = json.loads(sys.argv[1])
    workload, effort = Workload(*workload), Effort(*effort)
    dataset = make_dataset(workload, effort.num_images)
    turn = train_program(make_program(workload, dataset, SWEEP_SIZE), effort.seconds)
    turn()
    for _ in sys.stdin:
        print(turn(), flush=True)


def streaming(effort: Effort) -> Iterator[Row]:
    """What rows left in a file (in the system's cache) cost against rows in memory."""
    datasets = {
        "in memory": make_dataset(MNIST, effort.num_images),
        "streamed": make_dataset(MNIST, effort.num_images, "stream"),
    }
    for num_runs in (1, SWEEP_SIZE):
        case = f"{num_runs} run{'s' * (num_runs > 1)} of {MNIST.name}"
        with contextlib.ExitStack() as stack:
            works = {}
            for what, dataset in datasets.items():
                program = make_program(MNIST, dataset, num_runs)
                x = stack.enter_context(train.source(program))
                works[what] = train_program(program, effort.seconds, x if callable(x) else None)
            times = measure(works, rounds=effort.rounds)
        memory = times["in memory"]
        yield compare(case, "in memory", memory, memory, "time in memory")
        yield compare(case, "streamed", times["streamed"], memory, "time in memory", target=1.3)


SECTIONS = {section.__name__: section for section in (sweep, devices, streaming)}


def num_cores() -> int:
    """Cores that this process may use, a count."""
    return len(os.sched_getaffinity(0))


def machine() -> dict:
    """What the numbers depend on: `runs.environment`, the kind of device, the cores."""
    found = jax.devices()
    return {
        **runs.environment(found),
        "device_kind": found[0].device_kind,
        "num_cores": num_cores(),
    }


def machine_line(machine: Mapping) -> str:
    """The machine in a line."""
    packages = ", ".join(f"{n} {machine['packages'][n]}" for n in ("jax", "jaxlib", "flax"))
    kind, num = machine["device_kind"], len(machine["devices"])
    return (
        f"{num} × {kind}, {machine['num_cores']} cores, {machine['platform']}, "
        f"Python {machine['python']}, {packages}"
    )


HEADER = f"  {'':<44}{'µs/step·run':>12}{'steps/s':>9}{'ratio':>7}  {'half within':<13}to"


def row_line(row: Row) -> str:
    """A row as text, under `HEADER`."""
    line = (
        f"  {row.what:<44}{row.seconds * 1e6:>12.1f}{1 / row.seconds:>9.0f}{row.ratio:>7.2f}  "
        f"{f'{row.low:.2f} to {row.high:.2f}':<13}{row.to}"
    )
    if row.target is None:
        return line
    return f"{line}; target {row.target:g}: {'met' if row.ratio <= row.target else 'missed'}"


def table(title: str, rows: Iterable[Row]) -> Iterator[str]:
    """A section as lines, each as soon as its row is there."""
    yield ""
    yield title
    yield HEADER
    case = None
    for row in rows:
        if row.case != case:
            case = row.case
            yield case
        yield row_line(row)


def parse_sections(text: str | None) -> list[str]:
    """The names of the sections that are asked for, in the order of `SECTIONS`.

    Args:
        text: names with commas between them; None means all.

    Raises:
        UsageError: there is no section of that name.
    """
    asked = list(SECTIONS) if text is None else [name.strip() for name in text.split(",")]
    for name in asked:
        if name not in SECTIONS:
            raise UsageError(
                f"--sections={text}: {name!r} is none, choose from {', '.join(SECTIONS)}"
            )
    return [name for name in SECTIONS if name in asked]


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
    names: Sequence[str], effort: Effort, *, path: str | None = None, say: Callable = print
) -> dict:
    """Measures sections, prints their tables and writes them down, each as soon as it is done.

    Args:
        names: keys of `SECTIONS`.
        effort: how much to spend.
        path: of a file for the result, as JSON, or None.
        say: takes a line of the tables.

    Returns:
        `machine`, `effort`, and `sections`: name → {"title", "rows"}.

    Raises:
        StorageError: the file cannot be written.
    """
    result = {"machine": machine(), "effort": effort._asdict(), "sections": {}}
    say(machine_line(result["machine"]))
    write = functools.partial(write_json, path, result) if path else lambda: None
    write()  # fails before minutes are spent
    for name in names:
        title, rows = f"{name}: {SECTIONS[name].__doc__}", []
        measured = SECTIONS[name](effort)
        for line in table(title, (rows.append(row) or row for row in measured)):
            say(line)
        result["sections"][name] = {"title": title, "rows": [row._asdict() for row in rows]}
        write()
    return result


def main(values: dict) -> None:
    """Reports what the flags ask for."""
    names = parse_sections(values["sections"])
    effort = QUICK if values["quick"] else Effort()
    report(names, effort, path=values["json"], say=functools.partial(print, flush=True))


def help_page() -> str:
    """The page that --help prints."""
    lines = [DESCRIPTION, ""]
    lines += [f"  --{name:<12}{flags.FLAGS[name].help}" for name in FLAGS]
    lines += ["", "Sections:"]
    lines += [f"  {name:<14}{section.__doc__}" for name, section in SECTIONS.items()]
    return "\n".join(lines)


FLAGS = ("sections", "json", "quick")

if __name__ == "__main__":
    flags.DEFINE_string(
        "sections", None, "some of the sections, with commas between (default: all)"
    )
    flags.DEFINE_string("json", None, "a file for the numbers, the machine and its versions")
    flags.DEFINE_boolean("quick", False, "run everything once, for numbers that mean little")
    cli.launch(main, FLAGS, help_page)
