"""Pictures of a sweep: every run is in the table, the finite ones are in the axes, as given."""

import re
import time

import numpy as np
import pytest
from matplotlib.colors import LogNorm, to_rgba
from scipy import stats

from vae_jax import plots
from vae_jax.errors import UsageError

SCHEDULE = "linear(0, 4, 100%)"


def labels(texts):
    return [text.get_text() for text in texts]


def legend_of(figure):
    """Label to handle, of all legends of a figure."""
    return {
        text.get_text(): handle
        for legend in figure.legends
        for text, handle in zip(legend.texts, legend.legend_handles, strict=True)
    }


def column(picture, name):
    return [row[picture.table.columns.index(name)] for row in picture.table.rows]


def written(text):
    return float(text.get_text().replace("−", "-"))


def bar_of(figure):
    (bar,) = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
    return bar


def draw(picture, tmp_path):
    plots.save(picture, tmp_path / "picture")
    return picture


def some_runs(num_runs, seed=0):
    generator = np.random.default_rng(seed)
    rate = generator.uniform(0.0, 30.0, num_runs)
    return rate, 80.0 + 50.0 * np.exp(-rate / 9.0) + generator.normal(size=num_runs)


# rate and distortion


@pytest.mark.parametrize("num_iso", [0, 1, 4, 9])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e5])
def test_iso_lines_hold_rate_plus_distortion_at_what_they_say(num_iso, scale, tmp_path):
    rate, distortion = (scale * x for x in some_runs(12))
    picture = draw(plots.rate_distortion(rate, distortion, num_iso=num_iso), tmp_path)
    axes = picture.figure.axes[0]
    lines = [c for c in axes.collections if "equal ELBO" in str(c.get_label())]
    segments = lines[0].get_segments() if lines else []
    assert len(segments) == len(axes.texts) <= num_iso
    assert segments or num_iso <= 1
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    slack = 1e-9 * (abs(top) + abs(right))
    for ends, text in zip(segments, axes.texts, strict=True):
        np.testing.assert_allclose(ends.sum(axis=1), -written(text), rtol=1e-9)
        np.testing.assert_allclose(sum(text.get_position()), -written(text), rtol=1e-9)
        assert ends[:, 0].min() >= left - slack
        assert ends[:, 0].max() <= right + slack
        assert ends[:, 1].min() >= bottom - slack
        assert ends[:, 1].max() <= top + slack
        on_edge = np.isclose(ends, [left, top]) | np.isclose(ends, [right, bottom])
        assert on_edge.any(axis=1).all(), "a line spans the whole of the visible area"


def test_no_label_of_an_iso_line_covers_a_point(tmp_path):
    picture = draw(plots.rate_distortion(*some_runs(40)), tmp_path)
    axes = picture.figure.axes[0]
    points = axes.transData.transform(axes.collections[1].get_offsets())
    for text in axes.texts:
        place = axes.transData.transform(text.get_position())
        assert np.linalg.norm(points - place, axis=1).min() > 8.0  # pixels


def test_a_diverged_run_is_in_the_table_and_not_in_the_axes(tmp_path):
    rate = np.array([1.0, np.nan, 3.0, np.inf, 5.0], np.float32)
    distortion = np.array([90.0, 80.0, np.nan, -np.inf, 84.0], np.float32)
    names = ["a", "b", "c", "d", "e"]
    picture = draw(plots.rate_distortion(rate, distortion, names=names), tmp_path)
    axes = picture.figure.axes[0]
    np.testing.assert_array_equal(axes.collections[1].get_offsets(), [[1.0, 90.0], [5.0, 84.0]])
    assert picture.figure.get_suptitle() == "of 5 runs, 3 diverged"
    assert picture.table.columns == (*("run", "name", "rate_nats", "distortion_nats", "elbo_nats"),)
    assert column(picture, "name") == names
    np.testing.assert_array_equal(column(picture, "rate_nats"), rate)
    np.testing.assert_array_equal(column(picture, "distortion_nats"), distortion)
    np.testing.assert_array_equal(
        column(picture, "elbo_nats"), [-91.0, np.nan, np.nan, np.nan, -89.0]
    )


