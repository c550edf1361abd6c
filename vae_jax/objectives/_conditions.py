"""Conditions of a model: the labels, the factors or an array that each row has beside x."""

import numpy as np

from vae_jax import labels
from vae_jax.errors import DataError, UsageError
from vae_jax.training import Conditions

__all__ = [
    "DEFINITIONS",
    "SPLITS",
    "beside",
    "classes",
    "classes_of",
    "conditions",
    "given",
    "has_labels",
    "one_per_class",
    "row_weights",
    "rows",
    "taken",
    "told_labels",
    "user_labels",
]

SPLITS = ("train", "valid", "test")
_WHAT = {
    "labels": "the label of x",
    "factors": "the factors of x",
    "array": "the row that the data have beside x",
}
DEFINITIONS = {
    "accuracy": "share of the examples of known label whose label the classifier q(y|x) finds; if "
    "it finds all n of them the error is 0, and at most 3/n are missed with 95 % confidence",
    "cross_entropy": "−log q(y|x) of the label in nats, mean over the examples of known label",
}
"""Definitions of a classifier's terms."""
NUM_SHOWN = 10
"""Pictures have one row per class, for up to twice as many classes; or this many conditions."""


def taken(batch: dict, name: str):
    """The entry of a batch with this name, [B, …]; raises UsageError if there is none."""
    if name not in batch:
        raise UsageError(f"the batch holds {', '.join(batch)}: give {name!r} beside x")
    return batch[name]


def given(model, params, batch: dict):
    """Conditions the model on each row of a batch: class indices [B] or numbers [B, C]."""
    del params
    return model.given_encoded(taken(batch, "condition"))


def beside(model, told: dict) -> dict:
    """Turns what a user passes beside x into what batches hold: the condition of each row.

    Args:
        model: a conditional `Model` of C numbers.
        told: {"condition": …} or {"labels": …}: the user's own labels [N], or numbers [N, C].

    Returns:
        The other entries of `told`, and "condition": class indices int32 [N] or numbers [N, C].

    Raises:
        UsageError: there is no condition, a label is not one of the classes, or a number is not
            finite.
    """
    name = "condition" if "condition" in told else "labels"
    if name not in told:
        raise UsageError(
            "the model is given something of each row: give {'x': x, 'labels': y} in place of x, "
            f"y [N], or {{'x': x, 'condition': c}}, c [N, {model.num_conditions}]"
        )
    values = told[name]
    others = {other: told[other] for other in told.keys() - {name}}
    if np.ndim(values) == 1 and model.classes != ():
        codes = labels.indices(values, classes_of(model), what=name, remedy=labels.OWN)
        return {**others, "condition": codes}
    values = np.asarray(labels.condition(values, model.num_conditions, model.classes, name))
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise UsageError(
            f"{name}: is {values[row, column]} in row {row}, column {column}: must be finite"
        )
    return {**others, "condition": values}


def classes_of(model) -> tuple | int:
    """The labels [C] of the classes of a conditional model, see `vae_jax.labels`."""
    return model.num_conditions if model.classes is None else model.classes


def told_labels(told: dict, classes: tuple | int, remedy: str = "") -> np.ndarray:
    """Turns a user's labels into class indices, int32 [N], −1 if unknown.

    Args:
        told: {"labels": the user's own labels [N]}.
        classes, remedy: see `labels.indices`.

    Raises:
        UsageError: there are no labels, none is known, or one is not one of the classes.
    """
    if "labels" not in told:
        raise UsageError(
            "the objective asks for labels: give {'x': x, 'labels': y} in place of x, y [N] with "
            "−1 where a label is unknown"
        )
    found = labels.indices(
        told["labels"], classes, what="labels", may_be_unknown=True, remedy=remedy
    )
    if (found < 0).all():
        raise UsageError(f"labels: all {len(found)} are unknown (−1): give one for some rows")
    return found


def conditions(dataset, *, condition="labels") -> Conditions:
    """The condition of every row: a label [N], or numbers [N, C].

    Args:
        dataset: a dataset of `vae_jax.data.load`, with labels [N], factors [N, F] or condition [N,
        C].
        condition: what x is given: labels, factors (each scaled to 0 to 1), the array (condition of
            an .npz file) as it is, or columns of a table, "batch+age", see `schema.Schema.given`.

    Raises:
        DataError: the dataset has no such condition, or not for every row.
    """
    if condition == "labels":
        codes, names = classes(dataset, "condition=labels")
        num_known = int(np.sum(codes["train"] >= 0))
        for split, each in codes.items():
            if (each < 0).any():
                raise DataError(
                    f"condition=labels: {np.sum(each < 0)} of {len(each)} rows of {split} in "
                    f"{dataset.name} have no label: leave them out, or take objective=m2 "
                    f"num_labeled={num_known} without `condition`"
                )
        parts = {split: {"condition": each} for split, each in codes.items()}
        return Conditions(
            **parts,
            num=len(names),
            **one_per_class(names),
            what=_WHAT[condition],
            classes=user_labels(dataset),
        )
    if condition not in _WHAT:
        return _of_columns(dataset, condition)
    values = {split: _numbers(dataset, split, condition) for split in SPLITS}
    return _of_numbers(values, _WHAT[condition])


