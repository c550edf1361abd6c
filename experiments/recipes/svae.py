"""Codes on a sphere against Gaussian codes on MNIST: 784-256-128, ReLU, 10 dimensions.

Binarized afresh at each use, batches of 64, Adam at 1e-3; −log p(x) of the test images by
importance sampling with 500 samples. Davidson et al. 2018, arXiv 1804.00891, and the authors of
pythae (Chadebec et al. 2022, arXiv 2206.08309), 500 epochs. The sphere of 10 dimensions lies in 11.
The full budget is theirs; the small one has 200 epochs at a falling rate.
"""

from experiments.recipes import Column, Row, below, near

_COMMON = {
    "dataset": "mnist",
    "network": "mlp",
    "widths": "256,128",
    "activation": "relu",
    "batch_size": "64",
    "num_valid": "0",
}

BUDGETS = {
    "full": {**_COMMON, "epochs": "500", "learning_rate": "1e-3"},
    "cpu": {**_COMMON, "epochs": "200", "learning_rate": "cosine(1e-3, 0, 100%)"},
}
SEEDS = 1
_GAUSSIAN, _FISHER, _POWER = "Gaussian", "von Mises–Fisher", "Power Spherical"
_ON_SPHERE = {"latent_dim": "11"}
ROWS = [
    Row(_GAUSSIAN, {"latent_dim": "10"}, {}),
    Row(_FISHER, {**_ON_SPHERE, "posterior": "vmf"}, {"nll": {"paper": 93.16, "pythae": 93.13}}),
    Row(_POWER, {**_ON_SPHERE, "posterior": "power_spherical"}, {}),
]
COLUMNS = [
    Column("nll", "nll", "nll", {"num_samples": 500}),
    Column("rate", "objective", "rate"),
]


def notes(results) -> list[str]:
    """Whether the sphere is as near to the paper as claimed, and better than Gaussian codes."""
    return [
        *near(results, _FISHER, "nll", "paper", within=1.0),
        *below(results, _FISHER, _GAUSSIAN, "nll"),
    ]
