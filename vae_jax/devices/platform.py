"""Describes the devices in one line, and gives a remedy for devices that JAX does not find."""

import collections
import contextlib
import functools
import importlib.metadata
import logging
import os
import re
import subprocess
import sys
from collections.abc import Sequence

import jax

from vae_jax import console
from vae_jax.devices import processes
from vae_jax.errors import UsageError, first_line

__all__ = [
    "are_counted",
    "check_flags",
    "check_platform",
    "line",
    "listen",
    "refusal",
    "warn",
    "warning",
]

_LOGGER = "jax._src.xla_bridge"
"""The logger for JAX's long messages about platforms and plugins."""

_COUNT = "--xla_force_host_platform_device_count"
_READS_FLAGS = "from jaxlib import xla_client; xla_client.CompileOptions()"
"""The smallest program that makes XLA read its flags."""

_CUDA, _TPU = ("cuda12", "cuda13"), ("tpu",)
_EXTRAS = {"cuda": _CUDA, "gpu": _CUDA, "tpu": _TPU}
"""Platforms → the extras of JAX that install them."""

_heard: list[str] = []


def listen() -> None:
    """Captures JAX's long log messages about plugins: `warning` summarizes them in one line."""
    logging.getLogger(_LOGGER).addFilter(_hear)


def _hear(record: logging.LogRecord) -> bool:
    if record.levelno < logging.WARNING:
        return True
    error = record.exc_info[1] if record.exc_info else None
    told = " ".join(str(error or record.getMessage()).split())
    _heard.append(first_line(Exception(told[:200])))
    return False


def are_counted() -> bool:
    """Whether environment variables set the number of CPU devices."""
    return "JAX_NUM_CPU_DEVICES" in os.environ or _COUNT in os.environ.get("XLA_FLAGS", "")


def check_flags() -> None:
    """Checks XLA_FLAGS in another process, because XLA would end this one if they are wrong.

    Raises:
        UsageError: a flag is unknown to XLA, or its value is.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if not flags or re.fullmatch(rf"{_COUNT}=\d+", flags):
        return
    tried = subprocess.run([sys.executable, "-c", _READS_FLAGS], capture_output=True, text=True)
    reason = re.search(r"^F.*\] (.*)|: F .*\] (.*)", tried.stderr, re.M)
    if tried.returncode and reason:
        raise UsageError(
            f"XLA_FLAGS={flags}: XLA refuses it ({reason[1] or reason[2]}): correct or unset it"
        )


def line() -> str:
    """The devices of all processes: number, kind and platform, in one line."""
    counts = collections.Counter((d.device_kind, d.platform) for d in jax.devices())
    words = [
        (f"{num} × " if num > 1 else "") + kind + (f" ({platform})" if kind != platform else "")
        for (kind, platform), num in counts.items()
    ]
    return f"device{'s' if len(jax.devices()) > 1 else ''}: {', '.join(words)}"


@functools.cache
def warn() -> None:
    """Prints a remedy for an accelerator that JAX does not use on stderr, once."""
    told = warning()
    if told and processes.is_first():
        console.say(told, is_error=True)


def warning() -> str | None:
    """A remedy for an accelerator that JAX does not use, in one line; None if there is none."""
    heard, plugins = _heard[0] if _heard else None, _plugins()
    names, mismatch = ", ".join(map(" ".join, plugins)), _mismatch(plugins)
    remedy = _remedy(_extras_of(plugins) or _CUDA + _TPU)
    if jax.devices()[0].platform != "cpu":
        if mismatch:
            return (
                f"warning: JAX {jax.__version__} does not use all of {names} ({mismatch}): {remedy}"
            )
        return heard and f"warning: JAX says: {heard}"
    if _asked()[:1] == ["cpu"] or not (heard or plugins):
        return None
    return (
        f"warning: computing on the CPU, JAX {jax.__version__} does not use "
        f"{names or 'an accelerator'} ({mismatch or heard or 'it finds no device of it'}): "
        f"{remedy}, or set JAX_PLATFORMS=cpu if the CPU is meant"
    )


def check_platform() -> None:
    """Raises an error early if the requested platform is not available.

    Call it after several processes have found each other: devices are those of all.

    Raises:
        UsageError: the platform is missing; the message names the available ones.
    """
    refused = refusal() if _named() else None
    if refused is not None:
        raise refused


def refusal() -> UsageError | None:
    """The error if JAX has no device: the requested one is missing, or cannot start; else None."""
    try:
        jax.devices()
        return None
    except Exception as error:  # of several types, one of them an assertion without a message
        told = "" if isinstance(error, AssertionError) else first_line(error)
    reason = _heard[0] if _heard else re.sub(r"^Unable to initialize.*?: | \(set JAX_.*$", "", told)
    words = f" ({reason})" if reason else ""
    asked = ", ".join(f"{name}={os.environ[name]}" for name in _named())
    if not asked:
        return UsageError(f"JAX finds no device{words}: free it, or set JAX_PLATFORMS=cpu")
    first = _asked()[0].lower()
    jax.config.update("jax_platforms", None)
    jax.config.update("jax_platform_name", "")
    found = ", ".join(dict.fromkeys([jax.devices()[0].platform, "cpu"]))
    remedy = "unset it"
    if first in _EXTRAS:
        installed = [extra for extra in _extras_of(_plugins()) if extra in _EXTRAS[first]]
        remedy = f"{_remedy(installed or _EXTRAS[first])}, or unset it"
    return UsageError(f"{asked}: JAX {jax.__version__} finds {found} here{words}: {remedy}")


def _named() -> list[str]:
    """The environment variables that request a platform."""
    return [name for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME") if os.environ.get(name)]


def _asked() -> list[str]:
    return (jax.config.jax_platforms or os.environ.get("JAX_PLATFORM_NAME", "")).split(",")


def _plugins() -> list[tuple[str, str]]:
    """Name and version of each package that adds an accelerator to JAX."""
    points = importlib.metadata.entry_points(group="jax_plugins")
    names = {point.dist.name.replace("_", "-") for point in points if point.dist}
    # JAX's own plugins have two packages: the device's driver, and kernels for it
    names |= {name.replace("-pjrt", "-plugin") for name in names}
    found = []
    for name in sorted(names):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append((name, importlib.metadata.version(name)))
    return found


def _mismatch(plugins: list[tuple[str, str]]) -> str | None:
    """A message if a plugin of JAX does not have the version of jaxlib."""
    jaxlib = re.match(r"[\d.]+", importlib.metadata.version("jaxlib"))[0]
    own = (version for name, version in plugins if name.startswith("jax-cuda"))
    return f"jaxlib is {jaxlib}" if any(version != jaxlib for version in own) else None


def _extras_of(plugins: list[tuple[str, str]]) -> list[str]:
    """The extras of JAX that install its own plugins: "cuda12"."""
    return list(dict.fromkeys(name.removeprefix("jax-").partition("-")[0] for name, _ in plugins))


def _remedy(extras: Sequence[str]) -> str:
    """How to install the plugin for this JAX version: with one of its extras if it has them."""
    offered = importlib.metadata.metadata("jax").get_all("Provides-Extra") or []
    extras = [extra for extra in extras if extra in offered]
    if not extras:
        return "install the version of the plugin that belongs to this JAX"
    others = f" (or {', '.join(extras[1:])})" if extras[1:] else ""
    return f"pip install 'jax[{extras[0]}]=={jax.__version__}'{others}"
