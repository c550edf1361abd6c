"""A small very deep VAE: groups on maps of several sizes, along one path from the smallest."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from vae_jax import distributions, flows, rates, sums
from vae_jax.errors import UsageError
from vae_jax.latents import where_kept
from vae_jax.posteriors import _hierarchy, _maps
from vae_jax.posteriors._posterior import Posterior, Summary, lift

__all__ = ["VDVAE", "MapPosterior", "MapPrior"]

_STATIC = {"static": True}


@dataclasses.dataclass(frozen=True)
class VDVAE(Posterior):
    """q(z|x) = Π_g q(z_g | z_above, x), p(z) = Π_g p(z_g | z_above) over [L].

    Each group z_g is a map of the code. One path of residual bottleneck blocks goes from the
    smallest map to the largest: it gives p(z_g | z_above), reads z_g, and ends in the map that the
    decoder reads. q(z_g | z_above, x) is the encoder's mean and log variance, plus what a block
    finds in the path and in the encoder's features. L is a multiple of the places of all maps.

    Attributes:
        map_size: rows and columns of the largest map, each of half the size of the next.
        num_maps: sizes of maps; 3 from 4×4 are 4×4, 2×2 and 1×1.
        groups_per_map: groups on each map, one after the other.
        map_width: channels of the path; a bottleneck has half as many.
        num_features: numbers that the encoder passes to the path, for each dimension of the code.

    Reference:
        Child 2021, Very Deep VAEs Generalize Autoregressive Models and Can Outperform Them on
        Images, arXiv 2011.10650, section 3.
    """

    map_size: int = 4
    num_maps: int = 3
    groups_per_map: int = 1
    map_width: int = 32
    num_features: int = 2

    takes_priors: ClassVar[bool] = False

    def __post_init__(self):
        super().__post_init__()
        most = (self.map_size - 1).bit_length() + 1
        if self.num_maps > most:
            raise UsageError(
                f"num_maps={self.num_maps}: a map of {self.map_size}×{self.map_size} places has at "
                f"most {most} sizes, down to 1×1: give num_maps={most}"
            )

    def maps(self):
        sizes = [-(-self.map_size // 2**index) for index in reversed(range(self.num_maps))]
        return tuple(size for size in sizes for _ in range(self.groups_per_map))

    def _layout(self, latent_dim: int) -> _maps.Layout:
        num_places = _maps.Layout(self.maps(), 1).num_places
        return _maps.Layout(self.maps(), max(1, latent_dim // num_places))

    def check(self, latent_dim):
        num_places = self._layout(latent_dim).num_places
        if latent_dim % num_places:
            near = max(1, round(latent_dim / num_places)) * num_places
            raise UsageError(
                f"latent_dim={latent_dim}: must be a multiple of the {num_places} places of the "
                f"maps of posterior=vdvae: give latent_dim={near}, or another map_size, num_maps "
                "or groups_per_map"
            )

    def parts_for(self, latent_dim):
        del latent_dim
        return ("mean", "logvar", *(f"features {index}" for index in range(self.num_features)))

    def init(self, key, latent_dim, latent_mask=None):
        num_kept = flows.num_kept(latent_dim, latent_mask)
        layout = self._layout(latent_dim)
        return _maps.init_path(key, layout, self.map_width, num_kept, self.num_features)

    def groups(self, latent_dim, latent_mask=None):
        return where_kept(self._layout(latent_dim).members(), latent_mask)

    def prior(self, params, latent_dim, latent_mask=None):
        kept = where_kept(jnp.ones(latent_dim), latent_mask)
        return MapPrior(self._layout(latent_dim), params, kept)

    def posterior(self, params, parts, latent_mask=None):
        parts = tuple(where_kept(part, latent_mask) for part in parts)
        kept = where_kept(jnp.ones(parts[0].shape[-1]), latent_mask)
        return MapPosterior(self._layout(parts[0].shape[-1]), params, parts, kept)

    def num_read(self, latent_dim):
        del latent_dim
        return self.map_size**2 * self.map_width

    def read(self, params, z, latent_mask=None):
        layout = self._layout(z.shape[-1])
        codes = layout.to_maps(where_kept(z, latent_mask))
        state, _, _ = _maps.run_path(params, layout, len(z), lambda step: (codes[step.index], None))
        return state.reshape(len(z), -1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MapPrior(_hierarchy.PathPrior):
    """p(z) of `VDVAE`, see `_hierarchy.PathPrior`; independent N(0, 1) where masked.

    Attributes:
        layout: where the dimensions lie.
        parameters: of the path.
        kept: 1 for dimensions in use, 0 for masked ones, [L].
    """

    layout: _maps.Layout = dataclasses.field(metadata=_STATIC)
    parameters: Any = None
    kept: Any = None
    num: int | None = dataclasses.field(default=None, metadata=_STATIC)
    temperature: float = dataclasses.field(default=1.0, metadata=_STATIC)

    num_draws: ClassVar[int] = 256

    @property
    def size(self) -> int:
        return self.kept.shape[0]

    def conditionals(self, z):
        """Mean and log variance of each dimension given the groups above it: [..., L] each."""
        codes, kept = self.layout.to_maps(z), self.layout.to_maps(self.kept)

        def decide(step):
            known = kept[step.index]
            return codes[step.index] * known, (step.mean * known, step.logvar * known)

        _, _, found = _maps.run_path(self.parameters, self.layout, len(codes[0]), decide)
        return tuple(self.layout.from_maps(maps, z.shape[:-1]) for maps in zip(*found, strict=True))

    def _along(self, noise):
        codes, kept = self.layout.to_maps(noise), self.layout.to_maps(self.kept)

        def decide(step):
            deviation = jnp.exp(0.5 * distributions.bound_logvar(step.logvar))
            return kept[step.index] * (step.mean + deviation * codes[step.index]), None

        _, drawn, _ = _maps.run_path(self.parameters, self.layout, len(codes[0]), decide)
        return self.layout.from_maps(drawn, noise.shape[:-1]) + noise * lift(1.0 - self.kept, noise)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MapPosterior:
    """q(z|x) of `VDVAE` for B examples; N(0, 1) where masked.

    Attributes:
        layout: where the dimensions lie.
        parameters: of the path.
        parts: outputs of the encoder, [B, L] each, 0 where masked.
        kept: 1 for dimensions in use, 0 for masked ones, [L].
    """

    layout: _maps.Layout = dataclasses.field(metadata=_STATIC)
    parameters: Any = None
    parts: Any = None
    kept: Any = None

    def _along(self, values: jax.Array, *, is_code: bool) -> tuple[jax.Array, list[jax.Array], Any]:
        """z, mean and log variance of q and of p [..., B, L], and the state at the end.

        Args:
            values: noise [..., B, L], or if `is_code` the code itself.
            is_code: whether the code is known.
        """
        lead, kept = values.shape[:-1], self.layout.to_maps(self.kept)
        own = self.layout.to_maps(values)
        parts = [self._repeated(part, values) for part in self.parts]

        def decide(step):
            known, given = kept[step.index], [part[step.index] for part in parts]
            mean, logvar = (known * value for value in _maps.evidence(step, given))
            logvar = distributions.bound_logvar(logvar)
            code = own[step.index]
            if not is_code:
                code = mean + jnp.exp(0.5 * logvar) * code
            return known * code, (mean, logvar, known * step.mean, known * step.logvar)

        state, codes, found = _maps.run_path(self.parameters, self.layout, len(own[0]), decide)
        z = self.layout.from_maps(codes, lead) + values * lift(1.0 - self.kept, values)
        moments = [self.layout.from_maps(maps, lead) for maps in zip(*found, strict=True)]
        return z, moments, state.reshape(*lead, -1)

    def _repeated(self, part: jax.Array, like: jax.Array) -> list[jax.Array]:
        """An output of the encoder [B, L] as maps, repeated for the rows of [..., B, L]."""
        return self.layout.to_maps(jnp.broadcast_to(lift(part, like), like.shape))

    @property
    def mode(self) -> jax.Array:
        """The code along the means of the path, [B, L]."""
        return self._along(jnp.zeros_like(self.parts[0]), is_code=False)[0]

    @property
    def mean(self) -> jax.Array:
        """The same as `mode`, [B, L]."""
        return self.mode

    @property
    def deviation(self) -> jax.Array:
        """The deviation of each dimension along the means of the path, [B, L]."""
        moments = self._along(jnp.zeros_like(self.parts[0]), is_code=False)[1]
        return jnp.exp(0.5 * moments[1])

    def first(self, num: int) -> Summary:
        """Moments of the first `num` dimensions, [B, num]."""
        return Summary(self.mean, self.mode, self.deviation).first(num)

    def sample(self, key: jax.Array, num_samples: int | None = None) -> jax.Array:
        """Draws z, a key for each dimension: [B, L] or [K, B, L]."""
        return self.sample_and_log_prob(key, num_samples)[0]

    def sample_and_log_prob(
        self, key: jax.Array, num_samples: int | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Draws z and its log q(z|x) in one pass: ([B, L], [B]), or with [K, …] in front."""
        noise = _hierarchy.noise_like(self.parts[0], key, num_samples)
        z, moments, _ = self._along(noise, is_code=False)
        return z, _log_prob_of(noise, moments[1])

    def walk(self, prior: Any, key: jax.Array, num_samples: int | None = None) -> rates.Draw:
        """Draws with the rates and what the decoder reads, in one pass; see `rates.walk`.

        Args:
            prior: p(z) over [L], whose path this is.
            key: PRNG key, scalar.
            num_samples: K; None draws once.
        """
        del prior
        noise = _hierarchy.noise_like(self.parts[0], key, num_samples)
        z, moments, state = self._along(noise, is_code=False)
        log_q = _log_prob_of(noise, moments[1])
        return rates.Draw(z, log_q, distributions.gaussian_kl(*moments), state)

    def rates_given(self, prior: MapPrior, z: jax.Array) -> jax.Array:
        """KL(q(z_l|z_above, x) ‖ p(z_l|z_above)) of each dimension at z [..., B, L], in nats.

        Args:
            prior: p(z) over [L], whose path this is.
            z: [..., B, L].
        """
        del prior
        return distributions.gaussian_kl(*self._along(z, is_code=True)[1])

    def log_probs(self, z: jax.Array) -> jax.Array:
        """log q of each dimension given the groups above it: [..., B, L], in nats."""
        return distributions.gaussian_log_prob(z, *self._along(z, is_code=True)[1][:2])

    def log_prob(self, z: jax.Array) -> jax.Array:
        """log q(z|x), [..., B, L] to [..., B]."""
        return sums.over_last(self.log_probs(z))


def _log_prob_of(noise: jax.Array, logvar: jax.Array) -> jax.Array:
    """log q of the draw of noise [..., B, L]: [..., B]."""
    standard = distributions.gaussian_log_prob(noise, jnp.zeros_like(noise), 0.0)
    return sums.over_last(standard - 0.5 * logvar)
