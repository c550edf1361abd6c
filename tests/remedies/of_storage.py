"""What is said of run directories, checkpoints and exported files."""

import errno
import fcntl
import os
import re
import shutil
from pathlib import Path

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import cache, latents, likelihoods, memory, networks
from vae_jax.lab import compiled, config, metrics, places, tables
from vae_jax.model import Model
from vae_jax.plots import _picture
from vae_jax.storage import checkpoints, exported, files, locks, members, runs
from vae_jax.storage.checkpoints import Checkpoints

from ._cases import at, attempt, flags_of, said, tries
from .of_data import csv

RUNS = "vae_jax/storage/runs.py"
FILES = "vae_jax/storage/files.py"
CSV_ROWS = "vae_jax/storage/csv_rows.py"
LOCKS = "vae_jax/storage/locks.py"
CONFIG = {"beta": 1.0, "data_sha256": "a" * 64, "latent_dim": 2, "epochs": 3}
ROWS = "step,loss\n1,2.5\n2,2.25\n"


def open_run(path, told=CONFIG, **options):
    """Opens a run directory, cuts its rows, and closes it."""
    with runs.open_run(path, told, **options) as run:
        run.truncate_rows(5)
        return run.rows()


def begun(path, num=1, rows=ROWS):
    """A run directory as training leaves it, but for its checkpoints, of one run or of several."""
    several = [{**CONFIG, "seed": seed} for seed in range(num)]
    with runs.open_run(path, several[0] if num == 1 else {"runs": several}) as run:
        flags = [config.to_flags(config.from_flags({"seed": str(seed)})) for seed in range(num)]
        run.write_json("members.json", flags)
        csv(path / "metrics.csv", rows)
    return path


def older(path):
    """A run directory of schema 1, whose rows no seal vouches for."""
    with runs.open_run(path, CONFIG, schema=1):
        return path


def trained(path, num=1):
    """The same, with a checkpoint."""
    state = {"params": {"a": np.ones((num, 3), np.float32)}, "step": np.full(num, 7, np.int32)}
    state["failure"] = np.full(num, -1, np.int32)
    begun(path, num)
    with Checkpoints(path / "checkpoints", owner=members.owner(path)) as store:
        store.save(7, {"state": state}, {})
    return path


# --- Run directories

own = at(RUNS, "open_run")


@tries(own("must be UTF-8 text without control characters, name another"))
def a_name_that_no_line_can_show(folder, patch):
    yield attempt(open_run, f"{folder}/a\tb")
    yield attempt(open_run, f"{folder}/ab")


@tries(at(RUNS, "Run", "append_rows")("has the columns …, this program writes …: choose another"))
def rows_of_other_columns(folder, patch):
    def append(path):
        with runs.open_run(path, {**CONFIG, "seed": 0}) as run:
            run.append_rows([{"step": 3, "elbo": 1.0}])

    yield attempt(append, begun(folder / "a"))
    yield attempt(append, folder / "b")


REPAIR = "repair it or choose `overwrite=True`"


def damaged(folder, content, repaired=ROWS):
    """Rows that are damaged, then both remedies."""
    path = begun(folder / "run") / "metrics.csv"
    path.write_bytes(content)
    told = {**CONFIG, "seed": 0}
    yield attempt(open_run, folder / "run", told)
    shutil.copytree(folder / "run", folder / "other")
    yield attempt(open_run, folder / "other", told, overwrite=True)
    path.write_text(repaired)
    yield attempt(open_run, folder / "run", told)


@tries(at(RUNS, "Run", "truncate_rows")(f"has a row without step: {REPAIR}"))
def a_row_without_step(folder, patch):
    yield from damaged(folder, b"epoch,loss\n1,2\n")


@tries(at(CSV_ROWS, "whole_lines")(f"is no UTF-8 text: {REPAIR}"))
def rows_that_are_no_text(folder, patch):
    yield from damaged(folder, b"step,loss\n\xff\n")


