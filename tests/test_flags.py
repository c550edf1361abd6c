"""The library names settings; only the command line, and the log of a run, spell them as flags."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vae_jax
from vae_jax import keeping
from vae_jax.cli import command
from vae_jax.errors import StorageError, UsageError, verbatim
from vae_jax.lab.flags import as_flags

ROOT = Path(vae_jax.__file__).parent
ENTRY_POINTS = ("cli/", "__main__.py", "lab/flags.py")
"""They spell what the library says, and may name flags."""
OF_OTHERS = {
    "devices/platform.py::_COUNT": "is a flag of XLA",
    "lab/executors/kubernetes.py::_namespace": "is an option of kubectl",
    "lab/executors/kubernetes.py::_of_job": "asks kubectl",
    "lab/executors/kubernetes.py::cancel": "asks kubectl",
    "lab/executors/kubernetes.py::run": "asks kubectl",
    "lab/executors/slurm.py::_option": "is an option of SLURM's srun",
    "lab/executors/slurm.py::_of_clusters": "is an option of SLURM's squeue",
    "lab/executors/slurm.py::_queue": "asks SLURM's squeue",
    "lab/run_page.py::lines": "shows commands to copy",
    "lab/sweep_page.py::_run": "shows commands to copy",
    "lab/config.py::command_line": "spells every flag, and names none",
    "lab/environment.py::_OF_ARITHMETIC": "are flags of XLA",
    "storage/provenance.py::_git": "asks git",
}
"""Where the library has an option that is no flag of ours, and why."""
FLAG = re.compile(r"(?<![\w-])--(?=[a-z…])")


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("beta=4: must be 1", "--beta=4: must be 1"),
        ("give beta=4, or gamma=1", "give --beta=4, or --gamma=1"),
        ("(widths=4 is one)", "(--widths=4 is one)"),
        ("choose another `workdir`", "choose another --workdir"),
        ("`overwrite=True` archives it", "--overwrite archives it"),
        # a value is never read again, and what is a flag already stays one
        ("dataset=beta=4.npy: is none", "--dataset=beta=4.npy: is none"),
        ("--beta=4: must be 1", "--beta=4: must be 1"),
        # names of files, columns and variables are none of settings
        ("runs/digits-beta=4 and runs/beta=4", "runs/digits-beta=4 and runs/beta=4"),
        ("column 'beta=4' holds", "column 'beta=4' holds"),
        ("set JAX_PLATFORMS=cpu, latent=1", "set JAX_PLATFORMS=cpu, latent=1"),
        ("it is Gaussian(variance='learned')", "it is Gaussian(variance='learned')"),
        ("the `Dense` of a library", "the `Dense` of a library"),
        # what a run is told by stays as it is
        (f"holds {verbatim('beta=1, seed=2')}: choose", "holds beta=1, seed=2: choose"),
        (f"program {verbatim('all')}", "program all"),
    ],
)
def test_settings_become_flags(message, told):
    assert as_flags(message) == told


def test_flags_of_a_command_are_told_beside_those_of_a_training():
    assert as_flags("member=3: `to`, `workdir`") == "member=3: `to`, --workdir"
    assert as_flags("member=3: `to`, `workdir`", ["member", "to"]) == "--member=3: --to, --workdir"


def test_an_error_of_the_library_is_told_in_flags(capsys):
    def fail():
        raise UsageError("member=3: is none, choose another `workdir`")

    with pytest.raises(SystemExit) as ended:
        command.or_exit(fail, ["member"])
    assert ended.value.code == UsageError.exit_code
    assert capsys.readouterr().err == "error: --member=3: is none, choose another --workdir\n"


def test_fit_has_another_name_for_the_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StorageError, match=r"choose another `checkpoint`$"),
        keeping.Keeper(tmp_path / "file" / "run", {}),
    ):
        pass


def flags_in(source: str) -> set[str]:
    """The functions and names of a file in whose strings a flag stands; its docstrings belong."""
    return {owner for owner, text in texts(ast.parse(source), "") if FLAG.search(text)}


def texts(node, owner):
    """(function, or name at the top, in which it stands; text) of each string below a node."""
    for child in ast.iter_child_nodes(node):
        inner = owner
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            inner = child.name
        elif isinstance(child, ast.Assign) and isinstance(node, ast.Module):
            inner = getattr(child.targets[0], "id", owner)
        if isinstance(child, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "…" for part in child.values)
            yield inner, "".join(parts)
        elif isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield inner, child.value
        yield from texts(child, inner)


def test_no_message_or_docstring_of_the_library_names_a_flag():
    found = set()
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(ENTRY_POINTS):
            found |= {f"{name}::{owner}" for owner in flags_in(path.read_text())}
    assert found == OF_OTHERS.keys()


@pytest.mark.parametrize(
    ("source", "owners"),
    [
        ('"""Of --beta."""', {""}),
        ('def f():\n    """Of --beta."""', {"f"}),
        ('def f(a):\n    raise E(f"--{a}={a}: no")', {"f"}),
        ('A = ["--beta"]', {"A"}),
        ('def f():\n    return "a `beta` -- no, 1--b, beta=4, ---"', set()),
    ],
)
def test_flags_are_found_in_a_source(source, owners):
    assert flags_in(source) == owners


def test_a_setting_of_the_default_objective_is_known_without_the_others():
    """At the end of a training a finding names some, and importing all objectives takes time."""
    source = "import sys; from vae_jax.lab.flags import as_flags; print(as_flags('take beta=1'))"
    told = "print(*(n for n in sys.modules if n.startswith('vae_jax.objectives.')))"
    command = [sys.executable, "-c", f"{source}; {told}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    message, modules = done.stdout.splitlines()
    assert message == "take --beta=1"
    assert "vae_jax.objectives.beta_vae" in modules.split()
    assert "vae_jax.objectives.iwae" not in modules.split()
