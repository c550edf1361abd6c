"""Evaluates trained runs: `python -m experiments.evaluate --run=DIR --metrics=nll,latent_use`.

A metric is a file in `vae_jax/evaluation/` with a function `measure`, whose settings are the flags
here; beside those there are two that need more than a model and its data: `objective`, the terms
that were trained, and `udr`, which compares the runs of a sweep.
"""

if __name__ == "__main__":
    from experiments import interrupts

    # before the imports that take a second
    interrupts.exit_at_once()

import json
import os
import shutil
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import build as building
from experiments import cli, config, pictures, tables, train
from experiments.progress import Watch
from vae_jax import distributions, evaluation, latents, losses, members, runs
from vae_jax.errors import DataError, DivergedError, StorageError, UsageError
from vae_jax.evaluation import ais, disentanglement, udr
from vae_jax.evaluation.disentanglement import dci
from vae_jax.evaluation.elbo import active_units
from vae_jax.evaluation.subject import SPLITS, NotApplicableError, Subject

DESCRIPTION = (
    "Evaluates a trained run, or the runs of a sweep, on the test split from the newest verified "
    "checkpoint: prints each number with its standard error and its definition, and keeps all in "
    "evaluation/ of the run's directory."
)
OBJECTIVE, UDR = "objective", "udr"
ERROR = "_standard_error"
MOST_COMPARED = 10_000
"""Test examples whose codes `udr` compares, a count."""
SAME = 1e-6
"""A standard error below this share of its value is the rounding of equal numbers."""
FEW_SAMPLES = 10
"""An effective sample size below this (a scalar) is told to be too small."""
WORDS = {
    "ais_initial": (ais.INITIALS, False),
    "disentanglement_metrics": (disentanglement.names(), True),
    "disentanglement_predictors": (dci.PREDICTORS, True),
    "exact_split": (SPLITS, False),
    "latent_use_kernel": (tuple(losses.KERNELS), False),
}
"""Flags that take words → which, and whether several."""
OBJECTIVE_DEFINITIONS = {
    "num_examples": "N, the examples of the test split",
    "loss": "what was minimised, one sample of z each",
    "elbo": "−(distortion + rate) in nats per example, one sample of z each",
    "rate": "KL(q(z|x) ‖ p(z)) in nats per example",
    "distortion": "−log p(x|z) in nats per example, one sample of z each",
    "mutual_information": "of the rate, I(x; z) in nats, from a few examples (see latent_use)",
    "total_correlation": "of the rate, KL(q(z) ‖ Π_l q(z_l)) in nats, from a few examples",
    "dimension_wise_kl": "of the rate, Σ_l KL(q(z_l) ‖ p(z_l)) in nats, from a few examples",
    "active_units": "dimensions whose posterior mean varies over x by more than 0.01 of what the "
    "prior varies (Burda 2015)",
    "commitment": "squared distance of the encoder's features from the codes they became",
    "perplexity": "codes in use, by the entropy of their use among 500 examples at a time",
    "accuracy": "share of examples whose label a classifier finds that has not seen it",
}


class Trained(NamedTuple):
    """One run as training left it.

    Attributes:
        experiment: of this run alone.
        params: a density's, [S, …] on the devices.
        member: from `members.load_member`.
    """

    experiment: building.Experiment
    params: Any
    member: members.Member


def load(directory: str | Path, member: int, data_dir: str | None = None) -> Trained:
    """A run of a program, its data, and the parameters that make p(x|z) a density.

    Args:
        directory: of a program: a run directory, or one below `programs/` of a sweep.
        member: which of its runs, a count from 0.
        data_dir: where datasets lie; None means where they lay in training.

    Raises:
        UsageError: there is no such run.
        DivergedError: it diverged.
        StorageError: its files cannot be read.
    """
    loaded = members.load_member(directory, member)
    if loaded.failure is not None:
        raise DivergedError(f"member {member} of {directory} diverged at step {loaded.failure}")
    asked = read_config(Path(directory), member, data_dir)
    try:
        dataset = train.load(asked)
    except (DataError, UsageError) as error:
        raise type(error)(
            f"{error}; of data that moved since training, name the folder by --data_dir"
        ) from None
    resolved = config.resolve(asked, dataset)
    experiment = building.build([resolved], dataset, latent_dim=loaded.latent_dim)
    params = jax.tree.map(lambda leaf: np.asarray(leaf)[None], loaded.params)
    params = building.frozen(experiment, experiment.layout.place(params))
    return Trained(experiment, params, loaded)


