"""Deep autoencoders on MNIST with and without pre-training: 784-1000-500-250-30.

Squared error of a test image, summed over its pixels in [0, 1], with gray levels unchanged; sigmoid
units, a linear code, cross-entropy. Hinton & Salakhutdinov 2006, Science 313: pre-trained with
restricted Boltzmann machines, compared with 30 principal components. All rows have the same number
of steps, including pre-training. The paper uses 50 epochs per machine, then fine-tunes for 200
epochs with conjugate gradients; here Adam does everything, in 400 epochs or in 50. The last row
uses other units, SiLU, and no pre-training.
"""

from experiments.recipes import Column, Row

_COMMON = {
    "dataset": "mnist",
    "objective": "stacked",
    "network": "mlp",
    "widths": "1000,500,250",
    "latent_dim": "30",
    "likelihood": "bernoulli",
    "num_valid": "0",
    "batch_size": "128",
    "learning_rate": "cosine(1e-3, 0, 100%)",
    "pretrained": "linear(0, 1, 30%)",
}

BUDGETS = {"full": {**_COMMON, "epochs": "400"}, "cpu": {**_COMMON, "epochs": "50"}}
SEEDS = 1
_ERROR, _COMPONENTS = "squared error", "PCA, 30 components"


def _row(name: str, activation: str, pretraining: str, **published: float) -> Row:
    flags = {"activation": activation, "pretraining": pretraining}
    return Row(name, flags, {_ERROR: published, _COMPONENTS: {"paper": 13.87}})


ROWS = [
    _row("sigmoid, no pre-training", "sigmoid", "none"),
    _row("sigmoid, RBM pre-training", "sigmoid", "rbm", paper=3.00),
    _row("SiLU, no pre-training", "silu", "none"),
]
COLUMNS = [
    Column(_ERROR, "objective", "squared_error"),
    Column(_COMPONENTS, "reconstruction", "pca_squared_error"),
]


def notes(results) -> list[str]:
    """The effect of pre-training with machines, for the same number of steps."""
    without, machines = (results.get(row.name) for row in ROWS[:2])
    if without is None or machines is None:
        return []
    share = machines[_ERROR].mean / without[_ERROR].mean
    return [f"RBM pre-training: {share:.2f} of the squared error without, in as many steps"]
