"""Importance-weighted autoencoders on statically binarized MNIST: 784-200-200-50, tanh.

−log p(x) of the 10,000 test images by importance sampling with 5,000 samples. Burda et al. 2015,
arXiv 1509.00519, the results on the fixed binarization. The full budget is the paper's, as in the
recipe `iwae`; the small one has larger batches and learning rates, and 2 % of the epochs.
"""

from experiments.recipes import Row, iwae


def _static(budget: str, **flags: str) -> dict[str, str]:
    """A budget of `iwae` for data with their own binarization and validation split."""
    flags = {**iwae.BUDGETS[budget], "dataset": "binarized_mnist", **flags}
    del flags["num_valid"]
    return flags


BUDGETS = {"full": _static("full"), "cpu": _static("cpu", epochs="60")}
SEEDS = 1
ROWS = [
    Row("VAE, k = 1", {"objective": "beta_vae"}, {"nll": {"paper": 88.71}}),
    Row("IWAE, k = 5", {"objective": "iwae", "num_samples": "5"}, {"nll": {"paper": 87.63}}),
]
COLUMNS = iwae.COLUMNS
