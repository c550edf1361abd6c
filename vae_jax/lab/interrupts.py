"""What a signal does while there is nothing to save; imports nothing slow, to come first."""

import contextlib
import functools
import os
import signal
import threading

__all__ = [
    "INTERRUPTS",
    "exit_at_once",
    "tell",
]

INTERRUPTS = (signal.SIGINT, signal.SIGTERM)

_is_leaving = threading.Lock()


def exit_at_once() -> None:
    """Has the first SIGINT or SIGTERM end the process with 128 + n and one line.

    Also inside a computation of minutes, in which Python calls no handler: there a thread leaves.
    Whoever installs handlers of their own has taken over, for as long as those stand.
    """
    for signum in INTERRUPTS:
        signal.signal(signum, _exit)
    _watch()


@functools.cache
def _watch() -> None:
    """Starts the thread that hears of signals while no handler can be called; once."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    # the interpreter writes the number of each signal there as it comes
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    # a fork has the pipe and not the thread: its signals are not this process's
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    threading.Thread(target=_listen, args=(read,), name="signals", daemon=True).start()


def _listen(read: int) -> None:
    while received := os.read(read, 1):
        if signal.getsignal(received[0]) is _exit:
            _exit(received[0], None)


def _exit(signum, frame):
    del frame
    # handler and thread both come here: one of them leaves
    if not _is_leaving.acquire(blocking=False):
        return
    # no unwinding: the signal may arrive inside an import, which may swallow an exception, or
    # inside a compilation, which one would crash; and no print, which it may have come in the
    # middle of
    tell(signum, "left, nothing was to be saved")
    os._exit(128 + signum)


def tell(signum: int, words: str) -> None:
    """Says on stderr what a signal leads to; for handlers: nothing that can fail, or is buffered.

    Args:
        signum: of the signal, a scalar.
        words: what follows its name.
    """
    with contextlib.suppress(OSError):  # nobody may be there to read it
        os.write(2, f"\n{signal.Signals(signum).name}: {words}\n".encode())