def _of_columns(dataset, condition: str) -> Conditions:
    """The condition of every row from columns of a table, "batch+age": numbers [N, C]."""
    asked = condition.split("+")
    given = () if dataset.schema is None else dataset.schema.given
    if sorted(asked) != sorted(column.name for column in given):
        raise UsageError(
            f"condition={condition}: must be labels, factors, array, or the columns with which a"
            f" table was read: give load(path, condition={asked!r}), or one of the former"
        )
    values = {split: getattr(dataset, split).condition for split in SPLITS}
    what = f"the column{'s' if len(asked) > 1 else ''} {', '.join(asked)}"
    found = _of_numbers(values, what)
    if len(given) == 1 and found.num == len(given[0].levels):
        return found._replace(**one_per_class(tuple(map(str, given[0].levels))))
    return found


def _of_numbers(values: dict[str, np.ndarray], what: str) -> Conditions:
    """Conditions that are numbers [N, C] of each split, as they are."""
    test = values["test"]
    rows = np.unique(np.arange(NUM_SHOWN) * len(test) // NUM_SHOWN)
    return Conditions(
        **{split: {"condition": each} for split, each in values.items()},
        num=test.shape[1],
        shown=test[rows],
        names=tuple(f"test {row}" for row in rows),
        what=what,
        classes=(),
    )


def _numbers(dataset, split: str, condition: str) -> np.ndarray:
    """The factors or the condition array of a split: [N, C] float32."""
    part = getattr(dataset, split)
    or_labels = "condition=labels, or " if has_labels(dataset) else ""
    if condition == "array":
        if part.condition is None:
            raise DataError(
                f"condition=array: {split} of {dataset.name} has none: give {or_labels}an .npz "
                "file with an array [N, C] under the key condition"
            )
        return part.condition
    if part.factors is None:
        raise DataError(
            f"condition=factors: {dataset.name} has no factors: give {or_labels}dataset=sprites"
        )
    # each factor is an index, 0 … n − 1 if it takes n values
    highest = np.maximum(np.array(dataset.factor_sizes) - 1, 1)
    return (part.factors / highest[None]).astype(np.float32)


def has_labels(dataset) -> bool:
    """Whether each row of every split [N] has a label, as a condition must; a scalar."""
    held = [getattr(dataset, split).labels for split in SPLITS]
    return all(each is not None and (each >= 0).all() for each in held)


def classes(dataset, what: str) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The labels of each split as classes 0 … C − 1, and the names of the classes.

    The classes are the labels >= 0 of any split, in order; labels below 0 are unknown, −1.

    Args:
        dataset: a dataset of `vae_jax.data.load`, its splits with labels [N] or None.
        what: the setting that needs them, as the user wrote it.

    Returns:
        ({"train", "valid", "test"} of int32 [N], C names).

    Raises:
        DataError: there are no labels, or only one class.
    """
    held = {split: getattr(dataset, split).labels for split in SPLITS}
    for split, each in held.items():
        if each is None:
            why = f" ({dataset.unlabeled})" if dataset.unlabeled else ""
            raise DataError(
                f"{what}: {split} of {dataset.name} has no labels{why}: give a dataset that has "
                "some (an .npz file with the key y, a table with a column label, a folder for each "
                "class)"
            )
    known = _known(dataset)
    if len(known) < 2:
        raise DataError(f"{what}: {dataset.name} has {len(known)} class(es): must be 2 or more")
    codes = {
        split: np.where(each < 0, -1, np.searchsorted(known, each)).astype(np.int32)
        for split, each in held.items()
    }
    names = [str(c if dataset.classes is None else dataset.classes[c]) for c in known]
    return codes, tuple(names)


def _known(dataset) -> np.ndarray:
    """The labels >= 0 of any split, ascending: [C]."""
    known = np.unique(np.concatenate([getattr(dataset, split).labels for split in SPLITS]))
    return known[known >= 0]


def user_labels(dataset) -> tuple | None:
    """The user's own labels of the C classes, for splits of [N] rows, see `Model`.

    Returns:
        A tuple of C labels, or None if they are 0 … C − 1.
    """
    known = _known(dataset).tolist()
    own = tuple(known if dataset.classes is None else (dataset.classes[k] for k in known))
    return None if own == tuple(range(len(own))) else own


def one_per_class(names: tuple[str, ...]) -> dict:
    """`Conditions.shown` and `names` if conditions are classes: unit vectors [P, C]."""
    shown = np.eye(len(names), dtype=np.float32)[: 2 * NUM_SHOWN]
    return {"shown": shown, "names": names[: len(shown)]}


def rows(labels: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """What the batches of a split hold beside x.

    Args:
        labels: [N], the labels that the loss may use, −1 if it may not.
        truth: [N], the labels that the classifier is compared with, −1 if unknown.

    Returns:
        Both, and "weight" [N] float32: N over the number of known truths, 0 for the other rows. So
        a mean over N rows is a mean over the known ones.
    """
    is_known = truth >= 0
    weight = is_known * (len(truth) / max(int(is_known.sum()), 1))
    return {"labels": labels, "truth": truth, "weight": weight.astype(np.float32)}


def row_weights(batch: dict) -> dict:
    """The `training.Objective.row_weights` of a classifier's terms: the "weight" of `rows`.

    Args:
        batch: B rows of the result of `rows`.

    Returns:
        {"accuracy", "cross_entropy"}: weights [B].
    """
    weight = taken(batch, "weight")
    return {"accuracy": weight, "cross_entropy": weight}
