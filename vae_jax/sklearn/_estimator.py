"""What all estimators share: their parameters, validation, standardizing, training, engines."""

import dataclasses
import numbers
from typing import Any, ClassVar

import jax
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from vae_jax import assembly, fitting, likelihoods, objectives, training, uses
from vae_jax.errors import UsageError, shown
from vae_jax.uses import CELLS, Engine, Use

__all__ = ["DTYPES", "Decode", "Estimator", "Scoring", "seed_of"]

DTYPES = ["float64", "float32"]
"""Of X and of what estimators return."""


@dataclasses.dataclass(frozen=True)
class Decode(Use):
    """E[x|z] of codes [N, L]."""

    gives_cells = True

    def of_row(self, model, params, x, key):
        del key
        return {CELLS: model.decode_mean(params, x)[0]}


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class Estimator(BaseEstimator):
    """A model of rows X [N, D]: trained by `vae_jax.fit`, applied by `vae_jax.uses`.

    Fitted estimators have `trained_`, a `vae_jax.Trained` of the standardized columns; `mean_` and
    `scale_`, of the columns [D]; and `seed_`, which decides every draw.

    Attributes:
        latent_dim: L, a count.
        widths: sizes of the hidden layers of the encoder, which the decoder mirrors, counts; None
            takes those of `vae_jax.make_model`.
        activation: of the hidden layers, see `vae_jax.make_model`.
        likelihood: p(x|z), one of `likelihoods.names()`.
        variance: of the likelihood, see `likelihoods.make`: "learned" is one scalar,
            "learned_per_dimension" one of each column.
        standardize: whether each column is moved and scaled to mean 0 and variance 1 for the
            network; "auto" does so for likelihoods of any real numbers. Results are in the units
            of X.
        epochs, batch_size, learning_rate: see `vae_jax.fit`.
        random_state: the seed if an integer; else it is drawn, as scikit-learn does.
    """

    latent_dim: int = 10
    widths: Any = (64, 64)
    activation: str | None = None
    likelihood: str = "gaussian"
    variance: float | str = "learned"
    standardize: bool | str = "auto"
    epochs: int = 100
    batch_size: int = 100
    learning_rate: Any = training.LEARNING_RATE
    random_state: Any = None

    objective: ClassVar[str] = "beta_vae"
    """The objective by its name."""
    takes_missing: ClassVar[bool] = False
    """Whether X may hold NaN, a missing value."""

    # --- What the estimators differ in

    def _settings(self) -> dict[str, Any]:
        """The hyperparameters of the objective, scalars, schedules and words."""
        return {}

    def _training(self) -> dict[str, Any]:
        """Other arguments of `vae_jax.fit`."""
        return {}

    def _is_held_out(self, X: np.ndarray) -> np.ndarray:
        """Which of the rows [N, D] are held out of training, for validation: [N]."""
        return np.zeros(X.shape[0], bool)

    def _prior(self) -> Any:
        """p(z), one of `vae_jax.priors`, its name, or None for N(0, I)."""
        return None

    def _likelihood(self) -> likelihoods.Likelihood:
        """p(x|z)."""
        return likelihoods.make(
            self.likelihood, variance=self.variance, has_missing=self.takes_missing
        )

    # --- Fitting

    def fit(self, X: Any, y: Any = None) -> "Estimator":
        """Trains on rows X [N, D]; y is not used.

        Raises:
            ValueError: X is no table of finite numbers.
            UsageError: a parameter does not fit.
            DivergedError: training met a loss that is not finite; see `vae_jax.fit`.
        """
        del y
        self._fit(self._rows(X, reset=True))
        return self

    def _fit(self, X: np.ndarray) -> None:
        """Trains on validated rows [N, D]."""
        self.seed_ = seed_of(self.random_state)
        likelihood = self._likelihood()
        self.mean_, self.scale_ = _moments(X, self._is_standardized(likelihood))
        self._made_of = self._parts(X.shape[1], likelihood)
        x, self.is_held_out_ = self._standardized(X), self._is_held_out(X)
        trained = fitting.fit(
            self.objective,
            assembly.make_model(**self._made_of),
            x[~self.is_held_out_],
            valid=x[self.is_held_out_] if self.is_held_out_.any() else None,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            seed=self.seed_,
            progress=False,
            **self._training(),
            **self._settings(),
        )
        # the program cannot be pickled; an engine finds the compiled one of its model by itself
        self.trained_ = dataclasses.replace(
            trained, params=jax.tree.map(np.asarray, trained.params), state=None, program=None
        )

    def _parts(self, num_columns: int, likelihood: Any) -> dict[str, Any]:
        """The arguments of `vae_jax.make_model` for x [B, D]."""
        return {
            "data": (num_columns,),
            "objective": self.objective,
            "latent_dim": self.latent_dim,
            "likelihood": likelihood,
            "prior": self._prior(),
            "widths": self.widths,
            "activation": self.activation,
            **objectives.statics(self.objective, self._settings()),
        }

    def _is_standardized(self, likelihood: Any) -> bool:
        """Whether columns are standardized under a likelihood."""
        if self.standardize not in ("auto", True, False):
            raise UsageError(f"standardize={shown(self.standardize)}: give True, False or 'auto'")
        is_real = likelihood.requires == "real"
        if self.standardize is True and not is_real:
            raise UsageError(
                f"standardize=True: {likelihood} takes values in a range of its own: give"
                " standardize='auto'"
            )
        return is_real if self.standardize == "auto" else bool(self.standardize)

    # --- Pickling: JAX's own functions, such as an activation, have none

    def __getstate__(self):
        state = dict(super().__getstate__())
        if "trained_" in state:
            state["trained_"] = dataclasses.replace(state["trained_"], model=None)
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if "trained_" in state:
            model = assembly.make_model(**self._made_of)
            self.trained_ = dataclasses.replace(self.trained_, model=model)

    # --- Rows

    def _rows(self, X: Any, *, reset: bool = False) -> np.ndarray:
        """Validated rows [N, D]; `reset` keeps their number of columns and their names."""
        finite = "allow-nan" if self.takes_missing else True
        if not reset:
            check_is_fitted(self)
        return validate_data(self, X, reset=reset, dtype=DTYPES, ensure_all_finite=finite)

    def _standardized(self, X: np.ndarray) -> np.ndarray:
        """Rows [N, D] as the model takes them."""
        return ((X.astype(np.float64) - self.mean_) / self.scale_).astype(np.float32)

    def _restored(self, x: np.ndarray, dtype: Any) -> np.ndarray:
        """Rows [N, D] of the model in the units of X."""
        return (x.astype(np.float64) * self.scale_ + self.mean_).astype(dtype)

    def _engine(self, use: Use, seed: int) -> Engine:
        return Engine(use, self.trained_.model, self.trained_.params, seed=seed)

    def _applied(self, use: Use, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The results of a use for rows as the model takes them, [N, …] by name.

        Each row sees the same draws, so its result depends neither on its place nor on the others.
        """
        return self._engine(use, self.seed_)(rows, np.zeros(len(rows), np.int64))

    def _cells(self, use: Use, X: np.ndarray) -> np.ndarray:
        """The cells [N, D] that a use gives for rows, in the units and the dtype of X."""
        return self._restored(self._applied(use, self._standardized(X))[CELLS], X.dtype)

    def _decoded(self, Z: Any) -> np.ndarray:
        """E[x|z] of codes [N, L], in the units of X: [N, D]."""
        check_is_fitted(self)
        Z = check_array(Z, dtype=DTYPES)
        size = self.trained_.model.latent_dim
        if Z.shape[1] != size:
            raise ValueError(f"X has {Z.shape[1]} columns, the codes of this model have {size}")
        return self._restored(self._applied(Decode(), Z.astype(np.float32))[CELLS], Z.dtype)

    def _codes(self, X: Any) -> np.ndarray:
        """The most likely code [N, L] of rows [N, D], in the dtype of X."""
        X = self._rows(X)
        return self._applied(uses.Encode(), self._standardized(X))["z"].astype(X.dtype)

    def _log_density(self, use: Use, X: np.ndarray, *, has_units: bool = True) -> np.ndarray:
        """Minus the nats of a score [N], as a log-density in the units of X if it has units."""
        found = self._applied(use, self._standardized(X))["score"]
        units = np.log(self.scale_).sum() if has_units else 0.0
        return -found.astype(np.float64) - units

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.takes_missing
        tags.non_deterministic = False
        if tags.transformer_tags is not None:
            tags.transformer_tags.preserves_dtype = list(DTYPES)
        return tags


class Scoring:
    """Estimators whose rows [N, D] have a log-density: `score` is the mean of `score_samples`."""

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The mean of `score_samples` over rows X [N, D], weighted by `sample_weight` [N]."""
        del y
        return float(np.average(self.score_samples(X), weights=sample_weight))


def _moments(X: np.ndarray, is_standardized: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation [D] of the observed cells of each column; 0 and 1 if nothing is done.

    A column that does not vary has the deviation 1.
    """
    size = X.shape[1]
    if not is_standardized:
        return np.zeros(size), np.ones(size)
    X, num = X.astype(np.float64), np.maximum((~np.isnan(X)).sum(axis=0), 1)
    mean = np.nansum(X, axis=0) / num
    scale = np.sqrt(np.nansum((X - mean) ** 2, axis=0) / num)
    is_same = scale <= 10 * np.finfo(np.float64).eps * np.abs(mean)
    return mean, np.where(is_same, 1.0, scale)


def seed_of(random_state: Any) -> int:
    """The seed of a random state, a scalar: an integer itself, else a draw."""
    if isinstance(random_state, numbers.Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