def read_config(directory: Path, member: int, data_dir: str | None) -> config.Config:
    """The `Config` that a run of a program was trained with."""
    path = directory / "members.json"
    try:
        given = json.loads(path.read_bytes())[member]
        values = dict(flag.removeprefix("--").split("=", 1) for flag in given)
    except (OSError, ValueError, IndexError, AttributeError) as error:
        raise StorageError(f"{path} cannot be read ({error}): use the run as it was left") from None
    if data_dir is not None:
        values["data_dir"] = data_dir
        moved = Path(data_dir, Path(values.get("dataset", "")).name)
        if os.path.dirname(values.get("dataset", "")) and moved.exists():
            values["dataset"] = str(moved)
    return config.from_flags(values)


def objective_terms(trained: Trained) -> dict:
    """The objective's terms on the test split, as `result.json` has them.

    Returns:
        Terms and standard errors in nats, active units. A term that is the same for all examples
        has no standard error.
    """
    experiment = trained.experiment
    steps = experiment.layout.place(np.full(1, trained.member.step, np.int32))
    evaluated = building.evaluate(experiment, trained.params, "test", steps)
    terms = {name: float(value[0]) for name, value in evaluated.terms.items()}
    errors = {
        f"{name}{ERROR}": float(value[0])
        for name, value in evaluated.standard_errors.items()
        if value[0] > SAME * abs(terms[name])
    }
    units = int(active_units(evaluated.mean_variance[0]).sum())
    num_examples = len(experiment.dataset.test)
    return {"num_examples": num_examples, **terms, **errors, "active_units": units}


def objective_definitions(trained: Trained, terms: Sequence[str]) -> dict[str, str]:
    """What each term of the objective means, by name."""
    objective = trained.experiment.config.objective
    generic = f"a term of --objective={objective}, see vae_jax/objectives/{objective}.py"
    return {**dict.fromkeys(terms, generic), **OBJECTIVE_DEFINITIONS}


class Watched(Subject):
    """A `Subject` whose passes over the data are counted by a `Watch`."""

    watch: Watch | None = None

    def blocks(self, split: str, num_rows: int | None = None, num_examples: int | None = None):
        """See `Subject.blocks`."""
        blocks = super().blocks(split, num_rows, num_examples)
        num = self.size(split) if num_examples is None else min(self.size(split), num_examples)
        return blocks if self.watch is None else self.watch.count(blocks, num)


def make_subject(trained: Trained, seed: int, num_examples: int | None = None) -> Watched:
    """What the metrics measure; a scalar seed decides all their draws."""
    experiment = trained.experiment
    params = jax.tree.map(np.asarray, experiment.layout.read(trained.params))
    model, params, _ = building.member(experiment, 0, params)
    return Watched(
        model,
        params,
        experiment.dataset,
        preprocess=experiment.preprocess,
        key=jax.random.key(seed),
        num_examples=num_examples,
        conditions=experiment.conditions,
        given=experiment.loss_fn.given,
    )


class Request(NamedTuple):
    """What is asked for.

    Attributes:
        metrics: names, in order.
        settings: of each metric, those that were given.
        seed: of all draws, a count.
        num_examples: of the test split, a count; None means all.
    """

    metrics: Sequence[str]
    settings: dict[str, dict]
    seed: int = 0
    num_examples: int | None = None


def evaluate(trained: Trained, subject: Subject, request: Request) -> dict[str, dict]:
    """The metrics of one run: metric → result, as of `measure`."""
    return {name: measure(trained, subject, request, name) for name in request.metrics}


