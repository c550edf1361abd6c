"""scikit-learn estimators: its own checks, signs, units, what is shared, pipelines and searches."""

import pickle
from typing import NamedTuple

import jax
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import Ridge
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import vae_jax
from vae_jax import reuse, uses
from vae_jax import sklearn as estimators
from vae_jax.errors import UsageError
from vae_jax.sklearn import (
    VAE,
    AnomalyDetector,
    Autoencoder,
    Clusterer,
    Denoiser,
    Imputer,
    _estimator,
)

SMALL = {"latent_dim": 1, "widths": (2,), "epochs": 1}
TRAINED = {"VAE": [(20, 3), (30, 3)]}
"""What checks of the default run train: their most common shapes, which the tests below share."""
X = np.random.default_rng(0).normal(size=(30, 3)) * [1, 10, 0.1] + [0, 5, 1]

# --- Checks of scikit-learn

OWN = {"Clusterer": {"n_clusters": 2, "epochs": 200, "learning_rate": 0.02}}
"""One step finds no clusters, which a check asks for."""
ALL = [cls(**{**SMALL, **OWN.get(name, {})}) for name, cls in estimators.classes().items()]


class Linear(NamedTuple):
    """Stands in for the parameters of a model: L principal axes [L, D], and centers [K, D]."""

    axes: np.ndarray
    centers: np.ndarray


def linear(objective, model, x, **settings):
    """Stands in for `vae_jax.fit` where a shape would need a program of its own."""
    assert np.isfinite(x).all() or model.likelihood.has_missing
    x = np.nan_to_num(x.astype(np.float64))
    axes = np.zeros((model.latent_dim, x.shape[1]))
    found = np.linalg.svd(x, full_matrices=False)[2][: model.latent_dim]
    axes[: len(found)] = found
    num = getattr(model.prior_family, "num_components", 1)
    centers = KMeans(num, n_init=1, random_state=settings["seed"]).fit(x).cluster_centers_
    return vae_jax.Trained(model, Linear(axes, centers))


class LinearEngine:
    """Stands in for `uses.Engine` with `Linear` parameters: the same results by name and shape."""

    def __init__(self, use, model, params, seed):
        use.check(model)
        self.use, self.params = use, params

    def __call__(self, rows, places=0):
        axes, centers = self.params
        x = np.nan_to_num(rows.astype(np.float64))
        if isinstance(self.use, _estimator.Decode):
            return {uses.CELLS: np.einsum("nl,ld->nd", x, axes)}
        z = np.einsum("nd,ld->nl", x, axes)
        cells = np.einsum("nl,ld->nd", z, axes)
        far = np.square(x[:, None] - centers).sum(axis=2)
        shares = np.exp(far.min(axis=1, keepdims=True) - far)
        return {
            "z": z,
            uses.CELLS: cells,
            "score": np.square(x - cells).sum(axis=1),
            "cluster": shares / shares.sum(axis=1, keepdims=True),
        }


@parametrize_with_checks(ALL)
@pytest.mark.filterwarnings("ignore")
def test_checks_by_default(estimator, check, monkeypatch):
    """Every check of every estimator, none excepted.

    A VAE is trained on what most checks fit to. Elsewhere closed forms stand in for training and
    for the program of a use, which other tests are about: so the checks are those of an estimator's
    own code. The slow run has nothing in their place.
    """
    train, engine = _estimator.fitting.fit, _estimator.Engine
    shapes = TRAINED.get(type(estimator).__name__, [])

    def fit(objective, model, x, **settings):
        own = train if x.shape in shapes else linear
        return own(objective, model, x, **settings)

    def make_engine(use, model, params, seed):
        own = LinearEngine if isinstance(params, Linear) else engine
        return own(use, model, params, seed=seed)

    monkeypatch.setattr(_estimator.fitting, "fit", fit)
    monkeypatch.setattr(_estimator, "Engine", make_engine)
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(ALL)
@pytest.mark.filterwarnings("ignore")
def test_checks(estimator, check):
    check(estimator)


# --- Units


@pytest.fixture(scope="module")
def vae():
    return VAE(**SMALL, random_state=3).fit(X)


