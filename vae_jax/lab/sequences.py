"""Pictures of sequences: text as text, series as curves."""

import jax
import numpy as np

from vae_jax import data, plots

__all__ = [
    "NUM_CURVES",
    "NUM_SAMPLES",
    "OF_SERIES",
    "OF_TEXT",
    "interpolation",
    "read_interpolation",
    "read_reconstructions",
    "read_samples",
    "reconstructions",
    "samples",
    "traversal",
]

NUM_SAMPLES = 100
NUM_CURVES = 12


def read_samples(seen, alphabet) -> list[str]:
    """Samples from a model of text, one per line."""
    return _read(_sampled(seen, NUM_SAMPLES), alphabet)


def read_reconstructions(seen, alphabet) -> list[str]:
    """Examples, each followed by its reconstruction."""
    decoded = seen.decode(seen.codes[seen.few][None])
    pairs = zip(_read(seen.x, alphabet), _read(decoded, alphabet), strict=True)
    return [line for x, from_code in pairs for line in (x, from_code, "")]


def read_interpolation(seen, alphabet) -> list[str] | None:
    """The interpolation between two examples, one line per step."""
    between = seen.between()
    if between is None:
        return None
    return [line for pair in between for line in (*_read(pair, alphabet), "")]


def _read(x, alphabet) -> list[str]:
    return data.strings(x.reshape(-1, x.shape[-1]), alphabet)


def reconstructions(seen) -> plots.Picture:
    """Draws series and their reconstructions."""
    decoded = seen.decode(seen.codes[seen.few][None], seen.told)[0]
    pairs = np.stack([seen.x, np.where(np.isnan(seen.x), np.nan, decoded)], axis=1)
    return plots.series(pairs, ("input", "from its code"))


def samples(seen) -> plots.Picture | None:
    """Draws samples from a model of series."""
    if seen.conditions is not None:
        return None
    source = "the prior" if seen.has_rates else "a Gaussian fit to the codes"
    draws = _sampled(seen, NUM_CURVES)[:, None]
    return plots.series(draws, title=f"x ~ p(x|z), z from {source}")


def interpolation(seen) -> plots.Picture | None:
    """Draws the interpolation between two examples."""
    between = seen.between()
    if between is None:
        return None
    names = [f"{t:.2g}" for t in np.linspace(0, 1, between.shape[1])[::2]]
    title = "E[x|z] at positions between the codes of two examples"
    return plots.series(between[:, ::2], names, title=title)


def traversal(seen, traversed: dict) -> plots.Picture:
    """Draws the traversal of each dimension; `traversed` as for `plots.traversal`."""
    each = zip(traversed["dimensions"], traversed["rates"], strict=True)
    is_standard = seen.has_rates and seen.is_standard
    where = "each value" if is_standard else "so many standard deviations from its mean"
    return plots.series(
        traversed["images"][:, ::2],
        [f"{value:.2g}" for value in traversed["values"][::2]],
        title=f"E[x|z], one dimension of an example's code set to {where}",
        panel_names=[f"z{d}: {rate:.2f} {traversed['unit']}" for d, rate in each],
    )


def _sampled(seen, num: int) -> np.ndarray:
    """x ~ p(x|z), z from the prior or its substitute: [num, *shape]."""
    z_key, x_key = jax.random.split(seen.key)
    z = seen.prior.sample(z_key, num)
    return np.asarray(jax.jit(seen.model.sample_given)(seen.params, x_key, z)[0])


OF_TEXT = {
    "samples": read_samples,
    "reconstructions": read_reconstructions,
    "interpolation": read_interpolation,
}
"""Name → lines of a model of text, from a `pictures._Seen` and the alphabet of the dataset."""
OF_SERIES = {
    "reconstructions": reconstructions,
    "samples": samples,
    "interpolation": interpolation,
}
"""Name → picture of a model of series [N, T, C], from a `pictures._Seen`."""
