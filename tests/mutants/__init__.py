"""Faults planted in the code, to see whether default tests see them: `python -m tests.mutants`."""
