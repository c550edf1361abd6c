"""What a grid search over β costs beside one fit, compilation included.

Run: `python -m experiments.benchmark.searches`.
"""

import time
from collections.abc import Callable

import jax
import numpy as np
from sklearn.model_selection import GridSearchCV

from vae_jax import console, reuse
from vae_jax.sklearn import VAE

NUM_ROWS, NUM_COLUMNS = 1000, 20
BETAS, NUM_FOLDS = (0.5, 1.0, 2.0, 4.0), 5


def seconds(run: Callable) -> float:
    """How long a function takes if nothing is compiled yet."""
    jax.clear_caches()
    reuse.program_of.cache_clear()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Prints the times of one fit and of a search, and their ratio."""
    rows = np.random.default_rng(0).normal(size=(NUM_ROWS, NUM_COLUMNS))
    fold = rows[: NUM_ROWS - NUM_ROWS // NUM_FOLDS]
    estimator = VAE(random_state=0)
    search = GridSearchCV(estimator, {"beta": BETAS}, cv=NUM_FOLDS, refit=False)
    one = seconds(lambda: estimator.fit(fold).score(rows))
    many = seconds(lambda: search.fit(rows))
    num = len(BETAS) * NUM_FOLDS
    console.say(f"one fit {one:.1f} s, {num} fits {many:.1f} s, ratio {many / one:.2f}")


if __name__ == "__main__":
    main()
