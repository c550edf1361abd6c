"""Prints a script by which a shell completes commands, flags and their values.

The scripts are made of the flags and choices of this version.
"""

import sys
from collections.abc import Callable, Mapping

from vae_jax import console, discovery
from vae_jax.cli import command as cli
from vae_jax.cli import commands
from vae_jax.errors import UsageError, any_of, unknown
from vae_jax.lab import parsers
from vae_jax.lab.settings import Config, Plan, flag_fields, hyperparameter_flags

__all__ = ["DESCRIPTION", "FLAGS", "SHELLS", "Flags", "flags_of_commands", "run", "script"]

DESCRIPTION = (
    "Prints a script that completes the commands, flags and values of vae-jax. The first word is "
    "the shell: bash, zsh or fish."
)
FLAGS: dict[str, str] = {}
"""Flag → its help line."""
Flags = Mapping[str, tuple[str, ...] | None]
"""Flag → the words that it takes; () for other values, None for a switch without one."""


def flags_of_commands() -> dict[str, tuple[list[str], Flags]]:
    """Command → the words that may follow it, and its flags."""
    return {name: _of_command(name) for name in discovery.names(commands.__name__)}


def _of_command(name: str) -> tuple[list[str], Flags]:
    if name == "train":
        return [], _of_training()
    module = discovery.load(commands.__name__, name, "command")
    if module is sys.modules[__name__]:
        return [*SHELLS], {}
    first = module.names() if hasattr(module, "names") else []
    if not hasattr(module, "flag_texts"):
        texts = module.FLAGS
    else:
        several = [module.flag_texts(word) for word in first] or [module.flag_texts()]
        texts = {flag: text for each in several for flag, text in each.items()}
    return first, dict.fromkeys(texts, ())


def _of_training() -> Flags:
    """The flags of a training: those of settings, and of all hyperparameters."""
    found: dict[str, tuple[str, ...] | None] = {
        field.name: None if field.default is False else parsers.names_of(field.metadata["parse"])
        for field in (*flag_fields(Config), *flag_fields(Plan))
    }
    for name, owners in hyperparameter_flags().items():
        words = [word for known in owners.values() for word in known.choices]
        found[name] = tuple(dict.fromkeys(words))
    return found


def script(shell: str) -> str:
    """The script of a shell, as text.

    Args:
        shell: bash, zsh or fish.

    Raises:
        UsageError: it is another one.
    """
    if shell not in SHELLS:
        raise unknown("shell", shell, SHELLS)
    return SHELLS[shell](flags_of_commands())


def _spelled(flags: Flags) -> str:
    """The flags as words: `--beta=` takes a value, `--pad` does not."""
    return " ".join(f"--{n}" if words is None else f"--{n}=" for n, words in flags.items())


def _cases(known: Mapping[str, tuple[list[str], Flags]], line: str) -> list[str]:
    """Lines of a `case` of bash or zsh: the words of each flag with choices."""
    return [
        f'    "{command} --{flag}") ' + line.format(" ".join(words)) + " ;;"
        for command, (_, flags) in known.items()
        for flag, words in flags.items()
        if words
    ]


