"""The settings of a run, one field each: default, help, parser, and whether it decides the result.

A flag is a field of `Config` or `Plan`; the flags of hyperparameters come from the objectives.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

from vae_jax import (
    families,
    likelihoods,
    looks,
    networks,
    objectives,
    phases,
    plots,
    posteriors,
    priors,
    samplers,
    sounds,
    training,
)
from vae_jax.lab import executors, parsers
from vae_jax.storage import members

__all__ = [
    "ADAM",
    "FAMILIES",
    "GROUPS",
    "Config",
    "Plan",
    "flag",
    "flag_fields",
    "hyperparameter_flags",
    "hyperparameters_of",
    "hyperparameters_of_family",
    "lasts_a_share",
    "likelihood_settings",
    "members_of",
    "named_in",
    "statics_of",
]


ADAM = {"adam_b1": "b1", "adam_b2": "b2", "adam_eps": "eps"}
"""Flags for arguments of Adam → their names in optax."""


FAMILIES: dict[str, families.Family] = {
    "likelihood": likelihoods.FAMILY,
    "prior": priors.FAMILY,
    "posterior": posteriors.FAMILY,
}
"""Setting that names a class with settings of its own → the classes."""

GROUPS = ("Model", "Objective", "Data", "Training", "Sweep", "Output", "Settings file")


def flag(
    default,
    group: str,
    parse: Callable,
    help: str,
    *,
    identity: bool = True,
    is_array: bool = False,
    sweeps: bool = True,
    stored: bool = True,
    before: Any = None,
):
    """Defines a field that is a flag.

    The default of a new flag, or else `before`, must mean the behavior before the flag existed,
    because a run directory of an older version resumes with it.

    Args:
        default: the value without the flag, in the form that `parse` returns.
        group: its group on the help page, one of `GROUPS`.
        parse: text → value.
        help: its entry on the help page; `cli.help` fills in names in braces.
        identity: whether it decides the result of the run.
        is_array: whether the runs of one program may differ in it.
        sweeps: whether it accepts several values, separated by commas.
        stored: whether a file of settings may hold it, see `settings_file`.
        before: the value that means the behavior before the flag existed, if the default does not.
    """
    metadata = {
        "group": group,
        "parse": parse,
        "help": help,
        "identity": identity,
        "is_array": is_array,
        "sweeps": sweeps,
        "stored": stored,
        "before": default if before is None else before,
    }
    return dataclasses.field(default=default, metadata=metadata)


def _loggers() -> list[str]:
    from vae_jax import loggers

    return loggers.names()


def _output_activations() -> tuple[str, ...]:
    return likelihoods.load("gaussian").choices["output_activation"]


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of a run, as plain values; `resolved.complete` adds what depends on the data."""

    objective: str = flag(
        "beta_vae",
        "Model",
        parsers.choice(objectives.names, "objective"),
        "what is minimized: {objectives}",
    )
    network: str = flag(
        "mlp",
        "Model",
        parsers.choice(networks.names, "network"),
        "one of {networks}",
    )
    widths: tuple[int, ...] | None = flag(
        None,
        "Model",
        parsers.integers,
        "hidden units (mlp, cascade, gru, …) or channels (conv, conv_map, conv_pool, pixel) of the "
        "encoder; the decoder mirrors them; conv and pixel have further layers of 128 that halve "
        "larger images to at most 8×8 (default: {widths})",
    )
    activation: str | None = flag(
        None,
        "Model",
        parsers.choice(tuple(networks.ACTIVATIONS), "activation"),
        "one of {activations} (default: {activation})",
    )
    teacher_dropout: float | None = flag(
        None,
        "Model",
        parsers.plain_number(0, 1),
        "of a recurrent decoder or that of pixel in training: the share of steps without teacher "
        "forcing; 1: the decoder sees the code alone (default: 0)",
    )
    input_dropout: float = flag(
        0.0,
        "Model",
        parsers.plain_number(0, 0.99),
        "share of what the encoder reads that is dropped in training (default: 0)",
    )
    tied: bool = flag(
        False,
        "Model",
        bool,
        "of mlp and linear: the kernels of the decoder are those of the encoder, transposed",
        sweeps=False,
    )
    latent_dim: int = flag(
        20, "Model", parsers.integer(1, members.MAX_LATENT_DIM), "size of the code z", is_array=True
    )
    likelihood: str | None = flag(
        None,
        "Model",
        parsers.choice(likelihoods.names, "likelihood"),
        "p(x|z), one of {likelihoods} (default: depends on the dataset)",
    )
    output_activation: str = flag(
        "linear",
        "Model",
        parsers.choice(_output_activations),
        "what makes the mean of a gaussian likelihood of the decoder's outputs: linear (nothing), "
        "relu or sigmoid",
    )
    prior: str | None = flag(
        None,
        "Model",
        parsers.choice(priors.names, "prior"),
        "p(z) of a Gaussian code, one of {priors} (default: normal, or that of the objective's own "
        "codes)",
    )
    posterior: str | None = flag(
        None,
        "Model",
        parsers.choice(posteriors.names, "posterior"),
        "q(z|x) of a Gaussian code, one of {posteriors} (default: a Gaussian with independent "
        "dimensions)",
    )
    variance: str | float = flag(
        "learned",
        "Model",
        parsers.variance,
        "variance of the likelihood ({with_variance}): a number, or learned (one scalar), "
        "learned_per_dimension, or optimal (gaussian: the analytic optimum of each batch)",
        is_array=True,
    )
    dataset: str = flag(
        "digits",
        "Data",
        parsers.text,
        "{datasets}, any image dataset of tensorflow-datasets, or the path of a .npy, .npz, .csv, "
        ".tsv, .csv.gz, .parquet, .feather, .mtx, .h5ad or .txt file, or of a folder of images, "
        "tables or .npy files",
    )
    data_dir: str | None = flag(
        None,
        "Data",
        parsers.text,
        "folder of the datasets (default: $VAE_JAX_DATA_DIR)",
        identity=False,
        sweeps=False,
    )
    loading: str = flag(
        "auto",
        "Data",
        parsers.choice(("auto", "memory", "stream")),
        "memory reads the data at once; stream reads them in blocks (.npy files and "
        "tensorflow-datasets from disk, other formats from memory); auto streams from disk if the "
        "data would take more than a quarter of the memory; batches do not depend on it, results "
        "only by rounding",
        identity=False,
        sweeps=False,
    )
    binarization: str | None = flag(
        None,
        "Data",
        parsers.choice(("dynamic", "soft", "threshold")),
        "gray levels under a bernoulli likelihood: drawn at each use (dynamic), used as "
        "probabilities (soft), or cut at 0.5 (threshold) (default: dynamic)",
    )
    scaling: str = flag(
        "auto",
        "Data",
        parsers.choice(("auto", "unit", "none")),
        "scaling of your own continuous data: auto (images from 0 to 255 to [0, 1], columns of a "
        "table to mean 0 and variance 1), unit (the range to [0, 1]) or none",
    )
    window: int | None = flag(
        None,
        "Data",
        parsers.integer(1),
        "cut your own table, whose rows are consecutive in time, into series of this many rows: "
        "the first for training, the last for testing",
    )
    hop: int | None = flag(
        None,
        "Data",
        parsers.integer(1),
        "rows from the start of one window to the start of the next (default: no overlap)",
    )
    missing_values: tuple[str, ...] | None = flag(
        None,
        "Data",
        parsers.words,
        "text that marks a missing cell of your own table, such as '?,-,NA', beside an empty one",
        sweeps=False,
    )
    kinds: tuple[str, ...] | None = flag(
        None,
        "Data",
        parsers.words,
        "what columns of your own table are, such as 'age=count,size=S<M<L,zip=category': "
        "{kinds}, or levels in order; numeric: complete rows of numeric columns alone, all real "
        "(default: by rules)",
        sweeps=False,
        before=("numeric",),
    )
    label: str | None = flag(
        None,
        "Data",
        parsers.text,
        "the column of your own table that holds labels (default: label, y, target or class)",
        sweeps=False,
    )
    id: tuple[str, ...] | None = flag(
        None,
        "Data",
        parsers.words,
        "columns of your own table that identify rows (default: by name and values)",
        sweeps=False,
    )
    ignore: tuple[str, ...] | None = flag(
        None, "Data", parsers.words, "columns of your own table to leave out", sweeps=False
    )
    split_column: str | None = flag(
        None,
        "Data",
        parsers.text,
        "the column of your own table that says train, valid or test (default: by its words)",
        sweeps=False,
    )
    layer: str | None = flag(
        None,
        "Data",
        parsers.text,
        "the matrix of an .h5ad file: one of its layers, or raw; label, id and condition name "
        "columns of its obs (default: X)",
        sweeps=False,
    )
    user: str | None = flag(
        None,
        "Data",
        parsers.text,
        "the column of users of your own table with a row for each rating (default: by its name)",
        sweeps=False,
    )
    item: str | None = flag(
        None, "Data", parsers.text, "its column of items (default: by its name)", sweeps=False
    )
    rating: str | None = flag(
        None, "Data", parsers.text, "its column of ratings (default: by its name)", sweeps=False
    )
    rating_at_least: float | None = flag(
        None,
        "Data",
        parsers.plain_number(),
        "ratings of at least this count as 1, others as 0 (default: each counts as 1)",
    )
    min_ratings: int | None = flag(
        None,
        "Data",
        parsers.integer(1),
        "leave out users with fewer ratings (default: 5)",
    )
    min_item_ratings: int | None = flag(
        None,
        "Data",
        parsers.integer(1),
        "leave out items with fewer ratings (default: 1)",
    )
    csv: tuple[str, ...] | None = flag(
        None,
        "Data",
        parsers.words,
        "how your own CSV file is written, such as separator=semicolon,decimal=comma,header=no,"
        "encoding=cp1252 (default: detected)",
        sweeps=False,
    )
    test_data: str | None = flag(
        None,
        "Data",
        parsers.text,
        "path of another table with the columns of your own one, by name, whose rows are the test "
        "split",
        sweeps=False,
    )
    train_where: str | None = flag(
        None,
        "Data",
        parsers.text,
        "rows to train and validate on, such as 'label==0 and age>=18': columns of your own table, "
        "or the label of other data; the others are test rows",
        sweeps=False,
    )
    resize: tuple[int, int] | None = flag(
        None,
        "Data",
        parsers.size,
        "height and width of your own pictures in pixels, such as 64,64 (default: their own)",
        sweeps=False,
    )
    crop: str = flag(
        "none",
        "Data",
        parsers.choice(looks.CROPS),
        "with resize: center cuts the largest centered part of that shape out first; none "
        "stretches pictures of another shape",
    )
    pad: bool = flag(
        False,
        "Data",
        bool,
        "with resize: pictures fit inside, and the rest is filled with the background",
        sweeps=False,
    )
    background: str | None = flag(
        None,
        "Data",
        parsers.text,
        "color on which your own transparent pictures are put, such as white or #808080; alpha "
        "keeps their alpha channel (default: transparent pictures are refused)",
        sweeps=False,
    )
    frames: str = flag(
        "first",
        "Data",
        parsers.choice(looks.FRAMES),
        "pages of a file of pictures that are read: first or all",
    )
    icc: str = flag(
        "stored",
        "Data",
        parsers.choice(looks.ICC),
        "srgb converts your own pictures of another color profile; stored keeps their numbers",
    )
    sound: str | None = flag(
        None,
        "Data",
        parsers.choice(sounds.KINDS),
        "your own recordings (.wav) as frames of log mel energies (mel) or of samples (raw) "
        "(default: mel)",
    )
    frame_length: int | None = flag(
        None,
        "Data",
        parsers.integer(1),
        "samples of a frame (default: the power of two next to 32 ms)",
    )
    frame_hop: int | None = flag(
        None,
        "Data",
        parsers.integer(1),
        "samples from a frame to the next with sound=mel (default: half a frame)",
    )
    mel_bands: int | None = flag(
        None,
        "Data",
        parsers.integer(1),
        "mel bands of a frame (default: 40, fewer for short frames)",
    )
    num_valid: int | None = flag(
        None,
        "Data",
        parsers.integer(0),
        "examples held out of the training split for validation, if the source has no such split "
        "(default: 10 %, at most 5000)",
    )
    epochs: int | None = flag(
        None,
        "Training",
        parsers.integer(0),
        "passes over the training split (default: about 30,000 steps, at most 200 epochs)",
        identity=False,
    )
    batch_size: int | None = flag(
        None,
        "Training",
        parsers.integer(1),
        "examples per step (default: 100, or all if there are fewer)",
    )
    learning_rate: str = flag(
        training.LEARNING_RATE,
        "Training",
        parsers.number(parsers.POSITIVE, somewhere=True, note=" (a rate such as 1e-3)"),
        "a number or a schedule, such as linear(1e-3, 0, 100%)",
        is_array=True,
    )
    optimizer: str = flag(
        "adam",
        "Training",
        parsers.choice(tuple(training.OPTIMIZERS)),
        f"one of {', '.join(training.OPTIMIZERS)} (SGD with momentum 0.9)",
    )
    weight_decay: str | None = flag(
        None,
        "Training",
        parsers.number(parsers.AT_LEAST_ZERO),
        "weight decay of adamw, for kernels only (default: 1e-4)",
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
        "largest norm of the gradient (default: no clipping)",
        is_array=True,
    )
    skip_norm: str | None = flag(
        None,
        "Training",
        parsers.number(parsers.POSITIVE, somewhere=True),
        "skip the update of a step whose gradient has a larger norm; metrics count the skipped "
        "steps (default: skip none)",
        is_array=True,
    )
    ema_decay: float | None = flag(
        None,
        "Training",
        parsers.fraction,
        "evaluate an average of the parameters with this decay, e.g. 0.999 (default: no average)",
        is_array=True,
    )
    prior_phase: str | None = flag(
        None,
        "Training",
        parsers.number(phases.INTERVAL),
        "what is trained of a model with a learned prior, as a schedule: 0 the codes without the "
        "prior, 1 the prior alone, 2 both, such as 'piecewise(0, 50%, 1)' (default: both)",
        is_array=True,
    )
    patience: int | None = flag(
        None,
        "Training",
        parsers.integer(1),
        "stop after this many epochs without a better validation ELBO (without a prior: loss), "
        "and keep the best parameters (default: never)",
    )
    init_scale: float | None = flag(
        None,
        "Training",
        parsers.plain_number(1e-6),
        "standard deviation of the initial weights times the root of the fan-in; PyTorch's layers "
        "have 0.577 (default: 1)",
        is_array=True,
    )
    dtype: str = flag(
        "float32",
        "Training",
        parsers.choice(("float32", "bfloat16")),
        "dtype of the networks' computation; parameters and losses stay float32",
    )
    seed: int = flag(
        0, "Training", parsers.integer(0, 2**31 - 2), "seed of all randomness", is_array=True
    )
    workdir: str | None = flag(
        None,
        "Output",
        parsers.text,
        "directory of the run (default: runs/<its settings>)",
        identity=False,
        sweeps=False,
    )
    checkpoint_seconds: float | None = flag(
        None,
        "Output",
        parsers.plain_number(0),
        "seconds between two checkpoints (default: 5, or 50 times as long as a save takes)",
        identity=False,
        sweeps=False,
    )
    sampler: str | None = flag(
        None,
        "Output",
        parsers.choice(samplers.names, "sampler"),
        "what codes of pictures of samples are drawn from, one of {samplers}, fit to the codes "
        "(default: the prior; without one, gaussian)",
        identity=False,
        sweeps=False,
    )
    sampling_temperature: float | None = flag(
        None,
        "Output",
        parsers.plain_number(0),
        "what the deviations of p(z) are multiplied by where pictures show samples; 0 draws its "
        "mean (default: 1)",
        identity=False,
        sweeps=False,
    )
    plot_format: tuple[str, ...] = flag(
        ("png",),
        "Output",
        parsers.each(parsers.choice(tuple(plots.FORMATS))),
        f"formats of the pictures, with commas between them: {', '.join(plots.FORMATS)}",
        identity=False,
        sweeps=False,
    )
    snapshots: int | None = flag(
        None,
        "Output",
        parsers.integer(2, 1000),
        "also draw a contact sheet and a GIF of about this many epochs of training: fixed inputs "
        "reconstructed, fixed codes decoded (of one run, on images; default: none)",
        identity=False,
        sweeps=False,
    )
    traversal_example: int | None = flag(
        None,
        "Output",
        parsers.integer(0),
        "number of the test example whose code pictures of traversals vary (default: a typical "
        "one, whose code is nearest to the mean)",
        identity=False,
        sweeps=False,
    )
    tensorboard: bool = flag(
        False,
        "Output",
        bool,
        "the same as loggers=tensorboard",
        identity=False,
        sweeps=False,
    )
    loggers: tuple[str, ...] | None = flag(
        None,
        "Output",
        parsers.each(parsers.choice(_loggers, "logger")),
        "where the numbers of training also go while it runs, one or more of {loggers} (extras of "
        "the same names)",
        identity=False,
        sweeps=False,
    )
    hyperparameters: tuple[tuple[str, str], ...] = ()

    def identity(self) -> dict:
        """The settings that affect the result of the run, as plain JSON values."""
        flags = {f.name: getattr(self, f.name) for f in flag_fields() if f.metadata["identity"]}
        flags = {k: list(v) if isinstance(v, tuple) else v for k, v in flags.items()}
        return {**flags, **dict(self.hyperparameters)}

    def requested(self) -> dict:
        """The requested settings, as plain JSON values: `identity`, and the epochs."""
        return {**self.identity(), "epochs": self.epochs}

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
        "a CSV or JSON file of runs, with a column or key for each flag; flags given beside it "
        "apply to every row, and every row is trained with each of several values",
    )
    runs_per_program: int | None = flag(
        None,
        "Sweep",
        parsers.integer(1),
        "most runs in one compiled program, which limits its memory (default: all that can share "
        "a program)",
    )
    data_devices: int | None = flag(
        None,
        "Sweep",
        parsers.integer(1),
        "devices that split the batch of each run (default: the spare ones)",
    )
    executor: str | None = flag(
        None,
        "Sweep",
        parsers.choice(executors.names),
        "train the programs of a sweep in processes on this machine (local), as a SLURM job array "
        "(slurm) (extra: cluster), as a Job (kubernetes) or by Ray (ray) (extra: ray) (default: "
        "one after the other in this process)",
    )
    num_workers: int = flag(1, "Sweep", parsers.integer(1), "number of processes of executor=local")
    slurm: str | None = flag(
        None,
        "Sweep",
        parsers.text,
        "settings of executor=slurm, such as partition=gpu,time=120,gpus_per_node=1",
    )
    kubernetes: str | None = flag(
        None,
        "Sweep",
        parsers.text,
        "settings of executor=kubernetes, such as image=vae:1,claim=shared,mount=/shared,gpus=1",
    )
    ray: str | None = flag(
        None, "Sweep", parsers.text, "settings of executor=ray, such as address=auto,cpus=4,gpus=1"
    )
    as_program: bool = flag(
        False,
        "Sweep",
        bool,
        "train one program in `workdir` itself, as the processes of `executor` do",
        stored=False,
    )
    dry_run: bool = flag(
        False,
        "Sweep",
        bool,
        "show the programs, or the SLURM script, and do not train",
        stored=False,
    )
    retry_failed: bool = flag(
        False,
        "Sweep",
        bool,
        "submit programs again whose jobs failed, with the same settings",
        stored=False,
    )
    follow: bool = flag(
        False,
        "Sweep",
        bool,
        "with executor=slurm, show the jobs until all have ended",
        stored=False,
    )
    overwrite: bool = flag(
        False,
        "Output",
        bool,
        "archive an existing run in the directory, and start again",
        stored=False,
    )
    config: str | None = flag(
        None,
        "Settings file",
        parsers.text,
        "a .json, .toml or .yaml file of settings, or the config.json of a run; flags given beside "
        "it replace its values (extra for .yaml: yaml)",
        stored=False,
    )
    save_config: str | None = flag(
        None,
        "Settings file",
        parsers.text,
        "write all settings to this .json, .toml or .yaml file, and do not train",
        stored=False,
    )


