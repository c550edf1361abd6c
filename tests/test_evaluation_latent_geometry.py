"""The geometry of decoders whose surfaces are known: planes, cylinders, spheres, paraboloids."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

from vae_jax.errors import UsageError
from vae_jax.evaluation import latent_geometry as geometry


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


WEIGHTS = normal(0, 2, 12)


def linear(z):
    return jnp.matmul(z, WEIGHTS, precision="highest").reshape(-1, 3, 4) + 5.0


def cylinder(z):
    """Longitude and height, of radius 2."""
    return jnp.stack([2 * jnp.cos(z[:, 0]), 2 * jnp.sin(z[:, 0]), z[:, 1]], axis=1)


def sphere(z):
    """Longitude and latitude, of radius 3."""
    ring = jnp.cos(z[:, 1])
    return 3 * jnp.stack([ring * jnp.cos(z[:, 0]), ring * jnp.sin(z[:, 0]), jnp.sin(z[:, 1])], 1)


def paraboloid(z):
    return jnp.concatenate([z, 0.5 * jnp.sum(jnp.square(z), axis=1, keepdims=True)], axis=1)


ON_SPHERE = (
    np.float32([[0, 0.8], [-1, 0.5], [0.2, -0.7]]),
    np.float32([[1.8, 0.9], [1, 0.9], [0.4, 0.8]]),
)


def great_circle(first, second):
    """The distance on the sphere, of points in data space [P, 3]."""
    cosine = np.sum(np.float64(first) * np.float64(second), axis=1) / 9
    return 3 * np.arccos(cosine)


# ---------------------------------------------------------------- metric and magnification


def test_a_linear_decoder_has_one_metric_everywhere():
    z = normal(1, 7, 2)
    gram = WEIGHTS @ WEIGHTS.T
    metric = geometry.pull_back_metric(linear, z)
    np.testing.assert_allclose(metric, np.broadcast_to(gram, (7, 2, 2)), rtol=1e-5)
    np.testing.assert_allclose(
        geometry.magnification(linear, z), np.sqrt(np.linalg.det(gram)), rtol=1e-5
    )
    values = geometry.singular_values(linear, z)
    expected = np.linalg.svd(WEIGHTS, compute_uv=False)
    np.testing.assert_allclose(values, np.broadcast_to(expected, (7, 2)), rtol=1e-5)


@pytest.mark.slow
def test_metrics_of_known_surfaces():
    z = 0.9 * normal(1, 50, 2).clip(-1.6, 1.6)
    ones, squares = np.ones(50), np.sum(z * z, axis=1)
    for surface, diagonal, volume in (
        (cylinder, (4 * ones, ones), 2 * ones),
        (sphere, (9 * np.cos(z[:, 1]) ** 2, 9 * ones), 9 * np.cos(z[:, 1])),
        (paraboloid, (1 + z[:, 0] ** 2, 1 + z[:, 1] ** 2), np.sqrt(1 + squares)),
    ):
        metric = np.asarray(geometry.pull_back_metric(surface, z))
        np.testing.assert_allclose(metric[:, [0, 1], [0, 1]].T, diagonal, rtol=1e-4)
        np.testing.assert_allclose(geometry.magnification(surface, z), volume, rtol=1e-4)
        values = geometry.singular_values(surface, z)
        np.testing.assert_allclose(
            np.sort(np.square(values)), np.linalg.eigvalsh(metric), rtol=1e-3, atol=1e-4
        )


def test_the_metric_measures_small_steps():
    step = 1e-2 * normal(5, 40, 2)
    z = normal(6, 40, 2)
    metric = geometry.pull_back_metric(paraboloid, z)
    squares = np.sum(np.square(np.float64(paraboloid(z + step) - paraboloid(z - step))), axis=1)
    predicted = np.einsum("bl,blm,bm->b", 2 * step, metric, 2 * step)
    np.testing.assert_allclose(squares, predicted, rtol=2e-3)


@pytest.mark.slow
def test_a_decoder_with_a_deviation_has_the_expected_metric():
    def deviation(z):
        return jnp.exp(0.3 * z)

    def both(z):
        return jnp.concatenate([sphere(z), deviation(z)], axis=1)

    z = normal(2, 9, 2)
    parts = geometry.pull_back_metric(sphere, z) + geometry.pull_back_metric(deviation, z)
    np.testing.assert_allclose(geometry.pull_back_metric(both, z), parts, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_reparameterised_codes_have_the_transformed_metric():
    mixing = np.float32([[2.0, 0.3], [-0.4, 0.7]])

    def mixed(u):
        return sphere(jnp.matmul(u, mixing, precision="highest"))

    u = 0.3 * normal(3, 20, 2)
    metric = geometry.pull_back_metric(sphere, u @ mixing)
    expected = np.einsum("il,blm,jm->bij", mixing, metric, mixing)
    np.testing.assert_allclose(geometry.pull_back_metric(mixed, u), expected, rtol=1e-4, atol=1e-4)
    expected = geometry.magnification(sphere, u @ mixing) * abs(np.linalg.det(mixing))
    np.testing.assert_allclose(geometry.magnification(mixed, u), expected, rtol=1e-4)


def test_directions_that_the_decoder_ignores_have_no_volume():
    z = normal(0, 5, 3)
    values = geometry.singular_values(lambda z: jnp.tanh(z[:, :2]), z)
    assert values.shape == (5, 3)
    np.testing.assert_array_equal(values[:, 2], 0)
    np.testing.assert_array_equal(geometry.magnification(lambda z: jnp.tanh(z[:, :2]), z), 0)


@pytest.mark.parametrize("num_rows", [7, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_grid_is_at_the_points_it_names(num_rows):
    grid = geometry.magnification_grid(sphere, [-1, -0.5], [2, 1], num_points=6, num_rows=num_rows)
    np.testing.assert_allclose(grid.z0, np.linspace(-1, 2, 6), rtol=1e-6)
    np.testing.assert_allclose(grid.z1, np.linspace(-0.5, 1, 6), rtol=1e-5)
    expected = np.broadcast_to(9 * np.cos(grid.z1)[:, None], (6, 6))
    np.testing.assert_allclose(grid.magnification, expected, rtol=1e-4)


# ---------------------------------------------------------------- curves


@pytest.mark.slow
def test_length_and_energy_of_a_straight_line_through_a_linear_decoder():
    starts, ends = normal(1, 6, 2), normal(2, 6, 2)
    exact = np.linalg.norm((ends - starts) @ WEIGHTS, axis=1)
    for num_points in (2, 17):
        lines = geometry.straight_lines(starts, ends, num_points)
        np.testing.assert_array_equal(lines[:, 0], starts)
        np.testing.assert_allclose(lines[:, -1], ends, rtol=1e-6)
        np.testing.assert_allclose(geometry.curve_length(linear, lines), exact, rtol=1e-4)
        np.testing.assert_allclose(geometry.curve_energy(linear, lines), exact**2 / 2, rtol=1e-4)


@pytest.mark.slow
def test_energy_is_least_at_an_even_pace():
    t = jnp.linspace(0, 1, 400)[None, :, None]
    direction = jnp.float32([[[1.0, 2.0]]])
    even, uneven = t * direction, jnp.square(t) * direction
    length = geometry.curve_length(cylinder, even)
    np.testing.assert_allclose(geometry.curve_length(cylinder, uneven), length, rtol=1e-3)
    np.testing.assert_allclose(length, np.sqrt(8), rtol=1e-4)
    np.testing.assert_allclose(geometry.curve_energy(cylinder, even), length**2 / 2, rtol=1e-3)
    # ½ ∫ (2t · length)² dt
    expected = 2 / 3 * length**2
    np.testing.assert_allclose(geometry.curve_energy(cylinder, uneven), expected, rtol=1e-2)


@pytest.mark.slow
def test_length_does_not_depend_on_the_coordinates():
    def bent(u):
        return sphere(jnp.arctanh(u))

    curves = jnp.cumsum(0.05 * normal(3, 4, 30, 2), axis=1)
    np.testing.assert_allclose(
        geometry.curve_length(bent, jnp.tanh(curves)),
        geometry.curve_length(sphere, curves),
        rtol=1e-4,
    )


# ---------------------------------------------------------------- geodesics


def test_geodesics_of_a_plane_are_straight():
    starts, ends = normal(1, 5, 2), normal(2, 5, 2)
    found = geometry.geodesics(linear, starts, ends, num_points=16)
    lines = geometry.straight_lines(starts, ends, 16)
    assert np.all(found.converged)
    np.testing.assert_allclose(found.curves, lines, atol=1e-3)
    exact = np.linalg.norm((ends - starts) @ WEIGHTS, axis=1)
    np.testing.assert_allclose(found.lengths, exact, rtol=1e-4)
    # from any other curve too
    bent = lines + 0.5 * normal(3, 5, 16, 2)
    again = geometry.geodesics(linear, starts, ends, initial=bent)
    np.testing.assert_allclose(again.curves, lines, atol=1e-2)


@pytest.mark.slow
def test_geodesics_of_a_cylinder_are_those_of_the_plane_it_unrolls_to():
    starts, ends = np.float32([[0, 0], [1, 2]]), np.float32([[2.5, 1], [-1, 3]])
    bent = geometry.straight_lines(starts, ends, 48)
    bent = bent + 0.4 * np.sin(np.linspace(0, np.pi, 48, dtype=np.float32))[None, :, None]
    found = geometry.geodesics(cylinder, starts, ends, initial=bent)
    exact = np.linalg.norm((ends - starts) * [2, 1], axis=1)
    assert np.all(found.converged)
    np.testing.assert_allclose(found.lengths, exact, rtol=1e-3)
    np.testing.assert_allclose(found.straight_lengths, exact, rtol=1e-3)
    lines = geometry.straight_lines(starts, ends, 48)
    np.testing.assert_allclose(found.curves, lines, atol=0.02)


@pytest.mark.slow
def test_geodesics_of_a_sphere_are_great_circles():
    starts, ends = ON_SPHERE
    found = geometry.geodesics(sphere, starts, ends, num_points=48)
    exact = great_circle(sphere(starts), sphere(ends))
    assert np.all(found.converged)
    np.testing.assert_allclose(found.lengths, exact, rtol=1e-3)
    assert np.all(found.straight_lengths[:2] > 1.02 * exact[:2])
    # every point lies in the plane of the ends and the centre
    decoded = np.float64(jax.vmap(sphere)(found.curves))
    across = np.cross(decoded[:, 0], decoded[:, -1])
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    np.testing.assert_allclose(np.einsum("ptd,pd->pt", decoded, across), 0, atol=0.03)
    # at an even pace
    steps = np.linalg.norm(np.diff(decoded, axis=1), axis=2)
    np.testing.assert_allclose(steps, np.broadcast_to(exact[:, None] / 47, steps.shape), rtol=0.02)


@pytest.mark.slow
def test_geodesics_of_a_paraboloid_keep_their_angular_momentum():
    """Clairaut: on a surface of revolution r² dφ/dt is constant along a geodesic."""
    starts, ends = np.float32([[1.5, 0.0]]), np.float32([[-0.6, 1.4]])
    found = geometry.geodesics(paraboloid, starts, ends, num_points=64)
    curve = np.float64(found.curves[0])
    momentum = curve[:-1, 0] * curve[1:, 1] - curve[:-1, 1] * curve[1:, 0]
    straight = np.float64(geometry.straight_lines(starts, ends, 64)[0])
    np.testing.assert_allclose(momentum, momentum.mean(), rtol=0.02)
    assert found.lengths[0] < found.straight_lengths[0]
    assert np.abs(curve - straight).max() > 0.05


@pytest.mark.slow
def test_a_meridian_has_its_length_in_closed_form():
    starts, ends = np.float32([[0.3, 0.4]]), np.float32([[1.2, 1.6]])
    found = geometry.geodesics(paraboloid, starts, ends, num_points=64)
    exact, _ = scipy.integrate.quad(lambda r: np.sqrt(1 + r * r), 0.5, 2.0)
    np.testing.assert_allclose(found.lengths, exact, rtol=1e-3)
    # straight in latent space, but at another pace
    offset = np.float64(found.curves[0]) @ np.array([0.8, -0.6])
    np.testing.assert_allclose(offset, 0, atol=1e-3)


@pytest.mark.slow
def test_reparameterising_the_latent_leaves_geodesics_as_long():
    mixing = np.float32([[2.0, 0.3], [-0.4, 0.7]])

    def mixed(u):
        return sphere(jnp.sinh(jnp.matmul(u, mixing, precision="highest")))

    starts, ends = ON_SPHERE
    expected = geometry.geodesics(sphere, starts, ends, num_points=48)
    inverse = np.linalg.inv(mixing)
    found = geometry.geodesics(
        mixed, np.arcsinh(starts) @ inverse, np.arcsinh(ends) @ inverse, num_points=48
    )
    np.testing.assert_allclose(found.lengths, expected.lengths, rtol=1e-3)


@pytest.mark.slow
def test_a_decoder_that_ignores_a_dimension_still_has_geodesics():
    def ring(z):
        return cylinder(jnp.stack([z[:, 0], jnp.zeros_like(z[:, 0])], axis=1))

    found = geometry.geodesics(ring, np.zeros((1, 3)), np.float32([[1.5, 2, 3]]), num_points=24)
    np.testing.assert_allclose(found.lengths, 3.0, rtol=1e-3)
    assert np.isfinite(found.curves).all()
    found = geometry.geodesics(jnp.zeros_like, np.zeros((1, 2)), np.ones((1, 2)), num_points=5)
    assert np.isfinite(found.curves).all()
    assert found.lengths[0] == 0


@pytest.mark.slow
def test_a_search_that_may_not_move_says_so():
    starts, ends = ON_SPHERE
    found = geometry.geodesics(sphere, starts, ends, max_steps=1)
    assert not np.any(found.converged)
    np.testing.assert_array_equal(found.num_steps, 1)
    with pytest.raises(UsageError, match="num_points=2: must be at least 3"):
        geometry.geodesics(sphere, starts, ends, num_points=2)


# ---------------------------------------------------------------- codes that cannot be anywhere


def unit(z):
    return z / jnp.linalg.norm(z, axis=-1, keepdims=True)


def test_paths_on_a_sphere_of_codes_are_on_it_and_the_shortest_are_great_circles():
    """x = 3 z, |z| = 1: areas grow ninefold, alike in all directions of the sphere."""
    codes = np.asarray(unit(normal(3, 20, 3)))
    starts, ends = codes[:4], codes[4:8]
    found = geometry.geodesics(lambda z: 3 * z, starts, ends, num_points=9, onto=unit)
    straight = geometry.straight_lines(0.5 * starts, 2.0 * ends, 9, unit)
    for curves in (found.curves, straight):
        np.testing.assert_allclose(np.linalg.norm(curves, axis=-1), 1.0, atol=1e-6)
    assert found.converged.all()
    exact = 3 * np.arccos((np.float64(starts) * ends).sum(axis=1))
    np.testing.assert_allclose(found.lengths, exact, rtol=2e-3)
    assert geometry.directions(unit, 3) == 2
    assert geometry.directions(lambda z: z, 3) == 3


@pytest.mark.slow
def test_summary_of_a_sphere_of_codes_is_that_of_its_surface():
    codes = 0.7 * unit(normal(3, 30, 3))  # means of codes lie inside
    result = geometry.evaluate(
        lambda z: 3 * z, codes, jax.random.key(0), num_pairs=3, num_points=9, onto=unit
    )
    assert result["num_degenerate"] == 0
    assert result["log_magnification"] == pytest.approx(2 * np.log(3), abs=1e-4)
    assert result["log_anisotropy"] == pytest.approx(0, abs=1e-4)
    assert result["length_ratio"] == pytest.approx(1, abs=1e-3)


# ---------------------------------------------------------------- the summary


@pytest.mark.slow
def test_summary_of_a_plane_is_flat():
    codes = normal(4, 60, 2)
    result = geometry.evaluate(
        linear, codes, jax.random.key(0), num_pairs=5, num_codes=40, num_points=16
    )
    names = {name.removesuffix("_standard_error") for name in result}
    assert names == set(geometry.DEFINITIONS)
    assert all(len(line) < 100 and "\n" not in line for line in geometry.DEFINITIONS.values())
    assert json.loads(json.dumps(result)) == result
    assert result["num_codes"] == 40
    assert result["num_degenerate"] == 0
    assert result["length_ratio"] == pytest.approx(1, abs=1e-4)
    assert result["share_converged"] == 1
    values = np.linalg.svd(WEIGHTS, compute_uv=False)
    assert result["log_magnification"] == pytest.approx(np.log(values).sum(), abs=1e-4)
    assert result["log_magnification_sd"] == pytest.approx(0, abs=1e-4)
    assert result["log_anisotropy"] == pytest.approx(np.log(values[0] / values[1]), abs=1e-4)


@pytest.mark.slow
def test_summary_of_a_sphere_is_not():
    codes = np.float32(np.random.default_rng(0).uniform(-1.2, 1.2, (300, 2)))
    result = geometry.evaluate(sphere, codes, jax.random.key(0), num_pairs=20)
    logs = np.log(9 * np.cos(np.float64(codes[:, 1])))
    assert result["log_magnification"] == pytest.approx(logs.mean(), abs=1e-3)
    assert result["log_magnification_standard_error"] == pytest.approx(
        logs.std(ddof=1) / 300**0.5, rel=1e-2
    )
    assert result["log_magnification_sd"] == pytest.approx(logs.std(ddof=1), rel=1e-2)
    assert result["length_ratio"] > 1.005
    assert result["geodesic_length"] < result["straight_length"]


@pytest.mark.slow
def test_a_search_that_was_cut_off_reports_no_length():
    codes = jax.random.uniform(jax.random.key(2), (20, 2), minval=0.5, maxval=2.5)
    settings = {"num_codes": 5, "num_pairs": 4, "num_points": 8}
    result = geometry.evaluate(sphere, codes, jax.random.key(0), max_steps=1, **settings)
    assert result["share_converged"] == 0
    for name in ("geodesic_length", "length_ratio"):
        assert result[name] is result[f"{name}_standard_error"] is None
    assert result["straight_length"] > 0
    one = geometry.evaluate(sphere, codes, jax.random.key(0), **settings | {"num_pairs": 1})
    assert one["straight_length"] > 0
    assert one["straight_length_standard_error"] is None


@pytest.mark.slow
def test_codes_where_the_decoder_is_degenerate_are_counted():
    result = geometry.evaluate(
        lambda z: z[:, :1], normal(0, 9, 2), jax.random.key(0), num_pairs=2, num_points=5
    )
    assert result["num_degenerate"] == result["num_codes"] == 9
    assert result["log_magnification"] is result["log_magnification_standard_error"] is None


@pytest.mark.parametrize(
    ("decode", "change", "match"),
    [
        (sphere, {"codes": np.float32([[np.nan, 0], [1, 1]])}, "codes: 1 of 4 values"),
        (sphere, {"codes": np.zeros((1, 2))}, "examples=1: must be at least 2"),
        (sphere, {"num_pairs": 0}, "num_pairs=0: must be at least 1"),
        pytest.param(
            *(lambda z: jnp.log(z), {}, "decoder_derivatives: .* not finite"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_invalid_arguments_are_refused_in_one_line(decode, change, match):
    arguments = {"codes": np.zeros((4, 2), np.float32), "key": jax.random.key(0)} | change
    with pytest.raises(UsageError, match=match) as caught:
        geometry.evaluate(decode, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_cores_need_neither_flax_nor_our_model():
    program = (
        "import sys; from vae_jax.evaluation import latent_geometry, latent_neighbours, "
        "latent_probes; "
        "loaded = {'flax', 'optax', 'orbax', 'sklearn', 'vae_jax.model'} & set(sys.modules); "
        "sys.exit(', '.join(sorted(loaded)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
