"""The cost of checkpoints."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from experiments.benchmark.measuring import Row, Target, compare, measure
from experiments.benchmark.workloads import Effort, make_dataset, make_program, states_of
from vae_jax.lab import loop, train
from vae_jax.storage.checkpoints import Checkpoints

BESIDE, AWAITED, NONE = "beside the training", "training waits for it", "none"
SECONDS = 1.0
"""Duration of a turn: so short that a save is a large part of it, unlike of an interval."""
MORE_ROUNDS = 9
"""Factor for the number of turns: they are short, and the difference is small."""


def saving(effort: Effort) -> Iterator[Row | str]:
    """Full cost of checkpoints at the default interval: written, read back, synced."""
    workload = effort.workloads[-1]
    dataset = make_dataset(workload, effort.num_images)
    seconds = effort.seconds if effort.is_small else SECONDS
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stores, works, steps = {}, {}, {}
        for what in (NONE, BESIDE, AWAITED):
            program, steps[what] = make_program(workload, dataset, 1), []
            stores[what] = stack.enter_context(Checkpoints(folder / what.replace(" ", "_")))
            works[what] = turns(program, stores[what], what, seconds, steps[what])
        times = measure(works, rounds=MORE_ROUNDS * effort.rounds)
        took = stores[AWAITED].save_seconds
    case = f"{workload.name}, a checkpoint every {loop.SAVE_SECONDS:g} s"
    for what in works:
        target = Target(1.02) if what == BESIDE else None
        thinned = spread(times[what], times[NONE], steps[what])
        yield compare(case, what, thinned, times[NONE], "time without", target=target)
    yield f"a save takes {took:.2f} s where training waits for it"


def spread(saving: Sequence[float], plain: Sequence[float], steps: Sequence[int]) -> list[float]:
    """Seconds per step at the default interval, computed from turns with one save each.

    The cost of a save is the extra time of a turn with one, compared with as many steps without.

    Args:
        saving, plain: seconds per step with a save in the turn and without, [rounds].
        steps: steps of each turn, counts; the last ones were counted.
    """
    counted = steps[len(steps) - len(saving) :]
    return [
        without * (1 + (one - without) * count / loop.SAVE_SECONDS)
        for one, without, count in zip(saving, plain, counted, strict=True)
    ]


def turns(
    program, store: Checkpoints, what: str, seconds: float, steps: list[int]
) -> Callable[[], int]:
    """A work function that trains, saves once, and returns the number of steps.

    Args:
        program: from `make_program`.
        store: its checkpoints.
        what: `NONE`, `BESIDE` or `AWAITED`.
        seconds: minimum duration of a call.
        steps: list that receives the steps of every call.
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
        steps.append(done - before)
        return steps[-1]

    return turn
