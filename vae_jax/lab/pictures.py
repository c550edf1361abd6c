"""Runs a trained model and passes the arrays to `vae_jax.plots`; each picture has its numbers.

Pictures are drawn after the results are saved, one by one: if one fails, the results and the other
pictures are not affected.
"""

import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import console, distributions, latents, plots, schedules, training
from vae_jax.distributions import DiagonalGaussian, FullGaussian
from vae_jax.errors import StorageError, first_line
from vae_jax.evaluation import elbo, latent_geometry
from vae_jax.lab import build as building
from vae_jax.lab import sequences, tables
from vae_jax.storage import files, members

__all__ = [
    "MANIFOLD_SIZE",
    "MOST_AT_ONCE",
    "NUM_CODES",
    "NUM_GEODESICS",
    "NUM_GROUPS",
    "NUM_PAIRS",
    "NUM_RECONSTRUCTIONS",
    "NUM_SAMPLES",
    "NUM_SCATTERED",
    "NUM_STYLES",
    "TRAVERSAL",
    "draw",
    "draw_each",
    "draw_sweep",
    "geometry",
]

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
MOST_AT_ONCE = 2**24
"""Numbers of the examples that are encoded or decoded together, a count: 64 MiB."""
_WORDS_OF_VARIANCE = {
    "title": "latent traversal, sorted by variance",
    "what": "standard deviations of this dimension from its mean, the others held",
}
_WORDS_OF_PRIOR = {"what": "standard deviations of the prior from its mean, the others held"}


class _Seen(NamedTuple):
    """The data for the pictures of a run; the examples are those of the test split.

    Attributes:
        model, params: those of the run.
        decode: codes [rows, columns, L], and c that broadcasts with them or None, to E[x|z, c]
            [rows, columns, *shape]; unless `is_whole`, images are shrunk to fit in one picture.
        x: data of the few examples, [F, *shape].
        labels: [N], below 0 if unknown, or None.
        label_names: names of the labels 0 … C − 1, or None.
        codes: the mode of each posterior, [N, L].
        means: posterior means, [N, L].
        prior: the distribution of codes: p(z), or a Gaussian fit to `codes` if there is no prior.
        rates: rate of each dimension in nats, averaged over the examples, [L]; without a prior the
            variance of its codes.
        is_active: which dimensions are active units, [L]; without a prior those that vary.
        continuous: the continuous dimensions, by decreasing rate.
        few: indices of F examples, starting with one of each label.
        told: conditions of the few, [F, C], or None.
        conditions: from the objective, or None.
        shown: input of the encoder for the few during training, [F, *shape]; None: x.
        key: key for random draws.
    """

    model: Any
    params: Any
    decode: Callable
    x: np.ndarray
    labels: np.ndarray | None
    label_names: tuple | None
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
        """Whether each continuous dimension of `prior` is Gaussian with its mean and deviation."""
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
        """The number of leading dimensions of a code that are discrete, a count."""
        return self.model.latent.num_discrete(self.model.latent_dim)

    def between(self) -> np.ndarray | None:
        """E[x|z] between pairs of the few, [P, 11, *shape]; None if there is only one example.

        Continuous dimensions and conditions are interpolated linearly, discrete ones group by
        group.
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


def draw_each(
    pictures: Mapping[str, Callable[[], Any]],
    root: Path,
    folder: Sequence[str],
    log: Callable[..., None] | None = None,
    of: str = "",
) -> dict[str, str]:
    """Draws and saves pictures one by one; if one fails, a line is logged.

    Args:
        pictures: name → a function that makes a `plots.Picture`, lines of text, or frames of an
            animation [T, H, W, C]; None if it does not apply.
        root: the run's directory, or another folder that links must not leave.
        folder: names from there to the folder for the pictures.
        log: takes a line, and `echo`, whether to print it, too; None for no log.
        of: the subject of the pictures, for the log.

    Returns:
        Name → reason in one line, for those that failed.

    Raises:
        StorageError: a file cannot be written.
    """
    log = log or (lambda line, echo: console.say(line) if echo else None)
    drawn, failed, start = [], {}, time.perf_counter()
    for name, make in pictures.items():
        try:
            made = _made(make)
            if made is not None:
                _save(made, root, root.joinpath(*folder, name))
                drawn.append(name)
        except StorageError:
            raise
        except Exception as error:  # of any type: the results are safe
            failed[name] = f"{type(error).__name__}: {first_line(error)}"
            log(f"picture {name}{of} could not be drawn ({failed[name]})", echo=True)
    log(f"pictures{of} in {time.perf_counter() - start:.1f} s: {', '.join(drawn)}", echo=False)
    return failed


def _made(make: Callable[[], Any]) -> Any:
    """Calls a drawing function; if it cannot read a file, only this picture fails."""
    try:
        return make()
    except StorageError as error:
        raise RuntimeError(str(error)) from None


def _save(made: Any, root: Path, path: Path) -> None:
    """Writes the files of a picture to `path`, plus a suffix for each."""
    for ending, content in _encode_each(made).items():
        files.write_bytes(path.with_name(f"{path.name}{ending}"), content, root=root)


def _encode_each(made: Any) -> dict[str, bytes]:
    """Suffix → content of each file; "" if the picture's name has a suffix."""
    if isinstance(made, plots.Picture):
        return dict(zip((".png", ".csv"), plots.encode(made), strict=True))
    if isinstance(made, np.ndarray):
        return {"": plots.encode_gif(made)}
    return {"": "".join(f"{line}\n" for line in made).encode(errors="surrogateescape")}


