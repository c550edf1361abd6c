"""The base class of all likelihoods p(x|z)."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import losses

__all__ = ["Likelihood", "Params", "at_least_float32"]

Params = dict[str, jax.Array]


def at_least_float32(array: jax.Array) -> jax.Array:
    """Casts half precision to float32, any shape."""
    return array.astype(jnp.float32) if array.dtype.itemsize < 4 else array


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """p(x|z) given the outputs of a decoder, for data of shape [B, *shape].

    Decoder outputs have shape [B, *shape], or [B, *shape, num_outputs] if num_outputs > 1.

    If `has_missing`, missing numbers are NaN. They add exactly 0 to the log-probability and to
    every gradient.

    Attributes:
        has_missing: whether x may hold NaN.
        num_outputs: decoder outputs per data dimension.
        requires: values the data must have: 'unit' (in [0, 1]), 'open' (in (0, 1)), 'levels' (on
            the grid k/(num_levels − 1)), 'counts' (whole numbers ≥ 0), 'text' (characters, see
            `Text`), 'columns' (those of a schema) or 'real'.
        is_of_raw: whether x must keep its own units, so that `scaling=auto` does not rescale it.
        variances: the words accepted for a variance; () if there is none.
        choices: the words accepted for each setting that is a flag, by field.
        numeric: the fields of `choices` that accept a positive number, too.
        of_runs: the fields of `choices` that each run has, since the data may choose its
            likelihood; the others are those of a likelihood that is given.
        max_levels: the largest number of levels that `make` accepts; None for no limit.
        initial_deviation: the standard deviation of each dimension at the start of training, a
            scalar; values many deviations away cause a warning.
        neutral: a value that x may have, which stands for missing ones while densities are
            computed, a scalar.
        is_vector: whether the last axis of x holds the numbers of one value.
    """

    has_missing: bool = dataclasses.field(default=False, kw_only=True, repr=False)

    num_outputs: ClassVar[int] = 1
    requires: ClassVar[str] = "real"
    is_of_raw: ClassVar[bool] = False
    choices: ClassVar[dict[str, tuple[str, ...]]] = {}
    of_runs: ClassVar[tuple[str, ...]] = ()
    numeric: ClassVar[tuple[str, ...]] = ()
    variances: ClassVar[tuple[str, ...]] = ()
    max_levels: ClassVar[int | None] = None
    initial_deviation: ClassVar[float] = 1.0
    neutral: ClassVar[float] = 0.0
    is_vector: ClassVar[bool] = False

    def init(self, shape: tuple[int, ...]) -> Params:
        """The initial parameters of the likelihood itself, not of the decoder.

        Args:
            shape: shape of one data example.

        Returns:
            {} if nothing is learned, else arrays by name: {'logvar': a scalar or [*shape]}.
        """
        return {}

    @property
    def fixed(self) -> tuple[str, ...]:
        """Names of the parameters of `init` that training does not change."""
        return ()

    @property
    def num_examples(self) -> int:
        """The number of training rows that `begin` needs, a count; 0 for none."""
        return 0

    def begin(self, params: Params, examples: jax.Array) -> Params:
        """Sets initial parameters that depend on the data.

        Args:
            params: parameters from `init`.
            examples: evenly spaced training rows, [num_examples, *shape].

        Returns:
            Parameters of the same structure.
        """
        del examples
        return params

    def starts_near(self, examples: jax.Array) -> jax.Array | None:
        """Decoder outputs that fit all rows alike, at which training begins; None for no such.

        Args:
            examples: evenly spaced training rows, [num_examples, *shape].

        Returns:
            Outputs of one example, [*shape] or [*shape, num_outputs]: the bias of the decoder's
            last layer, if it has one for each number.
        """
        del examples
        return None

    @property
    def is_joint(self) -> bool:
        """Whether the distribution of a number depends on the others of its row; a scalar."""
        return False

    @property
    def has_path(self) -> bool:
        """Whether samples are differentiable functions of the outputs and of noise; a scalar."""
        return False

    def seen(self, x: jax.Array) -> jax.Array:
        """What the networks read in place of x, [B, *shape] to the same shape."""
        return x

    def sized(
        self,
        params: Params,
        outputs: jax.Array,
        x: jax.Array | None = None,
        condition: jax.Array | None = None,
    ) -> jax.Array:
        """Outputs as the other methods take them: with what else they depend on, if anything.

        This is the total of each row of x, and the likelihood's own parameters for its condition.

        Args:
            params: parameters from `init` or training.
            outputs: decoder outputs, shape [B, *shape] or [B, *shape, num_outputs].
            x: data, shape [B, *shape]; None takes a typical total.
            condition: that of a conditional model, [M, C], B a multiple of M; or None.

        Returns:
            The same shape; if `reads_condition`, an output of each number more.
        """
        del params, x, condition
        return outputs

    @property
    def reads_condition(self) -> bool:
        """Whether its own parameters depend on the condition of a row; a scalar."""
        return False

    def of_conditions(self, num: int) -> "Likelihood":
        """The likelihood of a model with a condition of `num` numbers, a count; 0 for none.

        Raises:
            UsageError: it depends on a condition, and there is none.
        """
        del num
        return self

    def fit(
        self, params: Params, outputs: jax.Array, x: jax.Array, mask: jax.Array | None = None
    ) -> Params:
        """The parameters to use for this batch: unchanged, unless they have a closed-form optimum.

        Args:
            params: parameters from `init`.
            outputs: decoder outputs, shape [B, *shape].
            x: data, shape [B, *shape].
            mask: rows that count, shape [B].

        Returns:
            Parameters of the same structure.
        """
        return params

    def log_prob(self, params: Params, outputs: jax.Array, x: jax.Array) -> jax.Array:
        """log p(x|z), summed over the event axes; minus the distortion.

        Args:
            params: parameters from `init`, `fit` or training.
            outputs: decoder outputs, shape [B, *shape] or [B, *shape, num_outputs].
            x: data, shape [B, *shape].

        Returns:
            Log-probabilities in nats, shape [B].
        """
        if not self.has_missing:
            return losses.sum_event(self.log_probs(params, outputs, x))
        is_known = ~jnp.isnan(x)
        # `where` has a zero gradient for what it drops only if that value is finite
        values = self.log_probs(params, outputs, self.filled(x))
        return losses.sum_event(jnp.where(is_known, values, 0.0))

    def log_probs(self, params: Params, outputs: jax.Array, x: jax.Array) -> jax.Array:
        """log p of each number of x, without the sum of `log_prob`: [B, *shape]; x without NaN."""
        raise NotImplementedError

    def mean(self, params: Params, outputs: jax.Array) -> jax.Array:
        """E[x|z], in data space.

        Args:
            params: parameters from `init`, `fit` or training.
            outputs: decoder outputs, shape [B, *shape] or [B, *shape, num_outputs].

        Returns:
            Means, shape [B, *shape].
        """
        raise NotImplementedError

    def outputs_near(self, mean: jax.Array) -> jax.Array:
        """Outputs with about a given mean, from which the best constant ones are searched.

        Args:
            mean: E[x] over some data, [*shape].

        Returns:
            Decoder outputs of one example, [*shape] or [*shape, num_outputs].
        """
        if self.num_outputs == 1:
            return mean
        return jnp.zeros((*mean.shape, self.num_outputs), jnp.float32)

    def sample(self, params: Params, key: jax.Array, outputs: jax.Array) -> jax.Array:
        """x ~ p(x|z), in data space.

        Args:
            params: parameters from `init`, `fit` or training.
            key: random key.
            outputs: decoder outputs, shape [B, *shape] or [B, *shape, num_outputs].

        Returns:
            Samples, shape [B, *shape].
        """
        raise NotImplementedError

    def mode(self, params: Params, outputs: jax.Array) -> jax.Array:
        """A likely x with values that data can have; shapes as in `mean`."""
        return self.mean(params, outputs)

    def filled(self, x: jax.Array) -> jax.Array:
        """Replaces missing numbers of x [B, *shape] by ones that x may have."""
        return jnp.where(jnp.isnan(x), self.neutral, x)

    def observed(self, x: jax.Array) -> jax.Array:
        """Which values of x [B, *shape] are not missing: booleans [B, …]."""
        return ~jnp.isnan(x)

    def owners(self, shape: tuple[int, ...]) -> np.ndarray:
        """The index of the value to which each number of x [*shape] belongs, [D], ascending."""
        return np.arange(math.prod(shape))

    def read(self, x: jax.Array) -> jax.Array:
        """What an encoder gets of x [B, *shape] unless it reads NaN: [B, …, F].

        Missing numbers are 0, and after the numbers follows 1 for each value that is observed, and
        0 for others.

        Reference: Mattei and Frellsen 2019, MIWAE, arXiv 1812.02633, section 2 (zero imputation);
        Nazábal et al. 2020, arXiv 1807.03653, section 2.
        """
        if not self.has_missing:
            return self.seen(x)
        numbers = jnp.where(jnp.isnan(x), 0.0, self.seen(self.filled(x)))
        return jnp.concatenate([numbers, self.observed(x).astype(numbers.dtype)], axis=-1)

    def of_step(self) -> "Likelihood":
        """p of one step x_t given those before it, [B, 1, …] with a 1 for each axis of steps."""
        return self

    def cut(self, x: jax.Array) -> jax.Array:
        """Removes what follows the end of x [B, *shape], which was drawn step by step."""
        return x

    def num_known(self, x: jax.Array) -> jax.Array:
        """The number of values of each x [B, *shape] that are not missing, float32 [B]."""
        if not self.has_missing:
            return jnp.full(x.shape[:1], math.prod(x.shape[1:]), jnp.float32)
        return jnp.sum((~jnp.isnan(x)).astype(jnp.float32), axis=range(1, x.ndim))

    def is_mass(self, x: jax.Array) -> jax.Array:
        """Whether `log_prob` is the log-probability of discrete data, so bits are meaningful.

        Args:
            x: data, shape [B, *shape].

        Returns:
            Booleans, shape [B]: False for a density, and for soft targets.
        """
        return jnp.full(x.shape[:1], self.requires in ("levels", "counts"))

    def frozen(self) -> "Likelihood":
        """The same density with `fit` as the identity: for evaluation and after training.

        Returns:
            A likelihood that takes `params` of the same structure and shapes; the same object if
            `fit` computes nothing.
        """
        return self
