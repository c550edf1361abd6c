"""What a training says of its memory before it begins, and when it refuses to begin."""

import jax
import numpy as np
import pytest

from vae_jax import memory, program
from vae_jax.devices import hardware, streaming
from vae_jax.errors import UsageError
from vae_jax.lab import build, train
from vae_jax.lab.config import from_flags

FLAGS = {"widths": "4", "latent_dim": "2", "epochs": "1", "batch_size": "50", "num_valid": "100"}
MIB = 2**20
USUAL = build.Footprint(
    used=100 * MIB,
    data=1 * MIB,
    state=10 * MIB,
    step=20 * MIB,
    evaluation=50 * MIB,
    saving=30 * MIB,
    pictures=60 * MIB,
    peak=0,
    limit=400 * MIB,
)


def test_step_and_evaluation_are_not_at_the_same_time():
    assert USUAL.total == (100 + 1 + 10 + 50 + 30) * MIB
    assert USUAL._replace(step=60 * MIB).total == (100 + 1 + 10 + 60 + 30) * MIB
    # pictures are drawn after the training
    assert USUAL._replace(pictures=90 * MIB).total == (100 + 1 + 10 + 90) * MIB
    assert USUAL._replace(pictures=90 * MIB).training == USUAL.training == USUAL.total
    # what was in use before will not become less
    assert USUAL._replace(peak=500 * MIB).total == 500 * MIB


def test_the_line_has_the_parts():
    assert USUAL.told() == (
        "about 191.0 MiB of 400.0 MiB: used 100.0 MiB, data 1.00 MiB, state 10.0 MiB, "
        "step 20.0 MiB, evaluation 50.0 MiB, saving 30.0 MiB, pictures 60.0 MiB"
    )
    assert (
        USUAL._replace(limit=None, data=0).told().startswith("about 190.0 MiB: used 100.0 MiB, s")
    )


@pytest.mark.parametrize("num_runs", [1, 2])
def test_more_than_there_is_is_refused_in_one_line(num_runs):
    USUAL.refuse(num_runs)
    USUAL._replace(limit=None, step=2**40).refuse(num_runs)
    USUAL._replace(pictures=2**40).refuse(num_runs)
    with pytest.raises(UsageError) as caught:
        USUAL._replace(limit=190 * MIB).refuse(num_runs)
    told = str(caught.value)
    assert told.startswith("memory: about 191.0 MiB of 190.0 MiB: used 100.0 MiB")
    assert ("fewer `runs_per_program`" in told) == (num_runs > 1)
    assert "\n" not in told


def test_there_is_what_the_system_allows_or_the_user_says(monkeypatch):
    monkeypatch.delenv(memory.VARIABLE, raising=False)
    monkeypatch.setattr(memory, "physical_bytes", lambda: 2**33)
    monkeypatch.setattr(memory, "_limits_of_process", lambda: iter([2**32]))
    assert (memory.there_are(), memory.limit_bytes()) == (2**32, 3 * 2**30)
    # a limit of reading is none of training
    monkeypatch.setenv(memory.VARIABLE, "0.5")
    assert (memory.there_are(), memory.limit_bytes()) == (2**32, 2**29)
    monkeypatch.setenv(memory.VARIABLE, "16")
    assert memory.there_are() == 2**34


def test_memory_in_use_is_at_most_its_peak():
    held = np.ones(2**24, np.uint8)
    used = hardware.used_bytes()
    assert 2**24 < used <= hardware.peak_bytes()
    del held


@pytest.fixture(scope="module")
def compiled():
    """A program, and the numbers of compilations: for the estimate, and for the training then."""
    counts, begun = [0, 0], [False]

    def count(event, seconds, **_):
        if "backend_compile" in event:
            counts[begun[0]] += 1

    jax.monitoring.register_event_duration_secs_listener(count)
    experiment = train.prepare([from_flags(FLAGS)])
    state = program.begin(experiment).state
    steps = state.step
    at_step = experiment.hparams_at(experiment.hparams, steps)
    jax.block_until_ready(at_step)
    counts[:] = [0, 0]
    beside = program.bytes_of_step(experiment), program.bytes_of_evaluation(experiment)
    begun[0] = True
    with program.source(experiment) as x:
        state = experiment.chunk(state, experiment.hparams, x, np.int32(3))
    for split in ("valid", "test"):
        for first, rows in experiment.blocks(split):
            experiment.accumulate(state.params, at_step, None, rows, np.int32(first))
        experiment.decompose_rate(state.params, experiment.hparams, experiment.spread(split))
    return experiment, beside, tuple(counts)


def test_what_is_compiled_for_the_estimate_is_what_is_called(compiled):
    """One training step, and two functions for each of two splits, of which none compiles again."""
    _, _, (for_estimate, afterwards) = compiled
    assert for_estimate >= 5
    assert afterwards == 0


def test_a_step_takes_the_values_of_its_batch(compiled):
    """At least the output of the decoder for 50 rows of 64 numbers, at most 100 of such arrays."""
    _, (step, evaluation), _ = compiled
    assert 50 * 64 * 4 < step < 100 * 50 * 64 * 4
    # the evaluation of 100 and of 179 rows takes more, and less than pairs of 256
    assert step < evaluation < 100 * 4 * 256**2


def test_a_small_evaluation_is_bounded_and_a_large_one_is_compiled(compiled, monkeypatch):
    experiment, (step, evaluation), _ = compiled
    known = experiment.footprint()
    # 500 rows at a time are ten batches of 50; pairs of 256 codes of 2 numbers
    assert known.step == step
    assert known.evaluation == 10 * step + 4 * 256**2 * 2 >= evaluation
    monkeypatch.setattr(build, "_LITTLE", known.evaluation - 1)
    assert experiment.footprint().evaluation == evaluation


def test_blocks_of_a_stream_have_the_shapes_that_were_told(compiled):
    experiment, _, _ = compiled
    x = np.asarray(experiment.dataset.train.x)
    rows = {"x": x, "condition": np.zeros(len(x), np.int32)}
    size = 3 * 50 * (64 + 4)
    told = streaming.block_shapes(rows, experiment.train, experiment.layout, size)
    feed = streaming.Feed(rows, experiment.train, np.array([0]), experiment.layout, size)
    block, _ = feed(0)
    feed.close()
    as_told = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.sharding), block)
    assert as_told == jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.sharding), told)
