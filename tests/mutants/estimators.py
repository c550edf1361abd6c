"""Faults of the scikit-learn estimators."""

from tests.mutants._lab import of

plant = of("vae_jax/sklearn/_estimator.py", "sklearn")
plant(
    "return self._engine(use, self.seed_)(rows, np.zeros(len(rows), np.int64))",
    "return self._engine(use, self.seed_)(rows)",
    "the score of a row depends on its place",
)
plant(
    "return -found.astype(np.float64) - units",
    "return -found.astype(np.float64) + units",
    "log-densities have the inverse units",
)
plant(
    "(x.astype(np.float64) * self.scale_ + self.mean_)",
    "(x.astype(np.float64) * self.scale_)",
    "restored rows lack the mean",
)
plant(
    "state = dict(super().__getstate__())",
    "state = super().__getstate__()",
    "pickling takes the model away from the estimator",
)
plant(
    "np.average(self.score_samples(X), weights=sample_weight)",
    "np.average(self.score_samples(X))",
    "weights of rows are not used",
)
plant(
    "valid=x[self.is_held_out_] if self.is_held_out_.any() else None",
    "valid=x if self.is_held_out_.any() else None",
    "training rows validate",
)
plant(
    "np.where(is_same, 1.0, scale)",
    "scale",
    "a column that does not vary is divided by 0",
)

plant = of("vae_jax/sklearn/anomaly_detector.py", "sklearn")
plant(
    "return np.where(self.decision_function(X) < 0, -1, 1)",
    "return np.where(self.decision_function(X) > 0, -1, 1)",
    "usual rows are outliers",
)
plant(
    "np.quantile(self._scores(X), self.contamination)",
    "np.quantile(self._scores(X), 1 - self.contamination)",
    "most rows are outliers",
)

plant(
    "return -self._calibrated(self._parts_of(X))",
    "return self._calibrated(self._parts_of(X))",
    "the calibrated sum has the opposite sign",
)
plant(
    "(parts - mean) / np.where(deviation > 0, deviation, 1.0)",
    "(parts - mean)",
    "the calibrated sum depends on scales",
)

plant = of("vae_jax/sklearn/vae.py", "sklearn")
plant(
    "self.seed_ if random_state is None else seed_of(random_state)",
    "self.seed_",
    "all samples are the same",
)

plant = of("vae_jax/sklearn/imputer.py", "sklearn")
plant(
    "np.where(np.isnan(X), self._restored(cells, X.dtype), X)",
    "self._restored(cells, X.dtype)",
    "observed cells change",
)
plant(
    "cells = self._engine(use, self.seed_)(rows)[CELLS][:, 0]",
    "cells = self._applied(use, rows)[CELLS][:, 0]",
    "all rows share the draws of their cells",
)
