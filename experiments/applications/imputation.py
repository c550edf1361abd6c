"""Missing cells, filled in: models beside means, neighbors and iterated regressions.

Cells are hidden before anything is scaled; every method sees the same holes, none a hidden value.
Columns are standardized by their observed cells. The models have one setting for all tables, chosen
by the bound on the observed cells. The protocols are those of MIWAE (Mattei & Frellsen 2019, arXiv
1812.02633), GAIN (Yoon et al. 2018, arXiv 1806.02920), HI-VAE (Nazábal et al. 2020, arXiv
1807.03653) and not-MIWAE (Ipsen et al. 2021, arXiv 2006.12871).
"""

import functools
import os
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.ensemble import RandomForestRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 (defines IterativeImputer)
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

import vae_jax
from experiments.applications import Measure, Trial
from vae_jax import data, sklearn
from vae_jax.errors import DataError

PROTOCOLS = {
    "miwae": "half of the cells at random; mean squared error of standardized columns",
    "gain": "20 % of the cells at random; root mean squared error of columns scaled to [0, 1]",
    "hivae": "the paper's own masks of 10 to 50 % of mixed columns; root mean squared error of "
    "numeric columns over their range, mean over columns; and wrong categories",
    "held_out": "20 % of the cells of normal rows; fit to other normal rows, which are complete; "
    "root mean squared error of standardized columns",
    "self_masking": "cells of the first half of the columns that are above their mean; root mean "
    "squared error of standardized columns",
}
SEEDS = 3
MEASURES = (
    Measure("error", "of hidden numbers, as the protocol says", higher_is_better=False),
    Measure("wrong", "share of hidden categories that are wrong", higher_is_better=False),
)
OURS = ("VAE", "MIWAE", "not-MIWAE")
_TASKS = {
    "miwae": ["iris", "wine", "breast_cancer", "red_wine", "concrete"],
    "gain": ["letter", "spam"],
    "hivae": ["wine_10", "wine_20", "wine_30", "wine_40", "wine_50"],
    "held_out": ["cardio", "thyroid", "satellite"],
    "self_masking": ["wine", "breast_cancer", "red_wine", "concrete"],
}
_SCIKIT = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast_cancer": datasets.load_breast_cancer,
}
_FILES = {
    "red_wine": "imputation/wine-quality-red.txt",
    "concrete": "imputation/concrete.txt",
    "letter": "imputation/gain_letter.csv",
    "spam": "imputation/gain_spam.csv",
    "cardio": "adbench/6_cardio.npz",
    "thyroid": "adbench/38_thyroid.npz",
    "satellite": "adbench/30_satellite.npz",
}
_HAVE_TARGET = ("red_wine", "concrete")
_HIVAE = "imputation/hivae_wine"
_KINDS = {"pos": "positive", "count": "count", "cat": "categorical"}
_MODEL: dict[str, Any] = {"latent_dim": 10, "widths": (128, 128), "activation": "tanh"}
_LEARNING_RATE, _BATCH_SIZE = "cosine(2e-3, 0, 100%)", 100
_STEPS, _NUM_SAMPLES, _NUM_WEIGHTED = 3_000, 20, 200
_NEIGHBOR_ROWS, _FOREST_CELLS = 5_000, 20_000


class _Holes(NamedTuple):
    """Rows with hidden cells.

    Attributes:
        fitted: rows to fit to, NaN where hidden, [N, D].
        filled: rows whose hidden cells are filled in, [M, D].
        truth: the same, complete.
        unit: what an error of each column is divided by, [D].
    """

    fitted: np.ndarray
    filled: np.ndarray
    truth: np.ndarray
    unit: np.ndarray


def tasks(protocol: str, data_dir: str | None) -> list[str]:
    """The tables of a protocol; of HI-VAE the shares that are missing."""
    return _TASKS[protocol]


def methods(trial: Trial) -> dict:
    """Each method's measures."""
    if trial.protocol == "hivae":
        return _methods_of_columns(trial)
    holes = _holes(trial)
    fill = _baselines(holes.fitted.shape, trial.seed) | _models(trial, len(holes.fitted))
    return {
        name: functools.partial(_measured, method, holes, trial.protocol)
        for name, method in fill.items()
    }


# --- Holes


