"""What is said of the parameters of scikit-learn estimators."""

import re

import jax
import numpy as np

import vae_jax
from vae_jax.sklearn import VAE, AnomalyDetector

from ._cases import at, attempt, tries

ESTIMATOR = "vae_jax/sklearn/_estimator.py"
ROWS = np.random.default_rng(0).random((8, 2))


class TrainedError(Exception):
    """Raised in place of training."""


def begin(patch, estimator):
    """Fits as far as training."""

    def fit(*arguments, **settings):
        raise TrainedError

    patch.setattr("vae_jax.fitting.fit", fit)
    try:
        estimator.fit(ROWS)
    except TrainedError:
        return


@tries(at(ESTIMATOR, "Estimator._is_standardized")("give True, False or 'auto'"))
def standardize_that_is_no_truth(folder, patch):
    message = yield attempt(begin, patch, VAE(standardize="yes"))
    for word in re.search(r"give (\w+), (\w+) or '(\w+)'", message).groups():
        value = {"True": True, "False": False}.get(word, word)
        yield attempt(begin, patch, VAE(standardize=value))


@tries(at(ESTIMATOR, "Estimator._is_standardized")("give standardize='auto'"))
def standardized_counts(folder, patch):
    message = yield attempt(begin, patch, VAE(likelihood="bernoulli", standardize=True))
    word = re.search(r"give standardize='(\w+)'", message)[1]
    yield attempt(begin, patch, VAE(likelihood="bernoulli", standardize=word))


@tries(at("vae_jax/sklearn/anomaly_detector.py", "AnomalyDetector._fit")("such as contamination"))
def a_contamination_that_is_no_share(folder, patch):
    message = yield attempt(begin, patch, AnomalyDetector(contamination=2))
    share = float(re.search(r"such as contamination=([\d.]+)", message)[1])
    yield attempt(begin, patch, AnomalyDetector(contamination=share))


@tries(
    at("vae_jax/sklearn/anomaly_detector.py", "AnomalyDetector._is_held_out")(
        "such as validation_fraction"
    )
)
def a_validation_fraction_that_leaves_no_rows(folder, patch):
    settings = {"by": "calibrated"}
    message = yield attempt(begin, patch, AnomalyDetector(**settings, validation_fraction=1))
    share = float(re.search(r"such as validation_fraction=([\d.]+)", message)[1])
    yield attempt(begin, patch, AnomalyDetector(**settings, validation_fraction=share))


@tries(at("vae_jax/sklearn/anomaly_detector.py", "AnomalyDetector._calibrated")("give by="))
def calibrated_without_rows(folder, patch):
    def initial(objective, model, x, **settings):
        return vae_jax.Trained(model, model.init(jax.random.key(0)))

    def scored(by):
        patch.setattr("vae_jax.fitting.fit", initial)
        AnomalyDetector(by=by).fit(ROWS).set_params(by="calibrated").score_samples(ROWS)

    message = yield attempt(scored, "elbo")
    yield attempt(scored, re.search(r"by='(\w+)'", message)[1])