@tries(at(CSV_ROWS, "parse_row")(f"has a damaged row (…): {REPAIR}"))
def a_row_of_another_length(folder, patch):
    yield from damaged(folder, b"step,loss\n1,2,3\n")


@tries(at("vae_jax/lab/tables.py", "curves")(f"has a damaged row (…): {REPAIR}"))
def a_row_of_a_sweep_that_is_damaged(folder, patch):
    class Program:
        name, members = "all", [0]

    path = csv(older(folder / "programs" / "all") / "metrics.csv", "step,loss\n1,two\n")
    yield attempt(tables.curves, [Program], folder)
    csv(path, ROWS)
    yield attempt(tables.curves, [Program], folder)
    os.remove(path)
    yield attempt(tables.curves, [Program], folder)


@tries(at(RUNS, "refuse_newer")("upgrade vae_jax, or choose another directory"))
def a_directory_of_a_newer_version(folder, patch):
    newer = runs.SCHEMA + 1
    open_run(folder / "a", schema=newer)
    yield attempt(open_run, folder / "a")
    yield attempt(open_run, folder / "b")
    yield attempt(open_run, folder / "a", schema=newer)


@tries(at(FILES, "inside")("must stay inside …, name or link nothing outside of it"))
def a_name_that_leads_outside(folder, patch):
    yield attempt(files.inside, folder / "a", "../b")
    yield attempt(files.inside, folder / "a", "b")


@tries(at(FILES, "read_bytes")("move it away"))
def a_result_that_is_a_link(folder, patch):
    path = begun(folder / "run") / "result.json"
    path.symlink_to(csv(folder / "elsewhere"))
    yield attempt(members.read_results, folder / "run")
    path.rename(folder / "away")
    yield attempt(members.read_results, folder / "run")


@tries(at(FILES, "read_json")("cannot be read (…): move it away"))
def a_result_that_is_damaged(folder, patch):
    path = csv(begun(folder / "run") / "result.json", "{")
    yield attempt(members.read_results, folder / "run")
    path.rename(folder / "away")
    yield attempt(members.read_results, folder / "run")


@tries(at(RUNS, "parse_config")("restore it, or choose another directory"))
def a_config_that_was_changed(folder, patch):
    open_run(folder / "a")
    whole = (folder / "a" / "config.json").read_text()
    csv(folder / "a" / "config.json", whole.replace("1.0", "2.0"))
    yield attempt(open_run, folder / "a")
    yield attempt(open_run, folder / "b")
    csv(folder / "a" / "config.json", whole)
    yield attempt(open_run, folder / "a")


@tries(at(RUNS, "_read_config")("restore it, or …"))
def a_config_that_is_a_link(folder, patch):
    open_run(folder / "a")
    path = (folder / "a" / "config.json").rename(folder / "config.json")
    (folder / "a" / "config.json").symlink_to(path)
    message = yield attempt(open_run, folder / "a")
    assert message.endswith("or choose another `workdir`")
    yield attempt(open_run, folder / "b")
    path.replace(folder / "a" / "config.json")
    yield attempt(open_run, folder / "a")


@tries(at(RUNS, "_read_config")("is damaged or not ours: choose another"))
def a_config_of_something_else(folder, patch):
    csv(folder / "a" / "config.json", '{"model_type": "bert"}')
    yield attempt(open_run, folder / "a")
    yield attempt(open_run, folder / "b")


@tries(at(RUNS, "_refuse_foreign")("is a file, must be a directory or not exist: choose another"))
def a_run_directory_that_is_a_file(folder, patch):
    yield attempt(open_run, csv(folder / "a"))
    yield attempt(open_run, folder / "b")


@tries(at(RUNS, "_refuse_foreign")("is not empty and holds no run (…): choose another"))
def a_run_directory_of_something_else(folder, patch):
    csv(folder / "a" / "thesis.tex")
    yield attempt(open_run, folder / "a")
    yield attempt(open_run, folder / "b")


