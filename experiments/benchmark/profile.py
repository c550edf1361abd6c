"""A profile of a training step."""

import glob
import gzip
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator

import jax
import numpy as np

from experiments.benchmark.measuring import Row, compare, is_on_cpu
from experiments.benchmark.peers import CONTESTS, SMALL_CONTESTS
from experiments.benchmark.workloads import Effort, make_dataset, make_program

PRODUCTS = "products of matrices"
MODEL = "the rest of the loss and its gradient"
UPDATE = "norm of the gradient, update of the parameters"
BATCH = "order, rows and random bits of the batch"
ELSE = "between the operations"

_INSTRUCTION = re.compile(r"\s*(?:ROOT )?%?(?P<name>[\w.-]+) = .*? (?P<code>[\w-]+)\(")
_COMPUTATION = re.compile(r"(?:ENTRY )?%?(?P<name>[\w.-]+) \(.*\{$")
_CALLED = re.compile(r"calls=%?([\w.-]+)")
_SOURCE = re.compile(r'op_name="([^"]*)"')


def profile(effort: Effort) -> Iterator[Row | str]:
    """Where the time of a step goes, by kind of operation of the compiled program."""
    if not is_on_cpu():
        yield "measured on CPU only: an accelerator's own profiler says more"
        return
    for contest in SMALL_CONTESTS if effort.is_small else CONTESTS:
        workload = contest.workload
        program = make_program(workload, make_dataset(workload, effort.num_images), 1)
        times = measure_kinds(program, effort)
        total = [sum(parts) for parts in zip(*times.values(), strict=True)]
        for kind, seconds in times.items():
            yield compare(workload.name, kind, seconds, total, "of the step")


def measure_kinds(program, effort: Effort) -> dict[str, list[float]]:
    """Seconds of a step spent in each kind of operation, [rounds].

    If an operation overlaps the next one, the overlap counts for the next.

    Args:
        program: from `make_program`.
        effort: how long to measure.
    """
    state, x = program.init(program.hparams), program.resident("train")
    num_steps = 4 if effort.is_small else 20
    arguments = (program.hparams, x, np.int32(num_steps))
    compiled = program.chunk.lower(state, *arguments).compile()
    kinds = kinds_of(compiled.as_text())
    state = jax.block_until_ready(compiled(state, *arguments))
    found: dict[str, list[float]] = {k: [] for k in (PRODUCTS, MODEL, UPDATE, BATCH, ELSE)}
    for _ in range(effort.rounds):
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                state = jax.block_until_ready(compiled(state, *arguments))
            seconds, whole = read_trace(folder)
        sums = Counter()
        for operation, spent in seconds.items():
            if operation in kinds:
                sums[kinds[operation]] += spent
        sums[ELSE] = max(0.0, whole - sum(sums.values()))
        for kind, spent in found.items():
            spent.append(sums[kind] / num_steps)
    return found


def kinds_of(text: str) -> dict[str, str]:
    """The kind of each instruction of a compiled program, by name, without loops and calls.

    Args:
        text: the program, as printed by XLA.
    """
    lines = text.splitlines()
    multiplying, found = _multiplying(lines), {}
    for line in lines:
        instruction = _INSTRUCTION.match(line)
        if instruction is None or instruction["code"] in ("while", "conditional", "call", "tuple"):
            continue
        called = _CALLED.search(line)
        if instruction["code"] == "dot" or (called and called[1] in multiplying):
            found[instruction["name"]] = PRODUCTS
        else:
            found[instruction["name"]] = _kind_by_source(line)
    return found


def _multiplying(lines: list[str]) -> set[str | None]:
    """The names of computations in a compiled program that contain a matrix product."""
    found, computation = set(), None
    for line in lines:
        begins = _COMPUTATION.match(line)
        if begins:
            computation = begins["name"]
        elif " dot(" in line:
            found.add(computation)
    return found


def _kind_by_source(line: str) -> str:
    """The kind of an instruction without matrix products, from its source."""
    source = _SOURCE.search(line)
    path = source[1] if source else ""
    if "jvp(" in path:
        return MODEL
    if re.search(r"threefry|random|gather|shuffle|fold_in|split|preprocess", path):
        return BATCH
    return UPDATE


def read_trace(folder: str) -> tuple[dict[str, float], float]:
    """The seconds of each operation in a trace of JAX's profiler, and the total."""
    (path,) = glob.glob(f"{folder}/**/*.trace.json.gz", recursive=True)
    with gzip.open(path) as file:
        events = json.load(file)["traceEvents"]
    own = [e for e in events if e.get("ph") == "X" and "hlo_op" in e.get("args", {})]
    seconds: Counter = Counter()
    for event in own:
        seconds[event["args"]["hlo_op"]] += event["dur"] * 1e-6
    begin = min(event["ts"] for event in own)
    end = max(event["ts"] + event["dur"] for event in own)
    return dict(seconds), (end - begin) * 1e-6
