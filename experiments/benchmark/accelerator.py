"""What an accelerator reaches: `--sections=accelerator`, at most eight minutes on one GPU.

The programs are those of a training, built as an accelerator computes them: on one device, the runs
in parallel. `Bench.calls` lists every function that is compiled, so that all can be lowered for a
GPU on a machine without one.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.benchmark import roofline, workers
from experiments.benchmark.budget import within
from experiments.benchmark.measuring import Row, Target, compare, is_on_cpu, measure
from experiments.benchmark.workloads import (
    MNIST,
    SMALL,
    Effort,
    Workload,
    conv,
    make_dataset,
    make_program,
    mlp,
    train_program,
)
from vae_jax import program
from vae_jax.devices.layout import Layout, make_layout
from vae_jax.lab.build import Experiment

SECONDS = 420.0
"""Time for all parts, in seconds: a minute of the eight is for starting and the last part."""
RUNS = "runs in one program"
IWAE, ELBO = "IWAE, K = 50", "its ELBO, K = 1"
"""Names of programs; those of networks are like "mlp float32", those of sweeps like "64 runs"."""


class Sizes(NamedTuple):
    """How large the work is.

    Attributes:
        mlp, conv: what is trained in each of `roofline.DTYPES`; runs of the first share a program.
        many_samples: what is trained with K = 50 samples of z, and with one.
        num_runs: R of the programs, ascending counts from 1.
        side: N of the matrices [N, N] whose product is the peak.
        length: numbers in the array whose copy is the peak, a count.
    """

    mlp: Workload
    conv: Workload
    many_samples: Workload
    num_runs: tuple[int, ...]
    side: int
    length: int


USUAL = Sizes(
    MNIST,
    conv("32×32×3, conv 32,64, latent 20, batch 128", "32,64", 20, 128, 32, 3),
    mlp("28×28, MLP 784-200-200-50, batch 20", "200,200", 50, 20, 28),
    num_runs=(1, 8, 64, 256),
    side=8192,
    length=2**28,
)
TINY = Sizes(
    SMALL,
    conv("8×8×1, conv 4,8, latent 4, batch 16", "4,8", 4, 16, 8),
    mlp("8×8, MLP 64-8-4, batch 10", "8", 4, 10, 8),
    num_runs=(1, 2),
    side=128,
    length=2**12,
)


def accelerator(effort: Effort) -> Iterator[Row | str]:
    """What one accelerator reaches: roofline, runs in one program, IWAE, dispatch, memory."""
    if is_on_cpu() and not effort.is_small:
        yield "measured on an accelerator only: --quick runs all of it once, small, on a CPU"
        return
    bench = Bench(TINY if effort.is_small else USUAL, effort)
    networks = (bench.sizes.mlp, bench.sizes.conv)
    parts = {
        # first, because the peak of memory is that of the whole process
        "memory": lambda: memory(bench, jax.devices()[0]),
        "peaks": lambda: peaks(bench),
        "steps of MLP": lambda: steps(bench, networks[0]),
        RUNS: lambda: runs(bench),
        "dispatch": lambda: dispatch(bench),
        "steps of conv": lambda: steps(bench, networks[1]),
        "evaluation": lambda: evaluation(bench),
        IWAE: lambda: many_samples(bench),
    }
    yield from within(SECONDS, parts)


class Bench:
    """The programs of the section, each built once, and the peaks of the device.

    Args:
        sizes: how large the work is.
        effort: how long to measure.
    """

    def __init__(self, sizes: Sizes, effort: Effort):
        self.sizes = sizes
        self.effort = effort
        self._built: dict[str, Experiment] = {}

    @functools.cached_property
    def workloads(self) -> dict[str, tuple[Workload, int]]:
        """The name of each program → its workload and R."""
        sizes, found = self.sizes, {}
        for workload in (sizes.mlp, sizes.conv):
            for dtype in roofline.DTYPES:
                found[named(workload, dtype)] = (with_flags(workload, dtype=dtype), 1)
        for num in sizes.num_runs[1:]:
            found[f"{num} runs"] = (sizes.mlp, num)
        more = {"objective": "iwae", "num_samples": "50"}
        found[IWAE] = (with_flags(sizes.many_samples, **more), 1)
        found[ELBO] = (sizes.many_samples, 1)
        return found

    @functools.cached_property
    def runs(self) -> dict[int, str]:
        """R → the name of the program of R runs."""
        first = named(self.sizes.mlp, roofline.DTYPES[0])
        return {1: first, **{num: f"{num} runs" for num in self.sizes.num_runs[1:]}}

    def program(self, name: str) -> Experiment:
        """The program of a name, on one device."""
        if name not in self._built:
            workload, num_runs = self.workloads[name]
            mesh = make_layout(num_runs, devices=jax.devices()[:1]).mesh
            layout = Layout(mesh, num_runs, is_vectorized=True)
            dataset = make_dataset(workload, self.effort.num_images)
            self._built[name] = make_program(workload, dataset, num_runs, layout)
        return self._built[name]

    @functools.cached_property
    def rates(self) -> dict[str, list[float]]:
        """The measured peaks, units per second: name → [rounds]."""
        sizes, effort = self.sizes, self.effort
        return roofline.measure_peaks(
            sizes.side, sizes.length, rounds=effort.rounds, seconds=effort.seconds
        )

    def cost(self, name: str) -> roofline.Cost:
        """The cost of a step of a program, of all its runs."""
        built = self.program(name)
        function, arguments = calls(built)["chunk"]
        state, _, x, _ = arguments
        data = num_bytes(x)
        # a state is read and written at each step, however little a network computes
        return roofline.cost_of(function, *arguments, at_least=2 * num_bytes(state), left_out=data)

    def calls(self) -> Iterator[tuple[str, Callable, tuple]]:
        """Yields all that is compiled: (name, jitted function, arguments or their shapes)."""
        for name, (function, arguments, _) in roofline.calls(
            self.sizes.side, self.sizes.length
        ).items():
            yield f"peak of {name}", function, arguments
        for name in self.workloads:
            for what, (function, arguments) in calls(self.program(name)).items():
                yield f"{name}: {what}", function, arguments


def named(workload: Workload, dtype: str) -> str:
    """The name of a network in a type of numbers."""
    return f"{workload.flags.get('network', 'mlp')} {dtype}"


def with_flags(workload: Workload, **flags: str) -> Workload:
    """A workload with other flags."""
    return workload._replace(flags={**workload.flags, **flags})


def calls(built: Experiment) -> dict[str, tuple[Callable, tuple]]:
    """The functions of a program that the section calls, and their arguments or shapes."""
    layout, hparams = built.layout, built.hparams
    state = layout.shapes(built.state_shape)
    at_step = layout.shapes(jax.eval_shape(built.hparams_at, hparams, state.step))
    rows = {split: layout.shapes(built.rows(split), is_shared=True) for split in built.splits}
    few = layout.shapes(built.spread("test"), is_shared=True)
    return {
        "init": (built.init, (hparams,)),
        "chunk": (built.chunk, (state, hparams, rows["train"], np.int32(1))),
        "hparams_at": (built.hparams_at, (hparams, state.step)),
        "accumulate": (
            built.accumulate,
            (state.params, at_step, None, rows["test"], np.int32(0)),
        ),
        "decompose_rate": (built.decompose_rate, (state.params, hparams, few)),
    }


def num_bytes(tree: Any) -> int:
    """Bytes of arrays, or of their shapes."""
    return sum(leaf.size * np.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree))


# --- The parts


def memory(bench: Bench, device: Any) -> Iterator[Row | str]:
    """The peak of memory beside what the program says before it trains.

    Args:
        bench: its programs are measured in ascending order, because a peak never falls.
        device: says with `memory_stats` what is in use.
    """
    for name in bench.runs.values():
        before = device.memory_stats() or {}
        if "peak_bytes_in_use" not in before:
            yield "the device does not say how much memory is in use: no peak of memory"
            return
        built = bench.program(name)
        said = built.footprint().total
        state = step_and_evaluate(built)
        peak = device.memory_stats()["peak_bytes_in_use"]
        del state
        if peak <= before["peak_bytes_in_use"]:
            yield f"{name}: its peak is below an earlier one, so it is not known"
            continue
        used = peak - before["bytes_in_use"]
        ratio = max(said / used, used / said)
        what = f"{name}: peak; said before: {said / 2**20:,.0f} MiB"
        yield Row(
            "memory of the device",
            what,
            used,
            "bytes",
            ratio,
            ratio,
            ratio,
            "what was said, the larger over the less",
            Target(1.3),
        )


def step_and_evaluate(built: Experiment) -> Any:
    """The state [S, …] after three steps, when the test split was evaluated."""
    state = built.init(built.hparams)
    state = built.chunk(state, built.hparams, built.resident("train"), np.int32(3))
    program.evaluate(built, state.params, "test", state.step)
    return jax.block_until_ready(state)


def peaks(bench: Bench) -> Iterator[Row]:
    """The rates that the roofline consists of, as measured."""
    rates = bench.rates
    for dtype in roofline.DTYPES:
        what = f"product of [{bench.sizes.side}, {bench.sizes.side}], {dtype}"
        first = rates[roofline.DTYPES[0]]
        yield compare("peaks", what, rates[dtype], first, "rate of float32", unit="FLOP/s")
    copied = rates[roofline.COPY]
    what = f"memory, {4 * bench.sizes.length / 2**20:,.4g} MiB copied"
    yield compare("peaks", what, copied, copied, "itself", unit="bytes/s")


def share(
    bench: Bench, case: str, name: str, times: Sequence[float], dtype: str = "float32"
) -> Row:
    """The share of the roofline that steps of a program reach.

    Args:
        bench: has the program and the peaks.
        case: the case of the row.
        name: the program's name.
        times: seconds per step and run, [rounds].
        dtype: the type of the numbers in its products.
    """
    cost, peaks = bench.cost(name), roofline.peaks_of(bench.rates)
    num_runs = bench.workloads[name][1]
    ideal = [cost.seconds(peaks, dtype) / num_runs] * len(times)
    what = f"{name}: {cost.told(peaks, dtype)}"
    return compare(case, what, times, ideal, "share of the roofline", is_speed=True)


def train_all(bench: Bench, names: Sequence[str]) -> Mapping[str, list[float]]:
    """Seconds per step and run of programs that train in turns: name → [rounds]."""
    effort = bench.effort
    works = {name: train_program(bench.program(name), effort.seconds) for name in names}
    return measure(works, rounds=effort.rounds)


def steps(bench: Bench, workload: Workload) -> Iterator[Row]:
    """The time of a step of a network in each type of numbers, and its share of the roofline."""
    names = {dtype: named(workload, dtype) for dtype in roofline.DTYPES}
    times = train_all(bench, list(names.values()))
    for dtype, name in names.items():
        yield share(bench, workload.name, name, times[name], dtype)
    full, half = (times[name] for name in names.values())
    what = "bfloat16 beside float32"
    yield compare(workload.name, what, half, full, "speed of float32", is_speed=True)


def runs(bench: Bench) -> Iterator[Row]:
    """The time of a step of R runs in one program beside that of one run."""
    case = f"{RUNS}, {bench.sizes.mlp.name}"
    times = train_all(bench, list(bench.runs.values()))
    alone = times[bench.runs[1]]
    for num, name in bench.runs.items():
        yield compare(
            case,
            f"{num} run{'s' * (num > 1)}, a step of each",
            times[name],
            alone,
            "time of one run's step, for all of them",
            scale=num,
            target=Target(4.0) if num == 64 else None,
        )
    for name in bench.runs.values():
        yield share(bench, case, name, times[name])


def dispatch(bench: Bench) -> Iterator[Row]:
    """Whole epochs in one call beside a call for each step of the same program."""
    built, seconds = bench.program(bench.runs[1]), bench.effort.seconds
    whole, single = "whole epochs in one call", "a call for each step"
    works = {whole: train_program(built, seconds), single: step_by_step(built, seconds)}
    times = measure(works, rounds=bench.effort.rounds)
    for what in works:
        case = f"dispatch, {bench.sizes.mlp.name}"
        yield compare(case, what, times[what], times[whole], f"time of {whole}")


def step_by_step(built: Experiment, seconds: float) -> Callable[[], float]:
    """A work function that calls the training once a step, without waiting, and counts steps.

    Args:
        built: a program of one run.
        seconds: minimum duration of a turn.
    """
    state, x = built.init(built.hparams), built.resident("train")

    def iterate():
        nonlocal state
        state = built.chunk(state, built.hparams, x, np.int32(1))

    return workers.repeat(iterate, seconds, lambda: jax.block_until_ready(state))


def evaluation(bench: Bench) -> Iterator[Row]:
    """The evaluation of the test split beside training on as many rows."""
    built, seconds = bench.program(bench.runs[1]), bench.effort.seconds
    state, num_rows = built.init(built.hparams), built.size("test")
    train = train_program(built, seconds)
    on_rows, evaluated = "training", f"evaluation of {num_rows:,} rows, with the parts of the rate"
    works = {
        on_rows: lambda: train() * built.config.batch_size,
        evaluated: workers.repeat(
            lambda: program.evaluate(built, state.params, "test", state.step),
            seconds,
            units=num_rows,
        ),
    }
    times = measure(works, rounds=bench.effort.rounds)
    for what in works:
        case = f"evaluation, {bench.sizes.mlp.name}"
        yield compare(case, what, times[what], times[on_rows], "time of training", unit="s/row")


def many_samples(bench: Bench) -> Iterator[Row]:
    """A step of the IWAE beside one of the ELBO of the same network."""
    case = bench.sizes.many_samples.name
    times = train_all(bench, (IWAE, ELBO))
    yield compare(case, f"{IWAE}, beside K = 1", times[IWAE], times[ELBO], f"time of {ELBO}")
    for name in (IWAE, ELBO):
        yield share(bench, case, name, times[name])