def compared(folder, told):
    """Another config in the place of a run, then each way out."""
    open_run(folder / "a")
    yield attempt(open_run, folder / "a", {**CONFIG, **told})
    yield attempt(open_run, folder / "b", {**CONFIG, **told})
    yield attempt(open_run, folder / "a")
    yield attempt(open_run, folder / "a", {**CONFIG, **told}, overwrite=True)


own = at(RUNS, "_compare")


@tries(own("restore those, choose another `workdir`, or `overwrite=True` archives"))
def other_data_in_the_place_of_a_run(folder, patch):
    yield from compared(folder, {"data_sha256": "b" * 64})


@tries(own("holds …: choose another `workdir`, or `overwrite=True` archives"))
def other_settings_in_the_place_of_a_run(folder, patch):
    yield from compared(folder, {"beta": 2.0})


@tries(at(FILES, "check_space")("free some, or choose another `workdir`"))
def too_little_space(folder, patch):
    free = {folder / "a": 10, folder / "b": 1000}
    patch.setattr(files, "free_bytes", lambda path: free[path])
    message = yield attempt(files.check_space, folder / "a", 100)
    yield attempt(files.check_space, folder / "b", 100)
    free[folder / "a"] = int(re.search(r"needs (\d+) bytes", message)[1])
    yield attempt(files.check_space, folder / "a", 100)


@tries(at(RUNS, "_enter")("wait for it, stop it, or choose another `workdir`"))
def a_run_directory_in_use(folder, patch):
    holder = runs.open_run(folder / "a", CONFIG)
    yield attempt(open_run, folder / "a")
    yield attempt(open_run, folder / "b")
    holder.close()
    yield attempt(open_run, folder / "a")


own = at(LOCKS, "_lock")


def unlocked(folder, patch, number):
    """A place whose files cannot be locked, then one whose files can be."""
    lock, there = fcntl.flock, str(folder / "a")

    def fail(descriptor, how):
        if os.path.samestat(os.fstat(descriptor), os.stat(f"{there}/lock")):
            raise OSError(number, os.strerror(number))
        lock(descriptor, how)

    patch.setattr(fcntl, "flock", fail)
    csv(folder / "a" / "lock", "")
    yield attempt(open_run, folder / "a")
    yield attempt(open_run, folder / "b")


@tries(own("choose another place"))
def a_lock_that_fails(folder, patch):
    yield from unlocked(folder, patch, errno.EIO)


@tries(own("choose a place on a local disk, or have it mounted with locks"))
def a_place_without_locks(folder, patch):
    yield from unlocked(folder, patch, errno.ENOLCK)


@tries(at(FILES)("choose another `workdir`"))
def a_place_that_cannot_be_written(folder, patch):
    yield attempt(open_run, csv(folder / "file") / "run")
    yield attempt(open_run, folder / "run")


