"""Families of latents: one frozen class for each family of posterior and prior.

A family turns the outputs of an encoder, arrays [B, L], into q(z|x), and defines p(z). Both are
values with `sample`, `log_prob`, `mean`, `mode` and `first`; `distributions.kl_divergence` knows
their rate in closed form. The decoder reads z as [B, L] in every family. A family is hashable, so
it is a static part of a model; its learned parameters are in `params["latent"]`.
"""

import dataclasses
import math
from typing import Any, ClassVar, NamedTuple

import chex
import jax
import jax.numpy as jnp

from vae_jax import distributions, losses
from vae_jax.distributions import DiagonalGaussian, OneHotCategorical
from vae_jax.errors import UsageError, unknown
from vae_jax.threefry import unrolled

__all__ = [
    "CODE_ACTIVATIONS",
    "Categorical",
    "Codes",
    "Deterministic",
    "Gaussian",
    "Joint",
    "Latent",
    "Pair",
    "Point",
    "Quantized",
    "Tempered",
    "UniformCodes",
    "at_temperature",
    "residual_codes",
    "where_kept",
]

_STATIC = {"static": True}
_DISCRETE = 2**32 - 1
"""Folded into a key for the discrete dimensions of a pair; larger than any latent dimension."""


def where_kept(values: jax.Array, latent_mask: jax.Array | None) -> jax.Array:
    """Sets the masked dimensions of [..., L] to 0."""
    if latent_mask is None:
        return values
    is_kept = (latent_mask > 0).reshape((1,) * (values.ndim - 1) + latent_mask.shape)
    return jnp.where(is_kept, values, 0.0)


