"""From one class to another through the latent space.

The straight line between the codes of two examples is decoded. For comparison, the straight line
between the images only fades one into the other.

A picture between two others is plausible if it is as near to training pictures as real pictures
are. But a blurred picture is nearer to all of them. So reconstructions, which are no interpolations
but as blurred as decoded lines, real pictures, and means of similar pictures are measured, too.
"""

import functools

import numpy as np

from experiments.lecture import Course, Told
from experiments.lecture._shared import (
    NUM_REGRESSED,
    difference,
    examples,
    held_out_halves,
    said,
    training,
    verdict,
)
from vae_jax import plots
from vae_jax.evaluation import controls, latent_neighbours, two_samples
from vae_jax.evaluation._shared import mean_and_error

MEANING = {
    "distance": f"to the nearest of at most {NUM_REGRESSED:,} training pictures; from a line, that "
    "of its middle; mean over pairs",
    "sharpness": "gradient energy over that of real pictures: less than 1 if blurred",
}
NUM_PAIRS, NUM_SHOWN, NUM_POINTS = 400, 5, 11
REAL = "real pictures"
KINDS = {"autoencoder": "autoencoder", "vae": "VAE"}


def tell(course: Course) -> Told:
    """Distances of middles of lines between classes from training pictures, beside controls."""
    train = training(course)[:NUM_REGRESSED]
    ends = _pairs(course)
    real = held_out_halves(course, NUM_PAIRS)[1]
    t = np.linspace(0, 1, NUM_POINTS, dtype=np.float32)
    lines = {"line between pixels": _between(*ends, t)}
    others = {}
    for name, called in KINDS.items():
        run = course.run(f"{name}-16")
        lines[f"line between codes, {called}"] = _decoded(run.subject, ends, t)
        others[f"reconstructions, {called}"] = run.restore(real)
    others |= {REAL: real, "means of similar pictures": controls.blurred(real, train)}
    found, pictures = {}, {}
    for called, decoded in lines.items():
        decoded = np.clip(decoded, 0, 1)
        found[called] = _measured(train, real, decoded[:, NUM_POINTS // 2])
        title = f"straight {called}"
        pictures[called] = functools.partial(plots.interpolation, decoded[:NUM_SHOWN], title)
    found |= {called: _measured(train, real, np.clip(x, 0, 1)) for called, x in others.items()}
    rows = [(called, *pairs) for called, pairs in found.items()]
    return Told(("pictures", *MEANING), rows, pictures, MEANING, _sentences(found))


def _pairs(course: Course) -> tuple[np.ndarray, np.ndarray]:
    """Test examples of different classes, [P, *shape] twice; those that are shown come first."""
    x = examples(course)
    first = x[: 2 * NUM_SHOWN : 2], x[1 : 2 * NUM_SHOWN : 2]
    test = course.dataset.test
    labels = np.asarray(test.labels[: len(x)])
    rows = np.asarray(course.dataset.decode(np.asarray(test.x[: len(x)])))
    random, chosen = np.random.default_rng(course.seed), []
    for start in random.integers(0, len(rows), NUM_PAIRS - NUM_SHOWN):
        chosen.append((start, random.choice(np.flatnonzero(labels != labels[start]))))
    starts, stops = np.transpose(chosen)
    return np.concatenate([first[0], rows[starts]]), np.concatenate([first[1], rows[stops]])


def _decoded(subject, ends, t: np.ndarray) -> np.ndarray:
    """The decoded lines between the codes of pairs [P, *shape], at T positions: [P, T, *shape]."""
    model, params = subject.model, subject.params
    codes = [np.asarray(model.encode(params, end).mode) for end in ends]
    z = _between(*codes, t)
    decoded = np.asarray(model.decode_mean(params, z.reshape(-1, z.shape[-1])))
    return decoded.reshape(*z.shape[:2], *model.shape)


def _measured(train: np.ndarray, real: np.ndarray, pictures: np.ndarray) -> tuple:
    """Distance and sharpness of pictures [N, *shape], each with its standard error."""
    away = latent_neighbours.nearest_distance(train, np.asarray(pictures, np.float32))
    return mean_and_error(away), tuple(two_samples.sharpness(real, pictures))


def _sentences(found: dict) -> list[str]:
    """Compares lines of both models with each other and with what is only reconstructed."""
    names = [f"line between codes, {called}" for called in KINDS.values()]
    plain, own = (found[name][0] for name in names)
    words = "nearer to", "as near to", "farther from"
    word = verdict(difference(own, plain), 0.0, words)
    restored, real = found["reconstructions, VAE"][0], found[REAL][0]
    blur = verdict(difference(restored, real), 0.0, words)
    told = ": blur shortens distances, so compare rows of similar sharpness" * (blur == words[0])
    return [
        f"The middles of the VAE's lines ({said(own)}) are {word} training pictures "
        f"{_than(word)} those of the autoencoder's ({said(plain)}).",
        f"The VAE's reconstructions ({said(restored)}) are {blur} them {_than(blur)} real pictures "
        f"({said(real)}){told}.",
    ]


def _than(word: str) -> str:
    """What follows a comparison."""
    return "as" if word.startswith("as ") else "than"


def _between(starts, ends, t) -> np.ndarray:
    """Straight lines from [P, …] to [P, …] at T positions: [P, T, …]."""
    t = t.reshape(1, -1, *[1] * (starts.ndim - 1))
    return starts[:, None] * (1 - t) + ends[:, None] * t
