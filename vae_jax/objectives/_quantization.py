"""Quantized codes: their terms, and codebooks that follow the encoder without a gradient."""

import functools

import jax
import jax.numpy as jnp

from vae_jax import losses
from vae_jax.objectives import _terms

__all__ = ["CHOICES", "DEFINITIONS", "INTERVALS", "follow", "init", "revive", "terms", "update"]

CHOICES = {"codebook": ("ema", "gradient")}
DEFINITIONS = {
    "rate": "KL(q(z|x) ‖ p(z)) in nats per example: the length of the codes, log K each unless "
    "there is a prior",
    "distortion": "−log p(x|e) in nats per example, e the nearest codes: nothing is drawn",
    "commitment": "squared distance of the encoder's features from the codes they became, summed "
    "over the stages",
    "perplexity": "codes in use, by the entropy of their use among 500 examples at a time, mean "
    "over the stages",
}
INTERVALS = {"codebook_decay": "[0, 1]", "revival": "[0, 1]"}


def terms(model, params, batch, key, commitment_weight, codebook):
    """The loss [B] of quantized codes and the logged terms, see `vq_vae.loss`."""
    posterior = model.encode(params, batch["x"])
    distortion = model.distortion(params, posterior.sample(key), batch)
    rate = _terms.rate(model, params, posterior)
    # ‖z_e − sg[e_1 + … + e_s]‖², summed over the stages
    features = jnp.broadcast_to(posterior.features[:, None, :], posterior.stages.shape)
    commitment = losses.commitment(features, jnp.cumsum(posterior.stages, axis=1))
    loss = distortion + commitment_weight * commitment
    if model.prior_family is not None:
        # log p of the codes' indices: it trains the prior alone
        loss = loss + rate
    if codebook == "gradient":
        # ‖sg[z_e − e_1 − … − e_{s−1}] − e_s‖²
        loss = loss + losses.commitment(posterior.stages, posterior.residuals)
    _, indices, weights = _choices(posterior, batch["mask"])
    count = functools.partial(losses.code_counts, num_codes=posterior.num_codes, weights=weights)
    perplexity = jnp.mean(jax.vmap(lambda own: losses.perplexity(count(own)))(indices))
    return loss, {
        **_terms.elbo_terms(distortion, rate),
        "commitment": commitment,
        "perplexity": jnp.broadcast_to(perplexity, loss.shape),
    }


def _choices(posterior, mask):
    """The vectors [S, N, D], the codes chosen for them [S, N], and the weights, [N].

    N = B·G, the groups of all examples.
    """
    num, num_stages, num_groups = posterior.indices.shape
    vectors = posterior.residuals.swapaxes(0, 1).reshape(num_stages, -1, posterior.code_dim)
    indices = posterior.indices.swapaxes(0, 1).reshape(num_stages, -1)
    kept = posterior.kept.reshape(num, num_groups, -1)[:, :, 0]
    return vectors, indices, (mask[:, None] * kept).reshape(-1)


def init(model, key) -> dict:
    """Initial moving averages for each code, 0: how often it was chosen, and the sum of vectors.

    Args:
        model: a `Model` with quantized latents: S stages of K codes [D].
        key: not used.

    Returns:
        {"count": [S, K], "sum": [S, K, D]}.
    """
    del key
    latent = model.latent
    count = jnp.zeros((latent.num_stages, latent.num_codes))
    return {"count": count, "sum": jnp.zeros((*count.shape, latent.code_dim))}


def follow(own, vectors, indices, weights, decay):
    """One update of the moving averages; their quotient is the mean vector assigned to a code.

    N_k ← d·N_k + (1 − d)·n_k,  m_k ← d·m_k + (1 − d)·Σ_{i: k_i = k} v_i,  e_k = m_k / N_k

    Args:
        own: {"count": N [K], "sum": m [K, D]}.
        vectors: v, [N, D].
        indices: k, [N].
        weights: 0 for padding, [N].
        decay: d, a scalar.

    Returns:
        The updated `own`.

    Reference:
        van den Oord et al. 2017, arXiv 1711.00937, appendix A.1.
    """
    num_codes = own["count"].shape[0]
    chosen = jax.nn.one_hot(indices, num_codes) * weights[:, None]  # [N, K]
    new = {
        "count": losses.code_counts(indices, num_codes, weights),
        "sum": jnp.matmul(chosen.T, vectors, precision="highest"),
    }
    return jax.tree.map(lambda old, new: decay * old + (1.0 - decay) * new, own, new)


def revive(key, codebook, is_dead, vectors, weights):
    """Replaces each dead code by a random vector among those that count.

    Args:
        key: PRNG key.
        codebook: [K, D].
        is_dead: [K] booleans.
        vectors: [N, D].
        weights: 0 for vectors that must not be drawn, [N].

    Returns:
        [K, D]; live codes do not change.

    Reference:
        Dhariwal et al. 2020, Jukebox, arXiv 2005.00341, section 3.1.
    """
    counts = weights > 0
    num = jnp.sum(counts)
    rank = (jax.random.uniform(key, is_dead.shape) * num.astype(jnp.float32)).astype(jnp.int32)
    # those that count come first, in order, so padding after them does not change the draw
    order = jnp.argsort(~counts, stable=True)
    return jnp.where(is_dead[:, None], vectors[order[jnp.minimum(rank, num - 1)]], codebook)


def update(
    model, before, after, batch, key, *, codebook="ema", codebook_decay=0.99, revival=0.1
) -> dict:
    """Moves codes to the features that chose them, and dead codes to other features of the batch.

    At the first step no code has been used, so all codes start at features.

    Args:
        model: a `Model` with quantized latents.
        before: parameters with which the batch was encoded.
        after: parameters as the optimizer left them.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for the new places of dead codes.
        codebook: how codes follow features: ema, a moving average, or gradient, a loss.
        codebook_decay: of the moving averages of the features and the count of each code.
        revival: a code used less than this share of the mean use is reset to a feature of the
            batch; 0 disables it.

    Returns:
        The new parameters.
    """
    choices = _choices(model.encode(before, batch["x"]), batch["mask"])
    vectors, indices, weights = choices

    def one(key, own, codes, vectors, indices):
        own = follow(own, vectors, indices, weights, codebook_decay)
        count = own["count"]
        if codebook == "ema":
            used = (count > 0)[:, None]
            codes = jnp.where(used, own["sum"] / jnp.where(used, count[:, None], 1.0), codes)
        even = jnp.mean(count)
        is_dead = count < revival * even
        codes = revive(key, codes, is_dead, vectors, weights)
        count = jnp.where(is_dead, even, count)
        total = jnp.where(is_dead[:, None], even * codes, own["sum"])
        return {"count": count, "sum": total}, codes

    keys = jax.random.split(key, len(indices))
    stages = keys, after["objective"], after["latent"]["codebook"], vectors, indices
    own, codes = jax.vmap(one)(*stages)
    return {**after, "latent": {"codebook": codes}, "objective": own}
