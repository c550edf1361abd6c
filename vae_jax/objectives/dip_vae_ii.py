"""Disentangling by an aggregate posterior whose covariance is pulled to the identity."""

from vae_jax import losses
from vae_jax.objectives import _aggregate

__all__ = ["loss"]


def loss(model, params, batch, key, *, lambda_od=10.0, lambda_d=10.0):
    """DIP-VAE-II: the negative ELBO and a penalty on the covariance of the aggregate posterior.

    loss = −log p(x|z) + KL(q(z|x) ‖ p(z)) + λ_od Σ_{l≠m} C_lm² + λ_d Σ_l (C_ll − 1)²,
    C = Cov over the batch of E[z|x] + mean over the batch of Cov[z|x]

    z here is standardized by the prior, (z − E z) / deviation; under N(0, I) it is unchanged.

    Args:
        model: a `Model` whose prior is a Gaussian with independent dimensions.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for the one sample of z.
        lambda_od: weight of the covariances, λ_od.
        lambda_d: weight of the variances' distance from 1, λ_d.

    Returns:
        loss [B] and {"elbo", "rate", "distortion", "penalty"}, each [B]; in nats except the
        penalty, a value of the batch that is the same in each row.

    Raises:
        UsageError: the prior is of another type.

    Reference:
        Kumar et al. 2018, arXiv 1711.00848, equation 7.
    """
    terms = _aggregate.covariance_terms(
        model,
        params,
        batch,
        key,
        objective="dip_vae_ii",
        covariance=lambda scaled, mask: losses.aggregate_covariance(*scaled, mask),
        lambda_od=lambda_od,
        lambda_d=lambda_d,
    )
    return terms["distortion"] + terms["rate"] + terms["penalty"], terms
