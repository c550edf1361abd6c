"""The summary of all metrics, their discovery, and what all of them refuse."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from factor_tables import grid, noise, perfect, shuffled

from vae_jax.errors import DataError, UsageError
from vae_jax.evaluation import _shared, disentanglement
from vae_jax.evaluation.disentanglement import _common, dci, irs

KEY = jax.random.key(3)
ALL = ["beta_vae", "dci", "explicitness", "factor_vae", "irs", "mig", "modularity", "sap"]
QUICK = {
    "dci": {"num_trees": 3},
    "beta_vae": {"num_train": 200, "num_test": 100},
    "factor_vae": {"num_train": 200, "num_test": 100},
}


def example():
    factors = shuffled(np.concatenate([grid((2, 3), 100), np.full((600, 1), 4)], axis=1))
    codes = np.concatenate([perfect(factors[:, :2])[0], 0.03 * noise(600, 1)], axis=1)
    return codes, factors


@pytest.mark.slow
def test_all_metrics_in_one_table():
    codes, factors = example()
    table = disentanglement.evaluate(codes, factors, key=KEY, settings=QUICK)
    assert disentanglement.names() == ALL
    assert table.keys() == disentanglement.definitions().keys()
    assert json.loads(json.dumps(table)) == table
    for name, row in table.items():
        assert type(row["value"]) is float
        assert 0 <= row["value"] <= 1
        assert row["standard_error"] is None or 0 <= row["standard_error"] < 0.1
        assert row["counts"]["num_factors"] == 2
        assert "\n" not in row["definition"]
        assert row["metric"] in ALL
        # a perfect code, one factor that does not vary, one dimension of little noise
        assert row["value"] > 0.7 or name == "sap"
    # all above chance: the mean of 1 − 1/2 and 1 − 1/3
    assert table["sap"]["value"] == pytest.approx(7 / 12, abs=0.05)
    without = {name for name, row in table.items() if row["standard_error"] is None}
    assert all(name.endswith(("disentanglement", "completeness")) for name in without)


@pytest.mark.parametrize(("predictors", "repeats"), [(["trees"], 6), (["lasso", "logistic"], 50)])
def test_dci_of_a_perfect_code_is_exactly_one(predictors, repeats):
    """Also where a difference of impurities that is 0 rounds below it, as some of these do."""
    for seed in range(20):
        factors = shuffled(grid((2, 3, 4), repeats), seed)
        num_train = len(factors) * 7 // 10
        result = dci.evaluate(
            perfect(factors, seed)[0],
            factors,
            jax.random.key(seed),
            num_train=num_train,
            num_test=len(factors) - num_train,
            predictors=predictors,
            num_trees=3,
            num_bootstrap=0,
        )
        scores = {name: v for name, v in result.scores.items() if "informativeness" not in name}
        assert scores == dict.fromkeys(scores, 1.0)
        assert len(scores) == 2 * len(predictors)


def test_an_importance_that_rounds_below_zero_counts_as_zero():
    for size in (1, 2, 5, 14, 41):
        diagonal = np.diag(np.linspace(0.3, 1.0, size))
        rounded = diagonal - 4e-19 * (diagonal == 0)
        for score in (dci.disentanglement, dci.completeness):
            assert score(rounded)[0] == 1
            assert score(np.float32(rounded))[0] == 1
            np.testing.assert_array_equal(score(rounded)[1], score(diagonal)[1])
            assert score(-np.ones((size, 3)))[0] == 0


def test_irs_is_said_to_be_below_the_figures_of_others():
    """These divide by the maximum over all data: of noise a third is left, of ours nothing."""
    codes, factors = noise(4000, 3), np.random.default_rng(1).integers(0, 3, (4000, 2))
    ours = irs.evaluate(codes, factors, KEY, num_bootstrap=0).scores["irs"]
    most = np.abs(codes - codes.mean(axis=0)).max(axis=0)
    matrix = np.empty((3, 2))
    for f, column in enumerate(factors.T):
        groups = [codes[column == value] for value in range(3)]
        each = [np.quantile(np.abs(g - g.mean(axis=0)), 0.99, axis=0) for g in groups]
        matrix[:, f] = 1 - np.mean(each, axis=0) / most
    theirs = np.sum(most * matrix.max(axis=1)) / most.sum()
    assert abs(ours) < 0.05
    assert 0.25 < theirs < 0.4
    (text,) = irs.DEFINITIONS.values()
    assert "99 % quantiles both" in text
    assert "Figures of disentanglement_lib, over the maximum, are higher" in text


def test_a_score_follows_from_the_key_and_not_from_the_other_metrics():
    codes, factors = example()
    settings = {"mig": {"num_points": 300, "num_bootstrap": 0}}

    def run(key=KEY, metrics=("mig",)):
        table = disentanglement.evaluate(
            codes, factors, key=key, metrics=metrics, settings=settings
        )
        return table["mig"]["value"]

    assert run() == run()
    assert run() == run(metrics=("explicitness", "mig"))
    assert run() != run(key=jax.random.key(4))


def test_a_metric_is_one_file(tmp_path, monkeypatch):
    source = """
