"""Evaluates trained runs on the test split.

A metric is a file in `vae_jax/evaluation/` with a function `measure`, whose settings are flags
here; `vae_jax/lab/metrics.py` has the two that need more than a model and its data.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vae_jax import console, evaluation, losses, samplers
from vae_jax.cli import command as cli
from vae_jax.devices import platform as devices
from vae_jax.errors import DivergedError, UsageError, verbatim
from vae_jax.evaluation import ais, disentanglement, samples
from vae_jax.evaluation.disentanglement import dci
from vae_jax.evaluation.subject import SPLITS, AtMost
from vae_jax.lab import (
    config,
    diagnoses,
    entry,
    evaluated_page,
    metrics,
    parsers,
    report,
    run_page,
)
from vae_jax.lab import places as places_lib
from vae_jax.lab.flags import as_flags
from vae_jax.lab.metrics import OBJECTIVE, UDR
from vae_jax.lab.progress import Watch
from vae_jax.storage import csv_rows, files

__all__ = [
    "DESCRIPTION",
    "WORDS",
    "Outcome",
    "compare",
    "complain",
    "evaluate",
    "flag_texts",
    "in_order",
    "kept_in",
    "main",
    "parse_request",
    "parser",
    "quick",
    "run",
    "setting_flags",
]

DESCRIPTION = (
    "Evaluates a trained run, or the runs of a sweep, on the test split from the newest verified "
    "checkpoint: prints each number with its standard error and its definition, and keeps all in "
    "evaluation/ of the run's directory."
)
WORDS = {
    "ais_initial": (ais.INITIALS, False),
    "disentanglement_metrics": (disentanglement.names(), True),
    "disentanglement_predictors": (dci.PREDICTORS, True),
    "exact_split": (SPLITS, False),
    "latent_neighbours_sampler": (("prior", *samplers.names()), False),
    "latent_use_kernel": (tuple(losses.KERNELS), False),
    "samples_sampler": (("prior", *samplers.names()), False),
    "samples_space": (samples.SPACES, False),
}
"""Flags with words as values → the words, and whether several are allowed."""


def main(values: dict) -> None:
    """Evaluates the runs that the flags name."""
    if values["run"] is None:
        raise UsageError("--run: name a run directory, such as --run=runs/digits-beta=4")
    request = parse_request(values)
    directory = Path(values["run"])
    places = places_lib.choose(directory, values["member"])
    devices.warn()
    console.say(devices.line())
    table = kept_in(directory, places)
    keeper, codes, found = report.Keeper(), [], []
    steps: list[int | None] = []
    keeper.begin(directory, request)
    loader = metrics.Loader(values["data_dir"])
    for place in places:
        try:
            trained = loader.load(place.directory, place.member)
        except DivergedError as error:
            if len(places) == 1:
                raise
            console.say(as_flags(str(error)))
            steps.append(None)
            continue
        steps.append(trained.member.step)
        subject = metrics.make_subject(trained, request.seed, request.num_examples)
        found += evaluate(place, trained, subject, request, keeper)
        if UDR in request.metrics and len(places) > 1:
            where = {"program": place.directory.name, "member": place.member, "step": steps[-1]}
            where["id"] = trained.program.owner
            codes.append(metrics.code_of(trained, subject, where))
    if UDR in request.metrics:
        known = [code for code in codes if code is not None]
        found.append(compare(directory, known, request.seed, keeper))
    if len(places) > 1:
        # read and write under one lock, so that the last of several evaluations sees all results
        keeper.do(
            directory,
            lambda: csv_rows.write_table(
                table, report.rows_of(directory, places, steps), root=directory
            ),
            table,
        )
    own, is_measured = places[0].directory, any(outcome.is_measured for outcome in found)
    if len(places) == 1 and is_measured and evaluated_page.is_there(own):
        keeper.do(own, lambda: evaluated_page.write(own), own / run_page.NAME)
    keeper.finish()
    root = directory if len(places) > 1 else places[0].directory
    if keeper.written:
        console.say(f"in {root}: {report.told_files(root, keeper.written)}")
    if all(step is None for step in steps):
        raise DivergedError(f"{directory}: every run diverged, there is nothing to measure")
    complain(found, values["metrics"])


def kept_in(directory: Path, places: Sequence[metrics.Place]) -> Path:
    """The table of all runs; results are never written outside the named directory.

    Raises:
        UsageError: a symbolic link leads outside.
    """
    for path in dict.fromkeys([directory, *(place.directory for place in places)]):
        report.folder(path)
    return files.inside(directory, "evaluation.csv")


class Outcome(NamedTuple):
    """The outcome of one metric for one run.

    Attributes:
        is_measured: whether there are results.
        reason: why not, after the metric's name; otherwise "".
        is_refused: whether a setting given by the user was refused.
    """

    is_measured: bool
    reason: str = ""
    is_refused: bool = False


def complain(found: Sequence[Outcome], asked: str | None) -> None:
    """Raises an error if a metric that was requested by name could not be measured.

    Args:
        found: outcomes of all metrics for all runs.
        asked: the value of --metrics; metrics from "all" need not apply.

    Raises:
        UsageError: a setting was refused, or no requested metric could be measured.
    """
    for outcome in found:
        if outcome.is_refused:
            raise UsageError(verbatim(outcome.reason))
    reason = verbatim(found[0].reason) if found else ""
    if asked not in (None, "all") and not any(outcome.is_measured for outcome in found):
        raise UsageError(f"--metrics={asked}: nothing could be measured, {reason}")


def evaluate(
    place: metrics.Place,
    trained: metrics.Trained,
    subject: metrics.Watched,
    request: metrics.Request,
    keeper: report.Keeper,
) -> list[Outcome]:
    """Measures one run; each metric is printed and saved as soon as it is done.

    First the verdict on the run is printed. A metric that this evaluation measured before it was
    interrupted is only printed.

    Returns:
        The outcome of each metric except `udr`.
    """
    dataset, found = trained.experiment.dataset, []
    console.say(
        f"{place.name} at step {report.told_step(trained)}: {dataset.name}, "
        f"{len(dataset.test):,} test examples, seed {request.seed}"
    )
    for line in _before(place, trained, subject, request):
        console.say(line)
    subject.watch = Watch()
    for metric in request.metrics:
        if metric == UDR:
            continue
        given, name = request.settings.get(metric, {}), f"member-{place.member}"
        title = report.title(metric, given)
        known = keeper.known(place.directory, name, title, trained.member.step)
        if known is None:
            with subject.watch.over(f"{place.name}, {metric}"):
                result = metrics.measure(trained, subject, request, metric)
        else:
            result = known
        is_refused = result.pop("refused", False)
        if "left_out" in result:
            found.append(Outcome(False, f"{metric}: {result['left_out']}", is_refused))
        else:
            found.append(Outcome(True))
        given = {**metrics.reduced(subject, request, metric), **given}
        for line in report.lines({title: result}, given):
            console.say(line)
        if known is None:
            keeper.keep(place.directory, name, {title: result}, subject)
    return found


def _before(
    place: metrics.Place, trained: metrics.Trained, subject: metrics.Watched, request
) -> Iterator[str]:
    """The verdict on the run as it was trained, and how long the metrics take or what is left."""
    results = trained.program.results
    if results is not None:
        yield from diagnoses.lines(results[place.member])
    if request.is_brief:
        left = ", ".join(name for name in in_order() if name not in request.metrics)
        yield f"measuring what takes seconds, --metrics=all also measures {left}"
        return
    seconds = metrics.seconds(subject, request)
    if len(seconds) > 1:
        longest = sorted(seconds, key=lambda name: -seconds[name])[:3]
        told = ", ".join(f"{name} {console.duration(seconds[name])}" for name in longest)
        total = console.duration(sum(seconds.values()))
        yield f"about {total} on two CPU cores if all of them apply, of it {told}"


def compare(
    directory: Path, codes: Sequence[metrics.Code], seed: int, keeper: report.Keeper
) -> Outcome:
    """Scores the runs of a sweep by their agreement; prints and saves the scores."""
    if len(codes) < 2:
        reason = "it compares the runs of a sweep, of Gaussian codes"
        console.say(f"{UDR}: left out, {reason}")
        return Outcome(False, f"{UDR}: {reason}")
    with Watch().over(UDR):
        ranking = metrics.compare(codes, seed)
    for line in report.udr_lines(ranking):
        console.say(line)
    keeper.write(directory, f"{UDR}.json", {UDR: ranking})
    return Outcome(True)


def parse_request(values: dict) -> metrics.Request:
    """Parses the flags of an evaluation.

    Raises:
        UsageError: a name or a number does not fit.
    """
    known = in_order()
    text = values["metrics"]
    asked = [name.strip() for name in text.split(",")] if text not in (None, "all") else known
    if text is None:
        given = {metric for flag, (metric, *_) in setting_flags().items() if values.get(flag)}
        asked = [name for name in known if name in given or name in quick()]
    for name in asked:
        config.parse_flag("metrics", name, parsers.choice(known))
    settings: dict[str, dict] = {}
    for flag, (metric, name, default) in setting_flags().items():
        if values.get(flag) is None:
            continue
        if metric not in asked:
            raise UsageError(f"--{flag}={values[flag]}: --metrics={text} leaves {metric} out")
        parse = parser(flag, default)
        settings.setdefault(metric, {})[name] = config.parse_flag(flag, values[flag], parse)
    counts = {"seed": 0, "num_examples": None}
    for name, low in (("seed", 0), ("num_examples", 2)):
        if values[name] is not None:
            counts[name] = config.parse_flag(name, values[name], parsers.integer(low))
    return metrics.Request(list(dict.fromkeys(asked)), settings, **counts, is_brief=text is None)


def in_order() -> list[str]:
    """Names of all metrics, best known first."""
    return [OBJECTIVE, *evaluation.costs(), UDR]


def quick() -> list[str]:
    """Names of the metrics that take seconds, with which an evaluation begins."""
    return [OBJECTIVE, *(n for n, cost in evaluation.costs().items() if cost.is_quick), UDR]


def parser(flag: str, default: Any) -> Callable[[str], Any]:
    """The parser for the flag of a setting: a count, or one of its words."""
    if isinstance(default, int):
        return parsers.integer(1)
    if flag not in WORDS:
        return parsers.text
    known, are_several = WORDS[flag]
    parse = parsers.choice(known)
    if not are_several:
        return parse
    return lambda value: ",".join(parse(word.strip()) for word in value.split(","))


def setting_flags() -> dict[str, tuple[str, str, Any]]:
    """Flag → metric, setting, default: `--nll_num_samples`."""
    return {
        f"{metric}_{name}": (metric, name, default)
        for metric in evaluation.names()
        for name, default in evaluation.settings(metric).items()
        if name != "num_rows"
    }


def flag_texts() -> dict[str, str]:
    """Flag → its help line."""
    texts = {
        "run": "directory of a run, of a sweep, or of one program of it (runs/…/programs/all)",
        "member": "which run of the program, from 0 (default: all)",
        "metrics": f"some of {', '.join(in_order())}, or all (default: those that take seconds, "
        f"{', '.join(quick())})",
        "num_examples": "of the test split, evenly spread over it (default: all); objective takes "
        "all of it, and fits to the training split are bounded by their own flags",
        "seed": "decides every draw (default: 0) but those of objective, which has the run's own",
        "data_dir": "where datasets lie, or files that moved (default: where they lay in training)",
    }
    for flag, (metric, name, default) in setting_flags().items():
        told = "all" if default is None else default
        told = f"{told}, or as many as there are" if isinstance(default, AtMost) else told
        words = f", of {', '.join(WORDS[flag][0])}" if flag in WORDS else ""
        texts[flag] = f"{name} of {metric}{words} (default: {told})"
    return texts


def run() -> None:
    """Parses the flags of an evaluation from `sys.argv`, evaluates, and exits."""
    example = [*entry.words("evaluate"), "--run=runs/digits-beta=4", "--metrics=nll,latent_use"]
    cli.start(main, flag_texts(), DESCRIPTION, example=" ".join(example))
