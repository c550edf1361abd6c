"""Sends a trained run to a repository of a hub, with a model card."""

import tempfile
from pathlib import Path

from vae_jax import console
from vae_jax.cli import command as cli
from vae_jax.cli.commands import export
from vae_jax.errors import UsageError
from vae_jax.lab import card, entry, metrics, report
from vae_jax.lab import places as places_lib
from vae_jax.storage import exported, files, hub

__all__ = ["CARD", "DESCRIPTION", "FLAGS", "main", "run"]

DESCRIPTION = (
    "Sends a trained run to a repository of the Hugging Face hub: the exported model, and a model "
    "card written from the run. vae_jax.load('hf://user/name') reads it anywhere."
)
CARD = "README.md"
"""Name of the model card in a repository."""
FLAGS = {
    "run": "directory of a run, or of one program of a sweep (runs/…/programs/all)",
    "member": "which run of the program, from 0 (default: the only one)",
    "repo": "the repository, user/name; it is made unless it exists",
    "private": "yes: a new repository is private",
    "to": "a folder to write the files to in place of sending them, to look at or to send yourself",
    "data_dir": "where datasets lie, or files that moved (default: where they lay in training)",
}
"""Flag → its help line."""


def main(values: dict) -> None:
    """Sends the run that the flags name, or writes what would be sent."""
    for flag in ("run", "repo"):
        if values[flag] is None:
            told = "--run=runs/digits-beta=4 --repo=user/name"
            raise UsageError(f"--{flag}: is missing: give {told}, for example")
    if values["private"] not in (None, "yes", "no"):
        raise UsageError(f"--private={values['private']}: must be yes or no")
    repo = hub.check_name(values["repo"])
    place = places_lib.only(values["run"], values["member"])
    trained = metrics.load(place.directory, place.member, values["data_dir"])
    found = contents(trained, place, repo)
    told = f"{place.name} at step {report.told_step(trained)}"
    if values["to"] is not None:
        folder = files.make_folder(Path(values["to"]))
        for name, content in found.items():
            files.write_bytes(folder / name, content, root=folder, remedy="choose another --to")
        console.say(f"{told}, in {folder}: {', '.join(found)}")
        return
    address = hub.push(repo, found, is_private=values["private"] == "yes", message=f"Add {told}")
    console.say(f"{told}, in {address}: vae_jax.load({f'{hub.PREFIX}{repo}'!r})")


def contents(trained: metrics.Trained, place: metrics.Place, repo: str) -> dict[str, bytes]:
    """The files of a repository: name → content; the model is verified as it is written."""
    model, params = metrics.alone(trained)
    about = export.about(trained, place)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / hub.MODEL
        exported.save(path, model, params, about)
        about = exported.description(path)["about"]  # as JSON has it
        return {hub.MODEL: path.read_bytes(), CARD: card.text(repo, about).encode()}


def run() -> None:
    """Parses the flags from `sys.argv`, sends the run, and exits."""
    example = [*entry.words("push"), "--run=runs/digits-beta=4", "--repo=user/digits-vae"]
    cli.start(main, FLAGS, DESCRIPTION, example=" ".join(example))
