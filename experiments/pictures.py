"""Runs a trained model and hands the arrays to `vae_jax.plots`; each picture keeps its numbers."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import build as building
from experiments import sequences, tables
from vae_jax import distributions, latents, plots, runs, schedules, training
from vae_jax.distributions import DiagonalGaussian, FullGaussian
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
_WORDS_OF_VARIANCE = {
    "title": "latent traversal, sorted by variance",
    "what": "standard deviations of this dimension from its mean, the others held",
}
_WORDS_OF_PRIOR = {"what": "standard deviations of the prior from its mean, the others held"}


class _Seen(NamedTuple):
    """What a run's pictures are made of; the examples are those of the test split.

    Attributes:
        model, params: of the run.
        decode: codes [rows, columns, L], and c that broadcasts with them or None, to E[x|z, c]
            [rows, columns, *shape].
        x: [N, *shape].
        labels: [N], below 0 where unknown, or None.
        codes: the likeliest code of each, [N, L].
        means: posterior means, [N, L].
        prior: what codes are drawn from: p(z), or where there is none a Gaussian fit to `codes`.
        rates: of each dimension in nats, averaged over the examples, [L]; without a prior the
            variance of its codes.
        is_active: which dimensions are active units, [L]; without a prior those that vary.
        continuous: dimensions that are continuous, by falling rate.
        few: examples with one of each label first, their numbers.
        told: conditions of those few, [F, C], or None.
        conditions: from the objective, or None.
        shown: what the encoder is shown of those few while it is trained, [F, *shape]; None: x.
        key: of what is drawn at random.
    """

    model: Any
    params: Any
    decode: Callable
    x: np.ndarray
    labels: np.ndarray | None
    codes: np.ndarray
    means: np.ndarray
    prior: Any
    rates: np.ndarray
    is_active: np.ndarray
    continuous: np.ndarray
    few: np.ndarray
    told: np.ndarray | None
    conditions: Any
    shown: np.ndarray | None
    key: jax.Array

    @property
    def has_rates(self) -> bool:
        """Whether there is a prior, and so a rate of each dimension."""
        return self.model.latent.has_prior

    @property
    def is_gaussian(self) -> bool:
        """Whether each continuous dimension of `prior` is Gaussian, of its mean and deviation."""
        return type(self.prior) in (DiagonalGaussian, FullGaussian, latents.Pair)

    @property
    def is_standard(self) -> bool:
        """Whether each continuous dimension of `prior` is N(0, 1)."""
        if not self.is_gaussian:
            return False
        mean, deviation = np.asarray(self.prior.mean), np.asarray(self.prior.deviation)
        return bool((mean[self.continuous] == 0).all() and (deviation[self.continuous] == 1).all())

    @property
    def num_discrete(self) -> int:
        """The first dimensions of a code, which are discrete, a count."""
        return self.model.latent.num_discrete(self.model.latent_dim)

    def between(self) -> np.ndarray | None:
        """E[x|z] on the way from one of the few to another, [P, 11, *shape]; None: there is one.

        Continuous dimensions and conditions go straight, discrete ones group by group.
        """
        num_pairs = min(NUM_PAIRS, len(self.few) // 2)
        if not num_pairs:
            return None
        codes, latent = self.codes[self.few], self.model.latent
        t = np.linspace(0, 1, 11, dtype=np.float32)[None, :, None]
        group = np.arange(codes.shape[1]) // latent.group_size
        is_over = (group + 0.5) * latent.group_size <= t * self.num_discrete
        weight = np.where(np.arange(codes.shape[1]) < self.num_discrete, is_over, t)

        def between(points, weight):
            start, end = points[: 2 * num_pairs].reshape(num_pairs, 2, -1).swapaxes(0, 1)
            return (start[:, None] * (1 - weight) + end[:, None] * weight).astype(np.float32)

        told = None if self.told is None else between(self.told, t)
        return self.decode(between(codes, weight), told)


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
    seen = _look(experiment, *member)
    rows = [row for row in run.rows() if row.pop("run", number) == number]
    pictures = {"training_curves": plots.training_curves(rows)} if rows else {}
    dataset = experiment.dataset
    is_image, is_sequence = dataset.kind == "image", dataset.kind == "sequence"
    if is_sequence and seen.labels is None and seen.told is None:
        # neighbours in time, or in an alphabet, are alike
        seen = seen._replace(few=np.arange(len(seen.few)) * len(seen.x) // len(seen.few))
    for name, make in {**_OF_ANY, **(_OF_IMAGES if is_image else {})}.items():
        picture = None if is_sequence and name == "reconstructions" else make(seen)
        if picture is not None:
            pictures[name] = picture
    if is_sequence and dataset.alphabet is None:
        pictures |= sequences.pictures(seen, _traversed(seen))
    for name, picture in pictures.items():
        plots.save(picture, run.path("plots", name))
    if dataset.alphabet is not None:
        texts = sequences.texts(seen, dataset.alphabet)
        for name, lines in texts.items():
            runs.write_text(run.path("plots", f"{name}.txt"), lines)
        return [*pictures, *texts]
    if is_image and "traversal" in pictures:
        frames = plots.traversal_frames(**_traversed(seen))
        plots.save_gif(frames, run.path("plots", "traversal.gif"))
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


def _look(experiment, model, params, hparams) -> _Seen:
    """Encodes the test split of an experiment, with one run of it."""
    conditions, test = experiment.given, experiment.dataset.test
    data_key, key = jax.random.split(training.stream(hparams.seed, "pictures"))
    x = jax.jit(experiment.preprocess)(jnp.asarray(test.x[:NUM_SCATTERED]), data_key)
    known = {} if conditions is None else {k: v[: len(x)] for k, v in conditions.test.items()}
    batch, given = {"x": x, **known}, experiment.loss_fn.given
    corrupt = experiment.loss_fn.corrupt
    h = schedules.evaluate(hparams, jnp.int32(experiment.num_steps - 1)).objective
    posterior, rates, scaled, condition = _encode(model, params, batch, given)
    rates = np.asarray(rates)
    falling = np.argsort(-rates, kind="stable")
    labels = None if test.labels is None else test.labels[:NUM_SCATTERED]
    few = np.asarray(_one_per_label(labels, len(x), NUM_RECONSTRUCTIONS))
    return _Seen(
        model=model,
        params=params,
        decode=_decoder(model, params),
        x=np.asarray(x),
        labels=labels,
        codes=np.asarray(posterior.mode),
        means=np.asarray(posterior.mean),
        prior=(
            model.prior(params)
            if model.latent.has_prior
            else distributions.FullGaussian.fit(posterior.mode)
        ),
        rates=rates,
        is_active=np.asarray(elbo.active_units(jnp.var(scaled, axis=0))),
        continuous=falling[falling >= model.latent.num_discrete(model.latent_dim)],
        few=few,
        told=None if condition is None else np.asarray(condition)[few],
        conditions=conditions,
        shown=None if corrupt is None else np.asarray(corrupt(x[few], key, **h)),
        key=key,
    )


@functools.partial(jax.jit, static_argnums=3)
def _encode(model, params, batch, given):
    """Of a batch posteriors [N, L], `_Seen.rates`, standardized means, conditions or None."""
    model = model if given is None else given(model, params, batch)
    posterior = model.encode(params, batch["x"])
    if not model.latent.has_prior:
        variances = jnp.var(posterior.mode, axis=0)
        scaled = posterior.mode / jnp.sqrt(jnp.maximum(jnp.max(variances), 1e-12))
        return posterior, variances, scaled, model.condition
    prior = model.prior(params)
    rates = distributions.kl_divergence(posterior, prior).mean(axis=0)
    return posterior, rates, elbo.standardized_mean(posterior, prior), model.condition


def _decoder(model, params) -> Callable:
    """`_Seen.decode` of a model."""

    @jax.jit
    def decode_mean(params, z, c=None):
        return (model if c is None else model.given(c)).decode_mean(params, z)

    def decode(z, condition=None):
        if condition is not None:
            condition = np.broadcast_to(condition, (*z.shape[:2], np.shape(condition)[-1]))
            condition = jnp.asarray(condition.reshape(-1, condition.shape[-1]))
        x = np.array(decode_mean(params, jnp.asarray(z.reshape(-1, z.shape[-1])), condition))
        return x.reshape(*z.shape[:2], *x.shape[1:])

    return decode


def _one_per_label(labels, num_examples: int, num: int) -> list[int]:
    """Indices of `num` examples: the first of each known label, then the first of the rest."""
    classes = [] if labels is None else np.unique(labels[labels >= 0])
    firsts = [int(np.argmax(labels == c)) for c in classes]
    rest = (i for i in range(num_examples) if i not in firsts)
    chosen = firsts[:num]
    while len(chosen) < min(num, num_examples):
        chosen.append(next(rest))
    return chosen


def _reconstructions(seen: _Seen):
    decoded = seen.decode(seen.codes[seen.few][None], seen.told)[0]
    return plots.reconstructions(seen.x[seen.few], decoded)


def _corruptions(seen: _Seen):
    """What the encoder is shown, and what it makes of that: in training, of a denoising one."""
    if seen.shown is None:
        return None
    codes = np.asarray(seen.model.encode(seen.params, jnp.asarray(seen.shown)).mode)
    rows = np.concatenate([seen.x[seen.few], seen.shown, seen.decode(codes[None])[0]])
    names = "clean", "shown", "restored"
    return plots.samples(rows.clip(0, 1), title="what was shown, and restored", row_names=names)


def _rate_per_dimension(seen: _Seen):
    if not seen.has_rates:
        return None
    return plots.rate_per_dimension(seen.rates, seen.is_active)


def _latent_scatter(seen: _Seen):
    """The two dimensions of the highest rate."""
    if len(seen.continuous) < 2:
        return None
    first, second = sorted(seen.continuous[:2].tolist())
    plane = seen.means[:, [first, second]]
    names = f"z{first}", f"z{second}"
    if not (seen.has_rates and seen.is_gaussian):
        return plots.latent_scatter(plane, seen.labels, axis_names=names, has_prior=False)
    own = {n: np.asarray(getattr(seen.prior, n))[[first, second]] for n in ("mean", "deviation")}
    return plots.latent_scatter(plane, seen.labels, axis_names=names, **own)


def _samples(seen: _Seen):
    """A grid of samples, or a row for each condition that is shown."""
    model, params, conditions = seen.model, seen.params, seen.conditions
    if not seen.has_rates:
        z = np.asarray(seen.prior.sample(seen.key, NUM_SAMPLES))
        title = "E[x|z], z from a Gaussian fit to the codes"
        return plots.samples(seen.decode(z[None])[0], title=title)
    if conditions is None:
        _, samples = jax.jit(model.sample, static_argnums=2)(params, seen.key, NUM_SAMPLES)
        return plots.samples(np.asarray(samples), title="E[x|z], z from the prior")
    z = np.asarray(model.prior(params).sample(seen.key, NUM_STYLES))
    z = np.tile(z, (len(conditions.names), 1, 1))
    samples = seen.decode(z, conditions.shown[:, None])
    return plots.samples(
        samples.reshape(-1, *model.shape),
        title="E[x|z, c]: c of the row, z of the column from the prior",
        row_names=conditions.names,
    )


def _traversal(seen: _Seen):
    traversed = _traversed(seen)
    if traversed is None:
        return None
    words = _WORDS_OF_VARIANCE
    if seen.has_rates:
        words = {} if seen.is_standard else _WORDS_OF_PRIOR
    return plots.traversal(**traversed, **words)


def _traversed(seen: _Seen) -> dict | None:
    """One example's code with one continuous dimension after another set to each value.

    Values are in standard deviations of the prior from its mean; None: it does not tell both.
    """
    num_active = seen.is_active[seen.num_discrete :].sum()
    dimensions = seen.continuous[: int(np.clip(num_active, 3, 12))]
    if not (len(dimensions) and hasattr(seen.prior, "mean") and hasattr(seen.prior, "deviation")):
        return None
    mean, deviation = np.asarray(seen.prior.mean), np.asarray(seen.prior.deviation)
    z = np.tile(seen.codes[seen.few[0]], (len(dimensions), len(TRAVERSAL), 1))
    for row, dimension in enumerate(dimensions):
        z[row, :, dimension] = mean[dimension] + deviation[dimension] * TRAVERSAL
    return {
        "images": seen.decode(z, None if seen.told is None else seen.told[0]),
        "values": TRAVERSAL,
        "rates": seen.rates[dimensions],
        "dimensions": dimensions,
        "unit": "nats" if seen.has_rates else "variance",
    }


def _groups(seen: _Seen):
    """One example's code with one group after another set to what the data have there."""
    latent, used = seen.model.latent, seen.num_discrete
    if seen.model.latent_mask is not None:
        used = min(used, int(seen.model.latent_mask.sum()))
    if not used:
        return None
    size, ranked = latent.group_size, []
    for group in np.split(seen.codes[:, :used], used // latent.group_size, axis=1):
        values, counts = np.unique(group, axis=0, return_counts=True)
        ranked.append(values[np.argsort(-counts, kind="stable")][:NUM_CODES])
    num = max(map(len, ranked))
    z = np.tile(seen.codes[seen.few[0]], (len(ranked), num, 1))
    for g, values in enumerate(ranked):
        z[g, : len(values), g * size : (g + 1) * size] = values
    images = seen.decode(z, None if seen.told is None else seen.told[0])
    for g, values in enumerate(ranked):
        images[g, len(values) :] = 1.0  # white, where a group has fewer values
    return plots.traversal(
        images,
        np.arange(1, num + 1),
        seen.rates[:used].reshape(-1, size).sum(axis=1),
        max_rows=NUM_GROUPS,
        prefix="group ",
        title="codes of a group, sorted by rate",
        what="code of this group, by how often the data have it, the others held",
    )


def _interpolation(seen: _Seen):
    between = seen.between()
    return None if between is None else plots.interpolation(between)


def _manifold(seen: _Seen):
    """The decoded grid of quantiles of the Gaussian prior of a code of two dimensions."""
    if len(seen.rates) != 2 or seen.num_discrete or seen.conditions is not None:
        return None
    if not seen.is_gaussian:
        return None
    axis = plots.normal_quantiles(MANIFOLD_SIZE, 0.02, 0.98).astype(np.float32)
    mean, deviation = np.asarray(seen.prior.mean), np.asarray(seen.prior.deviation)
    z = mean + deviation * np.stack(np.meshgrid(axis, axis), axis=-1)
    words = {} if seen.has_rates else {"title": "decoded quantiles of Gaussians fit to the codes"}
    return plots.manifold(seen.decode(z), mean=mean, deviation=deviation, **words)


_OF_ANY = {
    "reconstructions": _reconstructions,
    "rate_per_dimension": _rate_per_dimension,
    "latent_scatter": _latent_scatter,
}
_OF_IMAGES = {
    "corruptions": _corruptions,
    "samples": _samples,
    "traversal": _traversal,
    "codes": _groups,
    "interpolation": _interpolation,
    "manifold": _manifold,
}
"""Name of a picture → what draws it of a `_Seen`, or returns None where it does not apply."""
