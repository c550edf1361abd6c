"""Other names that people know for what has a name here: `vae` of `beta_vae`, `lr`.

An alias is read wherever the name is, and goes no further: `config.json`, directories, checkpoints
and lines of a log hold the name.
"""

__all__ = ["SETTINGS", "VALUES", "canonical", "setting"]

VALUES = {
    "objective": {"vae": "beta_vae", "ae": "autoencoder", "dae": "denoising"},
    "likelihood": {"mse": "gaussian", "normal": "gaussian", "bce": "bernoulli"},
    "network": {"cnn": "conv", "dense": "mlp", "fc": "mlp"},
    "activation": {"swish": "silu"},
    "prior": {"standard": "normal", "mog": "mixture", "gmm": "mixture", "vampprior": "vamp"},
}
"""Setting → alias of a value → the value."""
SETTINGS = {"lr": "learning_rate"}
"""Alias of a setting → the setting; as a flag, and in the file of a sweep."""


def canonical(setting: str, value: str) -> str:
    """The name that a value of a setting has here, a scalar as the value is.

    Args:
        setting: its name, such as "objective".
        value: a name or an alias; what is neither is returned as it is.
    """
    return VALUES.get(setting, {}).get(value, value)


def setting(name: str) -> str:
    """The name that a setting has here; what is no alias is returned as it is (a scalar)."""
    return SETTINGS.get(name, name)
