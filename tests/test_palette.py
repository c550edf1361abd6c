"""Colors of labels stay apart for color-blind readers, and are the same in pictures and pages."""

import itertools

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb

from vae_jax import palette, plots

# Of linear RGB. Machado, Oliveira & Fernandes 2009, table of severity 1.0; Viénot, Brettel &
# Mollon 1999, by the primaries of sRGB.
SIMULATIONS = {
    "full color vision": np.eye(3),
    "deuteranopia, Machado": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia, Machado": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia, Viénot": [
        [0.29275, 0.70725, 0.0],
        [0.29275, 0.70725, 0.0],
        [-0.02234, 0.02234, 1.0],
    ],
    "protanopia, Viénot": [
        [0.11238, 0.88762, 0.0],
        [0.11238, 0.88762, 0.0],
        [0.00401, -0.00401, 1.0],
    ],
}
TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
TOL = [
    *("#cc6677", "#332288", "#ddcc77", "#117733", "#88ccee"),
    *("#882255", "#44aa99", "#999933", "#aa4499"),
]
SIDES = [palette.LIGHT, palette.DARK]


def linear(rgb):
    rgb = np.asarray(rgb)
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(light):
    """CIE L*a*b* under D65 of linear RGB [N, 3]."""
    xyz = np.clip(light, 0.0, 1.0) @ TO_XYZ.T / TO_XYZ.sum(axis=1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def least_distance(rgb, simulation):
    seen = lab(linear(rgb) @ np.array(SIMULATIONS[simulation]).T)
    return min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))


def of(side, alpha=1.0):
    colors = np.array([to_rgb(color) for color in (*side.labels, side.unknown)])
    return alpha * colors + (1 - alpha) * np.array(to_rgb(side.background))


def test_distances_are_those_of_known_colors():
    np.testing.assert_allclose(lab(np.eye(3)[:1]), [[53.24, 80.09, 67.20]], atol=0.02)  # sRGB's red
    np.testing.assert_allclose(lab(np.ones((1, 3))), [[100, 0, 0]], atol=1e-4)
    found = [
        least_distance([to_rgb(c) for c in TOL], f"{n}, Machado")
        for n in ("deuteranopia", "protanopia")
    ]
    np.testing.assert_allclose(found, [17.3, 15.6], atol=0.05)
    for matrix in SIMULATIONS.values():  # gray stays gray
        np.testing.assert_allclose(np.sum(matrix, axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("simulation", SIMULATIONS)
@pytest.mark.parametrize("side", SIDES, ids=["light", "dark"])
def test_any_two_colors_are_told_apart(side, simulation):
    assert least_distance(of(side), simulation) >= 20


@pytest.mark.parametrize("simulation", SIMULATIONS)
def test_dots_of_a_scatter_are_told_apart(simulation):
    dots = plots.latent_scatter(np.zeros((3, 2)), np.arange(3)).figure.axes[0].collections[0]
    assert least_distance(of(palette.LIGHT, dots.get_alpha()), simulation) >= 12


@pytest.mark.parametrize(("side", "least"), [*zip(SIDES, (2.2, 3.0), strict=True)])
def test_colors_stand_out_from_their_background(side, least):
    light = linear([to_rgb(color) for color in (side.background, *side.labels, side.unknown)])
    paper, *inks = light @ TO_XYZ[1] + 0.05
    assert min(max(ink, paper) / min(ink, paper) for ink in inks) > least


def test_shades_are_samples_of_viridis():
    for side, (low, high) in zip(SIDES, ((0.0, 0.9), (0.2, 1.0)), strict=True):
        at = np.linspace(low, high, len(side.shades))
        assert list(side.shades) == [to_hex(matplotlib.colormaps["viridis"](x)) for x in at]


def test_marks_have_one_size_and_no_pair_comes_again():
    assert len(palette.MARKS) == len({*palette.MARKS}) == len(palette.LIGHT.labels)
    for mark in palette.MARKS:
        x, y = np.array(mark).T
        area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
        assert area == pytest.approx(2.6, rel=0.01)
    pairs = [palette.mark_of(rank) for rank in range(100)]
    assert len({*pairs}) == 100
    assert pairs[:10] == [(k, k) for k in range(10)]


@pytest.mark.parametrize("num", [10, 20, 21])
def test_a_scatter_marks_labels_by_color_and_mark(num):
    labels = np.arange(2 * num) % num
    figure = plots.latent_scatter(np.random.default_rng(0).normal(size=(2 * num, 2)), labels).figure
    points = figure.axes[0].collections[0]
    if num > palette.MOST_MARKED:  # shades in their order, and a bar that says of how many
        assert figure.axes[0].get_legend() is None
        assert figure.axes[1].get_title("left") == "21 labels"
        return
    drawn = [
        (to_hex(color), path.vertices[:-1].tobytes())
        for color, path in zip(points.get_facecolor(), points.get_paths(), strict=True)
    ]
    assert drawn[:num] == drawn[num:]
    assert len({*drawn}) == num
    assert len({color for color, _ in drawn}) == 10
    legend = figure.axes[0].get_legend().legend_handles
    assert [to_hex(handle.get_facecolor()[0]) for handle in legend] == [c for c, _ in drawn[:num]]
