"""The roofline: the time that a program needs at the device's highest rates.

A program cannot be faster than its operations at the rate of the fastest product of matrices, nor
than its bytes at the rate of the fastest copy (Williams, Waterman and Patterson 2009, *Roofline: an
insightful visual performance model for multicore architectures*). Both rates are measured in the
same run, so no table of devices has to be kept.
"""

import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark import workers
from experiments.benchmark.measuring import measure

DTYPES = ("float32", "bfloat16")
"""Types of numbers in which products are measured, and models are trained."""
REPEATS = 10
"""Products, or copies, in a call (a count): calling takes time of its own."""
COPY = "copy"
"""The name of the copy beside the names of the types."""

_TYPE = re.compile(r"\b([a-z]+\d+)(?:e\w+)?\[([\d,]*)\]")
_DEFINED = re.compile(r"\s*(?:ROOT )?%?(?P<name>[\w.-]+) = (?P<rest>.*)")
_CUSTOM = re.compile(r"^(?P<results>.*?) custom-call\((?P<operands>[^)]*)\)")
_SCRATCH = ("s8", "u8")
"""Types of work space among the results of a library's function."""


class Peaks(NamedTuple):
    """The highest rates of a device.

    Attributes:
        operations: type of numbers → floating-point operations per second.
        num_bytes: bytes per second, read or written.
    """

    operations: Mapping[str, float]
    num_bytes: float


class Cost(NamedTuple):
    """What one step of a program costs.

    Attributes:
        operations: floating-point operations, as the program asks for them: a count.
        num_bytes: bytes that the compiled program reads and writes.
    """

    operations: float
    num_bytes: float

    def seconds(self, peaks: Peaks, dtype: str) -> float:
        """The least time that it takes with products in `dtype`, in seconds."""
        return max(self.operations / peaks.operations[dtype], self.num_bytes / peaks.num_bytes)

    def told(self, peaks: Peaks, dtype: str) -> str:
        """The cost as text, and which of the two bounds its time."""
        is_memory = self.num_bytes / peaks.num_bytes > self.operations / peaks.operations[dtype]
        amounts = f"{self.operations / 1e6:,.4g} MFLOP, {self.num_bytes / 2**20:,.4g} MiB"
        return f"{amounts}, bound by {'memory' if is_memory else 'products'}"


# --- The peaks


def multiply(a, x):
    """x [N, N] times a [N, N], `REPEATS` times: [N, N]."""
    return jax.lax.fori_loop(0, REPEATS, lambda _, value: value @ a, x)


def copy(x):
    """x [N] with a change to each number, `REPEATS` times, so that each is read and written."""
    return jax.lax.fori_loop(0, REPEATS, lambda _, value: value + 1, x)


def calls(side: int, length: int) -> dict[str, tuple[Callable, tuple, float]]:
    """What the peaks are measured with: name → (function, its arguments, units in a call).

    Args:
        side: N of the matrices [N, N] that are multiplied.
        length: numbers that are copied, a count.

    Returns:
        For each of `DTYPES` a product, whose units are operations; `COPY`, whose units are bytes.
    """
    # entries of such a size keep the norm of x, whatever the number of products
    drawn = np.random.default_rng(0).standard_normal((2, side, side), np.float32)
    drawn /= math.sqrt(side)
    found: dict[str, tuple[Callable, tuple, float]] = {}
    for dtype in DTYPES:
        a, x = (jnp.asarray(each, dtype) for each in drawn)
        # N³ multiply-adds
        found[dtype] = jax.jit(multiply), (a, x), REPEATS * 2.0 * side**3
    numbers = jnp.zeros(length, jnp.float32)
    found[COPY] = jax.jit(copy), (numbers,), REPEATS * 2.0 * numbers.nbytes
    return found


def measure_peaks(side: int, length: int, *, rounds: int, seconds: float) -> dict[str, list[float]]:
    """The rates of products and of the copy, units per second: name → [rounds].

    Args:
        side, length: see `calls`.
        rounds: number of turns of each, a count.
        seconds: minimum duration of a turn.
    """

    def work(function, arguments, units):
        return workers.repeat(
            lambda: jax.block_until_ready(function(*arguments)), seconds, units=units
        )

    works = {name: work(*call) for name, call in calls(side, length).items()}
    times = measure(works, rounds=rounds)
    return {name: [1.0 / each for each in own] for name, own in times.items()}


def peaks_of(rates: Mapping[str, Sequence[float]]) -> Peaks:
    """The peaks of measured rates [rounds], by name as in `calls`: their medians."""
    medians = {name: statistics.median(own) for name, own in rates.items()}
    return Peaks({dtype: medians[dtype] for dtype in DTYPES}, medians[COPY])


# --- The cost of a program


def cost_of(
    function: Callable, *arguments: Any, at_least: float = 0.0, left_out: float = 0.0
) -> Cost:
    """The cost of a jitted function; it is compiled. The body of a loop of unknown length counts
    once, so that of a chunk of steps is the cost of one.

    Args:
        function, arguments: the function and what it is called with, or its shapes.
        at_least: bytes that move in any case.
        left_out: bytes of the data from which a batch is gathered: XLA counts all of them.
    """
    lowered = function.lower(*arguments)
    compiled = lowered.compile()
    accessed = _known(compiled).get("bytes accessed", 0.0) + bytes_of_custom_calls(
        compiled.as_text()
    )
    operations = _known(lowered).get("flops", 0.0)
    return Cost(operations, max(at_least, accessed - left_out))


def _known(stage: Any) -> Mapping[str, float]:
    """XLA's analysis of a program, before or after it was compiled; {} if it makes none."""
    try:
        return stage.cost_analysis() or {}
    except (NotImplementedError, jax.errors.JaxRuntimeError):
        return {}


def bytes_of_custom_calls(text: str) -> int:
    """Bytes that calls of a library read and write: XLA's analysis counts none for them.

    Args:
        text: a compiled program, as printed by XLA. Bytes among several results are work space.
    """
    types, called = {}, []
    for line in text.splitlines():
        defined = _DEFINED.match(line)
        if defined is None:
            continue
        rest = defined["rest"]
        custom = _CUSTOM.match(rest)
        types[defined["name"]] = custom["results"] if custom else rest.partition("(")[0]
        if custom:
            called.append((custom["results"], re.findall(r"%([\w.-]+)", custom["operands"])))
    return sum(
        _bytes_of(results, without=_SCRATCH if results.startswith("(") else ())
        + sum(_bytes_of(types.get(name, "")) for name in operands)
        for results, operands in called
    )


def _bytes_of(types: str, without: Sequence[str] = ()) -> int:
    """Bytes of the arrays in the text of a type, such as "(f32[2,3]{1,0}, s8[64]{0})"."""
    return sum(
        math.prod(int(n) for n in shape.split(",") if n) * int(re.sub(r"\D", "", kind)) // 8
        for kind, shape in _TYPE.findall(types)
        if kind not in without
    )
