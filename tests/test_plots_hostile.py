"""Pictures of whatever users have: odd words, numbers beyond all bounds, any number of channels."""

import csv
import itertools
import os
import pathlib
import subprocess
import sys
import threading

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text

from vae_jax import plots

WORDS = {
    "mathtext": "$\\frac",
    "subscript": "a_b^{c",
    "hidden": "_hidden",
    "template": "%d {x} \\",
    "no glyph": "日本語",
    "emoji": "🦊 fox",
    "bytes": "caf\udce9",
    "surrogate": "\ud800",
    "control": "\x07bell\x1b[31m",
    "lines": "line\nbreak\ttab",
    "long word": "w" * 300,
    "long words": "wide " * 60,
    "nothing": "",
    "space": " ",
}
NUMBERS = [np.nan, np.inf, -np.inf, 1e38, 1e308, -1e308, 1e-320, 0.0, 1.0]


def some(*shape):
    return np.random.default_rng(0).random(shape).astype(np.float32)


def drawn(picture, folder):
    """The words that are to be read in a picture, once it is drawn."""
    png, table = plots.save(picture, folder / "picture")
    assert png.stat().st_size > 1000
    with table.open(encoding="utf-8", newline="") as file:
        assert len(list(csv.reader(file))) == 1 + len(picture.table.rows)
    return {text.get_text() for text in picture.figure.findobj(Text) if text.get_visible()}


def metric_rows(name):
    return [{"run": t % 2, "step": t, "epoch": t, name: 1.0 * t} for t in range(6)]


