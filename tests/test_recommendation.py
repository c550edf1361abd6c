"""Recommendation: which items come first, and files of ratings."""

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import scipy.sparse
from flax import linen as nn

from vae_jax import data, latents, likelihoods, make_model, uses
from vae_jax.cli.commands import apply as command
from vae_jax.cli.commands import export
from vae_jax.data import _new_ratings, _streams
from vae_jax.errors import DataError, UsageError
from vae_jax.evaluation import ranking
from vae_jax.model import Model
from vae_jax.storage import exported
from vae_jax.trained import Trained

RNG = np.random.default_rng(0)

# --- Which items come first

SCORES = np.array([0.1, 0.5, 0.2, 0.5, 0.4], np.float32)


class Fixed(nn.Module):
    """The same outputs for all users; the code tells what was read."""

    is_encoder: bool = False

    @nn.compact
    def __call__(self, x):
        if self.is_encoder:
            return (x.sum(axis=1, keepdims=True),)
        return jnp.log(SCORES)[None] + 0 * x


FIXED = Model(
    *(Fixed(True), Fixed()),
    likelihoods.Multinomial(),
    (5,),
    1,
    latent=latents.Deterministic("linear"),
)
ANY = {"encoder": {}, "decoder": {}, "likelihood": {"log_total": jnp.float32(np.log(17.0))}}


def test_the_best_items_that_are_not_known_come_first():
    """Known and missing ones never come, equal ones in their order; few are followed by none."""
    x = np.float32([[0] * 5, [0, 1, 0, 0, 3], [1, 1, 1, np.nan, 0], [1, 1, 1, 1, np.nan]])
    found = uses.Engine(uses.make("recommend", num_items=3), FIXED, ANY, batch_size=2)(x)
    items = [[1, 3, 4], [3, 2, 0], [4, -1, -1], [-1, -1, -1]]
    np.testing.assert_array_equal(found["item"], items)
    shares = SCORES / SCORES.sum() * 17  # of a row with the usual total
    np.testing.assert_allclose(found["score"][0], shares[[1, 3, 4]], rtol=1e-5)
    assert (found["score"][3] == -np.inf).all()
    # an item of NaN is not read: the code is the same as of 0
    z = [FIXED.encode(ANY, FIXED.likelihood.filled(row[None])).mode for row in x[2:]]
    np.testing.assert_allclose(np.ravel(z), [3 * np.log(2), 4 * np.log(2)], rtol=1e-6)
    many = uses.Engine(uses.make("recommend", num_items=99), FIXED, ANY)(x)
    assert many["item"].shape == (4, 5)


def test_arrays_and_sparse_matrices_give_items_and_scores():
    x = np.float32([[0, 1, 0, 0, 0], [1, 0, 0, 1, 1]])
    trained = Trained(FIXED, ANY)
    found = trained.recommend(x, num_items=2)
    assert found.shape == (2, 2, 2)
    np.testing.assert_array_equal(found[..., 0], [[3, 4], [1, 2]])
    np.testing.assert_array_equal(trained.recommend(scipy.sparse.csr_array(x), num_items=2), found)
    codes = trained.encode(scipy.sparse.coo_matrix(x))
    np.testing.assert_array_equal(codes, trained.encode(x))


def test_models_of_other_data_do_not_recommend():
    for shape, likelihood in (((4, 2), "bernoulli"), ((4,), "text")):
        model = make_model(shape, likelihood=likelihood, network="gru", widths=(2,))
        with pytest.raises(UsageError, match=r"recommend: .*: take a run on ratings"):
            uses.make("recommend").check(model)


# --- Files of ratings

NUM_USERS, NUM_ITEMS = 30, 12
PAIRS = RNG.permutation(NUM_USERS * NUM_ITEMS)[:220]
STARS = RNG.integers(1, 6, len(PAIRS))


def write(path, users, items, stars, names=("userId", "movieId", "rating")):
    columns = dict(zip(names, ([*users], [*items], [*stars]), strict=True))
    if path.suffix == ".parquet":
        pa.parquet.write_table(pa.table(columns), path, row_group_size=3)
    else:
        rows = zip(*columns.values(), strict=True)
        path.write_text("\n".join([",".join(names), *(",".join(map(str, r)) for r in rows)]) + "\n")
    return path


@pytest.fixture(scope="module")
def rated(tmp_path_factory):
    """A dataset of ratings, and an untrained model of it, also as an exported file."""
    folder = tmp_path_factory.mktemp("rated")
    pairs = PAIRS // NUM_ITEMS, PAIRS % NUM_ITEMS + 100
    write(folder / "train.csv", *pairs, STARS)
    dataset = data.load(folder / "train.csv", rating_at_least=3, num_valid=4)
    model = make_model(dataset, latent_dim=2, widths=(3,), input_dropout=0.5)
    params = model.init(jax.random.key(0), np.asarray(dataset.train.x[:], np.float32))
    told = {name: getattr(dataset, name) for name in export.TOLD} | export.scaling(dataset, None)
    about = {"settings": {}, "data": told | export.ratings(dataset)}
    exported.save(folder / "model.safetensors", model, params, about)
    preprocess = lambda stored, key: dataset.decode(stored)  # noqa: E731
    return Trained(model, params, dataset=dataset, preprocess=preprocess), folder


def run(name, folder, output, **flags):
    values = dict.fromkeys(command.flag_texts(name))
    own = {"run": str(folder / "model.safetensors"), "output": str(output)}
    command.main(name, {**values, **own, **flags})


def test_a_dataset_says_how_its_ratings_were_read(rated):
    told = rated[0].dataset.ratings
    assert told.names == ("userId", "movieId", "rating")
    assert told.rating_at_least == 3


