"""Sparsity of codes: Hoyer's measure, dead units and firing rates have known answers."""

import types

import numpy as np
import pytest

from vae_jax import latents
from vae_jax.errors import UsageError
from vae_jax.evaluation import sparsity
from vae_jax.evaluation.subject import NotApplicableError


def test_hoyer_of_equal_numbers_is_0_and_of_a_single_one_1():
    for size in (2, 5, 100):
        np.testing.assert_allclose(sparsity.hoyer(np.full((1, size), 3.0)), 0, atol=1e-12)
        np.testing.assert_allclose(sparsity.hoyer(-7.0 * np.eye(size)), 1, atol=1e-12)
    # k of L equal: (√L − √k) / (√L − 1)
    z = np.zeros((1, 16))
    z[0, :4] = 0.2
    np.testing.assert_allclose(sparsity.hoyer(z), (4 - 2) / (4 - 1))


def test_no_scale_and_no_sign_changes_hoyer():
    z = np.random.default_rng(0).normal(size=(20, 6))
    found = sparsity.hoyer(z)
    assert ((found > 0) & (found < 1)).all()
    for other in (1e-30 * z, 1e30 * z, np.abs(z), z[:, ::-1]):
        np.testing.assert_allclose(sparsity.hoyer(other), found, rtol=1e-10)
    assert np.isnan(sparsity.hoyer(np.zeros((1, 3)))).all()


def test_hoyer_of_one_number_is_refused():
    with pytest.raises(UsageError, match=r"z has shape \[4, 1\]: must have at least 2 columns"):
        sparsity.hoyer(np.ones((4, 1)))


def test_firing_by_hand():
    codes = np.array([[0.0, 2.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0], [0, 3, 0, 0], [0, 0.5, 0, -1]])
    found = sparsity.evaluate(codes)
    assert found["num_examples"] == found["num_units"] == 4
    assert (found["num_dead"], found["num_always"], found["num_empty"]) == (2, 1, 0)
    assert found["firing_rates"] == [1.0, 0.5, 0.0, 0.0]
    assert found["firing_rate"] == pytest.approx(np.mean(found["firing_rates"]))
    assert found["mean_activation"] == pytest.approx(8.5 / 16)
    # two of four rows are one-hot
    rest = sparsity.hoyer(codes[[0, 3]]).mean()
    assert found["hoyer"] == pytest.approx((2 + 2 * rest) / 4)
    # a unit that never fires has no measure over the examples
    assert found["lifetime_hoyer"] == pytest.approx(sparsity.hoyer(codes.T[[1, 3]]).mean())
    above = sparsity.evaluate(codes, threshold=1.0)
    assert above["firing_rates"] == [0.5, 0.0, 0.0, 0.0]
    assert above["hoyer"] == found["hoyer"]


def test_empty_codes_are_counted_and_left_out():
    found = sparsity.evaluate(np.array([[0.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))
    assert found["num_empty"] == 2
    assert found["hoyer"] == 1
    nothing = sparsity.evaluate(np.zeros((3, 2)))
    assert nothing["num_dead"] == 2
    assert nothing["hoyer"] is None


def subject_of(codes, activation="linear"):
    return types.SimpleNamespace(
        require_continuous=lambda: None,
        latent_dim=codes.shape[1],
        posterior=lambda: types.SimpleNamespace(mean=codes),
        model=types.SimpleNamespace(latent=latents.Deterministic(activation)),
    )


def test_units_of_a_sigmoid_fire_above_their_mean():
    """Codes that meet a target of ρ = 0.05: at 1 for 5 % of the examples, or at 0.05 for all."""
    rate = 0.05
    sparse = np.where(np.arange(100)[:, None] % 20 == np.arange(10)[None], 1.0, 1e-6)
    constant = np.full((100, 10), rate)
    of_sparse, of_constant = (
        sparsity.measure(subject_of(codes, "sigmoid")) for codes in (sparse, constant)
    )
    assert of_sparse["threshold"] == pytest.approx(rate, rel=1e-3)
    assert of_sparse["firing_rate"] == pytest.approx(rate)
    assert of_sparse["num_dead"] == 0
    # the same mean activation, without any sparsity
    assert of_constant["mean_activation"] == pytest.approx(of_sparse["mean_activation"], rel=1e-3)
    assert of_constant["hoyer"] == pytest.approx(0, abs=1e-9)
    assert of_constant["lifetime_hoyer"] == pytest.approx(0, abs=1e-9)
    assert of_sparse["lifetime_hoyer"] > 0.8


def test_a_threshold_of_ones_own():
    codes = np.array([[0.1, 0.4], [0.2, 0.3]])
    found = sparsity.measure(subject_of(codes), threshold="0.25")
    assert found["firing_rates"] == [1.0, 0.0]
    assert sparsity.measure(subject_of(codes))["threshold"] == 0
    for text in ("-1", "half", "inf", "nan"):
        with pytest.raises(
            UsageError, match=f"threshold='{text}': must be auto or a finite number"
        ):
            sparsity.measure(subject_of(codes), threshold=text)


def test_a_code_of_one_dimension_is_left_out():
    with pytest.raises(NotApplicableError, match="one dimension"):
        sparsity.measure(subject_of(np.ones((3, 1))))
