"""What is said of sparse counts and of ratings."""

import re
import warnings

import jax
import numpy as np
import pytest
import scipy.io
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


@tries(at("vae_jax/model.py", "Model._check_fields")("are no numbers: leave it out"))
def dropout_of_characters(folder, patch):
    made = make_model((5,), likelihood="text", network="gru", widths=(2,), input_dropout=0.5)
    yield attempt(made.init, jax.random.key(0))
    yield attempt(made.replace(input_dropout=0.0).init, jax.random.key(0))


@tries(at("vae_jax/model.py", "Model.check_steps")("step by step: take network='mlp'"))
def dispersions_of_conditions_step_by_step(folder, patch):
    series = {"x": LABELED["x"].reshape(40, 6, 2), "labels": LABELED["labels"]}
    made = {"objective": "cvae", "likelihood": OF_EACH}
    yield attempt(make_model, series, network="gru", **made)
    yield attempt(make_model, series, network="mlp", **made)


# --- Matrices with named rows and columns

GENES, CELLS = [f"gene{i}" for i in range(12)], [f"cell{i}" for i in range(40)]
MARKET, ANNOTATED = DATA + "_market.py", DATA + "_annotated.py"


def market(folder, name="matrix.mtx"):
    scipy.io.mmwrite(folder / name, scipy.sparse.coo_array(COUNTS))
    return folder / name


def named(path, names):
    path.write_text("".join(f"{name}\n" for name in names))
    return path


@tries(at(MARKET, "with_names")("give the path of one file"))
def several_matrices_of_a_folder(folder, patch):
    paths = [market(folder, name) for name in ("a.mtx", "b.mtx")]
    yield attempt(data.load, folder)
    yield attempt(data.load, paths[1])


@tries(at(MARKET, "_read")("save it again with scipy.io.mmwrite"))
def a_damaged_matrix(folder, patch):
    path = market(folder)
    path.write_bytes(path.read_bytes()[:60])
    yield attempt(data.load, path)
    yield attempt(lambda: data.load(market(folder)))


@tries(at(MARKET, "_beside")("move one of them away"))
def two_files_of_names(folder, patch):
    path = market(folder)
    files = [named(folder / name, GENES) for name in ("genes.tsv", "features.tsv")]
    yield attempt(data.load, path)
    files[0].unlink()
    yield attempt(data.load, path)


@tries(at(MARKET, "_upright")("move files of other data away"))
def names_of_another_matrix(folder, patch):
    path = market(folder)
    file = named(folder / "genes.tsv", GENES[:5])
    yield attempt(data.load, path)
    file.unlink()
    yield attempt(data.load, path)


def annotated(path, obs, **layers):
    """A file with annotated rows, and the counts in X, or in its layers if there are some."""
    anndata = pytest.importorskip("anndata")
    import pandas as pd

    table = pd.DataFrame(obs, index=CELLS)
    x = None if layers else COUNTS
    held = anndata.AnnData(x, obs=table, var=pd.DataFrame(index=GENES), layers=layers)
    held.write_h5ad(path)
    return path


@tries(at(ANNOTATED, "_opened")("write it again with anndata's write_h5ad"))
def a_damaged_annotated_matrix(folder, patch):
    path = annotated(folder / "a.h5ad", {})
    path.write_bytes(path.read_bytes()[:300])
    yield attempt(data.load, path)
    yield attempt(lambda: data.load(annotated(path, {})))


@tries(at(ANNOTATED, "_matrix")("choose one of its layers"))
def an_annotated_matrix_of_layers_alone(folder, patch):
    path = annotated(folder / "a.h5ad", {}, counts=COUNTS)
    message = yield attempt(data.load, path)
    yield attempt(data.load, path, layer=re.search(r"layers, '(\w+)'", message)[1])


@tries(at(ANNOTATED, "_columns")("must be the label or the id: leave the others out"))
def annotations_of_other_kinds(folder, patch):
    path = annotated(folder / "a.h5ad", {"age": np.arange(40.0)})
    yield attempt(data.load, path, ignore="age")
    yield attempt(data.load, path)


