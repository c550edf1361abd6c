"""Measures a trained run: with the metrics of `vae_jax/evaluation/`, and two that need more.

`objective` measures the terms that were trained; `udr` compares the runs of a sweep.
"""

import dataclasses
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax import distributions, evaluation, objectives
from vae_jax.errors import DataError, DivergedError, StorageError, UsageError, verbatim
from vae_jax.evaluation import udr
from vae_jax.evaluation.subject import AtMost, NotApplicableError, Subject
from vae_jax.lab import build as building
from vae_jax.lab import config, environment, settings, stored, train
from vae_jax.lab.progress import Watch
from vae_jax.lab.resolved import resolve
from vae_jax.model import Model
from vae_jax.program import objective_terms
from vae_jax.storage import files, members

__all__ = [
    "BRIEF",
    "ERROR",
    "FEW_SAMPLES",
    "MOST_COMPARED",
    "OBJECTIVE_DEFINITIONS",
    "Code",
    "Loader",
    "Place",
    "Request",
    "Trained",
    "Watched",
    "alone",
    "code_of",
    "compare",
    "load",
    "make_subject",
    "measure",
    "notes",
    "objective_definitions",
    "objective_terms",
    "operations",
    "read_config",
    "read_configs",
    "reduced",
    "seconds",
    "whole",
]

OBJECTIVE, UDR = "objective", "udr"
ERROR = "_standard_error"
MOST_COMPARED = 10_000
"""Number of test examples whose codes `udr` compares, a count."""
BRIEF = 1e12
"""Floating-point operations that `nll` may take if nothing is asked for, a scalar."""
FEW_SAMPLES = 10
"""An effective sample size below this (a scalar) is reported as too small."""
OBJECTIVE_DEFINITIONS = {
    "num_examples": "N, the examples of the test split",
    "loss": "what was minimized",
    "elbo": "−(distortion + rate) in nats per example",
    "rate": "KL(q(z|x) ‖ p(z)) in nats per example",
    "distortion": "−log p(x|z) in nats per example, as many samples of z as in training",
    "squared_error": "‖x − E[x|z]‖² per example, summed over its numbers: no nats",
    "mutual_information": "of the rate, I(x; z) in nats, from a few examples (see latent_use)",
    "total_correlation": "of the rate, KL(q(z) ‖ Π_l q(z_l)) in nats, from a few examples",
    "dimension_wise_kl": "of the rate, Σ_l KL(q(z_l) ‖ p(z_l)) in nats, from a few examples",
    "active_units": "dimensions whose posterior mean varies over x by more than 0.01 of what the "
    "prior varies (Burda 2015)",
}
"""Meanings of the terms of most objectives; an objective's own `DEFINITIONS` take precedence."""


_PATHS = ("dataset", "test_data")
"""Settings that may be the path of a file."""


class Place(NamedTuple):
    """The location of a run.

    Attributes:
        directory: directory of its program.
        member: index of the run in the program, a count from 0.
        name: the index, and the settings in which it differs from the others.
        config: config of its training.
    """

    directory: Path
    member: int
    name: str
    config: settings.Config


class Trained(NamedTuple):
    """One run after training.

    Attributes:
        experiment: experiment with this run only.
        params: parameters with a fixed density, [S, …] on the devices.
        member: its parameters as they were saved, and its settings.
        program: the program that it is a run of.
    """

    experiment: building.Experiment
    params: Any
    member: members.Member
    program: members.Saved


