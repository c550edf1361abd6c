"""Lower bounds on log p(x): from a distortion and a rate, or from importance weights."""

import chex
import jax
import jax.numpy as jnp

from vae_jax.errors import UsageError

__all__ = [
    "beta_elbo_loss",
    "elbo",
    "importance_weighted_bound",
    "renyi_bound",
    "thermodynamic_bound",
]


def elbo(distortion: jax.Array, rate: jax.Array) -> jax.Array:
    """The evidence lower bound, maximized and never weighted.

    elbo = −(distortion + rate) ≤ log p(x), in expectation over z ~ q(z|x)

    Args:
        distortion: −log p(x|z) in nats, shape [B].
        rate: KL(q(z|x) ‖ p(z)) in nats, shape [B].

    Returns:
        Lower bounds in nats, shape [B].

    Reference:
        Kingma and Welling 2013, arXiv 1312.6114, eq. 3; Alemi et al. 2018, arXiv 1711.00464.
    """
    chex.assert_equal_shape([distortion, rate])
    # elbo = −(distortion + rate)
    return -(distortion + rate)


def beta_elbo_loss(distortion: jax.Array, rate: jax.Array, beta: chex.Numeric) -> jax.Array:
    """The loss of a β-VAE, minimized; minus the elbo at β = 1.

    loss = distortion + β · rate

    Args:
        distortion: −log p(x|z) in nats, shape [B].
        rate: KL(q(z|x) ‖ p(z)) in nats, shape [B].
        beta: weight of the rate, a scalar ≥ 0.

    Returns:
        Losses in nats, shape [B].

    Reference:
        Higgins et al. 2017, β-VAE, eq. 4 (ICLR).
    """
    chex.assert_equal_shape([distortion, rate])
    # loss = distortion + β · rate
    return distortion + beta * rate


def importance_weighted_bound(log_weights: jax.Array) -> jax.Array:
    """The importance-weighted bound on log p(x); with one sample, an estimate of the ELBO.

    L_K = log 1/K Σ_k w_k,  w_k = p(x, z_k) / q(z_k|x),  z_k ~ q(z|x)

    Args:
        log_weights: log w_k in nats, shape [K, B].

    Returns:
        Bounds in nats, shape [B]. Their expectation is below log p(x) and grows with K.

    Reference:
        Burda et al. 2015, Importance Weighted Autoencoders, arXiv 1509.00519, eq. 8.
    """
    chex.assert_rank(log_weights, 2)
    # L_K = log 1/K Σ_k w_k
    return jax.nn.logsumexp(log_weights, axis=0) - jnp.log(float(log_weights.shape[0]))


def renyi_bound(log_weights: jax.Array, alpha: chex.Numeric) -> jax.Array:
    """The variational Rényi bound: the importance-weighted one at α = 0, the ELBO at α = 1.

    L_α = 1/(1 − α) · log 1/K Σ_k w_k^{1−α}, and at α = 1 its limit 1/K Σ_k log w_k

    Args:
        log_weights: log w_k in nats, shape [K, B].
        alpha: order α of the divergence, a scalar ≥ 0; above 1 the bound lies below the ELBO.

    Returns:
        Bounds in nats, shape [B]; they fall as α grows.

    Reference:
        Li and Turner 2016, Rényi Divergence Variational Inference, arXiv 1602.02311, section 4.
    """
    chex.assert_rank(log_weights, 2)
    order = 1.0 - jnp.asarray(alpha, log_weights.dtype)
    mean = jnp.mean(log_weights, axis=0)
    centered = log_weights - mean[None]
    # L_α = mean + 1/o · log 1/K Σ_k e^{o·c_k}, o = 1 − α. If all o·c are small, the series is cut
    # after mean + ½ o var: the rest is below the rounding error that 1/o would amplify.
    is_limit = jnp.max(jnp.abs(order[None, None] * centered), axis=0) < 1e-2
    safe = jnp.where(is_limit, 1.0, order[None])
    excess = importance_weighted_bound(safe[None] * centered) / safe
    near = 0.5 * order[None] * jnp.mean(jnp.square(centered), axis=0)
    return mean + jnp.where(is_limit, near, excess)


def thermodynamic_bound(
    log_weights: jax.Array, log_posterior: jax.Array, betas: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The thermodynamic variational bound on log p(x), and a surrogate that has its gradient.

    TVO = Σ_t (β_{t+1} − β_t) E_{π_t}[log w],  π_t ∝ q(z|x) w^{β_t},  β_T = 1

    Each expectation is estimated from the same samples of q with the weights w^{β_t}, normalized.
    With a single β = 0 it is the ELBO. The gradient of E_π[f] is E_π[∇f] + Cov_π[f, ∇ log π], so
    the samples need not be functions of the parameters, and are not. The covariance of K samples is

    Cov_π[f, g] = K/(K − 1) Σ_k π_k (f_k − Σ_j π_j f_j) g_k,

    so with one β the gradient is unbiased for every K.

    Args:
        log_weights: log w of K >= 2 samples of q, in nats, shape [K, B]; differentiable in the
            parameters through the densities only, not through z.
        log_posterior: log q(z|x) of the samples, shape [K, B].
        betas: β_0 = 0 < β_1 < … < 1, shape [T].

    Returns:
        (bounds in nats, a surrogate with the same gradient), shape [B] each.

    Raises:
        UsageError: K is 1, and one sample has no covariance.

    Reference:
        Masrani et al. 2019, The Thermodynamic Variational Objective, arXiv 1907.00031, sections 3
        and 4 (the gradient); the factor K/(K − 1) is that of the authors' implementation.
    """
    chex.assert_rank([log_weights, betas], [2, 1])
    chex.assert_equal_shape([log_weights, log_posterior])
    num_samples = log_weights.shape[0]
    if num_samples < 2:
        raise UsageError(
            f"num_samples={num_samples}: must be at least 2 for the covariance in the gradient of "
            "the thermodynamic bound; give num_samples=2 or more, or take beta_vae"
        )
    widths = jnp.diff(betas, append=jnp.ones(1, betas.dtype))
    values = jax.lax.stop_gradient(log_weights)
    normalized = jax.nn.softmax(betas[:, None, None] * values[None], axis=1)  # [T, K, B]
    means = jnp.sum(normalized * values[None], axis=1)  # E_{π_t}[log w], [T, B]
    bound = jnp.sum(widths[:, None] * means, axis=0)
    # log π_t = log q + β_t log w + const:
    # ∇ = Σ_t Δ_t Σ_k π_tk [∇ log w_k + K/(K − 1) (log w_k − mean_t) (∇ log q_k + β_t ∇ log w_k)]
    shares = widths[:, None, None] * normalized
    excess = shares * (values[None] - means[:, None, :]) * (num_samples / (num_samples - 1))
    of_weights = jnp.sum(shares + betas[:, None, None] * excess, axis=0)
    of_posterior = jnp.sum(excess, axis=0)
    return bound, jnp.sum(of_weights * log_weights + of_posterior * log_posterior, axis=0)
