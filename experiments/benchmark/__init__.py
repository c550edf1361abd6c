"""Measures the speed that the design promises: `python -m experiments.benchmark`.

A section is a function of an `Effort` that yields `Row`s, and remarks as plain strings. Its
docstring is its title, and `command.SECTIONS` lists it. The competitors of a section run
interleaved, so that a slowdown of the machine affects all of them.
"""
