"""Compiles quickly: most programs of tests take longer to compile than to run.

Only in the default run: the slow one, and one with XLA_FLAGS of its own, compiles as a user's does.
"""

import os

from vae_jax.devices import platform
from vae_jax.errors import UsageError

FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
"""XLA's part of compiling quickly; `jax_disable_most_optimizations` is JAX's."""
_BEGIN = f"""
import os
import jax
from jaxlib import xla_client
own = os.environ.get("XLA_FLAGS")
os.environ["XLA_FLAGS"] = f"{FLAGS} {{own or ''}}"
jax.config.update("jax_disable_most_optimizations", True)
from vae_jax.devices import layout
layout._LESS_EFFORT.clear()  # which is more than none
xla_client.CompileOptions()  # reads the flags, once in a process
os.environ.pop("XLA_FLAGS") if own is None else os.environ.update(XLA_FLAGS=own)

from jax._src.interpreters import mlir

make, made = getattr(mlir, "make_ir_context", None), []

def shared():
    # a context holds all constants of its programs
    if not made or made[0] == 500:
        made[:] = [0, make()]
    made[0] += 1
    return made[1]

if make is not None:
    # JAX makes a context of MLIR for each program, a fifth of what a small one costs
    mlir.make_ir_context = shared
"""
"""Compiles quickly from here on; the environment is as before."""
_IMPORTED = "beginning.begin()\n"
_MODULE = f"""
import runpy
from vae_jax.cli import beginning
{_IMPORTED}
runpy.run_module({{name!r}}, run_name="__main__", alter_sys=True)
"""

is_on = False


def begin(config) -> None:
    """Makes this process, and the commands of `program` and `module`, compile quickly."""
    global is_on
    if config.option.markexpr != "not slow" or "XLA_FLAGS" in os.environ:
        return
    os.environ["XLA_FLAGS"] = FLAGS
    try:
        platform.check_flags()
        is_on = True
    except UsageError:
        pass  # another version of XLA lacks one
    finally:
        del os.environ["XLA_FLAGS"]
    if is_on:
        exec(_BEGIN, {})


def source() -> str:
    """The lines with which a program of ours, once JAX is imported, compiles quickly; "" if not."""
    return _BEGIN if is_on else ""


def module(name: str) -> str:
    """The source of `python -m name`, which compiles quickly."""
    return program(_MODULE.format(name=name))


def program(text: str) -> str:
    """The source of a program of ours, such as `WITHOUT_PICTURES`, which compiles quickly."""
    assert text.count(_IMPORTED) == 1
    return text.replace(_IMPORTED, _IMPORTED + source())
