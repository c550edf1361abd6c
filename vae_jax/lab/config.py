"""The definition of a run: one frozen `Config`, read from flags, and its `Hparams`.

A flag is a field of `Config`: its default, its group on the help page, its help and its parser are
defined in one place. Flags of hyperparameters come from the objective.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import numpy as np

from vae_jax import assembly, latents, likelihoods, networks, objectives, schedules, training
from vae_jax.errors import UsageError, any_of
from vae_jax.lab import parsers
from vae_jax.storage import members

__all__ = [
    "ADAM",
    "BESIDE",
    "GROUPS",
    "CombinationError",
    "Config",
    "Plan",
    "command_line",
    "default_of",
    "flag",
    "flag_fields",
    "from_flags",
    "identity_as_of",
    "lasts_a_share",
    "latent_of",
    "make_hparams",
    "objective_flags",
    "parse_flag",
    "plan_from_flags",
    "program_key",
    "program_settings",
    "refuse_unknown",
    "resolve",
    "settings",
    "spell",
    "statics_of",
    "to_flags",
    "with_dataset_of",
]


ADAM = {"adam_b1": "b1", "adam_b2": "b2", "adam_eps": "eps"}
"""Flags for arguments of Adam → their names in optax."""


GROUPS = ("Model", "Objective", "Data", "Training", "Sweep", "Output")


BESIDE = {
    *("epochs", "epochs_of_schedules", "data_sha256", "matmul_precision", "xla_flags", "runs"),
    *("num_runs", "runs_sha256", "runs_per_program"),
}
"""Entries of run directories beside the settings that affect a result."""


def _with_variance() -> list[str]:
    """The likelihoods that have a variance."""
    return [name for name in likelihoods.names() if likelihoods.load(name).variances]


def _defaults(of: str) -> str:
    """Defaults of networks that have this setting, as text: "32,64 for conv or conv_map"."""
    named: dict[str, list[str]] = {}
    for name in networks.names():
        default = getattr(networks.load(name), of)
        if default:
            text = default if isinstance(default, str) else ",".join(map(str, default))
            named.setdefault(text, []).append(name)
    return ", ".join(f"{default} for {any_of(names)}" for default, names in named.items())


def flag(
    default,
    group: str,
    parse: Callable,
    help: str,
    *,
    identity: bool = True,
    is_array: bool = False,
    sweeps: bool = True,
):
    """Defines a field that is a flag.

    The default of a new flag must mean the behavior before the flag existed, because a run
    directory of an older version resumes with the default.

    Args:
        default, group, parse, help: what it is without the flag; where and how the help page
            explains it.
        identity: whether it decides the result of the run.
        is_array: whether the runs of one program may differ in it.
        sweeps: whether it accepts several values, separated by commas.
    """
    metadata = {
        "group": group,
        "parse": parse,
        "help": help,
        "identity": identity,
        "is_array": is_array,
        "sweeps": sweeps,
    }
    return dataclasses.field(default=default, metadata=metadata)


class CombinationError(UsageError):
    """A flag does not fit the choice made by another flag."""


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings that decide a run, as plain values; `resolve` adds what depends on the data."""

    objective: str = flag(
        "beta_vae",
        "Model",
        parsers.choice(objectives.names(), "objective"),
        "what is minimized: {objectives}",
    )
    network: str = flag(
        "mlp",
        "Model",
        parsers.choice(networks.names(), "network"),
        f"one of {', '.join(networks.names())}",
    )
    widths: tuple[int, ...] | None = flag(
        None,
        "Model",
        parsers.integers,
        "hidden units (mlp, cascade, gru, …) or channels (conv, conv_map) of the encoder, mirrored "
        "by the decoder "
        f"(default: {_defaults('widths')})",
    )
    activation: str | None = flag(
        None,
        "Model",
        parsers.choice(tuple(networks.ACTIVATIONS), "activation"),
        f"one of {', '.join(networks.ACTIVATIONS)} (default: {_defaults('activation')})",
    )
    teacher_dropout: float | None = flag(
        None,
        "Model",
        parsers.plain_number(0, 1),
        "of a recurrent decoder in training: the share of steps that are not told the true one "
        "before them; 1: none ever is, the code alone must tell (default: 0)",
    )
    latent_dim: int = flag(
        20, "Model", parsers.integer(1, members.MAX_LATENT_DIM), "size of the code z", is_array=True
    )
    likelihood: str | None = flag(
        None,
        "Model",
        parsers.choice(likelihoods.names(), "likelihood"),
        f"p(x|z), one of {', '.join(likelihoods.names())} "
        "(default: what is customary for the dataset)",
    )
    variance: str | float = flag(
        "learned",
        "Model",
        parsers.variance,
        f"of a likelihood with a variance ({', '.join(_with_variance())}): a number, or learned "
        "(one scalar), learned_per_dimension, or optimal (gaussian: the analytic optimum of each "
        "batch)",
        is_array=True,
    )
    dataset: str = flag(
        "digits",
        "Data",
        parsers.text,
        "{datasets}, any image dataset of tensorflow-datasets, or the path of a .npy, .npz, .csv, "
        ".parquet or .txt file, or of a folder of images, tables or .npy files",
    )
    data_dir: str | None = flag(
        None,
        "Data",
        parsers.text,
        "where datasets lie (default: $VAE_JAX_DATA_DIR)",
        identity=False,
        sweeps=False,
    )
    loading: str = flag(
        "auto",
        "Data",
        parsers.choice(("auto", "memory", "stream")),
        "whole into memory, or streamed block by block: .npy files and tensorflow-datasets from "
        "disk, other formats from memory that holds them whole; auto streams from disk what takes "
        "more than a quarter of the memory; the batches are the same bit for bit, the numbers up "
        "to rounding",
        identity=False,
        sweeps=False,
    )
    binarization: str | None = flag(
        None,
        "Data",
        parsers.choice(("dynamic", "soft", "threshold")),
        "grey levels under a bernoulli likelihood: drawn afresh at each use (dynamic), taken as "
        "probabilities (soft), or cut at 0.5 (threshold) (default: dynamic)",
    )
    scaling: str = flag(
        "auto",
        "Data",
        parsers.choice(("auto", "unit", "none")),
        "of your own continuous data: auto (images of 0 to 255 to [0, 1], columns of a table to "
        "mean 0 and variance 1), unit (the range to [0, 1]) or none",
    )
    window: int | None = flag(
        None,
        "Data",
        parsers.integer(1),
        "cut your own table, whose rows follow in time, into series of so many rows, the first to "
        "train and the last to test",
    )
    hop: int | None = flag(
        None,
        "Data",
        parsers.integer(1),
        "rows from the start of a window to that of the next (default: those of the window)",
    )
    missing_values: tuple[str, ...] | None = flag(
        None,
        "Data",
        parsers.words,
        "what marks a missing cell of your own table, beside an empty one, such as '?,-,NA'; rows "
        "with a missing cell are then left out (default: a table with missing cells is refused)",
        sweeps=False,
    )
    num_valid: int | None = flag(
        None,
        "Data",
        parsers.integer(0),
        "examples held out of the training split for validation, where the source has no such "
        "split (default: a tenth, at most 5000)",
    )
    epochs: int | None = flag(
        None,
        "Training",
        parsers.integer(0),
        "passes over the training split (default: 30,000 steps' worth, at most 200)",
        identity=False,
    )
    batch_size: int | None = flag(
        None,
        "Training",
        parsers.integer(1),
        "examples per step (default: 100, or all where there are less)",
    )
    learning_rate: str = flag(
        "cosine(2e-3, 0, 100%)",
        "Training",
        parsers.number(parsers.POSITIVE, somewhere=True, note=" (a rate such as 1e-3)"),
        "a number or a schedule, such as linear(1e-3, 0, 100%)",
        is_array=True,
    )
    optimizer: str = flag(
        "adam",
        "Training",
        parsers.choice(tuple(training.OPTIMIZERS)),
        f"one of {', '.join(training.OPTIMIZERS)}",
    )
    weight_decay: str | None = flag(
        None,
        "Training",
        parsers.number(parsers.AT_LEAST_ZERO),
        "of adamw, of kernels only (default: 1e-4)",
        is_array=True,
    )
    adam_b1: float | None = flag(
        None,
        "Training",
        parsers.fraction,
        "decay of Adam's first moment (default: 0.9)",
        is_array=True,
    )
    adam_b2: float | None = flag(
        None,
        "Training",
        parsers.fraction,
        "decay of Adam's second moment (default: 0.999)",
        is_array=True,
    )
    adam_eps: float | None = flag(
        None,
        "Training",
        parsers.plain_number(1e-20),
        "added to the root of Adam's second moment (default: 1e-8)",
        is_array=True,
    )
    clip_norm: str | None = flag(
        None,
        "Training",
        parsers.number(parsers.POSITIVE, somewhere=True),
        "largest norm of the gradient (default: none)",
        is_array=True,
    )
    ema_decay: float | None = flag(
        None,
        "Training",
        parsers.fraction,
        "evaluate an average of the parameters with this decay, e.g. 0.999 (default: no average)",
        is_array=True,
    )
    patience: int | None = flag(
        None,
        "Training",
        parsers.integer(1),
        "stop after so many epochs without a better validation ELBO (without a prior: loss), and "
        "keep the best parameters (default: never)",
    )
    init_scale: float | None = flag(
        None,
        "Training",
        parsers.plain_number(1e-6),
        "of the initial weights: their standard deviation is this over the root of the fan-in; "
        "0.577 is the spread of PyTorch's layers (default: 1)",
        is_array=True,
    )
    dtype: str = flag(
        "float32",
        "Training",
        parsers.choice(("float32", "bfloat16")),
        "of the networks' computation; parameters and losses stay float32",
    )
    seed: int = flag(
        0, "Training", parsers.integer(0, 2**31 - 2), "decides everything random", is_array=True
    )
    workdir: str | None = flag(
        None,
        "Output",
        parsers.text,
        "where the run lives (default: runs/<its settings>)",
        identity=False,
        sweeps=False,
    )
    checkpoint_seconds: float | None = flag(
        None,
        "Output",
        parsers.plain_number(0),
        "seconds between two checkpoints (default: 5, or 50 times what a save takes)",
        identity=False,
        sweeps=False,
    )
    tensorboard: bool = flag(
        False,
        "Output",
        bool,
        "write TensorBoard events too (extra: tensorboard)",
        identity=False,
        sweeps=False,
    )
    hyperparameters: tuple[tuple[str, str], ...] = ()

    def identity(self) -> dict:
        """The settings that affect the result of the run, as plain JSON values."""
        flags = {f.name: getattr(self, f.name) for f in flag_fields() if f.metadata["identity"]}
        flags = {k: list(v) if isinstance(v, tuple) else v for k, v in flags.items()}
        return {**flags, **dict(self.hyperparameters)}

    def depends_on_epochs(self) -> bool:
        """Whether a schedule lasts a share of the run, so that the result depends on its length."""
        return lasts_a_share(self.identity())


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the runs are trained: these settings do not change a result."""

    sweep: str | None = flag(
        None,
        "Sweep",
        parsers.text,
        "a CSV or JSON file of runs, a column or key for each flag; flags given beside it hold for "
        "every row, several values of one for each",
    )
    runs_per_program: int | None = flag(
        None,
        "Sweep",
        parsers.integer(1),
        "at most so many runs in one compiled program, to bound its memory (default: all that fit "
        "one program)",
    )
    data_devices: int | None = flag(
        None,
        "Sweep",
        parsers.integer(1),
        "devices that share the batch of a run (default: those left when the runs are spread)",
    )
    executor: str | None = flag(
        None,
        "Sweep",
        parsers.choice(("local", "slurm")),
        "train the programs of a sweep as processes of this machine, or as a SLURM job array "
        "(extra: cluster) (default: one after the other in this process)",
    )
    num_workers: int = flag(1, "Sweep", parsers.integer(1), "processes at a time of executor=local")
    slurm: str | None = flag(
        None,
        "Sweep",
        parsers.text,
        "settings of executor=slurm, such as partition=gpu,time=120,gpus_per_node=1",
    )
    as_program: bool = flag(
        False, "Sweep", bool, "train the runs in `workdir` itself: what `executor` starts"
    )
    dry_run: bool = flag(
        False, "Sweep", bool, "show the programs, or the script for SLURM, and train nothing"
    )
    overwrite: bool = flag(
        False, "Output", bool, "archive an older run in the same place, start afresh"
    )


def settings(config: Config) -> dict:
    """The requested settings, as plain JSON values: `Config.identity`, and the epochs."""
    return {**config.identity(), "epochs": config.epochs}


def lasts_a_share(identity: Mapping) -> bool:
    """Whether a schedule among the settings of a run lasts a share of the run."""
    return any("%" in str(value) for value in identity.values())


def identity_as_of(config: Config, known: Container[str], default: Config) -> dict:
    """`Config.identity` in the form of a version that only had the `known` settings.

    A newer flag is left out if it has its default: see `flag`.

    Args:
        config: config of a run.
        known: the settings that were stored.
        default: config of the same objective, without other flags.
    """
    usual = default.identity()
    return {n: v for n, v in config.identity().items() if n in known or v != usual[n]}


def with_dataset_of(config: Config, held: str | Sequence[str] | None) -> Config:
    """The config with the stored name of its dataset, if a user's file has moved.

    A file that was moved, or is used from another working directory, counts as the same by its
    content, which `data_sha256` identifies.

    Args:
        config: config of a run.
        held: the name of the dataset, or the names, stored in the directory.
    """
    names = [held] if isinstance(held, str) else held or []
    if config.dataset in names or not os.path.lexists(config.dataset):
        return config
    own = os.path.basename(os.path.normpath(config.dataset))
    same = [name for name in names if os.path.basename(os.path.normpath(name)) == own]
    return dataclasses.replace(config, dataset=same[0]) if len(same) == 1 else config


def refuse_unknown(held: Mapping, where: str) -> None:
    """Raises an error unless all stored settings are flags of this version.

    Args:
        held: setting → value.
        where: what contains them, for the message.

    Raises:
        UsageError: some are unknown; the message names them.
    """
    known = {f.name for f in flag_fields()} | objective_flags().keys() | BESIDE
    unknown = sorted(f"{name}={value}" for name, value in held.items() if name not in known)
    if unknown:
        raise UsageError(
            f"{where} holds {', '.join(unknown)}, of which this version of vae_jax knows nothing: "
            "use the version that wrote it, or a newer one"
        )


def to_flags(config: Config) -> list[str]:
    """The command line that gives this `Config`, without a data directory set by the shell."""
    values = {f.name: (getattr(config, f.name), default_of(f)) for f in flag_fields()}
    data_dir = config.data_dir or os.environ.get("VAE_JAX_DATA_DIR")
    # absolute, so that it works from any working directory
    values["data_dir"] = (data_dir and os.path.abspath(data_dir), None)
    for name, value in config.hyperparameters:
        default = objectives.hyperparameters(config.objective)[name].text
        values[name] = (value, parsers.canonical(default))
    chosen = {
        name: spell(value)
        for name, (value, default) in values.items()
        if value is not None and value != default
    }
    return command_line(chosen)


def command_line(values: Mapping[str, Any]) -> list[str]:
    """The words that give flags their values: None gives none, True the flag alone."""
    return [
        f"--{name}" if value is True else f"--{name}={spell(value)}"
        for name, value in values.items()
        if value is not None
    ]


def spell(value: Any) -> str:
    """A setting as it is written on the command line."""
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def default_of(field: dataclasses.Field):
    """The default of a field, as text of its flag."""
    if isinstance(field.default, str):
        return parse_flag(field.name, field.default, field.metadata["parse"])
    return field.default


def flag_fields(of: type = Config) -> list[dataclasses.Field]:
    """The fields of `Config`, or of `Plan`, that are flags."""
    return [f for f in dataclasses.fields(of) if f.metadata]


@functools.cache
def objective_flags() -> dict[str, dict[str, objectives.Hyperparameter]]:
    """Hyperparameter → {objective → default and help}, over all objectives."""
    flags: dict[str, dict] = {}
    for objective in objectives.names():
        for name, hyperparameter in objectives.hyperparameters(objective).items():
            flags.setdefault(name, {})[objective] = hyperparameter
    return flags


def from_flags(values: dict[str, str | None]) -> Config:
    """Checks the flags that were given and makes a `Config`.

    Args:
        values: flag → text, or None if it was not given.

    Returns:
        A `Config`, complete except for what depends on the data.

    Raises:
        UsageError: a value does not fit; the message names the flag, the value and what is allowed.
    """
    settings = {}
    for field in flag_fields():
        value = values.get(field.name)
        if value is None and isinstance(field.default, str):
            value = field.default
        if value is not None:
            settings[field.name] = parse_flag(field.name, value, field.metadata["parse"])
    objective = settings["objective"]
    hyperparameters = {}
    for name, owners in objective_flags().items():
        value = values.get(name)
        if objective in owners:
            chosen = owners[objective]
            given = chosen.text if value is None else value
            hyperparameters[name] = parse_flag(name, given, _parser(chosen))
        elif value is not None:
            takes = ", ".join(f"`{k}`" for k in objectives.hyperparameters(objective))
            raise CombinationError(f"{name}={value}: objective {objective} takes {takes or 'none'}")
    config = Config(**settings, hyperparameters=tuple(sorted(hyperparameters.items())))
    _check_together(config)
    return config


def _parser(hyperparameter: objectives.Hyperparameter) -> Callable[[str], str]:
    """The parser for the flag of a hyperparameter."""
    if hyperparameter.choices:
        return parsers.choice(hyperparameter.choices)
    interval = hyperparameter.interval
    if hyperparameter.is_static:
        parse = parsers.integer(int(interval.low), int(min(interval.high, parsers.LARGEST)))
        return lambda value: str(parse(value))
    return parsers.number(interval, note=f" ({hyperparameter.help.rstrip('.')})")


def plan_from_flags(values: dict[str, str | None]) -> Plan:
    """Checks the flags about how to train; see `from_flags`."""
    given = {f.name: values.get(f.name) for f in flag_fields(Plan)}
    plan = Plan(
        **{
            f.name: parse_flag(f.name, given[f.name], f.metadata["parse"])
            for f in flag_fields(Plan)
            if given[f.name] is not None
        }
    )
    if plan.slurm is not None and plan.executor != "slurm":
        raise UsageError(f"slurm={plan.slurm}: give executor=slurm too")
    if given["num_workers"] is not None and plan.executor != "local":
        raise UsageError(f"num_workers={plan.num_workers}: give executor=local too")
    return plan


@functools.cache
def parse_flag(name: str, value: str, parse: Callable):
    """Parses the value of a flag; a `UsageError` names the flag and its text."""
    try:
        return parse(value)
    except UsageError as error:
        raise UsageError(f"{name}={value}: {error}") from None


def _check_together(config: Config) -> None:
    if config.patience is not None and config.num_valid == 0:
        raise CombinationError(
            f"patience={config.patience}: needs a validation split, num_valid=0 leaves none"
        )
    if config.patience is not None and _of(config).phase is not None:
        raise CombinationError(
            f"patience={config.patience}: {config.objective} is several trainings whose losses "
            "do not compare: leave it"
        )
    if config.weight_decay is not None and config.optimizer != "adamw":
        raise CombinationError(
            f"weight_decay={config.weight_decay}: {config.optimizer} has none, give optimizer=adamw"
        )
    if config.hop is not None and config.window is None:
        raise CombinationError(f"hop={config.hop}: is from window to window, give `window` too")
    if config.network == "linear" and (config.widths or config.activation):
        raise CombinationError(
            "network=linear has no hidden layers: leave `widths` and `activation`"
        )
    try:
        latent_of(config).check(config.latent_dim)
    except UsageError as error:
        raise CombinationError(f"{error} (objective {config.objective})") from None


def latent_of(config: Config) -> latents.Latent:
    """The family of latents, of codes [B, L], that the objective needs."""
    return objectives.latent(config.objective, **statics_of(config))


def _of(config: Config) -> training.Objective:
    """The objective, bound without data."""
    return objectives.bind(config.objective, num_examples=1, **statics_of(config))


def resolve(config: Config, dataset) -> Config:
    """Fills in what depends on the data, and checks it.

    Args:
        config: from `from_flags`.
        dataset: from `vae_jax.data.load`.

    Raises:
        UsageError: a batch has more examples than there are.
    """
    num_examples = len(dataset.train)
    batch_size = config.batch_size or min(100, num_examples)
    if batch_size > num_examples:
        raise UsageError(
            f"batch_size={batch_size}: the training split has {num_examples} examples, "
            f"give at most that"
        )
    if config.scaling != "auto" and dataset.num_levels is not None:
        raise UsageError(
            f"scaling={config.scaling}: {dataset.name} has {dataset.num_levels} levels, which "
            "become 0 to 1 in any case: leave the flag"
        )
    likelihood = config.likelihood or dataset.likelihood
    binarization = assembly.binarization(
        dataset.num_levels,
        is_bernoulli=likelihood == "bernoulli",
        has_prior=latent_of(config).has_prior,
        asked=config.binarization,
    )
    epochs = config.epochs
    if epochs is None:
        steps_per_epoch = -(-num_examples // batch_size)
        epochs = min(200, max(1, round(30_000 / steps_per_epoch)))
    return dataclasses.replace(
        config,
        likelihood=likelihood,
        binarization=binarization,
        epochs=epochs,
        batch_size=batch_size,
    )


def program_key(config: Config) -> tuple:
    """`program_settings` as a key: runs with equal keys form one program."""
    return tuple(program_settings(config).items())


def program_settings(config: Config) -> dict:
    """The settings that the runs of one program share: all except numbers that affect no shape.

    Runs with equal settings have `Hparams` of equal structure, which can be stacked.

    Returns:
        Flag → its value, or the kind of value for an array.
    """

    def structure(value):
        if value is None:
            return None
        is_ours = isinstance(schedules.parse(value, **parsers.ANY_UNITS), schedules.Schedule)
        return "schedule" if is_ours else value

    arrays = {
        "latent_dim": config.latent_dim if networks.load(config.network).has_fixed_codes else None,
        "seed": None,
        "learning_rate": structure(config.learning_rate),
        "weight_decay": structure(config.weight_decay or "1e-4"),
        **{name: getattr(config, name) is None for name in ADAM},
        "init_scale": config.init_scale is None,
        "clip_norm": structure(config.clip_norm),
        "ema_decay": config.ema_decay is None,
        "variance": config.variance if isinstance(config.variance, str) else "given",
    }
    statics = statics_of(config)
    hyperparameters = {
        name: value if name in statics else structure(value)
        for name, value in config.hyperparameters
    }
    return {
        f.name: arrays[f.name] if f.metadata["is_array"] else getattr(config, f.name)
        for f in flag_fields()
    } | hyperparameters


def statics_of(config: Config) -> dict[str, int | str]:
    """The hyperparameters of the objective that are not arrays: counts and words."""
    known = objectives.hyperparameters(config.objective)
    return {
        name: value if known[name].choices else int(value)
        for name, value in config.hyperparameters
        if known[name].is_static
    }


def make_hparams(
    configs: Sequence[Config], *, steps_per_epoch: int, latent_dim: int
) -> list[training.Hparams]:
    """The arrays and schedules of the runs of one program: scalars, see `training.Hparams`.

    Args:
        configs: resolved, with equal `program_key`.
        steps_per_epoch: a count.
        latent_dim: L of the model; runs with fewer dimensions get a mask.
    """
    units = {
        "steps_per_epoch": steps_per_epoch,
        "num_steps": max(1, configs[0].epochs * steps_per_epoch),
    }

    def schedule(value):
        return None if value is None else schedules.parse(value, **units)

    def scalar(value):
        return np.float32(value) if isinstance(value, float) else None

    is_masked = any(c.latent_dim < latent_dim for c in configs)
    # a term that no run has is left out of the program
    left_out = statics_of(configs[0]).keys() | {
        name
        for name, hyperparameter in objectives.hyperparameters(configs[0].objective).items()
        if hyperparameter.default == 0 and {dict(c.hyperparameters)[name] for c in configs} == {"0"}
    }
    return [
        training.Hparams(
            seed=np.int32(c.seed),
            learning_rate=schedule(c.learning_rate),
            objective={n: schedule(v) for n, v in c.hyperparameters if n not in left_out},
            weight_decay=schedule(c.weight_decay or "1e-4"),
            adam={
                keyword: scalar(getattr(c, name))
                for name, keyword in ADAM.items()
                if getattr(c, name) is not None
            },
            clip_norm=schedule(c.clip_norm),
            init_scale=scalar(c.init_scale),
            ema_decay=scalar(c.ema_decay),
            latent_mask=(
                (np.arange(latent_dim) < c.latent_dim).astype(np.float32) if is_masked else None
            ),
            variance=scalar(c.variance),
        )
        for c in configs
    ]
