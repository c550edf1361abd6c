"""The commands, one file each, found by name: its docstring's first line, and `run()`."""

__all__ = []
