"""The result of a training, and the results of its evaluation."""

import dataclasses
import functools
import html
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import (
    applying,
    arguments,
    assembly,
    evaluation,
    labels,
    objectives,
    plots,
    sources,
    training,
    uses,
)
from vae_jax import program as programs
from vae_jax.data import Dataset, Split
from vae_jax.errors import DataError, UsageError, shown, unknown
from vae_jax.evaluation.subject import NotApplicableError, Subject
from vae_jax.likelihoods import Bernoulli
from vae_jax.model import Model

__all__ = ["OBJECTIVE", "UDR", "Measured", "Trained", "evaluate"]

OBJECTIVE, UDR = "objective", "udr"
"""Metrics that need more than a model and its data: the program, or several runs."""
_SHOWN = ("loss", "elbo", "rate", "distortion", "valid_loss", "valid_elbo", "active_units")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Trained:
    """A trained model: its parameters, their history, and what they were trained with.

    Attributes:
        model: a `Model` whose p(x|z) is a density: if training used the optimal variance of each
            batch, the variance is now fixed.
        params: of this model, a pytree of arrays of any shape: the best by validation if those were
            kept, otherwise the EMA if there is one, otherwise the last.
        history: one row per epoch: "step", "epoch", the means of the objective's terms over the
            training split, those of the validation split as "valid_…", the hyperparameters.
        state: the last `training.State`; None if loaded from a file.
        step: number of steps done, a count; None if a file does not contain it.
        status: "done", "stopped early" or "unfinished".
        best_epoch: the epoch of `params`, a count, if the best were kept.
        dataset: the training data, if they were a `Dataset`.
        preprocess: the preprocessing of stored values, see `fit`.
        conditions: the condition of each row of the dataset in a conditional model, [N, …].
        program: the program that trained it; None if loaded from a file.
        about: other information: settings of the run, or the contents of an exported file.
    """

    model: Model
    params: Any
    history: tuple[dict[str, Any], ...] = ()
    state: training.State | None = None
    step: int | None = None
    status: str = "done"
    best_epoch: int | None = None
    dataset: Dataset | None = None
    preprocess: Any = None
    conditions: training.Conditions | None = None
    program: programs.Program | None = None
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def _lines(self) -> dict[str, str]:
        """A short summary, as name → value."""
        told = {"model": repr(self.model)}
        if self.dataset is not None:
            told["data"] = repr(self.dataset)
        if self.step is not None:
            best = "" if self.best_epoch is None else f", parameters of epoch {self.best_epoch}"
            told["training"] = f"{self.status} at step {self.step:,}{best}"
        if self.history:
            row = self.history[-1]
            values = [f"{name} {row[name]:.4g}" for name in _SHOWN if name in row]
            told[f"epoch {row['epoch']}"] = ", ".join(values)
        return told

    def __repr__(self) -> str:
        return "Trained\n" + "\n".join(f"  {n}: {text}" for n, text in self._lines().items())

    def _repr_html_(self) -> str:
        rows = (
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>"
            for name, text in self._lines().items()
        )
        return f"<table><caption>Trained</caption>{''.join(rows)}</table>"

    def apply(self, use: str, rows: Any = None, **settings: Any) -> Any:
        """Applies the model to new rows: `trained.apply("score", df)` is `trained.score(df)`.

        Args:
            use: one of `vae_jax.uses.names()`: encode, reconstruct, score, impute, denoise, ….
            rows: a DataFrame (pandas, polars), an Arrow table, columns by name, an array [N,
                *shape], or {"x": x, "labels": y}; of `sample` the number of rows.
            settings: see `vae_jax.applying.apply`.

        Returns:
            A table or an array, as the rows are.

        Raises:
            UsageError: the model cannot do it, or a setting does not fit.
            DataError: the rows do not fit the training.
        """
        return applying.apply(self, use, rows, **settings)

    def compress(self, rows: Any) -> bytes:
        """Compresses rows without loss; `decompress` restores them bit for bit.

        Args:
            rows: [N, *shape], the values of the training, such as 0 and 1 or levels.

        Returns:
            The bytes of a file; `vae_jax.lossless.compress` also says what they are for.

        Raises:
            UsageError: the model has no probability of single values, or its codes are no Gaussian.
            DataError: the rows hold other values.
        """
        from vae_jax import lossless  # what trains does not need it

        return lossless.compress(self, rows).data

    def decompress(self, data: bytes) -> np.ndarray:
        """The rows [N, …] that `compress` got, on the machine where it ran.

        Raises:
            UsageError: another model or machine compressed them.
            DataError: the bytes are damaged.
        """
        from vae_jax import lossless

        return lossless.decompress(self, data)

    if TYPE_CHECKING:  # with `__getattr__` a type checker would accept any name
        cluster: ClassVar[Callable[..., Any]]
        denoise: ClassVar[Callable[..., Any]]
        encode: ClassVar[Callable[..., Any]]
        impute: ClassVar[Callable[..., Any]]
        recommend: ClassVar[Callable[..., Any]]
        reconstruct: ClassVar[Callable[..., Any]]
        sample: ClassVar[Callable[..., Any]]
        score: ClassVar[Callable[..., Any]]
    else:

        def __getattr__(self, name: str) -> Callable[..., Any]:
            if name.startswith("_") or name not in uses.names():
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            return functools.partial(self.apply, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *uses.names()})

    def curves(self) -> plots.Picture:
        """The training curves: each quantity of `history` against the step, [epochs] each."""
        return plots.training_curves(self.history)