# from words to a picture that has all of them, or the first where it has one
OF_WORDS = {
    "latent_scatter": lambda w: plots.latent_scatter(
        some(2 * len(w), 2), np.array(w * 2), axis_names=(w[0], w[0])
    ),
    "latent_scatter of many": lambda w: plots.latent_scatter(
        some(30, 2), np.array([f"{i:02} {w[0]}" for i in range(30)])
    ),
    "one_to_many": lambda w: plots.one_to_many(
        some(len(w), 4, 4, 1), some(len(w), 2, 4, 4, 1), z=some(len(w), 2, 2),
        axis_names=(w[0], w[0]), names=w, title=w[0],
    ),
    "samples": lambda w: plots.samples(some(2 * len(w), 4, 4, 1), title=w[0], row_names=w),
    "interpolation": lambda w: plots.interpolation(some(2, 3, 4, 4, 1), w[0]),
    "manifold": lambda w: plots.manifold(some(3, 3, 4, 4, 1), title=w[0]),
    "traversal": lambda w: plots.traversal(
        *(some(2, 3, 4, 4, 1), np.arange(3.0), np.ones(2)),
        prefix=w[0], title=w[0], what=w[0], unit=w[0],
    ),
    "series": lambda w: plots.series(
        some(len(w), len(w), 5, 2), w, title=w[0], panel_names=w
    ),
    "training_curves": lambda w: plots.training_curves(metric_rows(w[0])),
    "latent_geometry": lambda w: plots.latent_geometry(
        *(np.arange(3.0), np.arange(3.0), 1 + some(3, 3)), axis_names=(w[0], w[0])
    ),
    "rate_distortion": lambda w: plots.rate_distortion(
        *some(2, len(w)), color=w, color_name=w[0], names=[w[0]] * len(w)
    ),
    "elbo_against_latent_dim": lambda w: plots.elbo_against_latent_dim(
        np.arange(1, 1 + len(w)), *some(2, len(w)), series=w, series_name=w[0]
    ),
    "sweep_heatmap": lambda w: plots.sweep_heatmap(
        some(len(w)), w, w, value_name=w[0], x_name=w[0], y_name=w[0]
    ),
    "sweep_curves": lambda w: plots.sweep_curves(
        metric_rows(w[0]), run_names=(w * 2)[:2], metrics=w[:1], color=(w * 2)[:2],
        color_name=w[0],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_WORDS)
def test_all_odd_words_at_once_are_drawn(name, tmp_path):
    drawn(OF_WORDS[name](list(WORDS.values())), tmp_path)


@pytest.mark.parametrize("name", ["samples", "sweep_curves", "rate_distortion"])
@pytest.mark.parametrize("word", ["long word", "no glyph", "surrogate", "control"])
def test_each_odd_word_alone_is_drawn(name, word, tmp_path):
    drawn(OF_WORDS[name]([WORDS[word]]), tmp_path)


def test_a_word_is_read_as_it_is_or_as_much_of_it_as_can_be(tmp_path):
    found = drawn(OF_WORDS["latent_scatter"](list(WORDS.values())), tmp_path)
    same = {WORDS[name] for name in ("mathtext", "subscript", "hidden", "template")}
    assert same <= found
    assert {"□□□", "□ fox", "caf□", "□bell□[31m", "line break tab"} <= found
    assert max(map(len, found)) <= 28
    table = (tmp_path / "picture.csv").read_text(encoding="utf-8")
    assert ",日本語\n" in table
    assert ",caf\\udce9\n" in table


# from one number to a picture that is made of it, and from several to one that mixes them
OF_NUMBERS = {
    "reconstructions": lambda v: plots.reconstructions(
        v * np.ones((len(v), 4, 4, len(v))), np.zeros((len(v), 4, 4, len(v)))
    ),
    "reconstructions of tables": lambda v: plots.reconstructions(
        v * np.ones((3, len(v))), np.zeros((3, len(v)))
    ),
    "cell_reconstructions": lambda v: plots.cell_reconstructions({"a": v}, {"a": v[::-1]}, {}),
    "samples": lambda v: plots.samples(np.ones((3, 4, 4, 1)) * v[0]),
    "traversal": lambda v: plots.traversal(some(len(v), len(v), 4, 4, 1), v, v),
    "latent_scatter": lambda v: plots.latent_scatter(np.stack([v, v], 1), np.arange(len(v))),
    "latent_scatter of posteriors": lambda v: plots.latent_scatter(
        np.stack([v, v[::-1]], 1), rows=np.arange(len(v)),
        covariances=np.where(np.eye(2), v[:, None, None], 0.0),
    ),
    "one_to_many": lambda v: plots.one_to_many(
        v[0] * np.ones((2, 4, 4, 1)), v[:, None, None, None] * np.ones((2, len(v), 4, 4, 1)),
        z=np.stack([v, v[::-1]], 1)[None].repeat(2, 0), codes=np.stack([v, v], 1),
    ),
    "rate_per_dimension": lambda v: plots.rate_per_dimension(v, v > 0),
    "rate_per_group": lambda v: plots.rate_per_group(v, np.ones(len(v), int)),
    "series": lambda v: plots.series(v * np.ones((2, 1, 5, len(v)))),
    "training_curves": lambda v: plots.training_curves(
        [{"step": t, "loss": x, "beta": x, "rate": 1.0} for t, x in enumerate(v)]
    ),
    "latent_geometry": lambda v: plots.latent_geometry(
        np.arange(1.0 + len(v)), np.arange(3.0), np.ones((3, 1)) * np.append(v, v[0]),
        np.stack([v, v], 1)[None].repeat(2, 0), np.stack([v, v], 1),
    ),
    "rate_distortion": lambda v: plots.rate_distortion(v, v[::-1], color=v),
    "elbo_against_latent_dim": lambda v: plots.elbo_against_latent_dim(
        np.arange(1, 1 + len(v)), v, v
    ),
    "sweep_heatmap": lambda v: plots.sweep_heatmap(
        v, v, v[::-1], value_name="elbo", x_name="x", y_name="y"
    ),
    "sweep_curves": lambda v: plots.sweep_curves(
        [{"run": 0, "epoch": t, "elbo": x} for t, x in enumerate(v)], run_names="a"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_numbers_beyond_all_bounds_are_drawn(name, tmp_path):
    drawn(OF_NUMBERS[name](np.array(NUMBERS)), tmp_path)


@pytest.mark.parametrize("name", OF_NUMBERS)
@pytest.mark.parametrize("value", [np.nan, 1e308, pytest.param(-np.inf, marks=pytest.mark.slow)])
def test_nothing_but_one_such_number_is_drawn(name, value, tmp_path):
    drawn(OF_NUMBERS[name](np.full(2, value)), tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
def test_an_animation_of_extreme_numbers_is_written(value, tmp_path):
    numbers = np.full(3, value)
    frames = plots.traversal_frames(np.full((3, 3, 4, 4, 1), value), numbers, numbers)
    assert plots.save_gif(frames, tmp_path / "x.gif").stat().st_size > 100


@pytest.mark.parametrize("size", [(1, 400), (400, 1), (1, 1)])
def test_images_of_any_shape_are_drawn(size, tmp_path):
    drawn(plots.samples(some(5, *size, 1)), tmp_path)
    drawn(plots.reconstructions(some(1, *size, 3), some(1, *size, 3)), tmp_path)
    drawn(plots.one_to_many(some(1, *size, 2), some(1, 3, *size, 2)), tmp_path)


def panels(picture):
    """Title of a grid → its pixels, as numbers from 0 to 255."""
    return {
        axes.get_title() or axes.get_title(loc="left"): np.asarray(axes.images[0].get_array())
        for axes in picture.figure.axes
    }


def images_of(num_channels, *lead):
    """Images [*lead, 4, 4, C], channel c of the gray level c / C."""
    levels = np.arange(num_channels, dtype=np.float32) / num_channels
    return np.broadcast_to(levels, (*lead, 4, 4, num_channels))


OF_IMAGES = {
    "samples": lambda x: plots.samples(x(5)),
    "reconstructions": lambda x: plots.reconstructions(x(3), x(3)),
    "interpolation": lambda x: plots.interpolation(x(2, 3)),
    "traversal": lambda x: plots.traversal(x(2, 3), np.arange(3.0), np.ones(2)),
    "manifold": lambda x: plots.manifold(x(3, 3)),
}


@pytest.mark.parametrize("num", [2, 4, 5, 8, 13, 40])
@pytest.mark.parametrize("name", OF_IMAGES)
def test_images_of_no_known_color_are_drawn_channel_by_channel(name, num):
    picture = OF_IMAGES[name](lambda *lead: images_of(num, *lead))
    shown = panels(picture)
    among = "" if num <= 16 else f" of {num}"
    channels = range(num) if num <= 16 else [place * num // 16 for place in range(16)]
    assert list(shown) == [f"channel {c}{among}" for c in channels]
    for channel, pixels in zip(channels, shown.values(), strict=True):
        assert (pixels[2, 2, :3] == round(255 * channel / num)).all()
    assert len(picture.table.rows[0]) >= 16 * num


def test_an_animation_has_the_channels_of_an_image_side_by_side():
    frames = plots.traversal_frames(images_of(4, 1, 2), np.arange(2.0), np.ones(1))
    levels = [int(np.rint(255 * c / 4)) for c in range(4)]
    found = [pixel for pixel, _ in itertools.groupby(frames[0][40, 12:112, 0].tolist())]
    assert found[:3] == [levels[0], 255, levels[1]]
    assert {*levels} <= {*frames[0][22:122, 12:112, 0].ravel().tolist()}


@pytest.mark.parametrize(
    ("shape", "num_images", "size"),
    [
        ((3, 64, 48, 3), None, (64, 48)),
        ((400, 64, 64, 3), None, (64, 64)),
        ((1, 4096, 4096, 1), None, (2048, 2048)),
        ((1, 2048, 2047, 3), 400, (82, 82)),
        ((1, 1, 10**7, 1), None, (1, 5 * 10**6)),
    ],
)
def test_an_image_too_large_for_a_picture_shrinks_to_means(shape, num_images, size):
    images = np.zeros(shape, np.uint8)
    assert plots.shrink(images, num_images).shape == (shape[0], *size, shape[-1])


def test_shrunk_images_are_means_over_squares_of_pixels():
    images = some(2, 47, 68, 2).astype(np.float64)
    side = 10  # of the least with 5 · 7 squares, the last of each row and column smaller
    small = plots.shrink(images, 2**23 // (2 * 35))
    assert small.shape == (2, 5, 7, 2)
    for r, c in itertools.product(range(5), range(7)):
        square = images[:, side * r : side * (r + 1), side * c : side * (c + 1)]
        np.testing.assert_allclose(small[:, r, c], square.mean(axis=(1, 2)), rtol=1e-12)
    assert plots.shrink(images) is images


def test_the_error_of_images_that_shrink_is_that_of_all_their_pixels():
    x = np.zeros((1, 3000, 3000, 1), np.float32)
    noise = np.where(np.indices((3000, 3000)).sum(axis=0) % 2, 0.5, -0.5)[None, ..., None]
    picture = plots.reconstructions(x, x + noise.astype(np.float32))
    # in means over squares the noise is gone
    assert picture.table.rows[1][2] == 0.25 * 3000**2
    assert np.abs(picture.table.rows[1][3:]).max() == 0


def test_threads_draw_what_one_alone_draws(tmp_path):
    def draw(folder):
        for _ in range(2):
            plots.save(plots.latent_scatter(some(20, 2)), folder / "x")
            plots.save(plots.rate_per_dimension(some(5), np.ones(5)), folder / "y")

    before = dict(matplotlib.rcParams)
    draw(tmp_path / "alone")
    threads = [threading.Thread(target=draw, args=(tmp_path / str(t),)) for t in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dict(matplotlib.rcParams) == before
    for name in ("x.png", "x.csv", "y.png", "y.csv"):
        expected = (tmp_path / "alone" / name).read_bytes()
        assert all((tmp_path / str(t) / name).read_bytes() == expected for t in range(3))


@pytest.mark.parametrize("named", ["module://not_there.backend_inline", "nonsense", "svg"])
def test_the_backend_of_the_caller_is_not_used(named, tmp_path):
    program = (
        "import os, sys; import numpy as np; from vae_jax import plots\n"
        "plots.save(plots.rate_per_dimension(np.ones(3), np.ones(3)), sys.argv[1])\n"
        "import matplotlib\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "print(os.environ['MPLBACKEND'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "x")],
        cwd=pathlib.Path(plots.__file__).parents[2],
        env={**os.environ, "MPLBACKEND": named},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, f"{named}\n"), done.stderr
    expected, _ = plots.save(plots.rate_per_dimension(np.ones(3), np.ones(3)), tmp_path / "y")
    assert (tmp_path / "x.png").read_bytes() == expected.read_bytes()
