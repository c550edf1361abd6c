"""Writes a page to explore the codes of a trained run in a browser.

Training leaves it in the run's `plots/`; this makes it for other members of a sweep, and for runs
that an older version trained.
"""

from vae_jax import console
from vae_jax.cli import command as cli
from vae_jax.errors import StorageError, UsageError
from vae_jax.lab import entry, metrics, pictures, report
from vae_jax.lab import places as places_lib
from vae_jax.storage import files

__all__ = ["DESCRIPTION", "FLAGS", "SUFFIX", "main", "run"]

DESCRIPTION = (
    "Writes one HTML file, from the newest verified checkpoint of a run: codes of test examples, "
    "and the decoder, which runs in the browser. It opens without a server and fetches nothing."
)
SUFFIX = ".html"
FLAGS = {
    "run": "directory of a run, or of one program of a sweep (runs/…/programs/all)",
    "member": "which run of the program, from 0 (default: the only one)",
    "to": f"the file, which ends in {SUFFIX} (default: explorer{SUFFIX} in the run's directory, or "
    f"explorer-3{SUFFIX} of member 3 of several)",
    "data_dir": "where datasets lie, or files that moved (default: where they lay in training)",
}
"""Flag → its help line."""


def main(values: dict) -> None:
    """Writes the page of the run that the flags name."""
    if values["run"] is None:
        raise UsageError("--run: name a run directory, such as --run=runs/digits-beta=4")
    place = places_lib.only(values["run"], values["member"])
    path = places_lib.beside(place, values["to"], "explorer", SUFFIX)
    trained = metrics.load(place.directory, place.member, values["data_dir"])
    (picture,) = pictures.load("explorer")
    content = picture(pictures.look(trained.experiment, *metrics.whole(trained)))
    try:
        files.write_bytes(path, content)
    except StorageError as error:
        raise StorageError(f"--to: {error}") from None
    console.say(f"{place.name} at step {report.told_step(trained)}: {len(content):,} bytes")
    console.say(f"in {path}: open it in a browser")


def run() -> None:
    """Parses the flags from `sys.argv`, writes the page, and exits."""
    example = [*entry.words("explore"), "--run=runs/digits-beta=4"]
    cli.start(main, FLAGS, DESCRIPTION, example=" ".join(example))