def _holes(trial: Trial) -> _Holes:
    """The rows of a trial with hidden cells, by its protocol and seed."""
    generator = np.random.default_rng(trial.seed)
    if trial.protocol == "held_out":
        return _held_out(trial, generator)
    truth = _rows(trial)
    if trial.protocol == "self_masking":
        truth = truth[generator.permutation(len(truth))]
        is_hidden = truth > truth.mean(axis=0)
        is_hidden[:, truth.shape[1] // 2 :] = False
    else:
        share = {"miwae": 0.5, "gain": 0.2}[trial.protocol]
        is_hidden = _at_random(truth.shape, share, generator)
    spread = np.ptp if trial.protocol == "gain" else np.std
    rows = np.where(is_hidden, np.nan, truth)
    return _Holes(rows, rows, truth, spread(truth, axis=0))


def _held_out(trial: Trial, generator: np.random.Generator) -> _Holes:
    """Half of the normal rows to fit to, and holes in the others."""
    path = _path(trial, _FILES[trial.task])
    with np.load(path, allow_pickle=False) as held:
        rows = held["X"][held["y"] == 0].astype(np.float64)
    rows = rows[generator.permutation(len(rows))]
    fitted, truth = np.array_split(rows, 2)
    varies = fitted.std(axis=0) > 0
    fitted, truth = fitted[:, varies], truth[:, varies]
    is_hidden = _at_random(truth.shape, 0.2, generator)
    return _Holes(fitted, np.where(is_hidden, np.nan, truth), truth, fitted.std(axis=0))


def _at_random(shape: tuple[int, ...], share: float, generator: np.random.Generator) -> np.ndarray:
    """Exactly ⌊share · cells⌋ of the cells, booleans of a shape."""
    num = int(share * np.prod(shape))
    return (generator.permutation(int(np.prod(shape))) < num).reshape(shape)


def _rows(trial: Trial) -> np.ndarray:
    """The table of a trial, complete, [N, D]."""
    if trial.task in _SCIKIT:
        return _SCIKIT[trial.task]().data
    path = _path(trial, _FILES[trial.task])
    is_csv = path.suffix == ".csv"
    rows = np.loadtxt(path, delimiter="," if is_csv else None, skiprows=int(is_csv))
    return rows[:, :-1] if trial.task in _HAVE_TARGET else rows


def _path(trial: Trial, name: str) -> pathlib.Path:
    folder = trial.data_dir or os.environ.get("VAE_JAX_DATA_DIR")
    path = pathlib.Path(folder or ".") / name
    if not path.exists():
        raise DataError(f"{path}: is not there: name the folder that holds it with `data_dir`")
    return path


# --- Methods for arrays


def _baselines(shape: tuple[int, ...], seed: int) -> dict[str, Any]:
    """The imputers of scikit-learn for N rows of D standardized columns, bounded in time."""
    most = _FOREST_CELLS / max(shape[0], 1)
    forest = RandomForestRegressor(
        n_estimators=30 if most > 5 else 10, max_samples=min(1.0, most), random_state=seed
    )
    return {
        "mean": SimpleImputer(),
        "kNN": KNNImputer(),
        "ridge": IterativeImputer(max_iter=20, random_state=seed),
        "forest": IterativeImputer(
            forest, max_iter=5 if most > 5 else 2, tol=0.01, random_state=seed
        ),
    }


def _models(trial: Trial, num_rows: int) -> dict[str, Any]:
    """Our imputers, of one setting."""
    settings = {
        **_MODEL,
        "variance": "learned_per_dimension",
        "likelihood": "student_t",
        "epochs": _epochs(num_rows),
        "batch_size": _BATCH_SIZE,
        "learning_rate": _LEARNING_RATE,
        "num_samples": _NUM_WEIGHTED,
        "random_state": trial.seed,
    }
    several = {"num_samples": _NUM_SAMPLES}
    models = {
        "VAE": sklearn.Imputer(**settings),
        "MIWAE": sklearn.Imputer(objective="missing_iwae", hyperparameters=several, **settings),
    }
    if trial.protocol == "self_masking":
        several = {**several, "mechanism": "self_masking_known"}
        models["not-MIWAE"] = sklearn.Imputer(
            objective="not_miwae", hyperparameters=several, **settings
        )
    return models


def _epochs(num_rows: int) -> int:
    """Epochs of about `_STEPS` steps."""
    return max(1, _STEPS // -(-num_rows // min(_BATCH_SIZE, num_rows)))


def _measured(method: Any, holes: _Holes, protocol: str) -> dict[str, float]:
    """The error of an imputer; it sees columns standardized by the cells that are observed."""
    mean, scale = np.nanmean(holes.fitted, axis=0), np.nanstd(holes.fitted, axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    fitted, filled = ((rows - mean) / scale for rows in (holes.fitted, holes.filled))
    if isinstance(method, KNNImputer):  # its time grows with the product of the rows
        fitted = fitted[:_NEIGHBOR_ROWS]
    found = method.fit(fitted).transform(filled) * scale + mean
    errors = ((found - holes.truth) / holes.unit)[np.isnan(holes.filled)]
    error = np.mean(np.square(errors))
    return {"error": error if protocol == "miwae" else np.sqrt(error)}


# --- Methods for columns of several kinds


class _Table(NamedTuple):
    """A table with hidden cells.

    Attributes:
        truth: complete; categories are numbers, too.
        is_hidden: booleans [N, C].
        kinds: column → its kind.
    """

    truth: pd.DataFrame
    is_hidden: np.ndarray
    kinds: dict[str, str]


def _methods_of_columns(trial: Trial) -> dict:
    """The same methods, for a table of numbers, counts and categories."""
    table = _table(trial)
    fill: dict[str, Callable] = {
        name: functools.partial(_filled_by_baseline, method)
        for name, method in _baselines(table.is_hidden.shape, trial.seed).items()
    }
    for name, objective, settings in (
        ("VAE", "beta_vae", {}),
        ("MIWAE", "missing_iwae", {"num_samples": _NUM_SAMPLES}),
    ):
        fill[name] = functools.partial(
            _filled_by_model, objective, {**settings, "seed": trial.seed}, table.kinds
        )
    return {
        name: functools.partial(_measured_columns, method, table) for name, method in fill.items()
    }


def _table(trial: Trial) -> _Table:
    """The table of HI-VAE with the mask of a share and a seed."""
    folder = _path(trial, _HIVAE)
    types = pd.read_csv(folder / "data_types.csv")["type"]
    truth = pd.read_csv(folder / "data.csv", header=None)
    truth.columns = [f"column_{index}" for index in range(truth.shape[1])]
    share = trial.task.rpartition("_")[2]
    places = np.loadtxt(
        _path(trial, f"{_HIVAE}/Missing{share}_{trial.seed + 1}.csv"), delimiter=",", dtype=int
    )
    is_hidden = np.zeros(truth.shape, bool)
    is_hidden[tuple(places.T - 1)] = True  # they count from 1
    kinds = {name: _KINDS[kind] for name, kind in zip(truth.columns, types, strict=True)}
    return _Table(truth, is_hidden, kinds)


def _filled_by_baseline(method: Any, holes: pd.DataFrame) -> pd.DataFrame:
    """The cells of an imputer; columns are standardized, categories are numbers among others."""
    mean, scale = holes.mean(), holes.std()
    rows = ((holes - mean) / scale).to_numpy()
    fitted = rows[:_NEIGHBOR_ROWS] if isinstance(method, KNNImputer) else rows
    found = method.fit(fitted).transform(rows)
    return pd.DataFrame(found, columns=holes.columns) * scale + mean


def _filled_by_model(
    objective: str, settings: dict[str, Any], kinds: dict[str, str], holes: pd.DataFrame
) -> pd.DataFrame:
    """The cells of a model whose columns have the likelihoods of their kinds; all rows train it."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "holes.csv"
        holes.to_csv(path, index=False)
        dataset = data.load(path, test_data=path, num_valid=0, kinds=kinds)
    trained = vae_jax.fit(
        objective,
        vae_jax.make_model(dataset, objective=objective, **_MODEL),
        dataset,
        epochs=_epochs(len(holes)),
        batch_size=_BATCH_SIZE,
        learning_rate=_LEARNING_RATE,
        progress=False,
        **settings,
    )
    return trained.impute(holes, num_samples=_NUM_WEIGHTED).astype(float)


def _measured_columns(fill: Callable, table: _Table) -> dict[str, float]:
    """HI-VAE's errors: of numbers by the range of their column, of categories as wrong ones."""
    found = fill(table.truth.mask(table.is_hidden))
    of_numbers, of_categories = [], []
    for index, (name, kind) in enumerate(table.kinds.items()):
        truth, own = table.truth[name], table.is_hidden[:, index]
        errors = (found[name] - truth)[own]
        if kind == "categorical":
            levels = np.unique(truth)
            nearest = levels[np.abs(found[name][own].to_numpy()[:, None] - levels).argmin(axis=1)]
            of_categories.append(np.mean(nearest != truth[own]))
        else:
            of_numbers.append(np.sqrt(np.mean(np.square(errors))) / np.ptp(truth))
    return {"error": np.mean(of_numbers), "wrong": np.mean(of_categories)}