def test_the_best_run_is_ringed_and_named(tmp_path):
    rate, distortion = some_runs(30)
    names = [f"run {r}" for r in range(30)]
    picture = draw(plots.rate_distortion(rate, distortion, names=names), tmp_path)
    best = np.argmax(-(rate + distortion))
    ring = picture.figure.axes[0].collections[2]
    np.testing.assert_array_equal(ring.get_offsets(), [[rate[best], distortion[best]]])
    elbo = f"{-(rate[best] + distortion[best]):.2f}".replace("-", "−")
    assert f"highest ELBO shown: {elbo} nats, run {best}" in legend_of(picture.figure)


@pytest.mark.parametrize("num_others", [0, 1, 12])
def test_the_ringed_run_s_name_keeps_its_values(num_others, tmp_path):
    values = [*(f"value_{i}={i}e-05" for i in range(num_others)), f"beta={SCHEDULE}", "seed=7"]
    picture = plots.rate_distortion([1.0], [90.0], names=[" ".join(values)])
    (label,) = [x for x in legend_of(draw(picture, tmp_path).figure) if "highest" in x]
    lines = label.split("\n")
    assert all(any(value in line for line in lines) for value in values)
    assert max(map(len, lines)) < 50
    axes = picture.figure.axes[0]
    assert axes.get_window_extent().height > 200.0, "the legend takes no room from the axes"


def test_a_name_without_end_is_cut(tmp_path):
    picture = plots.rate_distortion([1.0], [90.0], names=["data_dir=" + "x" * 999])
    (label,) = [x for x in legend_of(draw(picture, tmp_path).figure) if "highest" in x]
    assert label.count("\n") == 2


def test_an_absurd_run_flattens_nothing_and_is_counted(tmp_path):
    rate, distortion = some_runs(30)
    distortion[3] = 1e30
    picture = draw(plots.rate_distortion(rate, distortion), tmp_path)
    axes = picture.figure.axes[0]
    assert axes.get_ylim()[1] < 200.0
    assert picture.figure.get_suptitle() == "of 30 runs, 1 beyond the axes"
    assert column(picture, "distortion_nats")[3] == 1e30


def test_runs_that_mostly_agree_do_not_hide_the_others(tmp_path):
    rate, distortion = np.array([0.0] * 7 + [25.0, 60.0]), np.array([140.0] * 7 + [90.0, 70.0])
    axes = draw(plots.rate_distortion(rate, distortion), tmp_path).figure.axes[0]
    assert len(axes.collections[1].get_offsets()) == 9


# colors


def colors_of(color, tmp_path, name="beta"):
    num_runs = len(color)
    picture = plots.rate_distortion(*some_runs(num_runs), color=color, color_name=name)
    figure = draw(picture, tmp_path).figure
    assert column(picture, name) == list(color)
    return figure, figure.axes[0].collections[1].get_facecolors()


def test_words_and_few_numbers_are_categories_in_order(tmp_path):
    color = [4.0, SCHEDULE, 0.5, "cosine(0, 4, 50%)", 4.0, SCHEDULE, 10.0]
    figure, shown = colors_of(color, tmp_path)
    key = legend_of(figure)
    in_order = ["0.5", "4", "10", SCHEDULE, "cosine(0, 4, 50%)"]
    assert [label for label in key if "ELBO" not in label] == in_order
    assert labels([legend.get_title() for legend in figure.legends])[0] == "β"
    for value, seen in zip(color, shown, strict=True):
        label = value if isinstance(value, str) else f"{value:g}"
        np.testing.assert_allclose(to_rgba(key[label].get_color()), seen)


def test_numbers_in_float32_are_named_as_they_were_written(tmp_path):
    key = legend_of(colors_of(np.array([0.1, 0.2], np.float32), tmp_path)[0])
    assert {"0.1", "0.2"} < set(key)