def lasts_a_share(identity: Mapping) -> bool:
    """Whether a schedule among the settings of a run lasts a share of the run."""
    return any("%" in str(value) for value in identity.values())


def flag_fields(of: type = Config) -> list[dataclasses.Field]:
    """The fields of `Config`, or of `Plan`, that are flags."""
    return [f for f in dataclasses.fields(of) if f.metadata]


@functools.cache
def hyperparameter_flags() -> dict[str, dict[str, objectives.Hyperparameter]]:
    """Hyperparameter → {its owner → default and help}, of all objectives and families.

    An owner is the name of an objective, or a setting and its value: `prior=mixture`.
    """
    owners = {name: objectives.hyperparameters(name) for name in objectives.names()}
    for setting, family in FAMILIES.items():
        for name in family.names():
            owners[f"{setting}={name}"] = hyperparameters_of_family(setting, name)
    flags: dict[str, dict] = {}
    for owner, own in owners.items():
        for name, hyperparameter in own.items():
            flags.setdefault(name, {})[owner] = hyperparameter
    return flags


def hyperparameters_of_family(setting: str, name: str) -> dict[str, objectives.Hyperparameter]:
    """The settings of a class of `FAMILIES` by its name."""
    family = FAMILIES[setting]
    cls, told, own = family.load(name), family.settings(name), family.settings_of(name)
    return {
        field.name: objectives.Hyperparameter(
            field.default,
            told[field.name],
            objectives.Interval.parse("[1, inf)"),
            cls.choices.get(field.name, ()),
            or_number=field.name in getattr(cls, "numeric", ()),
        )
        for field in dataclasses.fields(cls)
        if field.name in own
    }


