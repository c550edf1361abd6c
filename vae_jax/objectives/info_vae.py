"""InfoVAE, or MMD-VAE (α = 1): pulls the aggregate posterior to the prior, each example less."""

from vae_jax.objectives import _aggregate

__all__ = ["loss"]

INTERVALS = {"alpha": "[0, 1]"}
CHOICES = _aggregate.KERNELS


def loss(model, params, batch, key, *, alpha=0.5, lambda_mmd=1000.0, kernel="imq"):
    """InfoVAE: a lower weight on each example's rate, and a penalty on the aggregate posterior.

    loss = −log p(x|z) + (1 − α)·KL(q(z|x) ‖ p(z)) + (α + λ − 1)·MMD²(q(z), p(z)), MMD² unbiased
    from the batch; α = 0, λ = 1 is the negative ELBO

    Args:
        model: a `Model`.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for one sample of z and the draws from the prior.
        alpha: weight α of the mutual information between x and z.
        lambda_mmd: weight λ of the distance between aggregate posterior and prior.
        kernel: kernel of the MMD, imq or rbf.

    Returns:
        loss [B] and {"elbo", "rate", "distortion", "mmd"}, each [B]; in nats except MMD², a value
        of the batch that is the same in each row.

    Reference:
        Zhao et al. 2019, arXiv 1706.02262, the objective with α and λ; MMD² as in `wae_mmd`.
    """
    terms = _aggregate.mmd_terms(model, params, batch, key, kernel=kernel)
    # loss = D + (1 − α)·R + (α + λ − 1)·MMD²
    loss = terms["distortion"] + (1.0 - alpha) * terms["rate"]
    return loss + (alpha + lambda_mmd - 1.0) * terms["mmd"], terms
