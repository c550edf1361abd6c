"""The runs of the lecture: name of a run → flags of `experiments.vae`."""

from collections.abc import Mapping

__all__ = ["CORRUPTIONS", "SIZES", "equal", "rows"]

_SOFT = {"likelihood": "bernoulli", "binarization": "soft"}

SIZES: dict[str, dict[str, str]] = {
    "digits": {"epochs": "150", "batch_size": "100", "widths": "200,100"},
    "mnist": {"epochs": "12", "batch_size": "128", "widths": "400,200"},
}
"""Dataset → flags of every run on it; other datasets use those of `mnist`."""

_LINEAR: dict[str, dict[str, str]] = {"digits": {"epochs": "1500"}}
"""Dataset → flags of linear runs: separating directions of nearly equal variance takes long."""

CORRUPTIONS: dict[str, dict[str, str]] = {
    "noise": {"corruption": "gaussian", "level": "0.5"},
    "noise_clipped": {"corruption": "gaussian", "level": "0.5", "clip": "unit"},
    "masking": {"corruption": "masking", "level": "0.5"},
    "patch": {"corruption": "patch", "level": "0.4"},
    "half": {"corruption": "resolution", "factor": "2"},
    "quarter": {"corruption": "resolution", "factor": "4"},
}
"""Name of a run that restores → flags of its corruption."""

# the estimate of the norm takes a sixteenth of the passes of the exact one
_CONTRACTIVE = {
    **{"objective": "contractive", "lambda_jacobian": "3"},
    **{"jacobian": "hutchinson", "num_probes": "4"},
}
_OVERCOMPLETE: dict[str, dict[str, str]] = {
    "autoencoder": {"objective": "autoencoder"},
    "sparse": {"objective": "sparse", "lambda_sparsity": "0.3", "optimizer": "adamw"},
    "k_sparse": {"objective": "k_sparse", "num_active": "8"},
    "contractive": _CONTRACTIVE,
    "contractive_tied": {**_CONTRACTIVE, "tied": "true"},
    "denoising": {"objective": "denoising", "level": "0.5"},
}
"""Codes larger than x: name → objective."""


def rows(dataset: str, without: str) -> Mapping[str, dict[str, str]]:
    """Name of a run → its flags.

    Args:
        dataset: name of the dataset of most runs.
        without: the path of the same images without one class, for anomalies.
    """
    size = {"dataset": dataset, **SIZES.get(dataset, SIZES["mnist"]), **_SOFT}
    linear = {**size, "objective": "autoencoder", "network": "linear"}
    linear = {k: v for k, v in linear.items() if k not in ("widths", *_SOFT)}
    linear |= {"likelihood": "gaussian", "variance": "0.5"}
    linear |= {"learning_rate": "cosine(1e-2, 0, 100%)", **_LINEAR.get(dataset, {})}
    found = {}
    for latent_dim in ("2", "16"):
        own = {"latent_dim": latent_dim}
        found[f"linear-{latent_dim}"] = {**linear, **own}
        found[f"autoencoder-{latent_dim}"] = {**size, **own, "objective": "autoencoder"}
        found[f"vae-{latent_dim}"] = {**size, **own, "objective": "beta_vae"}
    for name, corruption in CORRUPTIONS.items():
        found[name] = {**size, **corruption, "objective": "denoising", "latent_dim": "64"}
    for objective in ("autoencoder", "beta_vae"):
        own = {"dataset": without, "objective": objective, "latent_dim": "16"}
        found[f"normal-{objective}"] = {**size, **own}
    digits = {"dataset": "digits", **SIZES["digits"], "latent_dim": "128", "activation": "relu"}
    digits |= {"likelihood": "gaussian", "variance": "0.05", "widths": "256", "epochs": "100"}
    for name, own in _OVERCOMPLETE.items():
        found[f"overcomplete-{name}"] = {**digits, **own}
    return found


def equal(rows: Mapping[str, dict[str, str]], used: int) -> dict[str, dict[str, str]]:
    """The runs that have as many dimensions as the VAE of 16 uses, which is known only after it.

    Args:
        rows: the flags of `rows`.
        used: a count; 0 needs no runs.
    """
    if not used:
        return {}
    return {"autoencoder-equal": {**rows["autoencoder-16"], "latent_dim": str(used)}}
