"""What a run shows of sequences: text as text, series as curves."""

import jax
import numpy as np

from vae_jax import data, plots

NUM_SAMPLES = 100
NUM_CURVES = 12


def texts(seen, alphabet) -> dict[str, list[str]]:
    """What is to be read of a model of text: name of a file → its lines.

    Args:
        seen: a `pictures._Seen`.
        alphabet: of the dataset, characters.
    """

    def read(x):
        return data.strings(x.reshape(-1, x.shape[-1]), alphabet)

    pairs = zip(read(seen.x[seen.few]), read(seen.decode(seen.codes[seen.few][None])), strict=True)
    found = {
        "samples": read(_sampled(seen, NUM_SAMPLES)),
        "reconstructions": [line for x, decoded in pairs for line in (x, decoded, "")],
    }
    between = seen.between()
    if between is not None:
        found["interpolation"] = [line for pair in between for line in (*read(pair), "")]
    return found


def pictures(seen, traversed: dict | None) -> dict:
    """Pictures of a model of series [N, T, C], by name.

    Args:
        seen: a `pictures._Seen`.
        traversed: as `plots.traversal` takes it, or None.
    """
    decoded = seen.decode(seen.codes[seen.few][None], seen.told)[0]
    x = seen.x[seen.few]
    pairs = np.stack([x, np.where(np.isnan(x), np.nan, decoded)], axis=1)
    found = {"reconstructions": plots.series(pairs, ("input", "from its code"))}
    if seen.conditions is None:
        draws = _sampled(seen, NUM_CURVES)[:, None]
        source = "the prior" if seen.has_rates else "a Gaussian fit to the codes"
        found["samples"] = plots.series(draws, title=f"x ~ p(x|z), z from {source}")
    between = seen.between()
    if between is not None:
        names = [f"{t:.2g}" for t in np.linspace(0, 1, between.shape[1])[::2]]
        found["interpolation"] = plots.series(
            between[:, ::2], names, title="E[x|z] at positions between the codes of two examples"
        )
    if traversed is not None:
        each = zip(traversed["dimensions"], traversed["rates"], strict=True)
        is_standard = seen.has_rates and seen.is_standard
        where = "each value" if is_standard else "so many standard deviations from its mean"
        found["traversal"] = plots.series(
            traversed["images"][:, ::2],
            [f"{value:.2g}" for value in traversed["values"][::2]],
            title=f"E[x|z], one dimension of an example's code set to {where}",
            panel_names=[f"z{d}  {rate:.2f} {traversed['unit']}" for d, rate in each],
        )
    return found


def _sampled(seen, num: int) -> np.ndarray:
    """x ~ p(x|z), z from the prior, or from what stands for it: [num, *shape]."""
    z_key, x_key = jax.random.split(seen.key)
    z = seen.prior.sample(z_key, num)
    return np.asarray(jax.jit(seen.model.sample_given)(seen.params, x_key, z)[0])
