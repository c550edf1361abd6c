"""Runs a trained model and hands the arrays to `vae_jax.plots`; each picture keeps its numbers."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments import build as building
from experiments import tables
from vae_jax import distributions, plots, training
from vae_jax.evaluation import elbo, latent_geometry

NUM_RECONSTRUCTIONS = 10
NUM_SAMPLES = 100
NUM_PAIRS = 5
TRAVERSAL = np.linspace(-3, 3, 11, dtype=np.float32)
MANIFOLD_SIZE = 20
NUM_SCATTERED = 2000
NUM_GEODESICS = 12


def draw(experiment, number: int, member, run) -> list[str]:
    """Draws every picture of one run that fits the data; the test split is what is encoded.

    Args:
        experiment: from `experiments.build`.
        number: which run of the program, a scalar.
        member: its model, parameters and hyperparameters, from `build.member`.
        run: the open run; pictures go to its folder `plots`.

    Returns:
        Names of the pictures.
    """
    dataset = experiment.dataset
    model, params, hparams = member
    decode_mean = jax.jit(model.decode_mean)
    key = training.stream(hparams.seed, "pictures")
    data_key, sample_key = jax.random.split(key)
    test = dataset.test
    x = jax.jit(experiment.preprocess)(jnp.asarray(test.x[:NUM_SCATTERED]), data_key)
    posterior, rate = _encode(model, params, x)
    mean_rate = np.asarray(rate.mean(axis=0))
    active = np.asarray(elbo.active_units(jnp.var(posterior.mean, axis=0)))
    order = np.argsort(-mean_rate, kind="stable")
    labels = None if test.labels is None else test.labels[:NUM_SCATTERED]

    pictures = {}
    rows = [row for row in run.rows() if row.pop("run", number) == number]
    if rows:
        pictures["training_curves"] = plots.training_curves(rows)
    few = np.asarray(_one_per_label(labels, len(x), NUM_RECONSTRUCTIONS))
    means = posterior.mean[few]
    pictures["reconstructions"] = plots.reconstructions(
        np.asarray(x[few]), np.asarray(decode_mean(params, means))
    )
    pictures["rate_per_dimension"] = plots.rate_per_dimension(mean_rate, active)
    if model.latent_dim >= 2:
        first, second = sorted(order[:2].tolist())
        pictures["latent_scatter"] = plots.latent_scatter(
            np.asarray(posterior.mean)[:, [first, second]],
            labels,
            axis_names=(f"z{first}", f"z{second}"),
        )
    if dataset.kind == "image":
        sample = jax.jit(model.sample, static_argnums=2)
        _, samples = sample(params, sample_key, NUM_SAMPLES)
        pictures["samples"] = plots.samples(np.asarray(samples), title="E[x|z], z from the prior")
        shown = order[: int(np.clip(active.sum(), 3, 12))]
        images = np.zeros((model.latent_dim, len(TRAVERSAL), *model.shape), np.float32)
        images[shown] = _traverse(decode_mean, params, means[0], shown)
        pictures["traversal"] = plots.traversal(images, TRAVERSAL, mean_rate, max_rows=len(shown))
        frames = plots.traversal_frames(images, TRAVERSAL, mean_rate, max_rows=len(shown))
        plots.save_gif(frames, run.path("plots", "traversal.gif"))
        if len(means) >= 2:
            pictures["interpolation"] = plots.interpolation(
                _interpolate(decode_mean, params, means, NUM_PAIRS)
            )
        if model.latent_dim == 2:
            pictures["manifold"] = plots.manifold(_manifold(decode_mean, params))
    for name, picture in pictures.items():
        plots.save(picture, run.path("plots", name))
    return list(pictures)


def draw_geometry(subject, path: Path) -> None:
    """Draws how the decoder stretches the plane of a model with two latent dimensions.

    Args:
        subject: a `vae_jax.evaluation.subject.Subject`.
        path: of the picture, without an ending.
    """
    codes = np.asarray(subject.posterior().mean)
    margin = 0.1 * np.ptp(codes, axis=0)
    grid = latent_geometry.magnification_grid(
        subject.decode_mean, codes.min(axis=0) - margin, codes.max(axis=0) + margin
    )
    pairs = np.arange(2 * NUM_GEODESICS) * len(codes) // (2 * NUM_GEODESICS)
    found = latent_geometry.geodesics(
        subject.decode_mean, codes[pairs[:NUM_GEODESICS]], codes[pairs[NUM_GEODESICS:]]
    )
    arrays = (*(np.asarray(leaf) for leaf in grid), np.asarray(found.curves))
    plots.save(plots.latent_geometry(*arrays, codes[:NUM_SCATTERED]), path)


def draw_sweep(configs, rows: list[dict], curves: list[dict], folder: Path) -> list[str]:
    """Draws what only many runs say together.

    Args:
        configs: of the R runs.
        rows: of `sweep.csv`, R of them.
        curves: rows of metrics, `run` a number from 0 to R − 1.
        folder: receives the pictures.

    Returns:
        Names of the pictures.
    """

    def column(name):
        return np.array([np.nan if row.get(name) is None else row[name] for row in rows], float)

    if not rows:
        return []
    names = building.differences(configs)
    varying = tables.varying(configs)
    colour_name = varying[0] if varying else "seed"
    colour = {"colour": [row[colour_name] for row in rows], "colour_name": colour_name}
    pictures = {}
    if "rate" in rows[0]:
        pictures["rate_distortion"] = plots.rate_distortion(
            column("rate"), column("distortion"), names=names, **colour
        )
    metric = "elbo" if "elbo" in rows[0] else "loss"
    others = [name for name in varying if name not in ("latent_dim", "seed")]
    if metric == "elbo" and "latent_dim" in varying:
        series = [{"series": [row[n] for row in rows], "series_name": n} for n in others[:1]]
        pictures["elbo_against_latent_dim"] = plots.elbo_against_latent_dim(
            np.array([row["latent_dim"] for row in rows]),
            column("elbo"),
            column("active_units"),
            **(series[0] if series else {}),
        )
    axes = [name for name in varying if name != "seed"][:2]
    if "latent_dim" in varying and others:
        axes = [others[0], "latent_dim"]
    if len(axes) == 2 and metric in rows[0]:
        pictures["heatmap"] = plots.sweep_heatmap(
            column(metric),
            *([row[name] for row in rows] for name in axes),
            value_name=metric,
            x_name=axes[0],
            y_name=axes[1],
        )
    if curves:
        pictures["curves"] = plots.sweep_curves(curves, run_names=names, **colour)
    for name, picture in pictures.items():
        plots.save(picture, folder / name)
    return list(pictures)


@jax.jit
def _encode(model, params, x):
    posterior = model.encode(params, x)
    return posterior, distributions.kl_divergence(posterior, model.prior(params))


def _one_per_label(labels, num_examples: int, num: int) -> list[int]:
    """Indices of `num` examples: the first of each label, then the first of the rest."""
    firsts = [] if labels is None else [int(np.argmax(labels == c)) for c in np.unique(labels)]
    rest = (i for i in range(num_examples) if i not in firsts)
    chosen = firsts[:num]
    while len(chosen) < min(num, num_examples):
        chosen.append(next(rest))
    return chosen


def _traverse(decode_mean, params, mean, dimensions):
    """Decodes `mean` [L] with one dimension after another set to each value: [D, T, *shape]."""
    z = np.tile(np.asarray(mean), (len(dimensions), len(TRAVERSAL), 1))
    for row, dimension in enumerate(dimensions):
        z[row, :, dimension] = TRAVERSAL
    return _decode_grid(decode_mean, params, z)


def _interpolate(decode_mean, params, means, num_pairs: int):
    """Straight lines between neighbouring means [N, L]: [P, T, *shape]."""
    num_pairs = min(num_pairs, len(means) // 2)
    start, end = np.asarray(means)[: 2 * num_pairs].reshape(num_pairs, 2, -1).swapaxes(0, 1)
    t = np.linspace(0, 1, 11, dtype=np.float32)[None, :, None]
    return _decode_grid(decode_mean, params, start[:, None] * (1 - t) + end[:, None] * t)


def _manifold(decode_mean, params):
    """The decoded grid of quantiles of the prior of a 2-D latent: [R, C, *shape]."""
    axis = plots.normal_quantiles(MANIFOLD_SIZE, 0.02, 0.98).astype(np.float32)
    z0, z1 = np.meshgrid(axis, axis)
    return _decode_grid(decode_mean, params, np.stack([z0, z1], axis=-1))


def _decode_grid(decode_mean, params, z):
    """z [rows, columns, L] to [rows, columns, *shape]."""
    x = np.asarray(decode_mean(params, jnp.asarray(z.reshape(-1, z.shape[-1]))))
    return x.reshape(*z.shape[:2], *x.shape[1:])
