"""Configuration of Sphinx: the site is made from the pages of this folder, README and docstrings.

The pages are plain Markdown that a forge shows as well. So nothing is listed twice: the tables of
`index.md` say which pages there are and in which order, `vae_jax.__all__` which modules the
reference has. `python -m docs` builds the site.
"""

import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

import vae_jax  # noqa: E402  (the checkout is not installed where docs are built)

project = "vae_jax"
release = version = vae_jax.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "pictures/*.md"]
html_theme = "furo"
html_title = "vae_jax"
html_show_sourcelink = False
html_copy_source = False
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
nb_execution_mode = "cache"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_show_tb = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_param = False
napoleon_use_ivar = True

LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")
"""A link to a file, with its anchor or without."""


def tables(index: str) -> dict[str, dict[str, str]]:
    """The pages that the tables of the index name: heading → page without its ending → title.

    Args:
        index: the text of `index.md`.
    """
    found = {}
    for section in re.split(r"^## ", index, flags=re.M)[1:]:
        heading, _, body = section.partition("\n")
        pages = re.findall(r"^\| \[([^]]*)\]\(([\w/-]+)\.md\)", body, re.M)
        if pages:
            found[heading.strip()] = {page: title for title, page in pages}
    return found


def toctrees(index: str) -> str:
    """The hidden tables of contents of the front page, in MyST.

    Args:
        index: the text of `index.md`.
    """
    groups = {**tables(index), "Reference": {"reference/index": "Modules and functions"}}
    if (HERE / "gallery" / "index.md").exists():
        groups["Reference"]["gallery/index"] = "Gallery of objectives"
    return "\n".join(
        f"```{{toctree}}\n:hidden:\n:caption: {heading}\n\n"
        + "\n".join(f"{title} <{page}>" for page, title in pages.items())
        + "\n```\n"
        for heading, pages in groups.items()
    )


def linked(text: str, page: pathlib.Path) -> str:
    """A page whose links to files outside of the site name them instead.

    Args:
        text: of the page.
        page: its path.
    """

    def replace(match: re.Match) -> str:
        target, anchor = (page.parent / match[1]).resolve(), match[2] or ""
        if target == HERE / "index.md":
            return f"](index.md{anchor})"
        inside = target.is_relative_to(HERE) and target.suffix in (".md", ".png")
        if not inside:
            return f"](path:{target.relative_to(ROOT)})"
        return match[0]

    # a link that leads nowhere here is text: its file is in the checkout
    return re.sub(r"\[([^]]*)\]\(path:([^)]*)\)", r"\1 (`\2`)", LINK.sub(replace, text))


def front(readme: str, index: str) -> str:
    """The front page: README as it is seen from here, the tables of the index, and the contents.

    Args:
        readme, index: the texts of both.
    """
    from_here = linked(readme, ROOT / "README.md").replace("](docs/", "](")
    return f"{from_here}\n{index.partition(chr(10))[2]}\n{toctrees(index)}"


def read(app, docname: str, source: list[str]) -> None:
    """Changes a page as it is read, see `front` and `linked`."""
    page = HERE / f"{docname}.md"
    if docname == "index":
        source[0] = front((ROOT / "README.md").read_text(encoding="utf-8"), source[0])
    if page.exists():
        source[0] = linked(source[0], page)


def escaped(line: str) -> str:
    """A line of a docstring as reStructuredText that shows it as it is; `code` stays code."""
    parts = re.split(r"(`[^`]+`)", line)
    text = "".join(
        f"`{part}`" if part.startswith("`") else re.sub(r"([*|\\]|\b_|_\b|`)", r"\\\1", part)
        for part in parts
    )
    # "num_rows: B." is no list that begins with B
    return re.sub(r"(?<=: )([A-Z])\.$", r"\\\1.", text)


def as_text(lines: list[str]) -> list[str]:
    """A docstring as reStructuredText; an indented block below a line with a colon is code."""
    found, is_code = [], False
    for number, line in enumerate(lines):
        before = [each for each in lines[:number] if each.strip()]
        is_indented = line.startswith("    ")
        if is_indented and not is_code and number >= 2 and not lines[number - 1].strip():
            is_code = before[-1].endswith(":") and not before[-1].startswith(" ")
            if is_code:
                place = max(n for n in range(number) if lines[n].strip())
                found[place] = found[place] + ":"
        elif line.strip() and not is_indented:
            is_code = False
        found.append(line if is_code else escaped(line))
    return found


def plain(app, what, name, obj, options, lines: list[str]) -> None:
    """Changes a docstring in place, before its sections are read, see `as_text`."""
    lines[:] = as_text(lines)


def write_reference() -> None:
    """Writes a page for each public module, and their list."""
    folder = HERE / "reference"
    folder.mkdir(exist_ok=True)
    modules = []
    for name in sorted(vae_jax.__all__):
        value = getattr(vae_jax, name)
        if type(value).__name__ == "module":
            modules.append((name, value.__name__))
    for name, path in modules:
        title = f"vae_jax.{name}"
        body = f"{title}\n{'=' * len(title)}\n\n.. automodule:: {path}\n"
        changed(folder / f"{name}.rst", body)
    names = "\n".join(f"   {name}" for name, _ in modules)
    calls = "".join(
        f".. auto{'class' if name[0].isupper() else 'function'}:: vae_jax.{name}\n\n"
        for name in vae_jax.__all__
        if name not in dict(modules)
    )
    head = "Reference\n=========\n\n"
    changed(folder / "index.rst", f"{head}.. toctree::\n   :maxdepth: 1\n\n{names}\n\n{calls}")


def changed(path: pathlib.Path, text: str) -> None:
    """Writes a file unless it has this text already, so that it is not read again."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def setup(app) -> None:
    """Called by Sphinx."""
    write_reference()
    app.connect("source-read", read)
    app.connect("autodoc-process-docstring", plain, priority=100)
