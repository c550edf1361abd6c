"""A causal transformer over discrete codes: each code given those before it."""

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from vae_jax import distributions, sums
from vae_jax.errors import UsageError
from vae_jax.latents import Codes, UniformCodes, residual_codes
from vae_jax.priors._prior import Prior
from vae_jax.threefry import unrolled

__all__ = ["CausalCodes", "Transformer"]

_STATIC = {"static": True}
_INITIAL_DEVIATION = 0.02


@dataclasses.dataclass(frozen=True)
class Transformer(Prior):
    """p(k) = Π_t p(k_t | k_1 … k_{t−1}) of the codes' indices k, for codes over [L].

    The codes are quantized, or one-hot. Those of a place of the map follow each other, stage by
    stage, then those of the next place. The prior trains beside the codes, on their indices, so
    that the encoder gets no gradient from it; one-hot codes are still pulled to the uniform
    distribution. It starts as the uniform distribution.

    Attributes:
        num_layers: number of blocks of attention and a network of two layers.
        num_heads: heads of the attention.
        model_width: numbers that stand for a code, a multiple of `num_heads`.

    Reference:
        van den Oord et al. 2017, Neural Discrete Representation Learning, arXiv 1711.00937, section
        3.3 (a prior of codes); Vaswani et al. 2017, Attention Is All You Need, arXiv 1706.03762.
    """

    num_layers: int = 2
    num_heads: int = 4
    model_width: int = 128

    of_codes: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        if self.model_width % self.num_heads:
            raise UsageError(
                f"model_width={self.model_width}: must be a multiple of num_heads="
                f"{self.num_heads}: give model_width={self.num_heads * 32}"
            )

    def init(self, key, sizes, examples=None):
        del examples
        latent, width = sizes.latent, self.model_width
        num_stages, num_codes = latent.num_stages, latent.num_codes
        num_tokens = num_stages * sizes.latent_dim // latent.code_dim
        table_key, place_key, *keys = jax.random.split(key, 2 + self.num_layers)
        own_keys = jax.vmap(jax.random.fold_in, (None, 0))(place_key, jnp.arange(num_tokens))

        def small(own_key, *shape):
            return _INITIAL_DEVIATION * jax.random.normal(own_key, shape)

        def block(own_key):
            first, second, third, fourth = jax.random.split(own_key, 4)
            norm = {"scale": jnp.ones(width), "bias": jnp.zeros(width)}
            return {
                "norm_0": norm,
                "attention": _dense(small(first, width, 3 * width)),
                "out": _dense(small(second, width, width)),
                "norm_1": norm,
                "hidden": _dense(small(third, width, 4 * width)),
                "back": _dense(small(fourth, 4 * width, width)),
            }

        return {
            "table": small(table_key, num_stages, num_codes, width),
            # a key for each place, so any number of places starts alike
            "place": jax.vmap(lambda own_key: small(own_key, width))(own_keys),
            "head": jnp.zeros((num_stages, width, num_codes)),
            "norm": {"scale": jnp.ones(width), "bias": jnp.zeros(width)},
            **{f"block_{index}": block(own_key) for index, own_key in enumerate(keys)},
        }

    def of(self, params, latent_dim, latent_mask=None, encode=None, codebook=None):
        del encode
        return CausalCodes(params, codebook, latent_dim, self.num_heads, latent_mask)


def _dense(kernel: jax.Array) -> dict:
    return {"kernel": kernel, "bias": jnp.zeros(kernel.shape[1])}


def _apply(own: dict, values: jax.Array) -> jax.Array:
    """A layer with a bias, [B, T, N] to [B, T, M]."""
    return jnp.matmul(values, own["kernel"]) + own["bias"][None, None]


def _normalized(own: dict, values: jax.Array) -> jax.Array:
    """Layer normalization of [B, T, W]."""
    center = values.mean(axis=-1, keepdims=True)
    spread = jnp.sqrt(jnp.square(values - center).mean(axis=-1, keepdims=True) + 1e-6)
    return (values - center) / spread * own["scale"][None, None] + own["bias"][None, None]


