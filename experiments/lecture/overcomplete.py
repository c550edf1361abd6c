"""An overcomplete code: how to prevent the identity function.

The code has 128 dimensions, for the 64 pixels of the digits in scikit-learn. An autoencoder that
merely copies its input also reconstructs images that are not digits, such as digits with shuffled
pixels. Four methods limit the code to what digits have in common: a penalty on activations, a limit
on the number of active units, a penalty on the encoder's Jacobian, and noise on the input.

Penalties on a code can be met without any effect. If the decoder has weights of its own, the whole
code may shrink: activations and the Jacobian become small, and larger weights of the decoder undo
it. So the contractive autoencoder is here twice, with weights of its own and with the tied weights
of the paper, which cannot shrink alone. Hoyer's measure of sparseness and the Jacobian relative to
the variance of the codes do not change with the scale; compare models by these.
"""

import functools

import numpy as np

from experiments.lecture import Course, Told
from experiments.lecture._shared import NUM_SHOWN
from vae_jax import plots
from vae_jax.evaluation import contraction, reconstruction, sparsity
from vae_jax.evaluation._shared import mean_and_error

MEANING = {
    "digits": "‖x − x̂‖² of test digits over their variance: 0 is perfect, 1 is the mean image",
    "shuffled pixels": "the same for digits with shuffled pixels: a small value means that "
    "the model merely copies",
    "in use": "share of an example's code that is not 0",
    "dead": "units of the code that are 0 for every test digit",
    "Hoyer": "sparseness of an example's code: 0 if all units are equal, 1 if one is not 0",
    "‖J‖²": "squared norm of the encoder's Jacobian: how much a code moves with the pixels",
    "‖J‖² / variance": "the same over the variance of the codes: no scale of the code changes it",
    "directions": "effective number of directions of the pixels that a code follows",
}
NAMES = ("autoencoder", "sparse", "k_sparse", "contractive", "contractive_tied", "denoising")


def tell(course: Course) -> Told:
    """How well each model reconstructs digits, and images that are not digits."""
    rows, restored = [], {}
    for name in NAMES:
        run = course.run(f"overcomplete-{name}")
        x = run.subject.x()
        random = np.random.default_rng(course.seed)
        shuffled = random.permuted(x.reshape(len(x), -1), axis=1).reshape(x.shape)
        codes = np.asarray(run.subject.posterior().mean)
        numbers = [_left(run, each) for each in (x, shuffled)]
        called = name.replace("_tied", ", tied").replace("_", "-")
        rows.append((called, *numbers, *_of_codes(codes), *_of_encoder(run.subject)))
        restored[called] = run.restore(shuffled[:NUM_SHOWN])
    grid = [x[:NUM_SHOWN], shuffled[:NUM_SHOWN], *restored.values()]
    picture = functools.partial(
        plots.samples,
        np.clip(np.concatenate(grid), 0, 1),
        title="digits, their pixels shuffled, and the reconstructions of these",
        row_names=("digits", "shuffled", *restored),
    )
    return Told(("code of 128", *MEANING), rows, {"images that are not digits": picture}, MEANING)


def _of_codes(codes) -> tuple:
    """The share in use, dead units and Hoyer's measure of codes [N, L], see `MEANING`."""
    found = sparsity.evaluate(codes)
    return _told(found, "firing_rate"), (found["num_dead"], None), _told(found, "hoyer")


def _of_encoder(subject) -> tuple:
    """The norm of the Jacobian, the same over the variance, and directions, see `MEANING`."""
    found = contraction.measure(subject)
    return tuple(
        _told(found, name) for name in ("jacobian_norm", "norm_over_variance", "num_directions")
    )


def _told(found: dict, name: str) -> tuple:
    """A value and its standard error."""
    return found[name], found[f"{name}_standard_error"]


def _left(run, x) -> tuple:
    """Squared errors of x [N, *shape] over its mean squared deviation: mean and standard error."""
    spread = np.square(x - x.mean(axis=0)).sum(axis=tuple(range(1, x.ndim))).mean()
    return mean_and_error(reconstruction.squared_errors(x, run.restore(x)) / spread)