class Loader:
    """Loads the runs of programs; reads the files of a program, and its data, once for all of them.

    Args:
        data_dir: folder of datasets; None means the folder used in training.
    """

    def __init__(self, data_dir: str | None = None):
        self._data_dir = data_dir
        self._datasets = train.Datasets()
        self._saved = members.Saved("")
        self._flags: Any = None

    def program(self, directory: str | Path) -> members.Saved:
        """The program in a directory, which is kept until another is asked for."""
        if self._saved.directory != Path(directory):
            self._saved, self._flags = members.Saved(directory), None
        return self._saved

    def load(self, directory: str | Path, member: int) -> Trained:
        """Loads a run of a program, its data, and parameters with a fixed density p(x|z).

        Args:
            directory: directory of a program: a run directory, or one below `programs/` of a sweep.
            member: index of the run, a count from 0.

        Raises:
            UsageError: there is no such run, or its version cannot be read.
            DataError: the data differ from those it was trained on.
            DivergedError: the run diverged.
            StorageError: its files cannot be read.
        """
        directory, saved = Path(directory), self.program(directory)
        loaded = saved.member(member)
        if loaded.failure is not None:
            raise DivergedError(f"member {member} of {directory} diverged at step {loaded.failure}")
        if self._flags is None:
            self._flags = _read_flags(directory)
        asked = _config_of(directory, self._flags, member, self._data_dir)
        asked = stored.as_begun(asked, loaded.settings)
        # the end of schedules that last a share of the run depends on it: members.json has no seal
        asked = dataclasses.replace(asked, epochs=loaded.settings.get("epochs", asked.epochs))
        dataset = self._dataset(directory, asked, loaded.settings.get("data_sha256"))
        resolved = resolve([asked], dataset)
        found = stored.with_widths_of(resolved.config, loaded.settings)
        _refuse_other_settings(directory, found, loaded.settings)
        environment.restore(loaded.settings)
        experiment = building.build(resolved, latent_dim=loaded.latent_dim)
        params = jax.tree.map(lambda leaf: np.asarray(leaf)[None], loaded.params)
        params = building.frozen(experiment, experiment.layout.place(params))
        return Trained(experiment, params, loaded, saved)

    def _dataset(self, directory: Path, asked: settings.Config, expected: str | None) -> Any:
        """The data of a run, which may be untrusted: read only if the hash is the expected one."""
        if self._data_dir is None:
            names = {name: getattr(asked, name) for name in _PATHS}
            given = {name: path for name, path in names.items() if path is not None}
            found = {name: _from_training(directory, path) for name, path in given.items()}
            asked = dataclasses.replace(asked, **found)
        if expected is None:
            raise DataError(
                f"{directory}: its config has no data_sha256, by which its data are known: use the "
                "run as it was left"
            )
        try:
            return self._datasets.load(asked, expected)
        except (DataError, UsageError) as error:
            told = f"{directory}: {error}"
            if "`data_dir`" not in told:
                told += "; of data that moved since training, name the folder by `data_dir`"
            raise type(error)(told) from None


def load(directory: str | Path, member: int, data_dir: str | None = None) -> Trained:
    """Loads one run of a program; `Loader` loads several.

    Args:
        directory, member: as in `Loader.load`.
        data_dir: folder of datasets; None means the folder used in training.

    Raises:
        UsageError, DataError, DivergedError, StorageError: as in `Loader.load`.
    """
    return Loader(data_dir).load(directory, member)


def read_config(directory: Path, member: int, data_dir: str | None) -> settings.Config:
    """The `Config` with which a run of a program was trained."""
    return _config_of(directory, _read_flags(directory), member, data_dir)


def read_configs(directory: Path) -> list[settings.Config]:
    """The `Config` with which each run of a program was trained."""
    num_members, flags = members.num_members(directory), _read_flags(directory)
    return [_config_of(directory, flags, member, None) for member in range(num_members)]


def _read_flags(directory: Path) -> Any:
    """The flags of each run of a program, which are not checked; None if they are no JSON."""
    path, remedy = directory / "members.json", "use the run as it was left"
    try:
        return files.parse_json(files.read_bytes(path, remedy=remedy))
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror}): {remedy}") from None
    except ValueError:
        return None


def _config_of(directory: Path, flags: Any, member: int, data_dir: str | None) -> settings.Config:
    """The `Config` of a run, from what `_read_flags` returned."""
    path = directory / "members.json"
    try:
        values = dict(flag.removeprefix("--").split("=", 1) for flag in flags[member])
    except (ValueError, LookupError, AttributeError, TypeError):
        raise StorageError(
            f"{path} does not hold the flags of member {member}: use the run as it was left"
        ) from None
    stored.refuse_unknown(values, str(path))
    if data_dir is not None:
        values["data_dir"] = data_dir
        for name in values.keys() & {*_PATHS}:
            moved = os.path.join(data_dir, Path(values[name]).name)
            if _is_path(values[name]) and os.path.exists(moved):
                values[name] = moved
    return config.from_flags(values)


def _is_path(dataset: str) -> bool:
    """Whether a dataset is named by a path, as a user's file is."""
    return bool(os.path.dirname(dataset) or os.path.splitext(dataset)[1])


def _from_training(directory: Path, dataset: str) -> str:
    """A user's file by a path that works here: it was relative to where training started."""
    try:
        told = files.read_json(directory / "env.json")
        there = os.path.join(told["working_directory"], dataset)
    except (OSError, StorageError, ValueError, KeyError, TypeError):  # lost, or an older version
        return dataset
    return there if _is_path(dataset) and os.path.exists(there) else dataset


