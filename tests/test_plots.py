"""Pictures: what is drawn is what was given, and the numbers beside it are the same numbers."""

import csv
import math
import pathlib
import re
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from vae_jax import plots
from vae_jax.errors import StorageError, UsageError


def random_images(*shape):
    return np.random.default_rng(0).random(shape).astype(np.float32)


def flat_images(grays):
    """One image of 4 x 4 equal pixels for each gray level."""
    return np.broadcast_to(np.asarray(grays)[..., None, None, None], (*np.shape(grays), 4, 4, 1))


def shown_at(axes, column, row):
    """The color of the picture's only image at the data point (column, row)."""
    (image,) = axes.images
    left, right, bottom, top = image.get_extent()
    pixels = np.asarray(image.get_array())
    i = int((row - top) / (bottom - top) * pixels.shape[0])
    j = int((column - left) / (right - left) * pixels.shape[1])
    return pixels[i, j, :3].tolist()


def labels(ticks):
    return [tick.get_text() for tick in ticks]


def cells(num):
    """Rows of a table, others in their place, and the kinds of the columns."""
    rows = {
        "age": np.arange(num) / 3,
        "city": np.array(["Oslo", None, "Lima", "Bonn"], object)[np.arange(num) % 4],
        "when": np.datetime64("2025-01-01") + np.arange(num),
    }
    moved = {name: values[::-1] for name, values in rows.items()}
    return rows, moved, dict(zip(rows, ("real", "categorical", "date"), strict=True))


