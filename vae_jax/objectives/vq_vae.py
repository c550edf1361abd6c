"""The vector-quantized autoencoder: each group of numbers of the code is from a codebook."""

from vae_jax import latents
from vae_jax.objectives import _quantization
from vae_jax.objectives._quantization import CHOICES, DEFINITIONS, INTERVALS, init, update

__all__ = ["CHOICES", "DEFINITIONS", "INTERVALS", "init", "latent", "loss", "update"]


def latent(*, num_codes=512, code_dim=4) -> latents.Quantized:
    """Codes [B, latent_dim]: latent_dim / code_dim codes per example.

    Args:
        num_codes: codes of the codebook.
        code_dim: numbers of a code; latent_dim must be a multiple of it.
    """
    return latents.Quantized(num_codes, code_dim)


def loss(model, params, batch, key, *, commitment_weight=0.25, codebook="ema"):
    """VQ-VAE: the distortion of the nearest codes and a pull of the features towards them.

    loss = −log p(x|e) + β·‖z_e − sg[e]‖², e the code nearest to the features z_e, with a
    straight-through gradient of the decoder; if a gradient moves the codebook, + ‖sg[z_e] − e‖².
    The rate, log K for each code, is constant and appears in the ELBO only; a learned prior of the
    codes adds it to the loss, and gets its gradient alone.

    Args:
        model: a `Model`.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: not used: nothing is random.
        commitment_weight: β, of the pull of the features towards their codes.
        codebook: how codes follow features: ema, a moving average, or gradient, a loss.

    Returns:
        loss [B] and {"elbo", "rate", "distortion", "commitment", "perplexity"}, each [B]; in nats
        except the squared distance ‖z_e − e‖² and the perplexity, a value of the batch.

    Reference:
        van den Oord et al. 2017, arXiv 1711.00937, equation 3 and appendix A.1; Dhariwal et al.
        2020, arXiv 2005.00341, section 3.1 (dead codes).
    """
    return _quantization.terms(model, params, batch, key, commitment_weight, codebook)
