"""What is said of sparse counts and of ratings."""

import jax
import numpy as np
import scipy.sparse

from vae_jax import data, make_model, memory
from vae_jax.evaluation.subject import Subject
from vae_jax.likelihoods import NegativeBinomial

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


NEGATIVE_BINOMIAL = "vae_jax/likelihoods/negative_binomial.py"
OF_EACH = NegativeBinomial(dispersion="learned_per_condition")
LABELED = {"x": COUNTS.astype(np.float32), "labels": np.arange(40) % 2}


@tries(at(NEGATIVE_BINOMIAL, "NegativeBinomial.of_conditions")("take objective=cvae, or"))
def dispersions_of_conditions_without_any(folder, patch):
    message = yield attempt(make_model, LABELED, likelihood=OF_EACH)
    asked = dict(pair.split("=") for pair in message.partition("take ")[2].split(", or "))
    yield attempt(make_model, LABELED, likelihood=OF_EACH, objective=asked["objective"])
    other = NegativeBinomial(dispersion=asked["dispersion"])
    yield attempt(make_model, LABELED, likelihood=other)


@tries(at("vae_jax/model.py", "Model._check_fields")("give it num_conditions="))
def dispersions_of_other_conditions(folder, patch):
    made = make_model(LABELED, objective="cvae", likelihood="nb", widths=(2,), latent_dim=1)
    key = jax.random.key(0)
    yield attempt(made.replace(likelihood=OF_EACH).init, key)
    told = NegativeBinomial(dispersion="learned_per_condition", num_conditions=2)
    yield attempt(made.replace(likelihood=told).init, key)


@tries(at("vae_jax/model.py", "Model.check_steps")("step by step: take network='mlp'"))
def dispersions_of_conditions_step_by_step(folder, patch):
    series = {"x": LABELED["x"].reshape(40, 6, 2), "labels": LABELED["labels"]}
    made = {"objective": "cvae", "likelihood": OF_EACH}
    yield attempt(make_model, series, network="gru", **made)
    yield attempt(make_model, series, network="mlp", **made)
