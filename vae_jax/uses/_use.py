"""The base class of all uses, and what several of them compute."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import latents, rates
from vae_jax.errors import UsageError
from vae_jax.evaluation._shared import require_density
from vae_jax.families import Settings

__all__ = ["CELLS", "ITEM", "Use", "Weighted", "require_weights", "weighted"]

CELLS = "x"
"""The name of a result that has the shape and the meaning of x."""
ITEM = "item"
"""The name of a result [M] that is the index of a number of x [D], −1 for none.

The other results are [M], too: each row has M answers, the best first.
"""
_FIRST_BLOCK = np.uint32(0)
"""Draws are those of the first block of samples of `evaluation.nll`."""


@dataclasses.dataclass(frozen=True)
class Use(Settings):
    """What a trained model does with a row.

    Attributes:
        takes_rows: whether it reads rows; otherwise it makes them.
        gives_cells: whether it gives x, as `CELLS`.
        keeps_observed: whether cells that are observed stay as they are, and others are filled in.
        takes_missing: whether a row may have missing cells, even if those of the training had none.
    """

    takes_rows: ClassVar[bool] = True
    gives_cells: ClassVar[bool] = False
    keeps_observed: ClassVar[bool] = False
    takes_missing: ClassVar[bool] = False

    def check(self, model: Any) -> None:
        """Raises UsageError if a `Model` of x [B, *shape] cannot do it."""

    @property
    def rows_per_row(self) -> int:
        """How many rows the decoder computes for a row, a count: bounds the size of a batch."""
        return 1

    def of_row(self, model: Any, params: Any, x: Any, key: jax.Array) -> dict[str, jax.Array]:
        """The results for one row, by name.

        Args:
            model: a `Model`, conditioned if it is conditional.
            params: its parameters.
            x: [1, *shape], NaN where missing; None if the use takes no rows.
            key: PRNG key, scalar, of this row.

        Returns:
            Numbers [] or several [F] for each name; `CELLS` is [*shape], or [M, *shape] for M
            answers to one row. If `ITEM` is among them, each is [M], for M answers.
        """
        raise NotImplementedError

    def finished(self, model: Any, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The results of N rows as they are returned, [N, …] each; a hook outside of `jit`."""
        del model
        return found


class Weighted(NamedTuple):
    """Draws of the code of one row, and how much each counts.

    Attributes:
        log_likelihood: log p(x|z_k) of the observed cells in nats, [K].
        log_weights: log p(x|z_k) p(z_k) / q(z_k|x), [K].
        rate: the rate of the row in nats, a scalar: in closed form if there is one.
        outputs: of the decoder, [K, …].
    """

    log_likelihood: jax.Array
    log_weights: jax.Array
    rate: jax.Array
    outputs: jax.Array


def weighted(model: Any, params: Any, x: jax.Array, key: jax.Array, num: int) -> Weighted:
    """Draws z_k ~ q(z|x) with importance weights; missing cells of x add nothing.

    Args:
        model: a `Model` with a prior.
        params: its parameters.
        x: [1, *shape], NaN where missing. If the model was trained without missing cells, its
            encoder reads a neutral value in place of them: a worse proposal, the weights allow for
            it.
        key: PRNG key, scalar.
        num: K.

    Reference:
        Burda et al. 2015, arXiv 1509.00519, equation 8; Mattei & Frellsen 2019, MIWAE, arXiv
        1812.02633, section 2.
    """
    likelihood = model.likelihood
    read = x if likelihood.has_missing else likelihood.filled(x)
    posterior, prior = model.encode(params, read), model.prior(params)
    drawn = rates.walk(posterior, prior, jax.random.fold_in(key, _FIRST_BLOCK), num)
    rows = jnp.broadcast_to(read, (num, *model.shape))
    outputs = model.decode(params, drawn.z[:, 0], rows)
    of_cells = dataclasses.replace(likelihood, has_missing=True)
    cells = jnp.broadcast_to(x, (num, *model.shape))
    log_likelihood = of_cells.log_prob(params["likelihood"], outputs, cells)
    log_q = posterior.log_prob(drawn.z) if drawn.log_q is None else drawn.log_q
    log_weights = log_likelihood + (prior.log_prob(drawn.z) - log_q)[:, 0]
    rate = rates.of_draw(posterior, prior, drawn)[0]
    return Weighted(log_likelihood, log_weights, rate, outputs)


def require_weights(model: Any, what: str) -> None:
    """Raises UsageError unless q(z|x), p(z) and p(x|z) over x [B, *shape] are densities."""
    require_density(model)
    if not model.latent.has_prior or isinstance(model.latent, latents.Quantized):
        raise UsageError(
            f"{what}: weighs draws of q(z|x) by p(z), and the code is a point: take a run of a "
            "variational objective, such as objective=beta_vae"
        )