def filled(patch, holder):
    """Whether the disk is full, in a list, as `os.replace` and `write` meet it."""
    is_full, replace = [True], os.replace

    def meet(*arguments, **keywords):
        if is_full[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(*arguments, **keywords)

    patch.setattr(holder, "replace", meet)
    return is_full


@tries(at(FILES, "storing")("free some and run the same command again"))
def a_full_disk(folder, patch):
    is_full = filled(patch, os)
    yield attempt(files.write_text, folder / "a.txt", ["a"])
    is_full[0] = False
    yield attempt(files.write_text, folder / "a.txt", ["a"])


own = at("vae_jax/plots/_picture.py", "write")


@tries(own("free some space"))
def a_full_disk_for_a_picture(folder, patch):
    is_full = filled(patch, _picture.Path)
    yield attempt(_picture.write, folder / "a.png", b"a")
    is_full[0] = False
    yield attempt(_picture.write, folder / "a.png", b"a")


@tries(own("choose another folder"))
def a_folder_that_takes_no_picture(folder, patch):
    yield attempt(_picture.write, csv(folder / "file") / "a.png", b"a")
    yield attempt(_picture.write, folder / "other" / "a.png", b"a")


# --- Runs of a program

own = at("vae_jax/storage/members.py", "Saved", "member")


@tries(own("choose from 0 to"))
def a_run_that_is_not_there(folder, patch):
    message = yield attempt(members.load_member, trained(folder / "run", 2), 2)
    for member in map(int, re.search(r"choose from (\d+) to (\d+)", message).groups()):
        yield attempt(members.load_member, folder / "run", member)


@tries(
    at("vae_jax/storage/members.py", "Saved", "_nothing_saved")(
        "train it again with `overwrite=True`, or copy its checkpoints back"
    )
)
def a_run_without_checkpoints(folder, patch):
    path = trained(folder / "run") / "checkpoints"
    path.rename(folder / "checkpoints")
    message = yield attempt(members.load_member, folder / "run")
    shutil.copytree(folder / "checkpoints", message.partition(": ")[0])
    yield attempt(members.load_member, folder / "run")
    with runs.open_run(folder / "run", {**CONFIG, "seed": 0}, overwrite=True):
        shutil.copytree(folder / "checkpoints", path)
    yield attempt(members.load_member, folder / "run")


@tries(at("vae_jax/storage/members.py", "read_rows")("train it to its end"))
def rows_without_results(folder, patch):
    yield attempt(members.read_rows, begun(folder / "run"))
    with runs.open_run(folder / "run", {**CONFIG, "seed": 0}) as run:
        result = {"status": "done", "step": 2, "loss": 2.25, "loss_standard_error": 0.0}
        (sealed,) = members.sealed_results([result], run.id, run.rows_sha256())
        run.write_json("result.json", sealed)
    yield attempt(members.read_rows, folder / "run")


# --- The cache of compiled programs

own = at("vae_jax/lab/compiled.py", "keep_reason")


def keep(words):
    """Raises what is said of the user's cache, if it is this."""
    said(filter(None, [compiled.keep_reason()]), words)


@tries(own("programs are compiled afresh each time; move it away"))
def a_cache_that_is_a_link(folder, patch):
    patch.setenv("XDG_CACHE_HOME", str(folder))
    (folder / "other").mkdir()
    (folder / "vae_jax").symlink_to(folder / "other")
    message = yield attempt(keep, "move it away")
    os.rename(message.partition(" is a")[0], folder / "away")
    yield attempt(keep, "")


@tries(own("programs are compiled afresh; delete it"))
def a_key_that_others_may_read(folder, patch):
    patch.setenv("XDG_CACHE_HOME", str(folder))
    cache.key()
    (folder / "vae_jax" / "key").chmod(0o644)
    message = yield attempt(keep, "delete it")
    os.remove(message.partition(" is not")[0])
    yield attempt(keep, "")


own = at("vae_jax/storage/members.py", "_other_place")


@tries(own("name one of the … below it, such as"))
def a_folder_of_runs(folder, patch):
    trained(folder / "runs" / "one")
    trained(folder / "runs" / "two")
    message = yield attempt(members.load_member, folder / "runs")
    yield attempt(members.load_member, message.rpartition("such as ")[2])


@tries(own("name the directory that a training left"))
def a_folder_without_a_run(folder, patch):
    yield attempt(members.load_member, folder)
    yield attempt(members.load_member, trained(folder / "run"))


@tries(at("vae_jax/storage/members.py", "_stored")("restore it, or choose another directory"))
def a_trained_run_whose_config_is_a_link(folder, patch):
    path = (trained(folder / "run") / "config.json").rename(folder / "config.json")
    (folder / "run" / "config.json").symlink_to(path)
    yield attempt(members.load_member, folder / "run")
    path.replace(folder / "run" / "config.json")
    yield attempt(members.load_member, folder / "run")


@tries(
    at("vae_jax/storage/members.py", "_no_config")(
        "is not the config of a run; of a sweep, name one of its programs/"
    )
)
def a_sweep_in_the_place_of_a_program(folder, patch):
    open_run(folder / "sweep", {"num_runs": 1})
    trained(folder / "sweep" / "programs" / "all")
    yield attempt(members.load_member, folder / "sweep")
    yield attempt(members.load_member, folder / "sweep" / "programs" / "all")


@tries(
    at("vae_jax/lab/metrics.py", "_config_of")("use the run as it was left"),
)
def flags_of_a_run_that_are_damaged(folder, patch):
    path = begun(folder / "run") / "members.json"
    whole = path.read_text()
    csv(path, "[]")
    yield attempt(metrics.read_config, folder / "run", 0, None)
    csv(path, whole)
    yield attempt(metrics.read_config, folder / "run", 0, None)


@tries(at("vae_jax/lab/metrics.py", "_read_flags")("use the run as it was left"))
def flags_of_a_run_that_are_no_file(folder, patch):
    path = begun(folder / "run") / "members.json"
    path.rename(folder / "members.json")
    path.mkdir()
    yield attempt(metrics.read_configs, folder / "run")
    path.rmdir()
    (folder / "members.json").rename(path)
    yield attempt(metrics.read_configs, folder / "run")


@tries(at("vae_jax/lab/places.py", "choose")("holds … programs, name one of them, such as"))
def a_member_of_several_programs(folder, patch):
    begun(folder / "programs" / "a")
    begun(folder / "programs" / "b")
    message = yield attempt(places.choose, folder, "0")
    named = Path(flags_of(message.partition("such as")[2])["run"])
    yield attempt(places.choose, named, "0")


@tries(at("vae_jax/lab/places.py", "programs_of")("none of its programs has begun, train it"))
def a_sweep_that_has_not_begun(folder, patch):
    (folder / "programs" / "a").mkdir(parents=True)
    yield attempt(places.choose, folder, None)
    begun(folder / "programs" / "a")
    yield attempt(places.choose, folder, None)


# --- Checkpoints

CHECKPOINTS = "vae_jax/storage/checkpoints.py"


def read(path, target=None):
    """What the newest checkpoint holds."""
    with Checkpoints(path / "checkpoints") as store:
        return store.read() if target is None else store.restore(target)


@tries(at(CHECKPOINTS, "Checkpoints", "_refuse_links")("replace it by a directory"))
def checkpoints_that_are_a_link(folder, patch):
    (folder / "elsewhere").mkdir()
    (folder / "checkpoints").symlink_to(folder / "elsewhere")
    message = yield attempt(read, folder)
    path = message.partition(" is a symbolic link")[0]
    os.remove(path)
    os.mkdir(path)
    yield attempt(read, folder)


@tries(at(CHECKPOINTS, "Checkpoints", "_read")("use the version and flags that wrote it, or"))
def a_checkpoint_of_another_program(folder, patch):
    path = trained(folder / "run")
    state = jax.tree.map(jnp.asarray, read(path).state)
    wider = {"state": {**state["state"], "params": {"a": jnp.ones((1, 4))}}}
    yield attempt(read, path, wider)
    yield attempt(read, path, state)
    yield attempt(read, folder / "other", wider)


own = at(CHECKPOINTS, "_fault")


def unread(folder, patch, number):
    """A checkpoint that cannot be read once."""
    measure, errors = checkpoints._measure, [OSError(number, os.strerror(number))]

    def fail(*arguments, **options):
        if errors:
            raise errors.pop()
        return measure(*arguments, **options)

    trained(folder / "run")
    patch.setattr(checkpoints, "_measure", fail)
    yield attempt(read, folder / "run")
    yield attempt(read, folder / "run")


@tries(own("try again"))
def a_checkpoint_that_cannot_be_opened_now(folder, patch):
    yield from unread(folder, patch, errno.EMFILE)


@tries(own("make it readable"))
def a_checkpoint_that_may_not_be_read(folder, patch):
    yield from unread(folder, patch, errno.EACCES)


@tries(at(CHECKPOINTS, "_verify")("upgrade vae_jax, or choose another `workdir`"))
def a_checkpoint_of_a_newer_version(folder, patch):
    patch.setattr(checkpoints, "_SCHEMA", 2)
    trained(folder / "run")
    patch.setattr(checkpoints, "_SCHEMA", 1)
    yield attempt(read, folder / "run")
    yield attempt(read, folder / "other")
    patch.setattr(checkpoints, "_SCHEMA", 2)
    yield attempt(read, folder / "run")


@tries(at(CHECKPOINTS, "Checkpoints", "_explain")("remove the cause and run the same command"))
def a_checkpoint_that_cannot_be_saved(folder, patch):
    def save():
        with Checkpoints(folder / "checkpoints") as store:
            store.save(7, {"a": np.ones(3, np.float32)}, {})

    blocked = csv(folder / "checkpoints")
    yield save
    os.remove(blocked)
    yield save


# --- Exported models

EXPORTED = "vae_jax/storage/exported.py"


class Mine(networks.LinearEncoder):
    """A module of a user's own."""


class MyLikelihood(likelihoods.Gaussian):
    """A likelihood of a user's own."""


def make(**parts):
    """A small model, and its parameters."""
    modules = networks.build("linear", shape=(6,), latent_dim=2)
    model = Model(*modules, likelihoods.Gaussian(), (6,), 2).replace(**parts)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return model, jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)


