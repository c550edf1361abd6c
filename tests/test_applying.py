"""A trained model at work on rows as users have them: tables by name, arrays, their own units."""

import io
import json

import jax
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from vae_jax import assembly, data, forms, make_model, uses
from vae_jax.applying import Worker
from vae_jax.data._matching import Matcher
from vae_jax.errors import DataError, UsageError
from vae_jax.schema import Cells
from vae_jax.trained import Trained

N = 24
RNG = np.random.default_rng(3)
COLUMNS = {
    "id": [f"K{i:03d}" for i in range(N)],
    "height": [f"{v:.2f}" for v in RNG.normal(170, 12, N)],
    "income": [f"{v:.1f}" for v in np.exp(RNG.normal(5, 2, N))],
    "visits": [str(v) for v in RNG.poisson(3, N)],
    "city": [("Oslo", "Lima", "Pune")[i % 3] for i in range(N)],
    "member": [("yes", "no")[i % 2] for i in range(N)],
    "since": [f"2025-{1 + i % 12:02d}-{1 + i:02d}" for i in range(N)],
}
COLUMNS["visits"][0] = "0"
for column, row in (("height", 4), ("income", 5), ("visits", 6), ("city", 7), ("since", 7)):
    COLUMNS[column][row] = ""


def text(columns):
    rows = zip(*columns.values(), strict=True)
    return "\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n"


def as_table(columns):
    """As a stream of a CSV file has it: every cell is text."""
    types = dict.fromkeys(columns, pa.string())
    convert = pa.csv.ConvertOptions(column_types=types)
    return pa.csv.read_csv(io.BytesIO(text(columns).encode()), convert_options=convert)


def untrained(dataset, **settings):
    """A model with its initial parameters, as if it was trained on the dataset."""
    model = make_model(dataset, latent_dim=2, widths=(3,), **settings)
    told = assembly.binarization(
        dataset.num_levels,
        is_bernoulli=type(model.likelihood).__name__ == "Bernoulli",
        has_prior=model.latent.has_prior,
    )
    preprocess = assembly.make_preprocess(dataset, told)
    return Trained(model, model.init(jax.random.key(0)), dataset=dataset, preprocess=preprocess)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    path = tmp_path_factory.mktemp("mixed") / "mixed.csv"
    path.write_text(text(COLUMNS))
    return untrained(data.load(path, kinds={"since": "date"}))


def work(trained, use, table, first_row=0, **settings):
    options = {k: settings.pop(k) for k in ("unseen", "missing_values", "seed") if k in settings}
    worker = Worker(trained, uses.make(use, **settings), batch_size=8, **options)
    return worker.table(table, first_row), worker


def stored_in_order(dataset):
    """The rows of all splits by the heights that the file has: x in the order of the file."""
    return np.concatenate([dataset.train.x, dataset.valid.x, dataset.test.x])


def test_rows_of_the_training_become_what_it_stored(mixed):
    """The same numbers, bit for bit, and so the same codes."""
    form = forms.of(mixed.model, mixed.dataset, mixed.preprocess, {})
    worker = Worker(mixed, uses.make("encode"))
    codes = worker.matcher.codes(as_table(COLUMNS))
    stored = form.of_codes(codes)
    known = {row.tobytes() for row in stored_in_order(mixed.dataset)}
    assert {row.tobytes() for row in stored} == known
    assert len(known) == N
    found, _ = work(mixed, "encode", as_table(COLUMNS))
    expected = mixed.model.encode(mixed.params, stored).mode
    assert found.column_names == ["id", "z0", "z1"]
    assert found.column("id").to_pylist() == COLUMNS["id"]
    z = np.stack([found.column(n).to_numpy() for n in ("z0", "z1")], axis=1)
    np.testing.assert_allclose(z, expected, rtol=1e-5, atol=1e-6)


