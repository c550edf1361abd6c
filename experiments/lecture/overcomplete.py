"""An overcomplete code: how to prevent the identity function.

The code has 128 dimensions, for the 64 pixels of the digits in scikit-learn. An autoencoder that
merely copies its input also reconstructs images that are not digits, such as digits with shuffled
pixels. Four methods limit the code to what digits have in common: a penalty on activations, a limit
on the number of active units, a penalty on the encoder's Jacobian, and noise on the input.
"""

import functools

import numpy as np

from experiments.lecture import Course, Told
from experiments.lecture._shared import NUM_SHOWN
from vae_jax import plots
from vae_jax.evaluation import reconstruction
from vae_jax.evaluation._shared import mean_and_error

MEANING = {
    "digits": "‖x − x̂‖² of test digits over their variance: 0 is perfect, 1 is the mean image",
    "shuffled pixels": "the same for digits with shuffled pixels: a small value means that "
    "the model merely copies",
    "in use": "share of an example's code that is not 0",
}
NAMES = ("autoencoder", "sparse", "k_sparse", "contractive", "denoising")


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
        rows.append((name.replace("_", "-"), *numbers, mean_and_error((codes != 0).mean(axis=1))))
        restored[name.replace("_", "-")] = run.restore(shuffled[:NUM_SHOWN])
    grid = [x[:NUM_SHOWN], shuffled[:NUM_SHOWN], *restored.values()]
    picture = functools.partial(
        plots.samples,
        np.clip(np.concatenate(grid), 0, 1),
        title="digits, their pixels shuffled, and the reconstructions of these",
        row_names=("digits", "shuffled", *restored),
    )
    return Told(("code of 128", *MEANING), rows, {"images that are not digits": picture}, MEANING)


def _left(run, x) -> tuple:
    """Squared errors of x [N, *shape] over its mean squared deviation: mean and standard error."""
    spread = np.square(x - x.mean(axis=0)).sum(axis=tuple(range(1, x.ndim))).mean()
    return mean_and_error(reconstruction.squared_errors(x, run.restore(x)) / spread)