def test_an_estimator_trains_as_fit_does(vae):
    """On standardized columns, with the seed of its random state: bit for bit."""
    x = ((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32)
    sizes = {"latent_dim": 1, "widths": (2,)}
    model = vae_jax.make_model(x, likelihood="gaussian", **sizes)
    trained = vae_jax.fit("beta_vae", model, x, epochs=1, seed=3, progress=False, beta=1.0)
    own = vae.trained_
    assert own.history == trained.history
    jax.tree.map(np.testing.assert_array_equal, own.params, trained.params)
    codes = np.asarray(model.encode(trained.params, x).mode)
    np.testing.assert_allclose(vae.transform(X), codes, rtol=1e-5, atol=1e-6)
    restored = np.asarray(model.decode_mean(trained.params, codes)) * X.std(axis=0) + X.mean(axis=0)
    np.testing.assert_allclose(vae.inverse_transform(codes), restored, rtol=1e-4, atol=1e-5)


def test_units_of_the_columns_move_log_densities_by_their_logarithm(vae):
    """p(ax + b) = p(x)/|a|: codes stay, samples follow, the log-density moves by −Σ log a."""
    factor, shift = np.array([2.0, 0.5, 16.0]), np.array([1.0, -2.0, 64.0])
    moved = clone(vae).fit(X * factor + shift)
    told = vae.score_samples(X) - np.log(factor).sum()
    np.testing.assert_allclose(moved.score_samples(X * factor + shift), told, rtol=1e-4)
    codes = moved.transform(X * factor + shift)
    np.testing.assert_allclose(codes, vae.transform(X), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(moved.sample(5), vae.sample(5) * factor + shift, rtol=1e-3)


def test_scores_are_those_of_the_use(vae):
    """Minus its nats, less the units; every row sees the draws of the first."""
    rows = vae._standardized(X[:1])
    found = uses.Engine(uses.Score(by="elbo"), vae.trained_.model, vae.trained_.params, seed=3)
    told = -found(rows)["score"] - np.log(X.std(axis=0)).sum()
    np.testing.assert_allclose(vae.score_samples(np.repeat(X[:1], 3, axis=0)), told[[0] * 3])


def test_a_weight_is_a_repeated_row(vae):
    weights = np.arange(30) % 3
    repeated = np.repeat(X, weights, axis=0)
    assert vae.score(X, sample_weight=weights) == pytest.approx(vae.score(repeated))
    assert vae.score(X) == pytest.approx(vae.score_samples(X).mean())


def test_a_column_that_does_not_vary_keeps_its_units():
    mean, scale = _estimator._moments(np.array([[1.0, 0.1, np.nan], [3.0, 0.1, 2.0]]), True)
    assert (mean.tolist(), scale.tolist()) == ([2.0, 0.1, 2.0], [1.0, 1.0, 1.0])
    mean, scale = _estimator._moments(np.full((2, 1), np.nan), True)
    assert (mean.tolist(), scale.tolist()) == ([0.0], [1.0])
    assert _estimator._moments(X, False)[1].tolist() == [1.0, 1.0, 1.0]


def test_samples_follow_their_seed(vae):
    assert vae.sample(4).shape == (4, 3)
    np.testing.assert_array_equal(vae.sample(4), vae.sample(4, random_state=3))
    np.testing.assert_array_equal(vae.sample(2), vae.sample(4)[:2])
    assert np.abs(vae.sample(4, random_state=1) - vae.sample(4)).min() > 0


# --- Anomalies


def test_signs_are_those_of_scikit_learn(vae):
    """Higher is more normal, negative an outlier, −1 its label; PyOD has the opposite."""
    detector = AnomalyDetector(**SMALL, random_state=3, contamination=0.2).fit(X)
    scores = detector.score_samples(X)
    np.testing.assert_array_equal(scores, vae.score_samples(X))
    far = X.mean(axis=0) + 20 * X.std(axis=0)
    assert detector.score_samples(far[None])[0] < scores.min()
    decisions = detector.decision_function(X)
    np.testing.assert_allclose(decisions, scores - detector.offset_)
    np.testing.assert_array_equal(detector.predict(X), np.where(decisions < 0, -1, 1))
    assert (detector.predict(X) == -1).sum() == 0.2 * len(X)
    assert detector.predict(far[None]).tolist() == [-1]
    outlier_of_pyod = -detector.score_samples(np.stack([far, X.mean(axis=0)]))
    assert outlier_of_pyod[0] > outlier_of_pyod[1]


@pytest.mark.parametrize("contamination", [0, -0.1, 0.51, 2])
def test_contamination_is_a_share(contamination):
    with pytest.raises(UsageError, match=r"contamination=\S+: give a share in \(0, 0.5\]"):
        AnomalyDetector(contamination=contamination).fit(X)


@pytest.fixture
def untrained(monkeypatch):
    """`fit` returns initial parameters; the list has the rows and settings it was given."""
    given = []

    def initial(objective, model, x, **settings):
        given.append({"x": x, **settings})
        return vae_jax.Trained(model, model.init(jax.random.key(settings["seed"])))

    monkeypatch.setattr(_estimator.fitting, "fit", initial)
    return given


class Moved(AnomalyDetector):
    """A detector whose parts of the score are a · part + b, [N, 2]."""

    moves = np.ones(2), np.zeros(2)

    def _parts_of(self, X):
        factor, shift = self.moves
        return super()._parts_of(X) * factor + shift


def test_the_calibrated_sum_does_not_depend_on_scales(untrained):
    """Of neither part, nor on its zero; and held-out rows have the mean 0."""
    detector = AnomalyDetector(**SMALL, random_state=3, by="calibrated").fit(X)
    moved = Moved(**SMALL, random_state=3, by="calibrated")
    moved.moves = np.array([1e-3, 50.0]), np.array([7.0, -2.0])
    moved.fit(X)
    np.testing.assert_allclose(moved.score_samples(X), detector.score_samples(X), rtol=1e-5)
    assert detector.score_samples(X[detector.is_held_out_]).mean() == pytest.approx(0, abs=1e-6)
    mean, deviation = detector.calibration_
    np.testing.assert_allclose(moved.calibration_[0], mean * moved.moves[0] + moved.moves[1])
    np.testing.assert_allclose(moved.calibration_[1], deviation * moved.moves[0])


def test_with_equal_deviations_the_calibrated_sum_ranks_as_the_elbo(untrained):
    detector = AnomalyDetector(**SMALL, random_state=3, by="calibrated").fit(X)
    detector.calibration_ = detector.calibration_[0], np.full(2, 2.0)
    calibrated = detector.score_samples(X)
    elbo = detector.set_params(by="elbo").score_samples(X)
    np.testing.assert_array_equal(np.argsort(calibrated), np.argsort(elbo))
    slope = np.polyfit(elbo, calibrated, 1)[0]
    assert slope == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "num"),
    [
        ({}, 0),
        ({"patience": 2}, 3),
        ({"by": "calibrated"}, 3),
        ({"patience": 1, "validation_fraction": 0.5}, 15),
        ({"patience": 1, "validation_fraction": 0.001}, 1),
        ({"patience": 1, "validation_fraction": 0.999}, 29),
    ],
)
def test_rows_are_held_out_if_they_are_needed(untrained, settings, num):
    detector = AnomalyDetector(**SMALL, random_state=3, **settings).fit(X)
    (given,) = untrained
    is_held_out, x = detector.is_held_out_, detector._standardized(X)
    assert is_held_out.sum() == num
    np.testing.assert_array_equal(given["x"], x[~is_held_out])
    assert given["patience"] == settings.get("patience")
    if num:
        np.testing.assert_array_equal(given["valid"], x[is_held_out])
    else:
        assert given["valid"] is None
        with pytest.raises(UsageError, match="give by='calibrated' and fit"):
            detector.set_params(by="calibrated").score_samples(X)


