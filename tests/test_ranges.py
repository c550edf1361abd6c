"""Values against a likelihood: one check for the command line and for Python."""

import functools
import math

import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import data, distributions, likelihoods, ranges
from vae_jax.errors import DataError, UsageError
from vae_jax.lab import build, config, description, settings, train

REAL = ranges.Values(-5.0, 5.0)
RNG = np.random.default_rng(0)


def in_blocks(x, num=7):
    return functools.partial(iter, [x[start : start + num] for start in range(0, len(x), num)])


# --- One look at the values


@pytest.mark.parametrize("num", [1, 7, 100])
def test_a_survey_does_not_know_how_values_are_cut(num):
    x = RNG.normal(size=(50, 3, 2))
    x[13, 2, 1], x[40, 0, 0], x[40, 1, 1] = np.inf, np.nan, np.nan
    blocks = [(start, x[start : start + num]) for start in range(0, 50, num)]
    finite = x[np.isfinite(x)]
    found = ranges.survey(blocks)
    assert (found.low, found.high) == (finite.min(), finite.max())
    assert (found.num_bad, found.first_bad) == (3, (13, (2, 1), math.inf))
    missing = ranges.survey(blocks, has_missing=True)
    assert missing == found._replace(num_bad=1)
    assert ranges.survey(blocks, num_levels=5).is_on_grid is False


@pytest.mark.parametrize("num_levels", [2, 17, 256, 65536])
def test_levels_are_on_the_grid_in_float32(num_levels):
    levels = (np.arange(num_levels, dtype=np.float32) / np.float32(num_levels - 1))[:, None]
    assert ranges.survey([(0, levels)], num_levels=num_levels).is_on_grid
    for other in (levels + np.float32(0.3 / num_levels), 2 * levels, -levels):
        assert not ranges.survey([(0, other)], num_levels=num_levels).is_on_grid


# --- The range that a likelihood can have


def test_the_largest_range_is_that_of_the_largest_variance():
    largest = 20 * float(np.exp(0.5 * distributions.bound_logvar(1e9)))
    check = functools.partial(
        ranges.check, requires="real", what="w", holder="h", remedies={"large": "r", "small": "s"}
    )
    check(ranges.Values(-largest / 1.001, largest / 1.001))
    for values in ((0.0, largest * 1.001), (-largest * 1.001, 0.0), (np.nan, np.nan), (0, np.inf)):
        with pytest.raises(DataError, match=r"^w: h has values in .* no likelihood fits .*: r$"):
            check(ranges.Values(*values))
    least = float(np.exp(0.5 * distributions.bound_logvar(-1e9)))
    check(ranges.Values(1.0, 1.0 + 1.001 * least))
    with pytest.raises(DataError, match=r"no likelihood tells apart what differs by < 4.5e-05: s$"):
        check(ranges.Values(0.0, least / 1.001))


def test_squares_of_the_largest_range_are_finite():
    """With any variance that a likelihood can have, in float32 and summed over a long example."""
    x = jnp.full((1, 10**6), ranges._LARGEST)
    for variance in (math.exp(-20.0), math.exp(20.0)):
        likelihood = likelihoods.Gaussian(variance)
        assert np.isfinite(likelihood.log_prob({}, jnp.zeros_like(x), x)).all()


# --- Columns that reach far


def test_far_columns_are_those_of_numpy():
    train, valid = RNG.normal(size=(900, 6)), RNG.normal(size=(30, 6))
    for x in (train, valid):
        x[:, 1] *= 1e3
        x[:, 2] = 1e6 + 1e-3 * x[:, 2]
    valid[3, 4], train[9, 5] = -40.0, 500.0
    splits = {"train": train, "valid": valid, "test": np.ones((0, 6))}
    told = ranges.far_columns(REAL, {split: in_blocks(rows) for split, rows in splits.items()})
    of_valid, of_train = (
        np.abs((x - train.mean(axis=0)) / train.std(axis=0)).max(axis=0) for x in (valid, train)
    )
    assert list(np.flatnonzero(of_valid > 20)) == [4]
    assert list(np.flatnonzero(of_train > 20)) == [5]
    assert "standard deviations of train in 2 of 6 columns" in told
    named = f"column 4 ({of_valid[4]:.3g} in valid), column 5 ({of_train[5]:.3g} in train)"
    assert told.endswith(named)


