"""What a signal does while there is nothing to save; imports nothing slow, to come first."""

import os
import signal

INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


def exit_at_once() -> None:
    """Has the first SIGINT or SIGTERM end the process with 128 + n and one line."""
    for signum in INTERRUPTS:
        signal.signal(signum, _exit)


def _exit(signum, frame):
    del frame
    # no unwinding: the signal may arrive inside an import, which may swallow an exception, or
    # inside a compilation, which one would crash; and no print, which it may have come in the
    # middle of
    try:
        os.write(2, f"\n{signal.Signals(signum).name}: left, nothing was to be saved\n".encode())
    finally:
        os._exit(128 + signum)
