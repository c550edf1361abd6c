"""A shell completes what there is: commands, flags, and the words that a flag takes."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from vae_jax import discovery, networks, uses
from vae_jax.cli import commands, main
from vae_jax.cli.commands import completion
from vae_jax.errors import UsageError
from vae_jax.lab.settings import Config, Plan, flag_fields, hyperparameter_flags

ROOT = pathlib.Path(__file__).parents[1]
SHELLS = [*completion.SHELLS]
COMPLETE = """
source "$1"
{breaks}
mapfile -t COMP_WORDS < "$2"
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
COMP_LINE="${{COMP_WORDS[*]}}"
$(complete -p vae-jax | sed 's/.*-F \\([^ ]*\\).*/\\1/')
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def known():
    return completion.flags_of_commands()


@pytest.fixture(scope="module")
def path(tmp_path_factory, known):
    file = tmp_path_factory.mktemp("completion") / "vae-jax.bash"
    file.write_text(completion.script("bash"))
    return file


def completed(path, *words, folder=ROOT):
    """What bash offers for the last word."""
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    listed = path.with_name("words")
    listed.write_text("".join(f"{word}\n" for word in ("vae-jax", *words)))
    done = subprocess.run(
        ["bash", "-c", COMPLETE.format(breaks=""), "bash", str(path), str(listed)],
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.split()


def test_every_command_and_flag_of_training_is_known(known):
    assert list(known) == discovery.names(commands.__name__)
    fields = [f.name for f in (*flag_fields(Config), *flag_fields(Plan))]
    assert {*fields, *hyperparameter_flags()} == known["train"][1].keys()
    assert known["apply"][0][: len(uses.names())] == uses.names()


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_holds_every_flag_as_plain_words(shell, known):
    text = completion.script(shell)
    for _, flags in known.values():
        for flag, words in flags.items():
            assert re.fullmatch(r"\w+", flag)
            assert all(re.fullmatch(r"[\w.+-]+", word) for word in words or ())
            mark = f" -l {flag}" if shell == "fish" else f"--{flag}"
            assert re.search(rf"{re.escape(mark)}\b", text), flag


def test_bash_completes_commands_flags_and_values(path, known):
    assert completed(path, "") == list(known)
    assert completed(path, "ev") == ["evaluate"]
    assert completed(path, "train", "--netw") == ["--network="]
    assert completed(path, "train", "--pa") == ["--pad", "--patience="]
    assert completed(path, "completion", "") == SHELLS
    assert completed(path, "apply", "sc") == ["score"]
    assert completed(path, "apply", "score", "sc") == []
    assert set(completed(path, "train", "--network", "=")) == set(networks.names())
    assert completed(path, "train", "--network", "=", "ml") == ["mlp"]


def test_bash_completes_several_values_and_words_that_are_not_split(path):
    assert completed(path, "train", "--network", "=", "mlp,lin") == ["mlp,linear"]
    assert completed(path, "train", "--network=ml") == ["--network=mlp"]
    assert completed(path, "train", "--network=conv,ml") == ["--network=conv,mlp"]
    assert completed(path, "train", "--loggers=tensorb") == ["--loggers=tensorboard"]


def test_bash_completes_files_of_other_flags(path, tmp_path):
    (tmp_path / "settings.toml").write_text("")
    found = completed(path, "train", "--config", "=", "sett", folder=tmp_path)
    assert found == ["settings.toml"]


def test_bash_takes_the_script(path):
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    assert subprocess.run(["bash", "-n", str(path)]).returncode == 0


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_another_shell_takes_its_script(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    file = tmp_path / "script"
    file.write_text(completion.script(shell))
    assert subprocess.run([shell, "-n", str(file)]).returncode == 0
    if shell == "fish":
        asked = f"source {file}; complete -C 'vae-jax train --network=ml'"
        done = subprocess.run(["fish", "-c", asked], capture_output=True, text=True)
        assert done.stdout.split()[0] == "--network=mlp"


def test_the_command_prints_the_script(monkeypatch, capsys):
    printed = {}

    def start(main, texts, description, *, example):
        main({})
        printed.update(texts=texts)

    monkeypatch.setattr(completion.cli, "start", start)
    monkeypatch.setattr(sys, "argv", ["vae-jax completion", "fish"])
    completion.run()
    assert capsys.readouterr().out == completion.script("fish") + "\n"
    with pytest.raises(UsageError, match=r"shell 'tcsh' is unknown: choose from bash, fish, zsh"):
        completion.script("tcsh")
    monkeypatch.setattr(sys, "argv", ["vae-jax completion"])
    with pytest.raises(UsageError, match="completion: name a shell: bash, fish or zsh"):
        completion.run()
    assert "completion" in main.page()
