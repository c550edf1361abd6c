"""The programs of a sweep as a table, while others train them, and the commands that show it."""

import json

import pytest

from vae_jax.cli.commands import cancel, status
from vae_jax.errors import DataError, UsageError
from vae_jax.lab import overview
from vae_jax.lab.executors import Outcome, slurm


@pytest.fixture
def sweep(tmp_path):
    """A sweep of four programs: one has ended, one trains, one waits, one has failed."""
    for name in ("ended", "trains", "waits", "failed"):
        (tmp_path / "programs" / name).mkdir(parents=True)
        (tmp_path / "programs" / f"{name}.json").write_text("[]")
    (tmp_path / "programs/trains/metrics.csv").write_text(
        "step,epoch,run,valid_elbo\n10,1,0,-9.0\n10,1,1,-8.0\n20,2,0,-7.125\n20,2,1,-7.5\n"
    )
    (tmp_path / "logs/slurm").mkdir(parents=True)
    (tmp_path / "logs/slurm/7_2.exit").write_text("2\n")
    (tmp_path / "logs/slurm/7_0_0_log.out").write_text("epoch 1\n")
    (tmp_path / "logs/slurm/7_2_0_log.out").write_text("a line\nerror: no such thing\nsrun: left\n")
    jobs = {"trains": "7_0", "waits": "7_1", "failed": "7_2"}
    slurm._record(tmp_path, {name: [slurm.Job(job)] for name, job in jobs.items()})
    return tmp_path


@pytest.fixture
def queue(monkeypatch):
    """What squeue answers."""
    rows = {"7_0": ["RUNNING", "None", "1:30"], "7_1": ["PENDING", "Priority", "0:00"]}
    monkeypatch.setattr(slurm, "_queue", lambda clusters: rows)
    return rows


def test_the_state_of_each_program_is_told_with_how_far_it_is(sweep, queue, monkeypatch):
    results = {"ended": [{}]}
    monkeypatch.setattr(overview.members, "read_results", lambda place: results.get(place.name))
    found = {outcome.name: outcome for outcome in overview.of_directory(sweep)}
    assert {name: outcome.status for name, outcome in found.items()} == {
        "ended": "complete",
        "failed": "failed",
        "trains": "running",
        "waits": "queued",
    }
    text = overview.lines(list(found.values()), sweep)
    assert [" ".join(line.split()) for line in text[:5]] == [
        "program state epoch elbo output",
        "ended complete",
        "failed failed (2) 7_2_0_log.out error: no such thing",
        "trains running 2 -7.12 7_0_0_log.out job 7_0, 1:30",
        "waits queued job 7_1, Priority",
    ]
    assert text[5:] == [f"output is in {sweep / 'logs/slurm'}/"]
    assert [overview.is_under_way(o) for o in found.values()] == [False, False, True, True]


def test_what_nobody_trains_is_missing(sweep, queue):
    queue.clear()
    states = {outcome.name: outcome.status for outcome in overview.of_directory(sweep)}
    assert states == dict.fromkeys(("ended", "trains", "waits"), "missing") | {"failed": "failed"}


def test_damaged_rows_are_no_obstacle(sweep):
    (sweep / "programs/trains/metrics.csv").write_bytes(b"\x00,\xff\n1\n")
    lines = overview.lines([Outcome("trains", "running")], sweep)
    assert [line.split() for line in lines[1:]] == [["trains", "running"]]


def test_the_commands_show_and_cancel_a_sweep(sweep, queue, tmp_path, capsys, monkeypatch):
    canceled = []
    monkeypatch.setattr(
        slurm.subprocess, "run", lambda words, **_: canceled.append(words) or queue.clear()
    )
    with pytest.raises(UsageError, match="name the directory of a sweep, such as"):
        status.main({"run": None, "follow": None})
    with pytest.raises(UsageError, match="follow=si: must be yes or no"):
        status.main({"run": str(sweep), "follow": "si"})
    with pytest.raises(DataError, match="has no programs that were trained elsewhere"):
        status.main({"run": str(tmp_path / "nowhere"), "follow": None})
    status.main({"run": str(sweep), "follow": None})
    assert "job 7_0, 1:30" in capsys.readouterr().out

    with pytest.raises(UsageError, match="name the directory of a sweep"):
        cancel.main({"run": None})
    cancel.main({"run": str(sweep)})
    assert canceled == [["scancel", "7_0", "7_1"]]
    assert capsys.readouterr().out == "canceled: 7_0, 7_1\n"
    cancel.main({"run": str(sweep)})
    assert capsys.readouterr().out == "canceled: none was queued or running\n"
    # it follows until nothing is under way
    status.main({"run": str(sweep), "follow": "yes"})
    assert json.loads((sweep / "jobs.json").read_text())["waits"][0][0] == "7_1"