@pytest.mark.parametrize(
    ("color", "is_log"),
    [
        (np.geomspace(0.01, 100.0, 30), True),
        (np.linspace(1.0, 10.0, 30), False),
        (np.linspace(0.0, 100.0, 30), False),
        (np.linspace(-1.0, 100.0, 30), False),
    ],
)
def test_a_continuum_is_logarithmic_over_more_than_a_decade(color, is_log, tmp_path):
    figure, shown = colors_of(color, tmp_path)
    bar = bar_of(figure)
    assert (bar.get_yscale() == "log") == is_log
    np.testing.assert_allclose(bar.get_ylim(), color[[0, -1]])
    along = LogNorm(color[0], color[-1]) if is_log else lambda x: (x - x[0]) / np.ptp(x)
    expected = shown[np.rint(along(color) * 29).astype(int)]
    np.testing.assert_allclose(shown, expected, atol=0.05)
    assert not [t for t in bar.get_yticklabels() if "$" in t.get_text()]


def test_more_words_than_hues_get_a_bar_in_their_order(tmp_path):
    color = [f"linear(0, {r}, 100%)" for r in range(50)]
    bar = bar_of(colors_of(color, tmp_path)[0])
    shown = labels(bar.get_yticklabels())
    assert (shown[0], shown[-1]) == (color[0], color[-1])


def runs_without(diverged, num_runs):
    rate, distortion = some_runs(num_runs)
    rate[diverged] = np.nan
    return rate, distortion


def test_runs_that_are_not_drawn_are_not_in_the_legend(tmp_path):
    color = [1.0, 4.0, 1e30, SCHEDULE, 1e30]
    picture = plots.rate_distortion(*runs_without([2, 3, 4], 5), color=color)
    figure = draw(picture, tmp_path).figure
    key = legend_of(figure)
    assert [label for label in key if "ELBO" not in label] == ["1", "4"]
    shown = figure.axes[0].collections[1].get_facecolors()
    np.testing.assert_allclose([to_rgba(key[x].get_color()) for x in "14"], shown)
    assert column(picture, "color") == color


def test_runs_that_are_not_drawn_do_not_stretch_the_color_scale(tmp_path):
    color = np.append(np.linspace(1.0, 5.0, 30), 1e30)
    picture = plots.rate_distortion(*runs_without([30], 31), color=color)
    bar = bar_of(draw(picture, tmp_path).figure)
    np.testing.assert_allclose(bar.get_ylim(), [1.0, 5.0])


# latent dimension


def repeated_runs():
    generator = np.random.default_rng(1)
    sizes = np.tile(np.repeat([2, 8, 32], 4), 2)
    series = np.repeat([4.0, 1.0], 12)
    elbo = -100.0 + generator.normal(size=24)
    active = np.minimum(sizes, 9) + generator.normal(size=24)
    elbo[[1, 8, 9, 10, 11]] = np.nan  # one of (4, 2), all of (4, 32)
    elbo[[13, 14, 15]] = np.nan  # leaves one of (1, 2)
    return sizes, elbo, active, series


def test_means_and_standard_errors_are_those_of_the_runs_that_did_not_diverge(tmp_path):
    sizes, elbo, active, series = repeated_runs()
    picture = draw(
        plots.elbo_against_latent_dim(sizes, elbo, active, series=series, series_name="beta"),
        tmp_path,
    )
    assert picture.table.columns == (
        *("beta", "latent_dim", "num_runs", "num_diverged", "elbo_mean_nats"),
        *("elbo_standard_error_nats", "active_units_mean", "active_units_standard_error"),
    )
    settings = [row[:2] for row in picture.table.rows]
    assert settings == [(beta, size) for beta in (1.0, 4.0) for size in (2, 8, 32)]
    for beta, size, num_runs, num_diverged, *statistics in picture.table.rows:
        of = (series == beta) & (sizes == size)
        finite = of & np.isfinite(elbo)
        assert (num_runs, num_diverged) == (of.sum(), of.sum() - finite.sum())
        expected = []
        for values in (elbo[finite], active[finite]):
            expected.append(values.mean() if len(values) else None)
            expected.append(stats.sem(values) if len(values) > 1 else None)
        assert [s is None for s in statistics] == [e is None for e in expected]
        known = [(s, e) for s, e in zip(statistics, expected, strict=True) if e is not None]
        for statistic, value in known:
            assert statistic == pytest.approx(value, rel=1e-12)