def _refuse_other_settings(directory: Path, found: settings.Config, trained: dict) -> None:
    """Raises UsageError if the flags of a run have another meaning in this version.

    Args:
        directory: directory of the program.
        found: the config made from the flags.
        trained: the stored settings of the run.
    """
    for name, value in found.identity().items():
        # a file may have moved; settings missing in an older version had their defaults
        if name not in _PATHS and trained.get(name, value) != value:
            was, means = (verbatim(f"{name}={each}") for each in (trained[name], value))
            raise UsageError(
                f"{directory} was trained with {was}, its flags mean {means} to this version of "
                "vae_jax: use the version that env.json names"
            )


class Watched(Subject):
    """A `Subject` whose passes over the data are counted by a `Watch`."""

    watch: Watch | None = None

    def blocks(self, split: str, num_rows: int | None = None, num_examples: int | None = None):
        """See `Subject.blocks`."""
        blocks = super().blocks(split, num_rows, num_examples)
        num = self.size(split) if num_examples is None else min(self.size(split), num_examples)
        return blocks if self.watch is None else self.watch.count(blocks, num)


def alone(trained: Trained) -> tuple[Model, Any]:
    """The run's model, masked and with a fixed density, and parameters: arrays of any shape."""
    return whole(trained)[:2]


def whole(trained: Trained) -> tuple:
    """Like `alone`, and the run's hyperparameters, each a scalar."""
    experiment = trained.experiment
    params = jax.tree.map(np.asarray, experiment.layout.read(trained.params))
    return building.member(experiment, 0, params)


def make_subject(trained: Trained, seed: int, num_examples: int | None = None) -> Watched:
    """The subject of the metrics; a scalar seed decides all draws."""
    experiment = trained.experiment
    model, params = alone(trained)
    return Watched(
        model,
        params,
        experiment.dataset,
        preprocess=experiment.preprocess,
        key=jax.random.key(seed),
        num_examples=num_examples,
        conditions=experiment.given,
        given=experiment.loss_fn.given,
    )


class Request(NamedTuple):
    """A request for metrics.

    Attributes:
        metrics: names, in order.
        settings: metric → the settings that were given.
        seed: seed for all draws, a count.
        num_examples: number of test examples, a count; None means all.
        is_brief: whether nothing was asked for, so that everything has to take seconds.
    """

    metrics: Sequence[str]
    settings: dict[str, dict]
    seed: int = 0
    num_examples: int | None = None
    is_brief: bool = False


def measure(trained: Trained, subject: Subject, request: Request, name: str) -> dict:
    """Measures one metric of one run.

    Returns:
        values (from the metric's `measure`), definitions, notes, settings, step, seed, seconds; or
            left_out, the reason why there are no values, with `refused` if a given setting was
            refused.
    """
    start = time.perf_counter()
    given, seed = request.settings.get(name, {}), request.seed
    try:
        if name == OBJECTIVE:
            settings = {}
            values = objective_terms(trained.experiment, trained.params, trained.member.step)
            definitions = objective_definitions(trained, values)
            seed = trained.experiment.config.seed
        else:
            settings = {**evaluation.settings(name), **reduced(subject, request, name), **given}
            module = evaluation.load(name)
            values, definitions = module.measure(subject, **settings), module.DEFINITIONS
            # if a default was reduced, record the value that was used
            taken = {k: values[k] for k, v in settings.items() if isinstance(v, AtMost)}
            settings |= taken
    except NotApplicableError as reason:
        return {"left_out": str(reason)}
    except (DataError, UsageError) as reason:
        # metrics that the data do not admit are skipped; a refused setting is an error
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
        "notes": list(notes(name, values, subject, settings)),
        "settings": settings,
        "step": trained.member.step,
        "seed": seed,
        "seconds": round(time.perf_counter() - start, 2),
    }


def reduced(subject: Subject, request: Request, name: str) -> dict[str, int]:
    """The settings (scalars) by which a metric takes seconds, if nothing else was asked for.

    Of `nll` it is the number of samples: as many as `BRIEF` operations have room for.
    """
    if not request.is_brief or name != "nll" or request.settings.get(name):
        return {}
    most = evaluation.settings(name)["num_samples"]
    num = BRIEF / (subject.size() * operations(subject))
    return {"num_samples": int(np.clip(num, 10, most))} if num < most else {}


def operations(subject: Subject) -> float:
    """The floating-point operations of decoding a code, a scalar, about."""
    model, params = subject.model, subject.params
    of_weights = 2.0 * sum(leaf.size for leaf in jax.tree.leaves(params["decoder"]))
    if model.reads_x or model.num_conditions:
        return of_weights
    try:
        code = jax.ShapeDtypeStruct((1, model.latent_dim), np.float32)
        counted = jax.jit(model.decode).lower(params, code).cost_analysis()
        return max(float(counted["flops"]), of_weights)  # a decoder may keep weights that it shares
    except (TypeError, KeyError, ValueError, NotImplementedError):  # of another version of JAX
        return of_weights


