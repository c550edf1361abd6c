"""Tables as strangers write them: lines, names, splits, labels and numbers, read or refused."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from vae_jax import data, labels, schema
from vae_jax.data import _csv, _dataset, _spelling, _values
from vae_jax.errors import DataError, UsageError
from vae_jax.lab import config, description, train

RNG = np.random.default_rng(0)
X = np.round(RNG.normal(size=(60, 3)), 3)
CODES = np.arange(60) % 3
TREES = np.array(["ash", "elm", "oak"])[CODES]
SPLITS = ("train", "valid", "test")


def load(path, **options):
    return data.load(str(path), scaling="none", **options)


def refused(path, match, **options):
    with pytest.raises(DataError, match=match) as caught:
        load(path, **options)
    assert len(str(caught.value).splitlines()) == 1


def written(folder, *, separator=",", names=("a", "b", "c"), above="", encoding="utf-8", **more):
    """A CSV file of X and more columns; names=None: without a first line of names."""
    path = folder / "a.csv"
    lines = [] if names is None else [separator.join([*names, *more])]
    rows = zip(*X.T.tolist(), *more.values(), strict=True)
    lines += [separator.join(map(str, row)) for row in rows]
    path.write_bytes((above + "\n".join(lines) + "\n").encode(encoding))
    return path


def rows_of(dataset):
    return sorted(map(tuple, np.concatenate([getattr(dataset, s).x for s in SPLITS]).tolist()))


def labels_of(dataset):
    """Label of each row, by its first number."""
    found = {}
    for split in SPLITS:
        own = getattr(dataset, split)
        for x, label in zip(np.asarray(own.x), own.labels, strict=True):
            found[float(x[0])] = None if label < 0 else dataset.classes[label]
    return [found[float(np.float32(row[0]))] for row in X]


def said(dataset, text):
    assert any(text in note for note in dataset.notes), dataset.notes


WHOLE = sorted(map(tuple, X.astype(np.float32).tolist()))


# --- The first line


@pytest.mark.parametrize(
    ("more", "width"),
    [
        ({"label": TREES}, 3),
        ({"label": [f"tree {name}" for name in TREES]}, 3),
        ({"id": 842302 + np.arange(60), "label": TREES}, 4),
    ],
)
def test_a_first_line_of_values_is_a_row_and_its_words_are_labels(tmp_path, more, width):
    dataset = load(written(tmp_path, names=None, **more))
    assert dataset.shape == (width,)
    assert [row[:3] for row in rows_of(dataset)] == WHOLE
    assert labels_of(dataset) == list(more["label"])
    said(dataset, "the first line holds values, not names: taken as data")
    said(dataset, "the only one of words, taken as labels")
    if width == 4:
        said(dataset, "'f3' holds another whole number in each row: if these are identifiers")


@pytest.mark.parametrize("mark", ["?", "", "NA", "-"])
def test_a_mark_in_a_first_line_of_values_is_no_name(tmp_path, mark):
    path = written(tmp_path, names=None, d=[mark, *range(59)])
    refused(path, "missing_values=", kinds="numeric")
    own = {"missing_values": [mark or "NA"]}
    assert len(rows_of(load(path, **own, kinds="numeric"))) == 59
    rows = np.array(rows_of(load(path, **own)))
    assert (len(rows), np.isnan(rows).sum()) == (60, 1)


FIRST = {
    # names: (first line, a line below)
    "words": ("a,b,c", "1.5,2,3"),
    "words above numbers": ("age,7,c", "1.5,2,3"),
    "years": ("2019,2020", "1250,1300"),
    "a year": ("city,2020", "Rome,2800"),
    "columns of pandas": (",0,1,2", "0,.5,.1,.3"),
    "columns of pandas above whole numbers": ("0,1,2,3", "7,3,3,9"),
    "pixels": ("0,1,2,3,4,5,6,7,8", "9,0,4,255,3,0,0,7,1"),
    "wavelengths": ("400.5,401.5,403,404,406,410,412", ".5,.2,.3,.1,.2,.4,.1"),
    "a label": ("label,1,2,3", "ash,.2,.1,.9"),
    "quoted": ('"1","?"', "3,5"),
    # values
    "numbers": ("5,1,3", "4,2,7"),
    "as many numbers as words": ("39,Private,7,Male", "50,State,13,Male"),
    "a row that runs up as the others do": ("0,1,2,3,4,5,6,7", "1,3,4,5,6,7,8,9"),
    "points of a line": ("0,0", "1,1"),
    "unsorted": ("5.1,3.5,setosa", "4.9,3.0,setosa"),
    "quoted as the others": ('"5","1"', '"3","2"'),
}


@pytest.mark.parametrize("kind", FIRST)
def test_names_are_told_from_values(tmp_path, kind):
    first, below = FIRST[kind]
    path = tmp_path / "a.csv"
    path.write_text("\n".join([first, *[below] * 4]))
    is_named = list(FIRST).index(kind) <= list(FIRST).index("quoted")
    assert _csv.sniff(path).is_named == is_named


# --- How the file is written


@pytest.mark.parametrize("separator", [";", "\t", "|", " "])
def test_separators_are_found(tmp_path, separator):
    dataset = load(written(tmp_path, separator=separator, label=TREES))
    assert rows_of(dataset) == WHOLE
    assert labels_of(dataset) == TREES.tolist()
    said(dataset, "cells are separated by ")


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_comma_may_be_that_of_decimals(tmp_path, separator):
    path = written(tmp_path, separator=separator, label=TREES)
    path.write_text(path.read_text().replace(".", ","))
    dataset = load(path)
    assert rows_of(dataset) == WHOLE
    said(dataset, "commas in 'a', 'b', 'c' read as those of decimals")


@pytest.mark.parametrize(
    ("above", "separator"),
    [
        ("sep=;\n", ";"),
        ("sep=,\n", ","),
        ("# by me, in 2020\n#\n", ","),
        ("\ufeff", ","),
        ("\n\n", ","),
    ],
)
def test_lines_above_the_header_are_skipped(tmp_path, above, separator):
    dataset = load(written(tmp_path, separator=separator, above=above, label=TREES))
    assert dataset.columns == ("a", "b", "c")
    assert rows_of(dataset) == WHOLE


def test_names_may_stand_in_a_comment(tmp_path):
    np.savetxt(tmp_path / "a.csv", X, delimiter=",", header="a,b,c")
    dataset = load(tmp_path / "a.csv")
    assert dataset.columns == ("a", "b", "c")
    assert rows_of(dataset) == WHOLE


@pytest.mark.parametrize(
    ("encoding", "told"), [("utf-16", "UTF-16"), ("cp1252", "cp1252"), ("latin-1", "cp1252")]
)
def test_other_encodings_are_read_and_said(tmp_path, encoding, told):
    names = ["chêne", "orme", "frêne"]
    words = [names[code] for code in CODES]
    dataset = load(written(tmp_path, names=("a", "b", "°C"), encoding=encoding, label=words))
    assert dataset.columns == ("a", "b", "°C")
    assert labels_of(dataset) == words
    said(dataset, told)


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        ("a,b\n1,2\n3,4,5\n", "first line has 2 cells, 1 of 2 lines .* such as 3, '3,4,5'"),
        ("a,b\n1,2,\n3,4,\n", "all 2 lines below it have more or fewer, such as 3, '1,2,'"),
        ("a;b\n1;2\n3;4;5\n6;7\n", "first line has 2 cells, 1 of 3 lines"),
        ("a   b\n1   2\n13  4\n", "cells are separated by spaces: give commas"),
        ("a\0,\0b\0\n\0", "holds bytes of value 0"),
    ],
)
def test_files_that_are_no_table_are_refused(tmp_path, lines, match):
    (tmp_path / "a.csv").write_text(lines)
    refused(tmp_path / "a.csv", match)


# --- Splits

THIRDS = np.array(["train", "val", "test"])[CODES]
IS_TRAIN, IS_TEST = CODES == 0, CODES == 2


@pytest.mark.parametrize(
    ("columns", "sizes"),
    [
        ({name: THIRDS}, [20, 20, 20])
        for name in ("split", "Partition", "set", "subset", "fold", "Usage", "data_split")
    ]
    + [
        ({"is_train": IS_TRAIN, "is_test": IS_TEST}, [20, 20, 20]),
        ({"is_train": IS_TRAIN.astype(int), "is_val": (CODES == 1).astype(int)}, [20, 20, 20]),
        ({"isTest": np.where(IS_TEST, "yes", "no")}, [36, 4, 20]),
        ({"is_train": IS_TRAIN}, [18, 2, 40]),
    ],
)
def test_columns_may_say_the_splits(tmp_path, columns, sizes):
    dataset = load(written(tmp_path, **columns))
    assert [len(getattr(dataset, split)) for split in SPLITS] == sizes
    assert dataset.columns == ("a", "b", "c")
    said(dataset, "taken as the splits of the rows")
    if sizes == [20] * 3:
        kept = X[CODES == 2].astype(np.float32)
        np.testing.assert_array_equal(dataset.test.x, kept)


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"split": np.where(IS_TEST, "spare", THIRDS)}, "and 'spare' in 20 rows: write train"),
        ({"split": np.where(IS_TEST, "", THIRDS)}, "and '' in 20 rows: write train"),
        ({"Usage": np.array(["Training", "PublicTest", "PrivateTest"])[CODES]}, "'PublicTest'"),
        ({"Split": CODES}, "column 'Split' holds 0, 1, 2, which do not say what is train"),
        ({"fold": np.arange(60) % 10}, "'fold' holds 0, 1, 2, 3, 4, 5, …, which do not say"),
        ({"is_train": np.where(IS_TEST, "", "1")}, "column 'is_train' holds '': write true"),
        ({"is_train": IS_TRAIN, "is_test": ~IS_TEST}, "do not say one split for each row"),
        ({"split": THIRDS, "is_test": IS_TEST}, "'split', 'is_test' all say splits"),
        ({"split": np.where(IS_TEST, "val", "test")}, "and no train"),
    ],
)
def test_columns_that_say_splits_and_not_which_are_refused(tmp_path, columns, match):
    refused(written(tmp_path, **columns), match)


@pytest.mark.parametrize(
    "columns",
    [
        {"set": np.arange(60)},
        {"kind": np.where(IS_TEST, "train", "bus")},
        {"is_valid": IS_TEST.astype(int)},
        {"subsets": THIRDS == "x"},
        {"test": RNG.normal(size=60)},
    ],
)
def test_columns_that_say_no_splits_are_columns_like_others(tmp_path, columns):
    dataset = load(written(tmp_path, **columns))
    assert [len(getattr(dataset, split)) for split in SPLITS] == [48, 6, 6]


# --- Labels

UNKNOWN = ["", "None", "NA", "N/A", "?", "-", "null", "nan", "NaN", "NONE", " ", "-1"]


@pytest.mark.parametrize("word", UNKNOWN)
@pytest.mark.parametrize("known", [["ash", "elm"], [7, 12]])
def test_words_for_unknown_are_no_class_in_any_format(tmp_path, word, known):
    kinds = [word, *known]
    values = [kinds[code] for code in CODES]
    wanted = [None if value == word else value for value in values]
    dataset = load(written(tmp_path, label=values))
    assert dataset.classes == tuple(known)
    assert labels_of(dataset) == wanted
    said(dataset, f"20 of 60 labels are unknown ({word.strip() or 'blank'})")
    if word.strip():
        assert load(tmp_path / "a.csv", missing_values=[word]).classes == tuple(known)
    words = [str(value) for value in values]
    table = pa.table({**dict(zip("abc", X.T, strict=True)), "label": words})
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    np.savez(tmp_path / "a.npz", x=X, y=np.array(words))
    for name in ("a.parquet", "a.npz"):
        dataset = load(tmp_path / name)
        # text stays text where files have types
        assert labels_of(dataset) == [None if value is None else str(value) for value in wanted]


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["01", "02", "10"], ("01", "02", "10")),
        (["1", "2", "10"], (1, 2, 10)),
        (["1.0", "2.0", "?"], (1, 2)),
        (["1", "two", "3"], ("1", "3", "two")),
        (["True", "false", ""], (0, 1)),
        ([" ash", "elm ", "elm"], ("ash", "elm")),
        (["-1", "1", "?"], (-1, 1)),
        (["2020-01-01", "2020-01-02", "2020-01-01"], ("2020-01-01", "2020-01-02")),
    ],
)
def test_labels_of_a_csv_are_what_is_written(tmp_path, values, classes):
    assert load(written(tmp_path, label=[values[code] for code in CODES])).classes == classes


def test_labels_that_differ_in_case_alone_are_named(tmp_path):
    dataset = load(written(tmp_path, label=np.array(["oak", "Oak", "elm"])[CODES]))
    said(dataset, "the labels 'Oak', 'oak' differ in upper and lower case alone")


KINDS = {
    "binary": pa.array([name.encode() for name in TREES]),
    "latin-1": pa.array([f"{name}é".encode("latin-1") for name in TREES]),
    "string_view": pa.array(TREES.tolist(), pa.string_view()),
    "large_string": pa.array(TREES.tolist(), pa.large_string()),
    "dictionary": pa.array(TREES).dictionary_encode(),
    "dictionary of binary": pa.array([name.encode() for name in TREES]).dictionary_encode(),
    "decimal": pa.array(CODES).cast(pa.decimal128(30, 2)),
    "uint8": pa.array(CODES).cast(pa.uint8()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_every_type_of_parquet_are_read(tmp_path, kind):
    table = pa.table({**dict(zip("abc", X.T, strict=True)), "label": KINDS[kind]})
    try:
        pa.parquet.write_table(table, tmp_path / "a.parquet")
    except pa.ArrowNotImplementedError:
        pytest.skip(f"PyArrow {pa.__version__} writes no Parquet of {kind}")
    dataset = load(tmp_path / "a.parquet")
    end = "é" if kind == "latin-1" else ""
    wanted = CODES.tolist() if kind in ("decimal", "uint8") else [f"{t}{end}" for t in TREES]
    assert labels_of(dataset) == wanted


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (CODES + 0.5, r"no labels \(labels are neither whole numbers nor words \(0.5\): left out"),
        ([[1], [2, 3]] * 30, r"no labels \(column 'label' is list<.*>: left out\)"),
    ],
)
def test_an_objective_that_wants_labels_says_why_there_are_none(tmp_path, values, match):
    table = pa.table({**dict(zip("abc", X.T, strict=True)), "label": list(values)})
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    given = {"objective": "cvae", "dataset": str(tmp_path / "a.parquet"), "widths": "4"}
    with pytest.raises(DataError, match=match):
        train.prepare([config.from_flags({**given, "latent_dim": "2"})])


def test_a_class_that_train_lacks_is_named(tmp_path):
    kinds = np.where(THIRDS == "test", "yew", TREES)
    kinds[0] = "elm"
    dataset = load(written(tmp_path, split=THIRDS, label=kinds))
    said(dataset, "the classes 'yew' have rows in test and none in train")


@pytest.mark.parametrize("given", [["ash "], [" ash"]])
def test_spaces_around_a_label_are_none_of_it(given):
    assert labels.indices(given, ("ash", "elm"), what="labels") == [0]
    assert labels.indices(["ash"], ("ash ", "elm"), what="labels") == [0]
    with pytest.raises(UsageError, match="'ash' stands more than once"):
        labels.indices(given, ("ash", "ash "), what="labels")


def test_words_that_say_unknown_are_the_same_for_arrays():
    for word in UNKNOWN:
        given = np.array([int(word) if word == "-1" else word, "ash"], object)
        found = labels.indices(given, ("ash", "elm"), what="y", may_be_unknown=True)
        assert found.tolist() == [-1, 0]


@pytest.mark.parametrize(
    ("num_known", "given", "kept"), [(25, None, 20), (60, None, 48), (60, "30", 30)]
)
def test_m2_keeps_the_labels_that_there_are_unless_it_is_told_how_many(
    tmp_path, num_known, given, kept
):
    path = written(tmp_path, label=np.where(np.arange(60) < num_known, TREES, ""))
    flags = {"objective": "m2", "dataset": str(path), "widths": "4", "latent_dim": "2"}
    experiment = train.prepare([config.from_flags({**flags, "num_labeled": given})])
    own = experiment.conditions.train["labels"]
    num_there = int(np.sum(data.load(str(path)).train.labels >= 0))
    assert np.sum(own >= 0) == min(num_there, kept if given else 100)
    told = [line for line in description.describe(experiment) if "kept by default" in line]
    assert len(told) == (given is None)
    assert dict(experiment.config.hyperparameters)["num_labeled"] == (given or "100")


# --- Numbers


@pytest.mark.parametrize(
    ("cells", "match"),
    [
        (["?"] * 40 + [str(v) for v in X[:20, 0]], "40 of 60 cells are none, .*='\\?'$"),
        (["?"] * 40 + ["1", "2"] * 10, "40 of 60 cells are none"),
        (["<0.1"] * 40 + [str(v) for v in X[:20, 0]], "40 of 60 cells are none, .*='<0.1'$"),
        ([f"{v}%" for v in X[:59, 0]] + ["3"], "59 of 60 in 'd', such as '0.126%': write 0.126"),
        ([f"${v}" for v in X[:, 1] ** 2], "numbers written in another way"),
        ([f'"{int(v):,}"' for v in 1e3 * abs(X[:, 0]) % 1e3 + 1e3], "'1,126': write 1126 or 1.126"),
        ([f'"{int(v):,}"' for v in 1e6 * abs(X[:58, 0]) + 1e3] + ["7000"] * 2, "in another way"),
        ([f'"{v:.3f}"'.replace(".", ",") for v in X[:, 0]], "decimal commas in 'd' and decimal"),
        ([f"({v})" for v in abs(X[:, 0])], "such as '\\(0.126\\)': write -0.126 instead"),
        ([f"{v} kg" for v in X[:, 0]], "such as '0.126 kg': write 0.126 instead"),
        ([f"−{v}" for v in abs(X[:, 0])], "written in another way"),
    ],
)
def test_no_column_of_numbers_is_lost_for_how_it_is_written(tmp_path, cells, match):
    refused(written(tmp_path, d=cells), match)


NUMBERS = np.round(1e4 * np.abs(RNG.normal(size=60)) + 1e6, 1)


def grouped(value, group=",", decimal="."):
    text = f"{value:,.1f}".replace(",", "_").replace(".", decimal).replace("_", group)
    return f'"{text}"'


@pytest.mark.parametrize(
    ("notation", "spell"),
    [
        ("1,234.5", grouped),
        ("1.234,5", lambda v: grouped(v, ".", ",")),
        ("1'234.5", lambda v: grouped(-v, "'")),
        ("1\u202f234,5", lambda v: grouped(v, "\u202f", ",")),
        ("1234,5", lambda v: f'"{v}"'.replace(".", ",")),
        ("1234.5 %", lambda v: f"{v} %"),
        ("1234.5 %", lambda v: f"{v}%"),
        ("1.234,5 %", lambda v: grouped(v, ".", ",").replace('"', "") + " %"),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_numbers_are_read_as_they_are_written_and_it_is_said(tmp_path, notation, spell, ending):
    cells = ["", *map(spell, NUMBERS[1:])]
    if ending == "parquet":
        path = tmp_path / "a.parquet"
        pa.parquet.write_table(pa.table({"d": [cell.strip('"') for cell in cells]}), path)
    else:
        names = [f'"{cell}"' if "," in cell and '"' not in cell else cell for cell in cells]
        path = tmp_path / "a.csv"
        path.write_text("d,e\n" + "\n".join(f"{cell},{i % 7}" for i, cell in enumerate(names)))
    dataset = data.load(path, scaling="none", kinds="d=real")
    sign = -1 if notation[1] == "'" else 1
    held = [getattr(dataset, s).x[:, 0] for s in SPLITS]
    found = np.sort(np.concatenate(held)[~np.isnan(np.concatenate(held))])
    np.testing.assert_array_equal(found, np.sort(sign * NUMBERS[1:]).astype(np.float32))
    column = dataset.schema.columns[0]
    assert column.notation == notation
    told = notation.replace("\u202f", " ")
    assert f"as it is, written as {told}" in dataset.schema.lines(200)[1]
    # rows in words, and of a second table in which no cell tells
    word = cells[1].strip('"')
    x = dataset.schema.encode({"d": [word], "e": [0]} if ending == "csv" else {"d": [word]})
    assert x[0, 0] == np.float32(sign * NUMBERS[1])
    assert schema.from_json(json.loads(json.dumps(dataset.schema.as_json()))) == dataset.schema


def test_a_second_table_is_written_as_the_first(tmp_path):
    """1.234 of it is 1234, as the first table tells."""
    path, other = tmp_path / "a.csv", tmp_path / "b.csv"
    path.write_text("d;e\n" + "".join(f"1.{i:03},5;{i}\n" for i in range(30)))
    other.write_text("d;e\n" + "".join(f"1.{i:03};{i}\n" for i in range(9)))
    dataset = data.load(path, scaling="none", test_data=other)
    np.testing.assert_array_equal(dataset.test.x[:, 0], 1000 + np.arange(9))


def test_what_has_two_readings_is_read_as_it_is_set(tmp_path):
    cells = [f'"1,{i:03}"' for i in range(60)]
    path = written(tmp_path, d=cells)
    for decimal, factor in {"point": 1, "comma": 1e-3}.items():
        if decimal == "comma":
            path = written(tmp_path, d=[cell.replace(",", ".").strip('"') for cell in cells])
            path.write_text(path.read_text().replace(".", "_").replace(",", ";").replace("_", ","))
        dataset = load(path, csv=f"decimal={decimal}", ignore=["a", "b", "c"])
        found = [row[0] for row in rows_of(dataset)]
        np.testing.assert_allclose(found, factor * (1000 + np.arange(60)), rtol=1e-6)
    # groups of a column that could be plain numbers
    path.write_text("d;e\n" + "".join(f"1.{i:03};{i}\n" for i in range(60)))
    found = [row[0] for row in rows_of(load(path, csv={"decimal": "comma"}))]
    np.testing.assert_array_equal(found, 1000 + np.arange(60))


@pytest.mark.parametrize("separator", ["|", "\t", ";"])
def test_how_a_file_is_written_may_be_set(tmp_path, separator):
    name = {"|": "bar", "\t": "tab", ";": "semicolon"}[separator]
    path = written(tmp_path, separator=separator, names=("1", "2", "3"))
    assert rows_of(load(path, csv=[f"separator={name}", "header=yes"])) == WHOLE
    assert len(rows_of(load(path, csv="header=no"))) == 61
    path = written(tmp_path, label=["řepa", "elm"] * 30, encoding="cp1250")
    assert "řepa" in load(path, csv="encoding=cp1250").classes


@pytest.mark.parametrize(
    ("csv", "match"),
    [
        ("decimal=dot", "must be decimal=point or decimal=comma"),
        ("mark=comma", "setting 'mark'"),
        ("encoding=hex", "must be an encoding of text"),
        ("encoding=nonsense", "must be an encoding of text"),
        (3, "must be settings"),
        ({"header": 3}, "must be header=yes or header=no"),
    ],
)
def test_settings_of_csv_that_are_none_are_refused(tmp_path, csv, match):
    with pytest.raises(UsageError, match=match):
        load(written(tmp_path), csv=csv)


def test_an_encoding_that_is_set_and_wrong_is_said(tmp_path):
    path = written(tmp_path, label=["řepa", "elm"] * 30, encoding="cp1250")
    refused(path, "is not in the encoding ascii", csv="encoding=ascii")


ZIPS = [f"0{1000 + 7 * (i % 9)}" for i in range(60)]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (ZIPS, "categorical"),
        (["", *ZIPS[1:]], "categorical"),
        ([f"{i:03}" for i in range(60)], "identifier"),
        ([f"0{i // 2:03}" for i in range(60)], "categorical"),
        ([f"0{i - i % 2 * (i < 40):03}" for i in range(60)], "identifier"),
        ([f"+4930{10000 + i}" for i in range(60)], "identifier"),
        (["0", "7", "10"] * 20, "count"),
        (["00.5", "07.5", "10.0"] * 20, "real"),
        (["+5", "-3", "+2"] * 20, "real"),
    ],
)
def test_codes_of_digits_are_never_numbers(tmp_path, cells, kind, ending):
    path = tmp_path / f"a.{ending}"
    table = {"d": cells, "e": list(TREES)}
    lines = ["d,e", *map(",".join, zip(*table.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n")
    if ending == "parquet":
        pa.parquet.write_table(pa.table(table), path)
    dataset = data.load(path)
    column = dataset.schema.columns[0]
    assert column.kind == kind
    if kind == "categorical":
        assert [*column.levels] == sorted({*cells} - {""})
        said(dataset, "take kinds=d=real")
        assert data.load(path, kinds="d=real").schema.columns[0].kind == "real"
    before = data.load(path, kinds="numeric", missing_values=["NA"])
    assert before.columns == ("d",)


def test_all_cells_that_are_no_numbers_are_named_at_once(tmp_path):
    marks = [np.where(np.arange(60) == i, mark, "1.5") for i, mark in enumerate(["?", "-", "?"])]
    path = written(tmp_path, d=marks[0], e=marks[1], f=marks[2])
    refused(path, "'d' holds numbers, .* so do cells of 'e', 'f': .* missing_values='\\?,-'$")
    assert len(rows_of(load(path, missing_values=["?", "-"], kinds="numeric"))) == 57


def test_a_row_of_units_is_told(tmp_path):
    path = written(tmp_path)
    path.write_text(path.read_text().replace("\n", "\nm,kg,s\n", 1))
    refused(path, "first row holds 'm', 'kg', 's', units perhaps, .*missing_values=m,kg,s$")
    assert rows_of(load(path, missing_values=["m", "kg", "s"])) == WHOLE


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        *(("2020-01-{:02}", "date"), ("12:{:02}", "real"), ("12:{:02}:01", "real")),
        *((c, "categorical") for c in ("1.{}.3", "192.168.0.{}", "A{}", "<{}K", "10-{}")),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_words_with_digits_stay_words(tmp_path, cell, kind, suffix):
    cells = [cell.format(i % 28 + 1) for i in range(60)]
    path = written(tmp_path, d=cells)
    if suffix == "parquet":
        path = tmp_path / "a.parquet"
        table = {**dict(zip("abc", X.T, strict=True)), "d": cells}
        pa.parquet.write_table(pa.table(table), path)
    said(load(path, kinds="numeric"), "left out the columns 'd' (not numeric, ")
    assert load(path).schema.columns[-1].kind == kind


def test_a_few_numbers_with_units_are_categories(tmp_path):
    path = written(tmp_path, d=["36 months", "60 months"] * 30)
    assert load(path).schema.columns[-1].levels == ("36 months", "60 months")


# --- Indices

COUNT, MIXED, GAPS = np.arange(30) + 1, RNG.permutation(30) + 1, 3 * RNG.permutation(30)
RULE = {
    "index": (True, True, True),
    "rowid": (True, True, True),
    "S/N": (True, True, False),
    "sample": (True, True, False),
    "Sr. No.": (True, True, False),
    "no": (True, False, False),
    "userid": (True, True, True),
    "user_id": (True, True, True),
    "": (True, True, True),
    "grid": (False, False, False),
    "humid": (False, False, False),
    "7": (False, False, False),
    "n": (False, False, False),
    "sample_size": (False, False, False),
    "year": (False, False, False),
}


@pytest.mark.parametrize("name", RULE)
def test_an_index_is_known_by_its_name_and_its_values(name):
    for values, wanted in zip((COUNT, MIXED, GAPS), RULE[name], strict=True):
        facts = {
            "is_distinct": True,
            "is_run": values is not GAPS,
            "is_counting": values is COUNT,
        }
        assert (_spelling.column(name, **facts) is not None) == wanted, values
    repeated = dict.fromkeys(("is_distinct", "is_run", "is_counting"), False)
    assert (_spelling.column(name, **repeated) is not None) == (name == "user_id")


@pytest.mark.parametrize(("name", "width"), [("grid", 4), ("sample", 3), ("S/N", 3), ("rowid", 3)])
def test_indices_are_left_out_of_a_table(tmp_path, name, width):
    assert load(written(tmp_path, **{name: RNG.permutation(60) + 1})).shape == (width,)


@pytest.mark.parametrize(("start", "width"), [(0, 3), (1, 3), (2, 4)])
def test_a_number_that_counts_the_rows_is_left_out(tmp_path, start, width):
    assert load(written(tmp_path, no=np.arange(60) + start)).shape == (width,)


def test_columns_are_standardized_over_all_blocks(monkeypatch):
    """Blocks whose means differ: their own deviations are not that of the column."""
    monkeypatch.setattr(_dataset, "rows_per_block", lambda *_: 7)
    x = X + np.arange(60)[:, None]
    mean, deviation = _values._moments(x)
    np.testing.assert_allclose(mean[0], x.mean(axis=0))
    np.testing.assert_allclose(deviation[0], x.std(axis=0))


# --- Values that outweigh all others


@pytest.mark.parametrize(
    ("far", "is_named"),
    [([1e12], True), ([-999.0], True), ([1e12, 1e12, -999], True), ([5.0], False), ([], False)],
)
def test_a_few_values_that_outweigh_all_others_are_named_in_small_tables(tmp_path, far, is_named):
    column = X[:, 0].copy()
    column[: len(far)] = far
    path = written(tmp_path, d=column, split=["train"] * 50 + ["val", "test"] * 5)
    told = [note for note in data.load(str(path)).notes if "outweigh all others" in note]
    assert bool(told) == is_named
    if is_named:
        assert "column 'd'" in told[0]
        marks = told[0].partition("missing_values=")[2].split(",")
        kept = data.load(str(path), missing_values=marks)
        assert not any("outweigh" in note for note in kept.notes)


def test_a_rare_value_does_not_dominate(tmp_path):
    rare = (np.arange(60) == 7).astype(float)
    assert not any("outweigh" in note for note in data.load(str(written(tmp_path, d=rare))).notes)


# --- Two values


def binary_table(tmp_path, ending, high):
    x = high * (RNG.random((60, 3)) < 0.5).astype(np.uint8)
    if ending == "npy":
        np.save(tmp_path / "a.npy", x)
        return tmp_path / "a.npy", x
    path = tmp_path / f"a.{ending}"
    lines = ["a,b,c", *(",".join(map(str, row)) for row in x.tolist())]
    path.write_text("\n".join(lines) + "\n")
    if ending == "parquet":
        pa.parquet.write_table(pa.table(dict(zip("abc", x.T, strict=True))), path)
    return path, x


@pytest.mark.parametrize("ending", ["npy", "csv", "parquet"])
@pytest.mark.parametrize("high", [1, 255])
def test_tables_of_two_numbers_are_binary_unless_they_are_to_stay(tmp_path, ending, high):
    path, x = binary_table(tmp_path, ending, high)
    whole = sorted(map(tuple, (x / high).tolist()))
    dataset = data.load(path)
    assert (dataset.num_levels, dataset.likelihood) == (2, "bernoulli")
    assert rows_of(dataset) == whole
    said(dataset, f"all values are 0 or {high}: taken as binary")
    if dataset.schema is not None:
        assert {c.kind for c in dataset.schema.used} == {"binary"}
        encoded = dataset.schema.encode(dict(zip("abc", x.T, strict=True)))
        assert sorted(map(tuple, encoded.tolist())) == whole
    dataset = data.load(path, scaling="none")
    assert rows_of(dataset) == sorted(map(tuple, x.astype(float).tolist()))
    assert dataset.num_levels == (2 if high == 1 else None)
    # as counts both are the numbers themselves
    data.check(dataset, "counts", what="likelihood=poisson")
    if high == 255:
        assert (dataset.low, dataset.high, dataset.likelihood) == (0, 255, "gaussian")


def test_a_number_that_a_block_of_the_file_cuts_is_no_code():
    """Else a large file is read a second time, as text."""
    assert not _csv.has_zeros(b"045,1.5\n", b",")
    assert _csv.has_zeros(b"\n045,1.5\n", b",")
    assert _csv.has_zeros(b'"1","045"', b",")
    assert not _csv.has_zeros(b"\n0.45,0\n", b",")
