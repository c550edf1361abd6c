"""Snapshots of training: what they show, that none is lost, and that they cost nothing if off."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import PIL.Image
import pytest

from vae_jax import plots
from vae_jax.errors import UsageError
from vae_jax.lab import config, loop, pictures, snapshots, train

SMALL = {"widths": "4", "latent_dim": "2", "epochs": "6", "snapshots": "4"}
SHEET = ("snapshots.png", "snapshots.csv", "snapshots.gif")


@pytest.mark.parametrize(
    ("num_epochs", "asked", "found"),
    [(200, 5, [0, 50, 100, 150, 200]), (3, 20, [0, 1, 2, 3]), (1, 2, [0, 1])],
)
def test_snapshots_are_spread_from_before_training_to_its_end(num_epochs, asked, found):
    assert snapshots.epochs(num_epochs, asked) == found


# --- Drawn


def arrays(num_samples=2, channels=1):
    grays = np.random.default_rng(0).random((1 + 3 + 3, 4, 5, 5, channels)).round(2)
    return [0, 4, 9], grays[0], grays[1:4], grays[4:, :num_samples]


def test_a_contact_sheet_has_a_row_for_each_epoch():
    epochs, inputs, made, samples = arrays()
    picture = plots.snapshots(epochs, inputs, made, samples)
    (axes,) = picture.figure.axes
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert names == ["input", "epoch 0", "epoch 4", "epoch 9"]
    rows = picture.table.rows
    assert len(rows) == 4 + 3 * 4 + 3 * 2
    assert rows[0] == ("input", None, 0, *inputs[0].ravel())
    assert rows[4 + 2 * 4 + 1] == ("reconstruction", 9, 1, *made[2, 1].ravel())
    assert rows[-1] == ("sample", 9, 1, *samples[2, 1].ravel())


@pytest.mark.parametrize(("num_samples", "channels"), [(0, 1), (4, 3), (2, 4)])
def test_a_film_has_a_frame_for_each_epoch(num_samples, channels):
    given = arrays(num_samples, channels)
    frames = plots.snapshot_frames(*given)
    assert frames.shape[0] == 3
    # the inputs stay as they are, and what is made of them changes
    height = frames.shape[1] - 24
    top = frames[:, 24 : 24 + height // (4 if num_samples else 3)]
    assert (top == top[:1]).all()
    assert (frames[0, 24 + height // 2 :] != frames[1, 24 + height // 2 :]).any()
    assert plots.snapshots(*given).figure.axes


def test_snapshots_that_do_not_fit_are_refused():
    epochs, inputs, made, samples = arrays()
    with pytest.raises(UsageError, match="must be \\[3, 4, 5, 5, 1\\]"):
        plots.snapshots(epochs, inputs, made[:2], samples)


# --- Of a run


@pytest.fixture
def few_pictures(monkeypatch):
    """Draws nothing but the snapshots."""
    own = pictures.load("snapshots")
    of_model = {f"snapshots{each.ending}": each for each in own}
    monkeypatch.setattr(pictures, "_of_model", lambda dataset: of_model)
    monkeypatch.setattr(pictures, "_all", lambda *_: {})


def trained(directory, **changed):
    asked = config.from_flags({**SMALL, "workdir": str(directory), **changed})
    return train.train([asked])[0]


def drawn(directory):
    return [(directory / "plots" / name).read_bytes() for name in SHEET]


class Killed(BaseException):
    """Ends a training as a signal that cannot be handled does, after what was saved."""


def test_an_interrupted_training_has_the_sheet_of_one_that_was_not(
    tmp_path, monkeypatch, few_pictures, traced_once
):
    trained(tmp_path / "whole")
    epochs = [each.epoch for each in snapshots.read(tmp_path / "whole", 6, 4)]
    assert epochs == [0, 2, 4, 6]
    take = loop._Training.take

    def killed(self, step, state, tell):
        take(self, step, state, tell)
        self.save_if_due(asked=step == 45)
        if step == 75:  # after the snapshot of epoch 4, of which the checkpoint knows nothing
            self._saver.wait()
            raise Killed

    monkeypatch.setattr(loop._Training, "take", killed)
    with pytest.raises(Killed):
        trained(tmp_path / "twice")
    assert [each.epoch for each in snapshots.read(tmp_path / "twice", 6, 4)] == [0, 2, 4]
    monkeypatch.setattr(loop._Training, "take", take)
    trained(tmp_path / "twice")
    assert drawn(tmp_path / "twice") == drawn(tmp_path / "whole")
    with PIL.Image.open(tmp_path / "twice" / "plots" / "snapshots.gif") as film:
        assert film.n_frames == 4


def test_snapshots_are_those_of_the_model_and_change_no_number(tmp_path, few_pictures, traced_once):
    asked = trained(tmp_path / "asked")
    plain = trained(tmp_path / "plain", snapshots="2")
    names = ("loss", "elbo", "rate", "distortion")
    assert [asked[name] for name in names] == [plain[name] for name in names]
    first, last = snapshots.read(tmp_path / "plain", 6, 2)
    assert (first.epoch, last.epoch) == (0, 6)
    np.testing.assert_array_equal(first.inputs, last.inputs)
    errors = [np.square(each.reconstructions - each.inputs).mean() for each in (first, last)]
    assert errors[1] < errors[0], "training lowers it"
    (tmp_path / "plain" / "snapshots" / "epoch-000006.npz").write_bytes(b"damaged")
    assert [each.epoch for each in snapshots.read(tmp_path / "plain", 6, 2)] == [0]


def test_without_the_setting_nothing_is_imported_or_kept():
    command = (
        "import sys; from vae_jax.lab import loop, pictures, train;"
        "print('vae_jax.lab.snapshots' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert done.stdout.split() == ["False"], done.stderr


@pytest.mark.slow
def test_a_killed_process_loses_no_snapshot(tmp_path):
    flags = {**SMALL, "epochs": "300", "snapshots": "20", "checkpoint_seconds": "0"}
    flags = [f"--{name}={value}" for name, value in flags.items()]
    command = [sys.executable, "-m", "experiments.vae", *flags]
    subprocess.run([*command, f"--workdir={tmp_path / 'whole'}"], check=True, capture_output=True)
    command.append(f"--workdir={tmp_path / 'twice'}")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 300
    while len([*(tmp_path / "twice").glob("snapshots/*.npz")]) < 8 and time.monotonic() < end:
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    subprocess.run(command, check=True, capture_output=True)
    assert drawn(tmp_path / "twice") == drawn(tmp_path / "whole")
