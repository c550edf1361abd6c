"""Each command of docs/lectures.md ends well, for one epoch and on small files where it names none.

Applications and the lecture take minutes: their own tests run them.
"""

import pathlib
import shlex
import subprocess
import sys
import wave

import numpy as np
import pytest
from PIL import Image
from test_readme import PAGES, commands

from vae_jax import data

ELSEWHERE = {"experiments.applications", "experiments.lecture"}
"""What other tests run."""
COMMANDS = sorted(
    {found for found in commands(PAGES["docs/lectures.md"]) if found[0] not in ELSEWHERE}
)
ROOT = pathlib.Path(__file__).parents[1]


def test_the_page_has_a_command_for_most_items():
    assert len(COMMANDS) >= 40
    assert {module for module, _ in COMMANDS} >= {"experiments.vae", "experiments.evaluate"}


def run(module: str, flags: list[str]) -> None:
    words = [sys.executable, "-m", module, *flags]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]


def write_sound(path: pathlib.Path, rate: float) -> None:
    """A second of a sine wave of so many hertz."""
    wave_of = np.int16(2e4 * np.sin(2 * np.pi * rate * np.arange(8000) / 8000))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(wave_of.tobytes())


@pytest.fixture(scope="module")
def named(tmp_path_factory, data_dir):
    """What stands for the words of the page: a run, rows, lines, pictures and recordings."""
    folder, rng = tmp_path_factory.mktemp("named"), np.random.default_rng(0)
    run("experiments.vae", ["--objective=denoising", "--epochs=1", f"--workdir={folder / 'run'}"])
    digits = data.load("digits")
    np.save(folder / "rows.npy", np.asarray(digits.decode(digits.test.x[:5])))
    words = ["one", "two", "three", "four", "five"]
    lines = [" ".join(rng.choice(words, rng.integers(1, 6))) for _ in range(200)]
    (folder / "lines.txt").write_text("\n".join(lines) + "\n")
    for kind in ("pictures", "sounds"):
        (folder / kind).mkdir()
    for number in range(60):
        pixels = rng.integers(0, 256, (16, 16), np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{number}.png")
        write_sound(folder / "sounds" / f"{number}.wav", 200 + 10 * number)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("module", "arguments"), COMMANDS)
def test_a_command_ends_well(module, arguments, named, tmp_path):
    folder = "sounds" if "--sound" in arguments else "pictures"
    for word, path in [
        ("FILE.txt", named / "lines.txt"),
        ("FILE", named / "rows.npy"),
        ("DIR", named / "run"),
        ("FOLDER", named / folder),
    ]:
        arguments = arguments.replace(f"={word}", f"={path}")
    flags = shlex.split(arguments)
    if module == "experiments.vae":
        flags += ["--epochs=1", f"--workdir={tmp_path / 'run'}"]
    elif module == "experiments.apply":
        flags += [f"--output={tmp_path / 'out.npy'}"]
    run(module, flags)
