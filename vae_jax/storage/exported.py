"""A trained model as one file, for sharing: weights as safetensors, the rest as JSON text.

The tensors are float32, named by their path in the parameters ("encoder/hidden_0/kernel"). The
text, "vae_jax" in the file's metadata, names the classes of the model and all sizes. It ends with a
SHA-256 of itself and of the tensors, to detect damage (not forgery, since anyone can recompute it).
The contents are read as names, numbers and lists of these, and compared with the shapes of the
tensors before an array is made. A custom encoder or decoder is stored only as the name of its
class; the caller of `load` passes the module.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import os
import pathlib
import stat
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import vae_jax
from vae_jax import (
    discovery,
    latents,
    likelihoods,
    mechanisms,
    memory,
    networks,
    posteriors,
    priors,
)
from vae_jax.errors import StorageError, UsageError
from vae_jax.model import Model
from vae_jax.storage import files

__all__ = ["description", "load", "save"]

_NAME = "vae_jax"
_SCHEMA = 1
_LARGEST = 2**31 - 1
_MOST_LAYERS = 100  # each takes time to examine, before its shape can be compared
_MOST_COLUMNS = 100_000  # of a table
_MOST_PARTS = 1000  # slices of one layer, of which a full covariance has two more than dimensions
_REMEDY = "choose another place for it"


_PARTS: dict[str, Callable[[], Mapping[str, type]]] = {
    "encoder": networks.encoders,
    "decoder": networks.decoders,
    "likelihood": likelihoods.classes,
    "latent": lambda: {**discovery.classes(latents, latents.Latent), **posteriors.classes()},
}
"""Part of a model → a function that returns its known classes, by name."""

_LATER: dict[str, Callable[[], Mapping[str, type]]] = {
    "prior_family": priors.classes,
    "mechanism": lambda: {"Mechanism": mechanisms.Mechanism},
}
"""Parts that a file may lack."""

_CLASSES = {**_PARTS, **_LATER}

_OWN = ("encoder", "decoder")
"""Parts that may have a custom class: the file stores its name, the caller passes the module."""

_SIZES = {"shape": tuple[int, ...], "latent_dim": int, "num_conditions": int}
"""Other attributes that describe a model, except its mask → their types."""


def save(
    path: str | os.PathLike, model: Model, params: dict, about: dict[str, Any] | None = None
) -> None:
    """Writes a model and its parameters; an existing file is replaced atomically.

    The file is read back and checked before it replaces the old one.

    Args:
        path: path of the file, usually *.safetensors.
        model: made of our likelihoods and latents, and of our networks or your own modules, whose
            class names are written; its condition is not written.
        params: parameters of the model, float32 arrays of any shape; those of an objective are left
            out.
        about: other information, stored as JSON: keys become text, tuples lists.

    Raises:
        UsageError: the likelihood or the latents are not ours, the parameters are not the model's,
            or `about` contains something that JSON does not support.
        StorageError: the file cannot be written, or differs when it is read back.
    """
    import safetensors.numpy

    path = _place(path)
    body = {
        "schema": _SCHEMA,
        "vae_jax": vae_jax.__version__,
        "model": _described(model),
        "about": _as_json({} if about is None else about),
    }
    own = {part: getattr(model, part) for part in _OWN if "own" in body["model"][part]}
    try:
        _built(body["model"], own)
    except ValueError as error:
        raise UsageError(f"model: {error}: a file cannot describe it") from None
    tensors = _tensors(params, model.param_shapes())
    text = {_NAME: _sealed(body, tensors)}
    check = functools.partial(_read, own=own, shown=path)
    files.write_bytes(path, safetensors.numpy.save(tensors, text), remedy=_REMEDY, check=check)


def load(
    path: str | os.PathLike,
    *,
    encoder: nn.Module | None = None,
    decoder: nn.Module | None = None,
) -> tuple[Model, dict]:
    """Reads a model and its parameters, arrays with the shapes of the model.

    Args:
        path: path of a file written by `save`.
        encoder, decoder: the trained module, if its class is not one of ours.

    Returns:
        (`Model`, params). For a conditional model, call `model.given` first.

    Raises:
        UsageError: the path is invalid.
        StorageError: it is damaged, from another program or from a newer version of this one, or
            its modules are not those that were passed.
    """
    given = {"encoder": encoder, "decoder": decoder}
    own = {part: module for part, module in given.items() if module is not None}
    model, shapes, tensors, _ = _read(_place(path), own=own)
    params = jax.tree_util.tree_map_with_path(
        lambda place, _: jnp.array(tensors[_name(place)]), shapes
    )
    return model, params


def description(path: str | os.PathLike) -> dict:
    """Reads the metadata of a file: "schema", "vae_jax", "model", "about"; see `load`."""
    return _read(_place(path))[3]


def _place(path: str | os.PathLike) -> pathlib.Path:
    """Converts a path given as text, bytes or a path."""
    name = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
    if not pathlib.Path(name).name or "\0" in name:
        raise UsageError(f"path={path!r}: must be the path of a file, text such as 'a.safetensors'")
    return pathlib.Path(name)


def _as_json(about: Any) -> Any:
    """Converts a value to JSON and back, as a reader will see it."""
    try:
        return json.loads(_json(about))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"about: cannot be written as JSON ({_one_line(error)}): give text, finite numbers, "
            "truth values, None, and lists and dicts of these, whose keys are text"
        ) from None


def _tensors(params: Any, wanted: dict) -> dict[str, np.ndarray]:
    """The required parameters by name.

    Raises:
        UsageError: they are not arrays, or have other shapes or dtypes.
    """
    if not isinstance(params, Mapping):
        raise UsageError(
            f"params: is of type {type(params).__name__}: must be a dict of {', '.join(wanted)}, "
            "as Model.init returns it"
        )
    try:
        tensors = {n: np.asarray(a) for n, a in _named({part: params.get(part) for part in wanted})}
    except (TypeError, ValueError, RuntimeError) as error:  # keys, traced or deleted arrays
        raise UsageError(
            f"params: are no tree of arrays ({_one_line(error)}): give those of this model"
        ) from None
    difference = _difference(_told(tensors.items()), _told(_named(wanted)), "the model asks for")
    if difference:
        raise UsageError(f"params: {difference}: give those of this model, of one run")
    return tensors


def _read(
    path: pathlib.Path,
    own: dict[str, nn.Module] | None = None,
    shown: pathlib.Path | None = None,
) -> tuple[Model | None, dict | None, dict[str, np.ndarray], dict]:
    """The model, the shapes of its parameters, the parameters by name, and the description.

    If `own` is None and the file needs modules, the first two are None.
    """
    shown = shown or path
    with _reading(path, shown) as file:
        text = (file.metadata() or {}).get(_NAME)
        if text is None:
            raise ValueError("its metadata does not hold 'vae_jax'")
        body = json.loads(text)
        _check_schema(shown, body)
        held = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        told = {name: _tell(a.get_dtype(), a.get_shape()) for name, a in held.items()}
        model = wanted = None
        if own is not None or not _asked(body["model"]):
            _check_own(shown, _asked(body["model"]), own or {})
            model = _built(body["model"], own or {})
            wanted = _fitting_shapes(shown, model, told, bool(own))
        tensors = {name: file.get_tensor(name) for name in held}
        body.pop("sha256", None)
        if _sealed(body, tensors) != text:
            raise ValueError("the SHA-256 of its content is another")
    return model, wanted, tensors, body


@contextlib.contextmanager
def _reading(path: pathlib.Path, shown: pathlib.Path) -> Iterator[Any]:
    """Yields the open file; reports any error in one line."""
    import safetensors

    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            where = os.path.realpath(path)
            raise StorageError(f"{shown}: is a symbolic link: name what it points to, {where}")
        if not stat.S_ISREG(found.st_mode):
            raise StorageError(f"{shown}: is no regular file")
        limit = memory.limit_bytes()
        if found.st_size > limit:
            told = f"{memory.told(found.st_size)}, reading may take {memory.told(limit)}"
            raise StorageError(f"{shown}: has {told}: set {memory.VARIABLE} to more GiB")
        with safetensors.safe_open(path, framework="numpy") as file:
            yield file
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{shown}: cannot be read ({_one_line(error)})") from None
    except Exception as error:  # the library, JSON and our modules raise many types
        raise StorageError(
            f"{shown}: is not a model as vae_jax exports it, or damaged "
            f"({_one_line(error)}): fetch it again, or export the run again"
        ) from None


def _check_schema(path: pathlib.Path, body: Any) -> None:
    schema = body.get("schema") if isinstance(body, dict) else None
    if isinstance(schema, int) and schema > _SCHEMA:
        raise StorageError(
            f"{path} was written by a newer vae_jax (schema {schema}, this one reads up "
            f"to {_SCHEMA}): upgrade vae_jax"
        )
    if schema != _SCHEMA or not {"vae_jax", "model", "about"} <= body.keys():
        raise ValueError("its description is none")


def _described(model: Model) -> dict:
    """Describes a model by plain values, from which `_built` makes an equal one."""
    mask = model.latent_mask
    # a file without them can also be read by versions before them
    later: dict[str, Any] = {}
    if model.classes is not None:
        later["classes"] = [*map(_plain_label, model.classes)]
    for part in _LATER:
        if getattr(model, part) is not None:
            later[part] = _described_part(part, getattr(model, part))
    return {
        **{part: _described_part(part, getattr(model, part)) for part in _PARTS},
        **{name: _plain(kind, getattr(model, name)) for name, kind in _SIZES.items()},
        "latent_mask": None if mask is None else np.asarray(mask).astype(int).tolist(),
        **later,
    }


def _asked(described: Any) -> dict[str, str]:
    """The parts of a model that must be passed to `load` → the names of their classes.

    Raises:
        ValueError: it is not a description of a model, or a part does not name a class.
    """
    optional = {"classes", *_LATER} & described.keys() if isinstance(described, dict) else set()
    known = {*_PARTS, *_SIZES, "latent_mask", *optional}
    _check_names("the model", described, known, required=True)
    asked = {}
    for part in _OWN:
        own = described[part]
        if isinstance(own, dict) and "own" in own:
            name = str(own.get("class"))
            if own != _own_part(name) or not name.isidentifier() or len(name) > 100:
                raise ValueError(f"{part} is described by {own!r}")
            asked[part] = name
    return asked


def _own_part(name: str) -> dict:
    """The description in a file of a module that must be passed to `load`."""
    return {"class": name, "own": True}


def _check_own(path: pathlib.Path, asked: dict[str, str], own: dict[str, nn.Module]) -> None:
    """Raises StorageError unless the modules are those that a file needs."""
    for part in _OWN:
        given = type(own[part]).__name__ if part in own else None
        if part in asked and given is None:
            raise StorageError(
                f"{path}: its {part} is {asked[part]}, of a class that is not vae_jax's: give "
                f"load(path, {part}={asked[part]}(…)), the module that was trained"
            )
        if given is not None and given != asked.get(part):
            wanted = f"is {asked[part]}" if part in asked else "is one of vae_jax: leave it out"
            raise StorageError(f"{path}: {part}={given}(…) is given, its {part} {wanted}")


def _fitting_shapes(path: pathlib.Path, model: Model, told: dict[str, str], has_own: bool) -> dict:
    """The shapes of a model's parameters; raises an error if the file holds others."""
    try:
        wanted = model.param_shapes()
        difference = _difference(told, _told(_named(wanted)), "its description asks for")
        if difference:
            raise ValueError(difference)
    except Exception as error:  # may come from a user's module
        if not has_own:
            raise
        raise StorageError(
            f"{path}: does not fit the modules given ({_one_line(error)}): give them as they were "
            "trained"
        ) from None
    return wanted


