"""The command line: flags in, exit code out."""

__all__ = []
