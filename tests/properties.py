"""Laws as tests: examples drawn by hypothesis, a few in the ordinary run, 20 times as many slow."""

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.internal.conjecture import providers

from vae_jax import families, objectives
from vae_jax.model import Model

SETTINGS = hypothesis.settings(
    deadline=None,  # the first example of a shape compiles
    derandomize=True,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
# Hypothesis would read all modules imported so far for constants to try: 3 s of each process, and
# examples that depend on which tests ran before
providers.is_local_module_file = lambda path: False
LEAST = float(np.finfo(np.float32).tiny)
TIMES = [pytest.param(1, id="few"), pytest.param(20, id="many", marks=pytest.mark.slow)]

SMALL = {
    "prior": {
        "mixture": {"num_components": 4},
        "vamp": {"num_components": 4},
        "realnvp": {"num_flows": 2, "flow_width": 8},
        "maf": {"num_flows": 2, "flow_width": 8},
        "transformer": {"num_layers": 1, "num_heads": 2, "model_width": 8},
    },
    "posterior": {
        "householder": {"num_reflections": 3},
        "iaf": {"num_steps": 2, "step_width": 8, "num_context": 2},
        "planar": {"num_steps": 2},
        "sylvester": {"num_steps": 2, "num_axes": 2},
        "chain": {"group_width": 6},
        "ladder": {"group_width": 6},
        "vdvae": {"map_size": 1, "num_maps": 1, "groups_per_map": 2, "map_width": 4},
    },
}
"""Settings of few parameters, by family and name; one that a file adds has its defaults."""


def small(family: families.Family, name: str):
    """A prior or a posterior of few parameters."""
    return family.make(name, **SMALL[family.what].get(name, {}))


def slow(*values, ids: Sequence[str] | None = None) -> list:
    """Parameters of cases that the default run leaves to `pytest -m slow`.

    Args:
        values: one parameter each.
        ids: a name for each; None: pytest's.
    """
    ids = [None] * len(values) if ids is None else ids
    return [
        pytest.param(value, id=name, marks=pytest.mark.slow)
        for value, name in zip(values, ids, strict=True)
    ]


class Compiled:
    """A value each of whose methods is one program, which takes less time than each operation.

    Args:
        value: has methods of arrays.
    """

    def __init__(self, value: Any):
        self._value = value

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._value, name)
        found = jax.jit(found) if callable(found) else found
        setattr(self, name, found)
        return found


def law(*covers: str, examples: int = 10, **drawn: st.SearchStrategy) -> Callable:
    """Makes a test of a function that asserts what holds for every example.

    Args:
        covers: public names of which this is a law, see `uncovered`.
        examples: how many are drawn in the ordinary run.
        drawn: strategies by parameter; other parameters of the function are left to pytest, but
            `times`: 1 in the ordinary run and 20 in the slow one.
    """

    def decorate(function: Callable) -> Callable:
        parameters = inspect.signature(function).parameters
        own = [each for name, each in parameters.items() if name not in (*drawn, "times")]

        def test(times, **chosen):
            if "times" in parameters:
                chosen["times"] = times

            def example(**values):
                function(**chosen, **values)

            many = hypothesis.settings(SETTINGS, max_examples=examples * times)
            many(hypothesis.given(**drawn)(example))()

        times = inspect.Parameter("times", inspect.Parameter.KEYWORD_ONLY)
        test.__signature__ = inspect.Signature([*own, times])
        test.__name__, test.__doc__ = function.__name__, function.__doc__
        test.covers = covers
        return pytest.mark.parametrize("times", TIMES)(test)

    return decorate


def uncovered(module, tests: dict) -> set[str]:
    """Public names of a module, and public methods of its classes, that no law of `tests` covers.

    What a law is said to cover and the module does not have is an error.
    """
    public = set(module.__all__)
    for name in module.__all__:
        each = getattr(module, name)
        if inspect.isclass(each):
            fields = {*getattr(each, "_fields", ()), *getattr(each, "__dataclass_fields__", ())}
            methods = {own for own in vars(each) if not own.startswith("_")} - fields
            public |= {f"{name}.{own}" for own in methods}
    covered = {name for test in tests.values() for name in getattr(test, "covers", ())}
    assert covered <= public, covered - public
    return public - covered


def numbers(bound: float) -> st.SearchStrategy:
    """Numbers up to a bound in size: near 0, anywhere, and the ends."""
    return st.one_of(
        st.floats(-3, 3),
        st.sampled_from([0.0, 1.0, -1.0, bound, -bound]),
        st.floats(-bound, bound),
    )


def arrays(elements: st.SearchStrategy, shape: tuple[int, ...], dtype=np.float32):
    """Arrays of a shape and dtype, each element drawn for itself."""
    size = math.prod(shape)

    def array(values):
        # below the least normal float32 JAX's CPU counts as 0, and NumPy does not
        values = np.array(values, np.float64 if dtype in (np.float32, jnp.bfloat16) else dtype)
        if dtype in (np.float32, jnp.bfloat16):
            values[np.abs(values) < LEAST] = 0
        return values.astype(dtype).reshape(shape)

    return st.lists(elements, min_size=size, max_size=size).map(array)


def close(actual, expected, tolerance) -> None:
    """Asserts that actual is finite and within a tolerance of expected, [...] each, in float64."""
    actual, expected = np.float64(actual), np.float64(expected)
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    assert np.isfinite(actual).all(), actual
    gap = np.abs(actual - expected) - LEAST  # what is less may be 0
    tolerance = np.broadcast_to(tolerance, expected.shape)
    if (gap > tolerance).any():
        worst = np.unravel_index(np.argmax(gap - tolerance), gap.shape)
        told = f"{actual[worst]} is not {expected[worst]} within {tolerance[worst]}"
        raise AssertionError(f"{told}, at {worst} of {gap.shape}")


@functools.cache
def jitted(function: Callable, *static: str) -> Callable:
    """The function compiled, its arguments of these names static; op by op takes many programs."""
    return jax.jit(function, static_argnames=static)


def initial(model: Model, seed: int = 0) -> dict:
    """The initial parameters of a model, by one program for all models like it."""
    return jitted(Model.init)(model, jax.random.key(seed))


def loss_of(objective: str | Callable, model: Model, params, batch, key, **settings) -> tuple:
    """The loss and terms of an objective, by one program for all models and batches like these."""
    function = objectives.load(objective) if isinstance(objective, str) else objective
    static = [name for name, value in settings.items() if isinstance(value, int | str)]
    return jitted(function, *static)(model, params, batch, key, **settings)


def all_finite(*values) -> None:
    """Asserts that arrays, or trees of them, hold nothing but finite numbers."""
    for leaf in jax.tree.leaves(values):
        assert np.isfinite(np.float32(leaf)).all(), leaf
