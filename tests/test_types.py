"""The face has types: pyright, in basic mode, finds no error in it nor in the examples."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import textwrap
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
RIGHT = """
    from typing import assert_type

    import jax
    import numpy as np
    import optax

    import vae_jax

    digits = vae_jax.data.load("digits")
    assert_type(digits, vae_jax.data.Dataset)
    model = vae_jax.make_model(digits, objective="vq_vae", latent_dim=4, num_codes=8)
    assert_type(model, vae_jax.Model)
    rate = optax.cosine_decay_schedule(1e-3, 100)
    trained = vae_jax.fit(
        "vq_vae", model, digits, epochs=1, optimizer=optax.adam, learning_rate=rate, num_codes=8
    )
    vae_jax.fit("beta_vae", model, np.zeros((4, 8)), epochs=1, learning_rate="1e-3", beta=4.0)
    assert_type(trained, vae_jax.Trained)
    assert_type(vae_jax.load("run"), vae_jax.Trained)
    x = np.zeros((2, 8, 8, 1))
    assert_type(trained.model.reconstruct(trained.params, x), jax.Array)
    assert_type(trained.model.interpolate(trained.params, x[0], x[1], 5), jax.Array)
    assert_type(trained.model.predict(trained.params, x).code, jax.Array)
    print(vae_jax.evaluate(trained, "nll")["nll"]["nll"], vae_jax.losses, vae_jax.plots.Picture)
"""
WRONG = {
    'vae_jax.make_model(digits, latent_dim="4")': "reportArgumentType",
    'vae_jax.fit("beta_vae", model, digits)': "reportCallIssue",
    "vae_jax.loses": "reportAttributeAccessIssue",
    "vae_jax.load(3)": "reportArgumentType",
    "trained.parameters": "reportAttributeAccessIssue",
}
"""What is no use of the face → the rule of pyright that it breaks."""


def errors_of(folder, files, place=ROOT):
    """The (file, rule) of each error that pyright finds in files, and the whole report.

    The package lies in `place`.
    """
    settings = {"typeCheckingMode": "basic", "extraPaths": [str(place)], "include": files}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run([*command, "-p", str(folder)], capture_output=True, text=True)
    told = json.loads(done.stdout)
    assert told["summary"]["filesAnalyzed"] >= len(files), done.stdout
    errors = [each for each in told["generalDiagnostics"] if each["severity"] == "error"]
    found = ((pathlib.Path(each["file"]).name, each.get("rule")) for each in errors)
    return sorted(found), done.stdout


def require_pyright():
    """Skips a test where there is no pyright."""
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed: pip install 'vae_jax[test]'")


def test_the_face_and_the_examples_are_clean_and_a_wrong_use_is_not(tmp_path):
    require_pyright()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pyright"]
    assert project["typeCheckingMode"] == "basic"
    files = [os.path.relpath(ROOT / path, tmp_path) for path in project["include"]]
    right = textwrap.dedent(RIGHT)
    for name, text in {"right": "", **{f"wrong_{n}": line for n, line in enumerate(WRONG)}}.items():
        (tmp_path / f"{name}.py").write_text(f"{right}{text}\n")
        files.append(f"{name}.py")
    found, report = errors_of(tmp_path, files)
    expected = [(f"wrong_{number}.py", rule) for number, rule in enumerate(WRONG.values())]
    assert found == expected, report
