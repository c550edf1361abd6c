"""One program in several processes: which one writes, what all agree on, how an error ends all.

With one process each function here returns at once.
"""

import contextlib
import ctypes
import inspect
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from vae_jax import console
from vae_jax.errors import UsageError, VaeJaxError

__all__ = [
    "EndedElsewhereError",
    "agree",
    "agree_on_json",
    "initialize",
    "is_first",
    "largest",
    "leave",
    "leave_after_fault",
    "num_on_this_machine",
    "on_first",
]

HEARTBEAT_SECONDS = 30
"""How long processes wait for one that does not respond before they exit, a scalar."""

LEAVE_SECONDS = 10
"""How long a process with an error waits for the others to exit, too, a scalar."""

TELL_SECONDS = 10.0
"""Seconds after which a process that waits for others says so, again and again."""

_ENDED = (
    "error: another process of this program has ended, see its own output: the same command "
    "goes on from the last checkpoint\n"
)

# errors of an operation over all processes if one of them has died
_SIGNS_OF_LOSS = ("Gloo", "NCCL", "oordination", "heartbeat", "UNAVAILABLE", "Connection reset")


class EndedElsewhereError(VaeJaxError):
    """The first process reported an error; the others exit silently with its exit code."""

    def __init__(self, exit_code: int):
        super().__init__("")
        self.exit_code = exit_code


def initialize() -> None:
    """Joins the processes of a program; call it before anything else uses JAX.

    `launch.sh` passes JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID. Under SLURM,
    Open MPI and on TPU pods JAX finds them itself.

    Raises:
        UsageError: they did not find each other.
    """
    environ = os.environ
    is_named = "JAX_NUM_PROCESSES" in environ
    if not is_named and not _is_one_of_several(environ):
        return
    named: dict[str, Any] = {"coordinator_address": environ.get("JAX_COORDINATOR_ADDRESS")}
    # JAX before 0.7 has no timeout argument here, and waits 100 seconds
    if "heartbeat_timeout_seconds" in inspect.signature(jax.distributed.initialize).parameters:
        named["heartbeat_timeout_seconds"] = HEARTBEAT_SECONDS
    try:
        if is_named:
            named["num_processes"] = int(environ["JAX_NUM_PROCESSES"])
            named["process_id"] = int(environ["JAX_PROCESS_ID"])
        with _told_while_waiting(environ):
            jax.distributed.initialize(**named)
    except Exception as error:  # JAX raises several types
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"the processes of this program did not find each other ({reason}): check "
            "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or the cluster's own"
        ) from None
    if jax.process_index():
        console.be_silent()
    _leave_where_jax_aborts()


@contextlib.contextmanager
def _told_while_waiting(environ: Mapping[str, str]) -> Iterator[None]:
    """Says every `TELL_SECONDS` for which processes this one waits, and where."""
    ours = (("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"), ("SLURM_NTASKS", "SLURM_PROCID"))
    num, own = next(
        ((environ[n], environ.get(k, "?")) for n, k in ours if n in environ), ("all", "?")
    )
    where = environ.get("JAX_COORDINATOR_ADDRESS") or environ.get("SLURM_STEP_NODELIST")
    told = f"process {own} of {num} waits for the others" + (f" at {where}" if where else "")
    is_over = threading.Event()

    def tell():
        while not is_over.wait(TELL_SECONDS):
            console.say(told, is_error=True)

    threading.Thread(target=tell, name="waiting", daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _leave_aborted(signum):
    del signum
    os.write(2, _ENDED.encode())
    os._exit(1)


def _leave_where_jax_aborts() -> None:
    """Makes JAX's aborts print a line after its own message, and exit with our code.

    A thread of JAX aborts the process as soon as another process is gone. A Python handler would
    run too late, so a handler of the C library is used: the thread calls it before it ends.
    """
    ctypes.CDLL(None).signal(signal.SIGABRT, _leave_aborted)


def _is_one_of_several(environ: Any) -> bool:
    counts = (environ.get(n, "1") for n in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"))
    hosts = ("TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES")
    return any(c.isdigit() and int(c) > 1 for c in counts) or any(
        "," in environ.get(name, "") for name in hosts
    )


def num_on_this_machine() -> int:
    """The number of processes that `launch.sh` started on this machine, a count; otherwise 1."""
    count = os.environ.get("JAX_NUM_PROCESSES", "1")
    return max(1, int(count)) if count.isdigit() else 1


def is_first() -> bool:
    """Whether this process writes and prints; also works before `initialize`."""
    if jax.distributed.is_initialized():
        return jax.process_index() == 0
    names = ("JAX_PROCESS_ID", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "TPU_WORKER_ID")
    return all(os.environ.get(name, "0") == "0" for name in names)


def agree(value: Any) -> Any:
    """Broadcasts the first process's pytree of numbers or arrays, with equal shapes in each."""
    if jax.process_count() == 1:
        return value
    agreed = multihost_utils.broadcast_one_to_all(value)
    return jax.tree.map(lambda old, new: type(old)(new) if np.isscalar(old) else new, value, agreed)


def agree_on_json(value: Any) -> Any:
    """Broadcasts the first process's value: anything that JSON supports, of any shape."""
    if jax.process_count() == 1:
        return value
    encoded = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = agree(len(encoded))
    return json.loads(agree(np.resize(encoded, size)).tobytes())


def largest(value: int) -> int:
    """The maximum of the processes' numbers, a scalar."""
    if jax.process_count() == 1:
        return value
    return int(np.max(multihost_utils.process_allgather(np.int32(value))))


def on_first(function: Callable[[], Any]) -> Any:
    """Calls a function in the first process only; an error there ends every process.

    Args:
        function: a function that writes.

    Returns:
        Its result, of any shape; None in the other processes.

    Raises:
        Exception: in the first process, the error of the function.
        EndedElsewhereError: in the others.
    """
    if jax.process_count() == 1:
        return function()
    result, error = None, None
    if is_first():
        try:
            result = function()
        except Exception as raised:  # any error: otherwise the other processes would wait forever
            error = raised
    exit_code = agree(0 if error is None else getattr(error, "exit_code", 1))
    if error is not None:
        raise error
    if exit_code:
        raise EndedElsewhereError(exit_code)
    return result


def leave(exit_code: int) -> None:
    """Exits with a code (a scalar), even if the other processes do not: they may wait for this one.

    JAX ends with a barrier, which processes that wait for this one never reach.
    """
    if jax.distributed.is_initialized():
        timer = threading.Timer(LEAVE_SECONDS, os._exit, (exit_code,))
        timer.daemon = True
        timer.start()
    sys.exit(exit_code)


def leave_after_fault(error: Exception) -> None:
    """Ends one of several processes after an unexpected error.

    If another process has died, it prints one line, otherwise the traceback. It does nothing in a
    program with one process.

    Args:
        error: any exception, a scalar.
    """
    if not jax.distributed.is_initialized():
        return
    if not any(sign in str(error) for sign in _SIGNS_OF_LOSS):
        traceback.print_exception(error)
        leave(1)
    print(_ENDED, end="", file=sys.stderr, flush=True)
    os._exit(1)  # JAX would wait for the missing process, then abort