@pytest.mark.parametrize("share", [0, 1, -0.5, 7])
def test_the_share_that_is_held_out_leaves_rows(share):
    detector = AnomalyDetector(by="calibrated", validation_fraction=share)
    with pytest.raises(UsageError, match=r"validation_fraction=\S+: give a share in \(0, 1\)"):
        detector.fit(X)
    with pytest.raises(ValueError, match="n_samples=1 should be >= 2"):
        detector.set_params(validation_fraction=0.5).fit(X[:1])


def test_each_column_may_have_a_variance(untrained):
    detector = AnomalyDetector(**SMALL, variance="learned_per_dimension").fit(X)
    assert detector.trained_.params["likelihood"]["logvar"].shape == (3,)
    with pytest.raises(UsageError, match="bernoulli likelihood has no variance"):
        VAE(likelihood="bernoulli", variance=0.5).fit(X)


# --- In scikit-learn


def test_a_grid_search_compiles_once(vae):
    """Twenty fits that differ in β and the seed are one program, and its chunk is traced once."""
    grid = {"beta": [0.5, 1.0, 2.0, 4.0, 8.0], "random_state": [0, 1]}
    before = reuse.program_of.cache_info().misses
    settings = {**SMALL, "epochs": 5}
    folds = [(np.arange(20), np.arange(20, 30)), (np.arange(10, 30), np.arange(10))]
    search = GridSearchCV(VAE(**settings), grid, cv=folds).fit(X)
    assert reuse.program_of.cache_info().misses - before <= 1  # of 20 rows; 30 are known
    assert search.best_estimator_.trained_.program is None
    rows = search.cv_results_["mean_test_score"]
    assert np.isfinite(rows).all()
    assert len(set(rows)) == 10
    best = VAE(**settings, **search.best_params_).fit(X)
    assert search.score(X) == best.score(X)


