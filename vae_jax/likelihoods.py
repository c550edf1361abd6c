"""What the outputs of a decoder mean: one frozen class per likelihood p(x|z).

A likelihood turns decoder outputs into log-probabilities, means and samples. It is hashable, so it
is a static argument of a jitted function; what it learns is in `params`, a pytree of its own.
Half-precision data and outputs are cast to float32 here, before any density is computed.
"""

import dataclasses
import math
import numbers
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from vae_jax import distributions, losses
from vae_jax.errors import UsageError, did_you_mean, unknown

__all__ = [
    "INITIAL_LOGVAR",
    "MANY_LEVELS",
    "NAMES",
    "Bernoulli",
    "Categorical",
    "DiscretizedLogistic",
    "Gaussian",
    "Laplace",
    "Likelihood",
    "Text",
    "ended",
    "make",
]

Params = dict[str, jax.Array]

# Between the log variances of images in [0, 1] (about −3) and of standardized data (0). Not above:
# a variance that starts too large closes latent dimensions which a smaller one would have used
# (Lucas et al. 2019, Don't Blame the ELBO!, arXiv 1911.02469).
INITIAL_LOGVAR = -2.0
MANY_LEVELS = 1024
"""Levels (a scalar) up to which each has an output, or is looked at, of its own."""


