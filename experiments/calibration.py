"""Counts the planted faults that the doctor finds, and its false alarms.

`python -m experiments.calibration` trains short runs on digits and on small tables, each with one
planted fault or with none, examines each as `python -m experiments.doctor` does, and prints the
confusion table. The same command goes on after an interruption; `--fault=holes` takes only that,
`--offset=100` other seeds.
"""

if __name__ == "__main__":
    from vae_jax.cli import beginning

    # before slow imports
    beginning.begin()

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np

from vae_jax import console, diagnosis
from vae_jax.cli import command as cli
from vae_jax.lab import config, diagnoses, metrics, parsers, pictures, places, sweep
from vae_jax.lab.settings import Plan
from vae_jax.storage import csv_rows, files, seals

__all__ = ["CASES", "HEALTHY", "Case", "main", "table", "tables"]

HEALTHY, BESIDE = "none", "beside"
DIGITS = "dataset=digits widths=64 epochs=400 latent_dim=4 learning_rate=cosine(0.003,0,100%)"
FACTORS = "dataset=factors.npz widths=32 epochs=200 latent_dim=2 learning_rate=cosine(0.005,0,100%)"
FEW = "dataset=few.npz widths=200,200 epochs=1200 latent_dim=4 batch_size=20 learning_rate=0.003"
ALONE = f"{FEW} dataset=alone.npz num_valid=0"
CONSTANT = (
    f"{FACTORS} dataset=constant.npz variance=learned_per_dimension epochs=400 "
    "learning_rate=cosine(0.02,0,100%)"
)
CODES = f"{DIGITS} objective=vq_vae latent_dim=8 num_codes=32"


class Case(NamedTuple):
    """A run.

    Attributes:
        fault: the finding that it has to have; `HEALTHY` for none; `BESIDE` is not counted, other
            runs are compared with it.
        flags: of its training, "beta=4 seed=1"; a later one counts.
    """

    fault: str
    flags: str

    def values(self) -> dict[str, str | None]:
        """Flag → text; None for the default."""
        words = (word.split("=", 1) for word in self.flags.split())
        return {name: value or None for name, value in words}

    def shifted(self, offset: int) -> "Case":
        """The same run of another seed, larger by an offset, a count."""
        if not offset:
            return self
        seed = int(self.values().get("seed") or 0) + offset
        return self._replace(flags=f"{self.flags} seed={seed}")


PLANTED = {
    "collapse": (
        *(f"{DIGITS} beta=100", f"{DIGITS} posterior=chain latent_dim=6 beta=2"),
        *(f"{FACTORS} beta=50", f"{FACTORS} beta=20 seed=1"),
    ),
    "idle_dimensions": (
        *(f"{FACTORS} latent_dim=8", f"{FACTORS} latent_dim=8 seed=1", f"{FACTORS} latent_dim=5"),
        f"{DIGITS} latent_dim=20 beta=4",
    ),
    "loss_scale": (*(f"{FACTORS} variance=10", f"{FACTORS} variance=0.001"),),
    "overfitting": (FEW, f"{FEW} seed=1", f"{FEW} seed=2"),
    "generalization": (ALONE, f"{ALONE} seed=1"),
    "under_training": (
        *(f"{DIGITS} epochs=5", f"{DIGITS} epochs=5 seed=1", f"{DIGITS} learning_rate=2e-5"),
        f"{FACTORS} learning_rate=1e-5",
    ),
    "learning_rate": (
        *(f"{DIGITS} learning_rate=0.1", f"{DIGITS} learning_rate=cosine(0.003,0,10%)"),
        *(f"{FACTORS} learning_rate=0.2", f"{FACTORS} learning_rate=cosine(0.005,0,10%)"),
    ),
    "divergence": (f"{DIGITS} learning_rate=1e30", f"{FACTORS} learning_rate=1e30"),
    "dead_codes": tuple(
        f"{CODES} num_codes=512 codebook=gradient revival=0 seed={seed}" for seed in (0, 1)
    ),
    "holes": (
        *(f"{DIGITS} beta=0.001", f"{DIGITS} beta=0.01", f"{FACTORS} beta=0.001"),
        f"{CODES} num_codes=512 codebook=gradient revival=0 seed=2",
    ),
    "variance_bound": (CONSTANT, f"{CONSTANT} seed=1"),
    "value_range": (f"{FACTORS} dataset=far.npz scaling=none", f"{FACTORS} dataset=outliers.npz"),
    "baseline": (f"{DIGITS} epochs=5 seed=2", f"{DIGITS} epochs=5 seed=3"),
    "seeds": (f"{FACTORS} learning_rate=0.1 seed=1",),
}
"""Fault → flags of runs that have it."""

