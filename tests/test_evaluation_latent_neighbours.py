"""Neighbourhoods against scikit-learn and loops, support against what holds for all data."""

import itertools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import manifold

from vae_jax import distributions
from vae_jax.errors import UsageError
from vae_jax.evaluation import latent_neighbours as neighbours
from vae_jax.evaluation.latent_geometry import straight_lines


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def projected(num=120):
    """Data [N, 3, 2] and codes [N, 2] that keep some of it."""
    x = normal(0, num, 6)
    codes = x[:, :2] + 0.3 * normal(1, num, 2) + 10
    return x.reshape(num, 3, 2), codes


# ---------------------------------------------------------------- neighbourhoods


@pytest.mark.parametrize("num_neighbours", [5, pytest.param(30, marks=pytest.mark.slow)])
def test_trustworthiness_is_that_of_scikit_learn(num_neighbours):
    x, codes = projected()
    flat = x.reshape(len(x), -1)
    expected = manifold.trustworthiness(flat, codes, n_neighbors=num_neighbours)
    actual = neighbours.trustworthiness(x, codes, num_neighbours=num_neighbours)
    assert float(actual) == pytest.approx(expected, abs=1e-5)
    assert expected < 0.95
    converse = manifold.trustworthiness(codes, flat, n_neighbors=num_neighbours)
    actual = neighbours.continuity(x, codes, num_neighbours=num_neighbours)
    assert float(actual) == pytest.approx(converse, abs=1e-5)
    assert abs(converse - expected) > 1e-3


@pytest.mark.slow
def test_equal_distances_share_the_better_rank():
    """Of data on a grid scikit-learn gives what is equally far different ranks, hence worse."""
    codes = normal(1, 100, 2)
    codes = np.concatenate([codes, -codes])
    grid = np.round(codes)  # its mean is 0: square distances are whole numbers, and exact
    expected = manifold.trustworthiness(grid, codes, n_neighbors=5)
    actual = float(neighbours.trustworthiness(grid, codes, num_neighbours=5))
    assert expected + 1e-3 < actual <= 1

    def penalty(i):
        distances = np.linalg.norm(np.float64(grid) - grid[i], axis=1)
        distances[i] = np.inf
        near = np.argsort(np.linalg.norm(codes - codes[i], axis=1))[1:6]
        return sum(max(0, 1 + np.sum(distances < distances[j]) - 5) for j in near)

    num = len(codes)
    total = sum(map(penalty, range(num)))
    assert actual == pytest.approx(1 - 2 * total / (num * 5 * (2 * num - 16)), abs=1e-6)


@pytest.mark.slow
def test_continuity_is_trustworthiness_the_other_way_round():
    x, codes = normal(0, 50, 4), normal(1, 50, 2)
    assert float(neighbours.continuity(x, codes)) == float(neighbours.trustworthiness(codes, x))


@pytest.mark.slow
@pytest.mark.parametrize("num_rows", [7, 120])
def test_penalties_do_not_depend_on_the_blocks(num_rows):
    x, codes = projected()
    expected = neighbours.neighbourhood_penalties(x, codes, num_rows=64)
    actual = neighbours.neighbourhood_penalties(x, codes, num_rows=num_rows)
    np.testing.assert_allclose(actual.intruders, expected.intruders, atol=1e-6)
    np.testing.assert_allclose(actual.extruders, expected.extruders, atol=1e-6)


@pytest.mark.slow
def test_maps_that_keep_the_order_of_distances_keep_neighbourhoods():
    codes = normal(0, 80, 2)
    turn = np.linalg.qr(normal(1, 5, 2))[0].T
    assert float(neighbours.trustworthiness(3 * codes @ turn + 100, codes)) == 1
    assert float(neighbours.continuity(3 * codes @ turn + 100, codes)) == 1
    # of one dimension: neighbours at even steps stay neighbours under any affine map
    line = np.arange(60, dtype=np.float32)[:, None]
    assert float(neighbours.trustworthiness(line, 1 - 2 * line)) == 1


