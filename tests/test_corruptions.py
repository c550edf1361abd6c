"""What is shown in the place of x."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vae_jax import corruptions
from vae_jax.errors import UsageError

KEY = jax.random.key(0)
NUM = 64


@pytest.fixture(scope="module")
def x():
    return jax.random.uniform(jax.random.key(1), (NUM, 12, 8, 2), minval=0.2, maxval=0.8)


@pytest.mark.parametrize("name", corruptions.CORRUPTIONS)
def test_level_zero_shows_x_itself(name, x):
    np.testing.assert_array_equal(corruptions.corrupt(name, KEY, x, 0.0), x)


@pytest.mark.parametrize("name", corruptions.CORRUPTIONS)
def test_rows_are_corrupted_each_in_its_own_way(name, x):
    same = jnp.broadcast_to(x[:1], x.shape)
    shown = np.asarray(corruptions.corrupt(name, KEY, same, 0.3))
    assert len(np.unique(shown.reshape(NUM, -1), axis=0)) > NUM / 2


def test_gaussian_noise_has_its_deviation(x):
    noise = corruptions.gaussian(KEY, x, 0.25) - x
    assert abs(noise.std() - 0.25) < 5 * 0.25 / np.sqrt(2 * x.size)
    assert abs(noise.mean()) < 5 * 0.25 / np.sqrt(x.size)


def test_masking_hides_its_share_and_leaves_the_rest(x):
    shown = np.asarray(corruptions.masking(KEY, x, 0.3))
    is_hidden = shown == 0
    np.testing.assert_array_equal(shown[~is_hidden], np.asarray(x)[~is_hidden])
    assert abs(is_hidden.mean() - 0.3) < 5 * np.sqrt(0.21 / x.size)


def test_salt_and_pepper_are_even(x):
    shown = np.asarray(corruptions.salt_and_pepper(KEY, x, 0.4))
    for value in (0.0, 1.0):
        assert abs((shown == value).mean() - 0.2) < 5 * np.sqrt(0.16 / x.size)
    is_kept = (shown > 0) & (shown < 1)
    np.testing.assert_array_equal(shown[is_kept], np.asarray(x)[is_kept])


def test_a_patch_is_one_rectangle_inside_the_image(x):
    is_hidden = np.asarray(corruptions.patch(KEY, x, 0.5)) == 0
    assert (is_hidden == is_hidden[..., :1]).all()
    for hidden in is_hidden[..., 0]:
        rows, columns = np.flatnonzero(hidden.any(axis=1)), np.flatnonzero(hidden.any(axis=0))
        assert (len(rows), len(columns), hidden.sum()) == (6, 4, 24)
        assert (np.ptp(rows), np.ptp(columns)) == (5, 3)
    assert corruptions.patch(KEY, x, 1.0).max() == 0


def test_patches_lie_everywhere():
    x = jnp.ones((4000, 6, 6, 1))
    hidden = 1 - np.asarray(corruptions.patch(KEY, x, 1 / 3))[..., 0]
    corner, middle = hidden[:, 0, 0].mean(), hidden[:, 2, 2].mean()
    # of 25 places one holds the corner, four hold a pixel inside
    assert abs(corner - 1 / 25) < 5 * np.sqrt(0.04 / 4000)
    assert abs(middle - 4 / 25) < 5 * np.sqrt(0.14 / 4000)


def test_a_lower_resolution_by_hand():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    shown = corruptions.lower(x, 2)[0, :, :, 0]
    want = [[2.5, 2.5, 4.5, 4.5], [2.5, 2.5, 4.5, 4.5], [10.5, 10.5, 12.5, 12.5]]
    np.testing.assert_array_equal(shown[:3], want)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_a_lower_resolution_is_a_projection(x, factor):
    shown = corruptions.lower(x, factor)
    np.testing.assert_allclose(corruptions.lower(shown, factor), shown, rtol=1e-6)
    np.testing.assert_allclose(shown.mean(axis=(1, 2)), x.mean(axis=(1, 2)), rtol=1e-5)
    if factor == 1:
        np.testing.assert_array_equal(shown, x)


def test_invalid_settings_end_in_one_line(x):
    with pytest.raises(UsageError, match=r"factor=5: must divide height and width.*12×8"):
        corruptions.corrupt("resolution", KEY, x, 0.3, 5)
    with pytest.raises(UsageError, match=r"corruption=patch: needs images.*gaussian, masking"):
        corruptions.patch(KEY, x[:, :, 0, 0], 0.3)
    with pytest.raises(UsageError, match="did you mean masking"):
        corruptions.corrupt("maskin", KEY, x, 0.3)
    with pytest.raises(UsageError, match=r"clip 'unti' is unknown .did you mean unit"):
        corruptions.corrupt("gaussian", KEY, x, 0.3, clip="unti")


@pytest.mark.parametrize("name", corruptions.CORRUPTIONS)
def test_clipping_moves_only_what_is_outside(name, x):
    plain = np.asarray(corruptions.corrupt(name, KEY, x, 0.7))
    clipped = np.asarray(corruptions.corrupt(name, KEY, x, 0.7, clip="unit"))
    is_inside = (plain >= 0) & (plain <= 1)
    np.testing.assert_array_equal(clipped[is_inside], plain[is_inside])
    np.testing.assert_array_equal(clipped[~is_inside], plain[~is_inside] > 1)
    # noise alone leaves the interval: P(x + 0.7 ε < 0) > P(0.8 + 0.7 ε < 0) = 0.127
    assert (~is_inside).mean() > 0.2 if name == "gaussian" else is_inside.all()
    np.testing.assert_array_equal(plain, corruptions.corrupt(name, KEY, x, 0.7, clip="none"))


def test_clipped_noise_has_the_mean_of_a_censored_normal():
    shown = corruptions.corrupt("gaussian", KEY, jnp.zeros((200_000, 1)), 0.5, clip="unit")
    # E min(max(σε, 0), 1) = σ (φ(0) − φ(1/σ)) + 1 − Φ(1/σ)
    want = 0.5 * (scipy.stats.norm.pdf(0) - scipy.stats.norm.pdf(2)) + scipy.stats.norm.sf(2)
    assert abs(shown.mean() - want) < 5 * 0.5 / np.sqrt(len(shown))
    assert abs((shown == 0).mean() - 0.5) < 5 * 0.5 / np.sqrt(len(shown))


@pytest.mark.parametrize("name", ["gaussian", "masking", "salt_and_pepper"])
def test_nan_stays_nan(name, x):
    gone = x.at[:, 3:].set(jnp.nan)
    shown = corruptions.corrupt(name, KEY, gone, 0.9)
    np.testing.assert_array_equal(jnp.isnan(shown), jnp.isnan(gone))
    clipped = corruptions.corrupt(name, KEY, gone, 0.9, clip="unit")
    np.testing.assert_array_equal(jnp.isnan(clipped), jnp.isnan(gone))
