"""`--sections=accelerator`: its arithmetic, its time, and its programs lowered for a GPU."""

import json
import types

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmark import accelerator, measuring, roofline, workloads
from experiments.benchmark.budget import within
from experiments.benchmark.measuring import Row

TINY = workloads.QUICK._replace(num_images=200, seconds=0.01)
PEAKS = roofline.Peaks({"float32": 3.0, "bfloat16": 6.0}, num_bytes=2.0)


@pytest.fixture(scope="module")
def bench():
    return accelerator.Bench(accelerator.TINY, TINY)


def test_every_program_is_lowered_for_a_gpu(bench):
    """What fails there for its shapes or types, or lacks a rule for GPUs, fails here."""
    names = []
    for name, function, arguments in bench.calls():
        exported = jax.export.export(function, platforms=["cuda"])(*arguments)
        assert exported.platforms == ("cuda",)
        names.append(name)
    assert {name.partition(":")[0] for name in names if ":" in name} == set(bench.workloads)
    assert sum(name.startswith("peak of ") for name in names) == len(roofline.DTYPES) + 1


def test_programs_are_computed_as_on_an_accelerator(bench):
    for name, (workload, num_runs) in bench.workloads.items():
        built = bench.program(name)
        assert (built.layout.is_vectorized, built.layout.num_runs) == (True, num_runs)
        assert built.layout.mesh.size == 1
        assert built.config.dtype == ("bfloat16" if name.endswith("bfloat16") else "float32")
        assert (built.config.objective == "iwae") == (name == accelerator.IWAE)
        assert str(built.config.batch_size) == workload.flags["batch_size"]
    usual = accelerator.Bench(accelerator.USUAL, TINY)
    assert list(usual.runs) == [1, 8, 64, 256]
    assert set(usual.runs.values()) < set(usual.workloads)


# --- The roofline


def test_the_cost_of_a_product_by_hand():
    a, b = jnp.ones((8, 16)), jnp.ones((16, 32))
    found = roofline.cost_of(jax.jit(jnp.dot), a, b)
    assert found == (2 * 8 * 16 * 32, 4 * (8 * 16 + 16 * 32 + 8 * 32))
    assert roofline.cost_of(jax.jit(jnp.dot), a, b, at_least=1e6).num_bytes == 1e6
    assert roofline.cost_of(jax.jit(jnp.dot), a, b, left_out=1e6).num_bytes == 0


def test_steps_of_unknown_number_cost_as_one():
    a, x = jnp.ones((64, 64)), jnp.ones((64, 64))

    def steps(a, x, num):
        return jax.lax.fori_loop(0, num, lambda _, value: value @ a, x)

    found = roofline.cost_of(jax.jit(steps), a, x, np.int32(7))
    assert found.operations == pytest.approx(2 * 64**3, rel=0.01)


def test_a_step_costs_its_products_and_little_beside():
    """The products by hand, of one run; what has no product is the loss, Adam, and random bits."""
    workload = workloads.mlp("MLP 256-512-8, batch 64", "512", 8, 64, 16)
    built = workloads.make_program(workload, workloads.make_dataset(workload, 64), 1)
    function, arguments = accelerator.calls(built)["chunk"]
    counted = function.lower(*arguments).cost_analysis()["flops"]
    assert 1.0 < counted / workloads.architecture(workload).num_operations < 1.2


def test_the_roofline_is_the_slower_of_products_and_memory():
    assert roofline.Cost(6.0, 8.0).seconds(PEAKS, "float32") == 4.0
    assert roofline.Cost(18.0, 8.0).seconds(PEAKS, "float32") == 6.0
    assert roofline.Cost(18.0, 8.0).seconds(PEAKS, "bfloat16") == 4.0
    told = roofline.Cost(18e6, 2**21)
    assert told.told(PEAKS, "float32") == "18 MFLOP, 2 MiB, bound by products"
    assert told.told(PEAKS._replace(num_bytes=0.1), "float32").endswith("bound by memory")


def test_peaks_are_the_medians_of_real_work():
    rates = {"float32": [1.0, 3.0, 9.0], "bfloat16": [6.0], roofline.COPY: [2.0, 2.0]}
    assert roofline.peaks_of(rates) == PEAKS
    found = roofline.calls(8, 16)
    function, (a, x), units = found["float32"]
    by_hand = x @ np.linalg.matrix_power(np.asarray(a), roofline.REPEATS)
    np.testing.assert_allclose(function(a, x), by_hand, rtol=1e-4, atol=1e-5)
    assert units == roofline.REPEATS * 2 * 8**3
    function, (x,), units = found[roofline.COPY]
    np.testing.assert_array_equal(function(x), x + roofline.REPEATS)
    assert units == roofline.REPEATS * (16 * 4 + 16 * 4)  # read and written


LIBRARY = """
%body (p: (f32[2,3])) -> f32[2,4] {
  %x = f32[2,3]{1,0} parameter(0)
  %half = bf16[3,4]{1,0} convert(%w)
  %gemm.1 = (f32[2,4]{1,0}, s8[4096]{0}) custom-call(%x, %half), custom_call_target="__cublas$gemm"
  %out = f32[2,4]{1,0} get-tuple-element(%gemm.1), index=0
  ROOT %sum.2 = f32[2]{0} custom-call(f32[2,4]{1,0} %out), custom_call_target="sum(x)"
}
"""


