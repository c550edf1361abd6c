"""The subject of metrics: a trained model and its data, read in blocks to limit memory.

A metric that `vae_jax.cli.commands.evaluate` offers is one file of this package, with

    DEFINITIONS                         the meaning of each entry, one line each
    COST                                a `Cost`: its place among the results, whether it is quick
    measure(subject, *, …) -> dict      its entries, `name_standard_error` beside `name` if known

Its keyword-only arguments are its settings. It raises `NotApplicableError` if the metric does not
apply to the data or the model, and `UsageError` if a setting does not fit them. A default that is
reduced to fit is an `AtMost`, and the value that was used is an entry with the setting's name.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import memory, samplers
from vae_jax.distributions import DiagonalGaussian
from vae_jax.errors import UsageError, VaeJaxError

__all__ = ["AtMost", "NotApplicableError", "Subject"]

SPLITS = ("train", "valid", "test")

BLOCK_BYTES = 2**24
"""Bytes that are decoded at a time (a scalar)."""


NUM_FITTED = 10_000
"""Number of codes for the Gaussian that replaces a missing prior, a count."""


_SAMPLER = 2**32 - 3
"""Folded into the key for the draws and the fit of a sampler, a scalar."""


class NotApplicableError(VaeJaxError):
    """A metric does not apply to this model or these data; its text gives the reason."""


class AtMost(int):
    """A default count (a scalar) of a setting that is reduced to fit the data.

    A number that the user sets has another type: it is used unchanged, or refused if it does not
    fit.
    """

    def __new__(cls, count: int):
        return super().__new__(cls, count)

    @staticmethod
    def fit(count: int, most: int) -> int:
        """Returns the count; a default is reduced to `most`; scalars."""
        return min(count, most) if isinstance(count, AtMost) else count


class Subject:
    """A trained model and its data, with cached results that several metrics share.

    Codes have only the latent dimensions in use: those of the mask, which come first, or all.

    Args:
        model: a `Model` whose p(x|z) is a density, see `elbo.freeze_likelihood`.
        params: its parameters.
        dataset: has `train`, `valid` and `test`, each with rows x [N, *stored], labels [N] or None,
            factors [N, F] or None; as of `vae_jax.data.load`.
        preprocess: (stored [B, *stored], key) to x [B, *shape].
        key: PRNG key, scalar, for all draws.
        num_examples: number of test examples to use, evenly spaced in the split, because its order
            may follow the factors; None means all.
        conditions: for a conditional model, what is known of each row beside x, as of
            `training.Conditions`: for each split arrays [N, …] by name.
        given: (model, params, batch) to the model conditioned on a batch.
    """

    def __init__(
        self,
        model,
        params,
        dataset,
        *,
        preprocess: Callable,
        key: jax.Array,
        num_examples: int | None = None,
        conditions: Any = None,
        given: Callable | None = None,
    ):
        self.model, self.params, self.dataset = model, params, dataset
        self.conditions, self._given = conditions, given
        self.preprocess, self.key = preprocess, key
        self.num_examples = num_examples
        self._held: dict[tuple, Any] = {}
        self._fitted: dict[str, Any] = {}

    def size(self, split: str = "test") -> int:
        """The number of examples in use from a split, a count."""
        num = len(getattr(self.dataset, split))
        return num if split != "test" or self.num_examples is None else min(num, self.num_examples)

    def labels(self, split: str = "test", num_examples: int | None = None) -> np.ndarray | None:
        """Labels of the rows of `blocks`, [N], below 0 if unknown; None if the data have none."""
        labels = getattr(self.dataset, split).labels
        return None if labels is None else labels[self._rows(split, num_examples)]

    def factors(self, split: str = "test") -> np.ndarray | None:
        """[N, F], or None if the data have none."""
        factors = getattr(self.dataset, split).factors
        return None if factors is None else factors[self._rows(split)]

    def _rows(self, split: str, num_examples: int | None = None) -> np.ndarray:
        """The rows of a split in use: ascending indices [N], evenly spaced."""
        num = self.size(split)
        num = num if num_examples is None else min(num, num_examples)
        return np.arange(num) * len(getattr(self.dataset, split)) // num

    @property
    def latent_dim(self) -> int:
        """L, the number of latent dimensions in use, a count."""
        mask = self.model.latent_mask
        return self.model.latent_dim if mask is None else int(np.asarray(mask).sum())

    @functools.cached_property
    def prior(self) -> Any:
        """p(z) over the dimensions in use, arrays [L].

        For a model without a prior, a density fit to codes of at most `NUM_FITTED` training
        examples, see `Latent.fitted`.
        """
        if not self.model.latent.has_prior:
            codes = self.posterior("train", NUM_FITTED).mean
            return self.model.latent.fitted(codes)
        return self.model.prior(self.params).first(self.latent_dim)

    def draws_from(self, sampler: str) -> Any:
        """What new codes are drawn from, over the dimensions in use, arrays [L].

        Args:
            sampler: "prior" is `prior`; otherwise one of `samplers.names()`, fit to the codes of at
                most `NUM_FITTED` training examples, one draw of q(z|x) each.

        Raises:
            NotApplicableError: dimensions of the code are discrete.
            UsageError: there is no such sampler.
            DataError: there are too few codes.
        """
        if sampler == "prior":
            return self.prior
        made = samplers.make(sampler)
        self.require_continuous()
        if sampler not in self._fitted:
            draw_key, fit_key = jax.random.split(jax.random.fold_in(self.key, _SAMPLER))
            codes = np.asarray(self._draws(draw_key))
            self._fitted[sampler] = made.fit(codes, fit_key)
        return self._fitted[sampler]

    def _draws(self, key: jax.Array) -> np.ndarray:
        """One draw of q(z|x) for each of at most `NUM_FITTED` training examples, [N, L]."""

        def draw(params, stored, positions):
            x = self.inputs(stored, positions)
            own_key = jax.random.fold_in(key, positions[0])
            return self.given(params, stored, x).encode(params, x).sample(own_key)

        return self.over(draw, "train", num_examples=NUM_FITTED)[:, : self.latent_dim]

    def require_gaussian(self) -> None:
        """Raises NotApplicableError unless q(z|x) and p(z) over [L] are `DiagonalGaussian`s."""
        self.require_gaussian_posterior()
        prior = type(self.model.prior(self.params))
        if prior is not DiagonalGaussian:
            raise NotApplicableError(
                "it asks for a Gaussian prior with independent dimensions, p(z) is of type "
                f"{prior.__name__}"
            )

    def require_gaussian_posterior(self) -> None:
        """Raises NotApplicableError unless q(z|x) over [L] is a `DiagonalGaussian`; any p(z)."""
        if not self.model.latent.has_prior:
            raise NotApplicableError("it asks for a Gaussian code, and this one is a point")
        if not self.model.latent.is_continuous:
            raise NotApplicableError(f"it asks for a Gaussian code, z is {self.model.latent}")
        model = self.model.given(jnp.zeros((1, self.model.num_conditions)))
        x = jax.ShapeDtypeStruct((1, *model.shape), jnp.float32)
        posterior = type(jax.eval_shape(model.encode, self.params, x))
        if posterior is not DiagonalGaussian:
            raise NotApplicableError(
                "it asks for a Gaussian posterior with independent dimensions, q(z|x) is of "
                f"type {posterior.__name__}"
            )

    def require_continuous(self) -> None:
        """Raises NotApplicableError if dimensions of a code [L] are discrete."""
        if not self.model.latent.is_continuous:
            raise NotApplicableError(f"it asks for a continuous code, z is {self.model.latent}")

    @functools.cached_property
    def decode_mean(self) -> Callable:
        """E[x|z] as a function of the dimensions in use: [B, L] to [B, *shape].

        Raises:
            NotApplicableError: the model is conditional, or examples differ in length.
        """
        self.require_unconditional()
        self.require_complete()

        def decode_mean(z):
            unused = self.model.latent_dim - z.shape[1]
            return self.model.decode_mean(self.params, jnp.pad(z, ((0, 0), (0, unused))))

        return decode_mean

    @functools.cached_property
    def onto(self) -> Callable:
        """The codes nearest to points of the dimensions in use, see `Model.onto`: [B, L] to [B, L].

        Codes of a sphere are on it, codes of a ball in it; other points are codes themselves.
        """

        def onto(z):
            unused = self.model.latent_dim - z.shape[1]
            return self.model.onto(jnp.pad(z, ((0, 0), (0, unused))))[:, : z.shape[1]]

        return onto

    def require_complete(self) -> None:
        """Raises NotApplicableError if numbers of x [N, *shape] may be missing."""
        if self.model.likelihood.has_missing:
            raise NotApplicableError(
                "examples of several lengths, or with missing values, have no distances"
            )

    @property
    def num_rows(self) -> int:
        """The number of examples at a time, a count."""
        return max(1, min(500, BLOCK_BYTES // (4 * math.prod(self.model.shape))))

    def blocks(self, split: str, num_rows: int | None = None, num_examples: int | None = None):
        """Yields blocks of examples of equal size, so one program serves all of them.

        Args:
            split: "train", "valid" or "test".
            num_rows: B; None means as many as fit in `BLOCK_BYTES`.
            num_examples: N, evenly spaced among the examples in use; None means all of them.

        Yields:
            (stored [B, *stored], positions of the rows in the split [B], number of rows that
                count). The last block is padded with its last row. For a conditional model, stored
                is a dictionary with the rows as "x" and what is known of them.
        """
        if split not in SPLITS or not len(getattr(self.dataset, split)):
            known = [name for name in SPLITS if len(getattr(self.dataset, name))]
            raise UsageError(f"split={split}: must hold examples, choose one of {', '.join(known)}")
        rows, chosen = getattr(self.dataset, split).x, self._rows(split, num_examples)
        if self.conditions is not None:
            rows = {"x": rows, **getattr(self.conditions, split)}
        size = min(num_rows or self.num_rows, len(chosen))
        for first in range(0, len(chosen), size):
            places = chosen[first : first + size]

            def take(leaf, places=places):
                stored = np.asarray(leaf[places])
                padding = ((0, size - len(stored)), *((0, 0) for _ in stored.shape[1:]))
                return np.pad(stored, padding, mode="edge")

            positions = np.pad(places, (0, size - len(places)), mode="edge").astype(np.int32)
            yield jax.tree.map(take, rows), positions, len(places)

    def over(self, function: Callable, split: str = "test", **chosen) -> Any:
        """Evaluates a function on every example.

        Args:
            function: (params, stored [B, *stored], their positions [B]) to a pytree of [B, …], row
                by row; compiled once.
            split, chosen: see `blocks`.

        Returns:
            The pytree of NumPy arrays [N, …].
        """
        compiled, parts = jax.jit(function), []
        for stored, positions, kept in self.blocks(split, **chosen):
            values = compiled(self.params, stored, positions)
            parts.append(jax.tree.map(lambda leaf, kept=kept: np.asarray(leaf)[:kept], values))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)

    def mean_over(self, function: Callable, split: str = "test", **chosen) -> Any:
        """The mean of a function over examples, see `over`: a pytree of NumPy arrays […]."""

        @jax.jit
        def add(total, params, stored, positions, kept):
            def sum_kept(leaf):
                mask = jnp.arange(len(leaf)) < kept
                return jnp.tensordot(mask.astype(leaf.dtype), leaf, 1, precision="highest")

            sums = jax.tree.map(sum_kept, function(params, stored, positions))
            return sums if total is None else jax.tree.map(jnp.add, total, sums)

        total, num = None, 0
        for stored, positions, kept in self.blocks(split, **chosen):
            total, num = add(total, self.params, stored, positions, kept), num + kept
        return jax.tree.map(lambda leaf: np.asarray(leaf) / np.float32(num), total)

    def inputs(self, stored, positions) -> jax.Array:
        """The rows of a block as inputs of the model, x [B, *shape].

        Each row has its own key, which depends on its position in the split, the same as in
        `nll.sample`: all metrics use the same binarization, however the rows are chosen and
        blocked.
        """

        def one(row, position):
            key, _ = jax.random.split(jax.random.fold_in(self.key, position))
            return self.preprocess(row[None], key)[0]

        stored = stored["x"] if isinstance(stored, dict) else stored
        return jax.vmap(one)(stored, positions)

    def given(self, params, stored, x):
        """Conditions the model on the rows of a block, whose inputs are x."""
        if self._given is None:
            return self.model
        return self._given(self.model, params, {**stored, "x": x})

    def require_unconditional(self) -> None:
        """Raises NotApplicableError if p(x|z) depends on more than z (of any shape)."""
        if self.model.num_conditions:
            raise NotApplicableError("the model is conditional: a code alone says nothing of x")

    def density(self, stored) -> tuple[Any, Any]:
        """Stored rows [B, *stored] and the model of p(x), or of p(x|c) if the data contain c.

        Raises:
            NotApplicableError: the model infers its own condition.
        """
        if self.conditions is None:
            return stored, self.model
        if "condition" not in stored:
            raise NotApplicableError(
                "the model infers its condition: p(x) is a sum over conditions, the bound is "
                "objective.elbo"
            )
        return stored["x"], self.model.given_encoded(stored["condition"])

    def x(self, split: str = "test", num_examples: int | None = None) -> np.ndarray:
        """The examples as inputs of the model, [N, *shape].

        Raises:
            DataError: they would take more memory than there is.
        """
        num = len(self._rows(split, num_examples))
        num_bytes = num * math.prod(self.model.shape) * np.dtype(np.float32).itemsize
        what = f"all {num:,} examples of {split} at once"
        memory.check(what, num_bytes, "take fewer of them with `num_examples`")

        def see(params, stored, positions):
            del params
            return self.inputs(stored, positions)

        return self._once(see, split, num_examples)

    def posterior(self, split: str = "test", num_examples: int | None = None):
        """q(z|x) of every example: `DiagonalGaussian` or another posterior of arrays [N, L]."""

        def encode(params, stored, positions):
            x = self.inputs(stored, positions)
            posterior = self.given(params, stored, x).encode(params, x)
            return posterior.first(self.latent_dim)

        return self._once(encode, split, num_examples)

    def _once(self, function: Callable, split: str, num_examples: int | None):
        """`over`, cached by the function's name, the split and the number."""
        num = len(self._rows(split, num_examples))
        asked = function.__name__, split, num
        if asked not in self._held:
            self._held[asked] = self.over(function, split, num_examples=num)
        return self._held[asked]