OF_DRAWS = np.zeros((2, 4, 4, 1)), np.zeros((2, 3, 4, 4, 1))
METRICS = [
    {"step": 10 * t, "loss": 9.0 - t, "valid_loss": 9.5 - t, "rate": 0.1 * t} for t in range(5)
]
PICTURES = {
    "training_curves": lambda: plots.training_curves(METRICS),
    "reconstructions": lambda: plots.reconstructions(
        random_images(3, 8, 8, 1), random_images(4, 8, 8, 1)[1:]
    ),
    "reconstructions_of_tables": lambda: plots.reconstructions(
        random_images(5, 6), random_images(6, 6)[1:]
    ),
    "cell_reconstructions": lambda: plots.cell_reconstructions(*cells(4)),
    "samples": lambda: plots.samples(random_images(5, 8, 8, 3)),
    "traversal": lambda: plots.traversal(random_images(3, 4, 8, 8, 1), np.arange(4.0), np.ones(3)),
    "interpolation": lambda: plots.interpolation(random_images(2, 4, 8, 6, 1)),
    "manifold": lambda: plots.manifold(random_images(3, 4, 8, 8, 1), 0.1, 0.9),
    "latent_scatter": lambda: plots.latent_scatter(random_images(9, 2), np.arange(9) % 3),
    "rate_per_dimension": lambda: plots.rate_per_dimension(random_images(6), np.arange(6) > 2),
    "rate_per_group": lambda: plots.rate_per_group(random_images(3), np.array([8, 4, 2])),
    "rate_distortion": lambda: plots.rate_distortion(
        random_images(6), 9.0 + random_images(6), color=["linear(0, 4, 100%)", 4.0] * 3
    ),
    "elbo_against_latent_dim": lambda: plots.elbo_against_latent_dim(
        [2, 2, 4, 4], -random_images(4), np.arange(4)
    ),
    "sweep_heatmap": lambda: plots.sweep_heatmap(
        random_images(4), [1, 1, 2, 2], ["a"] * 4, value_name="elbo", x_name="x", y_name="y"
    ),
    "sweep_curves": lambda: plots.sweep_curves(
        [{"run": t % 2, "epoch": t, "elbo": -1.0 / (1 + t)} for t in range(6)], run_names="ab"
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_saved_files_hold_the_picture_and_exactly_its_numbers(name, tmp_path):
    picture = PICTURES[name]()
    png, table = plots.save(picture, tmp_path / "new" / "beta=0.5")
    assert (png.name, table.name) == ("beta=0.5.png", "beta=0.5.csv")
    assert sorted(tmp_path.rglob("*")) == sorted([png.parent, png, table])
    with Image.open(png) as image:
        image.load()
        pixels = np.asarray(image.convert("L"))
    assert image.format == "PNG"
    assert min(pixels.shape) > 100
    assert pixels.std() > 1.0

    with table.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == list(picture.table.columns)
    assert len(rows) == len(picture.table.rows) > 0
    for row, expected in zip(rows, picture.table.rows, strict=True):
        for cell, number in zip(row, expected, strict=True):
            if isinstance(number, float | np.floating):
                assert type(number)(cell) == number
            else:
                assert cell == str(number)


def test_equal_arrays_give_equal_bytes(tmp_path):
    first, second = (
        plots.save(PICTURES["reconstructions"](), tmp_path / name) for name in ("first", "second")
    )
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_missing_cells_are_empty_and_nan_is_nan(tmp_path):
    picture = plots.Picture(
        plots.samples(random_images(1, 4, 4, 1)).figure,
        plots.Table(("a", "b", "c"), [(None, math.nan, 1)]),
    )
    assert plots.save(picture, tmp_path / "x")[1].read_text() == "a,b,c\n,nan,1\n"


def test_a_file_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").touch()
    frames = random_images(2, 8, 8, 1)
    with pytest.raises(StorageError, match=r"x\.gif: cannot write [\d,]+ bytes"):
        plots.save_gif(frames, tmp_path / "file" / "x.gif")
    (tmp_path / "taken.gif").mkdir()
    with pytest.raises(StorageError, match=r"taken\.gif: cannot write"):
        plots.save_gif(frames, tmp_path / "taken.gif")
    assert not list(tmp_path.glob("*.partial"))


def test_writing_follows_no_planted_link(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    (tmp_path / "x.gif.partial").symlink_to(outside)
    plots.save_gif(random_images(2, 8, 8, 1), tmp_path / "x.gif")
    assert outside.read_text() == "untouched"
    assert not (tmp_path / "x.gif").is_symlink()


def test_a_picture_has_several_formats_with_its_note_below(tmp_path):
    picture = plots.rate_per_dimension(np.ones(3), np.ones(3, bool))._replace(note="epoch 7")
    names = ("svg", "pdf", "png")
    paths = plots.save(picture, tmp_path / "a", names)
    assert [path.name for path in paths] == ["a.svg", "a.pdf", "a.png", "a.csv"]
    svg, pdf, png = (path.read_bytes() for path in paths[:3])
    assert (svg[:5], pdf[:5], png[1:4]) == (b"<?xml", b"%PDF-", b"PNG")
    assert b"<!-- epoch 7 -->" in svg
    assert b"/Type3" not in pdf
    assert [path.read_bytes() for path in plots.save(picture, tmp_path / "b", names)] == [
        path.read_bytes() for path in paths
    ]
    assert b"epoch" not in plots.encode(picture._replace(note=""), ["svg"])[0]
    assert picture._repr_png_() == png
    with pytest.raises(UsageError, match="format of a picture 'jpg' is unknown"):
        plots.encode(picture, ["jpg"])


def test_image_grid_puts_each_image_in_its_cell():
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 28, 14, 3), dtype=np.uint8)
    for gap, step in ((None, 2), (0, 0), (5, 5)):
        canvas = plots.image_grid(images, gap=gap)
        assert canvas.shape == (3 * 28 + 2 * step, 4 * 14 + 3 * step, 3)
        is_gap = np.ones(canvas.shape[:2], bool)
        for r in range(3):
            for c in range(4):
                cell = np.s_[
                    r * (28 + step) : r * (28 + step) + 28, c * (14 + step) : c * (14 + step) + 14
                ]
                np.testing.assert_array_equal(canvas[cell], images[r, c])
                is_gap[cell] = False
        assert (canvas[is_gap] == 255).all()


def test_image_grid_clips_and_rounds():
    values = np.array([-1.0, 0.0, 0.5, 1.0, 7.0, np.nan, np.inf])
    canvas = plots.image_grid(values.reshape(1, 7, 1, 1, 1), gap=0)
    expected = np.array([0, 0, 128, 255, 255, 0, 255])
    np.testing.assert_array_equal(canvas, expected[None, :, None].repeat(3, axis=2))


def test_samples_are_in_reading_order_on_white(tmp_path):
    grays = np.linspace(0.0, 0.9, 10)
    picture = plots.samples(flat_images(grays), title="$\\no formula$")
    plots.save(picture, tmp_path / "words are shown as they are")
    (axes,) = picture.figure.axes
    assert axes.get_title(loc="left") == "$\\no formula$"
    for n, gray in enumerate(grays):
        assert shown_at(axes, n % 4, n // 4) == [round(255 * gray)] * 3
    assert shown_at(axes, 2, 2) == shown_at(axes, 3, 2) == [255] * 3
    assert picture.table.rows[3] == (3, *[grays[3]] * 16)


def test_traversal_is_sorted_by_rate():
    rates = np.array([0.25, 3.0, -0.001, 1.5])
    grays = np.arange(12).reshape(4, 3) / 12
    values = np.array([-2.0, 0.0, 2.0])
    picture = plots.traversal(flat_images(grays), values, rates, max_rows=3)
    (axes,) = picture.figure.axes
    assert labels(axes.get_yticklabels()) == ["z1", "z3", "z0"]
    assert labels(axes.get_xticklabels()) == ["−2", "0", "2"]
    assert labels(axes.texts) == ["3.00 nats", "1.50 nats", "0.25 nats"]
    assert [text.xy[1] for text in axes.texts] == [0, 1, 2]
    for row, dimension in enumerate([1, 3, 0]):
        for t in range(3):
            assert shown_at(axes, t, row) == [round(255 * grays[dimension, t])] * 3
            assert picture.table.rows[3 * row + t] == (
                *(dimension, rates[dimension], values[t]),
                *[grays[dimension, t]] * 16,
            )
    assert len(picture.table.rows) == 9


def test_traversal_frames_go_there_and_back(tmp_path):
    grays = np.linspace(0.0, 0.9, 10).reshape(2, 5)
    images, values = flat_images(grays), np.linspace(-2.0, 2.0, 5)
    frames = plots.traversal_frames(images, values, np.array([0.5, 1.5]))
    assert frames.dtype == np.uint8
    assert frames.shape[0] == 8
    for t in range(1, 4):
        np.testing.assert_array_equal(frames[t], frames[8 - t])
        assert (frames[t] != frames[t - 1]).any()
    # The left image is of the dimension with the higher rate, the right one of the other.
    for t, (left, right) in enumerate(grays[::-1].T):
        assert (frames[t][50:100, 20:100] == round(255 * left)).all()
        assert (frames[t][50:100, 150:230] == round(255 * right)).all()

    path = plots.save_gif(frames, tmp_path / "x.gif", milliseconds=90)
    with Image.open(path) as gif:
        assert (gif.format, gif.n_frames, gif.info["loop"]) == ("GIF", 8, 0)
        assert gif.size == frames.shape[2:0:-1]
        for t in range(8):
            gif.seek(t)
            assert gif.info["duration"] == 90
            shown = np.asarray(gif.convert("RGB")).astype(int)
            assert np.abs(shown[50:100, 20:100] - frames[t][50:100, 20:100]).max() <= 2


def test_traversal_of_one_value_is_one_frame():
    frames = plots.traversal_frames(random_images(1, 1, 64, 64, 3), np.zeros(1), np.zeros(1))
    assert frames.shape[0] == 1
    np.testing.assert_array_equal(
        frames[0][22:150:2, 12:140:2],
        np.rint(255 * random_images(1, 1, 64, 64, 3)[0, 0].astype(np.float64)),
    )


def test_save_gif_takes_a_list_of_grey_images(tmp_path):
    with Image.open(plots.save_gif(list(random_images(3, 9, 7, 1)), tmp_path / "x.gif")) as gif:
        assert (gif.n_frames, gif.size) == (3, (7, 9))


def test_interpolation_runs_from_left_to_right():
    grays = np.arange(6).reshape(2, 3) / 6
    picture = plots.interpolation(flat_images(grays))
    (axes,) = picture.figure.axes
    for pair in range(2):
        for t in range(3):
            assert shown_at(axes, t, pair) == [round(255 * grays[pair, t])] * 3
            assert picture.table.rows[3 * pair + t][:3] == (pair, t / 2, grays[pair, t])


def test_manifold_has_z0_to_the_right_and_z1_upwards():
    grays = np.arange(12).reshape(3, 4) / 12
    picture = plots.manifold(flat_images(grays), 0.025, 0.975)
    (axes,) = picture.figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("z0", "z1")
    assert labels(axes.get_xticklabels())[::3] == ["−1.96", "1.96"]
    # Ticks go down from the upper edge.
    assert labels(axes.get_yticklabels()) == ["1.96", "0.00", "−1.96"]
    for r in range(3):
        for c in range(4):
            assert shown_at(axes, c, 2 - r) == [round(255 * grays[r, c])] * 3
    z1, z0 = (stats.norm.ppf(np.linspace(0.025, 0.975, num)) for num in (3, 4))
    coordinates = np.array([row[:3] for row in picture.table.rows])
    np.testing.assert_allclose(coordinates[:, 0], np.tile(z0, 3), atol=1e-9)
    np.testing.assert_allclose(coordinates[:, 1], np.repeat(z1, 4), atol=1e-9)
    np.testing.assert_array_equal(coordinates[:, 2], grays.ravel())


def test_cells_are_told_in_the_words_of_their_columns():
    rows, made, kinds = cells(4)
    made["age"] = np.array([0.5, np.nan, 12345.6, 1])
    picture = plots.cell_reconstructions(rows, made, kinds)
    assert picture.table.columns == ("column", "kind", "example", "input", "reconstruction")
    held = {(row[0], row[2]): row[3:] for row in picture.table.rows}
    assert len(picture.table.rows) == 12
    assert held["age", 0] == ("0", "0.5")
    assert (held["age", 1][1], held["age", 2][1]) == ("", "1.235e+04")
    assert (held["city", 0], held["city", 1]) == (("Oslo", "Bonn"), ("", "Lima"))
    assert held["when", 3] == ("2025-01-04", "2025-01-01")
    texts = [text.get_text() for text in picture.figure.axes[0].texts]
    assert {"age", "categorical", "Oslo", "?"} <= {*texts}
    wide = {f"c{i}": rows["age"] for i in range(99)}
    picture = plots.cell_reconstructions(wide, wide, {})
    assert len(picture.table.rows) == 99 * 4
    assert "and 59 more columns" in [text.get_text() for text in picture.figure.axes[0].texts]
    with pytest.raises(UsageError, match="must be the same, at least one"):
        plots.cell_reconstructions(rows, {"age": rows["age"]}, kinds)


def test_reconstructions_of_images():
    x, reconstruction = flat_images([0.0, 1.0, 0.5]), flat_images([1.0, 0.0, 0.5])
    picture = plots.reconstructions(x, reconstruction)
    (axes,) = picture.figure.axes
    assert labels(axes.get_yticklabels()) == ["input", "reconstruction", "error"]
    assert labels(axes.get_xticklabels()) == ["16.0", "16.0", "0.0"]
    assert [shown_at(axes, n, 0)[0] for n in range(3)] == [0, 255, 128]
    assert [shown_at(axes, n, 1)[0] for n in range(3)] == [255, 0, 128]
    too_bright, too_dark, right = (shown_at(axes, n, 2) for n in range(3))
    assert too_bright[0] > 2 * too_bright[2], "positive errors are red"
    assert too_dark[2] > 2 * too_dark[0], "negative errors are blue"
    assert min(right) > 240, "no error is white"
    (bar,) = axes.child_axes
    assert bar.get_ylim() == (-1.0, 1.0)
    assert [row[:4] for row in picture.table.rows] == [
        *[("input", n, error, x[n, 0, 0, 0]) for n, error in enumerate((16.0, 16.0, 0.0))],
        *[
            ("reconstruction", n, error, reconstruction[n, 0, 0, 0])
            for n, error in enumerate((16.0, 16.0, 0.0))
        ],
    ]


def test_binary_images_of_any_type_are_black_and_white():
    for dtype in (bool, np.uint8, np.int64):
        x = flat_images([0, 1]).astype(dtype)
        (axes,) = plots.reconstructions(x, x).figure.axes
        assert [shown_at(axes, n, 0)[0] for n in range(2)] == [0, 255]


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 2), (6, 2, 3, 3, 2)])
def test_reconstructions_of_anything_else_are_curves(shape):
    x, reconstruction = random_images(2, *shape)
    picture = plots.reconstructions(x, reconstruction)
    assert len(picture.figure.axes) == 6
    for n, axes in enumerate(picture.figure.axes):
        for line, expected in zip(axes.lines, (x, reconstruction), strict=True):
            np.testing.assert_array_equal(line.get_ydata(), expected[n].ravel())
        error = np.sum((reconstruction[n] - x[n]) ** 2)
        assert float(axes.get_title(loc="left").split()[-1]) == pytest.approx(error, abs=0.01)
    columns = ("kind", "example", "squared_error", *(f"x{i}" for i in range(x[0].size)))
    assert picture.table.columns == columns


