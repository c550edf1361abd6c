"""`python -m experiments.walk` counts what a training passes; an objective is bound once."""

import subprocess
import sys

import pytest

from experiments import walk
from vae_jax import objectives
from vae_jax.lab import config, identity, train


def walked(function):
    """The counts after a function was called, and what it returned."""
    walk_ = walk.Walk()
    sys.setprofile(walk_.profile)
    try:
        result = function()
    finally:
        sys.setprofile(None)
    return walk_, result


def test_calls_are_counted_by_file():
    found, _ = walked(lambda: [objectives.bind("beta_vae", num_examples=n) for n in (1, 2)])
    assert "times an objective was bound: 2" in found.lines(is_long=False)
    assert "vae_jax/objectives/__init__.py" in found.entered
    assert "  vae_jax/objectives/beta_vae.py" in found.lines(is_long=True)
    assert not any(line.startswith("  ") for line in found.lines(is_long=False))


def test_an_objective_is_bound_once_from_flags_to_the_first_step():
    def prepare():
        asked = config.from_flags({"beta": "4", "latent_dim": "2", "widths": "4"})
        experiment = train.prepare([asked])
        identity.default_workdir(asked, experiment.dataset.name)
        return identity.of(experiment), experiment.resolved.num_parameters(2)

    found, (settings, num_parameters) = walked(prepare)
    assert settings["beta"] == "4"
    # 64-4-2·2 and 2-4-64, with biases, and a variance
    assert num_parameters == 65 * 4 + 5 * 4 + 3 * 4 + 5 * 64 + 1
    assert found.calls["vae_jax/objectives/__init__.py: bind"] == 1


@pytest.mark.slow
def test_a_training_imports_no_other_objective_network_or_likelihood(tmp_path):
    command = [sys.executable, "-m", "experiments.walk", "--list", "--beta=4", "--epochs=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    own = {line.strip() for line in done.stdout.splitlines() if line.startswith("  ")}
    for room, name in (
        ("objectives", "beta_vae"),
        ("networks", "mlp"),
        ("likelihoods", "gaussian"),
    ):
        files = {f for f in own if f.startswith(f"vae_jax/{room}/") and "/_" not in f}
        assert files == {f"vae_jax/{room}/{name}.py"}
    assert "times an objective was bound: 1" in done.stdout