def _built(described: Any, own: dict[str, nn.Module]) -> Model:
    """Builds the described model, with the user's modules.

    Raises:
        ValueError: the description names an unknown class. Modules raise errors of their own.
    """
    mask = described["latent_mask"]
    sizes = {name: _value(name, kind, described[name]) for name, kind in _SIZES.items()}
    if mask is not None:
        is_mask = isinstance(mask, list) and all(type(n) is int and n in (0, 1) for n in mask)
        if not is_mask or len(mask) != sizes["latent_dim"]:
            raise ValueError("latent_mask is not a 0 or 1 for each latent dimension")
        mask = jnp.array(mask, jnp.float32)
    parts = {p: own[p] if p in own else _built_part(p, described[p]) for p in _PARTS}
    classes = _built_classes(described.get("classes"), sizes["num_conditions"])
    later = {p: _built_part(p, described[p]) for p in _LATER if described.get(p) is not None}
    return Model(**parts, **sizes, latent_mask=mask, classes=classes, **later)


def _built_classes(described: Any, num: int) -> tuple | None:
    """The user's own labels of `num` classes, numbers or words."""
    if described is None:
        return None
    is_list = isinstance(described, list) and all(map(_is_label, described))
    if not is_list or len(described) not in (0, num) or len(set(described)) < len(described):
        raise ValueError("classes are not another number or word for each of num_conditions")
    return tuple(described)