def test_bytes_of_calls_of_a_library_without_its_work_space():
    product = 4 * 2 * 3 + 2 * 3 * 4 + 4 * 2 * 4
    assert roofline.bytes_of_custom_calls(LIBRARY) == product + 4 * 2 * 4 + 4 * 2
    assert roofline.bytes_of_custom_calls("ENTRY %main () -> f32[] {\n}") == 0


def test_the_share_of_a_step_is_that_of_all_its_runs():
    """6 operations of 2 runs at 3 a second take 2 s, a run's part 1 s; it took 4 s."""
    bench = types.SimpleNamespace(
        cost=lambda name: roofline.Cost(6.0, 1.0),
        rates={"float32": [3.0], "bfloat16": [6.0], roofline.COPY: [2.0]},
        workloads={"2 runs": (None, 2)},
    )
    found = accelerator.share(bench, "case", "2 runs", [4.0, 4.0])
    assert (found.value, found.ratio) == (4.0, 0.25)


def test_64_runs_are_promised_in_four_times_the_time_of_one(monkeypatch):
    """Seconds per step and run; of 64 runs in 1/32 of the time each, a step takes twice as long."""
    runs = {1: "one", 64: "64 runs"}
    bench = types.SimpleNamespace(runs=runs, sizes=accelerator.USUAL)
    times = {"one": [1.0, 2.0], "64 runs": [1 / 32, 2 / 32]}
    monkeypatch.setattr(accelerator, "train_all", lambda *_: times)
    monkeypatch.setattr(accelerator, "share", lambda *_: "a share")
    alone, all_of_them, *_ = accelerator.runs(bench)
    assert (alone.ratio, alone.target) == (1.0, None)
    assert (all_of_them.ratio, all_of_them.target.bound, all_of_them.is_met) == (2.0, 4.0, True)


class Device:
    """A device in whose memory each program takes so many bytes more than the one before."""

    def __init__(self):
        self.used, self.peak = 100, 150

    def memory_stats(self):
        return {"bytes_in_use": self.used, "peak_bytes_in_use": self.peak}


def test_the_peak_of_memory_is_that_beyond_what_was_in_use(monkeypatch):
    device = Device()

    def program(name):
        def step_and_evaluate(built):
            device.peak = max(device.peak, device.used + built.takes)

        monkeypatch.setattr(accelerator, "step_and_evaluate", step_and_evaluate)
        takes = {"one": 40, "two": 80}[name]
        footprint = types.SimpleNamespace(total=100)
        return types.SimpleNamespace(footprint=lambda: footprint, takes=takes)

    bench = types.SimpleNamespace(runs={1: "one", 2: "two"}, program=program)
    hidden, found = accelerator.memory(bench, device)
    assert hidden == "one: its peak is below an earlier one, so it is not known"
    assert (found.value, found.ratio, found.is_met) == (80, 1.25, True)
    silent = types.SimpleNamespace(memory_stats=lambda: None)
    (remark,) = accelerator.memory(bench, silent)
    assert "does not say" in remark


# --- The time


def parts_that_take(clock, seconds):
    """Parts of so many seconds each, which yield their names."""

    def part(name, takes):
        def run():
            clock[0] += takes
            yield name

        return run

    return {name: part(name, takes) for name, takes in seconds.items()}


def test_a_part_begins_only_if_the_longest_would_end_in_time():
    now = [0.0]
    parts = parts_that_take(now, {"a": 2.0, "b": 5.0, "c": 2.0, "d": 3.0})
    found = list(within(12.0, parts, clock=lambda: now[0]))
    # after 7 s there is time for 5 more, after 9 s there is not
    assert found == ["a", "b", "c", "left out, because 12 s are over: d"]
    now[0] = 0.0
    assert list(within(20.0, parts, clock=lambda: now[0])) == ["a", "b", "c", "d"]


def test_a_part_that_fails_says_why_and_the_others_go_on():
    def fails():
        yield "first"
        raise ValueError("out of\nmemory")

    found = list(within(1.0, {"a": fails, "b": lambda: ["second"]}))
    assert found == ["first", "a failed: ValueError: out of memory", "second"]


def test_an_end_in_the_middle_of_a_section_loses_no_row(tmp_path):
    path = tmp_path / "result.json"

    def section(effort):
        """A section."""
        yield Row("case", "what", 2.0, "FLOP/s", 1.0, 1.0, 1.0, "to")
        yield "a remark"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measuring.report({"one": section}, TINY, path=str(path), say=lambda line: None)
    told = json.loads(path.read_text())["sections"]["one"]
    assert [row["what"] for row in told["rows"]] == ["what"]
    assert told["remarks"] == ["a remark"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_cpu_is_not_measured_unless_it_is_asked_to():
    if measuring.is_on_cpu():
        (remark,) = accelerator.accelerator(workloads.Effort())
        assert remark.startswith("measured on an accelerator only: --quick")


@pytest.mark.slow
def test_all_parts_run_small_on_a_cpu():
    found = list(accelerator.accelerator(TINY))
    rows = [row for row in found if isinstance(row, Row)]
    remarks = [row for row in found if isinstance(row, str)]
    assert not [remark for remark in remarks if "failed" in remark or "left out" in remark]
    assert {row.case.partition(",")[0] for row in rows} >= {"peaks", "dispatch", "evaluation"}
    shares = [row for row in rows if row.to == "share of the roofline"]
    assert len(shares) == 2 * len(roofline.DTYPES) + len(accelerator.TINY.num_runs) + 2
    assert all(0 < row.value < 1e14 and row.ratio > 0 for row in rows)
