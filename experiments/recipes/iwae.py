"""Importance-weighted autoencoders on MNIST, one stochastic layer: 784-200-200-50, tanh.

Binarized afresh at each use; −log p(x) of the 10,000 test images by importance sampling with 5,000
samples. Burda et al. 2015, arXiv 1509.00519, table 1; the ports are nbip/IWAE (TensorFlow 2) and
xqding (PyTorch). The full budget is the paper's: batches of 20, stages i = 1 … 8 of 3^(i−1) epochs
at a learning rate of 1e-4·round(10^(1−(i−1)/7), 1), 3,280 epochs in all, and Adam's b1 = 0.99 and
eps = 1e-4. Only the initial weights differ (LeCun's instead of Glorot's, without an output bias
from the mean image). The small budget reproduces the order of the rows.
"""

from experiments.recipes import Column, Row

_COMMON = {
    "dataset": "mnist",
    "network": "mlp",
    "widths": "200,200",
    "latent_dim": "50",
    "num_valid": "0",
}
_STAGES = [
    (sum(3**j for j in range(i)), 1e-4 * round(10 ** (1 - i / 7), 1)) for i in range(8)
]  # (first epoch, learning rate)


def _piecewise() -> str:
    words = [f"{_STAGES[0][1]:.6g}"]
    words += [f"{epoch}ep, {rate:.6g}" for epoch, rate in _STAGES[1:]]
    return f"piecewise({', '.join(words)})"


BUDGETS = {
    "full": {
        **_COMMON,
        "batch_size": "20",
        "epochs": "3280",
        "learning_rate": _piecewise(),
        "adam_b1": "0.99",
        "adam_eps": "1e-4",
    },
    "cpu": {
        **_COMMON,
        "batch_size": "100",
        "epochs": "30",
        "learning_rate": "cosine(2e-3, 0, 100%)",
    },
}
SEEDS = 1


def _row(name: str, flags: dict, *numbers: float) -> Row:
    who = ("paper", "nbip", "xqding")
    return Row(name, flags, {"nll": dict(zip(who, numbers, strict=True))})


ROWS = [
    _row("VAE, 1 layer, k = 1", {"objective": "beta_vae"}, 86.76, 86.35, 87.78),
    _row("IWAE, 1 layer, k = 5", {"objective": "iwae", "num_samples": "5"}, 85.54, 85.18, 85.46),
    _row("IWAE, 1 layer, k = 50", {"objective": "iwae", "num_samples": "50"}, 84.78, 84.59, 84.59),
]
COLUMNS = [
    Column("nll", "nll", "nll", {"num_samples": 5000}),
    Column("active units", "objective", "active_units"),
]


def notes(results) -> list[str]:
    """Whether more samples are better, as in the paper."""
    named = {name: row["nll"].mean for name, row in results.items()}
    order = sorted(named, key=named.get)
    return ["from best to worst: " + " < ".join(f"{n} ({named[n]:.2f})" for n in order)]
