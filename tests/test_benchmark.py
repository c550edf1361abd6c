"""The benchmark counts, compares and judges as it says, and each of its sections runs."""

import functools
import importlib.util
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from properties import slow

from experiments.benchmark import (
    architecture,
    command,
    flax_peer,
    growth,
    limit,
    measuring,
    memory,
    peers,
    profile,
    scaling,
    sizes,
    torch_peer,
    workers,
    workloads,
)
from experiments.benchmark.architecture import Architecture
from experiments.benchmark.measuring import Row, Target
from vae_jax.errors import StorageError, UsageError
from vae_jax.lab.config import from_flags
from vae_jax.lab.resolved import resolve

MLP = Architecture("mlp", (28, 28, 1), (400,), 20, 128)
CONV = Architecture("conv", (8, 8, 3), (4, 6), 5, 10)
TINY = workloads.QUICK._replace(num_images=200, seconds=0.01, num_devices=(1,))
HAS_TORCH = importlib.util.find_spec("torch") is not None


@pytest.fixture
def usual_promotion():
    """Plain Flax as its users have it: optax relies on implicit promotion."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def row(ratio, target=None, value=2.0, unit="s"):
    return Row("case", "what", value, unit, ratio, ratio, ratio, "to", target)


def test_operations_of_dense_layers_by_hand():
    # 784·400 + 400·40 + 20·400 + 400·784 weights, two operations each; thrice, but for the input
    forward = 2 * (784 * 400 + 400 * 40 + 20 * 400 + 400 * 784)
    assert MLP.num_operations == 128 * (3 * forward - 2 * 784 * 400)


def test_operations_of_convolutions_by_hand():
    # 8×8×3 to 4×4×4 to 2×2×6 = 24 numbers, to 256, to 2·5; from 5 to 256, to 24, and back
    first = 2 * 16 * (16 * 3) * 4
    second = 2 * 4 * (16 * 4) * 6
    inside = 2 * (24 * 256 + 256 * 10 + 5 * 256 + 256 * 24)
    assert CONV.num_operations == 10 * (3 * (2 * first + 2 * second + inside) - first)


def test_operations_of_a_dense_step_as_jax_counts_them():
    sizes = (12, 7, 5, 12)
    weights = [jnp.ones(shape) for shape in itertools.pairwise(sizes)]
    x = jnp.ones((4, 12))

    def step(weights, x):
        outputs, pull_back = jax.vjp(lambda w: functools.reduce(jnp.matmul, w, x), weights)
        return outputs, pull_back(x)

    counted = jax.jit(step).lower(weights, x).cost_analysis()["flops"]
    layers = architecture.dense(*sizes)
    forward = sum(layer.num_operations for layer in layers)
    assert counted == 4 * (3 * forward - layers[0].num_operations)


@pytest.mark.parametrize(
    "workload",
    [
        workloads.mlp("mlp", "30,20", 4, 16, 8),
        workloads.conv("conv", "4,8", 4, 16, 8, 3),
        *slow(workloads.conv("deep", "4,4,4", 2, 16, 16)),
    ],
    ids=lambda w: w.name,
)
def test_all_train_the_same_model(workload, usual_promotion):
    """Ours, plain Flax's and PyTorch's have as many parameters as the architecture says."""
    chosen = workloads.architecture(workload)
    dataset = workloads.make_dataset(workload, 64)
    found = resolve([from_flags(workload.flags)], dataset)
    ours = found.num_parameters(found.latent_dim)
    flax_params = jax.tree.leaves(flax_peer.start(chosen).params)
    assert ours == chosen.num_parameters == sum(leaf.size for leaf in flax_params)
    if HAS_TORCH:
        import torch

        make = torch_peer.make_dense if chosen.network == "mlp" else torch_peer.make_conv
        model = make(torch, chosen)
        assert sum(p.numel() for p in model.parameters()) == ours
        x = torch.rand(3, chosen.shape[2], *chosen.shape[:2])
        assert model(x)[0].shape == x.shape


@pytest.mark.parametrize("name", ["mlp", pytest.param("conv", marks=pytest.mark.slow)])
def test_plain_flax_learns(name, usual_promotion):
    chosen = Architecture(name, (8, 8, 1), (32, 32), 2, 16)
    x = np.zeros((64, 8, 8, 1), np.float32)
    x[:, :4] = 1
    feed, state = flax_peer.batches(x, 16), flax_peer.start(chosen)
    losses = []
    for _ in range(60):
        state, loss = flax_peer.step(state, next(feed), jax.random.key(0))
        losses.append(float(loss))
    assert losses[0] == pytest.approx(64 * np.log(2), rel=0.2)  # nats of fair coins
    assert losses[-1] < 0.8 * losses[0]


def test_plain_flax_binarizes_each_epoch_once():
    x = np.full((10, 2, 2, 1), 0.25, np.float32)
    feed = flax_peer.batches(x, 4)
    drawn = np.concatenate([next(feed) for _ in range(400)])
    assert set(np.unique(drawn)) == {0.0, 1.0}
    assert drawn.mean() == pytest.approx(0.25, abs=0.02)


def test_targets_bound_a_ratio_or_a_value_from_above_or_below():
    assert row(1.0).is_met is None
    assert row(1.0, Target(1.05)).is_met
    assert not row(1.1, Target(1.05)).is_met
    assert row(2.6, Target(2.5, is_floor=True)).is_met
    assert not row(2.4, Target(2.5, is_floor=True)).is_met
    assert row(9.0, Target(4.0, of_value=True), value=3.9).is_met
    assert not row(9.0, Target(4.0, of_value=True), value=4.1).is_met


def test_a_line_says_what_was_promised():
    assert measuring.row_line(row(2.4, Target(2.5, is_floor=True))).endswith("≥ 2.5: missed")
    assert measuring.row_line(row(1.0, Target(1.05))).endswith("≤ 1.05: met")
    timed = row(1.0, Target(4.0, of_value=True), value=3.0)
    assert measuring.row_line(timed).endswith("≤ 4.00 s: met")
    assert "12.5 µs/step" in measuring.row_line(row(1.0, value=12.5e-6, unit="s/step"))
    assert "3 MiB" in measuring.row_line(row(1.0, value=3 * 2**20, unit="bytes"))


def test_comparisons_go_round_by_round():
    found = measuring.compare("c", "w", [2.0, 4.0, 9.0], [1.0, 4.0, 3.0], "to")
    assert (found.value, found.ratio, found.low, found.high) == (4.0, 2.0, 1.5, 2.5)
    speed = measuring.compare("c", "w", [2.0, 2.0], [6.0, 6.0], "to", is_speed=True)
    assert speed.ratio == 3.0
    scaled = measuring.compare("c", "w", [6.0], [2.0], "to", scale=0.5)
    assert scaled.ratio == 1.5


def test_works_take_turns_there_and_back():
    calls, now = [], [0.0]

    def work(name, seconds):
        def turn():
            calls.append(name)
            now[0] += seconds
            return 2

        return turn

    works = {"a": work("a", 4.0), "b": work("b", 6.0)}
    times = measuring.measure(works, rounds=2, warmups=1, clock=lambda: now[0])
    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert times == {"a": [2.0, 2.0], "b": [3.0, 3.0]}


def test_a_table_names_each_case_once_and_holds_remarks():
    lines = list(measuring.table("title", [row(1.0), "left out", row(2.0)]))
    assert lines[1] == "title"
    assert lines.count("case") == 1
    assert "  (left out)" in lines


def test_the_limit_is_the_best_median():
    times = {"a": [1.0, 9.0, 9.0], "b": [2.0, 2.0, 2.0], "step": [8.0, 8.0, 8.0]}
    assert limit.best(times, ["a", "b"]) == "b"
    found = limit.row("case", 3, times, "step", ["a", "b"], target=Target(0.85, is_floor=True))
    assert found.value == 6.0  # 3 operations of 2 s
    assert found.ratio == 0.75  # of the 8 s that ours takes
    assert not found.is_met


def test_pytorch_is_taken_at_its_faster_way_to_wait():
    times = {peers.OURS: [1.0], peers.FLAX: [1.5], "torch.compile": [2.0]}
    assert peers.find_reference(times) == peers.FLAX
    times |= {torch_peer.EAGER: [90.0], torch_peer.EAGER_PASSIVE: [3.0]}
    assert peers.find_reference(times) == torch_peer.EAGER_PASSIVE
    assert peers.find_reference({**times, torch_peer.EAGER: [2.9]}) == torch_peer.EAGER


def test_a_busy_machine_is_noticed():
    assert measuring.is_busy({"load_average": 2.0, "num_cores": 2})
    assert not measuring.is_busy({"load_average": 0.1, "num_cores": 2})


def test_a_product_counts_its_operations():
    assert limit.multiply(8, 0.0)() == 2 * 8**3


PROGRAM = """
%fused (param_0: f32[2,3], param_1: f32[3,4]) -> f32[2,4] {
  ROOT %dot.1 = f32[2,4]{1,0} dot(%param_0, %param_1), lhs_contracting_dims={1}
}