from vae_jax.evaluation.disentanglement import Result
DEFINITIONS = {"mine": "how many examples there are"}
def evaluate(codes, factors, key, *, factor=1.0):
    return Result({"mine": factor * len(codes)}, {}, {"num_points": len(codes)}, {})
"""
    (tmp_path / "mine.py").write_text(source)
    monkeypatch.setattr(disentanglement, "__path__", [*disentanglement.__path__, str(tmp_path)])
    assert "mine" in disentanglement.names()
    codes, factors = example()
    table = disentanglement.evaluate(
        codes, factors, key=KEY, metrics=["mine"], settings={"mine": {"factor": 2.0}}
    )
    assert table == {
        "mine": {
            "value": 1200.0,
            "standard_error": None,
            "definition": "how many examples there are",
            "metric": "mine",
            "counts": {"num_points": 600},
        }
    }


@pytest.mark.parametrize("name", ALL)
def test_every_metric_refuses_what_is_no_table(name):
    module = disentanglement.load(name)
    codes, factors = example()
    codes, factors = codes[:60], factors[:60]
    bad = np.array(codes)
    bad[7, 2] = np.nan
    bad[9, 0] = np.inf
    with pytest.raises(DataError, match=r"codes\[7, 2\]=nan, and 2 of 60 rows") as failure:
        module.evaluate(bad, factors, KEY)
    assert "\n" not in str(failure.value)
    with pytest.raises(DataError, match="two values or more"):
        module.evaluate(codes, np.ones_like(factors), KEY)
    with pytest.raises(UsageError, match="one row for each of the 60 rows"):
        module.evaluate(codes, factors[1:], KEY)
    with pytest.raises(UsageError, match="must be integers"):
        module.evaluate(codes, factors / 2, KEY)
    with pytest.raises(DataError, match="at least 2 rows"):
        module.evaluate(codes[:, :0], factors, KEY)
    with pytest.raises(UsageError, match="=0: must be at least 1"):
        module.evaluate(codes, factors, KEY, **{first_count(module): 0})
    with pytest.raises(AssertionError):
        module.evaluate(codes[:, 0], factors, KEY)


def first_count(module):
    return next(n for n in module.evaluate.__kwdefaults__ if n.startswith("num_"))


def test_unknown_metrics_are_refused():
    codes, factors = example()
    with pytest.raises(UsageError, match=r"metric 'mgi' is unknown .did you mean mig"):
        disentanglement.evaluate(codes, factors, key=KEY, metrics=["mgi"])
    with pytest.raises(UsageError, match="settings of 'sap': it is not among the metrics mig"):
        disentanglement.evaluate(codes, factors, key=KEY, metrics=["mig"], settings={"sap": {}})


def test_parts_have_no_row_in_common():
    train, test = _common.split_rows(KEY, 100, 50, 30)
    assert (len(train), len(test)) == (50, 30)
    assert not set(train) & set(test)
    # too few: all of them, in the same proportion
    train, test = _common.split_rows(KEY, 90, 10_000, 5_000)
    assert (len(train), len(test)) == (60, 30)
    assert sorted([*train, *test]) == list(range(90))
    with pytest.raises(DataError, match="too few for 2 parts"):
        _common.split_rows(KEY, 2, 1, 9)


def test_standardized_codes():
    codes = noise(50, 3) * [1, 1e4, 1] + [0, 1e6, 5]
    codes[:, 2] = 0.1
    train, test = _common.standardize(codes[:30], codes[30:])
    np.testing.assert_allclose(train.std(axis=0), [1, 1, 0], atol=1e-9)
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-9)
    expected = (codes[30:, 1] - codes[:30, 1].mean()) / codes[:30, 1].std()
    np.testing.assert_allclose(test[:, 1], expected, rtol=1e-9)
    np.testing.assert_array_equal(test[:, 2], 0)


def mean(rows, values):
    return values[rows].mean()


def test_the_bootstrap_of_a_mean_is_its_standard_error():
    values = np.float32(noise(400, 1)[:, 0])
    got = _shared.bootstrap(KEY, 400, 1000, mean, values)
    assert float(got) == pytest.approx(values.std() / 20, rel=0.08)
    assert _shared.bootstrap(KEY, 400, 1, mean, values) is None


def test_the_metrics_need_neither_flax_nor_our_model_nor_early_scikit_learn():
    program = (
        "import sys; from vae_jax.evaluation import disentanglement, udr; "
        "disentanglement.definitions(); "
        "loaded = {'flax', 'optax', 'orbax', 'sklearn', 'vae_jax.model'} & set(sys.modules); "
        "sys.exit(', '.join(sorted(loaded)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
