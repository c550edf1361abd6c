"""Runs a trained model and hands the arrays to `vae_jax.plots`; each picture keeps its numbers."""

import functools
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
NUM_STYLES = 10
NUM_PAIRS = 5
TRAVERSAL = np.linspace(-3, 3, 11, dtype=np.float32)
MANIFOLD_SIZE = 20
NUM_SCATTERED = 2000
NUM_GEODESICS = 12
NUM_GROUPS = 12
NUM_CODES = 11


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
    dataset, conditions = experiment.dataset, experiment.conditions
    model, params, hparams = member
    key = training.stream(hparams.seed, "pictures")
    data_key, sample_key = jax.random.split(key)
    test = dataset.test
    x = jax.jit(experiment.preprocess)(jnp.asarray(test.x[:NUM_SCATTERED]), data_key)
    known = {} if conditions is None else {k: v[: len(x)] for k, v in conditions.test.items()}
    given = experiment.loss_fn.given
    posterior, rate, condition = _encode(model, params, {"x": x, **known}, given)

    @jax.jit
    def decode_mean(params, z, c=None):
        return (model if c is None else model.given(c)).decode_mean(params, z)

    mean_rate = np.asarray(rate.mean(axis=0))
    scaled = elbo.standardized_mean(posterior, model.prior(params))
    active = np.asarray(elbo.active_units(jnp.var(scaled, axis=0)))
    num_discrete = model.latent.num_discrete(model.latent_dim)
    order = np.argsort(-mean_rate, kind="stable")
    order = order[order >= num_discrete]  # of the continuous dimensions
    labels = None if test.labels is None else test.labels[:NUM_SCATTERED]

    pictures = {}
    rows = [row for row in run.rows() if row.pop("run", number) == number]
    if rows:
        pictures["training_curves"] = plots.training_curves(rows)
    few = np.asarray(_one_per_label(labels, len(x), NUM_RECONSTRUCTIONS))
    codes = np.asarray(posterior.mode)
    own, told = codes[few], None if condition is None else np.asarray(condition)[few]
    pictures["reconstructions"] = plots.reconstructions(
        np.asarray(x[few]), np.asarray(decode_mean(params, own, told))
    )
    pictures["rate_per_dimension"] = plots.rate_per_dimension(mean_rate, active)
    if len(order) >= 2:
        first, second = sorted(order[:2].tolist())
        pictures["latent_scatter"] = plots.latent_scatter(
            np.asarray(posterior.mean)[:, [first, second]],
            labels,
            axis_names=(f"z{first}", f"z{second}"),
        )
    if dataset.kind == "image":
        pictures["samples"] = _draw_samples(model, params, conditions, decode_mean, sample_key)
        first = None if told is None else told[0]
        shown = order[: int(np.clip(active[num_discrete:].sum(), 3, 12))]
        if len(shown):
            images = _traverse(decode_mean, params, own[0], first, shown)
            rows = images, TRAVERSAL, mean_rate[shown]
            pictures["traversal"] = plots.traversal(*rows, dimensions=shown)
            frames = plots.traversal_frames(*rows, dimensions=shown)
            plots.save_gif(frames, run.path("plots", "traversal.gif"))
        if num_discrete:
            pictures["codes"] = _draw_codes(
                model, params, codes, own[0], first, decode_mean, mean_rate
            )
        if len(own) >= 2:
            pictures["interpolation"] = plots.interpolation(
                _interpolate(decode_mean, params, own, told, NUM_PAIRS, num_discrete, model.latent)
            )
        if model.latent_dim == 2 and not num_discrete and conditions is None:
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


@functools.partial(jax.jit, static_argnums=3)
def _encode(model, params, batch, given):
    """Posteriors [N, L] of a batch, their rates [N, L], and the conditions [N, C] or None."""
    model = model if given is None else given(model, params, batch)
    posterior = model.encode(params, batch["x"])
    rate = distributions.kl_divergence(posterior, model.prior(params))
    return posterior, rate, model.condition


def _one_per_label(labels, num_examples: int, num: int) -> list[int]:
    """Indices of `num` examples: the first of each label, then the first of the rest."""
    firsts = [] if labels is None else [int(np.argmax(labels == c)) for c in np.unique(labels)]
    rest = (i for i in range(num_examples) if i not in firsts)
    chosen = firsts[:num]
    while len(chosen) < min(num, num_examples):
        chosen.append(next(rest))
    return chosen