def test_training_curves_draw_train_and_validation_of_each_term():
    rows = [
        {
            "step": str(t),
            "epoch": "1",
            "loss": str(9.0 - t),
            "valid_loss": str(9.5 - t) if t % 2 else "",
            "elbo": t - 9.0,
            "rate": math.nan if t == 2 else 1.0 * t,
            "valid_rate": None,
            "distortion": "",
            "active_units": 4,
            "beta": 4.0,
            "learning_rate": 0.1 / (1 + t),
            "total_correlation": 0.3 * t,
            "examples_per_second": 100.0 + t,
        }
        for t in range(6)
    ]
    del rows[3]["elbo"]
    picture = plots.training_curves(rows)
    axes = {a.get_title(loc="left"): a for a in picture.figure.axes}
    # No values: distortion. Constant: β. A clock: examples per second.
    titles = ["loss", "rate", "ELBO", "active units", "learning rate", "total correlation"]
    assert list(axes) == titles
    train, valid = axes["loss"].lines
    np.testing.assert_array_equal(train.get_xydata(), [(t, 9.0 - t) for t in range(6)])
    np.testing.assert_array_equal(valid.get_xydata(), [(t, 9.5 - t) for t in (1, 3, 5)])
    np.testing.assert_array_equal(axes["rate"].lines[0].get_xdata(), [0, 1, 3, 4, 5])
    np.testing.assert_array_equal(axes["ELBO"].lines[0].get_xdata(), [0, 1, 2, 4, 5])
    assert axes["loss"].get_title(loc="right") == "4.5"
    assert [text.get_text() for text in picture.figure.legends[0].texts] == ["train", "validation"]
    assert picture.table.columns == (
        *("step", "loss", "valid_loss", "rate", "elbo"),
        *("active_units", "learning_rate", "total_correlation"),
    )
    assert picture.table.rows[0] == ("0", "9.0", "", 0.0, -9.0, 4, 0.1, 0.0)


