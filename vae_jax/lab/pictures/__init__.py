"""The pictures that runs, sweeps and evaluation leave: one file each, found by its name.

A picture is drawn once the results that it shows are safe, and on its own: one that fails takes
neither a result nor another picture with it.

To add one, add a file with `PICTURES`, a tuple that says of each picture what it is drawn of, what
it needs and how it is drawn:

    PICTURES = (OfModel(draw, needs=lambda seen: seen.has_rates, kinds=("image", "table")),)

| class | `draw` takes | drawn |
|---|---|---|
| `OfRows` | rows of metrics, a list of dicts | of each run |
| `OfModel` | a `Seen`: codes, rates, a decoder, … | of each run on data of these `kinds` |
| `OfSweep` | a `Sweep`: configs, rows of results, curves | of runs that compare |
| `OfMetric` | a `vae_jax.evaluation.subject.Subject` | when the metric of that name is measured |

`draw` returns a picture from a function of `vae_jax.plots`: NAME.py leaves NAME.png, and NAME.csv
with its numbers. It may also return lines of text or frames of a film; `ending` is then that of the
file. Pictures of rows are drawn first, which need no model; all others by the names of their files.
"""

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_jax import discovery, plots
from vae_jax.errors import UsageError
from vae_jax.lab.parts import NOT_YET
from vae_jax.lab.pictures import _seen
from vae_jax.lab.pictures._drawing import KINDS, Drawing, OfMetric, OfModel, OfRows, OfSweep
from vae_jax.lab.pictures._files import draw_each
from vae_jax.lab.pictures._seen import NUM_EXAMPLES, Seen, look
from vae_jax.lab.pictures._sweep import Sweep
from vae_jax.storage import members

__all__ = [
    "KINDS",
    "NUM_EXAMPLES",
    "Drawing",
    "OfMetric",
    "OfModel",
    "OfRows",
    "OfSweep",
    "Seen",
    "Sweep",
    "draw",
    "draw_each",
    "draw_sweep",
    "load",
    "look",
    "names",
    "of_metrics",
]


def names() -> list[str]:
    """Names of the files, sorted."""
    return discovery.names(__name__)


def load(name: str) -> tuple[Drawing, ...]:
    """The pictures of a file.

    Raises:
        UsageError: there is no such file, or its `PICTURES` holds something else.
    """
    pictures = tuple(discovery.load(__name__, name, "picture").PICTURES)
    for picture in pictures:
        if not isinstance(picture, Drawing):
            raise UsageError(
                f"PICTURES of {name}.py has {picture!r}: must be of OfRows, OfModel, OfSweep or "
                "OfMetric"
            )
    return pictures


def draw(
    experiment,
    number: int,
    member,
    run,
    undrawn: Mapping[str, str],
    keep: Callable[[Mapping[str, str]], None],
) -> dict[str, str]:
    """Draws every picture of one run that fits the data; the test split is what is encoded.

    Args:
        experiment: from `vae_jax.lab.build`.
        number: which run of the program, a scalar.
        member: its model, parameters and hyperparameters, from `build.member`.
        run: the open run; pictures go to its folder `plots`.
        undrawn: name → reason of the pictures that an earlier call did not draw; if it is empty, or
            has a name that there is no picture of, all are drawn.
        keep: takes such names and reasons, before the first picture and after each.

    Returns:
        As of `draw_each`.
    """

    def rows():
        found = members.read_rows(run.directory)
        return [row for row in found if row.pop("run", number) == number]

    for line in _notes(experiment.dataset):
        run.log(line)
    seen, note = (
        _once(lambda: _look(experiment, member, run)),
        _once(lambda: _note(experiment, rows())),
    )
    pictures = {
        **_makers(_all(OfRows), rows, note),
        **_makers(_of_model(experiment.dataset), seen, note),
    }
    if undrawn and undrawn.keys() <= pictures.keys():
        pictures = {name: make for name, make in pictures.items() if name in undrawn}
    left = {name: undrawn.get(name, NOT_YET) for name in pictures}
    keep(left)

    def tell(name, reason):
        left.pop(name)
        if reason:
            left[name] = reason
        if left:
            keep(left)

    formats = experiment.config.plot_format
    return draw_each(pictures, run.directory, ["plots"], run.log, tell=tell, formats=formats)