def draw(experiment, number: int, member, run) -> dict[str, str]:
    """Draws every picture of one run that fits the data, from the test split.

    Args:
        experiment: from `vae_jax.lab.build`.
        number: index of the run in the program, a scalar.
        member: its model, parameters and hyperparameters, from `build.member`.
        run: the open run; pictures are written to its folder `plots`.

    Returns:
        As in `draw_each`.
    """

    def curves():
        found = members.read_rows(run.directory)
        rows = [row for row in found if row.pop("run", number) == number]
        return plots.training_curves(rows) if rows else None

    for line in _notes(experiment.dataset):
        run.log(line)
    seen = _once(lambda: _look(experiment, *member))
    pictures = {"training_curves": curves}
    for name, make in _of(experiment.dataset).items():
        pictures[name] = functools.partial(lambda make: make(seen()), make)
    return draw_each(pictures, run.directory, ["plots"], run.log)


def _notes(dataset) -> Iterator[str]:
    """Explains how images are drawn that a screen cannot show directly."""
    if dataset.kind != "image":
        return
    if dataset.shape[-1] not in (1, 3):
        yield f"pictures: images of {dataset.shape[-1]} channels are drawn channel by channel"
    if dataset.low < 0 or dataset.high > 1:
        yield "pictures: pixels below 0 are drawn black, those above 1 white"


def _once(function: Callable[[], Any]) -> Callable[[], Any]:
    """Calls a function only once; later calls return or raise the same."""
    outcomes = []

    def call():
        if not outcomes:
            try:
                outcomes.append((function(), None))
            except Exception as error:  # a second try would take as long, and fail again
                outcomes.append((None, error))
        value, error = outcomes[0]
        if error is not None:
            raise error
        return value

    return call