def measure(trained: Trained, subject: Subject, request: Request, name: str) -> dict:
    """One metric of one run.

    Returns:
        values (as of the metric's `measure`), definitions, notes, settings, step, seed, seconds; or
        left_out, the reason why there are none, with `refused` where it is a setting that was
        given.
    """
    start = time.perf_counter()
    given, seed = request.settings.get(name, {}), request.seed
    try:
        if name == OBJECTIVE:
            settings, values = {}, objective_terms(trained)
            definitions = objective_definitions(trained, values)
            seed = trained.experiment.config.seed
        else:
            settings = {**evaluation.settings(name), **given}
            module = evaluation.load(name)
            values, definitions = module.measure(subject, **settings), module.DEFINITIONS
    except NotApplicableError as reason:
        return {"left_out": str(reason)}
    except (DataError, UsageError) as reason:
        # what the data do not admit is left out; what was asked for in so many words is an error
        return {"left_out": str(reason), **({"refused": True} if given else {})}
    order = {entry: i for i, entry in enumerate(definitions)}
    entries = sorted(values, key=lambda e: order.get(e.removesuffix(ERROR), len(order)))
    definitions = {k: v for k, v in definitions.items() if k in values}
    split = settings.get("split", "test")
    num, num_split = values.get("num_examples"), len(getattr(subject.dataset, split))
    if num is not None and num < num_split:
        told = definitions.get("num_examples", "N")
        definitions["num_examples"] = f"{told}; {num:,} of the {num_split:,} of the {split} split"
    return {
        "values": {entry: values[entry] for entry in entries},
        "definitions": definitions,
        "notes": list(notes(name, values)),
        "settings": settings,
        "step": trained.member.step,
        "seed": seed,
        "seconds": round(time.perf_counter() - start, 2),
    }


def notes(metric: str, values: dict) -> Iterator[str]:
    """What a reader of a metric's values should know beside their definitions."""
    if metric == "nll" and values.get("effective_samples", FEW_SAMPLES) < FEW_SAMPLES:
        yield (
            f"of {values['num_samples']:,} samples fewer than {FEW_SAMPLES} count: nll lies above "
            "−log p(x) by an unknown amount, give a larger --nll_num_samples"
        )


def title(metric: str, settings: dict) -> str:
    """What a result is kept under: a split other than test stands beside it, not in its place."""
    split = settings.get("split", "test")
    return metric if split == "test" else f"{metric}_{split}"


def lines(results: dict[str, dict], given: dict) -> Iterator[str]:
    """The numbers of one run, each with its standard error and what it means.

    Args:
        results: metric → as of `measure`.
        given: the settings that the flags name.
    """
    for metric, result in results.items():
        if "left_out" in result:
            yield f"{metric}: left out, {result['left_out']}"
            continue
        words = [f"{result['seconds']:.1f} s", *(f"{k}={v}" for k, v in given.items())]
        yield f"{metric} ({', '.join(words)}):"
        values = result["values"]
        names = [name for name in values if not name.endswith(ERROR)]
        width = max(map(len, names), default=0)
        for name in names:
            meaning = result["definitions"].get(name, "")
            if isinstance(values[name], dict):
                yield f"  {name}: {meaning}"
                yield from (f"    {key}: {spell(each)}" for key, each in values[name].items())
                continue
            error = values.get(f"{name}{ERROR}")
            told = spell(values[name]) + ("" if error is None else f" ± {error:.2g}")
            yield from entry(f"  {name:<{width}}  ", told, meaning)
        for note in result["notes"]:
            indents = {"initial_indent": "  ", "subsequent_indent": "    "}
            yield from textwrap.wrap(f"note: {note}", columns(), **indents)


def columns() -> int:
    """How wide a page is, a count of characters."""
    return max(80, shutil.get_terminal_size((110, 24)).columns)


def entry(head: str, told: str, meaning: str) -> Iterator[str]:
    """A value and what it means, which goes on in a column of its own below."""
    indent = len(head) + 22
    wrapped = textwrap.wrap(meaning, max(40, columns() - indent - 1)) or [""]
    if len(told) > 20:
        goes_on = " " * len(head)
        indents = {"initial_indent": head, "subsequent_indent": goes_on}
        yield from textwrap.wrap(told, columns(), **indents)
    else:
        yield f"{head}{told:<20}  {wrapped.pop(0)}".rstrip()
    yield from (" " * indent + line for line in wrapped if line)