def test_constant_and_missing_values_are_not_far():
    x = RNG.normal(size=(300, 3))
    x[:, 0] = 0.1
    rows = x.copy()
    rows[::2, 2] = np.nan
    for kind in (x, rows):
        assert (
            ranges.far_columns(REAL, {"train": in_blocks(kind), "test": in_blocks(kind + 1)}) == ""
        )
    # beyond the constant by more than the scale that is left to it
    far = ranges.far_columns(REAL, {"train": in_blocks(x), "test": in_blocks(x + 30)})
    assert "column 0 (30 in test)" in far


def test_pictures_and_series_have_a_column_for_each_channel():
    x = RNG.normal(size=(60, 5, 4, 2))
    x[7, 2, 2, 1] = 300
    told = ranges.far_columns(REAL, {"train": in_blocks(x)})
    assert "in 1 of 2 columns" in told
    assert "column 1 (3" in told


@pytest.mark.parametrize("values", [ranges.Values(0, 1), REAL._replace(num_levels=256)])
def test_levels_and_the_unit_range_are_not_looked_at(values):
    assert ranges.far_columns(values, {"train": None}) == ""


# --- The command line


def prepare(path, **flags):
    values = {"dataset": str(path), "widths": "4", "latent_dim": "2", "epochs": "1", **flags}
    return train.prepare([config.from_flags(values)])


@pytest.mark.parametrize(
    ("shape", "factor", "message"),
    [
        ((80, 5), 1e20, "no likelihood fits values beyond"),
        ((80, 5), 1e7, "no likelihood fits values beyond"),
        ((80, 4, 4), -1e30, "no likelihood fits values beyond"),
        ((80, 5), 1e-20, "no likelihood tells apart"),
    ],
)
def test_a_range_that_no_likelihood_fits_is_refused_and_the_remedy_fits(
    tmp_path, shape, factor, message
):
    path = tmp_path / "mine.npy"
    np.save(path, factor * RNG.normal(size=shape))
    for likelihood in ("gaussian", "laplace"):
        flags = {"scaling": "none", "likelihood": likelihood}
        with pytest.raises(DataError, match=f"^likelihood={likelihood}: mine .*{message}") as error:
            prepare(path, **flags)
        assert str(error.value).endswith(": rescale them with scaling=unit")
        dataset = prepare(path, **{**flags, "scaling": "unit"}).dataset
        assert (dataset.low, dataset.high) == (0, 1)


def test_far_columns_are_a_line_of_the_log_and_the_remedies_work(tmp_path):
    """Also of what is rare: a standardized column that is nearly always 0."""
    x = RNG.normal(size=(3000, 4))
    x[:, 2] = 0
    x[::500, 2] = 1
    np.save(tmp_path / "mine.npy", x)
    told = [
        line
        for line in description.describe(prepare(tmp_path / "mine.npy"))
        if "deviations of" in line
    ]
    assert len(told) == 1
    assert told[0].startswith(
        "data: values beyond 20 standard deviations of train in 1 of 4 columns"
    )
    assert "column 2 (" in told[0]
    assert told[0].endswith(": take --scaling=unit, or --likelihood=laplace")
    for remedy in ({"scaling": "unit"}, {"likelihood": "laplace"}):
        lines = description.describe(prepare(tmp_path / "mine.npy", **remedy))
        assert not [line for line in lines if "deviations of" in line]


@pytest.mark.parametrize("likelihood", ["gaussian", "laplace"])
def test_values_far_from_0_are_a_line_of_the_log_and_the_remedies_work(tmp_path, likelihood):
    np.save(tmp_path / "mine.npy", RNG.integers(0, 65536, (40, 6)).astype(np.float32) + 0.5)

    def told(**flags):
        lines = description.describe(prepare(tmp_path / "mine.npy", likelihood=likelihood, **flags))
        return [line for line in lines if "far from 0" in line]

    (line,) = told(scaling="none")
    assert line.endswith(": leave --scaling=none out, or take --scaling=unit")
    assert not told()
    assert not told(scaling="unit")


def test_series_are_looked_at_without_what_is_missing(tmp_path):
    x = RNG.normal(size=(90, 6, 2))
    x[::3, 4:] = np.nan
    x[5, 1, 1] = 1000
    np.savez(tmp_path / "mine.npz", series=x)
    dataset = data.load(str(tmp_path / "mine.npz"))
    (told,) = build.far_values(dataset, likelihoods.Gaussian(has_missing=True))
    assert "in 1 of 2 columns" in told


# --- Counts and proportions


