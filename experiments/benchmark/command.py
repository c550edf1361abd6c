"""The flags of the benchmark, its sections by name, and its help page."""

import functools

from absl import flags

from experiments.benchmark import (
    accelerator,
    densities,
    estimates,
    growth,
    measuring,
    memory,
    peers,
    profile,
    reading,
    saving,
    scaling,
    sizes,
    startup,
)
from experiments.benchmark.workloads import QUICK, Effort
from vae_jax.cli import command as cli
from vae_jax.errors import UsageError

DESCRIPTION = (
    "Measures our training beside PyTorch, plain Flax and the machine's own limit; what a member "
    "of a sweep costs, what priors and posteriors cost, how runs spread over devices, what "
    "streaming and checkpoints cost; what an estimate of log p(x) costs; how time grows with "
    "size and along each axis of the work, how long a start takes, and how much memory; what "
    "reading files takes; what an accelerator reaches. Whatever is compared takes turns; times "
    "are medians, without compilation."
)
SECTIONS = {
    section.__name__: section
    for section in (
        peers.peers,
        profile.profile,
        sizes.sizes,
        densities.densities,
        estimates.nll,
        startup.startup,
        memory.memory,
        memory.footprint,
        reading.reading,
        scaling.sweep,
        scaling.devices,
        scaling.streaming,
        saving.saving,
        growth.scale,
        growth.labels,
        accelerator.accelerator,
    )
}
FLAGS = ("sections", "json", "quick")


def parse_sections(text: str | None) -> list[str]:
    """The names of the requested sections, in the order of `SECTIONS`.

    Args:
        text: names separated by commas; None means all.

    Raises:
        UsageError: there is no section of that name.
    """
    asked = list(SECTIONS) if text is None else [name.strip() for name in text.split(",")]
    for name in asked:
        if name not in SECTIONS:
            raise UsageError(
                f"--sections={text}: {name!r} is none, choose from {', '.join(SECTIONS)}"
            )
    return [name for name in SECTIONS if name in asked]


def main(values: dict) -> None:
    """Runs the sections that the flags request."""
    asked = {name: SECTIONS[name] for name in parse_sections(values["sections"])}
    effort = QUICK if values["quick"] else Effort()
    say = functools.partial(print, flush=True)
    measuring.report(asked, effort, path=values["json"], say=say)


def help_page(asked: str = "") -> str:
    """The page that --help prints, for any topic."""
    del asked
    lines = [DESCRIPTION, ""]
    lines += [f"  --{name:<12}{flags.FLAGS[name].help}" for name in FLAGS]
    lines += ["", "Sections:"]
    lines += [f"  {name:<14}{section.__doc__}" for name, section in SECTIONS.items()]
    return "\n".join(lines)


def launch() -> None:
    """Defines and parses the flags, and runs the benchmark."""
    flags.DEFINE_string(
        "sections", None, "some of the sections, with commas between (default: all)"
    )
    flags.DEFINE_string("json", None, "a file for the numbers, the machine and its versions")
    flags.DEFINE_boolean("quick", False, "run everything once, for numbers that mean little")
    cli.launch(main, FLAGS, help_page)
