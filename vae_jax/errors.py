"""Errors that a user can cause. Each ends the program with one line and its own exit code."""

__all__ = [
    "DataError",
    "DivergedError",
    "LockedError",
    "StorageError",
    "UsageError",
    "VaeJaxError",
]


class VaeJaxError(Exception):
    """Base of all errors whose message alone is enough for the user; never raised itself.

    The message says what is wrong, the value received, what is allowed, and what to do, in a line.
    """

    exit_code = 1


class UsageError(VaeJaxError):
    """A flag, an argument or a run directory does not fit (exit code 2)."""

    exit_code = 2


class DataError(VaeJaxError):
    """A dataset is missing, damaged, or its shape or range does not fit (exit code 3)."""

    exit_code = 3


class DivergedError(VaeJaxError):
    """Training met a loss or gradient that is not finite (exit code 4)."""

    exit_code = 4


class StorageError(VaeJaxError):
    """A file could not be written or verified (exit code 5)."""

    exit_code = 5


class IncompleteError(VaeJaxError):
    """Programs of a sweep failed, so that some of its runs have no result (exit code 7)."""

    exit_code = 7


class LockedError(VaeJaxError):
    """Another process holds the run directory (exit code 6)."""

    exit_code = 6