def _bash(known: Mapping[str, tuple[list[str], Flags]]) -> str:
    of_commands = [
        f'    "{name}") flags="{_spelled(flags)}"; first="{" ".join(first)}" ;;'
        for name, (first, flags) in known.items()
    ]
    return "\n".join(
        [
            "# completes vae-jax in bash",
            "_vae_jax() {",
            '  local current="${COMP_WORDS[COMP_CWORD]}" command="${COMP_WORDS[1]}"',
            '  local before="" name="" first="" flags="" words=""',
            "  COMPREPLY=()",
            "  if (( COMP_CWORD == 1 )); then",
            f'    COMPREPLY=($(compgen -W "{" ".join(known)}" -- "$current"))',
            "    return",
            "  fi",
            "  # bash splits words at = unless COMP_WORDBREAKS says otherwise",
            '  if [[ $current == "=" ]]; then',
            '    name="${COMP_WORDS[COMP_CWORD-1]}"; current=""',
            '  elif [[ ${COMP_WORDS[COMP_CWORD-1]} == "=" ]]; then',
            '    name="${COMP_WORDS[COMP_CWORD-2]}"',
            "  elif [[ $current == --*=* ]]; then",
            '    name="${current%%=*}"; before="$name="; current="${current#*=}"',
            "  fi",
            '  case "$command" in',
            *of_commands,
            "  esac",
            "  if [[ -z $name ]]; then",
            "    (( COMP_CWORD == 2 )) || first=",
            '    COMPREPLY=($(compgen -W "$first $flags" -- "$current"))',
            "    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null",
            "    return",
            "  fi",
            '  case "$command $name" in',
            *_cases(known, 'words="{}"'),
            "    *)",
            '      COMPREPLY=($(compgen -P "$before" -f -- "$current"))',
            "      compopt -o filenames 2>/dev/null",
            "      return ;;",
            "  esac",
            "  # several values have commas between them",
            '  [[ $current == *,* ]] && before="$before${current%,*},"',
            '  COMPREPLY=($(compgen -P "$before" -W "$words" -- "${current##*,}"))',
            "}",
            "complete -F _vae_jax vae-jax",
        ]
    )


def _zsh(known: Mapping[str, tuple[list[str], Flags]]) -> str:
    of_commands = []
    for name, (first, flags) in known.items():
        switches = {n: words for n, words in flags.items() if words is None}
        others = {n: words for n, words in flags.items() if words is not None}
        of_commands += [
            f'    "{name}")',
            f"      (( CURRENT == 3 )) && compadd -- {' '.join(first)}",
            f"      compadd -S '' -- {_spelled(others)}",
            f"      compadd -- {_spelled(switches)} ;;",
        ]
    return "\n".join(
        [
            "#compdef vae-jax",
            "_vae_jax() {",
            '  local command="$words[2]" name="${PREFIX%%=*}"',
            "  if (( CURRENT == 2 )); then",
            f"    compadd -- {' '.join(known)}",
            "    return",
            "  fi",
            "  if compset -P '--*='; then",
            '    case "$command $name" in',
            *_cases(known, "compset -P '*,'; compadd -S '' -- {}"),
            "    *) _files ;;",
            "    esac",
            "    return",
            "  fi",
            '  case "$command" in',
            *of_commands,
            "  esac",
            "}",
            "# called as a function of $fpath, or read by source",
            'if [[ "$funcstack[1]" == _vae_jax ]]; then',
            '  _vae_jax "$@"',
            "else",
            "  compdef _vae_jax vae-jax",
            "fi",
        ]
    )


def _fish(known: Mapping[str, tuple[list[str], Flags]]) -> str:
    own = "complete -c vae-jax"
    lines = [
        "# completes vae-jax in fish",
        f"{own} -f",
        f"{own} -n __fish_use_subcommand -a '{' '.join(known)}'",
    ]
    for name, (first, flags) in known.items():
        seen = f"{own} -n '__fish_seen_subcommand_from {name}'"
        lines += [f"{seen} -a '{' '.join(first)}'"] if first else []
        for flag, words in flags.items():
            value = "" if words is None else f" -x -a '{' '.join(words)}'" if words else " -r -F"
            lines.append(f"{seen} -l {flag}{value}")
    return "\n".join(lines)


SHELLS: dict[str, Callable[[Mapping[str, tuple[list[str], Flags]]], str]] = {
    "bash": _bash,
    "fish": _fish,
    "zsh": _zsh,
}
"""Shell → what makes its script of the flags of all commands."""


def run() -> None:
    """Reads the shell from `sys.argv`, prints its script, and exits."""
    example = "vae-jax completion bash > ~/.local/share/bash-completion/completions/vae-jax"
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        cli.start(_refuse, FLAGS, DESCRIPTION, example=example)
        return
    shell = sys.argv.pop(1)
    cli.start(lambda _: console.say_page(script(shell)), FLAGS, DESCRIPTION, example=example)


def _refuse(values: dict) -> None:
    """Ends a command without a shell."""
    raise UsageError(f"completion: name a shell: {any_of(SHELLS)}")
