"""Linear VAEs on MNIST compared with probabilistic PCA, whose exact likelihood is known.

Pixels are divided by 255; all 60,000 training images are used. At the optimum the ELBO equals the
log-likelihood; the exact values follow from the eigenvalues of the covariance (Tipping & Bishop
1999, eq. 7 and 8). The model is that of Lucas et al. 2019, arXiv 1911.02469.
"""

from experiments.recipes import Column, Row

# q: log-likelihood of train and of test at the optimum, from the eigenvalues
_EXACT = {
    2: (12.428, 14.360),
    10: (182.155, 186.024),
    30: (385.653, 394.616),
    50: (507.905, 517.603),
}

_FLAGS = {
    "dataset": "mnist",
    "network": "linear",
    "likelihood": "gaussian",
    "variance": "learned",
    "num_valid": "0",
    "batch_size": "500",
    "epochs": "500",
    "learning_rate": "cosine(6e-3, 0, 100%)",
}
# minutes on two cores: there is nothing to save
BUDGETS = {"full": _FLAGS, "cpu": _FLAGS}
SEEDS = 1
ROWS = [
    Row(
        f"q = {q}",
        {"latent_dim": str(q)},
        {"train log p(x)": {"exact": train}, "test log p(x)": {"exact": test}},
    )
    for q, (train, test) in _EXACT.items()
]
COLUMNS = [
    Column("train log p(x)", "exact", "nll", {"split": "train"}, factor=-1),
    Column("test log p(x)", "exact", "nll", factor=-1),
]


def notes(results) -> list[str]:
    """How far training is from the optimum."""
    gaps = [
        abs(result[column.name].mean - result[column.name].published["exact"])
        for result in results.values()
        for column in COLUMNS
    ]
    return [f"largest distance from the exact value: {max(gaps):.3f} nats"]
