"""Disentangling by a penalty on the dependence between the dimensions of the code only."""

from vae_jax import losses, rates
from vae_jax.objectives import _terms

__all__ = ["loss"]

_HOW = "in nats, from a sample of each example, q(z) from 500 examples at a time"
DEFINITIONS = {
    "mutual_information": f"of the rate, I(x; z) {_HOW}",
    "total_correlation": f"of the rate, KL(q(z) ‖ Π_l q(z_l)) {_HOW}",
    "dimension_wise_kl": f"of the rate, Σ_l KL(q(z_l) ‖ p(z_l)) {_HOW}",
}
CHOICES = {"sampling": losses.SAMPLINGS}


def loss(model, params, batch, key, *, num_examples, beta=6.0, sampling="stratified"):
    """β-TCVAE: of the parts of the rate, only the total correlation is weighted.

    loss = −log p(x|z) + I(x; z) + β·TC(z) + Σ_l KL(q(z_l) ‖ p(z_l)), each from the same sample of
    z, q(z) from the batch; β = 1 is the negative ELBO in expectation

    Args:
        model: a `Model`.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for the one sample of z.
        num_examples: N, of the training split.
        beta: weight of the total correlation.
        sampling: how a batch estimates q(z): stratified (unbiased) or weighted.

    Returns:
        loss [B] and {"elbo", "rate", "distortion", "mutual_information", "total_correlation",
        "dimension_wise_kl"}, each [B], in nats; the three parts of the rate are estimated from the
        sample.

    Reference:
        Chen et al. 2018, arXiv 1802.04942, equation 4.
    """
    posterior = model.encode(params, batch["x"])
    z = posterior.sample(key)
    distortion = model.distortion(params, z, batch)
    rate = _terms.rate(model, params, posterior, z)
    weights = losses.aggregate_weights(len(z), num_examples, batch["mask"], sampling=sampling)
    parts = rates.parts(posterior, model.prior(params), z, weights, model.latent_mask)
    mutual_information, total_correlation, dimension_wise_kl = parts
    # loss = D + I + β·TC + Σ_l KL_l
    loss = distortion + mutual_information + beta * total_correlation + dimension_wise_kl
    return loss, {
        **_terms.elbo_terms(distortion, rate),
        "mutual_information": mutual_information,
        "total_correlation": total_correlation,
        "dimension_wise_kl": dimension_wise_kl,
    }