def geometry(subject) -> plots.Picture:
    """Draws how the decoder magnifies the plane of a model with two latent dimensions.

    Args:
        subject: a `vae_jax.evaluation.subject.Subject`.
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
    return plots.latent_geometry(*arrays, codes[:NUM_SCATTERED])


def draw_sweep(
    configs,
    rows: list[dict],
    curves: list[dict],
    root: Path,
    folder: Sequence[str],
    log: Callable,
    of: str = "",
) -> dict[str, str]:
    """Draws pictures that need all runs of a sweep.

    Args:
        configs: configs of the R runs.
        rows: rows of `sweep.csv`, R of them.
        curves: rows of metrics, `run` an index from 0 to R − 1.
        root, folder, log, of: see `draw_each`.

    Returns:
        As in `draw_each`.
    """
    pictures = _of_sweep(configs, rows, curves) if rows else {}
    return draw_each(pictures, root, folder, log, of)


def _of_sweep(configs, rows: list[dict], curves: list[dict]) -> dict[str, Callable]:
    """Picture name → its drawing function; arguments as in `draw_sweep`, for at least one run."""

    def column(name):
        return np.array([np.nan if row.get(name) is None else row[name] for row in rows], float)

    def values(name):
        return [row[name] for row in rows]

    names, varying = building.differences(configs), tables.varying(configs)
    metric = "elbo" if "elbo" in rows[0] else "loss"
    others = [name for name in varying if name not in ("latent_dim", "seed")]
    axes = [name for name in varying if name != "seed"][:2]
    if "latent_dim" in varying and others:
        axes = [others[0], "latent_dim"]
    colour_name = varying[0] if varying else "seed"
    colour = {"colour": values(colour_name), "colour_name": colour_name}

    def rate_distortion():
        if "rate" in rows[0]:
            terms = column("rate"), column("distortion")
            return plots.rate_distortion(*terms, names=names, **colour)

    def elbo_against_latent_dim():
        if metric == "elbo" and "latent_dim" in varying:
            series = {"series": values(others[0]), "series_name": others[0]} if others else {}
            terms = np.array(values("latent_dim")), column("elbo"), column("active_units")
            return plots.elbo_against_latent_dim(*terms, **series)

    def heatmap():
        if len(axes) == 2 and metric in rows[0]:
            told = {"value_name": metric, "x_name": axes[0], "y_name": axes[1]}
            return plots.sweep_heatmap(column(metric), *map(values, axes), **told)

    def sweep_curves():
        if curves:
            return plots.sweep_curves(curves, run_names=names, **colour)

    return {
        "rate_distortion": rate_distortion,
        "elbo_against_latent_dim": elbo_against_latent_dim,
        "heatmap": heatmap,
        "curves": sweep_curves,
    }


def _look(experiment, model, params, hparams) -> _Seen:
    """Encodes the test split of an experiment with one of its runs."""
    conditions, test = experiment.given, experiment.dataset.test
    data_key, key = jax.random.split(training.stream(hparams.seed, "pictures"))
    labels = None if test.labels is None else test.labels[:NUM_SCATTERED]
    few = _few(experiment, labels)
    x, encoded = {}, []
    for start, batch in _batches(experiment, data_key):
        rows = np.asarray(batch["x"])
        x |= {n: rows[n - start] for n in few if 0 <= n - start < len(rows)}
        encoded.append(_encode(model, params, batch, experiment.loss_fn.given))
    encoded = jax.tree.map(lambda *parts: np.concatenate(parts), *encoded)
    x = np.stack([x[n] for n in few])
    codes, condition = encoded["codes"], encoded["condition"]
    if model.latent.has_prior:
        rates, variances = encoded["rates"].mean(axis=0), encoded["standardized"].var(axis=0)
    else:
        rates = codes.var(axis=0)
        variances = rates / max(rates.max(), 1e-12)
    falling = np.argsort(-rates, kind="stable")
    corrupt = experiment.loss_fn.corrupt
    h = schedules.evaluate(hparams, jnp.int32(experiment.num_steps - 1)).objective
    return _Seen(
        model=model,
        params=params,
        decode=_decoder(model, params),
        x=x,
        labels=labels,
        label_names=experiment.dataset.classes,
        codes=codes,
        means=encoded["means"],
        prior=(
            model.prior(params)
            if model.latent.has_prior
            else distributions.FullGaussian.fit(jnp.asarray(codes))
        ),
        rates=rates,
        is_active=np.asarray(elbo.active_units(variances)),
        continuous=falling[falling >= model.latent.num_discrete(model.latent_dim)],
        few=few,
        told=None if condition is None else condition[few],
        conditions=conditions,
        shown=None if corrupt is None else np.asarray(corrupt(jnp.asarray(x), key, **h)),
        key=key,
    )


def _few(experiment, labels: np.ndarray | None) -> np.ndarray:
    """Indices of the F examples to show, fewer if each is large."""
    dataset = experiment.dataset
    num_examples = min(NUM_SCATTERED, len(dataset.test))
    most = 4 * MOST_AT_ONCE // math.prod(dataset.shape)
    num = min(num_examples, int(np.clip(most, 2, NUM_RECONSTRUCTIONS)))
    if dataset.kind == "sequence" and labels is None and experiment.given is None:
        # adjacent rows, in time or in an alphabet, are similar
        return np.arange(num) * num_examples // num
    return np.asarray(_one_per_label(labels, num_examples, num))


def _batches(experiment, key) -> Iterator[tuple[int, dict]]:
    """Yields the first index and the batch of test examples, as many as are encoded at once."""
    test, conditions = experiment.dataset.test, experiment.given
    known = {} if conditions is None else conditions.test
    preprocess, num = jax.jit(experiment.preprocess), min(NUM_SCATTERED, len(test))
    size = max(1, MOST_AT_ONCE // math.prod(experiment.dataset.shape))
    for start in range(0, num, size):
        rows = slice(start, min(start + size, num))
        own_key = jax.random.fold_in(key, start) if start else key
        x = preprocess(jnp.asarray(test.x[rows]), own_key)
        yield start, {"x": x, **{name: each[rows] for name, each in known.items()}}


@functools.partial(jax.jit, static_argnums=3)
def _encode(model, params, batch, given):
    """Codes, means and conditions of a batch; with a prior also rates and standardized means."""
    model = model if given is None else given(model, params, batch)
    posterior = model.encode(params, batch["x"])
    seen = {"codes": posterior.mode, "means": posterior.mean, "condition": model.condition}
    if model.latent.has_prior:
        prior = model.prior(params)
        seen["rates"] = distributions.kl_divergence(posterior, prior)
        seen["standardized"] = elbo.standardized_mean(posterior, prior)
    return seen


def _decoder(model, params) -> Callable:
    """Makes `_Seen.decode` for a model."""

    @jax.jit
    def decode_mean(params, z, c=None):
        return (model if c is None else model.given(c)).decode_mean(params, z)

    def decode(z, condition=None, *, is_whole=False):
        if condition is not None:
            condition = np.broadcast_to(condition, (*z.shape[:2], np.shape(condition)[-1]))
            condition = condition.reshape(-1, condition.shape[-1])
        codes, size = z.reshape(-1, z.shape[-1]), max(1, MOST_AT_ONCE // math.prod(model.shape))
        parts = []
        for start in range(0, len(codes), size):
            rows = slice(start, start + size)
            told = () if condition is None else (jnp.asarray(condition[rows]),)
            x = np.asarray(decode_mean(params, jnp.asarray(codes[rows]), *told))
            is_image = x.ndim == 4 and not is_whole
            parts.append(plots.shrink(x, len(codes)) if is_image else x)
        x = np.concatenate(parts)
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
    decoded = seen.decode(seen.codes[seen.few][None], seen.told, is_whole=True)[0]
    return plots.reconstructions(seen.x, decoded)


def _corruptions(seen: _Seen):
    """Draws the corrupted inputs of a denoising model, and their reconstructions."""
    if seen.shown is None:
        return None
    codes = np.asarray(seen.model.encode(seen.params, jnp.asarray(seen.shown)).mode)
    restored = seen.decode(codes[None], is_whole=True)[0]
    rows = np.concatenate([seen.x, seen.shown, restored])
    names = "clean", "shown", "restored"
    return plots.samples(rows.clip(0, 1), title="what was shown, and restored", row_names=names)


def _rate_per_dimension(seen: _Seen):
    if not seen.has_rates:
        return None
    return plots.rate_per_dimension(seen.rates, seen.is_active)


def _latent_scatter(seen: _Seen):
    """Draws codes in the two dimensions of the highest rate."""
    if len(seen.continuous) < 2:
        return None
    first, second = sorted(seen.continuous[:2].tolist())
    plane = seen.means[:, [first, second]]
    names = {"axis_names": (f"z{first}", f"z{second}"), "label_names": seen.label_names}
    if not (seen.has_rates and seen.is_gaussian):
        return plots.latent_scatter(plane, seen.labels, has_prior=False, **names)
    own = {n: np.asarray(getattr(seen.prior, n))[[first, second]] for n in ("mean", "deviation")}
    return plots.latent_scatter(plane, seen.labels, **names, **own)


def _samples(seen: _Seen):
    """Draws a grid of samples, or one row for each shown condition."""
    model, params, conditions = seen.model, seen.params, seen.conditions
    if not seen.has_rates:
        z = np.asarray(seen.prior.sample(seen.key, NUM_SAMPLES))
        title = "E[x|z], z from a Gaussian fit to the codes"
        return plots.samples(seen.decode(z[None])[0], title=title)
    if conditions is None:
        z = model.prior(params).sample(jax.random.split(seen.key)[0], NUM_SAMPLES)
        return plots.samples(seen.decode(z[None])[0], title="E[x|z], z from the prior")
    z = np.asarray(model.prior(params).sample(seen.key, NUM_STYLES))
    z = np.tile(z, (len(conditions.names), 1, 1))
    samples = seen.decode(z, conditions.shown[:, None])
    return plots.samples(
        samples.reshape(-1, *samples.shape[2:]),
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
    """Decodes one example's code with each continuous dimension set to each value in turn.

    Values are in standard deviations of the prior from its mean; returns None if it lacks these.
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