@dataclasses.dataclass(frozen=True)
class Latent:
    """A family of posteriors q(z|x) and priors p(z) of codes [B, L].

    Attributes:
        parts: names of the arrays [B, L] that an encoder returns, if they do not depend on L.
        has_prior: whether there is a p(z), and so a rate and samples of codes.
        takes_priors: whether p(z) may be one of `vae_jax.priors` instead.
        is_continuous: whether all dimensions are continuous.
        is_quantized: whether dimensions are codes of a codebook, of which one-hot vectors are one.
    """

    parts: ClassVar[tuple[str, ...]] = ()
    has_prior: ClassVar[bool] = True
    takes_priors: ClassVar[bool] = False
    is_continuous: ClassVar[bool] = False
    is_quantized: ClassVar[bool] = False

    def parts_for(self, latent_dim: int) -> tuple[str, ...]:
        """Names of the arrays [B, L] that an encoder returns, for L, a count."""
        del latent_dim
        return self.parts

    def init(self, key: jax.Array, latent_dim: int, latent_mask: jax.Array | None = None) -> dict:
        """Initial parameters of the family itself, or {}.

        Args:
            key: PRNG key, scalar.
            latent_dim: L, a count.
            latent_mask: None or [L] of zeros and ones.
        """
        del key, latent_dim, latent_mask
        return {}

    def init_statistics(self, latent_dim: int) -> dict:
        """Initial running statistics of batches for codes of L dimensions, a count, or {}."""
        del latent_dim
        return {}

    def update_statistics(
        self, params: dict, statistics: dict, parts: tuple, latent_mask: jax.Array | None = None
    ) -> dict:
        """Running statistics after one more batch.

        Args:
            params, parts, latent_mask: see `posterior`.
            statistics: from `init_statistics`.
        """
        del params, parts, latent_mask
        return statistics

    def groups(self, latent_dim: int, latent_mask: jax.Array | None = None) -> jax.Array | None:
        """The dimensions of each group of a hierarchy, from the one nearest to x; None if flat.

        Args:
            latent_dim: L, a count.
            latent_mask: None or [L] of zeros and ones.

        Returns:
            Zeros and ones [G, L]; 0 in masked dimensions.
        """
        del latent_dim, latent_mask
        return None

    def maps(self) -> tuple[int, ...]:
        """Rows of the square map of each group, counts; () if groups are not on maps [L]."""
        return ()

    def num_read(self, latent_dim: int) -> int | None:
        """How many numbers `read` returns for codes of L dimensions, counts; None: no `read`."""
        del latent_dim
        return None

    def read(self, params: dict, z: jax.Array, latent_mask: jax.Array | None = None) -> jax.Array:
        """What the decoder reads in place of the code, if `num_read` says so.

        Args:
            params: from `init`.
            z: [B, L].
            latent_mask: None or [L] of zeros and ones.

        Returns:
            [B, num_read].
        """
        raise NotImplementedError

    def check(self, latent_dim: int) -> None:
        """Raises UsageError if codes of L dimensions, a count, cannot be of this family."""
        del latent_dim

    def check_prior(self, prior: Any) -> None:
        """Raises UsageError if p(z) of codes [B, L] cannot be `prior`; None is the family's own."""
        if prior is None or (self.takes_priors and prior.of_codes == self.is_quantized):
            return
        kind, example = ("quantized", "vq_vae") if prior.of_codes else ("Gaussian", "beta_vae")
        raise UsageError(
            f"prior={type(prior).__name__}: is a density of {kind} codes, these are "
            f"{type(self).__name__}: leave prior out, or take an objective with {kind} codes, such "
            f"as {example}"
        )

    @property
    def group_size(self) -> int:
        """The number of dimensions that form one variable if they are discrete, a count."""
        return 1

    def num_discrete(self, latent_dim: int) -> int:
        """The number of leading dimensions of L that are discrete, a count."""
        del latent_dim
        return 0

    def posterior(self, params: dict, parts: tuple, latent_mask: jax.Array | None = None) -> Any:
        """q(z|x); in a masked dimension it equals the prior, and z is decoded as 0.

        Args:
            params: from `init`; with running statistics under "batch_stats" if there are any, but
                not in a training step, which takes those of its batch.
            parts: outputs of the encoder, [B, L] each.
            latent_mask: None or [L].
        """
        raise NotImplementedError

    def prior(self, params: dict, latent_dim: int, latent_mask: jax.Array | None = None) -> Any:
        """p(z) of L dimensions.

        Args:
            params: from `init`.
            latent_dim: L, a count.
            latent_mask: None or [L] of zeros and ones.
        """
        raise NotImplementedError

    def codebook(self, params: Any) -> jax.Array:
        """The codes of each stage if it `is_quantized`, [S, K, D]; params are from `init`."""
        raise NotImplementedError

    def fitted(self, codes: jax.Array) -> Any:
        """The density that replaces a missing p(z): a Gaussian with the moments of codes [N, L]."""
        return distributions.FullGaussian.fit(codes)

    def decoded(self, z: jax.Array) -> jax.Array:
        """What the decoder reads of z, the rest 0: [B, L] to [B, L]."""
        return z

    @property
    def is_curved(self) -> bool:
        """Whether codes [L] are on a curved surface or inside of one, such as a sphere."""
        return type(self).onto is not Latent.onto

    def onto(self, z: jax.Array) -> jax.Array:
        """The codes that can occur and are nearest to z, [B, L] to [B, L]; z itself if all can."""
        return z


@dataclasses.dataclass(frozen=True)
class Gaussian(Latent):
    """q(z|x) = N(mean, diag exp(logvar)), p(z) = N(0, I); for codes [B, L]."""

    parts: ClassVar[tuple[str, ...]] = ("mean", "logvar")
    takes_priors: ClassVar[bool] = True
    is_continuous: ClassVar[bool] = True

    def posterior(self, params, parts, latent_mask=None):
        if latent_mask is None:
            return DiagonalGaussian(*parts)
        # a subclass may have another prior
        prior = distributions.require_diagonal_gaussian(
            self.prior(params, len(latent_mask)), "latent_mask"
        )
        is_kept = latent_mask[None, :] > 0
        pairs = zip(parts, prior, strict=True)
        return DiagonalGaussian(*(jnp.where(is_kept, part, own[None, :]) for part, own in pairs))

    def prior(self, params, latent_dim, latent_mask=None):
        del params, latent_mask
        return distributions.standard_gaussian(latent_dim)


