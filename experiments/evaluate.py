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
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import build as building
from experiments import cli, config, pictures, train
from vae_jax import distributions, evaluation, latents, members, runs
from vae_jax.errors import DivergedError, StorageError, UsageError
from vae_jax.evaluation import udr
from vae_jax.evaluation.elbo import active_units
from vae_jax.evaluation.subject import NotApplicableError, Subject

DESCRIPTION = (
    "Evaluates a trained run, or the runs of a sweep, on the test split from the newest verified "
    "checkpoint: prints each number with its standard error and its definition, and keeps all in "
    "evaluation/ of the run's directory."
)
OBJECTIVE, UDR = "objective", "udr"
ERROR = "_standard_error"
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
    dataset = train.load(asked)
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
    return config.from_flags(values)


def objective_terms(trained: Trained) -> dict:
    """The objective's terms on the test split, as `result.json` has them.

    Returns:
        Terms and standard errors in nats, active units.
    """
    experiment = trained.experiment
    steps = experiment.layout.place(np.full(1, trained.member.step, np.int32))
    evaluated = building.evaluate(experiment, trained.params, "test", steps)
    terms = {name: float(value[0]) for name, value in evaluated.terms.items()}
    errors = {f"{n}_standard_error": float(v[0]) for n, v in evaluated.standard_errors.items()}
    units = int(active_units(evaluated.mean_variance[0]).sum())
    num_examples = len(experiment.dataset.test)
    return {"num_examples": num_examples, **terms, **errors, "active_units": units}


def make_subject(trained: Trained, seed: int, num_examples: int | None = None) -> Subject:
    """What the metrics measure; a scalar seed decides all their draws."""
    experiment = trained.experiment
    params = jax.tree.map(np.asarray, experiment.layout.read(trained.params))
    model, params, _ = building.member(experiment, 0, params)
    return Subject(
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
    """The metrics of one run.

    Returns:
        Metric → values (as of its `measure`), definitions, settings, step, seed, seconds; or the
        reason why it is left out.
    """
    results = {}
    for name in request.metrics:
        start = time.perf_counter()
        settings, seed = {}, request.seed
        try:
            if name == OBJECTIVE:
                values, definitions = objective_terms(trained), OBJECTIVE_DEFINITIONS
                seed = trained.experiment.config.seed
            else:
                settings = {**evaluation.settings(name), **request.settings.get(name, {})}
                module = evaluation.load(name)
                values, definitions = module.measure(subject, **settings), module.DEFINITIONS
        except NotApplicableError as reason:
            results[name] = {"left_out": str(reason)}
            continue
        order = {entry: i for i, entry in enumerate(definitions)}
        entries = sorted(values, key=lambda e: order.get(e.removesuffix(ERROR), len(order)))
        results[name] = {
            "values": {entry: values[entry] for entry in entries},
            "definitions": {k: v for k, v in definitions.items() if k in values},
            "settings": settings,
            "step": trained.member.step,
            "seed": seed,
            "seconds": round(time.perf_counter() - start, 2),
        }
    return results


def lines(results: dict[str, dict]) -> Iterator[str]:
    """The numbers of one run, each with its standard error and what it means."""
    for metric, result in results.items():
        if "left_out" in result:
            yield f"{metric}: left out, {result['left_out']}"
            continue
        yield f"{metric} ({result['seconds']:.1f} s):"
        values = {k: v for k, v in result["values"].items() if not isinstance(v, dict)}
        names = [name for name in values if not name.endswith(ERROR)]
        width = max(map(len, names), default=0)
        for name in names:
            error, meaning = values.get(f"{name}{ERROR}"), result["definitions"].get(name, "")
            if isinstance(values[name], str | list):
                yield f"  {name:<{width}}  {spell(values[name])}"
            else:
                told = spell(values[name]) + ("" if error is None else f" ± {error:.2g}")
                yield f"  {name:<{width}}  {told:<20}  {meaning}".rstrip()


def spell(value: Any) -> str:
    """A value as a table has it, a list shortened."""
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: "–"}[value]
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