def test_lines_and_bars_are_the_table_s(tmp_path):
    sizes, elbo, active, series = repeated_runs()
    picture = draw(plots.elbo_against_latent_dim(sizes, elbo, active, series=series), tmp_path)
    for axes, mean, error in zip(picture.figure.axes, (4, 6), (5, 7), strict=True):
        drawn = [c for c in axes.containers if len(c.lines[0].get_xdata())]
        for container, value in zip(drawn, (1.0, 4.0), strict=True):
            rows = [r for r in picture.table.rows if r[0] == value and r[mean] is not None]
            np.testing.assert_allclose(
                container.lines[0].get_xydata(), [(row[1], row[mean]) for row in rows]
            )
            (bars,) = container.lines[2]
            segments = [s for s in bars.get_segments() if s.shape == (2, 2)]
            expected = [r[error] for r in rows if r[error] is not None]
            np.testing.assert_allclose([np.ptp(s[:, 1]) / 2 for s in segments], expected)
    assert picture.figure.get_suptitle() == "of 24 runs, 8 diverged"


def test_a_series_that_diverged_has_no_line_and_no_color(tmp_path):
    elbo, series = [-9.0, -8.0, np.nan, np.nan], [1.0, 1.0, 1e30, 1e30]
    picture = plots.elbo_against_latent_dim([2, 4, 2, 4], elbo, [2, 3, 1, 1], series=series)
    figure = draw(picture, tmp_path).figure
    assert {"1", "1e+30"} & set(legend_of(figure)) == {"1"}
    assert len(figure.axes[0].containers) == 1
    assert len(picture.table.rows) == 4


@pytest.mark.parametrize(
    ("sizes", "scale"), [([2, 4, 16], "linear"), ([2, 4, 17], "log"), ([7], "linear")]
)
def test_sizes_beyond_a_factor_eight_are_in_octaves(sizes, scale, tmp_path):
    picture = draw(plots.elbo_against_latent_dim(sizes, sizes, sizes), tmp_path)
    upper, lower = picture.figure.axes
    assert upper.get_xscale() == lower.get_xscale() == scale
    assert labels(lower.get_xticklabels()) == [str(size) for size in sizes]
    (diagonal,) = [x for x in lower.lines if x.get_label() == "all units active"]
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    assert diagonal.get_xdata().max() <= lower.get_ylim()[1]


def test_unknown_active_units_are_said_to_be(tmp_path):
    picture = draw(plots.elbo_against_latent_dim([4, 8], [-9.0, -8.0], [None, None]), tmp_path)
    assert labels(picture.figure.axes[1].texts) == ["not measured"]
    assert column(picture, "active_units_mean") == [None, None]


# heatmap


def heatmap(value, x, y):
    return plots.sweep_heatmap(
        value, x, y, value_name="valid_elbo", x_name="latent_dim", y_name="beta"
    )