class Point(NamedTuple):
    """The posterior of a deterministic code: all its mass is at z.

    Attributes:
        z: [B, L].
    """

    z: jax.Array

    @property
    def mean(self) -> jax.Array:
        """z, [B, L]."""
        return self.z

    @property
    def mode(self) -> jax.Array:
        """z, [B, L]."""
        return self.z

    def first(self, num: int) -> "Point":
        """The same for the first `num` dimensions only, [B, num]."""
        return Point(self.z[..., :num])

    def sample(self, key: chex.PRNGKey, num_samples: int | None = None) -> jax.Array:
        """z, [B, L], or repeated to [K, B, L]; nothing is random."""
        del key
        if num_samples is None:
            return self.z
        return jnp.broadcast_to(self.z[None], (num_samples, *self.z.shape))


CODE_ACTIVATIONS = {
    "linear": lambda features: features,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
}
"""Activations of a deterministic code, by name; shape in = shape out."""


@dataclasses.dataclass(frozen=True)
class Deterministic(Latent):
    """z = f(x): a plain autoencoder's code [B, L], without a prior and without a rate.

    Attributes:
        activation: one of `CODE_ACTIVATIONS`.
        num_active: k, the number of dimensions per example that are kept, those with the largest
            values; the others are set to 0. 0 keeps all.

    Reference:
        Makhzani & Frey 2014, k-Sparse Autoencoders, arXiv 1312.5663, section 2.1 (`num_active`).
    """

    activation: str = "linear"
    num_active: int = 0

    parts: ClassVar[tuple[str, ...]] = ("code",)
    is_curved: ClassVar[bool] = False
    has_prior: ClassVar[bool] = False
    is_continuous: ClassVar[bool] = True

    def __post_init__(self):
        if self.activation not in CODE_ACTIVATIONS:
            raise unknown("code activation", self.activation, CODE_ACTIVATIONS)
        _check_counts(0, num_active=self.num_active)

    def check(self, latent_dim):
        if self.num_active > latent_dim:
            raise UsageError(
                f"num_active={self.num_active}: must be at most latent_dim={latent_dim}"
            )

    def posterior(self, params, parts, latent_mask=None):
        del params
        features = parts[0]
        z = where_kept(CODE_ACTIVATIONS[self.activation](features), latent_mask)
        if self.num_active and self.num_active < features.shape[-1]:
            rank = features
            if latent_mask is not None:
                rank = jnp.where(latent_mask[None, :] > 0, features, -jnp.inf)
            _, largest = jax.lax.top_k(rank, self.num_active)
            z = z * jnp.sum(jax.nn.one_hot(largest, z.shape[-1], dtype=z.dtype), axis=1)
        return Point(z)

    @property
    def is_free(self) -> bool:
        """Whether every point of [L] is a code; a scalar."""
        return self.activation == "linear" and self.num_active == 0

    def fitted(self, codes):
        if self.is_free:
            return super().fitted(codes)
        from vae_jax.copula import GaussianCopula  # few runs need it

        return GaussianCopula.fit(codes)

    def onto(self, z):
        # unlike clip, with slope 1 at the ends themselves, where rectified codes are
        if self.activation in ("relu", "sigmoid"):
            z = jnp.where(z < 0.0, 0.0, z)
        return jnp.where(z > 1.0, 1.0, z) if self.activation == "sigmoid" else z

    def prior(self, params, latent_dim, latent_mask=None):
        density = "distributions.FullGaussian" if self.is_free else "copula.GaussianCopula"
        raise UsageError(
            f"a deterministic code of {latent_dim} dimensions has no prior: draw codes from "
            f"{density}.fit(codes) of the training data"
        )


def _check_counts(least: int, **counts: int) -> None:
    for name, value in counts.items():
        if value < least:
            raise UsageError(f"{name}={value}: must be at least {least}")