@pytest.mark.parametrize(
    ("epochs", "label"), [((1, 2), "step (15 an epoch)"), ((1, 3), "step"), (("", ""), "step")]
)
def test_steps_are_told_in_epochs(epochs, label):
    rows = [
        {"step": 15, "epoch": epochs[0], "loss": 1},
        {"step": 30, "epoch": epochs[1], "loss": 2},
    ]
    assert plots.training_curves(rows).figure.axes[0].get_xlabel() == label


def test_an_early_spike_does_not_flatten_the_rest():
    steps = np.arange(100)
    loss = 100.0 + 20.0 * np.exp(-steps / 30)
    loss[0] = 1e6
    picture = plots.training_curves([{"step": t, "loss": y} for t, y in enumerate(loss)])
    (axes,) = picture.figure.axes
    low, high = axes.get_ylim()
    assert low < loss.min()
    assert loss[1] < high < 200.0
    assert labels(axes.texts) == ["↑ highest 1e+06"]


def test_limits_hold_everything_where_nothing_is_far():
    picture = plots.training_curves(METRICS)
    low, high = picture.figure.axes[0].get_ylim()
    assert low < 5.0
    assert high > 9.5
    assert not picture.figure.axes[0].texts


@pytest.mark.parametrize(
    "rows", [[], [{}], [{"step": 1, "loss": "nan"}], [{"loss": 1.0}], [{"epoch": 1, "elbo": -1e4}]]
)
def test_training_curves_of_tiny_tables(rows, tmp_path):
    plots.save(plots.training_curves(rows), tmp_path / "curves")


