"""Other names that people know for what has a name here: `vae` of `beta_vae`, `lr`.

An alias is read wherever the name is, and goes no further: `config.json`, directories, checkpoints
and lines of a log hold the name.
"""

__all__ = ["ARGUMENTS", "SETTINGS", "VALUES", "argument", "canonical", "setting"]

VALUES = {
    "objective": {
        **{"vae": "beta_vae", "ae": "autoencoder", "dae": "denoising"},
        "missing_iwae": "iwae",  # MIWAE of missing data is the bound of what is observed
    },
    "likelihood": {
        "mse": "gaussian",
        "normal": "gaussian",
        "bce": "bernoulli",
        "dmol": "logistic_mixture",
        "nb": "negative_binomial",
        "zinb": "zero_inflated_negative_binomial",
        "student": "student_t",
    },
    "network": {"cnn": "conv", "dense": "mlp", "fc": "mlp"},
    "activation": {"swish": "silu"},
    "posterior": {"multivariate": "full", "full_covariance": "full", "von_mises_fisher": "vmf"},
    "kind": {
        **dict.fromkeys(("category", "nominal"), "categorical"),
        **dict.fromkeys(("number", "numeric", "float", "continuous"), "real"),
        **dict.fromkeys(("bool", "boolean"), "binary"),
        **dict.fromkeys(("datetime", "time", "timestamp"), "date"),
        **{"id": "identifier", "ignore": "ignored", "integer": "count"},
    },
    "prior": {"standard": "normal", "mog": "mixture", "gmm": "mixture", "vampprior": "vamp"},
}
"""Setting → alias of a value → the value."""
SETTINGS = {"lr": "learning_rate"}
"""Alias of a setting → the setting; as a flag, and in the file of a sweep."""

ARGUMENTS = {
    **SETTINGS,
    **dict.fromkeys(("num_epochs", "n_epochs"), "epochs"),
    **dict.fromkeys(("latent_size", "num_latents", "n_latents", "z_dim"), "latent_dim"),
    **dict.fromkeys(("hidden_dims", "hidden_sizes", "hidden_units"), "widths"),
    **dict.fromkeys(("random_state", "rng"), "seed"),
    **dict.fromkeys(("validation_data", "valid_data"), "valid"),
    **{"callback": "callbacks", "early_stopping": "patience", "verbose": "progress"},
    **{"workdir": "checkpoint", "checkpoint_dir": "checkpoint", "batchsize": "batch_size"},
}
"""Other names that people know for arguments in Python, which a message answers with ours."""


def argument(name: str) -> str:
    """The argument that is meant by a name; what is no alias is returned as it is (a scalar)."""
    return ARGUMENTS.get(name, name)


def canonical(setting: str, value: str) -> str:
    """The name that a value of a setting has here, a scalar as the value is.

    Args:
        setting: its name, such as "objective".
        value: a name or an alias; what is neither is returned as it is.
    """
    return VALUES.get(setting, {}).get(value, value) if isinstance(value, str) else value


def setting(name: str) -> str:
    """The name that a setting has here; what is no alias is returned as it is (a scalar)."""
    return SETTINGS.get(name, name)