def draw_sweep(
    configs,
    rows: list[dict],
    curves: list[dict],
    root: Path,
    folder: Sequence[str],
    log: Callable,
    of: str = "",
) -> dict[str, str]:
    """Draws what only many runs say together.

    Args:
        configs: of the R runs.
        rows: of `sweep.csv`, R of them.
        curves: rows of metrics, `run` a number from 0 to R − 1.
        root, folder, log, of: see `draw_each`.

    Returns:
        As of `draw_each`.
    """
    sweep = Sweep(configs, rows, curves)
    pictures = _makers(_all(OfSweep), lambda: sweep, lambda: sweep.note) if rows else {}
    formats = configs[0].plot_format if configs else ("png",)
    return draw_each(pictures, root, folder, log, of, formats=formats)


def of_metrics(subject, measured: Collection[str]) -> dict[str, Callable[[], Any]]:
    """The pictures beside metrics of a model, as `draw_each` takes them.

    Args:
        subject: a `vae_jax.evaluation.subject.Subject`.
        measured: names of the metrics.
    """
    found = _all(OfMetric, lambda picture: picture.needs(subject))
    return _makers({n: each for n, each in found.items() if n in measured}, lambda: subject)


def _of_model(dataset) -> dict[str, Callable[[Seen], Any]]:
    """Name → what draws it of a model of a dataset."""
    kind = _seen.kind_of(dataset)
    return _all(OfModel, lambda picture: kind in picture.kinds)


def _all(sort: type, accepts: Callable[[Any], bool] = lambda _: True) -> dict[str, Drawing]:
    """Name → each picture of a sort that is accepted."""
    return {
        f"{file}{picture.ending}": picture
        for file in names()
        for picture in _of_file(file, sort, accepts)
    }


def _of_file(name: str, sort: type, accepts: Callable[[Any], bool]) -> list[Drawing]:
    """Those of `_all` in a file; if it cannot be imported, one that cannot be drawn."""
    try:
        return [each for each in load(name) if isinstance(each, sort) and accepts(each)]
    except Exception as error:  # whatever it is, the results are safe
        return [sort(functools.partial(_fail, error))]


def _fail(error: Exception, _: Any) -> None:
    raise error


def _makers(
    pictures: dict[str, Callable],
    shown: Callable[[], Any],
    note: Callable[[], str] = lambda: "",
) -> dict[str, Callable]:
    """The same pictures as `draw_each` takes them, drawn of what `shown` returns, with a note."""

    def make(picture):
        made = picture(shown())
        return made._replace(note=note()) if isinstance(made, plots.Picture) else made

    return {name: functools.partial(make, picture) for name, picture in pictures.items()}


def _look(experiment, member, run) -> Seen:
    """What the pictures of a model are made of, with the snapshots that its run kept."""
    seen, asked = _seen.look(experiment, *member), experiment.config.snapshots
    if asked is None:
        return seen
    from vae_jax.lab import snapshots  # it reads `_seen`, and only runs that ask for it need it

    num_epochs = experiment.num_steps // experiment.train.steps_per_epoch
    return seen._replace(snapshots=snapshots.read(run.directory, num_epochs, asked))


def _note(experiment, rows: Sequence[Mapping]) -> str:
    """The line below each picture of a run: its data, objective, epochs and seed."""
    config = experiment.config
    epochs = max((int(row["epoch"]) for row in rows if row.get("epoch") is not None), default=0)
    told = "1 epoch" if epochs == 1 else f"{epochs} epochs"
    until = told if config.patience is None else f"best of {told}"
    return f"{_seen.title_of(experiment)}, {until}, seed {config.seed}"


def _notes(dataset) -> Iterator[str]:
    """How images are drawn that no screen can show as they are."""
    if dataset.kind != "image":
        return
    if dataset.shape[-1] not in (1, 3):
        yield f"pictures: images of {dataset.shape[-1]} channels are drawn channel by channel"
    if dataset.low < 0 or dataset.high > 1:
        yield "pictures: pixels below 0 are drawn black, those above 1 white"


def _once(function: Callable[[], Any]) -> Callable[[], Any]:
    """The same function, called once: what it returned or raised, it returns or raises again."""
    outcomes = []

    def call():
        if not outcomes:
            try:
                outcomes.append((function(), None))
            except Exception as error:  # a second try would take as long, and fail as well
                outcomes.append((None, error))
        value, error = outcomes[0]
        if error is not None:
            raise error
        return value

    return call