def test_pipelines_columns_and_pickles(vae):
    columns = ColumnTransformer([("codes", clone(vae), [0, 1, 2]), ("rest", "passthrough", [0])])
    piped = make_pipeline(columns, Ridge()).fit(X, X[:, 1])
    assert columns.fit_transform(X).shape == (30, 2)
    assert columns.get_feature_names_out().tolist() == ["codes__vae0", "rest__x0"]
    again = pickle.loads(pickle.dumps(piped))
    np.testing.assert_array_equal(again.predict(X), piped.predict(X))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(vae)).transform(X), vae.transform(X))


def test_names_of_columns(vae):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X, columns=["a", "b", "c"], index=range(5, 35))
    own = clone(vae).set_output(transform="pandas").fit(table)
    assert own.feature_names_in_.tolist() == ["a", "b", "c"]
    codes = own.transform(table)
    assert (codes.columns.tolist(), codes.index.tolist()) == (["vae0"], [*range(5, 35)])
    np.testing.assert_array_equal(codes.to_numpy(), vae.transform(X))
    with pytest.raises(ValueError, match="feature names"):
        own.transform(table[["b", "a", "c"]])


@pytest.mark.parametrize("standardize", ["yes", None, 2])
def test_standardize_is_a_word_or_a_truth(standardize):
    with pytest.raises(UsageError, match=r"standardize=.*: give True, False or 'auto'"):
        VAE(standardize=standardize).fit(X)


def test_counts_are_not_standardized():
    with pytest.raises(UsageError, match=r"standardize=True: .*: give standardize='auto'"):
        VAE(likelihood="bernoulli", standardize=True).fit(X)


# --- Other estimators


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_observed_cells_stay(dtype, monkeypatch):
    """Bit for bit, in their dtype; equal rows are filled in alike, or with draws of their own."""

    def initial(objective, model, x, **settings):
        return vae_jax.Trained(model, model.init(jax.random.key(settings["seed"])))

    monkeypatch.setattr(_estimator.fitting, "fit", initial)
    holes = np.array([[0.1, np.nan, 3]] * 4 + [[2, 20.3, np.nan], [4, 30.1, 5]], dtype)
    settings = {"latent_dim": 1, "widths": (2,), "num_samples": 3, "random_state": 0}
    filled = Imputer(**settings).fit(holes).transform(holes)
    drawn = Imputer(**settings, sample_posterior=True).fit(holes).transform(holes)
    is_missing = np.isnan(holes)
    for found in (filled, drawn):
        assert found.dtype == dtype
        np.testing.assert_array_equal(found[~is_missing], holes[~is_missing])
        assert np.isfinite(found).all()
    assert len(set(filled[:4, 1])) == 1
    assert len(set(drawn[:4, 1])) == 4
    # initial parameters stay within a few deviations of 4.9 around the mean, 25.2
    assert np.abs(filled[0, 1] - 25.2) < 5 * 4.9


