"""A function of arrays as a list of plain steps, which a page in a browser can run.

JAX traces the function to a jaxpr; what does not depend on its inputs is computed here and becomes
a constant. The rest becomes a few kinds of steps, whatever the network or the likelihood is called:

| step | computes |
|---|---|
| `matmul` | [G, M, K] · [G, K, N] |
| `conv` | convolutions and transposed convolutions, NHWC |
| `take` | places of the operands, one after the other: slices, pads, transposes, concatenations |
| `map`, `zip` | functions of one and of two numbers, with broadcasting |
| `select`, `reduce`, `cumsum` | as in JAX, along the last axis |
| `scan` | a plan for each step of a loop |

A step that is none of these is refused by its name.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.errors import UsageError

__all__ = ["Plan", "UnsupportedError", "plan"]

_ALIASES = ("copy", "copy_p", "optimization_barrier", "reduce_precision", "stop_gradient")
_MAPS = (
    *(
        "abs",
        "ceil",
        "cos",
        "erf",
        "erfc",
        "exp",
        "exp2",
        "expm1",
        "floor",
        "is_finite",
        "log",
        "log1p",
    ),
    *("logistic", "neg", "not", "round", "rsqrt", "sign", "sin", "sqrt", "square", "tanh"),
)
_ZIPS = (
    *("add", "and", "atan2", "div", "eq", "ge", "gt", "le", "lt", "max", "min", "mul", "ne", "or"),
    *("pow", "sub"),
)
_REDUCTIONS = {
    **{f"reduce_{name}": name for name in ("sum", "max", "min", "prod", "and", "or")},
    **{name: name for name in ("argmax", "argmin")},
}
_WHOLE = ("div", "and", "or", "not", "pow")
"""Functions that differ between integers and floats, and are those of floats or of bools here."""


class UnsupportedError(UsageError):
    """A function has a step that no page can run."""


class Plan(NamedTuple):
    """The steps of a function of arrays of any shape.

    Attributes:
        program: plain JSON: `sizes` of all slots, `inputs` and `outputs`, `steps`. An operand of a
            step is a slot, or −1 − k for the k-th constant.
        constants: arrays of any shape, float32.
        places: arrays [n] int32, where a `take` finds its numbers.
    """

    program: dict[str, Any]
    constants: list[np.ndarray]
    places: list[np.ndarray]

    @property
    def num_weights(self) -> int:
        """The numbers in all constants, a count."""
        return sum(each.size for each in self.constants)


class _Slot(NamedTuple):
    """A value that depends on the inputs: where it is kept, its shape and its dtype."""

    number: int
    shape: tuple[int, ...]
    dtype: Any


def plan(function: Callable, *examples: jax.Array) -> Plan:
    """Traces a function of arrays to a `Plan`.

    Args:
        function: of as many arrays as there are examples, to one array, of any shapes.
        examples: arrays of the shapes and dtypes that it is traced with.

    Raises:
        UnsupportedError: a step is none of those above; the message is its name.
    """
    traced = jax.make_jaxpr(function)(*examples)
    writer = _Writer(_Pool([], []))
    inputs = [writer.slot(each.shape, each.dtype) for each in traced.in_avals]
    outputs = writer.run(traced.jaxpr, traced.consts, inputs)
    program = writer.program(inputs, outputs)
    return Plan(program, *writer.pool)


class _Pool(NamedTuple):
    """Constants and places of a plan and of the plans inside it."""

    constants: list[np.ndarray]
    places: list[np.ndarray]


class _Writer:
    """Writes the steps of one program; constants and places go to a pool."""

    def __init__(self, pool: _Pool):
        self.pool = pool
        self._sizes: list[int] = []
        self._steps: list[dict] = []

    # --- Slots, constants and steps

    def slot(self, shape: Sequence[int], dtype: Any) -> _Slot:
        self._sizes.append(math.prod(shape))
        return _Slot(len(self._sizes) - 1, tuple(shape), np.dtype(dtype))

    def _operand(self, value: Any) -> int:
        if isinstance(value, _Slot):
            return value.number
        self.pool.constants.append(np.ascontiguousarray(value, np.float32))
        return -len(self.pool.constants)

    def step(self, op: str, operands: Sequence, like: Any, **own: Any) -> _Slot:
        """Adds a step with one output, of the shape and dtype of `like`."""
        out = self.slot(like.shape, like.dtype)
        told = {"op": op, "in": [self._operand(each) for each in operands], "out": [out.number]}
        self._steps.append({**told, **own})
        return out

    def program(self, inputs: Sequence[_Slot], outputs: Sequence[Any]) -> dict:
        """The steps that the outputs need, as JSON."""
        ends = [self._operand(each) for each in outputs]
        needed, steps = {*ends}, []
        for step in reversed(self._steps):
            if needed.isdisjoint(step["out"]):
                continue
            if step["op"] == "refuse":
                raise UnsupportedError(step["what"])
            needed |= {*step["in"]}
            steps.append(step)
        numbers = [each.number for each in inputs]
        return {"sizes": self._sizes, "inputs": numbers, "outputs": ends, "steps": steps[::-1]}

    # --- From a jaxpr

    def run(self, jaxpr: Any, consts: Sequence, values: Sequence) -> list:
        """The outputs of a jaxpr, each a slot or a NumPy array; steps are added on the way."""
        env: dict[Any, Any] = {}

        def read(atom):
            return np.asarray(atom.val) if hasattr(atom, "val") else env[atom]

        env.update(zip(jaxpr.constvars, map(np.asarray, consts), strict=True))
        env.update(zip(jaxpr.invars, values, strict=True))
        for eqn in jaxpr.eqns:
            found = self._equation(eqn, [read(atom) for atom in eqn.invars])
            env.update(zip(eqn.outvars, found, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(self, eqn: Any, values: list) -> list:
        """The values of an equation: computed if all of its operands are known."""
        name = eqn.primitive.name
        inner = _inner(eqn)
        if inner is not None and name != "scan":
            return self.run(inner.jaxpr, inner.consts, values[-len(inner.jaxpr.invars) :])
        if not any(isinstance(value, _Slot) for value in values):
            return _known(eqn, values)
        outs = [var.aval for var in eqn.outvars]
        if any(str(getattr(out, "dtype", "")) in ("bfloat16", "float16") for out in outs):
            return self._refused(f"{name} in {outs[0].dtype}", outs)
        if name in _ALIASES:
            return values
        if name in _MOVES or name == "gather":
            return self._moved(eqn, values, outs)
        if name == "scan":
            return self._scan(eqn, values, outs)
        found = self._computed(name, eqn.params, values, outs[0])
        return self._refused(name, outs) if found is None else [found]

    def _refused(self, what: str, outs: Sequence[Any]) -> list:
        """Slots that no step fills; only a plan that needs one of them is refused."""
        found = [self.slot(out.shape, np.float32) for out in outs]
        step = {"op": "refuse", "what": what, "in": [], "out": [each.number for each in found]}
        self._steps.append(step)
        return found

    def _computed(self, name: str, params: dict, values: list, out: Any) -> _Slot | None:
        """A value with one output that is computed from numbers; None if it is not supported."""
        is_whole = out.dtype.kind in "iu"
        if is_whole and name in _WHOLE:
            return None
        if name in _MAPS:
            return self.step("map", values, out, of=name)
        if name == "integer_pow":
            return self.step("map", values, out, of="power", exponent=params["y"])
        if name == "convert_element_type":
            return self._converted(values[0], out)
        if name in ("add_any", *_ZIPS):
            return self._zipped("add" if name == "add_any" else name, values, out)
        if name == "clamp":
            low, x, high = values
            return self._zipped("min", [self._zipped("max", [x, low], out), high], out)
        if name == "select_n" and len(values) == 3 and values[0].dtype == np.bool_:
            return self._zipped("select", values, out)
        if name in _REDUCTIONS:
            return self._reduced(_REDUCTIONS[name], values[0], params["axes"], out)
        if name == "cumsum":
            return self._cumsum(values[0], params, out)
        if name == "dot_general":
            return self._dot(values, params, out)
        return self._convolution(name, params, values, out)

    def _converted(self, value: _Slot, out: Any) -> _Slot:
        kinds = value.dtype.kind, np.dtype(out.dtype).kind
        if kinds[1] == "b" != kinds[0]:
            return self._zipped("ne", [value, np.zeros(())], out)
        if kinds[0] == "f" and kinds[1] in "iu":
            return self.step("map", [value], out, of="trunc")
        return value._replace(dtype=np.dtype(out.dtype))

    def _zipped(self, name: str, values: Sequence, out: Any) -> _Slot:
        """Functions of numbers of several operands, which are broadcast to the output."""
        values = [v if isinstance(v, _Slot) else _narrowed(np.asarray(v)) for v in values]
        own = {} if name == "select" else {"of": name}
        shapes = [[*v.shape] for v in values]
        if any(math.prod(shape) not in (1, math.prod(out.shape)) for shape in shapes):
            own |= {"shape": [*out.shape], "shapes": shapes}
        return self.step("select" if name == "select" else "zip", values, out, **own)

    # --- Places

    def _moved(self, eqn: Any, values: list, outs: Sequence[Any]) -> list:
        """Operations that only move numbers, by where each number comes from."""
        name, params = eqn.primitive.name, eqn.params
        if name in ("reshape", "squeeze", "expand_dims") and params.get("dimensions") is None:
            return [values[0]._replace(shape=tuple(outs[0].shape))]
        num = 1 if name == "gather" else len(values)
        if any(isinstance(each, _Slot) for each in values[num:]):
            return self._refused("gather at places that depend on the code", outs)
        sources, start = [], 0
        for value in values[:num]:
            size = math.prod(value.shape)
            sources.append(np.arange(start, start + size, dtype=np.int32).reshape(value.shape))
            start += size
        moved = _known(eqn, [*sources, *values[num:]], in_place_of=np.int32)
        return [self._take(values[:num], places) for places in moved]

    def _take(self, values: Sequence, places: np.ndarray) -> _Slot:
        (first, *rest) = values
        dtype = next(v.dtype for v in values if isinstance(v, _Slot))
        flat = places.ravel()
        if not rest and len(flat) == math.prod(first.shape) and (np.diff(flat) == 1).all():
            return first._replace(shape=places.shape)
        self.pool.places.append(flat.astype(np.int32))
        like = jax.ShapeDtypeStruct(places.shape, dtype)
        return self.step("take", values, like, places=len(self.pool.places) - 1)

    def _transposed(self, value: Any, order: Sequence[int]) -> Any:
        if not isinstance(value, _Slot):
            return np.transpose(value, order)
        places = np.arange(math.prod(value.shape), dtype=np.int32).reshape(value.shape)
        return self._take([value], places.transpose(order))

    # --- Sums and products

    def _reduced(self, name: str, value: _Slot, axes: Sequence[int], out: Any) -> _Slot:
        kept = [axis for axis in range(len(value.shape)) if axis not in axes]
        moved = self._transposed(value, [*kept, *axes])
        size = math.prod(value.shape[axis] for axis in axes)
        return self.step("reduce", [moved], out, of=name, length=size)

    def _cumsum(self, value: _Slot, params: dict, out: Any) -> _Slot:
        axis, num = params["axis"], len(value.shape)
        order = [*(each for each in range(num) if each != axis), axis]
        moved = self._transposed(value, order)
        like = jax.ShapeDtypeStruct(moved.shape, out.dtype)
        own = {"length": value.shape[axis], "reverse": bool(params["reverse"])}
        return self._transposed(self.step("cumsum", [moved], like, **own), np.argsort(order))

    def _dot(self, values: list, params: dict, out: Any) -> _Slot:
        """A product in the form [G, M, K] · [G, K, N]."""
        (left, right), (left_batch, right_batch) = params["dimension_numbers"]
        ends = []
        for value, summed, batch in zip(
            values, (left, right), (left_batch, right_batch), strict=True
        ):
            free = [axis for axis in range(len(value.shape)) if axis not in (*summed, *batch)]
            ends.append((value, [*batch], free, [*summed]))
        (a, batch, rows, inner), (b, own_batch, columns, own_inner) = ends
        sizes = [
            math.prod(v.shape[axis] for axis in axes)
            for v, axes in ((a, batch), (a, rows), (a, inner), (b, columns))
        ]
        a = self._transposed(a, [*batch, *rows, *inner])
        b = self._transposed(b, [*own_batch, *own_inner, *columns])
        return self.step("matmul", [a, b], out, size=sizes)

    def _convolution(self, name: str, params: dict, values: list, out: Any) -> _Slot | None:
        """The three forms of convolutions; None for anything else."""
        x, kernel = values[:2] if len(values) > 1 else (None, None)
        if name in ("features_of_image", "image_of_features"):
            g = params["geometry"]
            own = {"stride": g.strides, "low": g.low, "dilate": (1, 1), "spread": (1, 1)}
            if name == "image_of_features":
                kernel = self._flipped(kernel)
                low = tuple(k - 1 - p for k, p in zip(g.kernel, g.low, strict=True))
                own = {"stride": (1, 1), "low": low, "dilate": g.strides, "spread": (1, 1)}
            return self._conv(x, kernel, out, own)
        is_plain = params.get("feature_group_count") == params.get("batch_group_count") == 1
        if name != "conv_general_dilated" or not is_plain or len(x.shape) not in (3, 4):
            return None
        specs = params["dimension_numbers"]
        x = self._transposed(x, [specs[0][0], *specs[0][2:], specs[0][1]])
        kernel = self._transposed(kernel, [*specs[1][2:], specs[1][1], specs[1][0]])
        own = {
            "stride": params["window_strides"],
            "low": [low for low, _ in params["padding"]],
            "dilate": params["lhs_dilation"],
            "spread": params["rhs_dilation"],
        }
        order = [specs[2][0], *specs[2][2:], specs[2][1]]
        like = jax.ShapeDtypeStruct([out.shape[axis] for axis in order], out.dtype)
        return self._transposed(self._conv(x, kernel, like, own), np.argsort(order))

    def _flipped(self, kernel: Any) -> Any:
        """A kernel [k₁, k₂, C, F] flipped, as [k₁, k₂, F, C]."""
        if not isinstance(kernel, _Slot):
            return np.flip(kernel, (0, 1)).swapaxes(2, 3)
        places = np.arange(math.prod(kernel.shape), dtype=np.int32).reshape(kernel.shape)
        return self._take([kernel], np.flip(places, (0, 1)).swapaxes(2, 3))

    def _conv(self, x: Any, kernel: Any, out: Any, own: dict) -> _Slot:
        """A convolution NHWC by a kernel HWIO; of one axis, as of images of one row."""
        one = [1] * (4 - len(x.shape))
        sizes = {
            "image": [x.shape[0], *one, *x.shape[1:]],
            "kernel": [*one, *kernel.shape],
            "features": [*one, *out.shape[1:-1]],
        }
        # before a lone axis stands one of a single row
        before = {"stride": 1, "low": 0, "dilate": 1, "spread": 1}
        own = {name: [*(before[name] for _ in one), *map(int, each)] for name, each in own.items()}
        return self.step("conv", [x, kernel], out, **sizes, **own)

    # --- Loops

    def _scan(self, eqn: Any, values: list, outs: Sequence[Any]) -> list:
        params, inner = eqn.params, eqn.params["jaxpr"]
        # what goes through the loop step by step has an axis of steps outside of it
        ends = zip(outs, inner.out_avals, strict=True)
        num_carry = sum(len(out.shape) == len(aval.shape) for out, aval in ends)
        begins = zip(eqn.invars, inner.in_avals, strict=True)
        has_steps = [len(given.aval.shape) > len(aval.shape) for given, aval in begins]
        num_consts = len(has_steps) - num_carry - sum(has_steps)
        fixed = values[:num_consts]
        body = _Writer(self.pool)
        own = [v if not isinstance(v, _Slot) else body.slot(v.shape, v.dtype) for v in fixed]
        own += [body.slot(a.shape, a.dtype) for a in inner.in_avals[num_consts:]]
        try:
            ends = body.run(inner.jaxpr, inner.consts, own)
            program = body.program([each for each in own if isinstance(each, _Slot)], ends)
        except UnsupportedError as error:
            return self._refused(str(error), outs)
        given = [v for v in fixed if isinstance(v, _Slot)]
        found = [self.slot(out.shape, out.dtype) for out in outs]
        self._steps.append(
            {
                "op": "scan",
                "in": [self._operand(each) for each in (*given, *values[num_consts:])],
                "out": [each.number for each in found],
                "body": program,
                "fixed": len(given),
                "carried": num_carry,
                "length": params["length"],
                "reverse": bool(params["reverse"]),
            }
        )
        return found


def _inner(eqn: Any) -> Any:
    """The closed jaxpr of an equation that calls a function, or None."""
    if eqn.primitive.name in ("while", "cond"):
        return None
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        inner = eqn.params.get(name)
        if inner is not None:
            return inner if hasattr(inner, "jaxpr") else jax.extend.core.ClosedJaxpr(inner, ())
    return None


def _known(eqn: Any, values: list, in_place_of: Any = None) -> list:
    """The values of an equation whose operands are NumPy arrays; of places if `in_place_of`."""
    name = eqn.primitive.name
    outs = [var.aval for var in eqn.outvars]
    if name in _MOVES:
        return _MOVES[name](eqn.params, values, outs)
    if name == "convert_element_type":
        return [np.asarray(values[0]).astype(outs[0].dtype)]
    dtypes = [var.aval.dtype for var in eqn.invars]
    if in_place_of is not None:
        dtypes[0] = in_place_of
    arrays = [jnp.asarray(v, dtype) for v, dtype in zip(values, dtypes, strict=True)]
    found = eqn.primitive.bind(*arrays, **eqn.params)
    return [np.asarray(v) for v in (found if eqn.primitive.multiple_results else [found])]


def _narrowed(array: np.ndarray) -> np.ndarray:
    """The same array with size 1 along each axis along which it does not vary."""
    for axis in range(array.ndim):
        first = np.take(array, [0], axis) if array.shape[axis] else array
        if array.shape[axis] > 1 and np.array_equal(array, np.broadcast_to(first, array.shape)):
            array = first
    return array


def _broadcast(params: dict, values: list, outs: Sequence[Any]) -> list:
    x, shape = values[0], [1] * len(outs[0].shape)
    for axis, size in zip(params["broadcast_dimensions"], x.shape, strict=True):
        shape[axis] = size
    return [np.broadcast_to(np.reshape(x, shape), outs[0].shape)]


def _sliced(params: dict, values: list, _: Any) -> list:
    starts, limits = params["start_indices"], params["limit_indices"]
    strides = params["strides"] or [1] * len(starts)
    return [values[0][tuple(map(slice, starts, limits, strides))]]


def _padded(params: dict, values: list, outs: Sequence[Any]) -> list:
    """Numbers between, before and after those of x; negative counts leave some out."""
    x, filling = values
    result = np.full(outs[0].shape, np.reshape(filling, ()), np.asarray(x).dtype)
    into, of = [], []
    for size, end, (low, _, between) in zip(
        x.shape, outs[0].shape, params["padding_config"], strict=True
    ):
        at = low + np.arange(size) * (between + 1)
        is_inside = (at >= 0) & (at < end)
        into.append(at[is_inside])
        of.append(np.flatnonzero(is_inside))
    result[np.ix_(*into)] = np.asarray(x)[np.ix_(*of)]
    return [result]


def _split(params: dict, values: list, _: Any) -> list:
    ends = np.cumsum(params["sizes"])[:-1]
    return np.split(values[0], ends, params["axis"])


def _reshaped(_: dict, values: list, outs: Sequence[Any]) -> list:
    return [np.reshape(values[0], outs[0].shape)]


_MOVES: dict[str, Callable[[dict, list, Sequence[Any]], list]] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": lambda params, values, _: [np.concatenate(values, params["dimension"])],
    "expand_dims": _reshaped,
    "pad": _padded,
    "reshape": _reshaped,
    "rev": lambda params, values, _: [np.flip(values[0], params["dimensions"])],
    "slice": _sliced,
    "split": _split,
    "stack": lambda params, values, _: [np.stack(values, params["axis"])],
    "squeeze": _reshaped,
    "tile": lambda params, values, _: [np.tile(values[0], params["reps"])],
    "transpose": lambda params, values, _: [np.transpose(values[0], params["permutation"])],
}
"""Operations that only move numbers, on NumPy arrays."""
