"""Faults planted in the code, to see whether the default tests see them: `python -m tests.mutants`."""