def seconds(subject: Subject, request: Request) -> dict[str, float]:
    """About how long each metric of a request takes on two CPU cores: seconds, scalars."""
    costs, count = evaluation.costs(), operations(subject)
    return {
        name: costs[name].seconds(
            subject.size(),
            {
                **evaluation.settings(name),
                **reduced(subject, request, name),
                **request.settings.get(name, {}),
            },
            count,
        )
        for name in request.metrics
        if name in costs
    }


def objective_definitions(trained: Trained, terms: Sequence[str]) -> dict[str, str]:
    """The meaning of each term of the objective, by name."""
    objective = trained.experiment.config.objective
    generic = f"a term of objective={objective}, see vae_jax/objectives/{objective}.py"
    counts = {
        name: f"the examples of known label that {term} is a mean over"
        for name in terms
        if (term := name.removesuffix("_num_examples")) != name
    }
    own = {
        name: f"of the rate, group {name.rpartition('_')[2]} given those above it in nats; group 1 "
        "is nearest to x"
        for name in terms
        if name.startswith("rate_group_")
    }
    own |= objectives.definitions(objective)
    return {**dict.fromkeys(terms, generic), **counts, **OBJECTIVE_DEFINITIONS, **own}


def notes(
    metric: str, values: dict, subject: Subject, settings: Mapping[str, Any] | None = None
) -> Iterator[str]:
    """What a reader of a metric's values should know in addition to their definitions."""
    # terms of an objective have their own definitions, and "given" tells of p(x|c)
    if subject.conditions is not None and metric != OBJECTIVE and "given" not in values:
        yield (
            f"the codes are of q(z|x, c), c is {subject.conditions.what}: what c tells of x they "
            "need not hold"
        )
    sampler = (settings or {}).get("sampler", "prior")
    if sampler != "prior":
        yield f"draws are from sampler={sampler}, fit to codes of the training split"
    elif "num_draws" in values and not subject.model.latent.has_prior:
        is_gaussian = type(subject.prior) is distributions.FullGaussian
        kind = "Gaussian" if is_gaussian else "Gaussian copula"
        yield f"a code without a prior: draws are from a {kind} fit to codes of the training split"
    if metric == "reconstruction" and subject.model.reads_x:
        yield (
            "x̂ is not E[x|z]: the decoder reads x, and here it feeds back the modes of its own "
            "outputs"
        )
    if metric == "nll" and values.get("effective_samples", FEW_SAMPLES) < FEW_SAMPLES:
        yield (
            f"of {values['num_samples']:,} samples fewer than {FEW_SAMPLES} count: nll lies above "
            "−log p(x) by an unknown amount, give a larger `nll_num_samples`"
        )


class Code(NamedTuple):
    """The data of a run for `compare`.

    Attributes:
        place: program, member and step of the run, to identify its results.
        dataset: name of its data.
        means: posterior means of test examples, [N, L].
        rates: rate of each dimension in nats, [L].
    """

    place: dict
    dataset: str
    means: np.ndarray
    rates: np.ndarray


def code_of(trained: Trained, subject: Subject, place: dict) -> Code | None:
    """The data of a run for `compare`, or None if its code or its prior is not Gaussian."""
    try:
        subject.require_gaussian()
    except NotApplicableError:
        return None
    posterior = subject.posterior(num_examples=MOST_COMPARED)
    rates = distributions.kl_divergence(posterior, subject.prior).mean(axis=0)
    return Code(place, trained.experiment.dataset.name, posterior.mean, np.asarray(rates))


def compare(codes: Sequence[Code], seed: int) -> dict:
    """Measures how much each run agrees with the others on the same data, see `udr`.

    Args:
        codes: codes of each run.
        seed: seed, a count.

    Returns:
        As in `measure`; the values are groups of runs on the same data, with their scores and the
            similarity matrix. A run without others on its data is in no group.
    """
    start = time.perf_counter()
    groups = []
    for dataset in dict.fromkeys(code.dataset for code in codes):
        own = [code for code in codes if code.dataset == dataset]
        if len(own) < 2:
            continue
        ranking = udr.evaluate(
            [code.means for code in own], jax.random.key(seed), rates=[code.rates for code in own]
        )
        errors = [None if np.isnan(e) else float(e) for e in ranking.standard_errors]
        groups.append(
            {
                "dataset": dataset,
                "runs": [code.place for code in own],
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
