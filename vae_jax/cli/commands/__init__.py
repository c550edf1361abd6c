"""The commands: one file each, found by name, with a docstring and `run()`."""

__all__ = []
