"""Wasserstein autoencoder: pulls only the aggregate posterior to the prior, by the MMD."""

from vae_jax.objectives import _aggregate

__all__ = ["loss"]

CHOICES = _aggregate.KERNELS


def loss(model, params, batch, key, *, lambda_mmd=100.0, kernel="imq"):
    """WAE-MMD: distortion + λ·MMD² of aggregate posterior and prior, with a Gaussian encoder.

    loss = −log p(x|z) + λ·MMD²(q(z), p(z)), MMD² unbiased from the batch; summed over kernels of
    0.1 to 10 times the usual width

    Args:
        model: a `Model`.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for one sample of z and the draws from the prior.
        lambda_mmd: weight λ of the distance between aggregate posterior and prior.
        kernel: kernel of the MMD, imq or rbf.

    Returns:
        loss [B] and {"elbo", "rate", "distortion", "mmd"}, each [B]; in nats except MMD², a value
        of the batch that is the same in each row. The rate is not penalized, and grows.

    Reference:
        Tolstikhin et al. 2018, arXiv 1711.01558, algorithm 2. Its cross term is over all pairs
        i, j; ours leaves out i = j there too, see `losses.maximum_mean_discrepancy`.
    """
    scales = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
    terms = _aggregate.mmd_terms(model, params, batch, key, kernel=kernel, scales=scales)
    return terms["distortion"] + lambda_mmd * terms["mmd"], terms
