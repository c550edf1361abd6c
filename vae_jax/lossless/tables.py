"""The model's distributions as whole numbers, which sum to the same in both directions.

A decoder must find each frequency that the encoder used, to the last bit. So both call the same
compiled programs, on arrays of the same shape, with the same numbers in the rows that are padding;
and probabilities become integers here, in one place.
"""

import functools
import hashlib
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri

from vae_jax.distributions import DiagonalGaussian
from vae_jax.errors import UsageError
from vae_jax.evaluation._shared import require_density
from vae_jax.likelihoods import MANY_LEVELS, Bernoulli, LogisticMixture

__all__ = ["PRECISION", "PRIOR_BITS", "Tables", "batch_size_for", "check", "num_levels"]

PRIOR_BITS = 8
"""Each latent dimension is one of 2^8 buckets of equal mass under p(z), a count of bits."""
PRECISION = 20
"""Frequencies of the buckets under q(z|x), and of values under p(x|z), sum to 2^20."""
_BATCH_BYTES = 2**25
_MOST_ROWS = 64
_ONE_THREAD = {"xla_cpu_multi_thread_eigen": False}
"""A sum must not depend on the number of cores that a process has."""


def num_levels(model: Any) -> int | None:
    """How many values each number of x [B, *shape] can have; None if that depends on the data."""
    if isinstance(model.likelihood, Bernoulli):
        return 2
    return None if model.likelihood.requires == "counts" else model.likelihood.num_levels


def check(model: Any, params: Any) -> None:
    """Raises UsageError unless a `Model` of x [B, *shape] gives each value a probability.

    Args:
        model: the `Model`.
        params: its parameters, arrays or their shapes.
    """
    require_density(model)
    likelihood = model.likelihood
    is_known = isinstance(likelihood, Bernoulli) or likelihood.requires in ("levels", "counts")
    if not is_known:
        raise UsageError(
            f"compress: p(x|z) is {likelihood}, which gives single values no probability: train "
            "with likelihood=bernoulli, categorical or logistic on levels, or poisson on counts"
        )
    has_channels = len(model.shape) == 3 and model.shape[-1] in (2, 3)
    if likelihood.is_joint or (isinstance(likelihood, LogisticMixture) and has_channels):
        raise UsageError(
            f"compress: p(x|z) is {likelihood}, in which the numbers of a row depend on each "
            "other: train with likelihood=logistic or categorical, or counts without totals"
        )
    if model.reads_x:
        raise UsageError(
            "compress: the decoder reads x, one step after the other: train with network=mlp or "
            "conv"
        )
    if model.num_conditions:
        raise UsageError(
            "compress: the model is conditional, and a file holds no labels: train with "
            "objective=beta_vae"
        )
    if (num_levels(model) or 0) > MANY_LEVELS:
        raise UsageError(
            f"compress: {num_levels(model):,} levels, must be at most {MANY_LEVELS:,}: train on "
            "fewer"
        )
    x = jax.ShapeDtypeStruct((1, *model.shape), jnp.float32)
    found = jax.eval_shape(
        lambda params, x: (model.encode(params, x), model.prior(params)), params, x
    )
    for density, name in zip(found, ("q(z|x)", "p(z)"), strict=True):
        if not isinstance(density, DiagonalGaussian):
            raise UsageError(
                f"compress: {name} is {type(density).__name__}, must be a Gaussian with independent"
                " dimensions: train with objective=beta_vae, without `prior` and `posterior`"
            )


