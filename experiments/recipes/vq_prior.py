"""What a learned prior of codes saves on MNIST: a transformer over the codes of a VQ-VAE.

Gray levels of 256 under a discretized logistic distribution; 7 × 7 codes out of 128 from
convolutions. The bits are those of the ELBO, code length and pixels. Uniform codes cost 7 bits
each; a transformer that is trained after the codes, on codes that stand still, or beside them. With
the same seed the first two rows have the same codes, so that all of their difference is code
length. van den Oord et al. 2017, arXiv 1711.00937, section 4.1, has no numbers for MNIST. Precision
and coverage compare 1,000 decoded draws with the test images.
"""

import math

from experiments.recipes import Column, Row, below

_COMMON = {
    "dataset": "mnist",
    "objective": "vq_vae",
    "network": "conv_map",
    "widths": "32,64",
    "latent_dim": "196",
    "code_dim": "4",
    "num_codes": "128",
    "likelihood": "logistic",
    "num_valid": "0",
    "batch_size": "100",
    "learning_rate": "1e-3",
}
_TRANSFORMER = {"prior": "transformer", "num_layers": "2", "model_width": "64"}

BUDGETS = {
    "full": {**_COMMON, "widths": "64,128"},
    "cpu": dict(_COMMON),
}
_EPOCHS = {"full": 100, "cpu": 6}
"""Of the codes, and again of the prior."""
SEEDS = 1
_UNIFORM, _AFTER, _BESIDE = "uniform codes", "transformer after the codes", "transformer beside"
_BITS, _RATE = "bits per dimension", "bits of codes"


def _by_budget(num_phases: int, **flags: str) -> dict[str, dict[str, str]]:
    """Flags that depend on the budget: the epochs of so many phases, and those that name them."""
    return {
        budget: {
            "epochs": str(num_phases * epochs),
            **{name: value.format(epochs) for name, value in flags.items()},
        }
        for budget, epochs in _EPOCHS.items()
    }


ROWS = [
    Row(_UNIFORM, {}, {}, by_budget=_by_budget(1)),
    Row(_AFTER, _TRANSFORMER, {}, by_budget=_by_budget(2, prior_phase="piecewise(0, {}ep, 1)")),
    Row(_BESIDE, _TRANSFORMER, {}, by_budget=_by_budget(2)),
]
COLUMNS = [
    Column(_BITS, "objective", "elbo", factor=-1 / (784 * math.log(2))),
    Column(_RATE, "objective", "rate", factor=1 / math.log(2)),
    Column("precision", "latent_neighbours", "precision"),
    Column("coverage", "latent_neighbours", "coverage"),
]


def notes(results) -> list[str]:
    """Whether a learned prior makes the same codes shorter."""
    return below(results, _AFTER, _UNIFORM, _RATE)