def exports(path, **parts):
    """A file of a small model."""
    exported.save(path, *make(**parts))
    return path


@tries(at(EXPORTED)("choose another place for it"))
def an_export_that_cannot_be_written(folder, patch):
    yield attempt(exports, csv(folder / "file") / "a.safetensors")
    yield attempt(exports, folder / "a.safetensors")


@tries(at(EXPORTED, "_as_json")("give text, finite numbers, truth values, None, and lists"))
def what_json_cannot_hold(folder, patch):
    yield attempt(exported.save, folder / "a.safetensors", *make(), {"a": {1.5}})
    told = {"a": ["ß", 1.5, True, None, {"b": 2}]}
    yield attempt(exported.save, folder / "a.safetensors", *make(), told)


own = at(EXPORTED, "_tensors")


@tries(own("are no tree of arrays (…): give those of this model"))
def parameters_that_are_no_arrays(folder, patch):
    model, params = make()
    gone = jnp.ones(2)
    gone.delete()
    lost = {**params, "encoder": {**params["encoder"], "logvar": gone}}
    yield attempt(exported.save, folder / "a.safetensors", model, lost)
    yield attempt(exported.save, folder / "a.safetensors", model, params)


@tries(own("give those of this model, of one run"))
def parameters_of_several_runs(folder, patch):
    model, params = make()
    several = jax.tree.map(lambda leaf: np.stack([leaf] * 3), params)
    yield attempt(exported.save, folder / "a.safetensors", model, several)
    one = jax.tree.map(lambda leaf: leaf[1], several)
    yield attempt(exported.save, folder / "a.safetensors", model, one)


