"""Says what is wrong with trained runs, with evidence and a remedy for each finding."""

from collections.abc import Iterator
from pathlib import Path

from vae_jax import console
from vae_jax.cli import command as cli
from vae_jax.devices import platform as devices
from vae_jax.errors import UsageError
from vae_jax.lab import config, diagnoses, entry, parsers
from vae_jax.lab import places as places_lib
from vae_jax.lab.flags import as_flags
from vae_jax.lab.report import Keeper, told_files

__all__ = ["DESCRIPTION", "FLAGS", "lines", "main", "run", "told"]

DESCRIPTION = (
    "Says what is wrong with a trained run, or with the runs of a sweep: each finding with its "
    "evidence and a remedy. Beside what the end of a run says, it measures the trained model."
)
FLAGS = {
    "run": "directory of a run, of a sweep, or of one program of it (runs/…/programs/all)",
    "member": "which run of the program, from 0 (default: all)",
    "seed": "decides every draw (default: 0)",
    "data_dir": "where datasets lie, or files that moved (default: where they lay in training)",
}
"""Flag → its help line."""


def main(values: dict) -> None:
    """Diagnoses the runs that the flags name."""
    if values["run"] is None:
        raise UsageError("--run: name a run directory, such as --run=runs/digits-beta=4")
    seed = 0
    if values["seed"] is not None:
        seed = config.parse_flag("seed", values["seed"], parsers.integer(0))
    directory, keeper = Path(values["run"]), Keeper()
    places = places_lib.choose(directory, values["member"])
    devices.warn()
    console.say(devices.line())
    twins = diagnoses.twins_in(places_lib.choose(directory, None))
    for place in places:
        own = twins[place.directory, place.member]
        examined = diagnoses.examine(place, own, seed=seed, data_dir=values["data_dir"])
        found = told(examined)
        console.say(f"{place.name} at step {found['step']:,}:")
        for line in lines(found):
            console.say(f"  {line}")
        keeper.write(place.directory, f"doctor-{place.member}.json", {"doctor": found})
    if keeper.written:
        console.say(f"in {directory}: {told_files(directory, keeper.written)}")


def told(examined: diagnoses.Examined) -> dict:
    """What the command keeps of a run: its result with the findings, and what was measured."""
    evidence = examined.evidence
    findings = [finding._asdict() for finding in diagnoses.findings(evidence)]
    values = {**evidence.result, "diagnosis": findings, "measured": evidence.measured}
    return {"step": evidence.result["step"], "values": values, "skipped": examined.skipped}


def lines(found: dict) -> Iterator[str]:
    """The lines about a run: its dimensions, its findings, and what could not be measured."""
    yield from diagnoses.lines(found["values"])
    if not found["values"]["diagnosis"]:
        yield f"no finding; looked for {', '.join(diagnoses.names())}"
    for probe, reason in found["skipped"].items():
        yield f"{probe}: left out, {as_flags(reason)}"


def run() -> None:
    """The command `doctor`."""
    example = " ".join([*entry.words("doctor"), "--run=runs/digits-beta=4"])
    cli.start(main, FLAGS, DESCRIPTION, example=example)