def test_each_cell_is_the_mean_of_its_runs_and_says_so(tmp_path):
    x = [16, 16, 2, 2, 16, 2, 4]
    y = [SCHEDULE, SCHEDULE, 4.0, 4.0, 0.5, "cosine(0, 4, 50%)", 4.0]
    value = [-90.0, -94.0, -80.0, np.nan, -70.0, np.nan, -85.25]
    picture = draw(heatmap(value, x, y), tmp_path)
    axes = picture.figure.axes[0]
    assert labels(axes.get_xticklabels()) == ["2", "4", "16"]
    assert labels(axes.get_yticklabels()) == ["0.5", "4", SCHEDULE, "cosine(0, 4, 50%)"]
    grid = np.full((4, 3), np.nan)
    grid[0, 2], grid[1, 0], grid[1, 1], grid[2, 2] = -70.0, -80.0, -85.25, -92.0
    shown = axes.collections[0].get_array()
    np.testing.assert_array_equal(shown.mask, np.isnan(grid))
    np.testing.assert_array_equal(shown.filled(np.nan), grid)
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts.pop((0.5, 3.5)) == "NaN"
    assert texts == {
        (0.5, 1.5): "−80.0",
        (1.5, 1.5): "−85.2",
        (2.5, 0.5): "−70.0",
        (2.5, 2.5): "−92.0",
    }
    assert axes.patch.get_hatch()
    assert picture.figure.get_suptitle() == "of 7 runs, 2 diverged"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("latent dimension", "β")
    assert picture.figure.axes[1].get_ylabel() == "validation ELBO (nats)"
    error = stats.sem([-90.0, -94.0])
    assert picture.table.columns == (
        *("latent_dim", "beta", "num_runs", "num_diverged"),
        *("valid_elbo_mean", "valid_elbo_standard_error"),
    )
    assert picture.table.rows == [
        (16, 0.5, 1, 0, -70.0, None),
        (2, 4.0, 2, 1, -80.0, None),
        (4, 4.0, 1, 0, -85.25, None),
        (16, SCHEDULE, 2, 0, -92.0, pytest.approx(error)),
        (2, "cosine(0, 4, 50%)", 1, 1, None, None),
    ]


@pytest.mark.parametrize("value", [[-94.0], [-94.0] * 4, [np.nan, -94.0, np.nan, np.nan]])
def test_one_value_alone_has_no_scale_of_colors(value, tmp_path):
    figure = draw(heatmap(value, range(len(value)), [1] * len(value)), tmp_path).figure
    (axes,) = figure.axes
    assert axes.get_title(loc="left") == "validation ELBO (nats)"
    assert labels(axes.texts) == ["NaN" if np.isnan(x) else "−94.00" for x in value]


def test_one_value_in_cells_too_small_for_it_is_said_above_them(tmp_path):
    (axes,) = draw(heatmap([-94.0] * 90, range(90), [1] * 90), tmp_path).figure.axes
    assert not axes.texts
    assert axes.get_title(loc="left") == "validation ELBO (nats): −94"


def test_a_single_row_is_as_tall_as_what_it_is_called():
    picture = plots.sweep_heatmap(
        [1.0, 2.0], [1, 2], [4, 4], value_name="elbo", x_name="beta", y_name="latent_dim"
    )
    picture.figure.canvas.draw()
    axes = picture.figure.axes[0]
    name = axes.yaxis.label.get_window_extent()
    assert name.height < axes.get_window_extent().height


