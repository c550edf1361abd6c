"""Pictures restored: noise, missing pixels, a missing patch, half and a quarter of the resolution.

A denoising autoencoder (Vincent et al. 2010, JMLR 11) learns from clean pictures and corrupted
copies of them; then it restores test pictures. Beside it: the corrupted picture itself, bicubic
interpolation for resolutions, principal components, as many as restore training pictures best, and
the best linear map from corrupted to clean (ridge regression on 10,000 pairs). Restored values are
clipped to [0, 1]. The seed is that of the corruption and of training.
"""

import functools
from collections.abc import Callable

import jax
import numpy as np

import vae_jax
from experiments import restorers
from experiments.applications import Measure, Trial
from vae_jax import corruptions, data, losses
from vae_jax.evaluation import reconstruction

PROTOCOLS = {
    "mnist": "20,000 training and 2,000 test pictures of 28×28",
    "digits": "all training and test pictures of 8×8; too small for the windows of SSIM",
}
SEEDS = 3
MEASURES = (
    Measure("PSNR", "peak signal-to-noise ratio against the clean picture, dB", digits=2),
    Measure("SSIM", "structural similarity to the clean picture (Wang et al. 2004), at most 1"),
)
OURS = ("denoising autoencoder",)
_CORRUPTIONS = {
    "noise": {"corruption": "gaussian", "level": 0.5},
    "masked pixels": {"corruption": "masking", "level": 0.5},
    "masked patch": {"corruption": "patch", "level": 0.4},
    "half the resolution": {"corruption": "resolution", "factor": 2},
    "a quarter of it": {"corruption": "resolution", "factor": 4},
}
_NUM_TRAIN, _NUM_TEST, _NUM_REGRESSED, _NUM_COMPARED = 20_000, 2_000, 10_000, 2_000
_EPOCHS = {"mnist": 25, "digits": 150}


def tasks(protocol: str, data_dir: str | None) -> list[str]:
    """What is done to the pictures."""
    return list(_CORRUPTIONS)


def methods(trial: Trial) -> dict:
    """Each method's measures."""
    dataset = data.load(trial.protocol, data_dir=trial.data_dir)
    corruption = _CORRUPTIONS[trial.task]
    clean, test = _pictures(dataset, "train", _NUM_TRAIN), _pictures(dataset, "test", _NUM_TEST)
    pairs = clean[:_NUM_REGRESSED], _corrupted(clean[:_NUM_REGRESSED], corruption, trial.seed + 1)
    shown = _corrupted(test, corruption, trial.seed)
    restorers_of = {
        "corrupted": lambda: lambda x: x,
        "PCA": lambda: _components(*pairs).restore,
        "linear regression": lambda: restorers.regression(*pairs),
        "denoising autoencoder": lambda: _autoencoder(clean, corruption, trial),
    }
    if "factor" in corruption:
        interpolate = functools.partial(restorers.bicubic, factor=corruption["factor"])
        restorers_of["bicubic"] = lambda: interpolate
    return {
        name: functools.partial(_measured, make, test, shown) for name, make in restorers_of.items()
    }


def _pictures(dataset, part: str, most: int) -> np.ndarray:
    """The first pictures of a part, [N, H, W, C] in [0, 1]."""
    return np.asarray(dataset.decode(np.asarray(getattr(dataset, part).x[:most])))


def _corrupted(x: np.ndarray, corruption: dict, seed: int) -> np.ndarray:
    """Corrupted pictures [N, H, W, C]."""
    name, options = corruption["corruption"], {"level": 0.0, "factor": 1} | corruption
    key = jax.random.key(seed)
    return np.asarray(corruptions.corrupt(name, key, x, options["level"], options["factor"]))


def _components(clean: np.ndarray, shown: np.ndarray) -> reconstruction.Components:
    """The principal components that restore pairs [N, H, W, C] best."""
    num = min(max(restorers.NUM_COMPONENTS), clean[0].size)
    every = reconstruction.principal_components(clean, num)
    return restorers.best_components(every, clean[:_NUM_COMPARED], shown[:_NUM_COMPARED])


def _autoencoder(clean: np.ndarray, corruption: dict, trial: Trial) -> Callable:
    """A trained model's function of corrupted pictures, [N, H, W, C] to the same shape."""
    model = vae_jax.make_model(
        clean.shape[1:],
        objective="denoising",
        likelihood="bernoulli",
        latent_dim=64,
        widths=(400, 200),
    )
    trained = vae_jax.fit(
        "denoising",
        model,
        clean,
        epochs=_EPOCHS[trial.protocol],
        batch_size=128,
        learning_rate="cosine(2e-3, 0, 100%)",
        seed=trial.seed,
        progress=False,
        **corruption,
    )
    engine = vae_jax.uses.Engine(vae_jax.uses.Denoise(), trained.model, trained.params)
    return lambda x: engine(x)[vae_jax.uses.CELLS]


def _measured(make: Callable, clean: np.ndarray, shown: np.ndarray) -> dict[str, float]:
    """Measures pictures [N, H, W, C] that the function of `make` restores."""
    restored = np.clip(make()(shown), 0.0, 1.0)
    decibels = reconstruction.peak_signal_to_noise(clean, restored)
    told = {"PSNR": float(np.mean(decibels[np.isfinite(decibels)]))}
    if losses.similarity.num_possible_scales(*clean.shape[1:3]):
        told["SSIM"] = float(losses.similarity.structural_similarity(clean, restored).mean())
    return told
