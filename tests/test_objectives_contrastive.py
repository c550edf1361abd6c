"""InfoNCE of codes: a plain loop, known answers, invariances; the objective and its limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from properties import initial, loss_of
from test_objectives_deterministic import batch_of, make

from vae_jax import losses

TAU = 0.3
N, L = 6, 4
FIRST, SECOND = np.random.default_rng(0).normal(size=(2, N, L)).astype(np.float32)

info_nce = jax.jit(losses.info_nce)


def in_a_loop(first, second, temperature):
    """The definition, code by code."""
    codes = np.concatenate([first, second]).astype(np.float64)
    codes /= np.linalg.norm(codes, axis=1, keepdims=True)
    num = len(first)
    each = []
    for i in range(2 * num):
        partner = (i + num) % (2 * num)
        others = [codes[i] @ codes[k] / temperature for k in range(2 * num) if k != i]
        each.append(scipy.special.logsumexp(others) - codes[i] @ codes[partner] / temperature)
    return 0.5 * (np.array(each[:num]) + np.array(each[num:]))


@pytest.mark.parametrize("temperature", [0.05, TAU, 4.0])
def test_it_is_that_of_a_loop(temperature):
    found = info_nce(FIRST, SECOND, temperature=temperature)
    np.testing.assert_allclose(found, in_a_loop(FIRST, SECOND, temperature), rtol=1e-4, atol=1e-5)


def test_codes_that_tell_nothing_cost_the_logarithm_of_the_alternatives():
    same = jnp.ones((N, L))
    np.testing.assert_allclose(info_nce(same, same), np.log(2 * N - 1), rtol=1e-5)


def test_no_row_and_codes_without_a_number():
    assert info_nce(FIRST[:0], SECOND[:0]).shape == (0,)
    np.testing.assert_allclose(info_nce(FIRST[:, :0], SECOND[:, :0]), np.log(2 * N - 1), rtol=1e-5)


def test_codes_at_right_angles_cost_the_least_that_no_cosine_below_0_allows():
    codes = jnp.eye(N)
    wanted = np.log1p((2 * N - 2) * np.exp(-1 / TAU))
    np.testing.assert_allclose(info_nce(codes, codes, temperature=TAU), wanted, rtol=1e-4)
    # partners that point away from one another: the bound of the docstring
    worst = np.log1p((2 * N - 2) * np.exp(2 / TAU))
    pair = jnp.tile(jnp.float32([[1, 0]]), (N, 1))
    assert (info_nce(pair, -pair, temperature=TAU) < worst).all()


def test_lengths_rotations_and_the_order_of_both_change_nothing():
    lengths = jnp.float32([1, 2, 5, 10, 0.5, 3])[:, None]
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(L, L)))[0].astype(np.float32)
    whole = info_nce(FIRST, SECOND, temperature=TAU)
    for first, second in [
        (FIRST * lengths, SECOND),
        (FIRST @ rotation, SECOND @ rotation),
        (SECOND, FIRST),
    ]:
        np.testing.assert_allclose(info_nce(first, second, temperature=TAU), whole, rtol=1e-4)
    turned = info_nce(FIRST[::-1], SECOND[::-1], temperature=TAU)
    np.testing.assert_allclose(turned[::-1], whole, rtol=1e-5)


@pytest.mark.parametrize("held", [0.0, 1e30, np.nan])
def test_padding_is_nobodys_alternative(held):
    mask = jnp.float32([1, 1, 0, 1, 1, 0])
    rows = np.asarray(mask) == 1
    padded = [np.where(rows[:, None], codes, np.float32(held)) for codes in (FIRST, SECOND)]

    @jax.jit
    @jax.value_and_grad
    def total(codes):
        return jnp.sum(losses.info_nce(*codes, mask, temperature=TAU))

    value, slopes = total(padded)
    np.testing.assert_allclose(value, in_a_loop(FIRST[rows], SECOND[rows], TAU).sum(), rtol=1e-4)
    for slope in slopes:
        np.testing.assert_array_equal(slope[~rows], 0.0)
        assert np.isfinite(slope[rows]).all()


def test_a_code_of_zeros_has_a_finite_gradient():
    slope = jax.grad(lambda z: losses.info_nce(z, SECOND, temperature=TAU).sum())(FIRST * 0)
    assert np.isfinite(slope).all()


def test_the_loss_is_that_of_an_autoencoder_and_its_contrast():
    (objective, model), (plain, _) = make("contrastive", lambda_contrast=3.0), make("autoencoder")
    params, batch, key = initial(model), batch_of(), jax.random.key(2)
    loss, aux = loss_of(objective, model, params, batch, key)
    wanted, _ = loss_of(plain, model, params, batch, key)
    np.testing.assert_allclose(loss, wanted + 3 * aux["contrast"], rtol=1e-5)
    # corruptions of strength 0 are x itself: each code is its own partner
    still, model = make("contrastive", level=0.0, contrast_temperature=TAU)
    z = jax.jit(lambda params: model.encode(params, batch["x"]).mode)(params)
    contrast = loss_of(still, model, params, batch, key)[1]["contrast"]
    np.testing.assert_allclose(contrast, in_a_loop(z, z, TAU), rtol=1e-3, atol=1e-5)


def test_both_corruptions_are_drawn():
    """With one key for both, each code would be its partner, however much is hidden."""
    objective, model = make("contrastive", corruption="gaussian", level=50.0)
    aux = loss_of(objective, model, initial(model), batch_of(), jax.random.key(2))[1]
    # noise alone: partners are no nearer than others
    assert aux["contrast"].mean() > np.log(2 * len(aux["contrast"]) - 1)


def test_a_step_brings_partners_together():
    objective, model = make("contrastive", lambda_contrast=1e3)
    params, batch, key = initial(model), batch_of(), jax.random.key(2)

    @jax.jit
    @jax.grad
    def slope(params):
        return loss_of(objective, model, params, batch, key)[0].mean()

    moved = jax.tree.map(lambda leaf, by: leaf - 1e-5 * by, params, slope(params))
    before, after = (
        loss_of(objective, model, each, batch, key)[1]["contrast"].mean()
        for each in (params, moved)
    )
    assert after < before
