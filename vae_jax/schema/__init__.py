"""The kinds of the columns of a table, and the schema that says what each column is.

A kind is recognized by rules; the first that fits is used:

| order | kind | rule |
|---|---|---|
| 1 | empty, constant | no known cell; the same value wherever it is known |
| 2 | ordinal | the file gives an order of categories |
| 3 | binary | the numbers 0 and 1, or two words or truth values |
| 4 | count | whole numbers, the smallest 0 |
| 5 | positive | above 0, spanning a factor of 100, less skewed as logarithms |
| 6 | real | any other numbers |
| 7 | date | dates and times |
| 8 | categorical | words that repeat: at most 1,000 levels, 2 rows for each on average |
| 9 | identifier | words without spaces that all differ, or codes of digits ("01234") |
| 10 | text | any other words: refused |

To add one, add a class below `Kind` to a file of this package. It is found by its `name`; its
`likelihood` is a part of `likelihoods.Mixed`.
"""

import dataclasses
import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from vae_jax import aliases, discovery, likelihoods
from vae_jax.errors import DataError, UsageError, unknown
from vae_jax.schema._kind import Cells, Column, Kind, as_cells
from vae_jax.schema._numbers import NOTATION, Number
from vae_jax.schema._schema import Schema, names_of, share_missing

__all__ = [
    "NOTATION",
    "Cells",
    "Column",
    "Kind",
    "Schema",
    "as_cells",
    "from_json",
    "infer",
    "load",
    "names",
]

_ORDER = "<"


@functools.cache
def _kinds() -> dict[str, type[Kind]]:
    """All kinds by name."""
    found = {}
    for file in discovery.names(__name__):
        module = discovery.load(__name__, file, "kind")
        found |= {kind.name: kind for kind in discovery.classes(module, Kind).values()}
    return dict(sorted(found.items()))


def names() -> list[str]:
    """The names of all kinds that can be used, sorted."""
    return [name for name, kind in _kinds().items() if _has_likelihood(kind)]


def load(name: str) -> type[Kind]:
    """The kind of a name, for columns of any shape [N].

    Raises:
        UsageError: there is none.
    """
    name = aliases.canonical("kind", name)
    kind = _kinds().get(name)
    if kind is None or not _has_likelihood(kind):
        raise unknown("kind", name, names())
    return kind


def _has_likelihood(kind: type[Kind]) -> bool:
    return not kind.likelihood or kind.likelihood in likelihoods.part_names()


def infer(
    table: Mapping[str, Any],
    kinds: Mapping[str, str] | None = None,
    roles: Mapping[str, str] | None = None,
    given: Collection[str] = (),
) -> Schema:
    """The schema of a table, by the rules of this module; without units of storage.

    Args:
        table: name of each column → its values [N] or `Cells`.
        kinds: name of a column → the kind that is set for it, or its levels in order: "S<M<L".
        roles: name of a column → the kind that its name or its file suggests: "label", "index".
        given: names of columns on which a model is conditioned; numbers among them are real.

    Returns:
        A `Schema`; call `stored` with the codes of the training rows before rows are encoded.

    Raises:
        UsageError: a column that is set does not exist, or cannot be of its kind.
        DataError: a column holds text.
    """
    kinds, roles = dict(kinds or {}), dict(roles or {})
    for name in kinds:
        if name not in table:
            raise unknown("column", name, table)
    for name in given:
        if name not in table:
            raise unknown("column", name, table)
    columns = tuple(
        _given(name, as_cells(values), kinds.get(name))
        if name in given
        else _column(name, as_cells(values), kinds.get(name), roles.get(name))
        for name, values in table.items()
    )
    _refuse_text(columns, table)
    return Schema(columns, load)


def _column(name: str, cells: Cells, asked: str | None, role: str | None) -> Column:
    """The description of a column [N], with the kind that is asked for, suggested, or fits."""
    levels: tuple = ()
    if asked is not None and _ORDER in asked:
        levels = tuple(level.strip() for level in asked.split(_ORDER))
        asked = "ordinal"
    kind = load(asked) if asked is not None else None if role is None else load(role)
    kind = kind or next(each for each in _ranked() if each.fits(cells))
    missing = share_missing(cells)
    notation = cells.notation if issubclass(kind, Number) else ""
    column = Column(name, kind.name, levels=levels, missing=missing, notation=notation)
    if kind.likelihood and not len(cells.known):
        raise UsageError(f"kinds={name}={kind.name}: the column has no known cell: leave it out")
    return kind.described(column, cells)


def _given(name: str, cells: Cells, asked: str | None) -> Column:
    """The description of a column [N] on which a model is conditioned."""
    column = _column(name, cells, asked, None)
    if asked is None and column.kind in ("count", "positive"):
        column = _column(name, cells, "real", None)
    if not load(column.kind).likelihood:
        raise UsageError(
            f"condition={name}: the column is {column.kind}: must hold numbers, dates or levels:"
            f" leave it out, or set its kind, kinds={name}=categorical"
        )
    return dataclasses.replace(column, is_given=True)


@functools.cache
def _ranked() -> tuple[type[Kind], ...]:
    """The kinds that are recognized, in the order in which they are tried."""
    usable = [load(name) for name in names()]
    return tuple(sorted((k for k in usable if k.rank is not None), key=lambda kind: kind.rank))


def _refuse_text(columns: Sequence[Column], table: Mapping[str, Any]) -> None:
    found = names_of(columns, "text")
    if not found:
        return
    cells = as_cells(table[found[0]])
    example = str(cells.known[0])
    example = example if len(example) <= 40 else f"{example[:39]}…"
    others = f" (as do {len(found) - 1} others)" if len(found) > 1 else ""
    raise DataError(
        f"column {found[0]!r}{others}: holds text, {len(cells.distinct):,} different values in"
        f" {len(cells.known):,} cells, such as {example!r}, and no kind is for text: leave it out"
        f" with ignore={','.join(found)}"
    )


def from_json(described: Any) -> Schema:
    """The schema of the result of `Schema.as_json`, for rows of any shape.

    Raises:
        UsageError: it describes none.
    """
    known = {field.name for field in dataclasses.fields(Column)}
    try:
        columns = []
        for own in described:
            if own.keys() - known:
                raise ValueError(f"unknown: {sorted(own.keys() - known)}")
            load(own["kind"])
            several = {name: tuple(own.get(name, ())) for name in ("levels", "cycles")}
            columns.append(Column(**{**own, **several}))
            if own.get("notation") and not NOTATION.fullmatch(own["notation"]):
                raise ValueError(f"notation {own['notation']!r}")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"schema: is not one as a run leaves it ({error}): give that of schema.json"
        ) from None
    return Schema(tuple(columns), load)