SOUND = (
    *(f"{DIGITS} seed={seed}" for seed in range(10, 20)),
    *(f"{DIGITS} latent_dim={size}" for size in (3, 6, 8)),
    *(f"{DIGITS} beta={beta} seed=20" for beta in (0.7, 1.5, 2)),
    *(f"{FACTORS} seed={seed}" for seed in range(10, 18)),
    *(f"{FACTORS} {more}" for more in ("beta=0.7", "beta=2", "num_valid=0", "likelihood=laplace")),
    *(CODES, f"{CODES} seed=1"),
)
"""Flags of runs without a fault."""

CASES = (
    *(Case(fault, flags) for fault, own in PLANTED.items() for flags in own),
    *(Case(HEALTHY, flags) for flags in SOUND),
    *(Case(BESIDE, f"{FACTORS} learning_rate=0.1 seed={seed}") for seed in (0, 2, 3)),
)


def tables() -> dict[str, dict[str, np.ndarray]]:
    """The tables by the names of their files: name of an array → float32 [N, D]."""
    generator = np.random.default_rng(0)

    def factors(num: int) -> np.ndarray:
        """Eight columns of two factors and noise, [num, 8]."""
        z, noise = generator.normal(size=(num, 2)), generator.normal(size=(num, 8))
        angles = np.arange(8) * np.pi / 8
        rows = z @ np.stack([np.cos(angles), np.sin(angles)]) + 0.2 * noise
        return rows.astype(np.float32)

    plain, outliers = factors(1500), factors(1500)
    outliers[:, 0] = np.exp(3 * outliers[:, 0])
    few = {"x_train": factors(100), "x_test": factors(200)}
    return {
        "factors.npz": {"x": plain},
        "few.npz": {**few, "x_valid": factors(100)},
        "alone.npz": few,
        "constant.npz": {"x": np.concatenate([plain, np.ones_like(plain[:, :1])], axis=1)},
        "far.npz": {"x": 300 * plain + 5000},
        "outliers.npz": {"x": outliers},
    }


def train(cases: Sequence[Case], workdir: Path) -> list[metrics.Place]:
    """Trains the runs of the cases as a sweep, and returns their places in order."""
    folder = files.make_folder(workdir / "data")
    for name, arrays in tables().items():
        np.savez(folder / name, **arrays)
    chosen = [case.values() for case in cases]
    for values in chosen:
        if values["dataset"] in tables():
            values["dataset"] = str(folder / values["dataset"])
    names = dict.fromkeys(name for values in chosen for name in values)
    rows = [{name: values.get(name) for name in names} for values in chosen]
    (workdir / "runs.json").write_text(json.dumps(rows))
    # drawing takes longer than training here
    with (
        mock.patch.object(pictures, "draw", return_value=[]),
        mock.patch.object(pictures, "draw_sweep", return_value=[]),
    ):
        plan = Plan(sweep=str(workdir / "runs.json"))
        sweep.main({"workdir": str(workdir / "sweep")}, plan, [])
    trained = places.choose(workdir / "sweep", None)
    if len(cases) == 1:  # which is no sweep
        return trained
    found = {(p.directory.name, p.member): p for p in trained}
    rows = csv_rows.read_rows(workdir / "sweep" / "sweep.csv")
    return [found[row["program"], row["member"]] for row in rows]


