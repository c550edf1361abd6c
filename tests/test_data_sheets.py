"""Sheets of Excel files give what a CSV file of the same table gives."""

import builtins
import datetime
import zipfile

import numpy as np
import pytest

from vae_jax import data
from vae_jax.errors import DataError, UsageError

N = 30
SPLITS = ("train", "valid", "test")
RNG = np.random.default_rng(8)
DAY = datetime.datetime(2025, 1, 1)
TABLE = {
    "": list(range(N)),
    "size": np.round(RNG.normal(size=N), 3).tolist(),
    "visits": [None, *RNG.integers(0, 9, N - 1).tolist()],
    "zip": [f"0{1000 + i % 4}" for i in range(N)],
    "when": [DAY + datetime.timedelta(days=i) for i in range(N)],
    "is_new": [bool(i % 3) for i in range(N)],
    "share": [f"{i}.{i % 10} %" for i in range(N)],
    "label": ["oak", "elm", "ash"] * (N // 3),
}


def csv(path):
    table = {**TABLE, "when": [day.date() for day in TABLE["when"]]}
    rows = [table, *zip(*table.values(), strict=True)]
    lines = [",".join("" if cell is None else str(cell) for cell in row) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def xlsx(path, table=TABLE, above=0, beside=0, names=True, **sheets):
    openpyxl = pytest.importorskip("openpyxl", reason="needs the extra excel")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, own in {"first": table, **sheets}.items():
        sheet = book.create_sheet(title)
        rows = [[*own]] * names + [list(row) for row in zip(*own.values(), strict=True)]
        for _ in range(above):
            sheet.append([])
        for row in rows:
            sheet.append([None] * beside + [None if cell == "" else cell for cell in row])
    book.save(path)
    return path


def refused(match, *args, **options):
    with pytest.raises((DataError, UsageError), match=match) as caught:
        data.load(*args, **options)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("above", "beside"), [(0, 0), (2, 1)])
def test_a_sheet_is_what_a_csv_file_is(tmp_path, above, beside):
    first = data.load(csv(tmp_path / "a.csv"))
    second = data.load(xlsx(tmp_path / "a.xlsx", above=above, beside=beside))
    assert first.schema == second.schema
    kinds = {column.name: column.kind for column in first.schema.columns}
    assert (kinds[""], kinds["zip"], kinds["when"]) == ("index", "categorical", "date")
    for split in SPLITS:
        own = [getattr(dataset, split) for dataset in (first, second)]
        np.testing.assert_array_equal(own[0].x, own[1].x)
        np.testing.assert_array_equal(own[0].labels, own[1].labels)


def test_a_sheet_is_named_behind_the_path(tmp_path):
    other = {name: values[:9] for name, values in TABLE.items()}
    path = xlsx(tmp_path / "a.xlsx", second=other)
    refused("has several sheets: give a.xlsx#first, one of 'first', 'second'", path)
    refused("has no sheet 'third'", f"{path}#third")
    dataset = data.load(f"{path}#first", test_data=f"{path}#second")
    assert (len(dataset.test), dataset.name) == (9, "a")
    assert len(data.load("a.xlsx#second", data_dir=tmp_path).train) == 9 - 2
    refused("no such file", "b.xlsx#second")


def test_rows_without_names_and_titles(tmp_path):
    numbers = dict.fromkeys("ab", TABLE["size"])
    dataset = data.load(xlsx(tmp_path / "a.xlsx", numbers, names=False))
    assert (sum(len(getattr(dataset, s)) for s in SPLITS), dataset.columns) == (N, ("f0", "f1"))
    years = dict(zip([2019, 2020], numbers.values(), strict=True))
    assert data.load(xlsx(tmp_path / "b.xlsx", years), csv="header=yes").columns == ("2019", "2020")
    titled = {"Report of 2025": ["a", *numbers["a"]], "": ["b", *numbers["b"]]}
    refused(
        "names 1 of 2 columns: name each column in it, or delete it if",
        xlsx(tmp_path / "c.xlsx", titled),
    )
    refused("holds no cells", xlsx(tmp_path / "d.xlsx", {"": [None] * 3}))


def test_damaged_files_are_one_line(tmp_path):
    whole = xlsx(tmp_path / "a.xlsx").read_bytes()
    path = tmp_path / "b.xlsx"
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook")
    broken = (tmp_path / "c.zip").read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"PK" + whole[:99:-1], b"a,b\n1,2\n", broken):
        path.write_bytes(content)
        refused("not a readable .xlsx file", path)


def test_without_the_extra_a_line_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    imports = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "openpyxl":
            raise ImportError(name)
        return imports(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    refused(r"needs openpyxl: pip install 'vae_jax\[excel\]', or save", tmp_path / "a.xlsx")