def test_columns_are_matched_by_name(mixed):
    table = as_table(COLUMNS)
    expected, _ = work(mixed, "encode", table)
    order = ["city", "since", "id", "visits", "member", "income", "height"]
    permuted = table.select(order).append_column("extra", [["e"] * N])
    found, worker = work(mixed, "encode", permuted)
    assert found.select(["z0", "z1"]) == expected.select(["z0", "z1"])
    assert found.column("extra").to_pylist() == ["e"] * N
    assert worker.told() == ["columns that training did not have, not read: 'extra'"]
    with pytest.raises(DataError, match=r"has no column 'income', 'city', from which") as error:
        work(mixed, "encode", table.drop_columns(["city", "income"]))
    assert error.value.exit_code == 3
    assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="several columns called 'city'"):
        work(mixed, "encode", table.append_column("city", [["Oslo"] * N]))
    with pytest.raises(DataError, match="column 'z1' has the name of a result: rename it"):
        work(mixed, "encode", table.append_column("z1", [["1"] * N]))


def test_cells_come_back_in_their_own_units_and_words(mixed):
    """x that is decoded and encoded again is the same, whatever its kind."""
    form = forms.of(mixed.model, mixed.dataset, mixed.preprocess, {})
    stored = mixed.dataset.train.x
    values = form.values(stored)
    assert set(values["city"]) - {None} == {"Oslo", "Lima", "Pune"}
    cells = {name: Cells(v) if v.dtype != object else v for name, v in values.items()}
    again = form.of_codes(form.schema.codes(cells))
    np.testing.assert_allclose(again, stored, rtol=2e-6, atol=2e-6)

    found, _ = work(mixed, "reconstruct", as_table(COLUMNS))
    assert found.column_names == list(COLUMNS)
    assert found.column("id").to_pylist() == COLUMNS["id"]
    heights = [float(v) for v in found.column("height").to_pylist()]
    assert 100 < min(heights) < max(heights) < 240  # centimeters, not deviations
    assert set(found.column("member").to_pylist()) <= {"yes", "no"}
    assert all(v.isdigit() for v in found.column("visits").to_pylist())
    assert all(v.startswith("2025-") for v in found.column("since").to_pylist())


@pytest.mark.parametrize("num_draws", [None, 2])
def test_observed_cells_stay_as_they_are_written(mixed, num_draws):
    """The text of each; only gaps are filled, and a gap has a value that its column can have."""
    columns = {**COLUMNS, "height": ["1.70e2", *COLUMNS["height"][1:]]}
    found, _ = work(mixed, "impute", as_table(columns), num_draws=num_draws, num_samples=3)
    times = num_draws or 1
    assert len(found) == N * times
    settings = {"num_draws": num_draws, "num_samples": 3}
    part, _ = work(mixed, "impute", as_table(columns).slice(5), 5, **settings)
    assert part == found.slice(5 * times)  # the draws of the whole
    for name, own in columns.items():
        cells = found.column(name).to_pylist()
        for row, cell in enumerate(np.repeat(own, times)):
            assert cells[row] == cell or (cell == "" and cells[row] not in ("", None))
    for name, row in (("height", 4), ("income", 5)):
        assert float(found.column(name)[row * times].as_py()) > 0
    assert found.column("visits")[6 * times].as_py().isdigit()
    if num_draws:
        assert found.column("draw").to_pylist() == [0, 1] * N


def test_a_category_that_training_did_not_have(mixed):
    columns = {**COLUMNS, "city": ["Rome", *COLUMNS["city"][1:]]}
    with pytest.raises(DataError, match=r"'city' holds 'Rome' in row 31, which training did not"):
        work(mixed, "encode", as_table(columns), 30)
    found, worker = work(mixed, "encode", as_table(columns), unseen="missing")
    (line,) = worker.told()
    assert line.startswith("column 'city': 1 cells of categories that training did not have")
    gap = {**COLUMNS, "city": ["", *COLUMNS["city"][1:]]}
    assert found == work(mixed, "encode", as_table(gap))[0]
    marked = {**COLUMNS, "city": ["unknown", *COLUMNS["city"][1:]]}
    assert found == work(mixed, "encode", as_table(marked), missing_values=["unknown"])[0]


