"""Signals: the end of a process that has nothing to save, and answers within a moment.

Imports nothing slow, to be first.
"""

import contextlib
import functools
import os
import signal
import threading
from collections.abc import Callable, Iterator

__all__ = [
    "INTERRUPTS",
    "SAVES",
    "answered",
    "exit_at_once",
    "tell",
]

INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
SAVES = (signal.SIGUSR1, signal.SIGUSR2)
"""Signals that ask for a checkpoint, as some clusters send them some time before the end."""

_is_leaving = threading.Lock()
_answers: list[Callable[[int], None]] = []


def exit_at_once() -> None:
    """Makes the first SIGINT or SIGTERM end the process with 128 + n and one line.

    SIGUSR1 and SIGUSR2, which would end it, too, are told and change nothing.

    It also works in a computation of minutes, during which Python calls no handler: a thread ends
    the process. Other handlers take precedence while they are installed.
    """
    for signum in INTERRUPTS:
        signal.signal(signum, _exit)
    for signum in SAVES:
        signal.signal(signum, lambda signum, _: tell(signum, "nothing is to be saved, going on"))
    _watch()


@contextlib.contextmanager
def answered(answer: Callable[[int], None]) -> Iterator[None]:
    """Calls a function as soon as a signal arrives, before Python's own handlers can run.

    These have to wait for a computation or a compilation, of seconds or minutes.

    Args:
        answer: is given the number of the signal, in another thread.
    """
    _watch()
    _answers.append(answer)
    try:
        yield
    finally:
        _answers.remove(answer)


@functools.cache
def _watch() -> None:
    """Starts the thread that receives signals while no handler can be called; only once."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    # the interpreter writes the number of each signal to this pipe
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    # a forked process has the pipe but not the thread, and must not handle these signals
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    threading.Thread(target=_listen, args=(read,), name="signals", daemon=True).start()


def _listen(read: int) -> None:
    while received := os.read(read, 1):
        if signal.getsignal(received[0]) is _exit:
            _exit(received[0], None)
        elif _answers:
            _answers[-1](received[0])


def _exit(signum, frame):
    del frame
    # the handler and the thread both get here: only one of them exits
    if not _is_leaving.acquire(blocking=False):
        return
    # Exit without unwinding: the signal may arrive inside an import, which may swallow an
    # exception, or inside a compilation, which an exception would crash. Do not print, since a
    # print may be interrupted.
    tell(signum, "left, nothing was to be saved")
    os._exit(128 + signum)


def tell(signum: int, words: str) -> None:
    """Reports the effect of a signal on stderr; safe in handlers: does not fail or buffer.

    Args:
        signum: number of the signal, a scalar.
        words: text after its name.
    """
    with contextlib.suppress(OSError):  # stderr may be closed
        os.write(2, f"\n{signal.Signals(signum).name}: {words}\n".encode())