@pytest.mark.slow
def test_cells_that_are_missing_are_filled_in():
    """Others stay, bit for bit; where columns agree, what is missing is what the others say."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 1))
    rows = z * [1, -10, 0.1] + 0.05 * rng.normal(size=(300, 3)) * [1, 10, 0.1] + [0, 5, 1]
    holes = rows.copy()
    holes[np.arange(300), rng.integers(0, 3, 300)] = np.nan
    settings = {"latent_dim": 1, "widths": (16,), "epochs": 300, "learning_rate": 0.01}
    imputer = Imputer(**settings, random_state=0).fit(holes)
    filled, is_missing = imputer.transform(holes), np.isnan(holes)
    np.testing.assert_array_equal(filled[~is_missing], holes[~is_missing])
    errors = ((filled - rows) / rows.std(axis=0))[is_missing]
    assert np.sqrt(np.mean(errors**2)) < 0.3  # the mean of each column has 1
    single = imputer.transform(holes[:1])
    np.testing.assert_allclose(single, filled[:1], rtol=1e-6)
    drawn = Imputer(**settings, random_state=0, sample_posterior=True).fit(holes).transform(holes)
    assert np.abs(drawn - filled)[is_missing].min() > 0
    np.testing.assert_array_equal(imputer.transform(rows), rows)


@pytest.mark.slow
def test_noise_is_taken_away():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 1)) * np.ones(8)
    settings = {"latent_dim": 1, "widths": (), "epochs": 200, "learning_rate": 0.01}
    denoiser = Denoiser(**settings, level=0.5, random_state=0).fit(rows)
    noisy = rows + 0.5 * rng.normal(size=rows.shape)
    restored = denoiser.transform(noisy)
    # the best restoration, the mean over columns, leaves an eighth of the variance
    assert np.mean((restored - rows) ** 2) < 0.3 * np.mean((noisy - rows) ** 2)
    assert denoiser.get_feature_names_out().tolist() == [f"x{i}" for i in range(8)]


@pytest.mark.slow
def test_clusters_are_found():
    rng = np.random.default_rng(0)
    truth = np.arange(300) % 3
    rows = np.eye(3)[truth] @ rng.normal(size=(3, 4)) * 5 + 0.3 * rng.normal(size=(300, 4))
    clusterer = Clusterer(n_clusters=3, latent_dim=2, widths=(16,), epochs=200, random_state=0)
    labels = clusterer.fit_predict(rows)
    assert adjusted_rand_score(truth, labels) > 0.9
    chances = clusterer.predict_proba(rows)
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(chances.argmax(axis=1), clusterer.predict(rows))


@pytest.mark.slow
def test_a_linear_autoencoder_has_the_error_of_pca():
    """Baldi & Hornik 1989: its best subspace is that of the principal components."""
    from sklearn.decomposition import PCA

    rows = np.random.default_rng(0).normal(size=(200, 4)) @ np.diag([4, 2, 1, 0.5])
    mixed = rows @ np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
    own = Autoencoder(
        latent_dim=2, widths=(), epochs=1000, learning_rate=0.01, standardize=False, random_state=0
    ).fit(mixed)
    pca = PCA(2).fit(mixed)
    restored = own.inverse_transform(own.transform(mixed))
    theirs = pca.inverse_transform(pca.transform(mixed))
    assert np.mean((restored - mixed) ** 2) < 1.05 * np.mean((theirs - mixed) ** 2)


@pytest.mark.slow
def test_a_grid_search_in_processes():
    search = GridSearchCV(VAE(**SMALL, random_state=0), {"beta": [1.0, 4.0]}, cv=3, n_jobs=2)
    alone = GridSearchCV(VAE(**SMALL, random_state=0), {"beta": [1.0, 4.0]}, cv=3)
    np.testing.assert_array_equal(
        search.fit(X).cv_results_["mean_test_score"], alone.fit(X).cv_results_["mean_test_score"]
    )