def _is_label(value: Any) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _plain_label(value: Any) -> Any:
    """A label, a scalar, in JSON form."""
    return value.item() if isinstance(value, np.generic) else value


def _fields(of: type) -> dict[str, Any]:
    """The fields of a module, a likelihood or a family of latents → their types."""
    of_flax = ("parent", "name")
    return {f.name: f.type for f in dataclasses.fields(of) if f.name not in of_flax}


def _described_part(part: str, value: Any) -> dict:
    name, known = type(value).__name__, _CLASSES[part]()
    if known.get(name) is not type(value):
        if part in _OWN:
            return _own_part(name)
        raise UsageError(
            f"{part} {name}: a file can name {', '.join(known)} alone: share your own class as "
            "code, and the parameters by flax.serialization.to_bytes(params)"
        )
    fields = _fields(type(value)).items()
    return {"class": name, **{n: _plain(kind, getattr(value, n)) for n, kind in fields}}


def _built_part(part: str, described: Any) -> Any:
    name, known = described.get("class") if isinstance(described, dict) else None, _CLASSES[part]()
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"{part} {name!r} is none of {', '.join(known)}")
    fields = _fields(known[name])
    given = {key: value for key, value in described.items() if key != "class"}
    _check_names(part, given, fields.keys())
    values = {n: _value(n, fields[n], value) for n, value in given.items()}
    _check_counts(part, values)
    return known[name](**values)


