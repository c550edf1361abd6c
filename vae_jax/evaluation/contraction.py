"""How much codes move with x: the encoder's Jacobian beside the variance of the codes.

A contractive autoencoder makes ‖∂z/∂x‖² small. A decoder with weights of its own allows the whole
code to shrink, which makes the norm small without any contraction: z → a·z multiplies the norm and
the variance of the codes by a². Their ratio does not change with the scale, and compares models.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.evaluation._cost import Cost
from vae_jax.evaluation._shared import ratio_and_error, require_finite, with_errors
from vae_jax.evaluation.subject import BLOCK_BYTES, NotApplicableError

__all__ = ["DEFINITIONS", "encoder_jacobian", "evaluate", "measure", "singular_values"]

COST = Cost(place=13, start=5.0, per_example=1e-3)

DEFINITIONS = {
    "num_examples": "N, the examples at which the Jacobian is taken",
    "jacobian_norm": "‖∂z/∂x‖²_F per example, z the mean of q(z|x): how much the code moves with x",
    "code_variance": "Σ_l Var z_l over the examples",
    "norm_over_variance": "jacobian_norm / code_variance: no scale of the code changes it",
    "singular_values": "√ of the mean square of each singular value of ∂z/∂x, descending",
    "num_directions": "(Σ s²)²/Σ s⁴ of an example's singular values s: directions that z follows",
}
"""The meaning of each entry of `evaluate`; `name_standard_error` is the error of `name`."""


def encoder_jacobian(encode, x: jax.Array) -> jax.Array:
    """∂f/∂x of each example, one backward pass per number of the code.

    Args:
        encode: f, x [B, *shape] to [B, L], row by row.
        x: [B, *shape] of D numbers each.

    Returns:
        [B, L, D].
    """
    codes, backward = jax.vjp(encode, x)

    def row(unit):
        return backward(jnp.broadcast_to(unit[None], codes.shape))[0].reshape(len(x), -1)

    return jax.vmap(row, out_axes=1)(jnp.eye(codes.shape[1], dtype=codes.dtype))


def singular_values(jacobians: jax.Array) -> jax.Array:
    """Singular values of Jacobians [B, L, D], descending: [B, min(L, D)]."""
    columns = jnp.swapaxes(jacobians, 1, 2)
    if columns.shape[1] > columns.shape[2]:
        columns = jnp.linalg.qr(columns, mode="r")
    return jnp.linalg.svd(columns, compute_uv=False)


def evaluate(codes: np.ndarray, stretches: np.ndarray) -> dict[str, Any]:
    """How much codes move with x, in their own scale.

    Args:
        codes: [N, L], N >= 2.
        stretches: singular values of the encoder's Jacobian at the same examples, [N, K].

    Returns:
        The entries of `DEFINITIONS`, plain numbers, with errors over the examples. The ratio is
            None if the codes are constant.

    Raises:
        UsageError: a value is not finite.

    Reference:
        Rifai et al. 2011, Contractive Auto-Encoders, ICML, equation 1, and section 5.3 on the
        spectrum.
    """
    require_finite(codes=codes, encoder_derivatives=stretches)
    codes, squares = np.asarray(codes, np.float64), np.square(np.asarray(stretches, np.float64))
    norms = squares.sum(axis=1)
    spread = np.square(codes - codes.mean(axis=0)).sum(axis=1)
    ratio = (None, None) if spread.mean() == 0 else ratio_and_error(norms, spread)
    quartic = np.square(squares).sum(axis=1)
    return {
        "num_examples": len(codes),
        "code_variance": float(spread.mean()),
        "norm_over_variance": ratio[0],
        "norm_over_variance_standard_error": ratio[1],
        "singular_values": np.sqrt(squares.mean(axis=0)).tolist(),
        **with_errors(
            {
                "jacobian_norm": norms,
                "num_directions": np.square(norms[norms > 0]) / quartic[norms > 0],
            }
        ),
    }


def measure(subject, *, max_examples: int = 500) -> dict[str, Any]:
    """How much the codes of the test split move with x.

    Args:
        subject: a `vae_jax.evaluation.subject.Subject`.
        max_examples: the number of examples, evenly spaced in the split; a scalar.

    Returns:
        The entries of `DEFINITIONS`, as of `evaluate`.

    Raises:
        NotApplicableError: z is not continuous, numbers of x may be missing or are text, or there
            is one example.
    """
    subject.require_continuous()
    subject.require_complete()
    if subject.model.likelihood.requires == "text":
        raise NotApplicableError("characters have no derivative")
    if min(max_examples, subject.size()) < 2:
        raise NotApplicableError("of one example codes have no variance")
    size = subject.latent_dim

    def of_rows(params, stored, positions):
        x = subject.inputs(stored, positions)
        model = subject.given(params, stored, x)

        def encode(x):
            return model.encode(params, x).mean[:, :size]

        return encode(x), singular_values(encoder_jacobian(encode, x))

    num_rows = max(1, BLOCK_BYTES // (4 * size * math.prod(subject.model.shape)))
    return evaluate(*subject.over(of_rows, num_examples=max_examples, num_rows=num_rows))
