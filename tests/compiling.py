"""What JAX compiles, by its own log."""

import contextlib
import logging
import re
from collections.abc import Iterator

import jax


class _Names(logging.Handler):
    def __init__(self):
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        compiling = re.match(r"Compiling (?:jit\()?(\w+)", record.getMessage())
        if compiling:
            self.found.append(compiling[1])


@contextlib.contextmanager
def names() -> Iterator[list[str]]:
    """The functions that are compiled inside, by name, as often as each is.

    The caches of jitted functions do not tell: what they hold depends on all that ran before.
    """
    handler, log = _Names(), logging.getLogger("jax")
    log.addHandler(handler)
    try:
        with jax.log_compiles():
            yield handler.found
    finally:
        log.removeHandler(handler)