def _at_least_float32(array: jax.Array) -> jax.Array:
    """Casts half precision to float32, any shape."""
    return array.astype(jnp.float32) if array.dtype.itemsize < 4 else array


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """p(x|z) given the outputs of a decoder, for data of shape [B, *shape].

    Decoder outputs have shape [B, *shape], or [B, *shape, num_outputs] where num_outputs > 1.

    A number that is missing is NaN where `has_missing`: it adds exactly 0 to the log-probability
    and to every gradient.

    Attributes:
        has_missing: whether x may hold NaN.
        num_outputs: decoder outputs per data dimension.
        requires: values the data must have: 'unit' (in [0, 1]), 'levels' (on the grid k/(num_levels
            − 1)), 'text' (characters, see `Text`) or 'real'.
    """

    has_missing: bool = dataclasses.field(default=False, kw_only=True, repr=False)

    num_outputs: ClassVar[int] = 1
    requires: ClassVar[str] = "real"

    def init(self, shape: tuple[int, ...]) -> Params:
        """The initial parameters of the likelihood itself.

        Args:
            shape: shape of one data example.

        Returns:
            {} where nothing is learned, else {'logvar': a scalar or [*shape]}.
        """
        return {}

    def fit(
        self, params: Params, outputs: jax.Array, x: jax.Array, mask: jax.Array | None = None
    ) -> Params:
        """The parameters to use for this batch: unchanged, unless they have a closed form.

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
        # the gradient of what `where` leaves out is 0 only where that is finite
        values = self.log_probs(params, outputs, jnp.where(is_known, x, 0.0))
        return losses.sum_event(jnp.where(is_known, values, 0.0))

    def log_probs(self, params: Params, outputs: jax.Array, x: jax.Array) -> jax.Array:
        """log p of each number of x: as `log_prob`, but [B, *shape], and x without NaN."""
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
        """A likely x, one that the data could hold; params, outputs and x as of `mean`."""
        return self.mean(params, outputs)

    def of_step(self) -> "Likelihood":
        """Of a sequence, p of one step x_t [B, *shape[1:]] given those before it."""
        return self

    def cut(self, x: jax.Array) -> jax.Array:
        """x [B, *shape] that was drawn step by step, without what follows its end."""
        return x

    def num_known(self, x: jax.Array) -> jax.Array:
        """How many numbers of each x [B, *shape] count, float32 [B]: all that are not missing."""
        if not self.has_missing:
            return jnp.full(x.shape[:1], math.prod(x.shape[1:]), jnp.float32)
        return jnp.sum((~jnp.isnan(x)).astype(jnp.float32), axis=range(1, x.ndim))

    def is_mass(self, x: jax.Array) -> jax.Array:
        """Whether `log_prob` is the log-probability of discrete data, so that bits measure it.

        Args:
            x: data, shape [B, *shape].

        Returns:
            Booleans, shape [B]: False for a density, and for soft targets.
        """
        return jnp.full(x.shape[:1], self.requires == "levels")

    def frozen(self) -> "Likelihood":
        """The same density with `fit` the identity: for evaluation and after training.

        Returns:
            A likelihood that takes `params` of the same structure and shapes; itself where `fit`
            computes nothing.
        """
        return self


@dataclasses.dataclass(frozen=True)
class Bernoulli(Likelihood):
    """Independent pixels in {0, 1}; outputs are logits [B, *shape].

    Data between 0 and 1 are soft targets: the log-probability is then minus the cross-entropy, not
    a density of grey levels.
    """

    requires: ClassVar[str] = "unit"

    def log_prob(self, params, outputs, x):
        if self.has_missing:
            return super().log_prob(params, outputs, x)
        return -losses.bernoulli_distortion(_at_least_float32(x), _at_least_float32(outputs))

    def log_probs(self, params, outputs, x):
        return distributions.bernoulli_log_prob(_at_least_float32(x), _at_least_float32(outputs))

    def is_mass(self, x):
        return jnp.all((x == 0) | (x == 1) | jnp.isnan(x), axis=range(1, x.ndim))

    def mean(self, params, outputs):
        return jax.nn.sigmoid(_at_least_float32(outputs))

    def mode(self, params, outputs):
        return (_at_least_float32(outputs) > 0).astype(jnp.float32)

    def sample(self, params, key, outputs):
        mean = self.mean(params, outputs)
        return jax.random.bernoulli(key, mean).astype(mean.dtype)


@dataclasses.dataclass(frozen=True)
class _Scaled(Likelihood):
    """A likelihood with a mean [B, *shape] from the decoder and a log variance of its own.

    Attributes:
        variance: a positive number (fixed), 'learned' (one scalar for all dimensions),
            'learned_per_dimension', or 'given': a scalar in the parameters that training leaves as
            it is, so that runs with different variances are one program.
    """

    variance: float | str = "learned"

    variances: ClassVar[tuple[str, ...]] = ("learned", "learned_per_dimension", "given")

    def __post_init__(self):
        if self.variance in self.variances:
            return
        # Beyond these, `bound_logvar` would replace the variance by another.
        lowest, highest = (math.exp(s * distributions.LOGVAR_BOUND) for s in (-1, 1))
        if _is_number(self.variance) and lowest <= self.variance <= highest:
            return
        raise UsageError(
            f"variance={self.variance}: {type(self).__name__} takes a number from {lowest:.2g} to "
            f"{highest:.2g} or one of {', '.join(self.variances)}"
            f"{did_you_mean(str(self.variance), self.variances)}"
        )

    def init(self, shape):
        if _is_number(self.variance):
            return {}
        shape = shape if self.variance == "learned_per_dimension" else ()
        return {"logvar": jnp.full(shape, INITIAL_LOGVAR, jnp.float32)}

    def _logvar(self, params: Params) -> jax.Array:
        """The log variance in use, a scalar or [*shape]."""
        if _is_number(self.variance):
            return jnp.asarray(math.log(self.variance))
        logvar = _at_least_float32(params["logvar"])
        return jax.lax.stop_gradient(logvar) if self.variance == "given" else logvar

    @property
    def initial_deviation(self) -> float:
        """The standard deviation of each dimension that training begins with, a scalar."""
        logvar = math.log(self.variance) if _is_number(self.variance) else INITIAL_LOGVAR
        return math.exp(logvar / 2)

    def mean(self, params, outputs):
        return _at_least_float32(outputs)


@dataclasses.dataclass(frozen=True)
class Gaussian(_Scaled):
    """N(outputs, variance) in every dimension, outputs [B, *shape].

    Attributes:
        variance: a positive number (fixed), 'learned' (one scalar), 'learned_per_dimension', or
            'optimal': the mean squared error of the batch at hand (see `losses.optimal_logvar`).
    """

    variances: ClassVar[tuple[str, ...]] = (*_Scaled.variances, "optimal")

    def __post_init__(self):
        super().__post_init__()
        if self.variance == "optimal" and self.has_missing:
            raise UsageError(
                "variance=optimal: is an average over a batch of numbers that are all there, these "
                "data have sequences of several lengths: take variance=learned"
            )

    def fit(self, params, outputs, x, mask=None):
        if self.variance != "optimal":
            return params
        outputs, x = _at_least_float32(outputs), _at_least_float32(x)
        return {"logvar": losses.optimal_logvar(x, outputs, mask)}

    def log_probs(self, params, outputs, x):
        outputs, x = _at_least_float32(outputs), _at_least_float32(x)
        return distributions.gaussian_log_prob(x, outputs, self._logvar(params))

    def sample(self, params, key, outputs):
        mean = self.mean(params, outputs)
        logvar = jnp.broadcast_to(self._logvar(params), mean.shape)
        return distributions.reparameterize(key, mean, logvar)

    def frozen(self):
        is_fitted = self.variance == "optimal"
        return dataclasses.replace(self, variance="learned") if is_fitted else self


@dataclasses.dataclass(frozen=True)
class Laplace(_Scaled):
    """Laplace variables with mean outputs [B, *shape] and variance 2b² in every dimension.

    Attributes:
        variance: a positive number (fixed), 'learned' (one scalar) or 'learned_per_dimension'.
    """

    def log_probs(self, params, outputs, x):
        outputs, x = _at_least_float32(outputs), _at_least_float32(x)
        return distributions.laplace_log_prob(x, outputs, self._logvar(params))

    def sample(self, params, key, outputs):
        mean = self.mean(params, outputs)
        logvar = distributions.bound_logvar(self._logvar(params))
        # b = exp(½ (logvar − log 2))
        scale = jnp.broadcast_to(jnp.exp(0.5 * (logvar - math.log(2))), mean.shape)
        return mean + scale * jax.random.laplace(key, mean.shape, mean.dtype)


@dataclasses.dataclass(frozen=True)
class DiscretizedLogistic(_Scaled):
    """Logistic variables around outputs [B, *shape], rounded to levels in [0, 1].

    Attributes:
        variance: of the logistic variable before rounding: a positive number (fixed), 'learned'
            (one scalar) or 'learned_per_dimension'.
        num_levels: number of levels.
    """

    num_levels: int = 256

    requires: ClassVar[str] = "levels"

    def __post_init__(self):
        super().__post_init__()
        _check_num_levels(self.num_levels)

    def log_probs(self, params, outputs, x):
        return distributions.discretized_logistic_log_prob(
            _at_least_float32(x),
            _at_least_float32(outputs),
            self._logvar(params),
            num_levels=self.num_levels,
        )

    def _scale(self, params: Params, outputs: jax.Array) -> jax.Array:
        """The scale s = exp(½ logvar) √3/π, broadcast to the shape of outputs [B, *shape]."""
        logvar = distributions.bound_logvar(self._logvar(params))
        return jnp.broadcast_to(math.sqrt(3) / math.pi * jnp.exp(0.5 * logvar), outputs.shape)

    def mean(self, params, outputs):
        outputs = _at_least_float32(outputs)
        scale = self._scale(params, outputs)

        if self.num_levels > MANY_LEVELS:
            # the sum below is the midpoint rule of ∫₀¹ σ((m − t)/s) dt, here to half a level
            above, below = (scale * jax.nn.softplus((outputs - t) / scale) for t in (0.0, 1.0))
            return above - below

        def add_level(k, total):
            bin_edge = (k - 0.5) / (self.num_levels - 1)
            return total + jax.nn.sigmoid((outputs - bin_edge) / scale)

        # E[x] = 1/(V−1) Σ_{k=1}^{V−1} p(x ≥ level k), in a loop: no array [B, *shape, V]
        total = jax.lax.fori_loop(1, self.num_levels, add_level, jnp.zeros_like(outputs))
        return total / (self.num_levels - 1)

    def mode(self, params, outputs):
        return self._nearest(_at_least_float32(outputs))

    def _nearest(self, values: jax.Array) -> jax.Array:
        """The nearest levels to values of any shape."""
        return jnp.round(jnp.clip(values, 0.0, 1.0) * (self.num_levels - 1)) / (self.num_levels - 1)

    def sample(self, params, key, outputs):
        outputs = _at_least_float32(outputs)
        noise = jax.random.logistic(key, outputs.shape, outputs.dtype)
        return self._nearest(outputs + self._scale(params, outputs) * noise)


@dataclasses.dataclass(frozen=True)
class Categorical(Likelihood):
    """A probability for every level in [0, 1]; outputs are logits [B, *shape, num_levels].

    Attributes:
        num_levels: number of levels.
    """

    num_levels: int = 256

    requires: ClassVar[str] = "levels"

    def __post_init__(self):
        _check_num_levels(self.num_levels)

    @property
    def num_outputs(self) -> int:
        """Decoder outputs per data dimension, a scalar: `num_levels`."""
        return self.num_levels

    def log_probs(self, params, outputs, x):
        # The level of x is k, x = k/(V−1).
        level = jnp.round(_at_least_float32(x) * (self.num_levels - 1)).astype(int)
        return distributions.categorical_log_prob(level, _at_least_float32(outputs))

    def mean(self, params, outputs):
        outputs = _at_least_float32(outputs)
        levels = jnp.arange(self.num_levels, dtype=outputs.dtype) / (self.num_levels - 1)
        # E[x] = Σ_k p(k) k/(V−1)
        return jax.nn.softmax(outputs, axis=-1) @ levels

    def mode(self, params, outputs):
        outputs = _at_least_float32(outputs)
        return jnp.argmax(outputs, axis=-1).astype(outputs.dtype) / (self.num_levels - 1)

    def sample(self, params, key, outputs):
        outputs = _at_least_float32(outputs)
        level = jax.random.categorical(key, outputs, axis=-1)
        return level.astype(outputs.dtype) / (self.num_levels - 1)


@dataclasses.dataclass(frozen=True)
class Text(Categorical):
    """Strings of at most T symbols; outputs are logits [B, T, num_levels].

    x is [B, T]: level k > 0 stands for the k-th character, level 0 for the end, and what follows
    the end is NaN. A string of T characters has no end, as nothing could follow it: so the
    probabilities of all strings of up to T characters sum to 1.

    Attributes:
        num_levels: characters and the end.
    """

    has_missing: bool = dataclasses.field(default=True, kw_only=True, repr=False)

    requires: ClassVar[str] = "text"

    def is_mass(self, x):
        return jnp.ones(x.shape[:1], bool)

    def mean(self, params, outputs):
        """Characters have no mean: the likeliest ones, as `mode`; outputs [B, T, num_levels]."""
        return self.mode(params, outputs)

    def mode(self, params, outputs):
        return ended(super().mode(params, outputs))

    def sample(self, params, key, outputs):
        return ended(super().sample(params, key, outputs))

    def of_step(self):
        return Categorical(self.num_levels)

    def cut(self, x):
        return ended(x)


def ended(x: jax.Array) -> jax.Array:
    """Levels of text [B, T] with NaN for all that follows the first 0, the end of a string."""
    is_end = (x == 0).astype(jnp.int32)
    return jnp.where(jnp.cumsum(is_end, axis=1) > is_end, jnp.nan, x)


def _is_number(value: Any) -> bool:
    """Whether a value is a number and not a truth value (a scalar)."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _check_num_levels(num_levels: int) -> None:
    """Raises UsageError unless the number of levels (a scalar) is an integer of at least 2."""
    if not isinstance(num_levels, numbers.Integral) or num_levels < 2:
        raise UsageError(f"num_levels={num_levels}: must be an integer of at least 2")