@pytest.mark.slow
def test_the_worst_map_scores_zero_and_chance_one_half():
    def penalties(x, codes, k):
        return np.asarray(neighbours.neighbourhood_penalties(x, codes, num_neighbours=k).intruders)

    # pairs that are closest among the codes are farthest among the data
    num = 40
    angle = 2 * np.pi * np.arange(num // 2) / num
    half = np.stack([np.cos(angle), np.sin(angle)], 1)
    x = np.concatenate([half, -half]).astype(np.float32)
    codes = np.tile(np.arange(num // 2), 2)[:, None] * np.float32([[1.0]])
    np.testing.assert_allclose(penalties(x, codes, 1), 1, atol=0.06)
    assert np.mean(penalties(normal(0, 400, 3), normal(1, 400, 2), 5)) == pytest.approx(
        0.5, abs=0.02
    )


def test_neighbourhoods_must_fit():
    x = normal(0, 10, 2)
    for k in (0, 5):
        with pytest.raises(UsageError, match=f"num_neighbours={k}: .* half of the 10"):
            neighbours.trustworthiness(x, x, num_neighbours=k)
    with pytest.raises(UsageError, match="codes: 1 of 20"):
        neighbours.continuity(x, np.where(x == x[3, 1], np.nan, x))


# ---------------------------------------------------------------- lines


def test_smoothness_of_even_and_of_broken_lines():
    lines = straight_lines(normal(0, 3, 2), normal(1, 3, 2), 11)
    np.testing.assert_allclose(neighbours.smoothness(lines), 0, atol=1e-5)
    jump = jnp.sign(jnp.linspace(-1, 1, 12))[None, :, None, None] * jnp.ones((2, 1, 3, 1))
    np.testing.assert_allclose(neighbours.smoothness(jump), 1 - 1 / 11, rtol=1e-6)
    np.testing.assert_array_equal(neighbours.smoothness(jnp.ones((2, 5, 3))), 0)
    # steps of 1, 2 and 5 of 8; scale and place do not matter
    steps = jnp.float32([[0, 1, 3, 8]])[..., None]
    for scaled in (steps, -1e3 * steps + 7):
        np.testing.assert_allclose(neighbours.smoothness(scaled), 5 / 8 - 1 / 3, rtol=1e-5)


@pytest.mark.parametrize("num_rows", [2, pytest.param(64, marks=pytest.mark.slow)])
def test_nearest_distance_is_that_of_a_loop(num_rows):
    x, generated = normal(0, 9, 2, 3), normal(1, 5, 2, 3)
    generated[2] = x[4]
    expected = [min(np.linalg.norm(a - b) for b in x) for a in generated]
    actual = neighbours.nearest_distance(x, generated, num_rows=num_rows)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    assert actual[2] == 0


# ---------------------------------------------------------------- support


def test_support_is_that_of_a_loop():
    x, generated, k = normal(0, 17, 2), 1.3 * normal(1, 8, 2), 3
    apart = np.linalg.norm(x[:, None] - x[None], axis=2)
    radii = np.sort(apart, axis=1)[:, k]
    inside = np.linalg.norm(generated[:, None] - x[None], axis=2) <= radii
    for num_rows in (3, 64):
        actual = neighbours.support(x, generated, num_neighbours=k, num_rows=num_rows)
        np.testing.assert_array_equal(actual.num_balls, inside.sum(axis=1))
        np.testing.assert_array_equal(actual.is_covered, inside.any(axis=0))


@pytest.mark.slow
@pytest.mark.parametrize("latent_dim", [1, 4])
def test_density_and_coverage_of_equal_distributions(latent_dim):
    num, num_generated, k = 60, 40, 3
    keys = jax.random.split(jax.random.key(0), 300)

    @jax.jit
    @jax.vmap
    def draw(key):
        both = jnp.sinh(jax.random.normal(key, (num + num_generated, latent_dim)))
        held = neighbours.support(both[:num], both[num:], num_neighbours=k)
        return jnp.mean(held.num_balls) / k, jnp.mean(held.is_covered.astype(jnp.float32))

    density, coverage = (np.float64(values) for values in draw(keys))
    # no k of the N − 1 + M others that are nearest are all data
    others = num - 1 + num_generated
    expected = 1 - math.comb(num - 1, k) / math.comb(others, k)
    assert abs(density.mean() - 1) < 4 * density.std() / 300**0.5
    assert abs(coverage.mean() - expected) < 4 * coverage.std() / 300**0.5
    assert coverage.std() / 300**0.5 < 0.01
    claimed = neighbours._coverage_if_equal(num, num_generated, k)
    assert claimed == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("num", "num_generated", "k"), [(4, 3, 1), (4, 3, 2), (3, 5, 2)])
def test_the_coverage_of_equal_distributions_counts_the_neighbours_that_may_be(
    num, num_generated, k
):
    """All k of the N − 1 + M others are as likely to be the nearest; some must not be data."""
    others = ["data"] * (num - 1) + ["draw"] * num_generated
    expected = np.mean(["draw" in nearest for nearest in itertools.combinations(others, k)])
    assert neighbours._coverage_if_equal(num, num_generated, k) == pytest.approx(expected)


def test_draws_far_from_the_data_hold_nothing():
    held = neighbours.support(normal(0, 30, 2), normal(1, 20, 2) + 100)
    assert not held.num_balls.any()
    assert not held.is_covered.any()
    with pytest.raises(UsageError, match=r"num_neighbours=30: .* below the 30"):
        neighbours.support(normal(0, 30, 2), normal(1, 20, 2), num_neighbours=30)


# ---------------------------------------------------------------- the summary


WEIGHTS = np.linalg.qr(normal(7, 6, 2))[0].T


def linear(z):
    return (z @ WEIGHTS).reshape(-1, 3, 2)


@pytest.mark.slow
def test_summary_of_a_decoder_that_is_right():
    codes = normal(0, 200, 2)
    controls = {"real": linear(normal(1, 300, 2)), "blurred": linear(0.5 * normal(2, 300, 2))}
    sizes = {"num_lines": 40, "num_draws": 300}
    result = neighbours.evaluate(
        linear, linear(codes), codes, jax.random.key(0), controls=controls, **sizes
    )
    names = {name.removesuffix("_standard_error") for name in result}
    assert names == set(neighbours.DEFINITIONS)
    assert all(len(line) < 160 and "\n" not in line for line in neighbours.DEFINITIONS.values())
    assert result["trustworthiness"] == result["continuity"] == 1
    assert result["trustworthiness_standard_error"] == 0
    assert result["smoothness"] == pytest.approx(0, abs=1e-5)
    assert result["end_distance"] == pytest.approx(0, abs=1e-5)
    assert result["interior_distance"] > 0.01
    assert abs(result["density"] - 1) < 5 * result["density_standard_error"] < 0.5
    assert (
        abs(result["coverage"] - result["coverage_if_equal"])
        < 5 * result["coverage_standard_error"]
        < 0.2
    )
    assert abs(result["density_of_real"] - 1) < 5 * result["density_of_real_standard_error"] < 0.5
    assert result["distance_of_blurred"] < result["distance_of_real"]
    assert json.loads(json.dumps(result)) == result


def test_the_error_of_a_share_is_never_0_and_controls_are_as_many_as_draws():
    codes = normal(0, 40, 2)
    settings = {"prior": distributions.standard_gaussian(2), "num_draws": 30}
    x = linear(codes)
    found = neighbours.completeness(lambda z: x[:30], x, jax.random.key(0), **settings)
    assert found["precision"] == 1
    assert found["precision_standard_error"] == pytest.approx(1 / 62)
    with pytest.raises(UsageError, match=r"controls of 20 examples beside 30 draws"):
        neighbours.completeness(
            lambda z: x[:30], x, jax.random.key(0), controls={"real": x[:20]}, **settings
        )


@pytest.mark.slow
def test_summary_of_a_decoder_that_jumps_to_nowhere():
    codes = normal(0, 100, 2)

    def broken(z):
        return linear(jnp.sign(z)) * 100

    result = neighbours.evaluate(
        broken, linear(codes), codes, jax.random.key(0), num_lines=20, num_draws=50
    )
    assert result["smoothness"] > 0.3
    assert result["precision"] == result["coverage"] == result["density"] == 0
    assert result["interpolation_ratio"] == pytest.approx(1, abs=0.1)
    assert result["interpolation_ratio_standard_error"] > 0


def test_what_is_decoded_of_a_sphere_of_codes_is_on_it():
    """x = |z|, so that points inside of the sphere are as far from the data as from it."""

    def length(z):
        return jnp.linalg.norm(z, axis=1, keepdims=True)

    def unit(z):
        return z / length(z)

    codes, x = np.asarray(unit(normal(2, 30, 3))), np.ones((30, 1), np.float32)
    settings = {"num_lines": 9, "num_draws": 20, "num_points": 5}
    loose = neighbours.evaluate(length, x, codes, jax.random.key(0), **settings)
    held = neighbours.evaluate(length, x, codes, jax.random.key(0), onto=unit, **settings)
    assert loose["interior_distance"] > 0.1
    assert held["interior_distance"] == pytest.approx(0, abs=1e-5)
    assert held["end_distance"] == pytest.approx(loose["end_distance"], abs=1e-6)


def test_the_ratio_and_its_error_are_those_of_repetition():
    rng = np.random.default_rng(0)
    lower = rng.uniform(1, 3, (2000, 50))
    upper = 1.5 * lower + rng.uniform(0, 1, lower.shape)
    results = np.array([neighbours._ratio(*pair) for pair in zip(upper, lower, strict=True)])
    assert results[:, 0].mean() == pytest.approx(1.75, rel=2e-3)
    assert results[:, 0].std() == pytest.approx(results[:, 1].mean(), rel=0.06)
    assert neighbours._ratio(np.ones(3), np.zeros(3)) == (None, None)


@pytest.mark.parametrize(
    ("decode", "change", "match"),
    [
        (linear, {"x": np.full((20, 3, 2), np.inf)}, "x: 120 of 120 values are not finite"),
        (linear, {"codes": np.full((20, 2), np.nan)}, "codes: 40 of 40 values"),
        pytest.param(
            *(lambda z: linear(z) / 0, {}, "decoded: .* not finite"), marks=pytest.mark.slow
        ),
        (linear, {"num_points": 2}, "num_points=2: must be at least 3"),
        (linear, {"num_draws": 0}, "num_draws=0: must be at least 1"),
    ],
)
def test_invalid_arguments_are_refused_in_one_line(decode, change, match):
    arguments = {"x": normal(0, 20, 3, 2), "codes": normal(1, 20, 2), "key": jax.random.key(0)}
    with pytest.raises(UsageError, match=match) as caught:
        neighbours.evaluate(decode, **(arguments | change))
    assert "\n" not in str(caught.value)
