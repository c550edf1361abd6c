"""R7: numbers that stay finite, also where they are few bits."""

import csv
import functools
from collections.abc import Iterator

from vae_jax import objectives
from vae_jax.storage import members

from ._lab import LostError, check, fault, finish

NUM_STEPS = 2_000
NUM_VALID = 18
"""Few, for they are measured every 16 steps: 1,600 images are left to learn from."""
LEARNING_RATES = ("1e-4", "1e-3", "1e-2")
PHASES = ("--likelihood=bernoulli", "--pretrained=linear(0, 1, 50%)")
FEW = ("--num_bounds=2", "--num_samples=2")
SMALL = ("--discriminator_width=200", "--discriminator_depth=3")
FLAGS = {
    "stacked": PHASES,
    "dbn": PHASES,
    "ciwae": FEW[1:],
    "miwae": FEW,
    "piwae": FEW,
    "factor_vae": SMALL,
    "wae_gan": SMALL,
}
"""Those that an objective does not train without; fewer of what is many times the same."""


def train_all(lab, objective: str, dtype: str) -> Iterator[str | None]:
    """Trains an objective with each learning rate; what each run lost."""
    workdir = lab.new()
    flags = [
        f"--objective={objective}",
        f"--dtype={dtype}",
        f"--learning_rate={','.join(LEARNING_RATES)}",
        "--batch_size=100",
        f"--num_valid={NUM_VALID}",
        f"--epochs={-(-NUM_STEPS // 16)}",
        *FLAGS.get(objective, ()),
    ]
    ended = finish(lab.start(workdir, *flags), timeout=1200)
    path = workdir / "sweep.csv"
    check(path.exists(), f"{objective}, {dtype}: {ended.words}")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    check(len(rows) == len(LEARNING_RATES), f"{objective}, {dtype}: {len(rows)} rows")
    for row in rows:
        name = f"{objective}, {dtype}, learning rate {row['learning_rate']}"
        if row["status"] != "done":
            yield f"{name}: {row['status']}, {ended.out[-200:]!r}"
        elif int(row["step"]) < NUM_STEPS:
            yield f"{name}: only {row['step']} steps"
        else:
            result = members.read_results(workdir / "programs" / row["program"])[int(row["member"])]
            bad = [f"{key} {value}" for key, value in result.items() if not is_finite(value)]
            yield f"{name}: {', '.join(bad)}" if bad else None


def is_finite(value) -> bool:
    """Whether a value of a result, or each in a list of them, is none of NaN, inf and -inf."""
    values = value if isinstance(value, list) else [value]
    return not {"nan", "inf", "-inf"} & set(map(str, values))


def trained(dtype: str, lab, tries) -> Iterator[str | None]:
    """Trains every objective in one precision."""
    for objective in objectives.names()[:tries]:
        try:
            yield from train_all(lab, objective, dtype)
        except LostError as lost:
            yield from [str(lost)] * len(LEARNING_RATES)


for _dtype in ("float32", "bfloat16"):
    _name = f"{NUM_STEPS:,} steps of each objective, {_dtype}, rates of 1e-4, 1e-3, 1e-2"
    fault("R7", _name)(functools.partial(trained, _dtype))