def _check_groups(latent_dim: int, name: str, size: int, note: str) -> None:
    if latent_dim % size:
        near = max(size, round(latent_dim / size) * size)
        raise UsageError(
            f"latent_dim={latent_dim}: must be a multiple of {name}={size}, {note}: give "
            f"latent_dim={near}, or another {name}"
        )


@dataclasses.dataclass(frozen=True)
class Categorical(Latent):
    """Groups of one-hot dimensions, each a categorical variable; the prior is uniform.

    Codes are [B, L], L = variables · num_categories.

    Attributes:
        num_categories: K, the same for every variable.
    """

    num_categories: int = 10

    parts: ClassVar[tuple[str, ...]] = ("logits",)
    takes_priors: ClassVar[bool] = True
    is_quantized: ClassVar[bool] = True
    num_stages: ClassVar[int] = 1

    def __post_init__(self):
        _check_counts(1, num_categories=self.num_categories)

    def check(self, latent_dim):
        note = "numbers for each categorical variable"
        _check_groups(latent_dim, "num_categories", self.num_categories, note)

    @property
    def group_size(self):
        return self.num_categories

    @property
    def num_codes(self) -> int:
        """K, as of a codebook: a count."""
        return self.num_categories

    @property
    def code_dim(self) -> int:
        """The size of a one-hot code, K, a count."""
        return self.num_categories

    def num_discrete(self, latent_dim):
        return latent_dim

    def codebook(self, params):
        del params
        return jnp.eye(self.num_categories)[None]

    def posterior(self, params, parts, latent_mask=None):
        del params
        return OneHotCategorical(where_kept(parts[0], latent_mask), self.num_categories)

    def prior(self, params, latent_dim, latent_mask=None):
        del params
        return OneHotCategorical(jnp.zeros(latent_dim), self.num_categories)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pair:
    """Independent discrete dimensions, then continuous ones: [B, L], or [L] for a prior.

    Attributes:
        discrete: the distribution of the first dimensions.
        continuous: the distribution of the others.
    """

    discrete: OneHotCategorical
    continuous: DiagonalGaussian

    @property
    def mean(self) -> jax.Array:
        """Probabilities, then means: [B, L]."""
        return self._joined("mean")

    @property
    def mode(self) -> jax.Array:
        """The most likely categories, one-hot, then means: [B, L]."""
        return self._joined("mode")

    @property
    def deviation(self) -> jax.Array:
        """Standard deviation of each dimension, [B, L]."""
        return self._joined("deviation")

    def _joined(self, name):
        both = getattr(self.discrete, name), getattr(self.continuous, name)
        return jnp.concatenate(both, axis=-1)

    def covariance_on(self, plane: jax.Array) -> jax.Array:
        """Covariance of plane · z, plane [P, L] of continuous dimensions only: [B, P, P]."""
        return self.continuous.covariance_on(plane[:, self.discrete.logits.shape[-1] :])

    def first(self, num: int) -> "Pair":
        """The marginal of the first `num` dimensions, [B, num] or [num]."""
        size = self.discrete.logits.shape[-1]
        return Pair(self.discrete.first(num), self.continuous.first(max(0, num - size)))

    def sample(self, key: chex.PRNGKey, num_samples: int | None = None) -> jax.Array:
        """Draws both with a random key, [B, L] or [N, B, L]."""
        discrete = self.discrete.sample(self._discrete_key(key), num_samples)
        return jnp.concatenate([discrete, self.continuous.sample(key, num_samples)], axis=-1)

    def relaxed(
        self, key: chex.PRNGKey, temperature: chex.Numeric, num_samples: int | None = None
    ) -> jax.Array:
        """Like `sample`, discrete dimensions relaxed: see `OneHotCategorical.relaxed`; [B, L]."""
        discrete = self.discrete.relaxed(self._discrete_key(key), temperature, num_samples)
        return jnp.concatenate([discrete, self.continuous.sample(key, num_samples)], axis=-1)

    def _discrete_key(self, key):
        return jax.random.fold_in(key, jnp.uint32(_DISCRETE))

    def log_prob(self, z: jax.Array) -> jax.Array:
        """Log-probability of discrete dimensions + log-density of the others: [..., L] to [...]."""
        size = self.discrete.logits.shape[-1]
        return self.discrete.log_prob(z[..., :size]) + self.continuous.log_prob(z[..., size:])


