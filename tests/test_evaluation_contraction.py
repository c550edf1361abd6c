"""Contraction: the Jacobian of an encoder in closed form, and what no scale of the code changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from properties import initial
from test_evaluation_subject import SHAPE, Rows, as_stored

from vae_jax import latents, likelihoods, losses, networks
from vae_jax.evaluation import contraction
from vae_jax.evaluation.subject import NotApplicableError, Subject
from vae_jax.model import Model


def subject_of(likelihood=None, latent_dim=3, num=30, widths=(8,), activation="linear"):
    encoder, decoder = networks.build(
        "mlp", shape=SHAPE, latent_dim=latent_dim, widths=widths, num_parts=1
    )
    latent = latents.Deterministic(activation)
    made = likelihood or likelihoods.Gaussian(0.5)
    model = Model(encoder, decoder, made, SHAPE, latent_dim, latent=latent)
    return Subject(model, initial(model, 1), Rows(num), preprocess=as_stored, key=jax.random.key(0))


@pytest.mark.parametrize(("num_inputs", "num_outputs"), [(3, 6), (6, 3)])
def test_the_jacobian_of_a_sigmoid_layer_in_closed_form(num_inputs, num_outputs):
    keys = jax.random.split(jax.random.key(0), 2)
    weights = jax.random.normal(keys[0], (num_inputs, num_outputs))
    x = jax.random.normal(keys[1], (7, num_inputs))
    h = np.float64(jax.nn.sigmoid(x @ weights))
    found = contraction.encoder_jacobian(lambda x: jax.nn.sigmoid(x @ weights), x)
    want = (h * (1 - h))[:, :, None] * np.float64(weights).T[None]
    np.testing.assert_allclose(found, want, atol=1e-6)
    values = contraction.singular_values(found)
    np.testing.assert_allclose(values, np.linalg.svd(want, compute_uv=False), atol=1e-5)
    # Σ_j (h_j (1 − h_j))² Σ_i W_ij², Rifai et al. 2011, section 5.3
    norm = np.square(h * (1 - h)) @ np.square(weights).sum(axis=0)
    np.testing.assert_allclose(np.square(values).sum(axis=1), norm, rtol=1e-5)


def test_the_norm_of_a_run_is_that_of_its_loss():
    subject = subject_of(widths=(8,))
    found = contraction.measure(subject)
    assert found["num_examples"] == 30

    def encode(x):
        return subject.model.encode(subject.params, x).mode

    norms = losses.jacobian_norm(encode, jnp.asarray(subject.x()))
    assert found["jacobian_norm"] == pytest.approx(float(norms.mean()), rel=1e-5)
    assert found["code_variance"] == pytest.approx(
        float(subject.posterior().mean.var(axis=0).sum()), rel=1e-5
    )
    squares = np.square(found["singular_values"])
    assert squares.sum() == pytest.approx(found["jacobian_norm"], rel=1e-6)
    assert (np.diff(squares) <= 0).all()


def scaled(params, factor):
    """The same autoencoder with codes that are `factor` times as large."""
    head, latent = params["encoder"]["head"]["posterior"], params["decoder"]["latent"]
    return {
        **params,
        "encoder": {
            **params["encoder"],
            "head": {"posterior": jax.tree.map(lambda leaf: factor * leaf, head)},
        },
        "decoder": {
            **params["decoder"],
            "latent": {**latent, "kernel": latent["kernel"] / factor},
        },
    }


def test_only_the_ratio_does_not_change_with_the_scale_of_the_code():
    subject = subject_of()
    before = contraction.measure(subject)
    restored = subject.model.reconstruct(subject.params, subject.x())
    subject.params, subject._held = scaled(subject.params, 0.25), {}
    after = contraction.measure(subject)
    np.testing.assert_allclose(
        subject.model.reconstruct(subject.params, subject.x()), restored, atol=1e-5
    )
    # the norm is 16 times smaller, and nothing is learned of it
    assert after["jacobian_norm"] == pytest.approx(before["jacobian_norm"] / 16, rel=1e-4)
    assert after["code_variance"] == pytest.approx(before["code_variance"] / 16, rel=1e-4)
    for name in ("norm_over_variance", "norm_over_variance_standard_error", "num_directions"):
        assert after[name] == pytest.approx(before[name], rel=1e-4)
    singular = np.divide(after["singular_values"], before["singular_values"])
    np.testing.assert_allclose(singular, 0.25, rtol=1e-4)


def test_directions_are_counted():
    codes = np.random.default_rng(0).normal(size=(10, 4))
    found = contraction.evaluate(codes, np.tile([2.0, 2.0, 0.0, 0.0], (10, 1)))
    assert found["num_directions"] == pytest.approx(2)
    assert found["jacobian_norm"] == pytest.approx(8)
    assert found["singular_values"] == pytest.approx([2, 2, 0, 0])
    # of constant codes there is no ratio, and of a constant map no direction
    dead = contraction.evaluate(np.ones((10, 4)), np.zeros((10, 4)))
    assert dead["norm_over_variance"] is None
    assert dead["num_directions"] is None


def test_what_has_no_derivative_is_left_out():
    with pytest.raises(NotApplicableError, match="of one example codes have no variance"):
        contraction.measure(subject_of(num=1))