_PART_COUNTS = ("num_parts", "num_reflections", "num_context", "num_features")


def _check_counts(part: str, values: dict[str, Any]) -> None:
    """Refuses counts for which building the class would take too long."""
    num_layers = (len(values.get("widths", ())) + 1) * values.get("num_stages", 1)
    others = ("num_flows", "num_steps", "num_layers")
    num_layers = max(num_layers, *(values.get(name, 1) for name in others))
    parts = (values.get(name, 1) for name in _PART_COUNTS)
    for what, num, most in (
        ("layers", num_layers, _MOST_LAYERS),
        ("parts", max(parts), _MOST_PARTS),
    ):
        if num > most:
            raise ValueError(f"{part} has {num:,} {what}, more than {most:,}")


def _check_names(what: str, given: Any, known: Any, *, required: bool = False) -> None:
    if not isinstance(given, dict):
        raise ValueError(f"{what} is described by {given!r}")
    wrong = given.keys() ^ known if required else given.keys() - known
    if wrong:
        name = min(wrong)
        raise ValueError(f"{what} {'has' if name in given else 'lacks'} {name!r}")


def _item(kind: Any) -> type | None:
    """The type of the items of a field that is a sequence of integers or words; else None."""
    is_sequence = typing.get_origin(kind) in (tuple, Sequence)
    return typing.get_args(kind)[0] if is_sequence else None


