"""The runs in a directory of a run, of a sweep, or of one program of it."""

import os
from pathlib import Path

from vae_jax.errors import UsageError
from vae_jax.lab import build as building
from vae_jax.lab import config, metrics, parsers
from vae_jax.storage import files, members

__all__ = ["beside", "choose", "only", "programs_of"]


def choose(directory: Path, member: str | None) -> list[metrics.Place]:
    """The runs that a directory holds, or the one of them that `member` names.

    Raises:
        UsageError: there is no such run.
    """
    programs = programs_of(directory)
    found = {path: metrics.read_configs(path) for path in programs}
    chosen = [(path, m) for path, own in found.items() for m in range(len(own))]
    configs = [config for own in found.values() for config in own]
    places = []
    for (path, m), each, apart in zip(chosen, configs, building.differences(configs), strict=True):
        of = "" if len(programs) == 1 else f" of {path.name}"
        places.append(
            metrics.Place(path, m, f"member {m}{of}{f' ({apart})' if apart else ''}", each)
        )
    if member is None:
        return places
    if len(programs) > 1:
        raise UsageError(
            f"member={member}: {directory} holds {len(programs)} programs, name one of them, "
            f"such as run={programs[0]}"
        )
    return [places[config.parse_flag("member", member, parsers.integer(0, len(places) - 1))]]


def only(directory: str, member: str | None) -> metrics.Place:
    """The one run that a directory holds, or that `member` names.

    Raises:
        UsageError: there is no such run, or there are several.
    """
    places = choose(Path(directory), member)
    if len(places) > 1:
        raise UsageError(
            f"run={directory}: holds {len(places)} runs, name one, such as "
            f"run={places[0].directory} member={places[0].member}"
        )
    return places[0]


def beside(place: metrics.Place, to: str | None, stem: str, suffix: str) -> Path:
    """The path of a file about a run: as asked, or in the run's directory by its stem.

    Raises:
        UsageError: the name has another suffix, or is that of a folder.
    """
    if to is None:
        is_alone = members.num_members(place.directory) == 1
        return place.directory / f"{stem if is_alone else f'{stem}-{place.member}'}{suffix}"
    path = Path(to)
    if path.suffix != suffix or path.is_dir():
        raise UsageError(f"to={to}: must be a file that ends in {suffix}")
    return path


def programs_of(directory: Path) -> list[Path]:
    """The programs in a directory: its own, or those of a sweep.

    Raises:
        UsageError: none of them has started, or a symbolic link leads outside the directory.
    """
    folder = files.inside(directory, "programs")
    if not os.path.isdir(folder):
        return [directory]
    begun = (path for path in folder.iterdir() if os.path.lexists(path / "config.json"))
    found = sorted(files.inside(directory, "programs", path.name) for path in begun)
    if not found:
        raise UsageError(f"run={directory}: none of its programs has begun, train it first")
    return found