def batch_size_for(model: Any, num_values: int) -> int:
    """Rows whose tables are computed at a time, a power of two.

    Args:
        model: over x [B, *shape].
        num_values: V, how many values each number can have, a count.
    """
    numbers = math.prod(model.shape) * num_values + model.latent_dim * 2**PRIOR_BITS
    rows = max(1, min(_MOST_ROWS, _BATCH_BYTES // (4 * numbers)))
    return 1 << (rows.bit_length() - 1)


class Tables:
    """The integer frequencies of a model, by two programs for batches of one size.

    They run on the CPU, in one thread: accelerators sum in an order that differs between processes.

    Args:
        model: a `Model` that `check` accepts.
        params: its parameters, arrays of any shape.
        batch_size: B, a count.
        num_values: V, a count.

    Raises:
        UsageError: JAX has no CPU.
    """

    def __init__(self, model: Any, params: Any, batch_size: int, num_values: int):
        self.batch_size, self.num_values = batch_size, num_values
        self._shape = model.shape
        mask = model.latent_mask
        self.kept = np.flatnonzero(np.ones(model.latent_dim) if mask is None else np.asarray(mask))
        """The latent dimensions that are not masked, [L']."""
        cpu = _cpu()
        self._given = jax.device_put((model, params), cpu)
        self._cpu = cpu
        fixed = {"num_values": num_values}
        self._of_rows = self._compiled(functools.partial(_posterior, **fixed), model.shape)
        self._of_codes = self._compiled(
            functools.partial(_observation, **fixed), (model.latent_dim,)
        )

    def _compiled(self, function, shape):
        whole = jax.ShapeDtypeStruct((self.batch_size, *shape), jnp.int32)
        with jax.default_device(self._cpu):
            lowered = jax.jit(function).lower(*self._given, whole)
        return lowered.compile(compiler_options=_ONE_THREAD)

    def posterior(self, symbols: np.ndarray) -> np.ndarray:
        """Frequencies of the buckets of z under q(z|x).

        Args:
            symbols: the index of each value of x, integers [b, D], b at most B.

        Returns:
            uint32 [b, L', 2^8], which sum to 2^20.
        """
        x = self._padded(symbols).reshape(-1, *self._shape)
        return self._run(self._of_rows, x)[: len(symbols), self.kept]

    def observation(self, buckets: np.ndarray) -> np.ndarray:
        """Frequencies of the values of x under p(x|z).

        Args:
            buckets: of z, integers [b, L'], b at most B.

        Returns:
            uint32 [b, D, V], which sum to 2^20.
        """
        whole = np.zeros((len(buckets), self._given[0].latent_dim), np.int32)
        whole[:, self.kept] = buckets
        return self._run(self._of_codes, self._padded(whole))[: len(buckets)]

    def _padded(self, values: np.ndarray) -> np.ndarray:
        return np.pad(values.astype(np.int32), ((0, self.batch_size - len(values)), (0, 0)))

    def _run(self, program: Any, values: np.ndarray) -> np.ndarray:
        found = np.asarray(program(*self._given, jax.device_put(values, self._cpu)))
        if found.min(initial=1) < 1:
            raise UsageError(
                "compress: the model gives probabilities that are no numbers: look whether "
                "training diverged"
            )
        return found.astype(np.uint32)

    def fingerprint(self) -> bytes:
        """SHA-256 of frequencies of arbitrary rows and codes: equal if all will be, 32 bytes."""
        random = np.random.default_rng(0)
        size = math.prod(self._shape)
        rows = random.integers(0, self.num_values, (self.batch_size, size))
        codes = random.integers(0, 2**PRIOR_BITS, (self.batch_size, len(self.kept)))
        found = hashlib.sha256(self.posterior(rows).tobytes())
        found.update(self.observation(codes).tobytes())
        return found.digest()


def _cpu() -> Any:
    try:
        return jax.devices("cpu")[0]
    except RuntimeError:
        raise UsageError(
            "compress: runs on the CPU, which JAX_PLATFORMS leaves out: set JAX_PLATFORMS=cuda,cpu"
        ) from None


def _posterior(model, params, symbols, *, num_values):
    """Frequencies of the buckets of z, [B, L, 2^8], for symbols [B, *shape]."""
    q = model.encode(params, _values(model, symbols, num_values))
    prior = model.prior(params)
    num = 2**PRIOR_BITS
    inner = prior.mean[:, None] + prior.deviation[:, None] * ndtri(jnp.arange(1, num) / num)[None]
    standard = (inner[None] - q.mean[..., None]) / q.deviation[..., None]  # [B, L, 2^8 − 1]
    below = jax.lax.cummax(ndtr(standard), axis=2)
    ends = jnp.zeros_like(below[..., :1])
    return _frequencies(jnp.diff(jnp.concatenate([ends, below, ends + 1], axis=2), axis=2))


def _observation(model, params, buckets, *, num_values):
    """Frequencies of the values of x, [B, D, V], for buckets of z [B, L]."""
    prior = model.prior(params)
    middle = ndtri((buckets.astype(jnp.float32) + 0.5) / 2**PRIOR_BITS)
    outputs = model.decode(params, prior.mean[None] + prior.deviation[None] * middle)
    own = params["likelihood"]
    # each number may have any value: [V, B, *shape]
    levels = jnp.arange(num_values).reshape(-1, *[1] * (1 + len(model.shape)))
    of_levels = jax.vmap(
        lambda level: model.likelihood.log_probs(
            own,
            outputs,
            jnp.broadcast_to(_values(model, level, num_values), (len(buckets), *model.shape)),
        )
    )
    log_probs = of_levels(levels).reshape(num_values, len(buckets), -1)
    return _frequencies(jax.nn.softmax(jnp.moveaxis(log_probs, 0, 2), axis=2))


def _values(model, symbols, num_values):
    """x of the indices of its values, any shape."""
    x = symbols.astype(jnp.float32)
    return x if model.likelihood.requires == "counts" else x / (num_values - 1)


def _frequencies(probabilities):
    """Integers [..., V] of at least 1 that sum to 2^20, nearly in proportion to probabilities."""
    num_values = probabilities.shape[-1]
    spread = float(2**PRECISION - num_values)
    is_none = jnp.isnan(probabilities)  # as 0, which is refused
    scaled = jnp.where(is_none, -1.0, jnp.floor(probabilities * spread))
    rounded = scaled.astype(jnp.int32) + 1
    rest = 2**PRECISION - jnp.sum(rounded, axis=-1, keepdims=True)
    # the most likely value has at least 2^20/V, the rest is rounding
    top = jax.nn.one_hot(jnp.argmax(probabilities, axis=-1), num_values, dtype=jnp.int32)
    return rounded + rest * top
