"""Reconstructions beside principal components."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA

from tests.test_evaluation_subject import Rows, as_stored, make
from vae_jax import data
from vae_jax.errors import UsageError
from vae_jax.evaluation import reconstruction


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(200, 4, 3)) @ np.diag([3.0, 1.0, 0.1]) + 5.0


def test_principal_components_are_those_of_scikit_learn(x):
    rows = x.reshape(200, -1)
    pca = PCA(5).fit(rows)
    components = reconstruction.principal_components(x, 5)
    restored = components.restore(x)
    want = pca.inverse_transform(pca.transform(rows)).reshape(x.shape)
    np.testing.assert_allclose(restored, want, atol=1e-3)
    # what is left is the variance of the other components
    left = reconstruction.squared_errors(x, restored).mean()
    assert left == pytest.approx(PCA().fit(rows).explained_variance_[5:].sum() * 199 / 200, 1e-4)


def test_all_components_restore_everything(x):
    components = reconstruction.principal_components(x, 99)
    assert components.directions.shape == (12, 12)
    np.testing.assert_allclose(components.restore(x), x, atol=1e-4)


def test_psnr_by_hand():
    x = np.zeros((3, 10, 10))
    restored = x.copy()
    restored[1] += 0.1
    restored[2, 0, 0] = 1.0
    np.testing.assert_allclose(
        reconstruction.peak_signal_to_noise(x, restored), [np.inf, 20, 20], rtol=1e-6
    )


def test_angles_between_subspaces_do_not_see_the_basis():
    eye, turn = np.eye(4), np.array([[2.0, 1.0], [-1.0, 3.0]])
    np.testing.assert_allclose(
        reconstruction.principal_angles(turn @ eye[:2], eye[:2]), 0, atol=1e-5
    )
    tilted = np.array([[1.0, 0, 0, 0], [0, np.cos(0.3), np.sin(0.3), 0]])
    angles = reconstruction.principal_angles(tilted, eye[:2])
    np.testing.assert_allclose(angles, np.degrees([0.3, 0]), atol=1e-5)
    np.testing.assert_allclose(reconstruction.principal_angles(eye[:1], eye[1:]), 90)


def pca_model(**options):
    """A linear model whose weights are the principal components of the data it sees."""
    subject = make(
        Rows(60), preprocess=as_stored, likelihood="gaussian", network="linear", **options
    )
    components = reconstruction.principal_components(subject.x(), subject.latent_dim)
    directions = jnp.asarray(components.directions)
    unused = subject.model.latent_dim - subject.latent_dim
    directions = jnp.pad(directions, ((0, unused), (0, 0)))
    params = subject.params
    encoder = {
        **params["encoder"],
        "mean": {"kernel": directions.T, "bias": -directions @ components.mean},
    }
    decoder = {"latent": {"kernel": directions, "bias": jnp.asarray(components.mean)}}
    subject.params = {**params, "encoder": encoder, "decoder": decoder}
    return subject


@pytest.mark.parametrize("mask", [None, [1.0, 1.0, 0.0]])
def test_the_ratio_of_principal_components_is_one(mask):
    subject = pca_model(mask=mask)
    measured = reconstruction.measure(subject)
    assert measured["num_components"] == (3 if mask is None else 2)
    assert measured["num_examples"] == measured["num_train"] == 60
    assert measured["ratio"] == pytest.approx(1, abs=1e-5)
    assert measured["ratio_standard_error"] == pytest.approx(0, abs=1e-5)
    assert measured["largest_angle"] == pytest.approx(0, abs=0.05)
    assert measured["psnr"] == pytest.approx(measured["pca_psnr"], abs=1e-4)
    assert measured["root_mean_squared_error"] ** 2 * 64 == pytest.approx(measured["squared_error"])
    entries = {name.removesuffix("_standard_error") for name in measured}
    assert entries == set(reconstruction.DEFINITIONS)


def test_principal_components_are_the_best_linear_code():
    subject = pca_model()
    noise = 0.05 * jax.random.normal(jax.random.key(0), (3, 64))
    decoder = subject.params["decoder"]["latent"]
    worse = {"latent": {**decoder, "kernel": decoder["kernel"] + noise}}
    subject.params = {**subject.params, "decoder": worse}
    measured = reconstruction.measure(subject)
    assert measured["ratio"] > 1.01
    assert 5 < measured["largest_angle"] < 60


def test_components_are_those_of_the_training_split():
    draw, dataset = np.random.default_rng(1), Rows(60)
    columns, rows = np.ones((8, 8), np.uint8), np.ones((8, 8), np.uint8)
    columns[:, :4], rows[:4] = 16, 16
    for part, scale in (("train", columns), ("test", rows)):
        x = draw.integers(0, 1 + scale, (60, 8, 8)).astype(np.uint8)[..., None]
        setattr(dataset, part, data.Split(x))
    subject = make(dataset, preprocess=as_stored, likelihood="gaussian", network="linear")
    measured = reconstruction.measure(subject)
    seen, unseen = (getattr(dataset, part).x.reshape(60, -1) / 16 for part in ("train", "test"))
    pca = PCA(3).fit(seen)
    left = np.square(unseen - pca.inverse_transform(pca.transform(unseen))).sum(axis=1).mean()
    assert measured["pca_squared_error"] == pytest.approx(left, rel=1e-4)


def test_a_nonlinear_decoder_has_no_angle():
    measured = reconstruction.measure(make(preprocess=as_stored))
    assert "largest_angle" not in measured
    assert measured["squared_error"] > measured["pca_squared_error"]


def test_the_ratio_is_of_paired_examples(x):
    components = reconstruction.principal_components(x, 2)
    restored = components.restore(x)
    errors = reconstruction.squared_errors(x, restored)
    halved = x + (restored - x) / np.sqrt(2)
    measured = reconstruction.evaluate(x, halved, components)
    assert measured["ratio"] == pytest.approx(0.5)
    assert measured["ratio_standard_error"] == pytest.approx(0, abs=1e-6)
    assert measured["squared_error"] == pytest.approx(errors.mean() / 2, 1e-4)
    assert "psnr" not in measured


def test_values_that_are_not_finite_are_refused(x):
    components = reconstruction.principal_components(x, 2)
    restored = x.copy()
    restored[0, 0, 0] = np.nan
    with pytest.raises(UsageError, match="restored: 1 of 2,400 values are not finite"):
        reconstruction.evaluate(x, restored, components)