def spell(value: Any) -> str:
    """A value as a table has it, a list shortened."""
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, dict):
        return ", ".join(f"{key} {spell(each)}" for key, each in value.items())
    if isinstance(value, list):
        return " ".join(f"{v:.3g}" for v in value[:8]) + (" …" if len(value) > 8 else "")
    if isinstance(value, int | str):
        return f"{value:,}" if isinstance(value, int) else value
    return f"{value:.3f}" if abs(value) >= 10 else f"{value:.4f}"


def flat(results: dict[str, dict]) -> dict[str, Any]:
    """One run's numbers as a row of a table: `metric.name` → value."""
    return {
        f"{metric}.{name}": value
        for metric, result in results.items()
        for name, value in result.get("values", {}).items()
        if not isinstance(value, list | dict)
    }


def programs_of(directory: Path) -> list[Path]:
    """The programs that a directory holds: its own, or those of a sweep."""
    folder = directory / "programs"
    if not folder.is_dir():
        return [directory]
    found = sorted(path for path in folder.iterdir() if (path / "config.json").is_file())
    if not found:
        raise UsageError(f"--run={directory}: none of its programs has begun, train it first")
    return found


def held(directory: Path, name: str) -> dict[str, dict]:
    """The metrics that a file has."""
    try:
        return dict(json.loads((directory / "evaluation" / name).read_bytes())["metrics"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def write(directory: Path, name: str, results: dict[str, dict]) -> None:
    """Adds metrics to what a run's file has; others in it stay."""
    path = runs.make_folder(directory / "evaluation") / name
    runs.write_json(path, {"metrics": {**held(directory, name), **results}})


def parse_request(values: dict) -> Request:
    """What the flags ask for.

    Raises:
        UsageError: a name or a number does not fit.
    """
    known = [OBJECTIVE, *evaluation.names(), UDR]
    text = values["metrics"]
    asked = known if text in (None, "all") else [name.strip() for name in text.split(",")]
    for name in asked:
        config.parse_flag("metrics", name, config.choice(known))
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
            counts[name] = config.parse_flag(name, values[name], config.integer(low))
    return Request(list(dict.fromkeys(asked)), settings, **counts)


def parser(flag: str, default: Any) -> Callable[[str], Any]:
    """How the flag of a setting is read: a count, or words among those that it takes."""
    if isinstance(default, int):
        return config.integer(1)
    if flag not in WORDS:
        return config.text
    known, are_several = WORDS[flag]
    parse = config.choice(known)
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


def main(values: dict) -> None:
    """Evaluates what the flags name."""
    if values["run"] is None:
        raise UsageError("--run: name a run directory, such as --run=runs/digits-beta=4")
    request = parse_request(values)
    directory = Path(values["run"])
    programs = programs_of(directory)
    chosen = [(path, m) for path in programs for m in range(members.num_members(path))]
    configs = [read_config(path, member, None) for path, member in chosen]
    names = [
        f"member {member}{'' if len(programs) == 1 else f' of {path.name}'}"
        f"{f' ({apart})' if apart else ''}"
        for (path, member), apart in zip(chosen, building.differences(configs), strict=True)
    ]
    if values["member"] is not None:
        if len(programs) > 1:
            raise UsageError(
                f"--member={values['member']}: {directory} holds {len(programs)} programs, name "
                f"one of them, such as --run={programs[0]}"
            )
        parse = config.integer(0, len(chosen) - 1)
        number = config.parse_flag("member", values["member"], parse)
        chosen, configs, names = ([each[number]] for each in (chosen, configs, names))
    keeper, codes, refused = Keeper(), [], []
    steps: list[int | None] = []
    for (path, member), name in zip(chosen, names, strict=True):
        try:
            trained = load(path, member, values["data_dir"])
        except DivergedError as error:
            if len(chosen) == 1:
                raise
            runs.say(str(error))
            steps.append(None)
            continue
        steps.append(trained.member.step)
        dataset = trained.experiment.dataset
        runs.say(
            f"{name} at step {told_step(trained, path)}: {dataset.name}, "
            f"{len(dataset.test):,} test examples, seed {request.seed}"
        )
        subject = make_subject(trained, request.seed, request.num_examples)
        subject.watch = Watch()
        for metric in request.metrics:
            if metric == UDR:
                continue
            with subject.watch.over(f"{name}, {metric}"):
                result = measure(trained, subject, request, metric)
            if result.pop("refused", False):
                refused.append(f"{metric}: {result['left_out']}")
            given = request.settings.get(metric, {})
            found = {title(metric, given): result}
            for line in lines(found, given):
                runs.say(line)
            keeper.keep(path, f"member-{member}", found, subject)
        is_gaussian = isinstance(subject.model.latent, latents.Gaussian)
        if UDR in request.metrics and len(chosen) > 1 and is_gaussian:
            posterior = subject.posterior(num_examples=MOST_COMPARED)
            rates = distributions.kl_divergence(posterior, subject.prior).mean(axis=0)
            place = {"program": path.name, "member": member, "step": trained.member.step}
            codes.append((place, dataset.name, posterior.mean, np.asarray(rates)))
    if UDR in request.metrics and len(codes) < 2:
        runs.say(f"{UDR}: left out, it compares the runs of a sweep, of Gaussian codes")
    if len(codes) > 1:
        with Watch().over(UDR):
            ranking = compare(codes, request.seed)
        for line in udr_lines(ranking):
            runs.say(line)
        keeper.write(directory, f"{UDR}.json", {UDR: ranking})
    if len(chosen) > 1:
        rows = rows_of(directory, chosen, configs, steps)
        keeper.do(lambda: runs.write_table(directory / "evaluation.csv", rows), directory)
    if keeper.is_able:
        told = "evaluation.csv, and evaluation/ of each program" if len(chosen) > 1 else ""
        runs.say(f"in {directory}: {told}" if told else f"in {chosen[0][0]}: evaluation/")
    if refused:
        raise UsageError(refused[0])


def told_step(trained: Trained, directory: Path) -> str:
    """A run's step, and how many there will be where training has not come to its end."""
    step, num_steps = trained.member.step, trained.experiment.num_steps
    if step >= num_steps or members.read_results(directory) is not None:
        return f"{step:,}"
    return f"{step:,} of {num_steps:,}, its training is not finished"


class Keeper:
    """Writes results where they can be written; a run that may only be read is evaluated too.

    Attributes:
        is_able: whether all could be written so far; after a failure, which is told, nothing more
            is tried.
    """

    def __init__(self):
        self.is_able = True

    def do(self, act: Callable[[], Any], directory: Path) -> None:
        """Does what writes in a directory, or says why it cannot."""
        if not self.is_able:
            return
        try:
            act()
        except (OSError, StorageError) as error:
            reason = getattr(error.__cause__ or error, "strerror", None) or error
            runs.say(f"nothing is kept: {reason} ({directory})")
            self.is_able = False

    def write(self, directory: Path, name: str, results: dict) -> None:
        """Adds results to a file, see `write`."""
        self.do(lambda: write(directory, name, results), directory / "evaluation")

    def keep(self, path: Path, name: str, results: dict, subject: Subject) -> None:
        """Adds a run's results to its file, with a picture where there is one."""
        # a reason does not take the place of numbers
        before = held(path, f"{name}.json")
        new = {
            k: v for k, v in results.items() if "values" in v or "values" not in before.get(k, {})
        }
        self.write(path, f"{name}.json", new)
        if subject.latent_dim == 2 and "values" in results.get("latent_geometry", {}):
            picture = path / "evaluation" / f"{name}-latent_geometry"
            self.do(lambda: pictures.draw_geometry(subject, picture), path / "evaluation")


def rows_of(
    directory: Path,
    chosen: Sequence[tuple[Path, int]],
    configs: Sequence[config.Config],
    steps: Sequence[int | None],
) -> list[dict]:
    """A row for each run: where it lies, what sets it apart, status, all that is kept of its step.

    Args:
        directory: of the sweep, where `udr` is kept.
        chosen: directory of its program, and member, of each run.
        configs: of each.
        steps: of each, None of one that diverged.
    """
    ranking = held(directory, f"{UDR}.json").get(UDR, {"values": {}})
    scores = {}
    for group in ranking["values"].get("groups", []):
        for i, place in enumerate(group["runs"]):
            errors = group["standard_errors"][i]
            scores[tuple(place.values())] = {
                "udr.udr": group["scores"][i],
                f"udr.udr{ERROR}": errors,
            }
    apart = tables.varying(configs)
    rows = []
    for (path, member), each, step in zip(chosen, configs, steps, strict=True):
        results = members.read_results(path)
        status = "unfinished" if results is None else results[member]["status"]
        own = {
            metric: result
            for metric, result in held(path, f"member-{member}.json").items()
            if step is not None and result.get("step") == step
        }
        setting = config.settings(each)
        rows.append(
            {"program": path.name, "member": member}
            | {name: tables.plain(setting.get(name)) for name in apart}
            | {"status": "diverged" if step is None else status, "step": step}
            | flat(own)
            | scores.get((path.name, member, step), {})
        )
    return rows


def compare(codes: Sequence[tuple[dict, str, np.ndarray, np.ndarray]], seed: int) -> dict:
    """How much each run agrees with the others on the same data, see `udr`.

    Args:
        codes: of each run where it lies, the name of its data, codes [N, L] and rate of each
            dimension [L].
        seed: a count.

    Returns:
        As of `measure`; the values are groups of runs on the same data, with their scores and the
        matrix behind them. A run that is alone with its data is in none.
    """
    start = time.perf_counter()
    groups = []
    for dataset in dict.fromkeys(name for _, name, _, _ in codes):
        own = [each for each in codes if each[1] == dataset]
        if len(own) < 2:
            continue
        ranking = udr.evaluate(
            [c for _, _, c, _ in own], jax.random.key(seed), rates=[r for *_, r in own]
        )
        errors = [None if np.isnan(e) else float(e) for e in ranking.standard_errors]
        groups.append(
            {
                "dataset": dataset,
                "runs": [place for place, *_ in own],
                "num_points": ranking.num_points,
                "num_informative": ranking.num_informative.tolist(),
                "scores": ranking.scores.tolist(),
                "standard_errors": errors,
                "pairwise": ranking.pairwise.tolist(),
            }
        )
    return {
        "values": {"groups": groups},
        "definitions": udr.DEFINITIONS,
        "settings": {"similarity": "lasso", "penalty": 0.1, "num_points": MOST_COMPARED},
        "seed": seed,
        "seconds": round(time.perf_counter() - start, 2),
    }


def udr_lines(ranking: dict) -> Iterator[str]:
    """The scores of all runs, each beside its run."""
    for group in ranking["values"]["groups"]:
        yield (
            f"udr over {len(group['runs'])} runs, {group['num_points']:,} examples of "
            f"{group['dataset']}:"
        )
        yield from textwrap.wrap(
            ranking["definitions"]["udr"], columns(), initial_indent="  ", subsequent_indent="  "
        )
        rows = zip(
            group["runs"],
            group["scores"],
            group["standard_errors"],
            group["num_informative"],
            strict=True,
        )
        for place, score, error, num in rows:
            told = f"{score:.4f}" + ("" if error is None else f" ± {error:.2g}")
            yield (
                f"  member {place['member']} of {place['program']}  {told}, "
                f"{num} informative dimensions"
            )


def flag_texts() -> dict[str, str]:
    """Flag → its line of help."""
    texts = {
        "run": "directory of a run, of a sweep, or of one program of it (runs/…/programs/all)",
        "member": "which run of the program, from 0 (default: all)",
        "metrics": f"some of {', '.join([OBJECTIVE, *evaluation.names(), UDR])} (default: all)",
        "num_examples": "of the test split, evenly spread over it (default: all); objective takes "
        "all of it, and fits to the training split are bounded by their own flags",
        "seed": "decides every draw (default: 0) but those of objective, which has the run's own",
        "data_dir": "where datasets lie, or files that moved (default: where they lay in training)",
    }
    for flag, (metric, name, default) in setting_flags().items():
        told = "all" if default is None else default
        words = f", of {', '.join(WORDS[flag][0])}" if flag in WORDS else ""
        texts[flag] = f"{name} of {metric}{words} (default: {told})"
    return texts


if __name__ == "__main__":
    cli.start(
        main,
        flag_texts(),
        DESCRIPTION,
        example="python -m experiments.evaluate --run=runs/digits-beta=4 --metrics=nll,latent_use",
    )