def test_whole_numbers_are_seen_in_any_block():
    x = np.float32([[0, 3], [np.nan, 7], [2, 1]])
    assert ranges.survey([(0, x[:1]), (1, x[1:])], has_missing=True).is_whole
    for row in (0, 2):
        other = np.array(x)
        other[row, 0] += 0.5
        assert not ranges.survey([(0, other[:1]), (1, other[1:])], has_missing=True).is_whole


@pytest.mark.parametrize(
    ("values", "requires", "message"),
    [
        (ranges.Values(0, 9, is_whole=True), "counts", None),
        (ranges.Values(0, 2.0**24, is_whole=True), "counts", None),
        (ranges.Values(0, 1, 2), "counts", None),
        (
            ranges.Values(-1, 9, is_whole=True),
            "counts",
            r"at least 0, h has values in \[-1, 9\]: c$",
        ),
        (ranges.Values(0, 9), "counts", r"in \[0, 9\] that are not whole: c$"),
        (ranges.Values(0, 1, 17), "counts", r"in \[0, 1\] that are not whole: c$"),
        (ranges.Values(0, 2.0**25, is_whole=True), "counts", r"beyond 16,777,216: l$"),
        (ranges.Values(0.1, 0.9), "open", None),
        (ranges.Values(0, 0.9), "open", r"neither 0 nor 1, h has values in \[0, 0.9\]: o$"),
        (ranges.Values(0.1, 1), "open", r"in \[0.1, 1\]: o$"),
    ],
)
def test_counts_are_whole_and_proportions_lie_inside(values, requires, message):
    remedies = {"counts": "c", "open": "o", "large": "l"}
    check = functools.partial(
        ranges.check, values, requires, what="w", holder="h", remedies=remedies
    )
    if message is None:
        check()
        return
    with pytest.raises(DataError, match=message):
        check()


OF_COUNTS = [name for name in likelihoods.names() if likelihoods.load(name).requires == "counts"]


def test_counts_are_trained_on_as_they_are(tmp_path):
    path, counts = tmp_path / "mine.csv", RNG.poisson(40.0, (60, 3))
    np.savetxt(path, counts, fmt="%d", delimiter=",", header="a,b,c", comments="")
    for likelihood in OF_COUNTS:
        experiment = prepare(path, likelihood=likelihood)
        rows = [getattr(experiment.dataset, name).x for name in ("train", "valid", "test")]
        found = np.sort(np.concatenate(rows), axis=0)
        np.testing.assert_array_equal(found, np.sort(counts, axis=0))
        assert experiment.config.scaling == "auto"
    lines = "\n".join(description.describe(experiment))
    assert "standardized" not in lines
    assert "outweigh" not in lines
    # what a likelihood of real numbers gets is standardized as before
    for likelihood in ({}, {"likelihood": "student_t"}):
        assert abs(prepare(path, **likelihood).dataset.train.x.mean()) < 1e-6
    with pytest.raises(DataError, match=r"^likelihood=poisson: needs counts.*: if the data are"):
        prepare(path, likelihood="poisson", scaling="unit")


def test_proportions_are_trained_on_as_they_are(tmp_path):
    x = RNG.beta(2, 5, (60, 3)).astype(np.float32)
    np.save(tmp_path / "mine.npy", x)
    experiment = prepare(tmp_path / "mine.npy", likelihood="beta", concentration="8")
    assert np.isin(experiment.dataset.test.x, x).all()
    assert experiment.model.likelihood == likelihoods.Beta(8.0)


def test_settings_of_a_likelihood_are_flags_of_their_own():
    asked = {"likelihood": "nb", "dispersion": "0.50", "size_factor": "total"}
    made = config.from_flags(asked)
    assert dict(made.hyperparameters)["dispersion"] == "0.5"
    assert settings.likelihood_settings(made) == {"dispersion": 0.5, "size_factor": "total"}
    flags = config.to_flags(made)
    assert {"--likelihood=negative_binomial", "--dispersion=0.5", "--size_factor=total"} <= {*flags}
    plain = config.from_flags({"likelihood": "gaussian"})
    assert settings.likelihood_settings(plain) == {}
    assert plain.hyperparameters == config.from_flags({}).hyperparameters
    for wrong, message in (
        ({"likelihood": "poisson", "dispersion": "1"}, "likelihood=poisson has none: give likel"),
        ({"dispersion": "1"}, "dispersion=1: no likelihood is given: give likelihood=negative"),
        ({"likelihood": "nb", "dispersion": "-1"}, "must be a finite number > 0 .* or one of lea"),
        ({"likelihood": "nb", "size_factor": "all"}, "choose from none, total"),
    ):
        with pytest.raises(UsageError, match=message):
            config.from_flags(wrong)