def test_latent_scatter_colors_by_label():
    z = np.array([[0.0, 1.0], [2.0, -1.0], [np.nan, 0.0], [0.5, 0.5]])
    picture = plots.latent_scatter(z, np.array(["b", "a", "a", "b"]), axis_names=("z3", "z7"))
    (axes,) = picture.figure.axes
    points = axes.collections[0]
    np.testing.assert_array_equal(points.get_offsets(), z[[0, 1, 3]])
    colors = points.get_facecolor()[:, :3]
    np.testing.assert_array_equal(colors[0], colors[2])
    legend = axes.get_legend()
    assert labels(legend.texts) == ["a", "b"]
    shown = [handle.get_facecolor()[0, :3] for handle in legend.legend_handles]
    np.testing.assert_array_equal(shown, colors[[1, 0]])
    assert [(circle.width, circle.height) for circle in axes.patches] == [(2, 2), (4, 4)]
    assert axes.get_aspect() == 1.0
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("z3", "z7")
    assert picture.table.columns == ("z3", "z7", "label")
    assert picture.table.rows[1] == (2.0, -1.0, "a")


def test_latent_scatter_has_no_color_for_an_unknown_label():
    z = random_images(6, 2)
    (axes,) = plots.latent_scatter(z, np.array([-1, 0, 1, -1, 1, 0])).figure.axes
    unknown, known = axes.collections[:2]
    np.testing.assert_array_equal(unknown.get_offsets(), z[[0, 3]])
    np.testing.assert_array_equal(known.get_offsets(), z[[1, 2, 4, 5]])
    assert labels(axes.get_legend().texts) == ["unknown", "0", "1"]
    (axes,) = plots.latent_scatter(z, np.full(6, -1)).figure.axes
    assert labels(axes.get_legend().texts) == ["unknown"]


