"""Makes the gallery: each objective trained on digits, with its formula, numbers and pictures.

`python -m docs.gallery` trains all of them, which takes some minutes, and writes a page for each
into `docs/gallery/`; the docs build calls it. The same command goes on after an interruption, and
trains what is not there.
"""

import argparse
import pathlib
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence

from vae_jax import console, objectives
from vae_jax.lab import config, entry, tables, train
from vae_jax.storage import members

HERE = pathlib.Path(__file__).parent
FOLDER = HERE / "gallery"
COMMON = {"dataset": "digits", "epochs": "60"}
"""Flags of every run."""
OWN = {
    "stacked": {"likelihood": "bernoulli", "pretrained": "linear(0, 1, 50%)"},
    "dbn": {"likelihood": "bernoulli", "pretrained": "linear(0, 1, 50%)"},
}
"""Objective → flags without which it does not train."""
PICTURES = ("reconstructions", "samples", "latent_scatter")
"""Pictures of a run that a page shows, if the run has them."""


def flags_of(name: str) -> dict[str, str]:
    """Flag → text of the run of an objective."""
    return {"objective": name, **COMMON, **OWN.get(name, {})}


def command(flags: Mapping[str, str]) -> str:
    """The command that trains a run."""
    return shlex.join([*entry.words("train"), *(f"--{n}={value}" for n, value in flags.items())])


def trained(name: str, directory: pathlib.Path) -> dict:
    """The result of an objective's run, which is trained if it is not there yet."""
    if members.read_results(directory) is None:
        train.train([config.from_flags({**flags_of(name), "workdir": str(directory)})])
    (result,) = members.read_results(directory)
    return result


def lines(name: str, result: Mapping, pictures: Sequence[str]) -> Iterator[str]:
    """The lines of an objective's page, in Markdown.

    Args:
        name: of the objective.
        result: of its run, as in `result.json`.
        pictures: names of the pictures beside the page.
    """
    yield f"# {name}"
    yield f"\n{objectives.purpose(name)}."
    yield f"\n    loss = {objectives.formula(name)}\n"
    papers = [paper for paper, number in objectives.references(name).items() if not number]
    linked = [
        f"[{paper}](https://arxiv.org/abs/{number})"
        for paper, number in objectives.references(name).items()
        if number
    ]
    if papers or linked:
        yield f"{'; '.join([*linked, *papers])}.\n"
    yield f"```bash\n{command(flags_of(name))}\n```\n"
    known = [n for n in tables.METRICS if isinstance(result.get(n), int | float)]
    yield "| test split | value | standard error |\n|---|---|---|"
    for metric in known:
        error = result.get(f"{metric}_standard_error")
        told = f"{error:.2g}" if isinstance(error, int | float) else ""
        yield f"| {metric.replace('_', ' ')} | {result[metric]:.4g} | {told} |"
    for picture in pictures:
        words = picture.replace("_", " ")
        yield f"\n![{words}]({name}-{picture}.png)\n\n*{words}*"


def index(results: Mapping[str, Mapping]) -> Iterator[str]:
    """The lines of the gallery's front page: each objective with its first picture.

    Args:
        results: objective → result of its run.
    """
    yield "# Gallery\n"
    flags = " ".join(f"--{name}={value}" for name, value in COMMON.items())
    yield f"Every objective, trained with `{flags}`. A page each: formula, numbers, pictures.\n"
    yield "| objective | what it is | distortion (nats) | rate (nats) |\n|---|---|---|---|"
    for name, result in results.items():
        cells = (result.get(term) for term in ("distortion", "rate"))
        told = " | ".join("" if cell is None else f"{cell:.2f}" for cell in cells)
        yield f"| [{name}]({name}.md) | {objectives.purpose(name)} | {told} |"
    yield "\n```{toctree}\n:hidden:\n"
    yield from results
    yield "```"


def make(runs: pathlib.Path, names: Sequence[str], folder: pathlib.Path = FOLDER) -> None:
    """Writes the pages.

    Args:
        runs: where the runs live.
        names: of the objectives.
        folder: of the pages.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in names:
        results[name] = trained(name, runs / name)
        drawn = {n: runs / name / "plots" / f"{n}.png" for n in PICTURES}
        there = [picture for picture, path in drawn.items() if path.is_file()]
        for picture in there:
            shutil.copyfile(drawn[picture], folder / f"{name}-{picture}.png")
        write(folder / f"{name}.md", lines(name, results[name], there))
    write(folder / "index.md", index(results))


def write(path: pathlib.Path, text: Iterator[str]) -> None:
    """Writes lines unless the file has them already, so that it is not read again."""
    content = "\n".join(text) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != content:
        path.write_text(content, encoding="utf-8")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m docs.gallery", description=__doc__)
    parser.add_argument("--runs", default=str(HERE / "_build" / "runs"), help="where runs live")
    parser.add_argument("--only", default="", help="objectives, with commas between them")
    asked = parser.parse_args()
    make(pathlib.Path(asked.runs), asked.only.split(",") if asked.only else objectives.names())
    console.say(f"in {FOLDER}")


if __name__ == "__main__":
    main()