@dataclasses.dataclass(frozen=True)
class Joint(Latent):
    """Categorical variables, one-hot, then Gaussian dimensions; for codes [B, L].

    An encoder's first part holds logits, then means; a mask removes Gaussian dimensions first.

    Attributes:
        num_categories: K, the same for every categorical variable.
        num_variables: the number of categorical variables; 0 leaves a Gaussian.
    """

    num_categories: int = 10
    num_variables: int = 1

    parts: ClassVar[tuple[str, ...]] = ("logits and mean", "logvar")

    def __post_init__(self):
        _check_counts(1, num_categories=self.num_categories)
        _check_counts(0, num_variables=self.num_variables)

    def check(self, latent_dim):
        size = self.num_discrete(latent_dim)
        if latent_dim <= size:
            raise UsageError(
                f"latent_dim={latent_dim}: must be more than the {size} of "
                f"num_variables={self.num_variables} × "
                f"num_categories={self.num_categories}, the rest is continuous: give "
                f"latent_dim={size + 10}"
            )

    @property
    def group_size(self):
        return self.num_categories

    def num_discrete(self, latent_dim):
        return self.num_variables * self.num_categories

    @property
    def discrete_capacity(self) -> float:
        """The largest possible discrete rate, in nats: log K for each variable, a scalar."""
        return self.num_variables * math.log(self.num_categories)

    def posterior(self, params, parts, latent_mask=None):
        del params
        first, logvar = (where_kept(part, latent_mask) for part in parts)
        return self._pair(first, logvar)

    def prior(self, params, latent_dim, latent_mask=None):
        del params
        return self._pair(jnp.zeros(latent_dim), jnp.zeros(latent_dim))

    def _pair(self, first, logvar):
        size = self.num_discrete(first.shape[-1])
        discrete = OneHotCategorical(first[..., :size], self.num_categories)
        return Pair(discrete, DiagonalGaussian(first[..., size:], logvar[..., size:]))


class Tempered(NamedTuple):
    """Draws of a Gaussian over [L] with all deviations times a temperature.

    Attributes:
        density: `DiagonalGaussian` or `FullGaussian`, [L].
        temperature: a scalar; 0 draws the mean.
    """

    density: Any
    temperature: float

    def sample(self, key: chex.PRNGKey, num_samples: int | None = None) -> jax.Array:
        """mean + temperature · (z − mean) for draws z of the density: [L] or [N, L]."""
        z = self.density.sample(key, num_samples)
        mean = self.density.mean.reshape((1,) * (z.ndim - 1) + self.density.mean.shape)
        return mean + self.temperature * (z - mean)


