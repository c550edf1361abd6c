"""R8 and R15: values and names that no run is made of."""

import functools
import os
import time

from ._lab import Lab, check, check_refused, each, fault, finish
from .bad_flags import BAD, MORE, ONLY_THE_COMMAND

SECONDS = 3
"""In which a bad value is refused, beyond what Python takes to import what a run needs."""

IMPORTS = "from vae_jax.cli.commands import train, evaluate; import jax; jax.devices()"


def imports_seconds(lab: Lab) -> float:
    """How long the imports take here and now."""
    start = time.monotonic()
    check(finish(lab.launch(["-c", IMPORTS])).code == 0, "the imports fail")
    return time.monotonic() - start


@fault("R8", "flags and values that no run is made of")
def bad_flags(lab, tries):
    arguments = [([f"--{n}={v}" for n, v in values.items()], words) for values, words in BAD]
    arguments += ONLY_THE_COMMAND + MORE

    def case(given, words):
        workdir = lab.new()
        named = [] if any(a.startswith("--workdir") for a in given) else [f"--workdir={workdir}"]
        imports = imports_seconds(lab)
        start = time.monotonic()
        ended = finish(lab.launch(["-m", "experiments.vae", *named, *given]))
        seconds = time.monotonic() - start
        check_refused(ended, (2, 3), words=words)
        check(seconds < imports + SECONDS, f"{given}: refused after {seconds:.1f} s")
        check(ended.out == "", f"{given}: prints {ended.out[:200]!r}")
        check(not workdir.exists(), f"{given}: leaves a run directory")

    yield from each(lab, [functools.partial(case, *a) for a in arguments][:tries])


NAMES = ("a/../../b", "..", "x" * 300, "tab\there", "line\nbreak", "ünïcode-β", "-dash", "a b", ".")


@fault("R15", "names of run directories")
def names(lab, tries):
    def case(name):
        folder = lab.new().parent / "inside" / "deeper"
        folder.mkdir(parents=True)
        outside = set(folder.parents[1].rglob("*"))
        flags = [f"--workdir={folder / name}", "--epochs=1", "--widths=4", "--latent_dim=1"]
        ended = finish(lab.launch(["-m", "experiments.vae", *flags]))
        if ended.code:
            check_refused(ended, (2, 5))
        where = os.path.normpath(folder / name)
        left = set(folder.parents[1].rglob("*")) - outside
        stray = [p for p in left if not str(p).startswith(where) and not where.startswith(str(p))]
        check(not stray, f"writes {stray[:3]}, not only in {where}")

    yield from each(lab, [functools.partial(case, name) for name in NAMES][:tries])