def test_latent_scatter_calls_labels_by_their_names():
    names = ("oak", 30, "ash")
    picture = plots.latent_scatter(random_images(4, 2), np.array([2, -1, 0, 1]), label_names=names)
    assert labels(picture.figure.axes[0].get_legend().texts) == ["unknown", "oak", "30", "ash"]
    assert [row[2] for row in picture.table.rows] == ["ash", None, "oak", 30]


def test_latent_scatter_of_many_labels_has_a_color_bar_and_of_none_nothing():
    z = random_images(50, 2)
    axes, bar = plots.latent_scatter(z, np.linspace(0.0, 1.0, 50)).figure.axes
    assert axes.get_legend() is None
    assert labels(bar.get_yticklabels())[::4] == ["0.0", "1.0"]
    picture = plots.latent_scatter(z)
    (axes,) = picture.figure.axes
    assert axes.get_legend() is None
    assert picture.table.columns == ("z0", "z1")


@pytest.mark.parametrize("num_labels", [3, 30])
def test_ellipses_are_one_standard_deviation_from_codes_in_the_colors_of_their_labels(num_labels):
    rng = np.random.default_rng(1)
    z, labels, rows = rng.normal(size=(60, 2)), np.arange(60) % num_labels, [7, 2, 59]
    z[5] = np.nan
    factors = rng.normal(size=(3, 2, 2))
    covariances = factors @ factors.swapaxes(1, 2)
    words = {"rows": rows, "covariances": covariances, "caption": "what they are"}
    picture = plots.latent_scatter(z, labels, **words)
    dots, *_, ellipses = picture.figure.axes[0].collections
    picture.figure.draw_without_rendering()  # shades are known only then
    for row, own, path, edge in zip(
        rows, covariances, ellipses.get_paths(), ellipses.get_edgecolors(), strict=True
    ):
        apart = path.vertices - z[row]
        squares = np.einsum("vi,ij,vj->v", apart, np.linalg.inv(own), apart)
        np.testing.assert_allclose(squares, 1.0, rtol=1e-6)
        place = row - (row > 5)
        np.testing.assert_allclose(edge[:3], dots.get_facecolor()[place, :3], atol=0.02)
    assert picture.figure.get_supxlabel() == "what they are"
    assert picture.table.columns[2:] == ("label", "variance z0", "covariance", "variance z1")
    assert picture.table.rows[2][3:] == tuple(covariances[1].ravel()[[0, 1, 3]])
    assert picture.table.rows[3][3:] == (None,) * 3