ENTRY %main (x: f32[2,3]) -> f32[2,4] {
  %fusion.7 = f32[2,4]{1,0} fusion(%x, %y), calls=%fused, metadata={op_name="jvp(f)/dot"}
  %tanh.2 = f32[2,4]{1,0} tanh(%fusion.7), metadata={op_name="while/body/transpose(jvp(f))/tanh"}
  %sqrt.3 = f32[2,4]{1,0} sqrt(%tanh.2), metadata={op_name="while/body/sqrt"}
  %xor.4 = u32[2,4]{1,0} xor(%a, %b), metadata={op_name="while/body/threefry2x32"}
  ROOT %while.5 = f32[2,4]{1,0} while(%sqrt.3), body=%b, condition=%c
}
"""


def test_the_kinds_of_instructions():
    assert profile.kinds_of(PROGRAM) == {
        "dot.1": profile.PRODUCTS,
        "fusion.7": profile.PRODUCTS,
        "tanh.2": profile.MODEL,
        "sqrt.3": profile.UPDATE,
        "xor.4": profile.BATCH,
    }


def test_sizes_vary_one_at_a_time():
    for axis in sizes.AXES:
        assert axis.base in axis.values
    bases = {
        workloads.architecture(sizes.make_workload(axis, axis.base)) for axis in sizes.AXES[:3]
    }
    assert bases == {MLP}


def test_unknown_sections_are_refused():
    assert command.parse_sections("memory, peers") == ["peers", "memory"]
    with pytest.raises(UsageError, match="'speed' is none"):
        command.parse_sections("speed")


def test_a_file_that_cannot_be_written_is_found_at_once(tmp_path):
    with pytest.raises(StorageError):
        measuring.report({"never": None}, TINY, path=str(tmp_path / "no" / "where.json"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("startup", "sweep", "devices", "streaming", "saving", "sizes", "memory", "profile"),
        *("nll", "footprint", "reading", "labels"),
    ],
)
def test_each_section_runs(name, tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, "SMALL_AXES", sizes.SMALL_AXES[:1])
    monkeypatch.setattr(scaling, "SWEEP_SIZE", 2)
    path = tmp_path / "result.json"
    section = {name: command.SECTIONS[name]}
    said = []
    measuring.report(section, TINY, path=str(path), say=said.append)
    result = json.loads(path.read_text())
    rows = result["sections"][name]["rows"]
    assert rows
    assert all(0 < row["value"] < 1e12 for row in rows)
    assert result["machine"]["num_cores"] >= 1
    assert len(said) >= len(rows)


def test_exponents_of_known_growth():
    sizes = (10, 40, 160)
    assert growth.exponent(sizes, [3.0 * n for n in sizes]) == pytest.approx(1.0)
    assert growth.exponent(sizes, [n**2 / 7 for n in sizes]) == pytest.approx(2.0)
    assert growth.exponent(sizes, [5.0] * 3) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    "axis",
    [
        axis if axis.make in (growth.of_rows, growth.of_epochs) else slow(axis)[0]
        for axis in growth.AXES
    ],
    ids=lambda axis: axis.name.split()[0],
)
def test_work_along_each_axis_is_done(axis, monkeypatch):
    small = axis._replace(sizes=tuple(min(n, 2 * axis.sizes[0]) for n in axis.sizes[:2]))
    monkeypatch.setattr(growth, "AXES", (small,))
    seconds, num_bytes = growth.scale(TINY)
    assert seconds.case == num_bytes.case == axis.name
    assert seconds.unit == num_bytes.unit == "exponent"
    assert seconds.what.endswith(" s")
    assert num_bytes.what.endswith(" MiB")
    assert seconds.target.bound == axis.most


def test_what_a_run_said_is_read_from_its_log(tmp_path):
    (tmp_path / "run.log").write_text("t memory: about 1,234.5 MiB of 7.7 GiB: used 3 KiB\n")
    assert memory.said_bytes(tmp_path) == 1_234.5 * 2**20
    with pytest.raises(StorageError, match="does not say"):
        memory.said_bytes(tmp_path / "none")


def test_peers_run_and_say_what_is_left_out(monkeypatch, usual_promotion):
    for module in (peers, limit):
        monkeypatch.setattr(module, "torch_version", lambda: None)
    monkeypatch.setattr(peers, "SMALL_CONTESTS", peers.SMALL_CONTESTS[:1])
    found = list(peers.peers(TINY))
    assert found[0] == "PyTorch is not installed: its rows are left out"
    rows = found[1:]
    assert [row.what for row in rows[:2]] == [peers.OURS, peers.FLAX]
    assert [row.to for row in rows] == 2 * ["speed of plain Flax"] + [
        "share of it that ours reaches"
    ]
    assert {row.target for row in rows} == {None}


def test_peers_take_little_time_and_say_which_contests_are_left_out(monkeypatch):
    seen = []

    def compete(contest, effort, ways):
        seen.append((effort.rounds, effort.seconds, effort.patience))
        yield contest.workload.name

    monkeypatch.setattr(peers, "torch_version", lambda: "2")
    monkeypatch.setattr(peers, "compete", compete)
    assert list(peers.peers(workloads.Effort())) == [c.workload.name for c in peers.CONTESTS]
    assert set(seen) == {(peers.ROUNDS, peers.TURN, peers.PATIENCE)}
    monkeypatch.setattr(peers, "SECONDS", -1.0)
    (remark,) = peers.peers(TINY)
    assert remark.endswith(", ".join(c.workload.name for c in peers.SMALL_CONTESTS))


def test_passive_waiting_is_compared_on_a_busy_machine(monkeypatch):
    monkeypatch.setattr(peers, "torch_version", lambda: "2")
    for load, is_there in ((100.0, True), (0.0, False)):
        monkeypatch.setattr(peers.os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        ways = peers.torch_ways()
        assert (torch_peer.EAGER_PASSIVE in ways) == is_there
        assert set(torch_peer.WAYS) - set(ways) <= {torch_peer.EAGER_PASSIVE}
    monkeypatch.setattr(peers, "torch_version", lambda: None)
    assert peers.torch_ways() == []


@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is compared with where it is installed")
@pytest.mark.parametrize("chosen", [Architecture("mlp", (8, 8, 1), (8,), 2, 8), CONV])
def test_pytorch_takes_turns(chosen):
    with torch_peer.process("train", "eager", chosen, 20, 0.01) as turn:
        assert turn() >= 1
    with torch_peer.multiplication(8, 0.0) as turn:
        assert turn() == 2 * 8**3


def test_a_process_that_fails_says_why():
    with (
        pytest.raises(workers.WorkerError, match=r"unknown way 'none'|No module named 'torch'"),
        torch_peer.process("train", "none", MLP, 200, 0.0),
    ):
        pass


def test_a_slow_worker_is_ended():
    with (
        pytest.raises(workers.WorkerError, match=r"took more than 0.01 s"),
        workers.worker("scaling.serve", [], patience=0.01, is_silent=True),
    ):
        pass


def test_images_that_are_made_up_are_fewer_where_they_are_larger():
    large = workloads.conv("large", "4", 2, 8, 512)
    assert len(workloads.make_dataset(large._replace(image_size=8), 64).train) == 64
    assert len(workloads.make_dataset(large, 10**6).train) == workloads.MAX_BYTES // 512**2
