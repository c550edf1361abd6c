"""The cost of sweeps, devices and streaming."""

import contextlib
from collections.abc import Callable, Iterator

import jax

from experiments.benchmark import workers
from experiments.benchmark.measuring import (
    Row,
    Target,
    compare,
    is_on_cpu,
    measure,
)
from experiments.benchmark.workloads import (
    Effort,
    Workload,
    make_dataset,
    make_program,
    train_plainly,
    train_program,
)
from vae_jax.devices import hardware
from vae_jax.devices.layout import Layout, make_layout
from vae_jax.lab import train

SWEEP_SIZE = 8
"""Number of runs in a sweep, unless a row says otherwise (a count)."""


def sweep(effort: Effort) -> Iterator[Row]:
    """Cost of a member of a sweep compared with a single run."""
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
        for layout in () if effort.is_small else other_layouts(program.layout):
            program = make_program(workload, dataset, layout.num_runs, layout)
            what = f"{layout.num_runs} runs, {describe(layout)}"
            works[what] = train_program(program, effort.seconds)
        times = measure(works, rounds=effort.rounds)
        targets = dict.fromkeys(chosen, Target(1.05))
        yield compare(workload.name, plain, times[plain], times[plain], "time of jax.jit")
        yield compare(
            workload.name,
            single,
            times[single],
            times[plain],
            "time of jax.jit",
            target=Target(1.05),
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


def sweep_sizes() -> tuple[int, ...]:
    """R of the measured sweeps, counts: an accelerator has memory for more runs."""
    return (SWEEP_SIZE,) if is_on_cpu() else (SWEEP_SIZE, 64, 256)


def other_layouts(chosen: Layout) -> list[Layout]:
    """The other ways to train a sweep on CPU, on one device."""
    one = make_layout(chosen.num_runs, devices=jax.devices()[:1]).mesh
    layouts = [Layout(one, chosen.num_runs, is_vectorized=kind) for kind in (False, True)]
    return [x for x in layouts if describe(x) != describe(chosen)] if is_on_cpu() else []


def describe(layout: Layout) -> str:
    """Describes where and how runs are trained."""
    num_devices = layout.mesh.shape["runs"]
    where = "1 device" if num_devices == 1 else f"over {num_devices} devices"
    return f"{where}, {'vmap' if layout.is_vectorized else 'lax.map'}"


def devices(effort: Effort) -> Iterator[Row]:
    """Speed of a sweep against the number of devices that its runs are spread over."""
    for workload in effort.workloads:
        case = f"{SWEEP_SIZE} runs of {workload.name}"
        with contextlib.ExitStack() as stack:
            if is_on_cpu():
                works = {
                    num: stack.enter_context(one_of_devices(workload, num, effort))
                    for num in effort.num_devices
                }
            else:
                works = train_over_accelerators(workload, effort)
            times = measure(works, rounds=effort.rounds)
        for num, own in times.items():
            what = f"{num} device{'s' * (num > 1)}"
            if is_on_cpu():
                what += f" on {hardware.num_cores()} cores"
            yield compare(case, what, own, times[1], "speed of 1 device", is_speed=True)


def train_over_accelerators(workload: Workload, effort: Effort) -> dict[int, Callable[[], int]]:
    """Trainings on 1, 2, 4, … of the available devices, by their number."""
    dataset = make_dataset(workload, effort.num_images)
    counts = [n for n in (1, 2, 4, 8) if n <= len(jax.devices())]
    layouts = {n: make_layout(SWEEP_SIZE, devices=jax.devices()[:n]) for n in counts}
    return {
        n: train_program(make_program(workload, dataset, SWEEP_SIZE, layout), effort.seconds)
        for n, layout in layouts.items()
    }


def one_of_devices(workload: Workload, num_devices: int, effort: Effort):
    """Trains in a separate process, because JAX sets the number of host devices only once.

    Args:
        workload: workload of `SWEEP_SIZE` runs.
        num_devices: number of devices that XLA makes of the processor, a count.
        effort: effort of the process.

    Returns:
        The process as a context, see `workers.worker`.
    """
    env = {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}",
        "JAX_PLATFORMS": "cpu",
    }
    settings = [workload, effort.num_images, effort.seconds]
    return workers.worker("scaling.serve", settings, env=env)


def serve() -> None:
    """The process of `one_of_devices`: compiles at once, then trains on request."""
    workload, num_images, seconds = workers.settings()
    workload = Workload(*workload)

    def make_turn():
        dataset = make_dataset(workload, num_images)
        turn = train_program(make_program(workload, dataset, SWEEP_SIZE), seconds)
        turn()
        return turn

    workers.serve(make_turn)


def streaming(effort: Effort) -> Iterator[Row]:
    """Cost of rows in a file (in the system's cache) compared with rows in memory."""
    workload = effort.workloads[-1]
    datasets = {
        "in memory": make_dataset(workload, effort.num_images),
        "streamed": make_dataset(workload, effort.num_images, "stream"),
    }
    for num_runs in (1, SWEEP_SIZE):
        case = f"{num_runs} run{'s' * (num_runs > 1)} of {workload.name}"
        with contextlib.ExitStack() as stack:
            works = {}
            for what, dataset in datasets.items():
                program = make_program(workload, dataset, num_runs)
                x = stack.enter_context(train.source(program))
                works[what] = train_program(program, effort.seconds, x if callable(x) else None)
            times = measure(works, rounds=effort.rounds)
        memory = times["in memory"]
        yield compare(case, "in memory", memory, memory, "time in memory")
        yield compare(
            case, "streamed", times["streamed"], memory, "time in memory", target=Target(1.3)
        )
