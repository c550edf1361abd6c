"""The command: `python -m experiments.benchmark`."""

if __name__ == "__main__":
    from experiments import interrupts

    # before the imports that take a second
    interrupts.exit_at_once()

    from experiments.benchmark import command

    command.launch()
