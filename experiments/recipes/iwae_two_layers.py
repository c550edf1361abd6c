"""Importance-weighted autoencoders on MNIST, two stochastic layers of 100 and 50 dimensions.

784-200-200-100 and 100-100-100-50 each way, tanh. Protocol, ports and full budget are those of the
recipe `iwae`, whose rows have one layer of 50. The small budget has 60 epochs of batches of 100 and
500 samples instead of 5,000, and leaves out k = 50.
"""

from experiments.recipes import Column, Row, below, iwae

BUDGETS = {
    "full": dict(iwae.BUDGETS["full"]),
    "cpu": {**iwae.BUDGETS["cpu"], "epochs": "60"},
}
for _flags in BUDGETS.values():
    del _flags["latent_dim"]
SEEDS = 1
_LAYERS = {
    1: {"latent_dim": "50"},
    2: {"latent_dim": "150", "posterior": "chain", "num_groups": "2", "group_width": "100"},
}


def _name(layers: int, num_samples: int) -> str:
    """The name of a row."""
    kind = "VAE" if num_samples == 1 else "IWAE"
    return f"{kind}, {layers} layer{'s' * (layers > 1)}, k = {num_samples}"


def _row(layers: int, num_samples: int, *numbers: float, budgets: tuple[str, ...] = ()) -> Row:
    objective = {"objective": "iwae", "num_samples": str(num_samples)}
    flags = {**_LAYERS[layers], **(objective if num_samples > 1 else {"objective": "beta_vae"})}
    published = dict(zip(("paper", "nbip", "xqding"), numbers, strict=True))
    return Row(_name(layers, num_samples), flags, {"nll": published}, budgets=budgets)


ROWS = [
    _row(1, 1, 86.76, 86.35, 87.78),
    _row(2, 1, 85.33, 84.83, 89.16),
    _row(1, 5, 85.54, 85.18, 85.46),
    _row(2, 5, 83.89, 83.48, 84.69),
    _row(1, 50, 84.78, 84.59, 84.59, budgets=("full",)),
    _row(2, 50, 82.90, 82.82, 83.29, budgets=("full",)),
]
COLUMNS = [
    Column("nll", "nll", "nll", {"num_samples": 5000}, by_budget={"cpu": {"num_samples": 500}}),
    Column("active units", "objective", "active_units"),
]


def notes(results) -> list[str]:
    """Whether two layers are better than one in as many steps, and more samples than one."""
    pairs = [((2, num), (1, num)) for num in (1, 5, 50)] + [((2, 5), (2, 1)), ((2, 50), (2, 5))]
    return [
        line
        for lower, higher in pairs
        for line in below(results, _name(*lower), _name(*higher), "nll")
    ]
