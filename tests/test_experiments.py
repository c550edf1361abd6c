"""The program as its users run it: real processes, real signals, bit by bit."""

import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time
import types

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import quick
from faults._lab import WITHOUT_PICTURES
from faults.bad_flags import BAD, ONLY_THE_COMMAND

from vae_jax import data, errors, objectives, plots
from vae_jax.cli import help as help_lib
from vae_jax.cli.commands import evaluate
from vae_jax.cli.commands import train as train_command
from vae_jax.errors import UsageError
from vae_jax.lab import config, identity, loop, pictures, sweep, train
from vae_jax.lab.flags import as_flags
from vae_jax.lab.pictures import _seen
from vae_jax.storage import files, members

pytestmark = pytest.mark.usefixtures("traced_once")
SMALL = {"network": "mlp", "widths": "16", "latent_dim": "2", "epochs": "3"}
RESULT_KEYS = {
    "status",
    "step",
    "loss",
    "elbo",
    "rate",
    "distortion",
    "wall_seconds",
    "examples_per_second",
}
TIMES = ("wall_seconds", "examples_per_second")


@pytest.fixture
def no_pictures(monkeypatch):
    """For tests of what is computed: drawing takes longer than training here."""
    monkeypatch.setattr(pictures, "draw", lambda *_: [])


def train_here(workdir, overwrite=False, **values):
    values = {**SMALL, "workdir": str(workdir), **values}
    return train.train([config.from_flags(values)], overwrite=overwrite)[0]


