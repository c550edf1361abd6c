"""Codes in the Poincaré ball against Gaussian codes on MNIST: one layer of 600, ReLU.

10 latent dimensions, a wrapped normal of curvature −1, batches of 128, 80 epochs of Adam at 5e-4;
−log p(x) of the test images by importance sampling with 500 samples. Mathieu et al. 2019, arXiv
1901.06033; the numbers are those of the authors of pythae (Chadebec et al. 2022, arXiv 2206.08309)
and of the paper's code as they ran it. Both train on images that are binarized once and test on
gray levels; ours are binarized afresh at each use, in both. Their decoder begins with a layer of
distances in the ball, ours with a dense one. The small budget has a falling rate.
"""

from experiments.recipes import Column, Row, below, near

_COMMON = {
    "dataset": "mnist",
    "network": "mlp",
    "widths": "600",
    "activation": "relu",
    "batch_size": "128",
    "num_valid": "0",
}

BUDGETS = {
    "full": {**_COMMON, "epochs": "80", "learning_rate": "5e-4"},
    "cpu": {**_COMMON, "epochs": "80", "learning_rate": "cosine(1e-3, 0, 100%)"},
}
SEEDS = 1
_GAUSSIAN, _BALL, _FLAT_DISK, _DISK = "Gaussian, 10", "wrapped, 10", "Gaussian, 2", "wrapped, 2"
ROWS = [
    Row(_GAUSSIAN, {"latent_dim": "10"}, {}),
    Row(
        _BALL,
        {"latent_dim": "10", "posterior": "poincare"},
        {"nll": {"code of the paper": 101.47, "pythae": 101.66}},
    ),
    Row(_FLAT_DISK, {"latent_dim": "2"}, {}),
    Row(_DISK, {"latent_dim": "2", "posterior": "poincare"}, {}),
]
COLUMNS = [
    Column("nll", "nll", "nll", {"num_samples": 500}),
    Column("rate", "objective", "rate"),
]


def notes(results) -> list[str]:
    """Whether the ball is as near to the published number as claimed, and better with z of 2."""
    return [
        *near(results, _BALL, "nll", "code of the paper", within=1.0),
        *below(results, _DISK, _FLAT_DISK, "nll"),
    ]
