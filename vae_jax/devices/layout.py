"""Placement of runs and batches: a mesh ("runs", "data") over all devices of all processes.

The runs of a program are stacked along a leading axis. Each device of the axis "runs" trains some
of them without communication; devices along "data" share the batch of a run. If a device holds
several runs, an accelerator computes them in parallel (vmap). A CPU computes them one after the
other (lax.map), which suits its matrix products and caches.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vae_jax.errors import UsageError

__all__ = ["Layout", "make_layout"]

_RUNS = PartitionSpec("runs")
_SHARED = PartitionSpec()
_LESS_EFFORT = {"xla_backend_optimization_level": 1}
"""Compiler options on CPU for the program that makes a state: half the time, same bits."""


class Layout:
    """R runs on a mesh; stacked arrays are [S, …], S = R padded to a multiple of the devices.

    Args:
        mesh: a mesh with the axes "runs" and "data".
        num_runs: R, a count.
        is_vectorized: whether the runs on one device are computed in parallel.
    """

    def __init__(self, mesh: Mesh, num_runs: int, *, is_vectorized: bool):
        self.mesh = mesh
        self.num_runs = num_runs
        self.is_vectorized = is_vectorized

    @property
    def num_slots(self) -> int:
        """S: the number of runs with fillers, a count."""
        along = self.mesh.shape["runs"]
        return -(-self.num_runs // along) * along

    @property
    def num_data(self) -> int:
        """The number of devices that share a batch, a count."""
        return self.mesh.shape["data"]

    def is_filler(self) -> np.ndarray:
        """The slots that are fillers: [S] booleans."""
        return np.arange(self.num_slots) >= self.num_runs

    def fill(self, tree: Any) -> Any:
        """Pads arrays [R, …] to [S, …] by repeating the last run; NumPy."""
        slots = np.minimum(np.arange(self.num_slots), self.num_runs - 1)
        return jax.tree.map(lambda leaf: np.asarray(leaf)[slots], tree)

    def place(self, tree: Any) -> Any:
        """Places arrays [R, …] on the devices as [S, …]; fillers repeat the last run."""

        def one(leaf):
            # one after the other, so that there are never two copies of all of them
            return jax.block_until_ready(self.place_slots(self.fill(leaf)))

        return jax.tree.map(one, tree)

    def place_slots(self, tree: Any) -> Any:
        """Places arrays [S, …], including fillers, on the devices."""
        return jax.tree.map(functools.partial(self._put, spec=_RUNS), tree)

    def replicate(self, tree: Any) -> Any:
        """Copies arrays of any shape to every device."""
        return jax.tree.map(functools.partial(self._put, spec=_SHARED), tree)

    def shapes(self, tree: Any, *, is_shared: bool = False) -> Any:
        """Shapes and dtypes of arrays [S, …], or of shared ones of any shape, as on the devices.

        A function that is compiled for these is the one that `place` and `replicate` feed.
        """
        sharding = NamedSharding(self.mesh, _SHARED if is_shared else _RUNS)
        return jax.tree.map(functools.partial(_as_on_device, sharding=sharding), tree)

    def batch_shapes(self, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        """The shape of the result of `spread_batches`, [S, T, B, *stored]."""
        return _as_on_device(jax.ShapeDtypeStruct(shape, dtype), sharding=self._of_batches)

    @functools.cached_property
    def _of_batches(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec("runs", None, "data"))

    def spread_batches(self, get: Callable, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        """Makes batches [S, T, B, *stored]; each process makes only the parts on its devices.

        Args:
            get: from three slices, for runs, steps and rows, to that part of the array.
            shape: shape of the whole array.
            dtype: dtype of the array.
        """
        parts = {}

        def part(index):
            bounds = tuple(s.indices(n)[:2] for s, n in zip(index, shape, strict=True))[:3]
            if bounds not in parts:
                parts[bounds] = get(*(slice(*b) for b in bounds)).astype(dtype)
            return parts[bounds]

        return jax.make_array_from_callback(shape, self._of_batches, part)

    def read(self, tree: Any) -> Any:
        """Copies arrays [S, …] to the host as NumPy [R, …], in every process."""
        if jax.process_count() > 1:
            tree = jax.tree.map(lambda a: a.addressable_data(0), self._gather(tree))
        return jax.tree.map(lambda a: np.asarray(a)[: self.num_runs], jax.device_get(tree))

    def over_runs(
        self,
        function: Callable,
        *,
        shared: Sequence[int] = (),
        donate: Sequence[int] = (),
        is_idle: Callable | None = None,
        is_rare: bool = False,
    ) -> Callable:
        """Turns a function of one run into a compiled function of all runs.

        Args:
            function: any pytrees to a pytree.
            shared: positions of the arguments that all runs share; the others are [S, …].
            donate: positions of the arguments that may be overwritten.
            is_idle: from the same arguments to a bool scalar: whether `function` would return its
                first argument unchanged. It is then skipped if runs are computed one after the
                other.
            is_rare: whether it is called so rarely that compiling takes longer than computing.

        Returns:
            The function of stacked arguments, which returns a pytree of [S, …].
        """

        def local(*arguments):
            own = tuple(a for i, a in enumerate(arguments) if i not in shared)

            def one(own):
                rest = iter(own)
                given = [a if i in shared else next(rest) for i, a in enumerate(arguments)]
                if is_idle is None or self.is_vectorized:
                    return function(*given)
                return jax.lax.cond(is_idle(*given), lambda: given[0], lambda: function(*given))

            if self.num_slots == self.mesh.shape["runs"]:
                # a loop over a device's only run computes the same, but takes long to lower
                value = one(jax.tree.map(lambda leaf: jax.lax.squeeze(leaf, [0]), own))
                return jax.tree.map(lambda leaf: jax.lax.expand_dims(leaf, [0]), value)
            return jax.vmap(one)(own) if self.is_vectorized else jax.lax.map(one, own)

        def spread(*arguments):
            specs = tuple(_SHARED if i in shared else _RUNS for i in range(len(arguments)))
            return jax.shard_map(
                local,
                mesh=self.mesh,
                in_specs=specs,
                out_specs=_RUNS,
                axis_names={"runs"},
                check_vma=False,
            )(*arguments)

        sharding = NamedSharding(self.mesh, _RUNS)
        options = _LESS_EFFORT if is_rare and self.mesh.devices.flat[0].platform == "cpu" else None
        return jax.jit(
            spread,
            donate_argnums=tuple(donate),
            out_shardings=sharding,
            compiler_options=options,
        )

    def place_batch(self, batch: dict) -> dict:
        """Inside a function of one run: splits rows [B, …] over the devices that share the batch.

        The mask [B] is replicated, so that counting its rows needs no communication.
        """
        if self.num_data == 1:
            return batch
        specs = {name: _SHARED if name == "mask" else PartitionSpec("data") for name in batch}
        return jax.lax.with_sharding_constraint(batch, specs)

    def keep_whole(self, array: jax.Array) -> jax.Array:
        """Inside a function of one run: replicates an array of any shape on its devices."""
        return array if self.num_data == 1 else jax.lax.with_sharding_constraint(array, _SHARED)

    def _put(self, array: Any, spec: PartitionSpec) -> jax.Array:
        array, sharding = np.asarray(array), NamedSharding(self.mesh, spec)
        # part by part: device_put would compare the array over all processes
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    @functools.cached_property
    def _gather(self) -> Callable:
        return jax.jit(lambda tree: tree, out_shardings=NamedSharding(self.mesh, _SHARED))


def _as_on_device(leaf: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    """The shape of an array, and its dtype on a device."""
    dtype = jax.dtypes.canonicalize_dtype(leaf.dtype)
    return jax.ShapeDtypeStruct(leaf.shape, dtype, sharding=sharding)


def make_layout(
    num_runs: int, *, devices: Sequence | None = None, num_data: int | None = None
) -> Layout:
    """Chooses the mesh for R runs: runs first; spare devices split each batch.

    Runs need no communication, so they come first. On CPU one device uses all cores for one run;
    more devices are used only if there are runs for them.

    Args:
        num_runs: R, a count.
        devices: devices of all processes, [D], equally many of each; None means `jax.devices()`.
        num_data: number of devices that share a batch, a count; None chooses it automatically.

    Returns:
        `Layout`.

    Raises:
        UsageError: `num_data` does not divide the devices.
    """
    devices = list(jax.devices() if devices is None else devices)
    is_cpu = devices[0].platform == "cpu"
    by_process: dict[int, list] = {}
    for device in devices:
        by_process.setdefault(device.process_index, []).append(device)
    num_processes = len(by_process)
    num_local = min(map(len, by_process.values()))
    if is_cpu:
        wanted = -(-num_runs * (num_data or 1) // num_processes)
        num_local = max(1, min(num_local, wanted))
    used = [device for _, local in sorted(by_process.items()) for device in local[:num_local]]
    if num_data is None:
        along = max(n for n in range(1, len(used) + 1) if len(used) % n == 0 and n <= num_runs)
        num_data = len(used) // along
    elif len(used) % num_data:
        raise UsageError(f"data_devices={num_data}: must divide the number of devices, {len(used)}")
    grid = np.array(used).reshape(-1, num_data)
    mesh = Mesh(grid, ("runs", "data"), axis_types=(AxisType.Auto, AxisType.Auto))
    return Layout(mesh, num_runs, is_vectorized=not is_cpu)