def start(workdir, *arguments, main=("-m", "experiments.vae"), **options):
    command = [sys.executable, *main, f"--workdir={workdir}", *arguments]
    return subprocess.Popen(
        command,
        cwd=pathlib.Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(process, timeout=120):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def outcome(workdir):
    """Everything of a run that must not depend on how often it was interrupted."""
    workdir = pathlib.Path(workdir)
    (result,) = members.read_results(workdir)
    numbers = {key: value for key, value in result.items() if key not in TIMES}
    step = max(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())
    return numbers, (workdir / "metrics.csv").read_bytes(), read_state(workdir, step)


def read_state(workdir, step):
    path = os.path.abspath(pathlib.Path(workdir, "checkpoints", str(step), "state"))
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
        return reader.restore(path)


def undrawn_of(workdir):
    """Name of each picture that is not drawn → why."""
    stored = json.loads((workdir / train.UNDRAWN).read_text())
    assert stored.pop("seal")
    return stored


def assert_same_outcome(a, b):
    assert a[0] == b[0]
    assert a[1] == b[1]
    jax.tree.map(np.testing.assert_array_equal, a[2], b[2])


def test_a_run_leaves_its_numbers_and_pictures(tmp_path, capsys):
    result = train_here(tmp_path / "run")
    stored = json.loads((tmp_path / "run" / "result.json").read_text())
    assert stored.keys() >= RESULT_KEYS
    assert stored["elbo"] == pytest.approx(-(stored["rate"] + stored["distortion"]), rel=1e-5)
    assert result["status"] == "done"
    files = {p.name for p in (tmp_path / "run").iterdir()}
    assert files >= {"config.json", "command.txt", "env.json", "metrics.csv", "run.log", "plots"}
    pictures = {p.name for p in (tmp_path / "run" / "plots").iterdir()}
    stems = {
        "training_curves",
        "reconstructions",
        "samples",
        "traversal",
        "interpolation",
        "manifold",
        "latent_scatter",
        "one_to_many",
        "rate_per_dimension",
    }
    others = {"traversal.gif", "explorer.html"}
    assert pictures == {f"{s}.{e}" for s in stems for e in ("png", "csv")} | others
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert len(rows) == 1 + 3
    first = json.loads((tmp_path / "run" / "config.json").read_text())
    assert first["config"]["likelihood"] == "gaussian"
    # the same command again finds it complete, and changes nothing
    before = (tmp_path / "run" / "result.json").read_bytes()
    capsys.readouterr()
    assert [train_here(tmp_path / "run")] == members.read_results(tmp_path / "run")
    assert "complete already" in capsys.readouterr().out
    assert (tmp_path / "run" / "result.json").read_bytes() == before


def broken(_):
    raise ValueError("no\x07 room\nfor it")


def drawn_of(monkeypatch, **made):
    """Has a model be drawn by these functions of what is seen, and by no others: tables alone."""
    monkeypatch.setattr(pictures, "_of_model", lambda dataset: made)
    monkeypatch.setattr(plots, "training_curves", lambda rows: table_of([len(rows)]))
    monkeypatch.setattr(plots.pictures, "_render", lambda *_: b"")


def table_of(*columns):
    return plots.Picture(
        None, plots.Table(tuple(map(str, range(len(columns)))), [*zip(*columns, strict=True)])
    )


def rates(seen):
    return table_of(seen.rates, seen.is_active)


def files_of(run):
    return {path.name for path in (run / "plots").iterdir()}


PICTURE = '''
"""A rate of 7 nats, the labels of what is shown, and how long training took."""

import numpy as np

from vae_jax import plots
from vae_jax.lab.pictures import OfModel, OfRows


def draw(seen):
    return plots.rate_per_dimension(np.full(len(seen.rates), 7.0), seen.is_active)


def labels(seen):
    return [str(label) for label in seen.labels[seen.few]]


def epochs(rows):
    return [f"{len(rows)} epochs"]


def fail(_):
    raise AssertionError("it was not to be drawn")


PICTURES = (
    OfModel(draw, kinds=("image",), needs=lambda seen: seen.has_rates),
    OfModel(labels, ending=".txt"),
    OfModel(fail, kinds=("text", "series", "table"), ending=".other"),
    OfModel(fail, needs=lambda seen: seen.num_discrete > 0, ending=".gif"),
    OfRows(epochs, ending=".log"),
)
'''


FAULTY = {
    "bare": "PICTURES = (len,)",
    "misspelled": "from vae_jax.lab import pictures\n"
    "PICTURES = (pictures.OfModel(len, kinds=('images',)),)",
    "unfinished": "PICTURES = (",
}


def test_a_picture_is_one_file(tmp_path, monkeypatch):
    """A new file is found by its name and drawn; one with a fault fails alone."""
    folder, run = tmp_path / "pictures", tmp_path / "run"
    folder.mkdir()
    (folder / "mine.py").write_text(PICTURE)
    for name, text in FAULTY.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.setattr(pictures, "__path__", [*pictures.__path__, str(folder)])
    monkeypatch.setattr(plots, "encode_gif", lambda _: b"")
    monkeypatch.setattr(
        plots, "encode", lambda picture, formats: (b"", repr(picture.table.rows).encode())
    )
    try:
        assert train_here(run)["status"] == "done"
    finally:
        for name in ("mine", *FAULTY):
            sys.modules.pop(f"{pictures.__name__}.{name}", None)
            vars(pictures).pop(name, None)
    assert {name for name in files_of(run) if name.startswith("mine")} == {
        *("mine.png", "mine.csv", "mine.txt", "mine.log")
    }
    assert (run / "plots/mine.txt").read_text().split() == [str(label) for label in range(10)]
    assert (run / "plots/mine.log").read_text() == "3 epochs\n"
    assert (run / "plots/mine.csv").read_text().count("7.0") == 2  # of two dimensions
    assert {"training_curves.png", "manifold.png", "samples.png"} < files_of(run)
    undrawn = undrawn_of(run)
    assert undrawn.keys() == FAULTY.keys()
    assert undrawn["unfinished"].startswith("SyntaxError")
    assert "kind of data 'images'" in undrawn["misspelled"]
    assert "must be of OfRows, OfModel, " in undrawn["bare"]


def test_pictures_come_in_the_formats_asked_for_and_a_lacking_one_is_drawn_later(
    tmp_path, monkeypatch
):
    run = tmp_path / "run"
    drawn_of(monkeypatch, rates=pictures.OfModel(rates))
    monkeypatch.setattr(plots.pictures, "_render", lambda picture, name: name.encode())
    train_here(run, plot_format="svg")
    assert files_of(run) == {
        f"{n}.{e}" for n in ("training_curves", "rates") for e in ("svg", "csv")
    }
    assert "data:image/" in (run / "report.html").read_text()
    before = (run / "result.json").read_bytes()
    train_here(run, plot_format="pdf, svg")
    assert len(files_of(run)) == 6
    assert (run / "plots/rates.pdf").read_bytes() == b"pdf"
    assert (run / "result.json").read_bytes() == before


def test_no_picture_takes_the_file_of_another():
    for kind in pictures.KINDS:
        drawn = [
            f"{name}{each.ending}"
            for name in pictures.names()
            for each in pictures.load(name)
            if kind in getattr(each, "kinds", pictures.KINDS)
        ]
        assert len(drawn) == len(set(drawn))


def test_a_picture_that_fails_takes_nothing_with_it(tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    drawn_of(monkeypatch, first=rates, broken=broken, last=rates)
    result = train_here(run)
    assert result["status"] == "done"
    reason = "ValueError: no\\x07 room"
    (line,) = [x for x in capsys.readouterr().out.splitlines() if "could not" in x]
    assert line == f"picture broken could not be drawn ({reason})"
    assert line in (run / "run.log").read_text()
    assert undrawn_of(run) == {"broken": reason}
    names = ("training_curves", "first", "last")
    assert files_of(run) == {f"{name}.{end}" for name in names for end in ("png", "csv")}
    # the same command draws what is missing, and computes no result anew
    before = (run / "result.json").read_bytes()
    drawn_of(monkeypatch, first=rates, broken=rates, last=rates)
    monkeypatch.setattr(train, "make_results", None)
    assert train_here(run) == result
    assert "complete already" in capsys.readouterr().out
    assert {"broken.png", "broken.csv"} <= files_of(run)
    assert not (run / train.UNDRAWN).exists()
    assert (run / "result.json").read_bytes() == before
    # and once more has nothing to do
    monkeypatch.setattr(pictures, "draw", None)
    assert train_here(run) == result


@pytest.mark.parametrize("error", [pytest.param(MemoryError, marks=pytest.mark.slow), RuntimeError])
def test_the_common_data_of_pictures_are_computed_once(tmp_path, monkeypatch, error):
    tries = []

    def look(*_):
        tries.append(1)
        raise error("too large")

    monkeypatch.setattr(_seen, "look", look)
    assert train_here(tmp_path / "run")["status"] == "done"
    assert len(tries) == 1
    assert files_of(tmp_path / "run") == {"training_curves.png", "training_curves.csv"}
    undrawn = undrawn_of(tmp_path / "run")
    assert {"samples", "traversal.gif", "manifold"} < undrawn.keys()
    assert {*undrawn.values()} == {f"{error.__name__}: too large"}


def test_a_picture_whose_file_cannot_be_read_takes_nothing_with_it(tmp_path, monkeypatch, capsys):
    def unreadable(_):
        raise errors.StorageError("metrics.csv: is not there")

    drawn_of(monkeypatch, first=unreadable, second=rates)
    assert train_here(tmp_path / "run")["status"] == "done"
    assert "second.png" in files_of(tmp_path / "run")
    assert "picture first could not be drawn (RuntimeError: metrics.csv" in capsys.readouterr().out


def test_a_run_of_one_step_has_results_and_pictures(tmp_path, monkeypatch):
    """Its speed was not measured: what is compiled in the first step is none of it."""
    drawn_of(monkeypatch)
    result = train_here(tmp_path / "run", epochs="1", batch_size="1439")
    assert result["examples_per_second"] is None
    assert members.read_results(tmp_path / "run") == [result]
    assert files_of(tmp_path / "run") == {"training_curves.png", "training_curves.csv"}


@pytest.mark.fault("R1")
@pytest.mark.parametrize(
    "error", [pytest.param(KeyboardInterrupt, marks=pytest.mark.slow), errors.StorageError]
)
def test_the_same_command_draws_pictures_that_were_interrupted(
    tmp_path, monkeypatch, capsys, error
):
    run, write = tmp_path / "run", files.write_bytes

    def end(path, *arguments, **keywords):
        if path.name == "second.png":
            raise error("now")
        write(path, *arguments, **keywords)

    drawn_of(monkeypatch, first=rates, second=rates)
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_bytes", end)
        with pytest.raises(error, match="now"):
            train_here(run)
    (result,) = members.read_results(run)
    assert result["status"] == "done"
    assert "second.png" not in files_of(run)
    assert not train.has_ended(run)
    drawn_of(monkeypatch, first=rates, second=rates)
    assert train_here(run) == result
    assert "second.png" in files_of(run)
    assert train.has_ended(run)


@pytest.mark.fault("R5")
def test_nothing_is_drawn_of_another_step_than_the_results(tmp_path, monkeypatch):
    run = tmp_path / "run"
    drawn_of(monkeypatch, first=broken)
    result = train_here(run, checkpoint_seconds="0")
    older, newest = list_steps(run / "checkpoints")
    (run / "checkpoints" / str(newest) / "manifest.json").unlink()
    monkeypatch.setattr(pictures, "draw", None)
    assert train_here(run, checkpoint_seconds="0") == result
    assert list_steps(run / "checkpoints") == [older, newest]
    assert (run / train.UNDRAWN).exists()


def test_a_folder_of_pictures_that_leads_elsewhere_loses_no_result(tmp_path, monkeypatch):
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    elsewhere.mkdir()
    drawn_of(monkeypatch, first=rates)
    make = train.make_results

    def then_link(*arguments):
        (run / "plots").symlink_to(elsewhere)
        return make(*arguments)

    monkeypatch.setattr(train, "make_results", then_link)
    assert train_here(run)["status"] == "done"
    assert not list(elsewhere.iterdir())
    undrawn = undrawn_of(run)
    assert undrawn.keys() == {"training_curves", "first"}
    assert all("must stay inside" in reason for reason in undrawn.values())


@pytest.mark.parametrize(
    ("num_channels", "is_saved"),
    [(4, False), pytest.param(4, True, marks=pytest.mark.slow)]
    + [pytest.param(n, False, marks=pytest.mark.slow) for n in (2, 8, 13)],
)
def test_images_of_any_number_of_channels_are_drawn(tmp_path, monkeypatch, num_channels, is_saved):
    if not is_saved:
        # which takes most of the time
        monkeypatch.setattr(plots, "encode", lambda *_: (b"", b""))
    x = np.random.default_rng(0).integers(0, 256, (60, 8, 8, num_channels), np.uint8)
    np.save(tmp_path / "x.npy", x)
    run = tmp_path / "run"
    train_here(run, dataset=str(tmp_path / "x.npy"), objective="denoising", epochs="1")
    assert not (run / train.UNDRAWN).exists()
    of_images = {"reconstructions", "corruptions", "samples", "traversal", "interpolation"}
    assert of_images | {"manifold"} <= {name.removesuffix(".png") for name in files_of(run)}
    assert "traversal.gif" in files_of(run)
    log = (run / "run.log").read_text()
    assert f"images of {num_channels} channels are drawn channel by channel" in log


def test_pictures_are_the_same_in_however_many_blocks(tmp_path, monkeypatch):
    def numbers():
        rows = [line.split(",") for line in (tmp_path / "run/plots/x.csv").read_text().split()]
        return np.array([[float(cell) for cell in row] for row in rows[1:]])

    def look(seen):
        decoded = seen.decode(seen.codes[None, :9])[0].reshape(9, -1)
        parts = decoded, seen.means[:9], seen.x.reshape(len(seen.x), -1)[:9]
        rows = np.array([8, 0, 5, 3, 1, 2, 7, 6, 4])
        x, z = seen.draw(rows, 3)
        np.testing.assert_allclose(x, seen.inputs(9)[rows])
        covariances = seen.covariances(rows, np.eye(2, dtype=np.float32))
        parts = *parts, z.reshape(9, -1), covariances.reshape(9, -1)
        table = np.concatenate([*parts, np.tile([*seen.rates, *seen.is_active], (9, 1))], axis=1)
        return table_of(*table.T.tolist())

    drawn_of(monkeypatch, x=look)
    train_here(tmp_path / "run")
    at_once = numbers()
    monkeypatch.setattr(_seen, "MOST_AT_ONCE", 64 * 4)
    (tmp_path / "run" / train.UNDRAWN).write_text("{}")
    (tmp_path / "run/plots/x.csv").unlink()
    train_here(tmp_path / "run")
    np.testing.assert_allclose(numbers(), at_once, rtol=1e-5, atol=1e-5)


def test_killed_and_interrupted_runs_resume_bit_identically(no_pictures, tmp_path):
    """As one that this process trains without an interruption."""
    values = {"beta": "4", "ema_decay": "0.99", "patience": "20"}
    values |= {"epochs": "10", "checkpoint_seconds": "0"}
    flags = [f"--{name}={value}" for name, value in {**SMALL, **values}.items()]
    train_here(tmp_path / "whole", **values)

    def run(name):
        return start(tmp_path / name, *flags, main=("-c", quick.program(WITHOUT_PICTURES)))

    checkpoints_dir = tmp_path / "killed" / "checkpoints"

    def end(signum):
        """Sends a signal some time after the next checkpoint; what the process left, and when."""
        process = run("killed")
        newest = max(list_steps(checkpoints_dir), default=-1)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if max(list_steps(checkpoints_dir), default=-1) > newest:
                time.sleep(np.random.default_rng(newest + 1).uniform(0, 0.1))
                break
            time.sleep(0.01)
        sent = time.monotonic()
        process.send_signal(signum)
        return *finish(process), time.monotonic() - sent

    code, out, err, seconds = end(signal.SIGINT)
    assert code == 130, err
    assert seconds < 10
    assert "Traceback" not in err
    assert f"interrupted at step {max(list_steps(checkpoints_dir))}, saved" in out
    assert end(signal.SIGKILL)[0] == -signal.SIGKILL
    code, out, err = finish(run("killed"))
    assert code == 0, err
    assert "resuming at step" in out
    assert_same_outcome(outcome(tmp_path / "killed"), outcome(tmp_path / "whole"))


def list_steps(directory):
    if not directory.is_dir():
        return []
    return sorted(int(p.name) for p in directory.iterdir() if p.name.isdigit())


def test_a_signal_during_compilation_ends_the_process(tmp_path):
    process = start(tmp_path / "run")
    while "objective:" not in process.stdout.readline():
        assert process.poll() is None
    time.sleep(0.5)
    sent = time.monotonic()
    process.terminate()
    code, _, err = finish(process)
    assert code == 143, err
    assert time.monotonic() - sent < 10
    assert "Traceback" not in err
    assert "Fatal" not in err


def test_a_signal_during_the_imports_ends_the_process(tmp_path):
    process = start(tmp_path / "run")
    time.sleep(0.7)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert err.splitlines()[-1] == "SIGINT: left, nothing was to be saved"
    assert "Traceback" not in err


SLOW_IMPORT = """
import time
print("importing", flush=True)
try:
    time.sleep(60)
except BaseException:  # as what looks for optional packages may
    time.sleep(60)
"""


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("entry", ["vae", "evaluate", "benchmark"])
def test_each_command_leaves_at_once_while_it_imports(tmp_path, entry, signum, code):
    (tmp_path / "jax.py").write_text(SLOW_IMPORT)
    paths = [str(tmp_path), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    process = start(
        tmp_path / "run",
        main=("-m", f"experiments.{entry}"),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signum)
    returned, out, err = finish(process, timeout=10)
    assert returned == code, out + err
    assert err == f"\n{signum.name}: left, nothing was to be saved\n"


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_step_at_hand(tmp_path, signum, code):
    flags = ["--epochs=20000", "--widths=16", "--latent_dim=2"]
    process = start(tmp_path / "run", *flags)
    metrics = tmp_path / "run" / "metrics.csv"
    deadline = time.monotonic() + 60
    while not metrics.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    sent = time.monotonic()
    process.send_signal(signum)
    returned, out, err = finish(process)
    assert returned == code, err
    assert time.monotonic() - sent < 10
    assert "Traceback" not in err
    # a slow machine has saved before it was asked, too
    step = list_steps(tmp_path / "run" / "checkpoints")[-1]
    assert f"interrupted at step {step}, saved" in out


@pytest.mark.fault("R1")
@pytest.mark.parametrize("error", [BrokenPipeError, OSError])
def test_a_signal_that_nobody_can_be_told_of_is_heard(monkeypatch, error):
    def fail(descriptor, text):
        assert (descriptor, text) == (
            2,
            b"\nSIGTERM: saving, then leaving (again to leave at once)\n",
        )
        raise error

    with loop.Interrupt() as interrupt:
        monkeypatch.setattr(os, "write", fail)
        interrupt._handle(signal.SIGTERM, None)
        monkeypatch.undo()
    assert interrupt.signum == signal.SIGTERM


LONG_BLOCK = """
from vae_jax.lab import interrupts
interrupts.exit_at_once()
import jax, jax.numpy as jnp
{before}
@jax.jit
def long(x):
    return jax.lax.fori_loop(0, 10**9, lambda i, x: jnp.sin(x), x)
lowered = long.lower(jnp.ones(8)).compile()
print("computing", flush=True)
lowered(jnp.ones(8)).block_until_ready()
"""
OWN_HANDLERS = """
from vae_jax.lab import loop
loop.Interrupt().__enter__()
"""


def in_a_long_block(before=""):
    """A process that Python's handlers cannot reach for minutes, of a session of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", LONG_BLOCK.format(before=before)],
        cwd=pathlib.Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "computing\n"
    time.sleep(0.5)
    return process


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_heard_inside_a_long_computation(signum, code):
    process = in_a_long_block()
    try:
        process.send_signal(signum)
        returned, _, err = finish(process, timeout=10)
    finally:
        process.kill()
    assert returned == code, err
    assert err == f"\n{signum.name}: left, nothing was to be saved\n"


def test_a_signal_is_answered_inside_a_long_computation_and_a_second_one_ends_it():
    process = in_a_long_block(OWN_HANDLERS)
    try:
        process.send_signal(signal.SIGUSR1)
        assert process.stderr.readline() + process.stderr.readline() == (
            "\nSIGUSR1: saving, then going on\n"
        )
        process.terminate()
        assert process.stderr.readline() + process.stderr.readline() == (
            "\nSIGTERM: saving, then leaving (again to leave at once)\n"
        )
        assert process.poll() is None
        process.terminate()
        returned, _, err = finish(process, timeout=10)
    finally:
        process.kill()
    assert (returned, err) == (143, "\nSIGTERM: left at once\n")


FORKED = """
import os, signal, time
from vae_jax.lab import interrupts
interrupts.exit_at_once()
if not (child := os.fork()):
    print("forked", flush=True)
    time.sleep(60)
time.sleep(0.5)
os.kill(child, signal.SIGTERM)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
time.sleep(0.5)
print("still here", flush=True)
"""


def test_a_signal_to_a_fork_is_the_forks_own():
    command = [sys.executable, "-W", "ignore", "-c", FORKED]
    ran = subprocess.run(
        command, cwd=pathlib.Path(__file__).parents[1], capture_output=True, text=True, timeout=60
    )
    assert ran.stdout.split("\n")[:3] == ["forked", "143", "still here"], ran.stderr


def test_tensorboard_is_an_extra_and_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(errors.UsageError, match=r"pip install 'vae_jax\[tensorboard\]'"):
        train_here(tmp_path / "run", tensorboard=True)
    assert not (tmp_path / "run").exists()


def test_tensorboard_gets_the_rows(no_pictures, tmp_path):
    pytest.importorskip("tensorboardX", reason="needs the extra tensorboard")
    train_here(tmp_path / "run", tensorboard=True)
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    assert b"elbo/valid" in events.read_bytes()


@pytest.mark.fault("R9")
def test_resuming_needs_the_same_settings(no_pictures, tmp_path):
    train_here(tmp_path / "run", beta="1")
    message = r"holds `beta=1`, you asked `beta=4`: .*`overwrite=True`"
    with pytest.raises(errors.UsageError, match=message):
        train_here(tmp_path / "run", beta="4")
    result = train_here(tmp_path / "run", overwrite=True, beta="4")
    assert result["loss"] == pytest.approx(result["distortion"] + 4 * result["rate"], rel=1e-5)
    archived = [p for p in tmp_path.iterdir() if p.name != "run"]
    assert len(archived) == 1
    assert (archived[0] / "result.json").exists()


def test_more_epochs_go_on_where_the_run_ended(no_pictures, tmp_path):
    constant = {"learning_rate": "1e-3"}
    long = train_here(tmp_path / "long", **constant)
    train_here(tmp_path / "twice", **constant, epochs="1")
    assert train_here(tmp_path / "twice", **constant)["elbo"] == long["elbo"]
    with pytest.raises(errors.UsageError, match=r"^epochs=1: .* has trained 3"):
        train_here(tmp_path / "twice", **constant, epochs="1")
    stored = json.loads((tmp_path / "twice" / "config.json").read_text())
    assert stored["config"]["epochs"] == 3


def test_the_loss_is_that_of_the_last_step_done(no_pictures, tmp_path):
    """A cycle that ends with the run: β is 1 at the last step, and would be 0 at the next."""
    result = train_here(tmp_path / "run", beta="cyclical(0, 1, 1ep)")
    assert result["loss"] == pytest.approx(result["distortion"] + result["rate"], rel=1e-5)
    assert result["rate"] > 0.1


@pytest.mark.slow
def test_the_stored_command_is_the_same_run(no_pictures, tmp_path):
    values = {"widths": "16,8", "beta": "linear(0,4,10)", "epochs": "1", "num_valid": "50"}
    result = train_here(tmp_path / "run", **values)
    words = shlex.split((tmp_path / "run" / "command.txt").read_text())
    assert words[:3] == ["python", "-m", "experiments.vae"]
    given = dict(word.removeprefix("--").split("=", 1) for word in words[3:])
    assert given["workdir"] == str(tmp_path / "run")
    assert train.train([config.from_flags(given)]) == [result]


@pytest.mark.fault("R7")
def test_a_diverged_run_says_where_and_keeps_what_was_finite(tmp_path):
    with pytest.raises(errors.DivergedError, match=r"non-finite at step \d+ .*learning_rate="):
        train_here(tmp_path / "run", learning_rate="1e30")
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "diverged"


@pytest.mark.fault("R7")
@pytest.mark.slow
def test_a_divergence_of_an_objectives_own_optimizer_names_its_rate(no_pictures, tmp_path):
    values = {"objective": "factor_vae", "discriminator_learning_rate": "1e30", "epochs": "1"}
    with pytest.raises(errors.DivergedError, match="a smaller `discriminator_learning_rate`, with"):
        train_here(tmp_path / "run", discriminator_width="8", discriminator_depth="1", **values)


@pytest.mark.fault("R7")
def test_a_last_update_that_is_not_finite_is_no_success(no_pictures, tmp_path):
    huge = {"epochs": "1", "batch_size": "1439", "learning_rate": "1e38"}
    with pytest.raises(errors.DivergedError):
        train_here(tmp_path / "run", **huge)


def test_patience_keeps_the_best_parameters(no_pictures, tmp_path):
    # a learning rate of nothing: no epoch is better than the first
    result = train_here(tmp_path / "run", patience="2", epochs="50", learning_rate="1e-30")
    assert result["status"] == "stopped early"
    assert result["best_epoch"] == 1
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 1 + 3
    again = train_here(tmp_path / "run", patience="2", epochs="50", learning_rate="1e-30")
    assert again["elbo"] == result["elbo"]


@pytest.mark.fault("R5")
@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over(no_pictures, tmp_path, capsys):
    settings = {"checkpoint_seconds": "0", "epochs": "4"}
    whole = train_here(tmp_path / "run", **settings)
    newest = max(list_steps(tmp_path / "run" / "checkpoints"))
    victim = max(
        (p for p in (tmp_path / "run" / "checkpoints" / str(newest)).rglob("*") if p.is_file()),
        key=lambda p: p.stat().st_size,
    )
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    (tmp_path / "run" / "result.json").unlink()
    again = train_here(tmp_path / "run", **settings)
    assert f"checkpoint {newest} failed verification" in capsys.readouterr().out
    assert again["elbo"] == whole["elbo"]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"network": "conv"}, marks=pytest.mark.slow),
        {"network": "linear", "widths": None, "likelihood": "gaussian", "variance": "optimal"},
        pytest.param({"likelihood": "bernoulli", "binarization": "soft"}, marks=pytest.mark.slow),
        pytest.param({"likelihood": "logistic"}, marks=pytest.mark.slow),
        pytest.param({"likelihood": "categorical"}, marks=pytest.mark.slow),
        pytest.param(
            {"likelihood": "laplace", "variance": "learned_per_dimension"}, marks=pytest.mark.slow
        ),
        pytest.param(
            {"objective": "capacity_vae", "capacity": "linear(0, 5, 50%)"}, marks=pytest.mark.slow
        ),
        pytest.param({"beta": "cyclical(0, 1, 1ep)", "free_bits": "0.1"}, marks=pytest.mark.slow),
        pytest.param(
            {"dtype": "bfloat16", "optimizer": "adamw", "clip_norm": "1"}, marks=pytest.mark.slow
        ),
    ],
    ids=lambda v: "-".join(f"{k}={x}" for k, x in v.items()),
)
def test_variants_train_end_to_end(no_pictures, tmp_path, values):
    result = train_here(tmp_path / "run", **{"epochs": "1", **values})
    assert np.isfinite(result["loss"])


@pytest.mark.slow
def test_ten_examples_are_enough(tmp_path):
    images = np.random.default_rng(0).uniform(size=(10, 8, 8)).astype(np.float32)
    np.save(tmp_path / "ten.npy", images)
    result = train_here(tmp_path / "run", dataset=str(tmp_path / "ten.npy"))
    assert result["num_examples"] == 1
    assert result["status"] == "done"


@pytest.mark.slow
def test_pictures_of_odd_sizes_have_a_map_of_codes(no_pictures, tmp_path, capsys):
    result = train_odd(tmp_path, (5, 9), network="conv_map", widths="2,3", latent_dim="6")
    assert result["status"] == "done"
    assert "model: conv_map, latent_dim 6 on a map of 2×3 places" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("size", [(29, 37), (33, 47), (5, 97), (1, 9), (9, 1), (3, 3)], ids=str)
def test_pictures_of_any_size_train_with_convolutions(tmp_path, size):
    result = train_odd(tmp_path, size, network="conv", widths="2,2,2,2")
    assert result["status"] == "done"
    assert "reconstructions" in {p.stem for p in (tmp_path / "run" / "plots").iterdir()}


def train_odd(folder, size, **values):
    images = np.random.default_rng(0).uniform(size=(20, *size, 1)).astype(np.float32)
    np.save(folder / "odd.npy", images)
    return train_here(folder / "run", epochs="1", dataset=str(folder / "odd.npy"), **values)


def test_a_users_table_trains_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "encode", lambda *_: (b"", b""))
    monkeypatch.setattr(pictures, "names", lambda: ["reconstructions", "samples"])
    rows = np.random.default_rng(0).normal(size=(200, 6))
    np.save(tmp_path / "table.npy", rows)
    result = train_here(tmp_path / "run", dataset=str(tmp_path / "table.npy"))
    assert np.isfinite(result["elbo"])
    drawn = {p.stem for p in (tmp_path / "run" / "plots").iterdir()}
    assert "reconstructions" in drawn
    assert "samples" not in drawn


@pytest.mark.parametrize(("values", "message"), BAD, ids=[m for _, m in BAD])
def test_bad_values_are_named(values, message):
    with pytest.raises(errors.UsageError) as error:
        config.from_flags(values)
    assert message in as_flags(str(error.value))
    assert "\n" not in str(error.value)


def test_one_setting_has_one_spelling():
    for name, a, b in [
        ("beta", "4", "4.0"),
        ("beta", "1", None),
        ("beta", " linear(0,4.0, 100)", "linear(0, 4, 1e2)"),
        ("learning_rate", "cosine(.002,0,100%)", None),
    ]:
        assert config.from_flags({name: a}) == config.from_flags({name: b})


def test_a_rate_may_rise_from_zero_and_return():
    config.from_flags({"learning_rate": "warmup_cosine_decay(0, 1e-3, 5ep, 100%)"})


def test_settings_that_only_the_data_can_refuse(tmp_path):
    for values, message in [
        ({"batch_size": "5000"}, "^batch_size=5000: the training split has 1"),
        ({"binarization": "dynamic"}, "only for bernoulli"),
        ({"dataset": "digit"}, "digits"),
        ({"scaling": "unit"}, "^scaling=unit: digits has 17 levels"),
    ]:
        with pytest.raises(errors.VaeJaxError, match=message):
            train_here(tmp_path / "run", **values)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--beta=-1"], "0 trains a plain autoencoder"),
        # the campaign tries these too
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ONLY_THE_COMMAND),
    ],
)
def test_misuse_exits_with_2_and_one_line(tmp_path, arguments, message):
    code, out, err = finish(start(tmp_path / "run", *arguments))
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1, err
    assert out == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_closed_pipe_or_a_limited_terminal_does_not_end_a_run(tmp_path):
    poor = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    process = start(
        tmp_path / "run", "--epochs=2", "--widths=8", "--latent_dim=2", "--beta=2", env=poor
    )
    with process:
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 0, err
    assert err == ""
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "done"
    assert "2·rate" in (tmp_path / "run" / "run.log").read_text(encoding="utf-8")


def test_help_goes_to_a_reader_that_reads_its_head(tmp_path):
    with start(tmp_path / "run", "--help", main=("-m", "experiments.evaluate")) as process:
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (0, "")


def test_help_is_complete():
    page = help_lib.of_training("all", "Head.")
    names = [f.name for f in config.flag_fields()]
    names += [*config.hyperparameter_flags(), "overwrite"]
    for name in names:
        assert f"  --{name} " in page
    assert "{" not in page
    assert all(name in page for name in data.names())
    told = " ".join(page.split())
    assert "--num_samples iwae, renyi: samples of z for each example, K (default: 5)" in told
    assert "stratified (unbiased) or weighted (default: stratified)" in told


def test_help_fits_a_terminal():
    pages = [help_lib.of_training(asked, "Head.") for asked in ("", "all", *objectives.names())]
    pages.append(help_lib.of_flags(evaluate.flag_texts(), evaluate.DESCRIPTION, "example"))
    assert all(len(line) <= 80 for page in pages for line in page.splitlines())
    first = train_command.DESCRIPTION, help_lib.of_training("", train_command.DESCRIPTION)
    assert len(first[1].splitlines()) <= 60
    known = {f.name for f in config.flag_fields() + config.flag_fields(config.Plan)}
    assert set(help_lib.COMMON) <= known


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ([], None),
        (["--beta=4"], None),
        (["--help"], ""),
        (["-h"], ""),
        (["--help=all"], "all"),
        (["--helpfull"], "all"),
        (["--help", "--objective=iwae"], "iwae"),
        (["--objective=iwae", "--help=all"], "all"),
    ],
    ids=str,
)
def test_the_requested_help_topic(words, asked):
    assert help_lib.asked_for(words) == asked


def test_help_on_an_objective_has_its_flags():
    page = help_lib.of_training("iwae", "Head.")
    assert "--num_samples" in page
    assert "--beta" not in page
    with pytest.raises(UsageError, match=r"objective 'iwea' is unknown \(did you mean iwae\?\)"):
        help_lib.of_training("iwea", "Head.")


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({}, "digits"),
        ({"widths": "16"}, "digits-widths=16"),
        ({"widths": "16,8"}, "digits-widths=16,8"),
        ({"widths": "16;8"}, "digits-widths=16+8"),
        ({"widths": "16,8;4", "beta": "2,4"}, "digits-beta=2,4-widths=16,8+4"),
    ],
    ids=str,
)
def test_the_workdir_of_widths_is_readable(values, name):
    configs = sweep.make_configs(values)
    if len(configs) == 1:
        path = identity.default_workdir(configs[0], "digits")
    else:
        path = identity.workdir_of_sweep(configs)
    assert path == pathlib.Path("runs", name)


def test_the_readable_workdir_tells_runs_apart():
    def name(**values):
        return identity.workdir_options(config.from_flags(values))

    assert name() == {}
    assert name(beta="4") == {"beta": "4"}
    assert name(beta="4", latent_dim="3", seed="2") == {"beta": "4", "latent_dim": 3, "seed": 2}
    assert name(workdir="x", epochs="3") == {"epochs": 3}
    # a run that may go on for longer keeps its place
    constant = name(learning_rate="1e-3")
    assert name(learning_rate="1e-3", epochs="3") == constant == {"learning_rate": "0.001"}


def test_the_pictures_begin_with_one_example_of_each_known_label():
    labels = np.array([-1, -1, 2, 0, 0, 2])
    assert _seen._one_per_label(labels, 6, 4) == [3, 2, 0, 1]
    assert _seen._one_per_label(None, 3, 2) == [0, 1]


class Store:
    """Checkpoints that only remember."""

    def __init__(self):
        self.save_seconds = 0.0
        self.saved = []
        self.saving = False

    def start_save(self, step, state, config):
        self.saved.append(step)

    def wait(self):
        pass

    def is_saving(self):
        return self.saving

    def has_failed(self):
        return False


@pytest.mark.parametrize(
    ("chosen", "save_seconds", "waits"),
    [(None, 0.1, 5), (None, 2.0, 100), ("3", 2.0, 3), ("0", 2.0, 0)],
)
def test_saving_takes_at_most_2_percent_of_the_time(monkeypatch, chosen, save_seconds, waits):
    clock = [0.0]
    monkeypatch.setattr(train.time, "perf_counter", lambda: clock[0])
    flags = {} if chosen is None else {"checkpoint_seconds": chosen}
    experiment = types.SimpleNamespace(
        layout=types.SimpleNamespace(read=lambda tree: tree), config=config.from_flags(flags)
    )
    store = Store()
    saver = loop.Saver(experiment, store, None)
    store.save_seconds = save_seconds
    clock[0] = 5.0
    saver.save(7, "state", {})
    assert (saver.step, store.saved) == (7, [7])
    saver.save(7, "state", {})
    assert store.saved == [7]
    clock[0] = 5.0 + 0.999 * waits
    assert saver.is_due() == (waits == 0)
    clock[0] = 5.0 + waits
    assert saver.is_due()
    store.saving = True
    assert saver.is_due() == (chosen is not None)
