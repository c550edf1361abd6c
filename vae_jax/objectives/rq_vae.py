"""Residual quantization: a code is a sum of codes, each of the residual of those before it."""

from vae_jax import latents
from vae_jax.objectives import _quantization
from vae_jax.objectives._quantization import CHOICES, DEFINITIONS, INTERVALS, init, update

__all__ = ["CHOICES", "DEFINITIONS", "INTERVALS", "init", "latent", "loss", "update"]


def latent(*, num_codes=64, code_dim=10, num_stages=4) -> latents.Quantized:
    """Codes [B, latent_dim]: latent_dim / code_dim groups of num_stages each.

    Args:
        num_codes: codes of each stage's codebook.
        code_dim: numbers of a code; latent_dim must be a multiple of it.
        num_stages: codes that are summed, each from its own codebook.
    """
    return latents.Quantized(num_codes, code_dim, num_stages)


def loss(model, params, batch, key, *, commitment_weight=0.25, codebook="ema"):
    """RQ-VAE: VQ-VAE with codes that are sums over stages; one stage is VQ-VAE.

    loss = −log p(x|e) + β·Σ_s ‖z_e − sg[e_1 + … + e_s]‖², e = Σ_s e_s, e_s the code nearest to the
    residual; if a gradient moves the codebooks, + Σ_s ‖sg[z_e − e_1 − … − e_{s−1}] − e_s‖².

    Args:
        model: a `Model`.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: not used: nothing is random.
        commitment_weight: β, of the pull of the features towards their codes.
        codebook: how codes follow features: ema, a moving average, or gradient, a loss.

    Returns:
        loss [B] and {"elbo", "rate", "distortion", "commitment", "perplexity"}, each [B]; in nats
        except the squared distances and the perplexity, a value of the batch that is averaged over
        stages.

    Reference:
        Lee et al. 2022, arXiv 2203.01941, equations 2 to 7; Zeghidour et al. 2021, arXiv
        2107.03312, section III-C.
    """
    return _quantization.terms(model, params, batch, key, commitment_weight, codebook)
