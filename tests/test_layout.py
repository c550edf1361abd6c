"""Runs over devices: run in a process of its own per number of devices, which JAX fixes once."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import quick

PROGRAM = """
import json, re, sys
import jax, jax.numpy as jnp, numpy as np
# quickly
from vae_jax.devices import layout
from vae_jax import likelihoods, networks, objectives, schedules, training
from vae_jax.model import Model

num_runs, num_data, vectorized = int(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
place = layout.make_layout(num_runs, num_data=num_data)
if vectorized is not None:
    place = layout.Layout(place.mesh, num_runs, is_vectorized=vectorized)
shape = (4, 4, 1)
encoder, decoder = networks.build("mlp", shape=shape, latent_dim=3, widths=(8,))
model = Model(encoder, decoder, likelihoods.Bernoulli(), shape, 3)
x = jax.random.uniform(jax.random.key(9), (50, *shape))
train = training.make_train(
    objectives.load("beta_vae"), model, num_examples=50, batch_size=15,
    preprocess=lambda stored, key: jax.random.bernoulli(key, stored).astype(jnp.float32),
    layout=place,
)
hparams = [
    training.Hparams(
        seed=jnp.int32(r), learning_rate=schedules.constant(1e-2),
        objective={"beta": schedules.constant(1.0 + r)},
        latent_mask=(jnp.arange(3) <= r).astype(jnp.float32),
    )
    for r in range(num_runs)
]
hparams = place.place(jax.tree.map(lambda *v: np.stack(v), *hparams))
state = place.over_runs(train.init)(hparams)
state = state.replace(stopped=place.place(np.zeros(num_runs, bool)) | place.is_filler())
chunk = place.over_runs(
    train.chunk, shared=(2, 3), donate=(0,), is_idle=lambda state, *_: state.stopped
)
x, num_steps = place.replicate((np.asarray(x), np.int32(8)))
chunk = chunk.lower(state, hparams, x, num_steps).compile()
text = chunk.as_text()
kinds = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
collectives = re.findall(rf"^.* = .*? ({kinds})(?:-start)?\\(.*$", text, re.M)
state = chunk(state, hparams, x, num_steps)
rows_of = jax.jit(train.rows)
rows = [np.asarray(rows_of(jnp.int32(r), jnp.int32(s))[:15]) for r in range(num_runs)
        for s in range(4)]
kept = place.read(state)
json.dump({
    "mesh": dict(place.mesh.shape), "slots": place.num_slots, "collectives": collectives,
    "params": [np.asarray(leaf).ravel().tolist() for leaf in jax.tree.leaves(kept.params)],
    "sums": np.asarray(kept.sums["elbo"]).tolist(), "steps": kept.step.tolist(),
    "rows": np.stack(rows).tolist(),
}, sys.stdout)
"""

QUICK = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}
"""The program takes longer to compile than to run, and is partitioned before it is optimized."""


def run(num_devices, num_runs, num_data=None, vectorized=None):
    arguments = [str(num_runs), json.dumps(num_data), json.dumps(vectorized)]
    flags = f"--xla_force_host_platform_device_count={num_devices}"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("# quickly", quick.source()), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", **QUICK},
        cwd=pathlib.Path(__file__).parents[1],
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def assert_close(a, b, tolerance):
    for u, v in zip(a["params"], b["params"], strict=True):
        np.testing.assert_allclose(u, v, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(a["sums"], b["sums"], rtol=tolerance)


@pytest.fixture(scope="module")
def one_device():
    return run(1, 3)


def test_runs_spread_without_communication_between_devices(one_device):
    """Three runs on two devices: one slot is filler, nothing is communicated, nothing changes."""
    spread = run(2, 3)
    assert spread["mesh"] == {"runs": 2, "data": 1}
    assert spread["slots"] == 4
    assert spread["collectives"] == []
    assert spread["rows"] == one_device["rows"]
    assert spread["steps"] == [8, 8, 8]
    assert_close(spread, one_device, 1e-6)


@pytest.mark.slow
def test_batches_spread_over_devices_with_one_reduction_a_step(one_device):
    """15 rows on 4 devices, padded to 16: same rows, same draws, sums in another order."""
    shared = run(4, 3, num_data=4)
    assert shared["mesh"] == {"runs": 1, "data": 4}
    assert shared["rows"] == one_device["rows"]
    assert_close(shared, one_device, 1e-4)
    assert shared["collectives"] == ["all-reduce"]


@pytest.mark.slow
def test_runs_and_batches_spread_together(one_device):
    both = run(4, 3, num_data=2)
    assert both["mesh"] == {"runs": 2, "data": 2}
    assert both["collectives"] == ["all-reduce"]
    assert_close(both, one_device, 1e-4)


@pytest.mark.fault("R13")
@pytest.mark.slow
def test_runs_at_once_equal_runs_one_by_one(one_device):
    assert_close(run(2, 3, vectorized=True), one_device, 1e-4)