def test_a_word_among_numbers_that_are_levels_is_no_level(tmp_path):
    """Of new rows and of a second table; both read cells by one rule."""
    lines = [f"{i / 7},{i % 2}" for i in range(30)]
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("\n".join(["size,flag", *lines]))
    second.write_text("\n".join(["flag,size", "1,0.5", "x,0.25"]))
    dataset = data.load(
        first, test_data=second, num_valid=0, kinds={"size": "real", "flag": "binary"}
    )
    assert np.isnan(dataset.test.x[:]).tolist() == [[False, False], [False, True]]
    table = as_table({"flag": ["1", "x"], "size": ["0.5", "0.25"]})
    with pytest.raises(DataError, match="column 'flag' holds 'x' in row 2, which training did not"):
        Matcher(dataset.schema).codes(table)
    found = Matcher(dataset.schema, unseen="missing").codes(table)
    np.testing.assert_array_equal(found, [[0.5, 1], [0.25, np.nan]])
    with pytest.raises(DataError, match=r"column 'flag' holds 2 in row 8, which training did not"):
        Matcher(dataset.schema).codes(as_table({"flag": ["2"], "size": ["1"]}), 7)


def test_numbers_outside_the_range_of_training_are_used_and_told(mixed):
    columns = {**COLUMNS, "height": ["260", *COLUMNS["height"][1:]]}
    found, worker = work(mixed, "encode", as_table(columns))
    (line,) = worker.told()
    assert "values outside the range of training, used as they are: 1 of 'height'" in line
    assert found.column("z0")[0] != work(mixed, "encode", as_table(COLUMNS))[0].column("z0")[0]
    with pytest.raises(DataError, match=r"column 'income': holds -1\.0, but is positive"):
        work(mixed, "encode", as_table({**COLUMNS, "income": ["-1", *COLUMNS["income"][1:]]}))
    with pytest.raises(DataError, match="column 'height' holds numbers, but 1 of 23 cells are"):
        work(mixed, "encode", as_table({**COLUMNS, "height": ["tall", *COLUMNS["height"][1:]]}))