def named_in(values: Mapping[str, Any]) -> dict[str, str]:
    """Setting of `FAMILIES` → the name that is given for it; without those that are not given."""
    return {name: values[name] for name in FAMILIES if values.get(name) is not None}


def hyperparameters_of(
    objective: str, names: Mapping[str, str]
) -> dict[str, objectives.Hyperparameter]:
    """The hyperparameters of an objective by its name, and of the classes of `named_in`."""
    known = dict(objectives.hyperparameters(objective))
    for setting, name in names.items():
        known |= hyperparameters_of_family(setting, name)
    return known


def members_of(config: Config) -> dict[str, Any]:
    """The prior and the posterior that are asked for; None for those of the objective."""
    names = named_in(vars(config))
    return {
        setting: FAMILIES[setting].make(names[setting], **_own_settings(config, setting))
        if setting in names
        else None
        for setting in ("prior", "posterior")
    }


def likelihood_settings(config: Config) -> dict[str, float | str]:
    """The settings of the likelihood that are asked for, see `likelihoods.make`; scalars."""
    own = _own_settings(config, "likelihood") if config.likelihood is not None else {}
    if config.output_activation == Config.output_activation:
        return own
    return {**own, "output_activation": config.output_activation}


def _own_settings(config: Config, setting: str) -> dict[str, Any]:
    """The settings of the class that a setting of `FAMILIES` names: words and numbers."""
    given = dict(config.hyperparameters)
    known = hyperparameters_of_family(setting, getattr(config, setting))
    return {name: each.value_of(given[name]) for name, each in known.items()}


def columns_of(config: Config) -> tuple[str, ...] | None:
    """The columns of a table [N] on which the objective conditions x, or None."""
    known = objectives.hyperparameters(config.objective)
    for name, value in config.hyperparameters:
        if name in known and known[name].others and value not in known[name].choices:
            return tuple(value.split("+"))
    return None


def statics_of(config: Config) -> dict[str, int | str]:
    """The hyperparameters of the objective that are not arrays: counts and words."""
    known = objectives.hyperparameters(config.objective)
    return {
        name: value if known[name].choices else int(value)
        for name, value in config.hyperparameters
        if name in known and known[name].is_static
    }
