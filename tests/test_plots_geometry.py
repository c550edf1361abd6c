"""The picture of latent geometry: what is drawn is what was given, and its numbers beside it."""

import csv

import numpy as np
import pytest
from PIL import Image

from vae_jax import plots
from vae_jax.errors import UsageError
from vae_jax.plots._picture import ORANGE


def example(**changes):
    z0, z1 = np.linspace(-2, 2, 5, dtype=np.float32), np.linspace(-1, 1, 4, dtype=np.float32)
    curves = np.float32([[[-2, -1], [-1, 0.5], [1, 1]], [[0, 0], [0.1, 0.3], [2, 0]]])
    arguments = {
        "z0": z0,
        "z1": z1,
        "magnification": np.exp(z0)[None] * (2 + z1)[:, None],
        "curves": curves,
        "codes": np.float32([[0.5, 0.5], [-1, 0]]),
    }
    return arguments | changes


def lines_of(picture):
    return [line.get_xydata() for line in picture.figure.axes[0].lines]


def test_geodesics_and_their_straight_lines_are_drawn():
    arguments = example()
    picture = plots.latent_geometry(**arguments)
    axes = picture.figure.axes[0]
    drawn = lines_of(picture)
    for p, curve in enumerate(arguments["curves"]):
        np.testing.assert_allclose(drawn[2 * p], curve)
        np.testing.assert_allclose(drawn[2 * p + 1], curve[[0, -1]])
        assert axes.lines[2 * p].get_color() == ORANGE
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["geodesic", "straight line"]


def test_colors_are_the_magnification_at_its_place():
    arguments = example()
    axes = plots.latent_geometry(**arguments).figure.axes[0]
    mesh = axes.collections[0]
    np.testing.assert_allclose(
        np.asarray(mesh.get_array()).reshape(4, 5), arguments["magnification"]
    )
    edges = mesh.get_coordinates()
    centres = (edges[1:, 1:] + edges[:-1, :-1]) / 2
    np.testing.assert_allclose(centres[0, :, 0], arguments["z0"], atol=1e-6)
    np.testing.assert_allclose(centres[:, 0, 1], arguments["z1"], atol=1e-6)
    # logarithmic: equal factors are equal steps
    values = mesh.norm(np.array([1.0, 2.0, 4.0]))
    assert values[1] - values[0] == pytest.approx(values[2] - values[1])


def test_a_far_code_does_not_shrink_the_rest():
    axes = plots.latent_geometry(**example(codes=np.float32([[50, 50]]))).figure.axes[0]
    assert axes.get_xlim() == (-2.5, 2.5)
    np.testing.assert_allclose(axes.get_ylim(), (-4 / 3, 4 / 3), rtol=1e-6)
    far = np.float32([[[-9, 0], [0, 3], [1, 1]]])
    axes = plots.latent_geometry(**example(curves=far)).figure.axes[0]
    assert (axes.get_xlim()[0], axes.get_ylim()[1]) == (-9, 3)


def test_the_file_holds_every_number(tmp_path):
    arguments = example(axis_names=("z3", "z7"))
    png, table = plots.save(plots.latent_geometry(**arguments), tmp_path / "geometry")
    with Image.open(png) as image:
        assert min(image.size) > 300
        assert np.asarray(image.convert("L")).std() > 10
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    grid = [row for row in rows if row["kind"] == "grid"]
    values = np.float32([row["magnification"] for row in grid]).reshape(4, 5)
    np.testing.assert_array_equal(values, arguments["magnification"])
    places = np.float32([[row["z3"], row["z7"]] for row in grid]).reshape(4, 5, 2)
    np.testing.assert_array_equal(places[0, :, 0], arguments["z0"])
    np.testing.assert_array_equal(places[:, 0, 1], arguments["z1"])
    geodesics = [row for row in rows if row["kind"] == "geodesic"]
    assert [(row["index"], row["point"]) for row in geodesics] == [
        (str(p), str(t)) for p in range(2) for t in range(3)
    ]
    points = np.float32([[row["z3"], row["z7"]] for row in geodesics]).reshape(2, 3, 2)
    np.testing.assert_array_equal(points, arguments["curves"])
    codes = [row for row in rows if row["kind"] == "code"]
    np.testing.assert_array_equal(
        np.float32([[row["z3"], row["z7"]] for row in codes]), arguments["codes"]
    )
    assert len(rows) == 20 + 6 + 2


def test_cells_without_a_magnification_are_white():
    magnification = example()["magnification"].copy()
    magnification[1, 2], magnification[0, 0], magnification[3, 3] = 0, np.nan, np.inf
    picture = plots.latent_geometry(**example(magnification=magnification))
    mask = picture.figure.axes[0].collections[0].get_array().mask.reshape(4, 5)
    assert {tuple(place) for place in np.argwhere(mask)} == {(1, 2), (0, 0), (3, 3)}


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-30])
def test_constant_magnification_is_drawn(value, tmp_path):
    constant = np.full((4, 5), value, np.float32)
    picture = plots.latent_geometry(**example(magnification=constant, curves=None, codes=None))
    assert plots.save(picture, tmp_path / "constant")[0].exists()
    assert lines_of(picture) == []


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"magnification": np.ones((5, 4))}, r"must be \[4\]"),
        ({"magnification": np.ones(20)}, r"must be \[R, C\]"),
        ({"curves": np.ones((3, 2))}, r"curves .* must be \[P, T, 2\]"),
        ({"curves": np.ones((1, 3, 3))}, "the last axis must be 2"),
        ({"codes": np.ones((4, 3))}, "the last axis must be 2"),
        ({"z0": np.zeros(5)}, "z0: must be at least 2 rising numbers"),
    ],
)
def test_shapes_must_fit(changes, match):
    with pytest.raises(UsageError, match=match):
        plots.latent_geometry(**example(**changes))
