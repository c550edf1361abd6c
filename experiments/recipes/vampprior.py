"""Priors of a VAE on statically binarized MNIST: N(0, I), a mixture of Gaussians, VampPrior.

40 latent dimensions, two layers of 300 each way, batches of 100, Adam at 5e-4, β from 0 to 1 over
the first epochs, early stopping; −log p(x) of the test images by importance sampling. Tomczak &
Welling 2018, arXiv 1705.07120, table 1 (K = 500 pseudo-inputs), and the authors of pythae (Chadebec
et al. 2022, arXiv 2206.08309). Their layers are gated, h·σ(g) with a kernel for each; ours are
SiLU, h·σ(h). The full budget has the paper's 2,000 epochs, 100 of warm-up and patience of 50, and
5,000 samples. The small one has 100 epochs, 20 of warm-up, and 500 samples.
"""

from experiments.recipes import Column, Row, below, near

_COMMON = {
    "dataset": "binarized_mnist",
    "network": "mlp",
    "widths": "300,300",
    "activation": "silu",
    "latent_dim": "40",
    "batch_size": "100",
}

BUDGETS = {
    "full": {
        **_COMMON,
        "epochs": "2000",
        "learning_rate": "5e-4",
        "beta": "linear(0, 1, 100ep)",
        "patience": "50",
    },
    "cpu": {
        **_COMMON,
        "epochs": "100",
        "learning_rate": "cosine(1e-3, 0, 100%)",
        "beta": "linear(0, 1, 20ep)",
    },
}
SEEDS = 1
_NORMAL, _MIXTURE, _VAMP = "N(0, I)", "mixture, K = 500", "VampPrior, K = 500"
ROWS = [
    Row(_NORMAL, {}, {}),
    Row(_MIXTURE, {"prior": "mixture", "num_components": "500"}, {}),
    Row(
        _VAMP,
        {"prior": "vamp", "num_components": "500"},
        {"nll": {"paper": 85.57, "pythae": 85.79}},
    ),
]
COLUMNS = [
    Column("nll", "nll", "nll", {"num_samples": 5000}, by_budget={"cpu": {"num_samples": 500}}),
    Column("rate", "objective", "rate"),
    Column("active units", "objective", "active_units"),
]


def notes(results) -> list[str]:
    """Whether VampPrior is below N(0, I) by a nat, and as near to the paper as a port."""
    return [
        *below(results, _VAMP, _NORMAL, "nll", least=1.0),
        *below(results, _VAMP, _MIXTURE, "nll"),
        *near(results, _VAMP, "nll", "paper", within=1.0),
    ]
