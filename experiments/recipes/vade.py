"""Clusters of MNIST without labels: an autoencoder, a mixture on its codes, then both together.

784-500-500-2000-10, ReLU, gray levels as probabilities; accuracy of the likeliest component, each
assigned a digit on 10,000 training images and scored on the test images, mean and standard error
over five seeds, none of them chosen. Beside it: k-means of the codes, k-means of the pixels, a
mixture of Gaussians on 10 principal components, k-means of a t-SNE map of training and test images.
Jiang et al. 2017, arXiv 1611.05148, and an independent rerun of twenty seeds (± 0.044). The paper
pre-trains layer by layer and trains 300 epochs; the full budget has 50 of the autoencoder, 10 of
the mixture and 300 of both. The small one has two layers of 256, 15, 5 and 20 epochs, and 2,000
training images for clusters.
"""

from experiments.recipes import Column, Row, below

_COMMON = {
    "dataset": "mnist",
    "network": "mlp",
    "activation": "relu",
    "latent_dim": "10",
    "likelihood": "bernoulli",
    "binarization": "soft",
    "num_valid": "0",
    "batch_size": "100",
    "prior": "mixture",
    "num_components": "10",
}

BUDGETS = {
    "full": {
        **_COMMON,
        "widths": "500,500,2000",
        "learning_rate": "piecewise(2e-3, 60ep, 1e-3, 160ep, 5e-4, 260ep, 2.5e-4)",
        "beta": "piecewise(0, 50ep, 1)",
        "prior_phase": "piecewise(0, 50ep, 1, 60ep, 2)",
    },
    "cpu": {
        **_COMMON,
        "widths": "256,256",
        "learning_rate": "piecewise(2e-3, 20ep, 1e-3, 30ep, 5e-4)",
        "beta": "piecewise(0, 15ep, 1)",
        "prior_phase": "piecewise(0, 15ep, 1, 20ep, 2)",
    },
}
SEEDS = 5
_CODES, _BOTH = "autoencoder, then mixture", "VaDE"
_ACCURACY, _K_MEANS = "accuracy", "accuracy of k-means of codes"
ROWS = [
    Row(_CODES, {}, {}, by_budget={"full": {"epochs": "60"}, "cpu": {"epochs": "20"}}),
    Row(
        _BOTH,
        {},
        {_ACCURACY: {"paper": 0.945, "rerun of twenty": 0.716}},
        by_budget={"full": {"epochs": "360"}, "cpu": {"epochs": "40"}},
    ),
]


def _column(name: str, entry: str) -> Column:
    settings = {"max_train": 10_000, "max_tsne": 20_000}
    return Column(name, "clustering", entry, settings, by_budget={"cpu": {"max_train": 2_000}})


COLUMNS = [
    _column(_ACCURACY, "prior_accuracy"),
    _column("NMI", "prior_nmi"),
    _column("ARI", "prior_ari"),
    _column(_K_MEANS, "codes_accuracy"),
    _column("accuracy of k-means of x", "data_accuracy"),
    _column("accuracy of PCA and a mixture", "pca_accuracy"),
    _column("accuracy of t-SNE and k-means", "tsne_accuracy"),
]


def notes(results) -> list[str]:
    """Whether training both together finds better clusters than the autoencoder has."""
    return below(results, _CODES, _BOTH, _ACCURACY)
