import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vae_jax import schedules
from vae_jax.errors import UsageError


def values(schedule, steps):
    with jax.numpy_dtype_promotion("standard"):
        return np.array([schedule(jnp.int32(step)) for step in steps])


@pytest.mark.parametrize(
    ("text", "steps", "expected"),
    [
        ("4", [0, 10], [4, 4]),
        (" 1e-3 ", [0, 99], [1e-3, 1e-3]),
        ("linear(0, 4, 100)", [0, 25, 100, 1000], [0, 1, 4, 4]),
        ("linear(1, 0, 10ep)", [0, 50, 100], [1, 0.5, 0]),
        ("cosine(2, 0, 50%)", [0, 250, 500, 1000], [2, 1, 0, 0]),
        ("cyclical(0, 1, 100)", [0, 25, 50, 99, 100, 125], [0, 0.5, 1, 1, 0, 0.5]),
        ("cyclical(0, 1, 100, 1)", [0, 50, 150], [0, 0.5, 0.5]),
        ("constant(3)", [0], [3]),
    ],
)
def test_known_values(text, steps, expected):
    schedule = schedules.parse(text, steps_per_epoch=10, num_steps=1000)
    np.testing.assert_allclose(values(schedule, steps), expected, atol=1e-7)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("linear(0.5, 2, 70)", optax.linear_schedule(0.5, 2, 70)),
        ("cosine(1e-3, 0, 200)", optax.cosine_decay_schedule(1e-3, 200)),
        (
            "warmup_cosine_decay(0, 1e-3, 10ep, 100%)",
            optax.warmup_cosine_decay_schedule(0, 1e-3, 50, 300),
        ),
    ],
)
def test_agrees_with_optax(text, reference):
    schedule = schedules.parse(text, steps_per_epoch=5, num_steps=300)
    steps = range(0, 300, 7)
    ours, theirs = values(schedule, steps), values(reference, steps)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-8)


def test_schedules_stack_and_map_over_runs():
    ours = [schedules.linear(0, 4, 10), schedules.constant(2), schedules.cyclical(0, 1, 8)]
    stacked = jax.tree.map(lambda *v: jnp.stack(v), *ours)
    mapped = jax.vmap(lambda s: s(jnp.int32(5)))(stacked)
    np.testing.assert_array_equal(mapped, values(lambda t: jnp.stack([s(t) for s in ours]), [5])[0])


def test_evaluate_replaces_schedules_and_keeps_the_rest():
    tree = {"beta": schedules.linear(0, 4, 100), "seed": jnp.int32(7), "none": None}
    result = jax.jit(schedules.evaluate)(tree, jnp.int32(50))
    assert result["none"] is None
    assert int(result["seed"]) == 7
    assert float(result["beta"]) == pytest.approx(2.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nan",
        "inf",
        "four",
        "linear(0)",
        "linear(0, 1, 2, 3)",
        "lnear(0, 1, 2)",
        "1e999",
        "linear(0, x, 2)",
        "4 steps",
        "__import__('os')",
    ],
)
def test_bad_text_is_refused(text):
    with pytest.raises(UsageError) as error:
        schedules.parse(text)
    assert "\n" not in str(error.value)


def test_nearest_name_is_suggested():
    with pytest.raises(UsageError, match="did you mean linear"):
        schedules.parse("liner(0, 1, 2)")


def test_pieces_begin_at_their_steps():
    schedule = schedules.parse(
        "piecewise(1e-3, 2ep, 1e-4, 50%, 0.5)", steps_per_epoch=10, num_steps=60
    )
    values = [float(schedule(step)) for step in (0, 19, 20, 29, 30, 1000)]
    assert values == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 0.5, 0.5])
    assert float(schedules.parse("piecewise(3)")(7)) == 3


@pytest.mark.parametrize("text", ["piecewise(1, 5)", "piecewise(1, 9, 2, 3, 4)", "piecewise()"])
def test_pieces_that_do_not_fit_are_refused(text):
    with pytest.raises(UsageError, match="piecewise"):
        schedules.parse(text)
