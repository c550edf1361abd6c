"""The messages of the code that name a remedy, found in its source, and what was tried of them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
GAP = "…"
"""Stands in a text for what a program puts there."""

_VERBS = (
    *("break", "build", "call", "check", "choose", "convert", "copy", "correct", "crop", "delete"),
    *("draw", "drop", "encode", "estimate", "export", "fetch", "fill", "fix", "free", "give"),
    *("install", "keep", "label", "leave", "let", "look", "make", "measure", "move", "name"),
    *("pip install", "prepare", "put", "remove", "rename", "repair", "replace", "rescale"),
    *("resize", "restore", "run", "save", "set", "share", "split", "start", "stop", "store"),
    *("submit", "subtract", "take", "train", "try", "unset", "upgrade", "use", "wait", "write"),
)
_NOUNS = "(?:run|share|split|start|train)"
"""Verbs that are a noun at the head of a text, and before these: "run …", "share of"."""
_IMPERATIVE = re.compile(
    rf"(?:^(?!{_NOUNS})|[:;,(] ?|…|[.] |\b(?:or|and) )(?!{_NOUNS} (?:…|of\b))"
    rf"(?:{'|'.join(_VERBS)})\b(?![=;.(/])",
    re.IGNORECASE,
)
"""A verb where a clause begins."""


class Message(NamedTuple):
    """A text of the source that tells a user what to do.

    Attributes:
        path: of the file, below the root of the project.
        function: the qualified name of the function or class that it stands in, or "".
        line: of the file, a count.
        text: as it is said, `GAP` in place of each value.
    """

    path: str
    function: str
    line: int
    text: str

    @property
    def place(self) -> str:
        """Where it is said: "vae_jax/data/_arrays.py::read_npy"."""
        return f"{self.path}::{self.function}"


def messages() -> list[Message]:
    """All that name a remedy, of both packages and of launch.sh, in the order of the files."""
    paths = [path for name in ("vae_jax", "experiments") for path in (ROOT / name).rglob("*.py")]
    found = [message for path in sorted(paths) for message in _in_python(path)]
    return [each for each in [*found, *_in_shell(ROOT / "launch.sh")] if is_remedy(each.text)]


def is_remedy(text: str) -> bool:
    """Whether a text says what to do."""
    return " " in text and _IMPERATIVE.search(text) is not None


def _in_shell(path: Path) -> Iterator[Message]:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        for text in re.findall(r'(?:fail|echo) "(.*?)"', line):
            told = re.sub(r"\$\w+|\$\{.*?\}|\$\*", GAP, text)
            yield Message(path.name, "", number, told)


def _in_python(path: Path) -> Iterator[Message]:
    relative = path.relative_to(ROOT).as_posix()
    for node, owners in _walk(ast.parse(path.read_text()), ()):
        text = _text(node)
        if text is not None:
            yield Message(relative, ".".join(owners), node.lineno, text)


def _walk(node: ast.AST, owners: tuple[str, ...]) -> Iterator[tuple[ast.AST, tuple[str, ...]]]:
    """Texts below a node, each whole and once, with the functions and classes around them."""
    for child in ast.iter_child_nodes(node):
        is_owner = isinstance(child, ast.FunctionDef | ast.ClassDef)
        inner = (*owners, child.name) if is_owner else owners
        if _is_silent(child):
            continue
        yield child, inner
        parts = child.values if isinstance(child, ast.JoinedStr) else [child]
        for part in parts:
            # the pieces of a text with values are no texts of their own
            if not isinstance(part, ast.Constant):
                yield from _walk(part, inner)


def _is_silent(node: ast.AST) -> bool:
    """Whether what stands below is never said in a message: docstrings, and the help of flags."""
    is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    called = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
    return is_docstring or called == "flag"


def _text(node: ast.AST) -> str | None:
    """The text that a node is, if it is one; values that it is made of become gaps."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(p.value if isinstance(p, ast.Constant) else GAP for p in node.values)
    return None
