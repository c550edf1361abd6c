"""The command: `python -m experiments.benchmark`."""

from experiments.benchmark import command

if __name__ == "__main__":
    command.launch()
