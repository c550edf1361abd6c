"""What checkpoints cost."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from experiments import train
from experiments.benchmark.measuring import Row, Target, compare, measure
from experiments.benchmark.workloads import Effort, make_dataset, make_program, states_of
from vae_jax.checkpoints import Checkpoints

BESIDE, AWAITED, NONE = "beside the training", "training waits for it", "none"


def saving(effort: Effort) -> Iterator[Row | str]:
    """What verified checkpoints cost at the default interval, whole: written, read back, synced."""
    workload = effort.workloads[-1]
    dataset = make_dataset(workload, effort.num_images)
    seconds = effort.seconds if effort.is_small else train.SAVE_SECONDS
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stores, works = {}, {}
        for what in (NONE, BESIDE, AWAITED):
            program = make_program(workload, dataset, 1)
            stores[what] = stack.enter_context(Checkpoints(folder / what.replace(" ", "_")))
            works[what] = turns(program, stores[what], what, seconds)
        times = measure(works, rounds=effort.rounds)
        took = stores[AWAITED].save_seconds
    case = f"{workload.name}, a checkpoint every {seconds:g} s"
    for what in works:
        target = Target(1.02) if what == BESIDE else None
        yield compare(case, what, times[what], times[NONE], "time without", target=target)
    yield f"a save takes {took:.2f} s where training waits for it"


def turns(program, store: Checkpoints, what: str, seconds: float) -> Callable[[], int]:
    """Training as a piece of work that saves once: a function that returns the steps it did.

    Args:
        program: from `make_program`.
        store: of its checkpoints.
        what: `NONE`, `BESIDE` or `AWAITED`.
        seconds: what a call lasts at least.
    """
    states, done = states_of(program, seconds / 4), 0

    def turn() -> int:
        nonlocal done
        before, start, is_saved = done, time.perf_counter(), what == NONE
        while time.perf_counter() - start < seconds or not is_saved:
            done, state = next(states)
            if not is_saved:
                kept = program.layout.read(train.Carried(state, None))
                store.start_save(done, kept, {})
                is_saved = True
                if what == AWAITED:
                    store.wait()
        store.wait()
        return done - before

    return turn