@tries(at(ANNOTATED, "_columns")("name one of them with `label`"))
def annotations_that_all_look_like_labels(folder, patch):
    path = annotated(folder / "a.h5ad", {"label": np.arange(40) % 2, "class": np.arange(40) % 3})
    yield attempt(data.load, path)
    yield attempt(data.load, path, label="class")


@tries(at(ANNOTATED, "_given")("rename the column of obs"))
def an_annotation_with_the_name_of_a_gene(folder, patch):
    path = annotated(folder / "a.h5ad", {GENES[0]: np.arange(40) % 2})
    yield attempt(data.load, path, condition=GENES[0])
    path = annotated(path, {"batch": np.arange(40) % 2})
    yield attempt(data.load, path, condition="batch")


@tries(at(ANNOTATED, "_given")("make the names of X unique with anndata's var_names_make_unique"))
def genes_of_one_name(folder, patch):
    anndata = pytest.importorskip("anndata")
    import pandas as pd

    obs = pd.DataFrame({"batch": np.arange(40) % 2}, index=CELLS)
    names = pd.DataFrame(index=[GENES[1], *GENES[1:]])
    path = folder / "a.h5ad"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        held = anndata.AnnData(COUNTS, obs=obs, var=names)
        held.write_h5ad(path)
    yield attempt(data.load, path, condition="batch")
    held.var_names_make_unique()
    held.write_h5ad(path)
    yield attempt(data.load, path, condition="batch")


# --- Ratings

OF_DATA, SETTINGS = DATA + "_ratings.py", "vae_jax/ratings.py"
RATED = np.argwhere(np.ones((20, 8)))


def rated(path, stars=None, names=("userId", "movieId", "rating")):
    stars = np.arange(160) % 5 + 1 if stars is None else stars
    rows = "\n".join(f"{u},{i},{s}" for (u, i), s in zip(RATED, stars, strict=True))
    path.write_text(f"{','.join(names)}\n{rows}\n")
    return path


@tries(at(OF_DATA, "read")("give one table of all ratings"))
def splits_of_ratings(folder, patch):
    path = rated(folder / "train.csv")
    rated(folder / "test.csv")
    yield attempt(data.load, folder)
    yield attempt(data.load, path)


@tries(at(OF_DATA, "_triplets")("of ratings holds no numbers: name another"))
def ratings_in_words(folder, patch):
    path = rated(folder / "a.csv", ["good", "bad"] * 80)
    path.write_text(path.read_text().replace("\n", ",3\n").replace("rating,3", "rating,stars"))
    yield attempt(data.load, path)
    yield attempt(data.load, path, rating="stars")


@tries(at(OF_DATA, "_triplets")("no column holds ratings: name it by `rating`"))
def ratings_of_no_column(folder, patch):
    path = rated(folder / "a.csv", names=("who", "what", "liked"))
    asked = {"user": "who", "item": "what", "rating_at_least": 1}
    yield attempt(data.load, path, **asked)
    yield attempt(data.load, path, **asked, rating="liked")


@tries(at(OF_DATA, "_held_out")("leave some of the … users to train on"))
def more_users_held_out_than_there_are(folder, patch):
    path = rated(folder / "a.csv")
    yield attempt(data.load, path, num_valid=10)
    yield attempt(data.load, path, num_valid=9)


@tries(at(SETTINGS, "Ratings.refuse")("is a setting of ratings, …: leave it out"))
def settings_of_ratings_for_a_table(folder, patch):
    path = rated(folder / "a.csv", names=("a", "b", "c"))
    yield attempt(data.load, path, min_ratings=3)
    yield attempt(data.load, path)


@tries(at(SETTINGS, "make")("ratings are of users and items: give"))
def ratings_of_users_alone(folder, patch):
    path = rated(folder / "a.csv", names=("who", "what", "liked"))
    message = yield attempt(data.load, path, user="who")
    yield attempt(data.load, path, user="who", **{re.search(r"give `(\w+)`", message)[1]: "what"})
