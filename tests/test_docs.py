"""The docs site: the pages that it is made of, and the tutorials that its build executes."""

import ast
import importlib.util
import pathlib
import re
import subprocess
import sys

import pytest

from docs import gallery
from vae_jax import objectives
from vae_jax.lab import config

ROOT = pathlib.Path(__file__).parents[1]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
INDEX = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def conf():
    """The configuration of Sphinx, which needs no Sphinx."""
    spec = importlib.util.spec_from_file_location("docs_conf", ROOT / "docs" / "conf.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path])
        spec.loader.exec_module(module)
    return module


def cells_of(path):
    """The code cells of a tutorial."""
    text = path.read_text(encoding="utf-8")
    return re.findall(r"^```\{code-cell\} ipython3\n(.*?)^```", text, re.M | re.S)


def test_the_contents_of_the_site_are_the_tables_of_the_index(conf):
    found = conf.tables(INDEX)
    assert list(found) == ["Tutorials", "Guides"]
    pages = {page for group in found.values() for page in group}
    own = (path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md"))
    written = {
        path.with_suffix("").as_posix() for path in own if not {"_build", "gallery"} & {*path.parts}
    }
    assert pages == written - {"index"}
    contents = conf.toctrees(INDEX)
    assert contents.count("{toctree}") == 3
    assert "A first VAE <tutorials/first-vae>" in contents


def test_links_of_pages_lead_somewhere_in_the_site(conf):
    page = ROOT / "docs" / "data.md"
    text = "[a](apply.md#ratings) [b](../README.md) [c](numbers.csv) [d](https://x.y/z.md) [e](#f)"
    assert conf.linked(text, page) == (
        "[a](apply.md#ratings) b (`README.md`) c (`docs/numbers.csv`) [d](https://x.y/z.md) [e](#f)"
    )
    front = conf.front("# vae_jax\n[all formats](docs/data.md) [help](CONTRIBUTING.md)", INDEX)
    assert "[all formats](data.md) help (`CONTRIBUTING.md`)" in front
    assert front.count("\n# ") == 0
    assert "## Tutorials" in front


def test_docstrings_are_shown_as_they_are(conf):
    lines = ["Mean of `x`:", "", "    y = f(*x)  # [B, |L|]", "", "of *all* rows.", "", "Args:"]
    lines += ["    num_rows: B.", "    x_: [B, *shape]."]
    assert conf.as_text(lines) == [
        *("Mean of ``x``::", "", "    y = f(*x)  # [B, |L|]", "", r"of \*all\* rows.", "", "Args:"),
        *(r"    num_rows: \B.", r"    x\_: [B, \*shape]."),
    ]


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorials_are_notebooks_whose_cells_are_python(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("---\nfile_format: mystnb\nkernelspec:\n  name: python3\n---\n")
    cells = cells_of(path)
    assert len(cells) >= 3
    for cell in cells:
        ast.parse(cell)
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (path.parent / link).exists(), link
    # each cell is code of the page: what is fenced otherwise is not executed
    assert text.count("```") == 2 * len(cells)


def test_the_gallery_shows_formula_numbers_and_command_of_an_objective():
    result = {"status": "done", "elbo": -5.25, "elbo_standard_error": 0.125, "rate": 2.0}
    text = "\n".join(gallery.lines("beta_vae", result, ["samples"]))
    assert f"    loss = {objectives.formula('beta_vae')}\n" in text
    assert "| elbo | -5.25 | 0.12 |\n| rate | 2 |  |" in text
    assert "![samples](beta_vae-samples.png)" in text
    assert "[Kingma & Welling 2014](https://arxiv.org/abs/1312.6114)" in text
    (command,) = re.findall(r"python -m experiments.vae (.*)", text)
    assert "--objective=beta_vae" in command
    front = "\n".join(gallery.index({"beta_vae": result, "iwae": {}}))
    assert "| [beta_vae](beta_vae.md) | " in front
    assert front.endswith(":hidden:\n\nbeta_vae\niwae\n```")


@pytest.mark.parametrize("name", objectives.names())
def test_the_flags_of_every_objective_in_the_gallery_are_a_run(name):
    assert config.from_flags(gallery.flags_of(name)).objective == name


@pytest.mark.slow
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorials_run(path, tmp_path):
    file = tmp_path / f"{path.stem.replace('-', '_')}.py"
    file.write_text("\n".join(cells_of(path)))
    done = subprocess.run([sys.executable, file], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("myst_nb", reason="needs the extra docs: EXTRAS=test,docs ./launch.sh")
    command = [sys.executable, "-m", "docs", f"--output={tmp_path}", "--without_gallery"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "html" / "reference" / "losses.html").exists()