class Streamed:
    """A table of another library: it has an Arrow stream, and nothing else."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


def typed():
    """The columns with types, as Parquet and data frames have them."""
    table = pa.csv.read_csv(io.BytesIO(text(COLUMNS).encode()))
    return table.set_column(4, "city", pa.array([c or None for c in COLUMNS["city"]]))


def test_tables_of_other_libraries_give_the_same(mixed):
    expected, _ = work(mixed, "encode", as_table(COLUMNS))
    codes = expected.select(["z0", "z1"])
    options = {"batch_size": 8}
    for rows in (typed(), Streamed(typed()), typed().combine_chunks().to_batches()[0]):
        found = mixed.encode(rows, **options)
        assert isinstance(found, pa.Table)
        assert found.select(["z0", "z1"]) == codes
    found = mixed.encode(
        {
            n: c.to_numpy(zero_copy_only=False)
            for n, c in zip(COLUMNS, typed().columns, strict=True)
        },
        **options,
    )
    np.testing.assert_array_equal(found["z0"], codes.column("z0"))
    with pytest.raises(DataError, match="cannot be read as a table"):
        mixed.encode({"height": [1.0, 2.0], "income": [1.0]})
    with pytest.raises(UsageError, match="is an array, and the columns of the training are of sev"):
        mixed.encode(np.zeros((2, 9)))


def test_frames_of_pandas_keep_their_index_and_types(mixed):
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(io.StringIO(text(COLUMNS)))
    frame.index = frame.index + 100
    found = mixed.impute(frame, num_samples=3, batch_size=8)
    assert isinstance(found, pandas.DataFrame)
    assert found.index.equals(frame.index)
    assert not found.isna().any().any()
    known = frame.notna().to_numpy()
    assert (found.to_numpy()[known] == frame.to_numpy()[known]).all()
    assert found["height"].dtype == frame["height"].dtype
    draws = mixed.impute(frame, num_draws=2, num_samples=3, batch_size=8)
    assert draws.index.tolist() == np.repeat(frame.index, 2).tolist()


def test_frames_of_polars(mixed):
    polars = pytest.importorskip("polars")
    frame = polars.read_csv(io.StringIO(text(COLUMNS)))
    found = mixed.encode(frame, batch_size=8)
    assert isinstance(found, polars.DataFrame)
    expected, _ = work(mixed, "encode", as_table(COLUMNS))
    np.testing.assert_array_equal(found["z0"].to_numpy(), expected.column("z0"))


# --- Arrays


def test_numbers_are_scaled_as_in_training(tmp_path):
    """An array in the units of the file, and a table by name, give what training stored."""
    x = RNG.normal(size=(20, 3)) * [1, 100, 0.01] + [0, 500, 3]
    (tmp_path / "a.csv").write_text(text(dict(zip("abc", x.T.tolist(), strict=True))))
    for scaling in ("auto", "unit", "none"):
        trained = untrained(data.load(tmp_path / "a.csv", scaling=scaling))
        form = forms.of(trained.model, trained.dataset, trained.preprocess, {})
        stored = form.of_array(x)
        known = {row.tobytes() for row in stored_in_order(trained.dataset)}
        assert {row.tobytes() for row in stored} == known
        is_inside = (form.of_codes(x) == stored) & (stored > 0) & (stored < 1)
        back = form.array(stored)
        np.testing.assert_allclose(back[is_inside], x[is_inside], rtol=1e-5)
    np.save(tmp_path / "a.npy", x)
    unnamed = untrained(data.load(tmp_path / "a.npy"))
    form = forms.of(unnamed.model, unnamed.dataset, unnamed.preprocess, {})
    np.testing.assert_allclose(form.array(form.of_array(x), x), x, rtol=1e-5, atol=1e-5)
    beyond = trained.dataset.schema.codes({n: x[:, i] for i, n in enumerate("abc")})
    np.testing.assert_array_equal(beyond, x)
    assert "fill it in first" in told(lambda: trained.encode(np.full((1, 3), np.nan)))
    assert "inf in row 1, column 'a': correct it" in told(lambda: trained.encode([[np.inf, 1, 1]]))
    assert "training had 3 columns: give [N, 3]" in told(lambda: trained.encode(x[:, :2]))


def told(act):
    with pytest.raises((DataError, UsageError)) as error:
        act()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_tables_of_zeros_and_ones_are_filled_with_them(tmp_path):
    x = RNG.integers(0, 2, (20, 3))
    (tmp_path / "a.csv").write_text(text(dict(zip("abc", x.T.tolist(), strict=True))))
    trained = untrained(data.load(tmp_path / "a.csv"))
    gaps = {**dict(zip("abc", x.T.tolist(), strict=True)), "b": ["", *x[1:, 1].tolist()]}
    found, _ = work(trained, "impute", as_table(gaps), num_samples=3)
    assert found.column("a").to_pylist() == [str(v) for v in x[:, 0]]
    assert found.column("b").to_pylist()[1:] == [str(v) for v in x[1:, 1]]
    assert float(found.column("b")[0].as_py()) in (0, 1)
    assert "training had the levels 0 … 1" in told(lambda: trained.encode(2 * x + 1))


def test_integers_of_pictures_are_levels_and_floats_are_x():
    digits = data.load("digits")
    trained = untrained(digits, likelihood="gaussian")
    levels = digits.test.x[:5]
    x = np.asarray(digits.decode(levels))
    for rows in (levels, x, levels[..., 0]):
        z = trained.encode(rows, batch_size=8)
        np.testing.assert_allclose(z, trained.model.encode(trained.params, x).mode, rtol=1e-4)
    form = forms.of(trained.model, digits, trained.preprocess, {})
    np.testing.assert_array_equal(form.array(x, levels), levels)
    np.testing.assert_array_equal(form.array(x, x), x)
    restored = trained.reconstruct(levels[..., 0], batch_size=8)
    assert (restored.dtype, restored.shape) == (levels.dtype, (5, 8, 8))
    assert "training had the levels 0 … 16" in told(lambda: trained.encode(levels + 1))
    assert "give levels 0 … 16 as integers" in told(lambda: trained.encode(levels * 1.0))
    assert "rows: has shape [5, 8, 4, 1]" in told(lambda: trained.encode(levels[:, :, :4]))
    binary = untrained(digits)  # a draw of 0 or 1 for each gray level, but not for a gap
    gaps = np.where(x > 0.5, np.nan, x)
    filled = binary.impute(gaps, num_samples=3, batch_size=8)
    np.testing.assert_array_equal(filled[x <= 0.5], x[x <= 0.5])
    others = binary.impute(gaps, num_samples=3, batch_size=8, seed=1)
    assert (filled[x > 0.5] != others[x > 0.5]).any()
    assert np.isfinite(filled).all()
    made = trained.sample(2, batch_size=8)
    assert (made.dtype, made.shape) == (np.uint8, (2, 8, 8, 1))


def test_a_model_of_plain_arrays_takes_them_as_they_are():
    x = RNG.normal(size=(6, 4)).astype("f4")
    model = make_model(x, latent_dim=2, widths=(3,), likelihood="gaussian")
    trained = Trained(model, model.init(jax.random.key(0)))
    expected = model.encode(trained.params, x).mode
    np.testing.assert_allclose(trained.encode(x, batch_size=8), expected, rtol=1e-5)
    assert trained.score(x, batch_size=8).shape == (6,)
    filled = trained.impute(np.where(x > 1, np.nan, x), num_samples=3, batch_size=8)
    np.testing.assert_array_equal(filled[x <= 1], x[x <= 1])
    assert "trained on arrays without names" in told(lambda: trained.encode({"a": [1.0]}))
    assert "label='7': is for sample" in told(lambda: trained.encode(x, label="7"))
    assert "the model has no labels" in told(lambda: trained.encode({"x": x, "labels": [1] * 6}))
    assert "hold 'y' beside 'x'" in told(lambda: trained.encode({"x": x, "y": x}))


def test_rows_of_a_conditional_model_come_with_their_labels():
    x = RNG.normal(size=(6, 4)).astype("f4")
    rows = {"x": x, "labels": ["cat", "dog"] * 3}
    model = make_model(rows, objective="cvae", latent_dim=2, widths=(3,), likelihood="gaussian")
    trained = Trained(model, model.init(jax.random.key(0)))
    expected = model.given(rows["labels"]).encode(trained.params, x).mode
    np.testing.assert_allclose(trained.encode(rows, batch_size=8), expected, rtol=1e-5)
    assert "the model is conditional" in told(lambda: trained.encode(x))
    one, other = (trained.sample(4, label=name, batch_size=8) for name in ("cat", "dog"))
    assert not np.array_equal(one, other)
    assert "none of the classes 'cat', 'dog'" in told(lambda: trained.sample(4, label="cow"))


# --- What a file says


def described(mixed, **changed):
    """What an exported file says of a table, through JSON."""
    schema = [*mixed.dataset.schema.as_json()]
    told = {"kind": "table", "num_levels": None, "scaling": None, "schema": schema, **changed}
    return json.loads(json.dumps({"data": told, "settings": {"missing_values": ["?"]}}))


def test_an_exported_file_has_all_that_is_needed(mixed):
    loaded = Trained(mixed.model, mixed.params, about=described(mixed))
    expected, _ = work(mixed, "encode", as_table(COLUMNS))
    assert work(loaded, "encode", as_table(COLUMNS))[0] == expected
    columns = {**COLUMNS, "height": [cell or "?" for cell in COLUMNS["height"]]}
    assert work(loaded, "encode", as_table(columns))[0] == expected


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "pickle"},
        {"num_levels": 10**9},
        {"num_levels": True},
        {"schema": [{"name": "a", "kind": "real"}]},
        {"schema": [{"name": "a", "kind": "real", "scale": "1"}]},
        {"schema": [{"name": ["a"], "kind": "real"}]},
        {"schema": 7},
        {"scaling": {"offset": [0.0, 1.0], "scale": [1.0]}},
        {"scaling": {"offset": [0.0], "scale": [0.0]}},
        {"scaling": {"offset": ["x"], "scale": [1.0]}},
        {"scaling": [1]},
    ],
)
def test_a_file_that_describes_other_data_is_refused(mixed, changed):
    loaded = Trained(mixed.model, mixed.params, about=described(mixed, **changed))
    message = told(lambda: loaded.encode(as_table(COLUMNS)))
    assert "export the run again" in message or "schema.json" in message


def test_settings_that_do_not_exist(mixed):
    assert "setting of use=score" in told(lambda: mixed.score(typed(), num_sample=3))
    assert "unseen 'ignore' is unknown" in told(lambda: mixed.score(typed(), unseen="ignore"))
    assert "use 'scores' is unknown" in told(lambda: mixed.apply("scores", typed()))
    assert "num=0: must be an integer, at least 1" in told(lambda: mixed.sample(0))
