"""The cost of checkpoints."""

import contextlib
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark import fresh_process
from experiments.benchmark.measuring import Row, Target, compare, is_on_cpu, measure
from experiments.benchmark.workloads import Effort, make_dataset, make_program, states_of
from vae_jax.devices import hardware
from vae_jax.devices.layout import make_layout
from vae_jax.lab import loop, train
from vae_jax.storage.checkpoints import Checkpoints

BESIDE, AWAITED, NONE = "beside the training", "training waits for it", "none"
SECONDS = 1.0
"""Duration of a turn: so short that a save is a large part of it, unlike of an interval."""
MORE_ROUNDS = 9
"""Factor for the number of turns: they are short, and the difference is small."""
NUM_INPUTS, NUM_HIDDEN = 2000, 1000
"""Numbers of an example, and units of the second hidden layer, of the state whose memory counts."""
STATE_BYTES = 400 * 2**20
BESIDE_STATE = 1.3
"""The most memory that saving and restoring may take beside the state, in its sizes."""
SERVE = f"from {__name__} import serve; serve()"


def saving(effort: Effort) -> Iterator[Row | str]:
    """Cost of checkpoints at the default interval, written, read back and synced; their memory."""
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
    if is_on_cpu():
        yield from memory_of(STATE_BYTES // 100 if effort.is_small else STATE_BYTES)


def memory_of(num_bytes: int) -> Iterator[Row]:
    """Peak memory beside the state while it is saved beside the training, and while it is restored.

    Args:
        num_bytes: size of the state, parameters and Adam's moments of a wide MLP.
    """
    with tempfile.TemporaryDirectory() as folder:
        for what in ("saving", "restoring"):
            found = json.loads(fresh_process.printed(SERVE, [what, folder, str(num_bytes)]))
            ratio = found["beside"] / found["state"]
            case = f"MLP, a state of {found['state'] / 2**20:,.0f} MiB"
            target = Target(BESIDE_STATE)
            told = f"{what}, memory beside the state"
            yield Row(
                case, told, found["beside"], "bytes", ratio, ratio, ratio, "the state", target
            )


def serve() -> None:
    """The process of `memory_of`: saves a state or restores it; prints bytes beside it, and its."""
    what, folder, num_bytes = sys.argv[1:]
    shapes = wide_state(int(num_bytes))
    with Checkpoints(Path(folder, what)) as store:  # imports what saving needs
        store.save(0, {"x": jnp.zeros(3)}, {})
        store.restore({"x": jnp.zeros(3)})
    draws, layout = np.random.default_rng(0), make_layout(1)
    if what == "saving":
        state = jax.tree.map(
            lambda leaf: layout.place(draws.random(leaf.shape, leaf.dtype)), shapes
        )
    with Checkpoints(Path(folder, "checkpoints")) as store:
        before = hardware.used_bytes()
        if what == "saving":
            store.start_save(1, layout.read(state), {})
            store.wait()
            beside = hardware.peak_bytes() - before
        else:
            state = layout.place(jax.tree.map(np.asarray, store.restore(shapes).state))
            beside = hardware.peak_bytes() - before - _num_bytes(shapes)
    print(json.dumps({"state": _num_bytes(state), "beside": beside}))


def wide_state(num_bytes: int) -> dict[str, Any]:
    """Shapes of the parameters of a wide MLP and of Adam's moments, leaves [1, …] float32.

    Args:
        num_bytes: the size of all of them, roughly.
    """
    num_units = max(1, num_bytes // (4 * 3 * 2 * (NUM_INPUTS + NUM_HIDDEN)))
    sizes = (NUM_INPUTS, num_units, NUM_HIDDEN, num_units, NUM_INPUTS)
    pairs = list(itertools.pairwise(sizes))
    layers = {
        f"layer_{i}": {
            "kernel": jax.ShapeDtypeStruct((1, *pair), jnp.float32),
            "bias": jax.ShapeDtypeStruct((1, pair[1]), jnp.float32),
        }
        for i, pair in enumerate(pairs)
    }
    return dict.fromkeys(("params", "mu", "nu"), layers)


def _num_bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


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