def test_a_plane_of_no_labels_has_ellipses_too_and_unknown_labels_gray_ones():
    z, some = random_images(4, 2), {"rows": [1, 3], "covariances": [np.eye(2)] * 2}
    (axes,) = plots.latent_scatter(z, **some).figure.axes
    dots, ellipses = axes.collections
    np.testing.assert_array_equal(
        ellipses.get_edgecolors()[:, :3], [dots.get_facecolor()[0, :3]] * 2
    )
    (axes,) = plots.latent_scatter(z, np.array([0, -1, 1, 1]), **some).figure.axes
    gray, one = axes.collections[-1].get_edgecolors()[:, :3]
    np.testing.assert_array_equal(gray, axes.collections[0].get_facecolor()[0, :3])
    np.testing.assert_array_equal(one, axes.collections[1].get_facecolor()[2, :3])


def test_one_to_many_shows_draws_their_mean_and_their_deviation():
    draws, x = random_images(2, 5, 4, 4, 3), random_images(2, 4, 4, 3)
    z, codes = np.random.default_rng(1).normal(size=(2, 5, 2)), random_images(9, 2)
    words = {"axis_names": ("z3", "z7"), "names": ("number 3, label 8", "number 4")}
    picture = plots.one_to_many(x, draws, num_shown=2, z=z, codes=codes, **words)
    assert picture.table.columns[:6] == ("example", "kind", "draw", "z3", "z7", "x0")
    rows = [row for row in picture.table.rows if row[0] == 1]
    assert [row[1] for row in rows] == ["input", *["draw"] * 5, "mean", "deviation"]
    assert rows[2][2:5] == (1, *z[1, 1])
    shown = np.array([row[5:] for row in rows])
    np.testing.assert_array_equal(shown[0], x[1].ravel())
    np.testing.assert_array_equal(shown[1:6], draws[1].reshape(5, -1))
    np.testing.assert_allclose(shown[6], draws[1].reshape(5, -1).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(shown[7], draws[1].reshape(5, -1).std(axis=0), rtol=1e-5)
    images = [axes.images[0].get_array()[0, 0, :3] for axes in picture.figure.axes if axes.images]
    corners = [x[0], *draws[0, :2], draws[0].mean(axis=0)]
    for pixel, expected in zip(images[:4], corners, strict=True):
        np.testing.assert_allclose(pixel / 255, expected[0, 0], atol=0.003)
    assert len(images) == 2 * 4 + 2
    planes = [axes for axes in picture.figure.axes if axes.get_xlabel() == "z3"]
    for own, axes in zip(z, planes, strict=True):
        np.testing.assert_allclose(axes.collections[0].get_offsets(), codes)
        np.testing.assert_allclose(axes.collections[1].get_offsets(), own)
    texts = labels(picture.figure.texts)
    assert {"number 3\nlabel 8", "number 4", "5 draws of q(z|x)", "mean of 5"} <= {*texts}


def test_draws_that_are_equal_have_no_deviation_and_need_no_plane(tmp_path):
    x = random_images(1, 4, 4, 1)
    picture = plots.one_to_many(x, np.repeat(x[:, None], 3, axis=1))
    assert not np.any(picture.table.rows[-1][3:])
    assert not any(axes.collections for axes in picture.figure.axes if axes.images)
    plots.save(picture, tmp_path / "x")


def test_rates_are_sorted_and_active_ones_colored():
    rate = np.array([0.5, 2.0, -0.001, 1.25])
    active = np.array([True, True, False, True])
    picture = plots.rate_per_dimension(rate, active)
    (axes,) = picture.figure.axes
    (bars,) = axes.containers
    assert [bar.get_height() for bar in bars] == [2.0, 1.25, 0.5, -0.001]
    assert labels(axes.texts) == ["2.00", "1.25", "0.50", "0.00"]
    assert labels(axes.get_xticklabels()) == ["z1", "z3", "z0", "z2"]
    first, *same, inactive = [bar.get_facecolor() for bar in bars]
    assert same == [first, first]
    assert inactive != first
    assert axes.get_title(loc="left") == "total rate 3.75 nats, 3 of 4 dimensions active"
    assert picture.table.rows == [
        (1, 2.0, True),
        (3, 1.25, True),
        (0, 0.5, True),
        (2, -0.001, False),
    ]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.samples(np.zeros((4, 8, 8))), "x has shape [4, 8, 8]: must be [N, H, W, C]"),
        (lambda: plots.image_grid(np.zeros((1, 4, 8, 8, 2))), "1 (gray) or 3 (color)"),
        (lambda: plots.save_gif(np.zeros((4, 8, 8, 4)), "x.gif"), "1 (gray) or 3 (color)"),
        (lambda: plots.samples(np.zeros((0, 8, 8, 1))), "not empty"),
        (
            lambda: plots.traversal(np.zeros((2, 3, 4, 4, 1)), np.zeros(2), np.zeros(2)),
            "values has shape [2]: must be [3]",
        ),
        (
            lambda: plots.traversal_frames(np.zeros((2, 3, 4, 4, 1)), np.zeros(3), np.zeros(3)),
            "rates has shape [3]: must be [2]",
        ),
        (lambda: plots.reconstructions(np.zeros((2, 3)), np.zeros((2, 4))), "must be equal"),
        (lambda: plots.reconstructions(np.zeros((0, 3)), np.zeros((0, 3))), "N >= 1"),
        (lambda: plots.manifold(np.zeros((2, 2, 4, 4, 1)), 0.0, 0.9), "must be probabilities"),
        (lambda: plots.latent_scatter(np.zeros((5, 3))), "must be [N, 2]"),
        (lambda: plots.latent_scatter(np.zeros((5, 2)), np.zeros(4)), "must be [5]"),
        (
            lambda: plots.latent_scatter(np.zeros((5, 2)), rows=[1], covariances=np.eye(2)),
            "covariances [2, 2]: must be [E] and [E, 2, 2]",
        ),
        (
            lambda: plots.latent_scatter(np.zeros((5, 2)), rows=[5], covariances=[np.eye(2)]),
            "rows=[5]: must be numbers of examples, 0 to 4",
        ),
        (
            lambda: plots.one_to_many(np.zeros((2, 4, 4, 1)), np.zeros((3, 5, 4, 4, 1))),
            "x has shape [2, 4, 4, 1], draws [3, 5, 4, 4, 1]",
        ),
        (
            lambda: plots.one_to_many(*OF_DRAWS, z=np.zeros((2, 4, 2))),
            "z has shape [2, 4, 2]: must be [2, 3, 2]",
        ),
        (lambda: plots.one_to_many(*OF_DRAWS, names=["a"]), "names has 1 entries: must have 2"),
        (lambda: plots.rate_per_dimension(np.zeros(3), np.zeros(2)), "must be [3]"),
        (lambda: plots.rate_per_group(np.zeros((3, 1)), np.zeros(3)), "must be [G]"),
        (lambda: plots.rate_per_group(np.zeros(3), np.zeros(3), ["a"]), "must be [3]"),
        (lambda: plots.save_gif(np.zeros((2, 4, 4)), "x.gif"), "must be [T, H, W, C]"),
    ],
)
def test_arrays_that_do_not_fit_are_one_clear_error(draw, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        draw()


def test_the_user_s_own_style_changes_nothing_and_stays(tmp_path):
    expected = plots.save(PICTURES["rate_per_dimension"](), tmp_path / "plain")[0].read_bytes()
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "savefig.dpi": 50}):
        before = dict(matplotlib.rcParams)
        png = plots.save(PICTURES["rate_per_dimension"](), tmp_path / "styled")[0]
        assert dict(matplotlib.rcParams) == before
    assert png.read_bytes() == expected


def test_import_is_light_and_nothing_global_is_left(tmp_path):
    program = """
import sys
import numpy as np
from vae_jax import plots
assert not {"matplotlib", "PIL", "jax"} & set(sys.modules), "imported before it is needed"
picture = plots.latent_scatter(np.zeros((3, 2)), np.arange(3))
plots.traversal_frames(np.zeros((1, 2, 4, 4, 1)), np.arange(2.0), np.zeros(1))
plots.save(picture, sys.argv[1])
assert "matplotlib.pyplot" not in sys.modules, "pyplot keeps a list of figures"
assert "jax" not in sys.modules
"""
    command = [sys.executable, "-c", program, str(tmp_path / "x")]
    root = pathlib.Path(plots.__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("has_prior", [True, False])
def test_circles_are_those_of_a_prior(has_prior):
    z = np.random.default_rng(0).normal(size=(20, 2))
    axes = plots.latent_scatter(z, has_prior=has_prior).figure.axes[0]
    assert len(axes.patches) == (2 if has_prior else 0)
