"""Distortion and rate out of proportion: a fixed variance far from the squared error."""

import math

__all__ = ["FACTOR", "find"]

FACTOR = 4.0
"""How far the variance may be from the mean squared error, a factor (a scalar)."""


def find(evidence):
    """Whether the fixed variance of a Gaussian is off by more than `FACTOR`.

    −log p(x|z) = D/2 log 2πv + ‖x − E[x|z]‖² / 2v. At the best v, the mean squared error, the rate
    weighs as much as in the ELBO of a learned variance; at c times the best v it weighs c times.

    Args:
        evidence: of a run with a number as its variance; x has D numbers.

    Reference:
        Rybkin et al. 2021, Simple and effective VAE training with calibrated decoders, arXiv
        2006.13202; Lucas et al. 2019, arXiv 1911.02469, section 4.
    """
    variance, distortion = evidence.last("variance"), evidence.number("distortion")
    if variance is None or distortion is None or evidence.settings["likelihood"] != "gaussian":
        return None
    if not evidence.number("rate"):  # a plain autoencoder has nothing to weigh
        return None
    constant = 0.5 * evidence.num_values * math.log(2 * math.pi * variance)
    error = 2 * variance * (distortion - constant) / evidence.num_values
    if not error > 0:
        return None
    weight = variance / error
    if 1 / FACTOR <= weight <= FACTOR:
        return None
    told = f"the mean squared error of a value is {error:.2g}, variance={variance:g}: the rate "
    return f"{told}weighs {weight:.2g} times as much as it should", "take variance=learned"