def examine(cases: Sequence[Case], workdir: Path) -> list[diagnosis.Evidence]:
    """The evidence of each case, trained if it is not known yet, and kept as soon as it is."""
    folder = files.make_folder(workdir / "evidence")
    paths = {case: folder / f"{seals.digest(case.flags)[:16]}.json" for case in cases}
    missing = [case for case in cases if not paths[case].exists()]
    if missing:
        own = workdir / seals.digest([case.flags for case in missing])[:16]
        for case, place in zip(missing, train(missing, files.make_folder(own)), strict=True):
            evidence = diagnoses.examine(place, {}).evidence
            files.write_json(paths[case], seals.plain(evidence._asdict()))
            console.say(f"examined: {case.flags}")
    stored = (seals.numbers(files.read_json(paths[case])) for case in cases)
    found = [diagnosis.Evidence(**each) for each in stored]
    twins = diagnoses.twins_of([e.settings for e in found], [e.result for e in found])
    return [e._replace(twins=own) for e, own in zip(found, twins, strict=True)]


def table(cases: Sequence[Case], found: Sequence[Sequence[str]]) -> list[str]:
    """The confusion table as Markdown: planted fault against findings, counts of runs.

    Args:
        cases: the runs.
        found: the names of the findings of each.
    """
    faults = list(dict.fromkeys(case.fault for case in cases if case.fault != BESIDE))
    lines = ["| planted | runs | found | other findings of these runs |", "|---|---|---|---|"]
    for fault in faults:
        own = [names for case, names in zip(cases, found, strict=True) if case.fault == fault]
        hits = sum(fault in names for names in own)
        others = Counter(name for names in own for name in names if name != fault)
        told = ", ".join(f"`{name}` {num}" for name, num in others.most_common()) or "–"
        hit = "–" if fault == HEALTHY else hits
        lines.append(f"| `{fault}` | {len(own)} | {hit} | {told} |")
    return lines


def totals(cases: Sequence[Case], found: Sequence[Sequence[str]]) -> str:
    """One line: planted faults that were found, healthy runs with an alarm."""
    pairs = list(zip(cases, found, strict=True))
    planted = [case.fault in names for case, names in pairs if case.fault in PLANTED]
    alarms = [bool(names) for case, names in pairs if case.fault == HEALTHY]
    return (
        f"planted faults found: {sum(planted)} of {len(planted)}; "
        f"healthy runs with a finding: {sum(alarms)} of {len(alarms)}"
    )


def main(values: dict) -> None:
    """Trains, examines, and prints the findings of each run and the table."""
    workdir = Path(values["workdir"] or "runs/calibration")
    offset = 0
    if values["offset"] is not None:
        offset = config.parse_flag("offset", values["offset"], parsers.integer(0))
    chosen = [case for case in CASES if values["fault"] in (None, case.fault)]
    cases = [case.shifted(offset) for case in chosen]
    found = []
    for case, evidence in zip(cases, examine(cases, workdir), strict=True):
        findings = diagnoses.findings(evidence)
        found.append([finding.what for finding in findings])
        is_right = case.fault in (BESIDE, *(found[-1] or [HEALTHY]))
        mark = "ok" if is_right else "WRONG"
        console.say(f"{mark} {case.fault}: {case.flags}")
        for finding in findings:
            console.say(f"    {finding}")
    for line in (*table(cases, found), totals(cases, found)):
        console.say(line)


if __name__ == "__main__":
    flags = {
        "workdir": "where the runs live (default: runs/calibration)",
        "offset": "added to each seed: runs by which no threshold was chosen (default: 0)",
        "fault": f"one of {', '.join(PLANTED)}, {HEALTHY}: only these runs (default: all)",
    }
    cli.start(main, flags, __doc__.split("\n\n")[1], example="python -m experiments.calibration")