_CLASSES = {
    "bernoulli": Bernoulli,
    "gaussian": Gaussian,
    "laplace": Laplace,
    "logistic": DiscretizedLogistic,
    "categorical": Categorical,
    "text": Text,
}
NAMES = tuple(_CLASSES)


def make(
    name: str,
    *,
    variance: float | str = "learned",
    num_levels: int | None = None,
    has_missing: bool = False,
) -> Likelihood:
    """The likelihood of a name, as a user would type it.

    Args:
        name: one of `NAMES`.
        variance: a positive number (fixed), 'learned' (one scalar), 'learned_per_dimension' or, for
            'gaussian', 'optimal'; 'bernoulli', 'categorical' and 'text' have none and take only the
            default.
        num_levels: number of levels of the data, a scalar, 256 by default; read only by the
            likelihoods over levels, 'logistic', 'categorical' and 'text'.
        has_missing: whether x may hold NaN, of text always.

    Returns:
        A frozen, hashable likelihood for data of any shape.

    Raises:
        UsageError: the name is unknown, or the variance or the number of levels does not fit it.
    """
    if name not in _CLASSES:
        raise unknown("likelihood", name, NAMES)
    cls = _CLASSES[name]
    options = {"has_missing": has_missing or cls is Text}
    if issubclass(cls, _Scaled):
        options["variance"] = variance
    elif variance != "learned":
        # text has no likelihood but its own
        remedy = "" if cls is Text else ", or take gaussian"
        raise UsageError(
            f"variance={variance}: the {name} likelihood has no variance: leave it out{remedy}"
        )
    if cls is Categorical and (num_levels or 0) > MANY_LEVELS:
        raise UsageError(
            f"likelihood={name}: the data has {num_levels:,} levels, each of which would need an "
            f"output for every number: must be at most {MANY_LEVELS:,}; take logistic or gaussian"
        )
    if cls.requires in ("levels", "text") and num_levels is not None:
        options["num_levels"] = num_levels
    return cls(**options)
