"""The discrepancy of two samples against its definition, closed forms and repetition."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.errors import UsageError
from vae_jax.evaluation import discrepancy


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def loop(x, y, kernel):
    """The estimate as its definition reads."""
    n = len(x)

    def k(a, b):
        squares, width = float(np.sum((a - b) ** 2)), 2 * x.shape[1]
        return width / (width + squares) if kernel == "imq" else math.exp(-squares / width)

    total = 0.0
    for i in range(n):
        for j in range(n):
            if i != j:
                total += k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(x[j], y[i])
    return total / (n * (n - 1))


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
@pytest.mark.parametrize("num_rows", [4, 256])
def test_discrepancy_equals_a_double_loop(kernel, num_rows):
    x, y = normal(0, 13, 3) + 5, 1.5 * normal(1, 13, 3) + 5
    result = discrepancy.maximum_mean_discrepancy(x, y, kernel=kernel, num_rows=num_rows)
    expected = loop(np.float64(x), np.float64(y), kernel)
    assert float(result.value) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_discrepancies_of_several_scales_add():
    x, y = normal(0, 9, 2), normal(1, 9, 2) + 1

    def at(*scales):
        return discrepancy.maximum_mean_discrepancy(x, y, scales=jnp.float32(scales)).value

    assert float(at(0.1, 1, 10)) == pytest.approx(float(at(0.1) + at(1) + at(10)), rel=1e-4)
    plain = discrepancy.maximum_mean_discrepancy(x, y).value
    assert float(at(1)) == pytest.approx(float(plain), rel=1e-5)


def test_discrepancy_of_gaussians_matches_its_closed_form():
    """E k(x, y) = (1 + (s² + t²)/C)^(−L/2) exp(−‖m‖² / (2 (C/2 + s² + t²))) for the RBF kernel…

    …of squared width C with exponent −‖a − b‖²/C: x ~ N(0, s²I), y ~ N(m, t²I).
    """
    latent_dim, shift, scale, width = 2, 0.8, 1.3, 4.0

    def expected(first, second, distance):
        total = width / 2 + first**2 + second**2
        return (width / 2 / total) ** (latent_dim / 2) * math.exp(-(distance**2) / (2 * total))

    exact = expected(1, 1, 0) + expected(scale, scale, 0) - 2 * expected(1, scale, shift)
    x, y = normal(0, 3000, 2), scale * normal(1, 3000, 2) + np.float32([shift, 0])
    result = discrepancy.maximum_mean_discrepancy(x, y, kernel="rbf")
    assert abs(float(result.value) - exact) < 4 * float(result.standard_error)
    assert float(result.standard_error) < 0.1 * exact


@pytest.mark.parametrize(("kernel", "shift"), [("imq", 0.0), ("rbf", 0.0), ("imq", 0.7)])
def test_discrepancy_is_unbiased_and_its_standard_error_true(kernel, shift):
    keys = jax.random.split(jax.random.key(0), 300)

    @jax.jit
    @jax.vmap
    def estimate(key):
        x, y = jax.random.normal(key, (2, 40, 2))
        return discrepancy.maximum_mean_discrepancy(x, y + shift, kernel=kernel)

    values, errors = (np.float64(value) for value in estimate(keys))
    spread = values.std(ddof=1)
    if shift == 0:
        assert abs(values.mean()) < 3 * spread / np.sqrt(300)
        assert np.sum(values < 0) > 90
    else:
        assert values.mean() > 10 * spread / np.sqrt(300)
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(spread, rel=0.25)


@pytest.mark.parametrize(
    ("settings", "match"), [({"kernel": "linear"}, "imq, rbf"), ({"rows": 2}, "at least 3")]
)
def test_discrepancy_refuses(settings, match):
    x = normal(0, settings.pop("rows", 5), 2)
    with pytest.raises(UsageError, match=match):
        discrepancy.maximum_mean_discrepancy(x, x, **settings)