def at_temperature(density: Any, temperature: float) -> Any:
    """Something to draw codes [N, L] from with `sample`, as p(z) at a temperature.

    Each Gaussian of the density has its deviation times the temperature: 1 is the density itself,
    0 its mean, or the path along the means of a hierarchy.

    Args:
        density: p(z) over [L].
        temperature: ≥ 0, a scalar.

    Raises:
        UsageError: it is negative, or the density is not made of Gaussians.
    """
    if temperature == 1:
        return density
    if not temperature >= 0:
        raise UsageError(f"sampling_temperature={temperature}: must be at least 0")
    if hasattr(density, "at_temperature"):
        return density.at_temperature(float(temperature))
    if type(density) in (DiagonalGaussian, distributions.FullGaussian):
        return Tempered(density, float(temperature))
    raise UsageError(
        f"sampling_temperature={temperature}: draws are from {type(density).__name__}, which has "
        "no temperature: leave sampling_temperature out, or take prior=normal or a hierarchy, such "
        "as posterior=ladder"
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Codes:
    """The posterior of a quantized code: all its mass is at the codes nearest to the features.

    Stage s of S chooses the code nearest to the residual of the stages before it; z is the sum of
    the chosen codes.

    Attributes:
        features: outputs of the encoder, [B, L], 0 in masked dimensions.
        stages: the vectors that each stage chose, [B, S, L], 0 in masked dimensions.
        indices: indices of the chosen codes, integers [B, S, G], G = L / code_dim.
        kept: 1 for dimensions in use, 0 for masked ones, [B, L].
        num_codes: K, the same for every stage.
        code_dim: D, the size of a code.
    """

    features: jax.Array
    stages: jax.Array
    indices: jax.Array
    kept: jax.Array
    num_codes: int = dataclasses.field(metadata=_STATIC)
    code_dim: int = dataclasses.field(metadata=_STATIC)

    @property
    def mean(self) -> jax.Array:
        """z, [B, L]."""
        return jnp.sum(self.stages, axis=1)

    @property
    def mode(self) -> jax.Array:
        """z, [B, L]."""
        return self.mean

    @property
    def residuals(self) -> jax.Array:
        """The input of each stage, [B, S, L]: the features minus the codes of earlier stages."""
        before = jnp.cumsum(self.stages, axis=1) - self.stages
        return self.features[:, None, :] - before

    @property
    def rate_per_dim(self) -> jax.Array:
        """S·log K of each group, spread evenly over its dimensions: nats, [B, L]."""
        return self.kept * (self.stages.shape[1] * math.log(self.num_codes) / self.code_dim)

    def first(self, num: int) -> "Codes":
        """The same for the first `num` dimensions, which are whole groups: [B, num]."""
        return dataclasses.replace(
            self,
            features=self.features[:, :num],
            stages=self.stages[..., :num],
            indices=self.indices[..., : num // self.code_dim],
            kept=self.kept[:, :num],
        )

    def sample(self, key: chex.PRNGKey, num_samples: int | None = None) -> jax.Array:
        """z, with a straight-through gradient to the features; nothing is random.

        Returns:
            [B, L], or [N, B, L].

        Reference:
            van den Oord et al. 2017, arXiv 1711.00937, section 3.2.
        """
        del key
        z = losses.straight_through(self.features, self.mean)
        return z if num_samples is None else jnp.broadcast_to(z[None], (num_samples, *z.shape))

    def log_prob(self, z: jax.Array) -> jax.Array:
        """Log-mass of z, [B, L] to [B]: 0 at the code, −∞ elsewhere; the prior's if masked."""
        is_code = jnp.all((z == self.mean) | (self.kept == 0), axis=-1)
        whole = dataclasses.replace(self, kept=jnp.ones_like(self.kept))
        return jnp.where(
            is_code, jnp.sum(self.rate_per_dim - whole.rate_per_dim, axis=-1), -jnp.inf
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class UniformCodes:
    """The prior of a quantized code: uniform over the codes of each codebook.

    Attributes:
        codebook: [S, K, D], for S stages.
        latent_dim: L = groups · D.
    """

    codebook: jax.Array
    latent_dim: int = dataclasses.field(metadata=_STATIC)

    @property
    def deviation(self) -> jax.Array:
        """Standard deviation of each dimension, [L]."""
        own = jnp.sqrt(jnp.sum(jnp.var(self.codebook, axis=1), axis=0))
        return jnp.tile(own, self.latent_dim // own.shape[0])

    def first(self, num: int) -> "UniformCodes":
        """The same for the first `num` dimensions, which are whole groups."""
        return dataclasses.replace(self, latent_dim=num)

    def sample(self, key: chex.PRNGKey, num_samples: int | None = None) -> jax.Array:
        """Draws one code per group and stage: [L], or [N, L].

        Each group has its own key, see `DiagonalGaussian.sample`.
        """
        lead = () if num_samples is None else (num_samples,)
        num_stages, num_codes, code_dim = self.codebook.shape
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(self.latent_dim // code_dim))

        def draw(key):
            indices = jax.random.randint(unrolled(key), (*lead, num_stages), 0, num_codes)
            return jnp.sum(self.codebook[jnp.arange(num_stages), indices], axis=-2)

        return jnp.moveaxis(jax.vmap(draw)(keys), 0, -2).reshape(*lead, self.latent_dim)

    def log_prob(self, z: jax.Array) -> jax.Array:
        """Log-mass of codes, [..., L] to [...]: −S·log K for each group."""
        num_stages, num_codes, code_dim = self.codebook.shape
        nats = num_stages * math.log(num_codes) * (self.latent_dim // code_dim)
        return jnp.full(z.shape[:-1], -nats)


@dataclasses.dataclass(frozen=True)
class Quantized(Latent):
    """Groups of `code_dim` numbers, each a code from a codebook that all groups share.

    Codes are [B, L], L = groups · code_dim; the prior is uniform over the codebook.

    Attributes:
        num_codes: K of each stage's codebook.
        code_dim: D, the size of a code.
        num_stages: S; each stage after the first quantizes the residual of those before it.

    Reference:
        van den Oord et al. 2017, Neural Discrete Representation Learning, arXiv 1711.00937;
        Zeghidour et al. 2021, SoundStream, arXiv 2107.03312, section III-C (several stages).
    """

    num_codes: int = 512
    code_dim: int = 4
    num_stages: int = 1

    parts: ClassVar[tuple[str, ...]] = ("features",)
    takes_priors: ClassVar[bool] = True
    is_quantized: ClassVar[bool] = True

    def __post_init__(self):
        _check_counts(1, **dataclasses.asdict(self))

    def check(self, latent_dim):
        _check_groups(latent_dim, "code_dim", self.code_dim, "numbers for each code")

    @property
    def group_size(self):
        return self.code_dim

    def num_discrete(self, latent_dim):
        return latent_dim

    def init(self, key, latent_dim, latent_mask=None):
        del latent_dim, latent_mask
        shape = (self.num_stages, self.num_codes, self.code_dim)
        return {"codebook": jax.random.normal(key, shape)}

    def posterior(self, params, parts, latent_mask=None):
        features = where_kept(parts[0], latent_mask)
        kept = where_kept(jnp.ones_like(features), latent_mask)
        vectors = features.reshape(-1, self.code_dim)
        indices, chosen = residual_codes(vectors, params["codebook"])
        num = features.shape[0]

        def by_example(values):
            """[S, B·G, …] to [B, S, G·…]."""
            return values.reshape(self.num_stages, num, -1).swapaxes(0, 1)

        stages = by_example(chosen) * kept[:, None, :]
        return Codes(features, stages, by_example(indices), kept, self.num_codes, self.code_dim)

    def codebook(self, params):
        return params["codebook"]

    def prior(self, params, latent_dim, latent_mask=None):
        return UniformCodes(params["codebook"], latent_dim)


def residual_codes(vectors: jax.Array, codebook: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Residual quantization: each stage takes the code nearest to the remaining residual.

    Args:
        vectors: [N, D].
        codebook: [S, K, D].

    Returns:
        (indices [S, N] of the codes, the codes [S, N, D]), differentiable in the codebook.

    Reference:
        Zeghidour et al. 2021, SoundStream, arXiv 2107.03312, algorithm 1.
    """
    chex.assert_rank([vectors, codebook], [2, 3])
    indices, chosen, left = [], [], vectors
    for own in codebook:
        indices.append(losses.nearest_codes(left, own))
        chosen.append(own[indices[-1]])
        left = left - chosen[-1]
    return jnp.stack(indices), jnp.stack(chosen)


distributions.CLOSED_FORM_KL[Pair, Pair] = lambda q, p: jnp.concatenate(
    [
        distributions.kl_divergence(q.discrete, p.discrete),
        distributions.kl_divergence(q.continuous, p.continuous),
    ],
    axis=-1,
)
distributions.CLOSED_FORM_KL[Codes, UniformCodes] = lambda q, p: q.rate_per_dim
