"""Checkpoints, run directories, members, and models as files."""

from ._lab import of

plant = of("vae_jax/storage/checkpoints.py", "checkpoints")
plant(
    "            if durable:\n                os.fsync(file.fileno())\n",
    "",
    "the files of a step are not synced",
)
plant(
    "file.write(_encode(manifest))\n            file.flush()\n            os.fsync(file.fileno())",
    "file.write(_encode(manifest))",
    "the manifest is not synced",
)
plant(
    "src_dir_fd=staging, dst_dir_fd=held)\n        disk.sync_folder(held)",
    "src_dir_fd=staging, dst_dir_fd=held)",
    "the folder of the steps is not synced",
)
plant(
    "return all(\n            _in_pieces()",
    "return any(\n            _in_pieces()",
    "a step of which an array reads back otherwise is taken",
)
plant(
    "kept += self._fault(path) is None",
    "kept += 1",
    "damaged steps count among those that are kept",
)
plant(
    'if digest != expected["sha256"]:',
    "if not digest:",
    "a flipped bit goes unnoticed",
)
plant(
    "[jax.tree.map(np.array, jax.device_get(state))]",
    "[jax.tree.map(np.asarray, jax.device_get(state))]",
    "what is saved is a view of what the next step overwrites",
)
plant(
    'if manifest["step"] != int(path.name):',
    'if manifest["step"] < 0:',
    "a step under another number is taken",
)

plant = of("vae_jax/storage/csv_rows.py", "runs", "run_files")
plant(
    "                rest = rest[file.write(rest) :]\n            os.fsync(file.fileno())",
    "                rest = rest[file.write(rest) :]",
    "rows of metrics are not synced",
)

plant = of("vae_jax/storage/runs.py", "runs", "run_files")
plant(
    "if at <= step:",
    "if at < step:",
    "the rows of the step that is resumed are dropped",
)
plant(
    "fcntl.LOCK_EX | fcntl.LOCK_NB",
    "fcntl.LOCK_SH | fcntl.LOCK_NB",
    "two processes may write in one run directory",
)

plant = of("vae_jax/storage/csv_rows.py", "runs", "run_files")
plant(
    'whole = raw[: raw.rfind(b"\\n") + 1]',
    "whole = raw",
    "a torn last line is read",
)

plant = of("vae_jax/storage/members.py", "members", "experiments")
plant(
    'state.get("ema") or state["params"]',
    'state["params"]',
    "a member is loaded without its average",
)
plant(
    "jax.tree.map(lambda leaf: jnp.asarray(leaf[member]), params)",
    "jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), params)",
    "every member has the parameters of the first",
)

plant = of("vae_jax/storage/exported.py", "exported")
plant(
    "if _sealed(body, tensors) != text:",
    "if not _sealed(body, tensors):",
    "a damaged file is read",
)
plant(
    "latent_mask=mask, classes=classes, **later)",
    "latent_mask=mask, **later)",
    "a model is read without the user's labels",
)
plant(
    '"latent_mask": None if mask is None else np.asarray(mask).astype(int).tolist(),',
    '"latent_mask": None,',
    "a model is written without its mask",
)

plant = of("vae_jax/disk.py", "runs", "links")
plant(
    "yield file\n            file.flush()\n            os.fsync(file.fileno())",
    "yield file",
    "a file takes its place before it is on the disk",
)
plant(
    "return os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=held)",
    "return os.open(part, _FOLDER, dir_fd=held)",
    "a link in the place of a folder is followed",
)
plant(
    "flags |= os.O_NOFOLLOW | os.O_NONBLOCK",
    "flags |= os.O_NONBLOCK",
    "a link in the place of a file is followed",
)
plant(
    "if os.fstat(descriptor).st_nlink <= 1:",
    "if os.fstat(descriptor).st_nlink:",
    "a file that has another name too is added to in place",
)

plant = of("vae_jax/storage/seals.py", "seals")
plant(
    "return {**body, _SEAL: digest([list(owner), body])}",
    "return {**body, _SEAL: digest([[], body])}",
    "a seal is of no owner",
)
plant(
    "return body if stored[_SEAL] == digest([list(owner), body]) else None",
    "return body",
    "what has any seal is taken",
)

plant = of("vae_jax/cache.py", "cache")
plant(
    "if found.st_mode & 0o077:",
    "if found.st_mode & 0o007:",
    "the folder of the caches stays open to the group",
)