USERS = ["b7", "a", "b7", "c", "a", "b7"]
ITEMS = [103, 100, 105, 101, 110, 111]
MARKS = [5, 4, 1, 3, 3, 4]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_new_users_of_a_file_get_items_of_its_own_names(rated, tmp_path, monkeypatch, suffix):
    """In their own order, though their rows are spread over blocks; what they disliked is out."""
    monkeypatch.setattr(_streams, "_BLOCK_BYTES", 30)
    monkeypatch.setattr(_streams, "_BLOCK_ROWS", 2)
    monkeypatch.setattr(_new_ratings, "_BYTES_OF_BLOCK", 1)
    trained, folder = rated
    source = write(tmp_path / f"new{suffix}", USERS, ITEMS, MARKS)
    out = tmp_path / f"out{suffix}"
    run("recommend", folder, out, input=str(source), num_items="4")
    read = pa.csv.read_csv if suffix == ".csv" else pa.parquet.read_table
    table = read(out)
    assert table.column_names == ["userId", "item", "score", "rank"]
    assert table.column("userId").to_pylist() == [u for u in ("b7", "a", "c") for _ in range(4)]
    assert table.column("rank").to_pylist() == [1, 2, 3, 4] * 3
    assert table.schema.field("item").type == pa.int64()

    names = [int(name) for name in trained.dataset.columns]
    x = np.zeros((3, len(names)), np.float32)
    for user, item, stars in zip(USERS, ITEMS, MARKS, strict=True):
        x[["b7", "a", "c"].index(user), names.index(item)] = 1 if stars >= 3 else np.nan
    expected = trained.recommend(x, num_items=4)
    items = np.reshape(table.column("item").to_pylist(), (3, 4))
    np.testing.assert_array_equal(items, np.array(names)[expected[..., 0].astype(int)])
    scores = np.reshape(table.column("score").to_pylist(), (3, 4))
    np.testing.assert_allclose(scores, expected[..., 1], rtol=1e-4)
    assert 105 not in items[0]
    part = tmp_path / f"part{suffix}"
    run("recommend", folder, part, input=str(source), num_items="4", rows="1:2")
    assert read(part) == table.slice(4, 4)


def test_other_uses_read_ratings_too(rated, tmp_path):
    """A low rating is none, as in training."""
    trained, folder = rated
    source = write(tmp_path / "new.csv", USERS, ITEMS, MARKS)
    run("encode", folder, tmp_path / "z.csv", input=str(source))
    table = pa.csv.read_csv(tmp_path / "z.csv")
    assert table.column_names == ["userId", "z0", "z1"]
    names = trained.dataset.columns
    x = np.zeros((1, len(names)), np.float32)
    x[0, [names.index("103"), names.index("111")]] = 1
    z = [table.column(name)[0].as_py() for name in ("z0", "z1")]
    np.testing.assert_allclose(z, trained.encode(x)[0], rtol=1e-5)
    with pytest.raises(UsageError, match="take the use recommend, or give an array"):
        run("reconstruct", folder, tmp_path / "x.csv", input=str(source))


def test_frames_of_new_users(rated):
    """Ids keep their types; users may have numbers for names, and items be floats."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"userId": [7, 7, 9], "movieId": [100.0, 101, 102], "rating": [5, 4, 3]}
    )
    found = rated[0].recommend(frame.set_index(pandas.Index([3, 4, 5])), num_items=2)
    assert found["userId"].tolist() == [7, 7, 9, 9]
    assert found.index.tolist() == [0, 1, 2, 3]
    assert found["item"].dtype == float
    assert not {100.0, 101.0} & set(found["item"][:2])


def test_what_training_did_not_have_is_refused_or_named(rated, tmp_path, capsys):
    trained, folder = rated
    columns = {
        "userId": ["a", "a", "b", "b"],
        "movieId": ["100", "x", "y", "101"],
        "rating": ["5", "5", "2", "4"],
    }
    with pytest.raises(DataError, match="holds 'x' in row 2, which no user of the training rated"):
        trained.recommend(columns)
    with pytest.warns(UserWarning, match="2 ratings of items that training did not have.*'x', 'y'"):
        found = trained.recommend(columns, unseen="missing", num_items=1)
    assert found["userId"].tolist() == ["a", "b"]
    with pytest.raises(DataError, match="has 0 columns 'rating', training had one"):
        trained.recommend({"userId": ["a"], "movieId": ["100"]})
    with pytest.raises(DataError, match="'rating' of ratings holds no numbers: correct it"):
        trained.recommend({**columns, "movieId": ["100"] * 4, "rating": ["good"] * 4})
    source = write(tmp_path / "new.csv", ["a"], [104], [1])
    run("recommend", folder, tmp_path / "out.csv", input=str(source), num_items="2")
    assert "1 users have no rating that counts" in capsys.readouterr().out


def test_the_items_are_those_that_the_metric_ranks(rated):
    """NDCG of what is recommended is that of `ranking`, of the same users."""
    trained = rated[0]
    split = trained.dataset.test
    x, aside = np.asarray(split.x[:], np.float32), np.asarray(split.aside[:])
    scores = np.asarray(trained.model.reconstruct(trained.params, x))
    items = trained.recommend(x, num_items=100)[..., 0].astype(int)
    has = aside.any(axis=1)
    hits = (np.take_along_axis(aside, items.clip(0), axis=1) > 0) & (items >= 0)
    gains = hits / np.log2(np.arange(items.shape[1]) + 2)
    best = [sum(1 / np.log2(r + 2) for r in range(int(n))) for n in aside.sum(axis=1)]
    expected = ranking.ndcg(ranking.ranked(scores, x)[has], aside[has])
    np.testing.assert_allclose(gains.sum(axis=1)[has] / np.array(best)[has], expected, rtol=1e-6)
