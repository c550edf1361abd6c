"""Environment variables that may affect a program; imports nothing slow, to be first.

A run of the command line gives the same numbers in every shell. Variables of JAX and Flax about
devices, logging and caching are used, and recorded in `env.json`. All others are removed before JAX
is imported: 64-bit numbers, another generator, no compilation and anything a later JAX adds. One
variable that affects numbers is used, because users of accelerators need it, and is part of the
run's identity: the precision of matrix products.
"""

import os
import re

__all__ = [
    "CALLED",
    "PRECISION",
    "identity",
    "is_heeded",
    "recorded",
    "restore",
    "settle",
    "told",
]

PRECISION = "JAX_DEFAULT_MATMUL_PRECISION"
"""The variable that affects numbers and is the user's choice."""

_OF_JAX = re.compile(
    r"(JAX|JAX2TF|FLAX|NNX)_\w+|CHECK_VMA|EAGER_CONSTANT_FOLDING|MOCK_NUM_GPU_PROCESSES"
)
_HEEDED = re.compile(
    rf"""{PRECISION}
    # where it runs
    |JAX_(PLATFORMS|PLATFORM_NAME|NUM_CPU_DEVICES|\w+_VISIBLE_DEVICES|PJRT_CLIENT_CREATE_OPTIONS)
    |JAX_(SKIP_CUDA_CONSTRAINTS_CHECK|CHECK_PROXY_ENVS)
    |JAX_(NUM_PROCESSES|PROCESS_ID|LOCAL_DEVICE_IDS|(COORDINAT|DISTRIBUTED_|MTLS_|CROSS_HOST_)\w+)
    |JAX_(CPU_COLLECTIVES_IMPLEMENTATION|CPU_GET_\w+_TIMEOUT_MINUTES|FORCE_DCN_CROSS_HOST_TRANSFERS)
    # what it says
    |JAX_(LOG_|DUMP_IR_|TRACEBACK_|INCLUDE_|CAPTURED_CONSTANTS_)\w+
    |JAX_(LOGGING_LEVEL|DEBUG_LOG_MODULES|EXPLAIN_CACHE_MISSES|PPRINT_USE_COLOR)
    |JAX_(TRACER_ERROR_NUM_TRACEBACK_FRAMES|COMPILER_DETAILED_LOGGING_MIN_OPS|SOURCE_URL_SCHEMA)
    |JAX_(HLO_SOURCE_FILE_CANONICALIZATION_REGEX|SEND_TRACEBACK_TO_RUNTIME)
    # what it keeps
    |JAX_(ENABLE_COMPILATION_CACHE|RAISE_PERSISTENT_CACHE_ERRORS|SHARE_BINARY_BETWEEN_HOSTS\w*)
    |JAX_(COMPILATION_CACHE_(?!CHECK_)|PERSISTENT_CACHE_)\w+
    """,
    re.VERBOSE,
)
_OF_ARITHMETIC = re.compile(r"--xla_\w*(fast_math|fast_min_max|excess_precision|tf32)\w*(=\S*)?")
"""Flags of XLA that change its arithmetic."""
CALLED = {"matmul_precision": PRECISION, "xla_flags": "XLA_FLAGS"}
"""Key in the identity of a run → the environment variable that sets it."""
_OF_COMPILERS = ("CUDA_VISIBLE_DEVICES", "LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE", "XLA_FLAGS")

_set_aside: dict[str, str] = {}


def is_heeded(name: str) -> bool:
    """Whether a variable is used: it is not one of JAX's, or it is one of these."""
    return not _OF_JAX.fullmatch(name) or _HEEDED.fullmatch(name) is not None


def settle() -> None:
    """Removes variables that would change the numbers of this program and its subprocesses.

    Call it before JAX is imported, since JAX reads its variables then. The user's matplotlib
    backend, such as a notebook's, is removed, too, because pictures are written to files.
    """
    for name in [name for name in os.environ if not is_heeded(name)]:
        _set_aside[name] = os.environ.pop(name)
    os.environ["MPLBACKEND"] = "agg"


def told() -> str | None:
    """A message about the removed variables, in one line, or None."""
    if not _set_aside:
        return None
    # a value may contain anything, including terminal control sequences
    words = (f"{name}={ascii(value)[1:-1][:40]}" for name, value in sorted(_set_aside.items()))
    return f"ignored: {', '.join(words)}: unset them, a run has the same numbers in every shell"


def recorded() -> dict[str, str]:
    """The variables that are used, for `env.json`, with those of XLA, CUDA and libtpu."""
    names = (name for name in os.environ if _HEEDED.fullmatch(name) or name in _OF_COMPILERS)
    return {name: os.environ[name] for name in sorted(names)}


def identity() -> dict[str, str]:
    """The part of the environment in a run's identity: empty unless the user chose it."""
    import jax

    precision = jax.config.jax_default_matmul_precision
    flags = " ".join(found[0] for found in _OF_ARITHMETIC.finditer(os.environ.get("XLA_FLAGS", "")))
    found = {"matmul_precision": precision, "xla_flags": flags}
    return {name: value for name, value in found.items() if value}


def restore(settings: dict) -> None:
    """Sets the precision with which a run was trained, whatever the shell says.

    Args:
        settings: settings of the run, including those from `identity`.
    """
    import jax

    jax.config.update("jax_default_matmul_precision", settings.get("matmul_precision"))
