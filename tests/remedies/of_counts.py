"""What is said of sparse counts and of ratings."""

import jax
import numpy as np
import scipy.sparse

from vae_jax import data, make_model, memory
from vae_jax.evaluation.subject import Subject

from ._cases import at, attempt, tries
from .of_data import DATA

COUNTS = np.random.default_rng(0).poisson(0.3, (40, 12)).astype(np.int32)


@tries(at("vae_jax/arguments.py", "_array")("is a sparse matrix: save it with scipy.sparse"))
def a_sparse_matrix_in_python(folder, patch):
    x = scipy.sparse.csr_matrix(COUNTS)
    yield attempt(make_model, x, likelihood="poisson")
    scipy.sparse.save_npz(folder / "a.npz", x)
    dataset = data.load(folder / "a.npz", scaling="none")
    yield attempt(make_model, dataset, likelihood="poisson")
    yield attempt(make_model, x.toarray(), likelihood="poisson")


@tries(at(DATA + "_dataset.py", "Rows.in_memory")("read them in blocks, x[start:stop]"))
def rows_that_do_not_fit(folder, patch):
    scipy.sparse.save_npz(folder / "a.npz", scipy.sparse.csr_matrix(COUNTS))
    x = data.load(folder / "a.npz", scaling="none", loading="stream").train.x
    patch.setattr(memory, "limit_bytes", lambda: 100)
    yield attempt(np.asarray, x)
    yield attempt(lambda: x[0:2])


@tries(at("vae_jax/evaluation/subject.py", "Subject.x")("take fewer of them with `num_examples`"))
def examples_that_do_not_fit_at_once(folder, patch):
    scipy.sparse.save_npz(folder / "a.npz", scipy.sparse.csr_matrix(COUNTS))
    dataset = data.load(folder / "a.npz", scaling="none", loading="stream")
    model = make_model(dataset, likelihood="poisson", widths=(2,), latent_dim=1)
    given = (model, {}, dataset)
    ways = {"preprocess": lambda stored, key: dataset.decode(stored), "key": jax.random.key(0)}
    patch.setattr(memory, "limit_bytes", lambda: 100)
    yield attempt(Subject(*given, **ways).x)
    yield attempt(Subject(*given, **ways, num_examples=2).x)
