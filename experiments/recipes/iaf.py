"""Inverse autoregressive flow against a mean field on statically binarized MNIST, 128 dimensions.

Two layers of 512 each way, batches of 128; −log p(x) of the test images by importance sampling. The
published numbers are those of altosaar/variational-autoencoder, after 65,000 steps with a mean
field and 150,000 with the flow (Kingma et al. 2016, arXiv 1606.04934), RMSprop at 1e-3; ours have
Adam. The full budget has those steps and 1,000 samples, the small one 27,000 steps for both and 500
samples.
"""

from experiments.recipes import Column, Row, below, near

_COMMON = {
    "dataset": "binarized_mnist",
    "network": "mlp",
    "widths": "512,512",
    "activation": "relu",
    "latent_dim": "128",
    "batch_size": "128",
}

BUDGETS = {
    "full": {**_COMMON, "epochs": "166", "learning_rate": "cosine(1e-3, 0, 100%)"},
    "cpu": {**_COMMON, "epochs": "70", "learning_rate": "cosine(1e-3, 0, 100%)"},
}
SEEDS = 1
_FIELD, _FLOW = "mean field", "inverse autoregressive flow"
ROWS = [
    Row(_FIELD, {}, {"nll": {"altosaar": 97.10}}),
    Row(
        _FLOW,
        {"posterior": "iaf"},
        {"nll": {"altosaar": 95.33}},
        by_budget={"full": {"epochs": "384"}},
    ),
]
COLUMNS = [
    Column("nll", "nll", "nll", {"num_samples": 1000}, by_budget={"cpu": {"num_samples": 500}}),
    Column("elbo", "objective", "elbo"),
]


def notes(results) -> list[str]:
    """Whether the flow is better, and each is as near to the published number as claimed."""
    return [
        *below(results, _FLOW, _FIELD, "nll"),
        *near(results, _FIELD, "nll", "altosaar", within=1.0),
        *near(results, _FLOW, "nll", "altosaar", within=1.0),
    ]