def test_numbers_stay_in_their_cells(tmp_path):
    value = np.random.default_rng(0).normal(-100.0, 3.0, 144)
    cells = np.arange(144)
    figure = draw(heatmap(value, cells % 12, cells // 12), tmp_path).figure
    figure.canvas.draw()
    axes = figure.axes[0]
    width = np.diff(axes.transData.transform([(0, 0), (1, 0)])[:, 0])
    assert len(axes.texts) == 144
    assert max(text.get_window_extent().width for text in axes.texts) < width


# curves


def logged(num_runs, num_epochs, **others):
    return [
        {"run": r, "epoch": t, "elbo": -100.0 - r + t, "rate": 0.1 * t + r, **others}
        for t in range(num_epochs)
        for r in range(num_runs)
    ]


def curves_in(axes):
    return [np.asarray(segment) for segment in axes.collections[0].get_segments()]


def test_every_run_is_one_line_along_the_epochs(tmp_path):
    rows = logged(3, 5)[::-1]
    rows[4]["elbo"] = None
    rows[5]["elbo"] = float("nan")
    picture = draw(plots.sweep_curves(rows, run_names=["a", "b", "c"]), tmp_path)
    axes = picture.figure.axes
    assert [a.get_title(loc="left") for a in axes] == ["ELBO", "rate"]
    for r, curve in enumerate(curves_in(axes[1])):
        np.testing.assert_allclose(curve, [(t, 0.1 * t + r) for t in range(5)])
    missing = {(rows[i]["run"], rows[i]["epoch"]) for i in (4, 5)}
    for r, curve in enumerate(curves_in(axes[0])):
        expected = [(t, -100.0 - r + t) for t in range(5) if (r, t) not in missing]
        np.testing.assert_allclose(curve, expected)
    assert set(legend_of(picture.figure)) == {"a", "b", "c"}
    assert picture.table.columns == ("run", "name", "epoch", "elbo", "rate")
    assert picture.table.rows[0] == (2, "c", 4, -98.0, 2.4)
    assert column(picture, "elbo")[4] is None


def test_validation_goes_before_training_where_it_is_there(tmp_path):
    rows = logged(1, 3, valid_elbo=-9.0, distortion=3.0, active_units=2, loss=1.0)
    picture = draw(plots.sweep_curves(rows, run_names=["a"]), tmp_path)
    titles = [axes.get_title(loc="left") for axes in picture.figure.axes]
    assert titles == ["validation ELBO", "rate", "distortion", "active units"]
    rows = logged(1, 3, valid_elbo="")
    assert plots.sweep_curves(rows, run_names=["a"]).table.columns[3] == "elbo"
    assert plots.sweep_curves(rows, run_names=["a"], metrics=["rate"]).table.columns[3:] == (
        "rate",
    )


def test_ten_runs_have_a_legend_and_eleven_a_bar(tmp_path):
    for num_runs, num_legends, num_bars in ((10, 1, 0), (11, 0, 1)):
        picture = draw(
            plots.sweep_curves(
                logged(num_runs, 3),
                run_names=[f"r{r}" for r in range(num_runs)],
                color=[SCHEDULE, 4.0, 1.0, 1.0, 1.0] + [2.0] * (num_runs - 5),
                color_name="beta",
            ),
            tmp_path,
        )
        figure = picture.figure
        bars = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
        assert (len(figure.legends), len(bars)) == (num_legends, num_bars)
        if bars:
            assert labels(bars[0].get_yticklabels()) == ["1", "2", "4", SCHEDULE]
        else:
            shown = list(legend_of(figure))
            assert shown[:2] == [f"r0: β = {SCHEDULE}", "r1: β = 4"]
        lines = figure.axes[0].collections[0]
        assert len({tuple(color) for color in lines.get_edgecolors()}) == 4


def test_runs_of_one_color_have_other_dashes():
    picture = plots.sweep_curves(logged(3, 3), run_names="abc", color=[1.0, 1.0, 4.0])
    a, b, c = picture.figure.axes[0].collections[0].get_linestyles()
    assert a == c != b


def test_a_run_without_a_number_is_in_the_table_only(tmp_path):
    rows = logged(2, 3)
    for row in rows[1::2]:
        row |= {"elbo": float("nan"), "rate": float("nan")}
    picture = draw(plots.sweep_curves(rows, run_names="ab"), tmp_path)
    axes = picture.figure.axes[0]
    assert len(curves_in(axes)) == 1
    assert picture.figure.get_suptitle() == "of 2 runs, 1 diverged"
    assert column(picture, "run") == [0, 1] * 3


def test_only_runs_with_a_curve_are_in_the_legend(tmp_path):
    rows = [row for row in logged(32, 3) if row["run"] in (1, 6)]
    names = [f"learning_rate=0.00025 latent_dim=32 beta={r} seed={r}" for r in range(32)]
    kwargs = {"run_names": names, "color": [1e30, 4.0] * 16, "color_name": "beta"}
    figure = draw(plots.sweep_curves(rows, **kwargs), tmp_path).figure
    assert len(figure.axes) == 2, "no bar"
    shown = [" ".join(label.split("\n")) for label in legend_of(figure)]
    assert shown == [names[1], names[6]]
    assert figure.get_suptitle() == "of 32 runs, 30 diverged"
    seen = [to_rgba(handle.get_color())[:3] for handle in legend_of(figure).values()]
    np.testing.assert_allclose(figure.axes[0].collections[0].get_edgecolors()[:, :3], seen)


def test_a_diverged_run_stretches_no_bar(tmp_path):
    rows = [row for row in logged(32, 3) if row["run"] < 31]
    color = [*np.linspace(1.0, 5.0, 31), 1e30]
    picture = plots.sweep_curves(rows, run_names=[""] * 32, color=color)
    np.testing.assert_allclose(bar_of(draw(picture, tmp_path).figure).get_ylim(), [1.0, 5.0])


def test_a_long_legend_takes_no_room_from_the_curves():
    heights = []
    for names in ("abcdefghij", [f"name={'x' * 70} seed={r}" for r in range(10)]):
        figure = plots.sweep_curves(logged(10, 3), run_names=names).figure
        figure.canvas.draw()
        heights.append(figure.axes[0].get_window_extent().height)
    assert heights[1] > 0.8 * heights[0]


def test_seeds_are_averaged_with_a_band_of_their_standard_error(tmp_path):
    values = np.random.default_rng(0).normal(size=(4, 3, 2))  # three seeds of each of four settings
    rows = [
        {"run": 3 * s + r, "epoch": t, "rate": values[s, r, t]}
        for s, r, t in np.ndindex(values.shape)
    ]
    rows[2]["rate"] = None  # of the second seed at the first epoch
    names = [f"beta={s}" for s in range(4) for _ in range(3)]
    kwargs = {"run_names": names, "same": names, "repeated": "seeds"}
    betas = np.repeat([0, 1, 2, 3], 3)
    picture = draw(plots.sweep_curves(rows, **kwargs, color=betas, color_name="beta"), tmp_path)
    (axes,) = picture.figure.axes
    *bands, lines = axes.collections
    values[0, 1, 0] = np.nan
    mean, num = np.nanmean(values, axis=1), np.sum(~np.isnan(values), axis=1)
    error = np.nanstd(values, axis=1, ddof=1) / np.sqrt(num)
    for s, (segment, band) in enumerate(zip(lines.get_segments(), bands, strict=True)):
        np.testing.assert_allclose(segment, [(t, mean[s, t]) for t in range(2)])
        corners = band.get_paths()[0].vertices
        for t, side in ((0, -1), (1, -1), (0, 1), (1, 1)):
            point = (t, mean[s, t] + side * error[s, t])
            assert np.isclose(corners, point).all(axis=1).any()
    assert list(legend_of(picture.figure)) == ["beta=0", "beta=1", "beta=2", "beta=3"]
    assert picture.figure.get_suptitle() == "mean ± standard error of 3 seeds"
    own = ("rate_mean", "rate_standard_error", "rate_num_runs")
    assert picture.table.columns == ("name", "beta", "epoch", *own)
    expected = [(mean[s, t], error[s, t], num[s, t]) for s in range(4) for t in range(2)]
    np.testing.assert_allclose([row[3:] for row in picture.table.rows], expected)


def test_settings_of_one_seed_have_no_band_and_the_numbers_of_seeds_are_said(tmp_path):
    rows = [row for row in logged(4, 3) if row["run"] != 2]
    same = ["b", "a", "b", "b"]
    picture = draw(plots.sweep_curves(rows, run_names=same, same=same), tmp_path)
    axes = picture.figure.axes[0]
    assert len(axes.collections) == 2, "one band, and the lines"
    assert list(legend_of(picture.figure)) == ["b", "a"], "by their first runs"
    assert picture.figure.get_suptitle() == "mean ± standard error of 1 to 3 runs"
    assert next(row[3:5] for row in picture.table.rows if row[0] == "a") == (None, 1)


# all


def test_256_runs_are_quick(tmp_path):
    beta = np.geomspace(0.01, 100.0, 256)
    start = time.monotonic()
    draw(plots.rate_distortion(*some_runs(256), color=beta, color_name="beta"), tmp_path)
    names = [str(r) for r in range(256)]
    draw(plots.sweep_curves(logged(256, 100), run_names=names, color=beta), tmp_path)
    assert time.monotonic() - start < 20.0  # about one second where nothing else runs


SWEEPS = {
    "rate_distortion": lambda v: plots.rate_distortion(v, v, color=[SCHEDULE] * len(v)),
    "elbo_against_latent_dim": lambda v: plots.elbo_against_latent_dim([8] * len(v), v, v),
    "sweep_heatmap": lambda v: heatmap(v, [SCHEDULE] * len(v), [1] * len(v)),
    "sweep_curves": lambda v: plots.sweep_curves(
        [{"run": r, "epoch": 0, "elbo": x, "rate": x} for r, x in enumerate(v)],
        run_names=[f"run {r}" for r in range(len(v))],
    ),
}


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_that_diverged_says_so_in_words(name, tmp_path):
    for num_runs, words in ((3, "all 3 runs diverged"), (1, "the only run diverged")):
        picture = draw(SWEEPS[name](np.full(num_runs, np.nan)), tmp_path)
        assert picture.figure.texts[0].get_text().startswith(words)
        assert not picture.figure.axes
        assert picture.table.rows
    assert draw(SWEEPS[name](np.zeros(0)), tmp_path).figure.texts[0].get_text() == "no runs yet"


@pytest.mark.parametrize("name", SWEEPS)
@pytest.mark.parametrize("num_runs", [2, 8, 32])
def test_the_note_on_diverged_runs_covers_nothing(name, num_runs):
    value = some_runs(num_runs)[0]
    value[num_runs // 4 :] = np.nan if num_runs > 2 else value[0]
    value[-1] = np.nan
    figure = SWEEPS[name](value).figure
    figure.canvas.draw()
    note = figure._suptitle.get_window_extent()
    assert figure.get_suptitle().endswith("diverged")
    titles = [axes._left_title for axes in figure.axes] + [axes.yaxis.label for axes in figure.axes]
    for other in [*titles, *figure.legends, *(axes.patch for axes in figure.axes)]:
        if getattr(other, "get_text", lambda: "x")():
            assert not note.overlaps(other.get_window_extent())


@pytest.mark.parametrize("name", SWEEPS)
@pytest.mark.parametrize(
    "value", [[0.0], [-3e38], [5.0] * 4, [1e-30] * 3, [1e17] * 3, [0.0, 3e38], [np.inf, 1.0, None]]
)
def test_tiny_and_extreme_inputs_are_drawn(name, value, tmp_path):
    assert draw(SWEEPS[name](value), tmp_path).figure.axes


@pytest.mark.parametrize("name", SWEEPS)
def test_equal_sweeps_give_equal_bytes(name, tmp_path):
    value = some_runs(7)[0]
    first, second = (plots.save(SWEEPS[name](value), tmp_path / stem) for stem in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: plots.rate_distortion(np.zeros(3), np.zeros(2)), "distortion has shape [2]"),
        (lambda: plots.rate_distortion(np.zeros((3, 1)), np.zeros(3)), "must be [R]"),
        (lambda: plots.rate_distortion([1.0], [1.0], num_iso=-1), "num_iso=-1: must be >= 0"),
        (lambda: plots.rate_distortion([1.0], [1.0], color=[1, 2]), "color has shape [2]"),
        (lambda: plots.rate_distortion([1.0], [1.0], names=[]), "names has shape [0]"),
        (lambda: plots.elbo_against_latent_dim([0], [1.0], [1]), "no positive number"),
        (lambda: plots.elbo_against_latent_dim([1], [1.0], [1], series=[]), "series has shape"),
        (lambda: heatmap([1.0], [1, 2], [1]), "x has shape [2]: must be [1]"),
        (lambda: plots.sweep_curves(logged(2, 1), run_names=["a"]), "run=1: must be one of 0 … 0"),
        (lambda: plots.sweep_curves([{"epoch": 1}], run_names=["a"]), "run=None"),
    ],
)
def test_invalid_arguments_are_one_clear_error(act, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        act()