own = at(EXPORTED, "_reading")


@tries(own("is a symbolic link: name what it points to"))
def an_export_that_is_a_link(folder, patch):
    (folder / "link").symlink_to(exports(folder / "a.safetensors"))
    message = yield attempt(exported.load, folder / "link")
    yield attempt(exported.load, message.rpartition("points to, ")[2])


@tries(own("set … to more GiB"))
def an_export_of_too_much_memory(folder, patch):
    path = exports(folder / "a.safetensors")
    patch.setenv(memory.VARIABLE, str((path.stat().st_size - 1) / 2**30))
    yield attempt(exported.load, path)
    patch.setenv(memory.VARIABLE, str(path.stat().st_size / 2**30))
    yield attempt(exported.load, path)


@tries(own("fetch it again, or export the run again"))
def an_export_that_is_damaged(folder, patch):
    path = exports(folder / "a.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    yield attempt(exported.load, path)
    path.write_bytes(whole)
    yield attempt(exported.load, path)
    yield attempt(exported.load, exports(path))


@tries(at(EXPORTED, "_check_schema")("upgrade vae_jax"))
def an_export_of_a_newer_version(folder, patch):
    schema = exported._SCHEMA
    patch.setattr(exported, "_SCHEMA", schema + 1)
    exports(folder / "a.safetensors")
    patch.setattr(exported, "_SCHEMA", schema)
    yield attempt(exported.load, folder / "a.safetensors")
    patch.setattr(exported, "_SCHEMA", schema + 1)
    yield attempt(exported.load, folder / "a.safetensors")


own = at(EXPORTED, "_check_own")


@tries(own("give load(path, …=…(…)), the module that was trained"))
def an_export_of_a_module_of_ones_own(folder, patch):
    path = exports(folder / "a.safetensors", encoder=Mine(2))
    message = yield attempt(exported.load, path)
    part, kind = re.search(r"give load\(path, (\w+)=(\w+)\(", message).groups()
    yield attempt(exported.load, path, **{part: globals()[kind](2)})


@tries(own("is one of vae_jax: leave it out"))
def a_module_that_an_export_does_not_ask_for(folder, patch):
    path = exports(folder / "a.safetensors")
    yield attempt(exported.load, path, encoder=Mine(2))
    yield attempt(exported.load, path)


@tries(at(EXPORTED, "_fitting_shapes")("give them as they were trained"))
def a_module_of_another_size(folder, patch):
    path = exports(folder / "a.safetensors", encoder=Mine(2))
    yield attempt(exported.load, path, encoder=Mine(3))
    yield attempt(exported.load, path, encoder=Mine(2))


@tries(at(EXPORTED, "_described_part")("and the parameters by flax.serialization.to_bytes(params)"))
def a_likelihood_of_ones_own(folder, patch):
    model, params = make(likelihood=MyLikelihood())
    message = yield attempt(exported.save, folder / "a.safetensors", model, params)
    written = eval(re.search(r"flax\S+$", message)[0], {"flax": flax, "params": params})
    yield lambda: jax.tree.map(
        np.testing.assert_array_equal, flax.serialization.from_bytes(params, written), params
    )


DRAWN = at("vae_jax/latents.py", "Deterministic", "prior")("draw codes from")


@tries(DRAWN)
def a_prior_of_a_code_without_one(folder, patch):
    message = yield attempt(latents.Deterministic().prior, None, 2)
    yield lambda: drawn_as(message)


@tries(DRAWN)
def a_prior_of_a_rectified_code(folder, patch):
    message = yield attempt(latents.Deterministic("relu").prior, None, 2)
    yield lambda: drawn_as(message)


def drawn_as(message):
    from vae_jax import copula, distributions

    codes = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    names = {"copula": copula, "distributions": distributions, "codes": codes}
    fitted = re.search(r"\w+\.\w+\.fit\(codes\)", message)[0]
    return eval(fitted, names).sample(jax.random.key(0), 3)


@tries(at("vae_jax/lab/places.py", "only")("name one, such as run=… member=…"))
def one_of_several_runs(folder, patch):
    begun(folder / "run", 2)
    message = yield attempt(places.only, str(folder / "run"), None)
    named = flags_of(message.partition("such as")[2])
    yield lambda: places.choose(Path(named["run"]), named["member"])


@tries(at(LOCKS, "locked")("another file took its place"))
def a_lock_whose_file_is_replaced_again_and_again(folder, patch):
    place = folder / "lock"

    def locked_under_attack():
        with patch.context() as attacked:
            attacked.setattr(locks, "_locked_if_alone", lambda *_: None)
            return locks.locked(place, fcntl.LOCK_EX)

    yield locked_under_attack
    # nobody writes there any more
    yield lambda: os.close(locks.locked(place, fcntl.LOCK_EX))