def _plain(kind: Any, value: Any) -> Any:
    """The value of a field in JSON form."""
    if kind is Callable:
        names = [name for name, known in networks.ACTIVATIONS.items() if known is value]
        if not names:
            raise UsageError(
                f"activation {value}: a file can name {', '.join(networks.ACTIVATIONS)} alone"
            )
        return names[0]
    if kind is Any:
        return jnp.dtype(value).name
    if item := _item(kind):
        return [item(each) for each in value]
    if isinstance(value, str | bool):
        return value
    return int(value) if kind is int else float(value)


def _value(name: str, kind: Any, plain: Any) -> Any:
    """Converts the JSON form of a field back to its value, and checks its type."""
    if kind is Callable and isinstance(plain, str) and plain in networks.ACTIVATIONS:
        return networks.ACTIVATIONS[plain]
    if kind is Any and plain in ("float32", "bfloat16"):
        return jnp.dtype(plain)
    item, most = _item(kind), _MOST_LAYERS if name == "widths" else _MOST_COLUMNS
    if item and isinstance(plain, list) and len(plain) <= most:
        return tuple(_value(name, item, each) for each in plain)
    is_plain = kind in (bool, int, float, str, float | str) and isinstance(plain, kind)
    is_in_range = isinstance(plain, str) or (is_plain and 0 <= plain <= _LARGEST)
    if is_plain and is_in_range and isinstance(plain, bool) == (kind is bool):
        return plain
    raise ValueError(f"{name} is {plain!r}")


def _name(place: tuple) -> str:
    return jax.tree_util.keystr(place, simple=True, separator="/")


def _named(tree: Any) -> list[tuple[str, Any]]:
    """Name and value of each leaf."""
    return [(_name(place), leaf) for place, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _tell(dtype: Any, shape: Any) -> str:
    """Describes an array as safetensors does: F32[784,400]."""
    name = "F32" if dtype == np.float32 else dtype
    return f"{name}[{','.join(map(str, shape))}]"


def _told(named: Any) -> dict[str, str]:
    return {name: _tell(leaf.dtype, leaf.shape) for name, leaf in named}


def _difference(held: dict[str, str], wanted: dict[str, str], who: str) -> str:
    """Describes how arrays differ from the required ones; "" if they do not."""
    names = held.keys() | wanted.keys()
    differing = sorted(name for name in names if held.get(name) != wanted.get(name))
    if not differing:
        return ""
    name = differing[0]
    more = f" (and {len(differing) - 1} more differ)" if len(differing) > 1 else ""
    return f"{name!r} is {held.get(name, 'missing')}, {who} {wanted.get(name, 'none')}{more}"


def _sealed(body: dict, tensors: dict[str, np.ndarray]) -> str:
    """The text of a description, with a SHA-256 of it and of the named tensors."""
    digest = hashlib.sha256(_json(body).encode())
    for name in sorted(tensors):
        digest.update(np.ascontiguousarray(tensors[name]))
    return _json({**body, "sha256": digest.hexdigest()})


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)


def _one_line(error: Exception) -> str:
    """An error as one printable line, even if its text comes from an untrusted file."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = " ".join(text.split())[:200] or type(error).__name__
    return "".join(c if c.isprintable() else "?" for c in text)