def write(directory: Path, name: str, results: dict[str, dict]) -> None:
    """Adds metrics to what a run's file has; others in it stay."""
    path = runs.make_folder(directory / "evaluation") / name
    try:
        held = json.loads(path.read_bytes())["metrics"]
    except (OSError, ValueError, KeyError, TypeError):
        held = {}
    runs.write_json(path, {"metrics": {**held, **results}})


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
        parse = config.integer(1) if isinstance(default, int) else config.text
        settings.setdefault(metric, {})[name] = config.parse_flag(flag, values[flag], parse)
    counts = {"seed": 0, "num_examples": None}
    for name, low in (("seed", 0), ("num_examples", 2)):
        if values[name] is not None:
            counts[name] = config.parse_flag(name, values[name], config.integer(low))
    return Request(asked, settings, **counts)


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
    if values["member"] is not None:
        if len(programs) > 1:
            raise UsageError(
                f"--member={values['member']}: {directory} holds {len(programs)} programs, name "
                f"one of them, such as --run={programs[0]}"
            )
        parse = config.integer(0, len(chosen) - 1)
        chosen = [chosen[config.parse_flag("member", values["member"], parse)]]
    rows, posteriors, compared = [], [], []
    own = request._replace(metrics=[name for name in request.metrics if name != UDR])
    is_kept = True
    for path, member in chosen:
        where = "" if len(programs) == 1 else f" of {path.name}"
        try:
            trained = load(path, member, values["data_dir"])
        except DivergedError as error:
            if len(chosen) == 1:
                raise
            runs.say(str(error))
            continue
        dataset = trained.experiment.dataset
        runs.say(
            f"member {member}{where} at step {trained.member.step}: {dataset.name}, "
            f"{len(dataset.test)} test examples, seed {request.seed}"
        )
        subject = make_subject(trained, request.seed, request.num_examples)
        results = evaluate(trained, subject, own)
        for line in lines(results):
            runs.say(line)
        is_kept &= keep(path, f"member-{member}", results, subject)
        rows.append({"program": path.name, "member": member, **flat(results)})
        is_gaussian = isinstance(subject.model.latent, latents.Gaussian)
        if UDR in request.metrics and len(chosen) > 1 and is_gaussian:
            compared.append(rows[-1])
            posterior = subject.posterior(num_examples=10_000)
            rates = distributions.kl_divergence(posterior, subject.prior).mean(axis=0)
            posteriors.append((dataset.name, posterior.mean, np.asarray(rates)))
    if UDR in request.metrics and len(posteriors) < 2:
        runs.say(f"{UDR}: left out, it compares the runs of a sweep, of Gaussian codes")
    if len(posteriors) > 1:
        for row, score in zip(compared, agreement(posteriors, request.seed), strict=True):
            row["udr.udr"] = score
        for line in udr_lines(compared):
            runs.say(line)
    if len(chosen) > 1 and is_kept:
        runs.write_table(directory / "evaluation.csv", rows)
        runs.say(f"in {directory}: evaluation.csv, and evaluation/ of each program")
    elif is_kept:
        runs.say(f"in {chosen[0][0]}: evaluation/")


def keep(path: Path, name: str, results: dict, subject: Subject) -> bool:
    """Writes results where they can be written; a run that may only be read is evaluated too."""
    try:
        write(path, f"{name}.json", results)
        if subject.latent_dim == 2 and "values" in results.get("latent_geometry", {}):
            pictures.draw_geometry(subject, path / "evaluation" / f"{name}-latent_geometry")
    except (OSError, StorageError) as error:
        runs.say(f"nothing is kept: {getattr(error, 'strerror', None) or error}")
        return False
    return True


def agreement(codes: Sequence[tuple[str, np.ndarray, np.ndarray]], seed: int) -> list:
    """How much each run agrees with the others on the same data, see `udr`.

    Args:
        codes: name of the data, codes [N, L] and rate of each dimension [L] of each run.
        seed: a count.

    Returns:
        A score for each run; None where no other has its data.
    """
    scores: list[float | None] = [None] * len(codes)
    for dataset in {name for name, _, _ in codes}:
        group = [i for i, (name, _, _) in enumerate(codes) if name == dataset]
        if len(group) > 1:
            own, rates = [codes[i][1] for i in group], [codes[i][2] for i in group]
            ranking = udr.evaluate(own, jax.random.key(seed), rates=rates)
            for i, score in zip(group, ranking.scores, strict=True):
                scores[i] = float(score)
    return scores


def udr_lines(rows: Sequence[dict]) -> Iterator[str]:
    """The scores of all runs, each beside its run."""
    yield f"udr over {len(rows)} runs: {udr.DEFINITIONS['udr']}"
    for row in rows:
        score = row["udr.udr"]
        told = "–" if score is None or math.isnan(score) else f"{score:.4f}"
        yield f"  member {row['member']} of {row['program']}  {told}"


def flag_texts() -> dict[str, str]:
    """Flag → its line of help."""
    texts = {
        "run": "directory of a run, of a sweep, or of one program of it (runs/…/programs/all)",
        "member": "which run of the program, from 0 (default: all)",
        "metrics": f"some of {', '.join([OBJECTIVE, *evaluation.names(), UDR])} (default: all)",
        "num_examples": "of the test split, evenly spread over it (default: all)",
        "seed": "decides every draw (default: 0)",
        "data_dir": "where datasets lie (default: where they lay in training)",
    }
    for flag, (metric, name, default) in setting_flags().items():
        told = "all" if default is None else default
        texts[flag] = f"{name} of {metric} (default: {told})"
    return texts


if __name__ == "__main__":
    cli.start(
        main,
        flag_texts(),
        DESCRIPTION,
        example="python -m experiments.evaluate --run=runs/digits-beta=4 --metrics=nll,latent_use",
    )
