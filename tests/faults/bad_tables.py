"""Damaged tables and other files that nothing can be learned from: each damage × format."""

import gzip
import io
import zipfile
import zlib

import numpy as np

NUM = 40
RNG = np.random.default_rng(4)
COLUMNS = {
    "size": RNG.normal(size=NUM).round(3),
    "count": RNG.integers(0, 9, NUM),
    "city": np.array(["Oslo", "Lima", "Pune"])[RNG.integers(0, 3, NUM)],
}


def lines(separator: str = ",", **more) -> list[str]:
    """The lines of a table, with more columns."""
    table = {**COLUMNS, **more}
    rows = zip(*table.values(), strict=True)
    return [separator.join(table), *(separator.join(map(str, row)) for row in rows)]


def text(*rows: str) -> bytes:
    """Lines as a file."""
    return ("\n".join(rows) + "\n").encode()


def with_cell(cell: str, row: int = 7) -> bytes:
    """The table with another cell in the column `size`."""
    own = lines()
    own[row] = ",".join([cell, *own[row].split(",")[1:]])
    return text(*own)


def parquet(**columns) -> bytes:
    """Columns as a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet

    buffer = io.BytesIO()
    pa.parquet.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def feather(**columns) -> bytes:
    """Columns as a Feather file."""
    import pyarrow as pa
    import pyarrow.feather

    buffer = io.BytesIO()
    pa.feather.write_feather(pa.table(columns), buffer)
    return buffer.getvalue()


def archive(**members: bytes) -> bytes:
    """Contents as an archive: the key "x_npy" is the member "x.npy"."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name.replace("_", "."), content)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    """An array as a file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def made() -> dict[str, bytes]:
    """Name → content."""
    whole, table = text(*lines()), {name: list(cells) for name, cells in COLUMNS.items()}
    stored, fed, noise = parquet(**table), feather(**table), RNG.bytes(3000)
    packed, numbers = gzip.compress(whole), npy(RNG.normal(size=(NUM, 3)))
    notes = [f"a note of number {i}" for i in range(NUM)]
    return {
        **_csv(whole, noise, notes),
        **{f"ragged_{name}.tsv": content for name, content in _ragged("\t").items()},
        "noise.tsv": noise,
        "cut.csv.gz": packed[: len(packed) // 2],
        "plain.csv.gz": whole,
        "noise.csv.gz": gzip.compress(noise),
        "emptied.csv.gz": gzip.compress(b""),
        "checksum.csv.gz": packed[:-8] + b"\0" * 8,
        "deflated.csv.gz": zlib.compress(whole),
        "cut.parquet": stored[: len(stored) // 2],
        "headless.parquet": stored[len(stored) // 2 :],
        "footless.parquet": stored[:-8],
        "emptied.parquet": b"",
        "plain.parquet": whole,
        "no_rows.parquet": parquet(**{name: cells[:0] for name, cells in table.items()}),
        "no_columns.parquet": parquet(),
        "lists.parquet": parquet(a=[[1.0, 2.0]] * NUM),
        "notes.parquet": parquet(a=notes, b=table["size"]),
        "nothing_known.parquet": parquet(a=[None] * NUM, b=[None] * NUM),
        "cut.feather": fed[: len(fed) // 2],
        "emptied.feather": b"",
        "plain.feather": whole,
        "no_rows.feather": feather(**{name: cells[:0] for name, cells in table.items()}),
        "first_version.feather": b"FEA1" + noise + b"FEA1",
        "plain.xlsx": whole,
        "cut.xlsx": archive(a_xml=b"<a/>" * 99)[:-50],
        "no_book.xlsx": archive(a_xml=b"<a/>"),
        "no_array.npz": archive(x_npy=b"a,b\n1,2\n"),
        "cut_array.npz": archive(x_npy=numbers[:-40]),
        "parts_of_sparse.npz": archive(data_npy=npy(np.ones(3)), indices_npy=npy(np.arange(3))),
        "version.npy": numbers[:6] + b"\x09\x00" + numbers[8:],
        "records.npy": npy(np.zeros(NUM, [("a", "f8"), ("b", "i4")])),
        "plain.npy": whole,
        "emptied.txt": b"",
        "blank.txt": b"\n" * 40,
        "noise.txt": b"\xff\xfe\x00" + noise,
        "cut.wav": b"RIFF\x24\x00\x00\x00WAVEfmt ",
        "noise.wav": noise,
        "cut.tif": b"II*\x00\x08\x00\x00\x00\x01\x00",
        "noise.png": b"\x89PNG\r\n\x1a\n" + noise,
    }


def _ragged(separator: str) -> dict[str, bytes]:
    """Tables whose rows are of several lengths."""
    own = lines(separator)
    return {
        "one": text(*own[:20], own[20] + separator, *own[21:]),
        "two_tables": text(*own, *lines(separator, more=COLUMNS["size"])),
        "cut": text(*own[:-1], own[-1].partition(separator)[0]),
    }


def _csv(whole: bytes, noise: bytes, notes: list[str]) -> dict[str, bytes]:
    """Damaged CSV files: name → content."""
    grouped = [f'"1,{i:03}"' for i in range(NUM)]
    return {
        **{f"ragged_{name}.csv": content for name, content in _ragged(",").items()},
        "noise.csv": noise,
        "unmarked_utf16.csv": whole.decode().encode("utf-16-le"),
        "open_quote.csv": with_cell('"0.5'),
        "conflict.csv": text(*lines()[:9], "<<<<<<< HEAD", *lines()[9:]),
        "page.csv": b"<!DOCTYPE html>\n<html><body>\n<p>not, found</p>\n</body></html>\n",
        "json.csv": b'{"a": [1, 2, 3],\n "b": [4, 5, 6]}\n',
        "comments.csv": b"# a\n# b\n",
        "notes.csv": text("note,id", *(f"{note},K{i}" for i, note in enumerate(notes))),
        "nothing_known.csv": text("a,b", *["NA,?"] * NUM),
        "one_row.csv": text(*lines()[:2]),
        "spaces.csv": text(*(line.replace(",", "   ") for line in lines())),
        "infinite.csv": with_cell("inf"),
        "beyond_float.csv": with_cell("1e400"),
        "word.csv": with_cell("broken"),
        "units.csv": text(lines()[0], "kg,m,s", *lines()[1:]),
        "currency.csv": text(*lines(price=[f"${i}.50" for i in range(NUM)])),
        "two_readings.csv": text(*lines(price=grouped)),
        "mixed_points.csv": text(*lines(price=[f'"{i},5"' for i in range(NUM)])),
        "two_labels.csv": text(*lines(label=COLUMNS["city"], target=COLUMNS["city"])),
        "half_split.csv": text(*lines(split=["train", "spare"] * (NUM // 2))),
        "ratings.csv": text("user,item,rating", *["1,2,3", "2,3,4"] * NUM),
    }