def _draw_samples(model, params, conditions, decode_mean, key):
    """What the model draws: a grid of samples, or a row for each condition that is shown."""
    if conditions is None:
        _, samples = jax.jit(model.sample, static_argnums=2)(params, key, NUM_SAMPLES)
        return plots.samples(np.asarray(samples), title="E[x|z], z from the prior")
    z = np.asarray(model.prior(params).sample(key, NUM_STYLES))
    z = np.tile(z, (len(conditions.names), 1, 1))
    samples = _decode_grid(decode_mean, params, z, conditions.shown[:, None])
    return plots.samples(
        samples.reshape(-1, *model.shape),
        title="E[x|z, c]: c of the row, z of the column from the prior",
        row_names=conditions.names,
    )


def _draw_codes(model, params, codes, code, condition, decode_mean, rates):
    """What each group of a discrete code [L] does alone, of the values that `codes` [N, L] have."""
    size, used = model.latent.group_size, model.latent.num_discrete(model.latent_dim)
    if model.latent_mask is not None:
        used = min(used, int(model.latent_mask.sum()))
    return plots.traversal(
        *_exchange(decode_mean, params, code, condition, codes[:, :used], size),
        rates[:used].reshape(-1, size).sum(axis=1),
        max_rows=NUM_GROUPS,
        prefix="group ",
        title="codes of a group, sorted by rate",
        what="code of this group, by how often the data have it, the others held",
    )


def _traverse(decode_mean, params, mean, condition, dimensions):
    """Decodes `mean` [L], given c [C] or None, with one dimension after another set to each value.

    Returns:
        [D, T, *shape].
    """
    z = np.tile(np.asarray(mean), (len(dimensions), len(TRAVERSAL), 1))
    for row, dimension in enumerate(dimensions):
        z[row, :, dimension] = TRAVERSAL
    return _decode_grid(decode_mean, params, z, condition)


def _exchange(decode_mean, params, code, condition, codes, size: int):
    """Decodes a code with one group after another set to what the data have there most often.

    Args:
        decode_mean, params: the decoder.
        code: [L], discrete in its first dimensions.
        condition: c [C], or None.
        codes: [N, G·size], those dimensions of the data.
        size: of a group, a count.

    Returns:
        (images [G, T, *shape], white where a group has fewer values, ranks [T]).
    """
    ranked = []
    for group in np.split(codes, codes.shape[1] // size, axis=1):
        values, counts = np.unique(group, axis=0, return_counts=True)
        ranked.append(values[np.argsort(-counts, kind="stable")][:NUM_CODES])
    num = max(map(len, ranked))
    z = np.tile(code, (len(ranked), num, 1))
    for g, values in enumerate(ranked):
        z[g, : len(values), g * size : (g + 1) * size] = values
    images = _decode_grid(decode_mean, params, z, condition)
    for g, values in enumerate(ranked):
        images[g, len(values) :] = 1.0
    return images, np.arange(1, num + 1)


def _interpolate(decode_mean, params, codes, conditions, num_pairs, num_discrete, latent):
    """From one code [L] to the next, of [N, L], and conditions [N, C] or None: [P, T, *shape].

    Continuous dimensions and conditions go straight, discrete dimensions group by group from the
    one to the other.
    """
    num_pairs = min(num_pairs, len(codes) // 2)
    t = np.linspace(0, 1, 11, dtype=np.float32)[None, :, None]
    group = np.arange(codes.shape[1]) // latent.group_size
    is_over = (group + 0.5) * latent.group_size <= t * num_discrete
    weight = np.where(np.arange(codes.shape[1]) < num_discrete, is_over, t)

    def between(points, weight):
        start, end = points[: 2 * num_pairs].reshape(num_pairs, 2, -1).swapaxes(0, 1)
        return (start[:, None] * (1 - weight) + end[:, None] * weight).astype(np.float32)

    told = None if conditions is None else between(conditions, t)
    return _decode_grid(decode_mean, params, between(codes, weight), told)


def _manifold(decode_mean, params):
    """The decoded grid of quantiles of the prior of a 2-D latent: [R, C, *shape]."""
    axis = plots.normal_quantiles(MANIFOLD_SIZE, 0.02, 0.98).astype(np.float32)
    z0, z1 = np.meshgrid(axis, axis)
    return _decode_grid(decode_mean, params, np.stack([z0, z1], axis=-1))


def _decode_grid(decode_mean, params, z, condition=None):
    """z [rows, columns, L], given c that broadcasts with it or None, to [rows, columns, *shape]."""
    if condition is not None:
        condition = np.broadcast_to(condition, (*z.shape[:2], np.shape(condition)[-1]))
        condition = jnp.asarray(condition.reshape(-1, condition.shape[-1]))
    x = np.array(decode_mean(params, jnp.asarray(z.reshape(-1, z.shape[-1])), condition))
    return x.reshape(*z.shape[:2], *x.shape[1:])
