"""What the encoder reads of x: rows of length 1, and in training with some of it dropped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vae_jax import latents, likelihoods, make_model, training
from vae_jax.errors import UsageError
from vae_jax.model import Model

RNG = np.random.default_rng(0)


def test_rows_are_scaled_to_length_one():
    likelihood = likelihoods.Multinomial("l2")
    x = RNG.poisson(1.0, (6, 3, 2)).astype(np.float32)
    x[0], x[1, 0] = 0, np.nan
    seen = np.asarray(likelihood.seen(x))
    assert (seen[0] == 0).all()
    np.testing.assert_array_equal(np.isnan(seen), np.isnan(x))
    known = np.nan_to_num(x[1:]).reshape(5, -1)
    expected = known / np.linalg.norm(known, axis=1, keepdims=True)
    np.testing.assert_allclose(np.nan_to_num(seen[1:]).reshape(5, -1), expected, rtol=1e-5)
    np.testing.assert_allclose(likelihood.seen(8 * x), seen, rtol=1e-6)
    gradient = jax.grad(lambda x: likelihood.seen(x).sum())(jnp.zeros((2, 3)))
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(likelihoods.Multinomial().seen(x), np.log1p(x), rtol=1e-6)
    with pytest.raises(UsageError, match=r"input_norm 'l1' is unknown: choose from none, l2"):
        likelihoods.make("multinomial", input_norm="l1")


class Read(nn.Module):
    """x [B, D] to the code itself, or back."""

    is_encoder: bool = False

    @nn.compact
    def __call__(self, x):
        return (x,) if self.is_encoder else x


def test_some_of_the_input_is_dropped_in_training_alone():
    """The mean stays, each step has a mask of its own, and what is not known stays unknown."""
    size, x = 4000, np.full((3, 4000), 2.0, np.float32)
    sides = {"likelihood": likelihoods.Gaussian(1.0), "latent": latents.Deterministic("linear")}
    model = Model(Read(True), Read(), shape=(size,), latent_dim=size, input_dropout=0.75, **sides)
    params = {"encoder": {}, "decoder": {}, "likelihood": {}}
    np.testing.assert_array_equal(model.encode(params, x).mode, x)
    first, again, other = (
        np.asarray(model.replace(train_key=jax.random.key(i)).encode(params, x).mode)
        for i in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert set(np.unique(first)) == {0.0, 8.0}
    np.testing.assert_allclose(first.mean(axis=1), 2.0, atol=0.3)
    assert np.abs(np.corrcoef(np.concatenate([first, other])) - np.eye(6)).max() < 0.1
    gaps = model.replace(train_key=jax.random.key(0))._dropped(jnp.full((2, 50), jnp.nan))
    assert np.isnan(gaps).all()
    assert model.has_modes
    assert not model.replace(input_dropout=0.0).has_modes


def test_a_step_trains_with_dropout():
    """The loss of a step depends on its key through the dropout alone, that of evaluation not."""
    model = make_model(
        (6,), objective="autoencoder", likelihood="multinomial", input_dropout=0.5, widths=(3,)
    )
    assert model.input_dropout == 0.5
    made = training.make_train(
        lambda model, params, batch, key: (model.encode(params, batch["x"]).mode[:, 0], {}),
        model,
        preprocess=lambda stored, key: stored,
        num_examples=4,
        batch_size=4,
    )
    hparams = training.Hparams(seed=jnp.int32(0), learning_rate=jnp.float32(1e-2))
    x = np.ones((4, 6), np.float32)
    state = jax.jit(lambda h: made.init(h))(hparams)
    step = jax.jit(lambda key: made.step(state, hparams, {"x": x, "mask": jnp.ones(4)}, key)[1])
    losses = [float(step(jax.random.key(seed))["loss"]) for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("share", [1.0, -0.1, "half"])
def test_a_share_that_is_none_is_refused(share):
    model = make_model((6,), likelihood="multinomial", input_dropout=share, widths=(3,))
    with pytest.raises(UsageError, match=r"input_dropout=.*: must be a number of at least 0"):
        model.init(jax.random.key(0))
