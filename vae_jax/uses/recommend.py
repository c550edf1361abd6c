"""The items that a user has not rated and will most likely rate."""

import dataclasses

import jax
import jax.numpy as jnp

from vae_jax.errors import UsageError
from vae_jax.uses._use import ITEM, Use

__all__ = ["Recommend"]


@dataclasses.dataclass(frozen=True)
class Recommend(Use):
    """The items with the largest E[x|z] among those that are 0 in the row, the best first.

    z is the mode of q(z|x), and a row has the usual total. An item that is missing, such as one
    that was rated below the threshold of the training, is neither read nor recommended.

    Attributes:
        num_items: items for each row, at most.

    Reference:
        Liang et al. 2018, Variational Autoencoders for Collaborative Filtering, arXiv 1802.05814,
        section 2.4.
    """

    num_items: int = 10

    takes_missing = True

    def check(self, model):
        """x must be a row of numbers [D], each of an item."""
        requires = model.likelihood.requires
        if len(model.shape) != 1 or requires in ("text", "columns"):
            told = f"x is {'text' if requires == 'text' else f'of shape {list(model.shape)}'}"
            told = "the columns of x are of several kinds" if requires == "columns" else told
            raise UsageError(
                f"recommend: ranks the items of a row by their ratings or counts, and {told}: take"
                " a run on ratings"
            )

    def of_row(self, model, params, x, key):
        z = model.encode(params, x if model.likelihood.has_missing else model.likelihood.filled(x))
        scores = model.decode_mean(params, z.mode)[0]
        scores = jnp.where(x[0] == 0, scores, -jnp.inf)
        best, items = jax.lax.top_k(scores, min(self.num_items, len(scores)))
        return {ITEM: jnp.where(best == -jnp.inf, -1, items), "score": best}
