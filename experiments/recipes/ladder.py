"""Ladder VAEs against a chain of stochastic layers, on statically binarized MNIST.

−log p(x) of the test images by importance sampling with 1,000 samples. Sønderby et al. 2016, arXiv
1602.02282; the number is that of addtt/ladder-vae-pytorch with three layers of convolutions, which
are deeper than ours. Each layer has twice as many dimensions as the one above it; β goes from 0 to
1 over the first epochs. The full budget has convolutions of 32, 64 channels and 1,000 epochs, the
small one dense layers of 300, 300, 100 epochs and 500 samples.
"""

from experiments.recipes import Column, Row, below

_COMMON = {
    "dataset": "binarized_mnist",
    "batch_size": "100",
    "learning_rate": "cosine(1e-3, 0, 100%)",
    "group_width": "128",
}

BUDGETS = {
    "full": {
        **_COMMON,
        "network": "conv",
        "widths": "32,64",
        "activation": "relu",
        "epochs": "1000",
        "beta": "linear(0, 1, 100ep)",
    },
    "cpu": {
        **_COMMON,
        "network": "mlp",
        "widths": "300,300",
        "activation": "silu",
        "epochs": "100",
        "beta": "linear(0, 1, 20ep)",
    },
}
SEEDS = 1
_CHAIN, _TWO, _THREE = "chain, 2 layers", "ladder, 2 layers", "ladder, 3 layers"


def _flags(posterior: str, num_groups: str, latent_dim: str) -> dict[str, str]:
    return {"posterior": posterior, "num_groups": num_groups, "latent_dim": latent_dim}


ROWS = [
    Row(_CHAIN, _flags("chain", "2", "96"), {}),
    Row(_TWO, _flags("ladder", "2", "96"), {}),
    Row(_THREE, _flags("ladder", "3", "112"), {"nll": {"addtt, convolutions": 79.24}}),
]
COLUMNS = [
    Column("nll", "nll", "nll", {"num_samples": 1000}, by_budget={"cpu": {"num_samples": 500}}),
    Column("elbo", "objective", "elbo"),
    Column("active units", "objective", "active_units"),
]


def notes(results) -> list[str]:
    """Whether the ladder is better than the chain of as many layers, and three layers than two."""
    return [*below(results, _TWO, _CHAIN, "nll"), *below(results, _THREE, _TWO, "nll")]
