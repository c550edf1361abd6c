"""What the design promises about speed, measured: `python -m experiments.benchmark`.

A section is a function from an `Effort` that yields `Row`s, and remarks as plain strings; its
docstring is its title, and `command.SECTIONS` names it. Whatever a section compares takes turns, so
that a machine that slows down slows all of it.
"""