def _attended(own: dict, values: jax.Array, num_heads: int) -> jax.Array:
    """What each token takes from itself and those before it: [B, T, W] to the same."""
    size, num_tokens, width = values.shape
    mixed = _apply(own["attention"], values).reshape(size, num_tokens, 3, num_heads, -1)
    query, key, value = mixed[:, :, 0], mixed[:, :, 1], mixed[:, :, 2]
    scores = jnp.einsum("bthd,bshd->bhts", query, key) / math.sqrt(width / num_heads)
    is_past = jnp.tril(jnp.ones((num_tokens, num_tokens), bool))
    shares = jax.nn.softmax(jnp.where(is_past[None, None], scores, -jnp.inf), axis=-1)
    taken = jnp.einsum("bhts,bshd->bthd", shares, value)
    return _apply(own["out"], taken.reshape(size, num_tokens, width))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CausalCodes:
    """The density of `Transformer` over quantized codes.

    Attributes:
        params: of the transformer, arrays by name.
        codebook: [S, K, D], for S stages.
        latent_dim: L = groups · D.
        num_heads: heads of the attention.
        latent_mask: None, or [L] of zeros and ones; masked dimensions, the last ones, are uniform.
    """

    params: Any
    codebook: jax.Array
    latent_dim: int = dataclasses.field(metadata=_STATIC)
    num_heads: int = dataclasses.field(metadata=_STATIC)
    latent_mask: jax.Array | None = None

    @property
    def deviation(self) -> jax.Array:
        """Standard deviation of each dimension if all codes are alike frequent, [L]."""
        return UniformCodes(self.codebook, self.latent_dim).deviation

    def first(self, num: int) -> "CausalCodes":
        """The marginal of the first `num` dimensions, which are whole groups: [num]."""
        mask = None if self.latent_mask is None else self.latent_mask[:num]
        return dataclasses.replace(self, latent_dim=num, latent_mask=mask)

    def logits(self, tokens: jax.Array) -> jax.Array:
        """log p(k_t | k_<t) up to a constant.

        Args:
            tokens: indices of codes in the order of the density, integers [B, T].

        Returns:
            [B, T, K].
        """
        own, (num_stages, num_codes, _) = self.params, self.codebook.shape
        size, num_tokens = tokens.shape
        stage = jnp.arange(num_tokens) % num_stages
        seen = own["table"][jnp.broadcast_to(stage[None], tokens.shape), tokens]
        # a token reads those before it, the first one reads nothing
        values = jnp.pad(seen[:, :-1], ((0, 0), (1, 0), (0, 0))) + own["place"][None, :num_tokens]
        for index in range(sum(name.startswith("block_") for name in own)):
            block = own[f"block_{index}"]
            of_norm = _normalized(block["norm_0"], values)
            values = values + _attended(block, of_norm, self.num_heads)
            hidden = jax.nn.gelu(_apply(block["hidden"], _normalized(block["norm_1"], values)))
            values = values + _apply(block["back"], hidden)
        values = _normalized(own["norm"], values)
        places = values.reshape(size, -1, num_stages, values.shape[-1])
        return jnp.einsum("bgsw,swk->bgsk", places, own["head"]).reshape(size, -1, num_codes)

    def log_prob(self, z: jax.Array) -> jax.Array:
        """Log-mass of codes of one stage in nats, [..., L] to [...]."""
        return sums.over_last(self.log_probs(z))

    def log_probs(self, z: jax.Array) -> jax.Array:
        """log p of each code given those before it, spread evenly over its dimensions, in nats.

        Args:
            z: codes of one stage, [..., L].

        Returns:
            [..., L].
        """
        _, num_codes, code_dim = self.codebook.shape
        indices, _ = residual_codes(z.reshape(-1, code_dim), self.codebook)
        each = self.code_log_probs(indices.reshape(-1, 1, z.shape[-1] // code_dim))[:, 0]
        spread = jnp.repeat(each / code_dim, code_dim, axis=1).reshape(z.shape)
        if self.latent_mask is None:
            return spread
        is_kept = jnp.expand_dims(self.latent_mask > 0, range(z.ndim - 1))
        return jnp.where(is_kept, spread, -math.log(num_codes) / code_dim)

    def code_log_probs(self, indices: jax.Array) -> jax.Array:
        """log p of each code given those before it, in nats: indices [B, S, G] to [B, S, G]."""
        tokens = indices.swapaxes(1, 2).reshape(len(indices), -1)
        each = distributions.categorical_log_prob(tokens, self.logits(tokens))
        return each.reshape(len(indices), -1, indices.shape[1]).swapaxes(1, 2)

    def rate_per_dim(self, posterior: Codes) -> jax.Array:
        """The length of each code in nats, −log p, spread evenly over its dimensions: [B, L]."""
        lengths = -self.code_log_probs(posterior.indices).sum(axis=1)
        return posterior.kept * jnp.repeat(lengths / posterior.code_dim, posterior.code_dim, axis=1)

    def sample(self, key: jax.Array, num_samples: int | None = None) -> jax.Array:
        """Draws codes one after another, with a key for each: [L], or [N, L]."""
        num_stages, _, code_dim = self.codebook.shape
        num_tokens = num_stages * self.latent_dim // code_dim
        size = 1 if num_samples is None else num_samples

        def step(t, tokens):
            logits = self.logits(tokens)[:, t]
            own_key = unrolled(jax.random.fold_in(key, t))
            return tokens.at[:, t].set(jax.random.categorical(own_key, logits, axis=-1))

        tokens = jax.lax.fori_loop(0, num_tokens, step, jnp.zeros((size, num_tokens), int))
        indices = tokens.reshape(size, -1, num_stages)
        chosen = self.codebook[jnp.arange(num_stages)[None, None], indices]  # [N, G, S, D]
        z = chosen.sum(axis=2).reshape(size, self.latent_dim)
        return z[0] if num_samples is None else z


distributions.CLOSED_FORM_KL[Codes, CausalCodes] = lambda q, p: p.rate_per_dim(q)
