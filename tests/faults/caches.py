"""R19: what a cache holds is this user's own, of what is asked for, or it is made again."""

import functools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ._lab import Ended, Lab, check, check_same, each, fault, finish
from ._reading import flipped

NOBODY = 65534
"""A user who is not this one."""
IS_ROOT = os.geteuid() == 0
OWN_CACHE = {"JAX_COMPILATION_CACHE_DIR": None, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": None}
"""The user's cache of compiled programs, in place of one that this campaign names."""


def ask(lab: Lab, home: Path, *words: str) -> dict:
    """What `_caches` prints in a process whose cache is below a home."""
    process = lab.launch(
        ["-m", "tests.faults._caches", *words], XDG_CACHE_HOME=str(home), **OWN_CACHE
    )
    ended = finish(process, timeout=60)
    check(ended.code == 0, ended.words)
    check(ended.err == "", f"on stderr: {ended.err[:300]}")
    return json.loads(ended.out)


def entries(home: Path) -> dict[str, Path]:
    """The kept programs by the name of their function."""
    found = sorted((home / "vae_jax" / "compiled").glob("*/jit_*-cache"))
    return {path.name.split("-")[0].removeprefix("jit_"): path for path in found}


# --- What is done to entries of the cache of compiled programs: (entries by name, other's, rng)


def swapped(ours, others, rng) -> None:
    """Each program in the other's place."""
    contents = [path.read_bytes() for path in ours.values()]
    for path, content in zip(ours.values(), contents[::-1], strict=True):
        path.write_bytes(content)


def one_for_both(ours, others, rng) -> None:
    """One program in the place of both."""
    ours["relu"].write_bytes(ours["tanh"].read_bytes())


def linked_to_the_other(ours, others, rng) -> None:
    """A hard link of one program to the other."""
    ours["relu"].unlink()
    os.link(ours["tanh"], ours["relu"])


def of_another_user(ours, others, rng) -> None:
    """Programs that another user kept, each in the other's place."""
    for path, other in zip(ours.values(), list(others.values())[::-1], strict=True):
        path.write_bytes(other.read_bytes())


def without_a_code(ours, others, rng) -> None:
    """A program of another as JAX itself keeps it, without a code."""
    content = ours["tanh"].read_bytes()[32:]
    ours["relu"].write_bytes(content)


def code_of_zeros(ours, others, rng) -> None:
    """A program of another under a code of zeros."""
    ours["relu"].write_bytes(bytes(32) + ours["tanh"].read_bytes()[32:])


def code_of_its_own(ours, others, rng) -> None:
    """The code of one program before the other."""
    ours["relu"].write_bytes(ours["relu"].read_bytes()[:32] + ours["tanh"].read_bytes()[32:])


def patched(ours, others, rng) -> None:
    """Bytes of a program overwritten."""
    for path in ours.values():
        content = bytearray(path.read_bytes())
        at = int(rng.integers(32, len(content) - 16))
        content[at : at + 16] = rng.bytes(16)
        path.write_bytes(content)


def bit_flipped(ours, others, rng) -> None:
    """A bit of each program flipped, anywhere."""
    for path in ours.values():
        content = path.read_bytes()
        path.write_bytes(flipped(content, int(rng.integers(8 * len(content)))))


def bit_of_the_code_flipped(ours, others, rng) -> None:
    """A bit of each code flipped."""
    for path in ours.values():
        path.write_bytes(flipped(path.read_bytes(), int(rng.integers(256))))


def cut_to(share: float) -> Callable:
    """Each program cut to a share of its length."""

    def cut(ours, others, rng):
        for path in ours.values():
            content = path.read_bytes()
            path.write_bytes(content[: int(share * len(content))])

    cut.__name__ = f"cut_to_{share:g}"
    return cut


def one_byte_short(ours, others, rng) -> None:
    """The last byte of each is missing."""
    for path in ours.values():
        path.write_bytes(path.read_bytes()[:-1])


def longer(ours, others, rng) -> None:
    """Bytes after the end of each."""
    for path in ours.values():
        path.write_bytes(path.read_bytes() + bytes(40))


def linked(ours, others, rng) -> None:
    """Symbolic links to what was kept, elsewhere."""
    for path in ours.values():
        moved = path.rename(path.parents[4] / path.name)
        path.symlink_to(moved)


def pipes(ours, others, rng) -> None:
    """Pipes that nobody writes to."""
    for path in ours.values():
        path.unlink()
        os.mkfifo(path)


def endless(ours, others, rng) -> None:
    """Links to a device without an end."""
    for path in ours.values():
        path.unlink()
        path.symlink_to("/dev/zero")


ENTRIES = (
    *(swapped, one_for_both, linked_to_the_other, of_another_user, without_a_code, code_of_zeros),
    *(code_of_its_own, patched, patched, bit_flipped, bit_flipped, bit_of_the_code_flipped),
    *(cut_to(0), cut_to(0.0002), cut_to(0.5), one_byte_short, longer, linked, pipes, endless),
)


@fault("R19", "kept programs swapped, patched, cut off, linked, of another user")
def kept_programs(lab, tries):
    homes = {name: lab.new() for name in ("ours", "others")}
    for home in homes.values():
        for zstandard in ("no", "yes"):
            first = ask(lab, home / zstandard, "programs", zstandard)
            check(first["found"] == 0, "finds programs where none are kept")
    whole = first["values"]

    def case(attack, zstandard):
        home = lab.new()
        shutil.copytree(homes["ours"] / zstandard, home)
        ours = entries(home)
        check(set(ours) == {"relu", "tanh"}, f"keeps {sorted(ours)}")
        check(ask(lab, home, "programs", zstandard)["found"] >= 2, "does not find what it kept")
        attack(ours, entries(homes["others"] / zstandard), lab.generator)
        for _ in range(2):
            got = ask(lab, home, "programs", zstandard)
            told = f"{attack.__name__}, zstandard: {zstandard}"
            check(got["values"] == whole, f"{told}: another program's numbers")
            check(got["told"] is None, f"{told}: {got['told']}")
        check(got["found"] >= 2, f"{told}: what was compiled is not kept")
        check(entries(home)["relu"].is_file(), f"{told}: no file")
        shutil.rmtree(home)

    alternating = [(a, ("no", "yes")[n % 2]) for n, a in enumerate(ENTRIES)]
    cases = [functools.partial(case, *pair) for pair in [*alternating, (swapped, "yes")]]
    yield from each(lab, cases[:tries])


@fault("R19", "what was kept with another compression, as zstandard comes and goes")
def other_compression(lab, tries):
    def case(order):
        home = lab.new()
        got = [ask(lab, home, "programs", zstandard) for zstandard in order]
        check(len({json.dumps(each["values"]) for each in got}) == 1, "other numbers")

    orders = (("no", "yes", "no"), ("yes", "no", "yes"))
    yield from each(lab, [functools.partial(case, order) for order in orders][:tries])


# --- What is done to the folders and the key: (the cache's own folder, another's); what is refused


def open_to_all(folder: Path, other: Path) -> bool:
    """Every folder writable by anybody; what is planted there has no code."""
    for each_one in (folder, folder / "compiled", *(folder / "compiled").iterdir()):
        each_one.chmod(0o777)
    return False


def sticky(folder: Path, other: Path) -> bool:
    """As /tmp is: anybody may add files."""
    folder.chmod(0o1777)
    (folder / "compiled").chmod(0o1777)
    return False


def planted_while_open(folder: Path, other: Path) -> bool:
    """What another user kept, in place of all."""
    shutil.rmtree(folder / "compiled")
    shutil.copytree(other / "compiled", folder / "compiled")
    for path in (folder / "compiled").rglob("*"):
        path.chmod(0o777)
    return False


def key_of_another(folder: Path, other: Path) -> bool:
    """All of another user, his key too, which others may read."""
    planted_while_open(folder, other)
    shutil.copy(other / "key", folder / "key")
    (folder / "key").chmod(0o644)
    return True


def key_replaced(folder: Path, other: Path) -> bool:
    """Another key: what was kept under the old one is none."""
    (folder / "key").write_bytes(bytes(range(32)))
    return False


def key_gone(folder: Path, other: Path) -> bool:
    """No key: a new one is made."""
    (folder / "key").unlink()
    return False


def key_short(folder: Path, other: Path) -> bool:
    """Half of a key."""
    (folder / "key").write_bytes(bytes(16))
    return True


def key_emptied(folder: Path, other: Path) -> bool:
    """A key of no bytes."""
    (folder / "key").write_bytes(b"")
    return True


def key_linked(folder: Path, other: Path) -> bool:
    """A link to a key that another knows."""
    (folder / "key").unlink()
    (folder / "key").symlink_to(other / "key")
    return True


def key_piped(folder: Path, other: Path) -> bool:
    """A pipe in place of the key."""
    (folder / "key").unlink()
    os.mkfifo(folder / "key")
    return True


def key_folder(folder: Path, other: Path) -> bool:
    """A folder in place of the key."""
    (folder / "key").unlink()
    (folder / "key").mkdir()
    return True


def key_of_nobody(folder: Path, other: Path) -> bool:
    """A key that belongs to another user."""
    os.chown(folder / "key", NOBODY, -1)
    return True


def folder_of_nobody(folder: Path, other: Path) -> bool:
    """The cache belongs to another user."""
    os.chown(folder, NOBODY, -1)
    return True


def programs_of_nobody(folder: Path, other: Path) -> bool:
    """The folder of programs belongs to another user."""
    os.chown(folder / "compiled", NOBODY, -1)
    return True


def folder_linked(folder: Path, other: Path) -> bool:
    """The cache is a link to another's."""
    shutil.rmtree(folder)
    folder.symlink_to(other)
    return True


def programs_linked(folder: Path, other: Path) -> bool:
    """The folder of programs is a link to another's."""
    shutil.rmtree(folder / "compiled")
    (folder / "compiled").symlink_to(other / "compiled")
    return True


def folder_a_file(folder: Path, other: Path) -> bool:
    """A file in place of the folder of programs."""
    shutil.rmtree(folder / "compiled")
    (folder / "compiled").write_text("")
    return True


FOLDERS = (
    *(open_to_all, sticky, planted_while_open, key_of_another, key_replaced, key_gone, key_short),
    *(key_emptied, key_linked, key_piped, key_folder, folder_linked, programs_linked),
    *(folder_a_file, *([key_of_nobody, folder_of_nobody, programs_of_nobody] if IS_ROOT else [])),
)


@fault("R19", "folders and key of the cache: of another user, writable by others, linked, replaced")
def folders(lab, tries):
    ours, others = (lab.new() for _ in range(2))
    for home in (ours, others):
        whole = ask(lab, home, "programs", "no")["values"]

    def case(attack):
        home, other = lab.new(), lab.new()
        shutil.copytree(ours, home)
        shutil.copytree(others, other)
        is_refused = attack(home / "vae_jax", other / "vae_jax")
        before = contents(other)
        got = ask(lab, home, "programs", "no")
        told = attack.__name__
        check(got["values"] == whole, f"{told}: other numbers")
        check((got["told"] is not None) == is_refused, f"{told}: says {got['told']!r}")
        check("\n" not in (got["told"] or ""), f"{told}: says several lines")
        is_same = attack in (open_to_all, sticky)
        check(is_same or got["found"] == 0, f"{told}: {got['found']} programs of another were run")
        check(contents(other) == before, f"{told}: another's cache was written")
        if not is_refused:
            modes = [p.stat().st_mode & 0o077 for p in (home / "vae_jax").glob("**/")]
            check(not any(modes), f"{told}: others may still enter")

    yield from each(lab, [functools.partial(case, attack) for attack in FOLDERS][:tries])


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- The real program


@fault("R19", "all kept programs of a real run attacked, then the same command")
def real_runs(lab, tries):
    flags = ("--widths=16", "--latent_dim=2", "--epochs=3", "--checkpoint_seconds=0")
    whole = lab.whole(*flags)
    home = lab.new()
    own = {"XDG_CACHE_HOME": str(home), **OWN_CACHE}
    kept = lab.run(lab.new(), *flags, **own)
    check(kept.code == 0 and kept.err == "", kept.words)

    def rotated(files):
        held = [path.read_bytes() for path in files]
        for path, content in zip(files, held[1:] + held[:1], strict=True):
            path.write_bytes(content)

    def all_flipped(files):
        for path in files:
            content = path.read_bytes()
            path.write_bytes(flipped(content, int(lab.generator.integers(8 * len(content)))))

    def all_emptied(files):
        for path in files:
            path.write_bytes(b"")

    def key_shared(files):
        (files[0].parents[2] / "key").chmod(0o666)

    def case(attack):
        copy = lab.new()
        shutil.copytree(home, copy)
        attack(sorted((copy / "vae_jax" / "compiled").glob("*/*-cache")))
        workdir = lab.new()
        ended = lab.run(workdir, *flags, **{**own, "XDG_CACHE_HOME": str(copy)})
        check(ended.code == 0, f"{attack.__name__}: {ended.words}")
        check_told(ended, int(attack is key_shared), attack.__name__)
        check_same(workdir, whole)

    cases = [functools.partial(case, a) for a in (rotated, all_flipped, all_emptied, key_shared)]
    yield from each(lab, cases[:tries])


def check_told(ended: Ended, num: int, told: str) -> None:
    """Raises `LostError` unless so many lines are on stderr."""
    lines = ended.err.splitlines()
    check(len(lines) == num, f"{told}: {len(lines)} lines on stderr: {ended.err[:300]}")


# --- Prepared arrays: (the entry, the other entry)


def record_of(entry: Path) -> dict:
    """What its record says."""
    return json.loads((entry / "record.json").read_text())


def write_record(entry: Path, **changes) -> None:
    """Rewrites its record; None takes an item away."""
    record = {**record_of(entry), **changes}
    record = {name: value for name, value in record.items() if value is not None}
    (entry / "record.json").write_text(json.dumps(record))


def renamed(entry: Path, other: Path) -> None:
    """The entry of another source under this one's name."""
    shutil.rmtree(entry)
    shutil.copytree(other, entry)


def renamed_with_its_source(entry: Path, other: Path) -> None:
    """The same, its record rewritten."""
    source = record_of(entry)["source"]
    renamed(entry, other)
    write_record(entry, source=source)


def other_array(entry: Path, other: Path) -> None:
    """The array of another source."""
    shutil.copy(other / "x.npy", entry / "x.npy")


def other_array_told(entry: Path, other: Path) -> None:
    """The same, with the other's hash in the record."""
    other_array(entry, other)
    write_record(entry, arrays=record_of(other)["arrays"])


def other_record(entry: Path, other: Path) -> None:
    """The record of another source."""
    shutil.copy(other / "record.json", entry / "record.json")


def no_code(entry: Path, other: Path) -> None:
    """Another array, and a record without a code, as older versions wrote it."""
    other_array(entry, other)
    write_record(entry, arrays=record_of(other)["arrays"], code=None)


def code_of_the_other(entry: Path, other: Path) -> None:
    """Another array, and the other's code."""
    other_array(entry, other)
    write_record(entry, arrays=record_of(other)["arrays"], code=record_of(other)["code"])


def code_of_another_kind(entry: Path, other: Path) -> None:
    """A code that is no text."""
    write_record(entry, code=[1, {"a": None}])


def other_version(entry: Path, other: Path) -> None:
    """A record of another version."""
    write_record(entry, version=2)


def other_name(entry: Path, other: Path) -> None:
    """A record of another dataset."""
    write_record(entry, name="another")


def array_cut(entry: Path, other: Path) -> None:
    """Half of the array."""
    content = (entry / "x.npy").read_bytes()
    (entry / "x.npy").write_bytes(content[: len(content) // 2])


def array_emptied(entry: Path, other: Path) -> None:
    """An array of no bytes."""
    (entry / "x.npy").write_bytes(b"")


def array_gone(entry: Path, other: Path) -> None:
    """No array."""
    (entry / "x.npy").unlink()


def array_linked(entry: Path, other: Path) -> None:
    """A link to the same array elsewhere, which another may change after it was looked at."""
    moved = entry.parents[1] / "moved.npy"
    shutil.move(entry / "x.npy", moved)
    (entry / "x.npy").symlink_to(moved)


def array_piped(entry: Path, other: Path) -> None:
    """A pipe in place of the array."""
    (entry / "x.npy").unlink()
    os.mkfifo(entry / "x.npy")


def array_endless(entry: Path, other: Path) -> None:
    """A link to a device without an end."""
    (entry / "x.npy").unlink()
    (entry / "x.npy").symlink_to("/dev/zero")


def array_a_folder(entry: Path, other: Path) -> None:
    """A folder in place of the array."""
    (entry / "x.npy").unlink()
    (entry / "x.npy").mkdir()


def record_cut(entry: Path, other: Path) -> None:
    """Half of the record."""
    content = (entry / "record.json").read_bytes()
    (entry / "record.json").write_bytes(content[: len(content) // 2])


def record_nested(entry: Path, other: Path) -> None:
    """A record that nests deeper than a reader may go."""
    (entry / "record.json").write_text("[" * 100_000)


def record_of_no_text(entry: Path, other: Path) -> None:
    """A record that is no UTF-8."""
    (entry / "record.json").write_bytes(b"\xff\xfe\x00")


def record_without_code_points(entry: Path, other: Path) -> None:
    """A record with a string that no text can hold."""
    write_record(entry, source="\ud800")


def record_linked(entry: Path, other: Path) -> None:
    """A link to the record elsewhere."""
    moved = entry.parents[1] / "moved.json"
    shutil.move(entry / "record.json", moved)
    (entry / "record.json").symlink_to(moved)


def record_piped(entry: Path, other: Path) -> None:
    """A pipe in place of the record."""
    (entry / "record.json").unlink()
    os.mkfifo(entry / "record.json")


def record_gone(entry: Path, other: Path) -> None:
    """No record."""
    (entry / "record.json").unlink()


def entry_linked(entry: Path, other: Path) -> None:
    """A link to the entry elsewhere."""
    moved = entry.parents[1] / "moved"
    shutil.move(entry, moved)
    entry.symlink_to(moved)


def entry_linked_to_the_other(entry: Path, other: Path) -> None:
    """A link to the other entry."""
    shutil.rmtree(entry)
    entry.symlink_to(other)


def entry_a_file(entry: Path, other: Path) -> None:
    """A file in place of the entry."""
    shutil.rmtree(entry)
    entry.write_text("")


def entry_piped(entry: Path, other: Path) -> None:
    """A pipe in place of the entry."""
    shutil.rmtree(entry)
    os.mkfifo(entry)


def draft_piped(entry: Path, other: Path) -> None:
    """A pipe by the name of a draft, and an entry to be made again."""
    os.mkfifo(entry.with_name(".draft-pipe"))
    array_gone(entry, other)


def draft_linked(entry: Path, other: Path) -> None:
    """A link by the name of a draft to a folder of others, and an entry to be made again."""
    victim = entry.parents[1] / "victim"
    victim.mkdir()
    (victim / "word").write_text("word")
    entry.with_name(".draft-link").symlink_to(victim)
    array_gone(entry, other)


def key_of_others(entry: Path, other: Path) -> None:
    """A key of another: what was written with the old one is none."""
    (entry.parents[1] / "vae_jax" / "key").write_bytes(bytes(range(32)))


ARRAYS = (
    *(renamed, renamed_with_its_source, other_array, other_array_told, other_record, no_code),
    *(code_of_the_other, code_of_another_kind, other_version, other_name, array_cut),
    *(array_emptied, array_gone, array_linked, array_piped, array_endless, array_a_folder),
    *(record_cut, record_nested, record_of_no_text, record_without_code_points, record_linked),
    *(record_piped, record_gone, entry_linked, entry_linked_to_the_other, entry_a_file),
    *(entry_piped, draft_piped, draft_linked, key_of_others),
)


def entry_flipped(lab: Lab, name: str) -> Callable:
    """A bit of a file of the entry flipped."""

    def flip(entry, other):
        content = (entry / name).read_bytes()
        bit = int(lab.generator.integers(8 * len(content)))
        (entry / name).write_bytes(flipped(content, bit))

    flip.__name__ = f"bit_of_{name}"
    return flip


@fault("R19", "prepared data: entries renamed, rewritten, linked, cut off, piped, a bit flipped")
def prepared_data(lab, tries):
    first = lab.new()
    whole = ask(lab, first, "arrays", str(first / "sets"), "memory")
    check(whole["made"] == [0, 1], f"made {whole['made']}")
    found = ask(lab, first, "arrays", str(first / "sets"), "memory")
    check(found == {**whole, "made": [], "notes": []}, "does not find what it kept")

    def case(attack, where):
        home = lab.new()
        shutil.copytree(first, home)
        entry, other = sorted((home / "sets").glob("set-*"), key=lambda e: record_of(e)["source"])
        attack(entry, other)
        told = f"{attack.__name__}, {where}"
        got = ask(lab, home, "arrays", str(home / "sets"), where)
        check(got["values"] == whole["values"], f"{told}: other numbers")
        check(0 in got["made"], f"{told}: was taken")
        notes = [note for note in got["notes"] if "made again from the source" in note]
        check(len(notes) == len(got["made"]), f"{told}: says {got['notes']}")
        check(not any("\n" in note for note in got["notes"]), f"{told}: several lines")
        check(not (home / "victim").exists() or (home / "victim" / "word").exists(), "deletes")
        again = ask(lab, home, "arrays", str(home / "sets"), where)
        check(again["made"] == [], f"{told}: is made each time")

    flips = [entry_flipped(lab, name) for name in ("x.npy", "record.json") for _ in range(4)]
    attacks = [(a, ("memory", "disk")[n % 2]) for n, a in enumerate([*ARRAYS, *flips])]
    yield from each(lab, [functools.partial(case, *pair) for pair in attacks][:tries])


@fault("R19", "a folder of prepared data that cannot be used: arrays are made, and said")
def unusable_folder(lab, tries):
    def case(make):
        home = lab.new()
        (home / "vae_jax").mkdir(parents=True)
        make(home / "sets")
        got = ask(lab, home, "arrays", str(home / "sets"), "memory")
        check(np.asarray(got["values"]).shape == (2, 50, 4), "other numbers")
        check(got["made"] == [0, 1] and len(got["notes"]) == 2, f"says {got['notes']}")

    def a_file(path):
        path.write_text("")

    yield from each(lab, [functools.partial(case, make) for make in (a_file, os.mkfifo)][:tries])