# --- Evaluation


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Measured:
    """Results of metrics: `measured["latent_use"]["active_units"]`, `measured["elbo"]`.

    The name of a metric gives all its entries; the name of an entry gives its value, if only one
    metric has it.

    Attributes:
        values: metric → entry → value: scalars and lists; `name_standard_error` beside `name`.
        skipped: metric → the reason why it does not apply to this model or these data.
        definitions: metric → entry → its meaning, one line each.
    """

    values: Mapping[str, Mapping[str, Any]]
    skipped: Mapping[str, str]
    definitions: Mapping[str, Mapping[str, str]]

    def __getitem__(self, name: str) -> Any:
        if name in self.skipped:
            raise KeyError(f"{name} was skipped: {self.skipped[name]}")
        if name in self.values:
            return self.values[name]
        owners = [metric for metric, values in self.values.items() if name in values]
        if len(owners) != 1:
            if not self.values:
                why = "; ".join(f"{metric}: {reason}" for metric, reason in self.skipped.items())
                raise KeyError(f"{name}: nothing was measured, {why}")
            known = f"of {' and '.join(owners)}" if owners else f"not in {', '.join(self.values)}"
            raise KeyError(f"{name} is {known}: name the metric, then the entry")
        return self.values[owners[0]][name]

    def _rows(self) -> list[tuple[str, str, str]]:
        """(metric, entry, value with its standard error) of each scalar, then the skipped ones."""
        rows = []
        for metric, values in self.values.items():
            for entry, value in values.items():
                if isinstance(value, int | float) and not entry.endswith("_standard_error"):
                    error = values.get(f"{entry}_standard_error")
                    told = f"{value:.5g}" + ("" if error is None else f" ± {error:.2g}")
                    rows.append((metric, entry, told))
        return rows + [(metric, "skipped", why) for metric, why in self.skipped.items()]

    def __repr__(self) -> str:
        lines = (f"  {metric}.{entry}: {told}" for metric, entry, told in self._rows())
        return "\n".join(["Measured", *lines])

    def _repr_html_(self) -> str:
        cells = (
            "".join(f"<td>{html.escape(text)}</td>" for text in (metric, entry, told))
            for metric, entry, told in self._rows()
        )
        return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def evaluate(
    trained: Trained,
    metrics: str | Iterable[str] | None = None,
    data: Any = None,
    *,
    seed: int = 0,
    num_examples: int | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> Measured:
    """Measures a trained model on the test split, as the command line's evaluation does.

    Args:
        trained: from `vae_jax.fit` or `vae_jax.load`.
        metrics: one or several names of `evaluation.names()`; None measures "objective", the terms
            that were minimized, which only the result of `fit` or a run knows; "all" measures all
            that apply, which may take minutes.
        data: a `Dataset`, or test examples: x [N, *stored] or {"x": x, "labels": y}. None is the
            data of the training.
        seed: seed of every draw, a count.
        num_examples: number of examples, evenly spaced in the test split, a count; None takes all.
        settings: metric → its settings, such as {"nll": {"num_samples": 100}}.

    Returns:
        `Measured`: values, and the reasons why other metrics were skipped.

    Raises:
        UsageError: a metric or a setting is unknown, a setting does not fit, or there are no data.
        DataError: the data do not fit the model.
    """
    settings = {} if settings is None else settings
    asked = _asked(metrics)
    _check_kinds(trained, settings)
    seed = arguments.integer("seed", seed, 0)
    if num_examples is not None:
        num_examples = arguments.integer("num_examples", num_examples, 1)
    for name in [*settings]:
        if name not in asked:
            raise UsageError(f"settings: of {name!r}, which metrics={metrics} leaves out: add it")
    subject = _subject(trained, data, seed, num_examples)
    values: dict[str, Mapping] = {}
    skipped: dict[str, str] = {}
    definitions: dict[str, Mapping] = {}
    for name in asked:
        try:
            if name == OBJECTIVE:
                values[name] = _objective_terms(trained, data, subject)
                definitions[name] = {}
            elif name == UDR:
                raise NotApplicableError("it compares the runs of a sweep")
            else:
                found = evaluation.measure(subject, name, **settings.get(name, {}))
                values[name], definitions[name] = found
        except NotApplicableError as reason:
            skipped[name] = str(reason)
        except (DataError, UsageError) as reason:
            if name in settings:
                raise
            skipped[name] = str(reason)
    return Measured(values, skipped, definitions)


def _check_kinds(trained: Any, settings: Any) -> None:
    """Raises UsageError unless there is a trained model, and settings by metric."""
    model, params = getattr(trained, "model", None), getattr(trained, "params", None)
    if isinstance(trained, str | os.PathLike):
        path = str(trained)
        raise UsageError(f"trained={path!r}: is a path: give vae_jax.load({path!r})")
    if isinstance(trained, Model):
        raise UsageError("trained: is a Model: give vae_jax.Trained(model, params)")
    if not isinstance(model, Model) or not isinstance(params, Mapping):
        raise UsageError(
            f"trained={shown(trained)}: must be the result of vae_jax.fit or vae_jax.load: give "
            "one, or vae_jax.Trained(model, params)"
        )
    is_named = isinstance(settings, Mapping)
    if not is_named or not all(isinstance(own, Mapping) for own in settings.values()):
        raise UsageError(
            f"settings={shown(settings)}: must be settings by metric: give {{'nll': "
            "{'num_samples': 100}}, for example"
        )


def _asked(metrics: str | Iterable[str] | None) -> list[str]:
    """The requested metrics, without repetition."""
    known = [OBJECTIVE, *evaluation.names(), UDR]
    if metrics is None:
        return [OBJECTIVE]
    is_several = isinstance(metrics, Iterable) and not isinstance(metrics, str | bytes)
    given: list[Any] = [*metrics] if is_several else [metrics]
    for name in given:
        if name not in (*known, "all"):
            raise unknown("metric", name, [*known, "all"])
    return known if "all" in given else [*dict.fromkeys(given or [OBJECTIVE])]


def _objective_terms(trained: Trained, data: Any, subject: Subject) -> dict[str, float | int]:
    """The minimized terms on the user's own data, or on the test split of the training's."""
    program = trained.program
    if program is None or trained.step is None:
        raise NotApplicableError(
            "a model alone does not hold its objective: load the run instead, or call fit again"
        )
    if data is not None:
        rows = _rows(trained, data)
        program = dataclasses.replace(
            program, preprocess=subject.preprocess, splits={**program.splits, "test": rows}
        )
    if not program.size("test"):
        raise NotApplicableError("the training came without a test split")
    params = program.layout.place(jax.tree.map(lambda leaf: np.asarray(leaf)[None], trained.params))
    return programs.objective_terms(program, params, trained.step)


def _rows(trained: Trained, data: Any) -> Any:
    """The test rows of the user's own data as the objective takes them, arrays [N, …]."""
    assert trained.program is not None
    objective = trained.program.loss_fn
    if isinstance(data, Dataset):
        conditions = None if objective.conditions is None else objective.conditions(data)
        return programs.make_splits(data, conditions)["test"]
    return sources.rows(sources.named(data), objective, trained.model)


def _subject(trained: Trained, data: Any, seed: int, num_examples: int | None) -> Subject:
    """The subject of the metrics."""
    model = trained.model
    given = None if trained.program is None else trained.program.loss_fn.given
    conditions, preprocess = trained.conditions, trained.preprocess
    if data is None:
        dataset = trained.dataset
        if dataset is None:
            raise UsageError(
                "data: this model came without a test split: give data=x, or {'x': x, 'labels': y}"
            )
    elif isinstance(data, Dataset):
        dataset = data
        told = assembly.binarization(
            data.num_levels,
            is_bernoulli=isinstance(model.likelihood, Bernoulli),
            has_prior=model.latent.has_prior,
        )
        preprocess = assembly.make_preprocess(data, told)
        bound = _conditional(trained) if model.num_conditions else None
        conditions = bound and bound.conditions and bound.conditions(data)
        given = bound and bound.given
    else:
        preprocess = preprocess if trained.dataset is None and preprocess else sources.undecoded
        dataset, conditions = _as_dataset(trained, data, preprocess)
        given = _conditional(trained).given if model.num_conditions else None
    if dataset.shape != model.shape:
        raise UsageError(
            f"data: has examples of shape {list(dataset.shape)}, the model takes "
            f"{list(model.shape)}: give data of that shape"
        )
    return Subject(
        model,
        trained.params,
        dataset,
        preprocess=preprocess,
        key=jax.random.key(seed),
        num_examples=num_examples,
        conditions=conditions if model.num_conditions else None,
        given=given,
    )


def _conditional(trained: Trained) -> training.Objective:
    """The objective that supplies the condition of a row: the model's own, or a labeled VAE's."""
    if trained.program is not None:
        return trained.program.loss_fn
    return objectives.bind("cvae", num_examples=1)


def _as_dataset(
    trained: Trained, data: Any, preprocess: Callable
) -> tuple[Dataset, training.Conditions | None]:
    """Test examples as a `Dataset` whose training split is that of the training, if it is known."""
    told = sources.named(data)
    x, known = np.asarray(told["x"]), None
    if x.ndim < 2:
        raise UsageError(
            f"data: x has shape {list(x.shape)}, must be a row for each example: give "
            "x[None] for one example"
        )
    is_plain = preprocess is sources.undecoded
    if not is_plain or x.shape[1:] == trained.model.shape:
        sources.check_values(x, trained.model, None if is_plain else preprocess)
    codes, classes = None, None
    if "labels" in told and np.ndim(told["labels"]) == 1:
        classes = trained.model.classes or labels.classes_in(told["labels"], what="labels")
        codes = labels.indices(told["labels"], classes, what="labels", may_be_unknown=True)
    train = x[:0]
    if trained.program is not None and trained.dataset is None:
        rows = trained.program.rows("train")
        train = np.asarray(rows["x"] if isinstance(rows, Mapping) else rows)
    dataset = Dataset(
        name="data",
        train=Split(train),
        valid=Split(x[:0]),
        test=Split(x, codes),
        shape=jax.eval_shape(preprocess, x[:1], jax.random.key(0)).shape[1:],
        kind="table" if len(trained.model.shape) == 1 else "image",
        low=float(np.nanmin(x, initial=np.inf)),
        high=float(np.nanmax(x, initial=-np.inf)),
        num_levels=getattr(trained.model.likelihood, "num_levels", None),
        sha256="",
        likelihood="gaussian",
        decode=functools.partial(jnp.asarray, dtype=jnp.float32),
        classes=None if classes is None else tuple(classes),
    )
    objective = _conditional(trained) if trained.model.num_conditions else None
    if objective is not None and objective.beside is not None:
        beside = {n: v for n, v in told.items() if n != "x"}
        own = objective.beside(trained.model, beside)
        none = {name: values[:0] for name, values in own.items()}
        shown = np.zeros((0, trained.model.num_conditions), np.float32)
        num = trained.model.num_conditions
        known = training.Conditions(none, none, own, num, shown, ())
    return dataset, known