def _traversal_of_series(seen: _Seen):
    traversed = _traversed(seen)
    return None if traversed is None else sequences.traversal(seen, traversed)


def _groups(seen: _Seen):
    """Decodes one example's code with each discrete group set to each value in the data."""
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
        images[g, len(values) :] = 1.0  # white, if a group has fewer values
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
    """Draws the decoded grid of quantiles of the Gaussian prior of a two-dimensional code."""
    if len(seen.rates) != 2 or seen.num_discrete or seen.conditions is not None:
        return None
    if not seen.is_gaussian:
        return None
    axis = plots.normal_quantiles(MANIFOLD_SIZE, 0.02, 0.98).astype(np.float32)
    mean, deviation = np.asarray(seen.prior.mean), np.asarray(seen.prior.deviation)
    z = mean + deviation * np.stack(np.meshgrid(axis, axis), axis=-1)
    words = {} if seen.has_rates else {"title": "decoded quantiles of Gaussians fit to the codes"}
    return plots.manifold(seen.decode(z), mean=mean, deviation=deviation, **words)


def _frames(seen: _Seen):
    traversed = _traversed(seen)
    return None if traversed is None else plots.traversal_frames(**traversed)


def _of(dataset) -> dict[str, Callable]:
    """The pictures for a model of a dataset: name → function of a `_Seen`, for `draw_each`."""
    if dataset.kind == "image":
        return _OF_ANY | _OF_VECTORS | _OF_IMAGES
    if dataset.kind == "table":
        return _OF_ANY | _OF_VECTORS
    if dataset.alphabet is not None:
        texts = {
            f"{name}.txt": functools.partial(make, alphabet=dataset.alphabet)
            for name, make in sequences.OF_TEXT.items()
        }
        return _OF_ANY | texts
    return _OF_ANY | sequences.OF_SERIES | {"traversal": _traversal_of_series}


_OF_ANY = {"rate_per_dimension": _rate_per_dimension, "latent_scatter": _latent_scatter}
_OF_VECTORS = {"reconstructions": _reconstructions}
_OF_IMAGES = {
    "corruptions": _corruptions,
    "samples": _samples,
    "traversal": _traversal,
    "traversal.gif": _frames,
    "codes": _groups,
    "interpolation": _interpolation,
    "manifold": _manifold,
}
"""Name of a picture → what draws it of a `_Seen`, or returns None if it does not apply."""
