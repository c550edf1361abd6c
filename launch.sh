#!/usr/bin/env bash
# Makes the environment if needed, then runs a module in it:
#   ./launch.sh experiments.vae --beta=4      as  python -m experiments.vae --beta=4
#   ./launch.sh pytest                        as  python -m pytest
#   ./launch.sh docs                          builds the docs site, with the extra docs
# PYTHON=python3.12 chooses the interpreter (each version has its own environment under .venv/);
# EXTRAS=test,cluster adds extras to it (default: test).
# RESOLUTION=lowest installs the lowest versions that pyproject.toml allows, in an environment of their own.
# PROCESSES=2 runs two processes as one program on this machine; under SLURM, Open MPI and on TPU pods
# start it once per process (srun ./launch.sh …): they find each other.
set -euo pipefail

fail() { echo "launch.sh: $*" >&2; exit 1; }
[ $# -gt 0 ] || fail "give a module, for example: ./launch.sh experiments.vae --beta=4"

project=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
called_from=$PWD
# nothing is imported from where the caller stands: a file there may have the name of any module
export PYTHONSAFEPATH=1
python=${PYTHON:-python3}
extras=test
[ "$1" != docs ] || extras=test,docs
extras=${EXTRAS:-$extras}
resolution=${RESOLUTION:-highest}
command -v "$python" >/dev/null || fail "PYTHON=$python is not there: install Python 3.11 or newer, or set PYTHON"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || fail "$python does not start"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$python is Python $version: 3.11 or newer is needed, set PYTHON"

first=$project/.venv/$version
case $resolution in
    highest) ;;
    lowest) first=$first-lowest ;;
    *) fail "RESOLUTION=$resolution: must be highest or lowest" ;;
esac
executable=$("$python" -c 'import sys; print(sys.executable)')

# An environment that was replaced stays for the processes and queued jobs that use it: the newest has another
# name, which this file holds.
in_use() { echo "$project/.venv/$(cat "$first.current" 2>/dev/null || echo "${first##*/}")"; }

# what an environment was made of: the interpreter, extras, project and pyproject.toml
stamp_with() { printf '%s %s %s\n' "$executable" "$1" "$project"; cat "$project/pyproject.toml"; }

# the extras of an environment that is whole, and otherwise nothing
extras_of() {
    local stamp line found
    stamp=$(cat "$1/installed" 2>/dev/null) || return 0
    line=${stamp%%$'\n'*}
    found=${line#"$executable "}
    found=${found%" $project"}
    [ "$stamp" != "$(stamp_with "$found")" ] || echo "$found"
}

# what is in the second list of extras and not in the first
beyond() {
    "$python" -c 'import sys; old, new = (word.split(",") for word in sys.argv[1:]); print(*[e for e in new if e and e not in old], sep=",")' "$@"
}

# Requirements from pyproject.toml, for what pip has no option: "floors" are the lowest versions of all packages,
# "extras" the lines of the extras alone.
requirements() {
    "$python" -c '
import re, sys, tomllib
what, path, extras = sys.argv[1:]
project = tomllib.load(open(path, "rb"))["project"]
optional = project["optional-dependencies"]
for extra in extras.split(","):
    if extra not in optional:
        known = ", ".join(optional)
        sys.exit(f"launch.sh: EXTRAS={extra}: must be among {known}, with commas between several")
lines = sum((optional[extra] for extra in extras.split(",")), [])
if what == "floors":
    lowest = {}
    for line in project["dependencies"] + lines:
        name, floor, marker = re.fullmatch(r"([\w-]+)(?:\[.*\])?>=([\d.]+)(;.*)?", line).groups()
        order = [int(part) for part in floor.split(".")]
        lowest[name] = max(lowest.get(name, ([],)), (order, f"{name}=={floor}{marker or str()}"))
    lines = [line for _, line in lowest.values()]
print(*lines, sep="\n")
' "$1" "$project/pyproject.toml" "$2"
}

# makes an environment in a folder: 1 folder, 2 extras
make() {
    echo "launch.sh: making the environment $1 (once; some minutes)" >&2
    rm -rf "$1"
    if command -v uv >/dev/null; then
        local order=$resolution
        [ "$order" = highest ] || order=lowest-direct
        uv venv --quiet --python "$(command -v "$python")" "$1" &&
            uv pip install --quiet --resolution "$order" --python "$1/bin/python" --editable "$project[$2]"
    else
        "$python" -m venv "$1" &&
            { [ "$resolution" = highest ] || requirements floors "$2"; } >"$1/constraints.txt" &&
            "$1/bin/python" -m pip install --quiet --disable-pip-version-check \
                --constraint "$1/constraints.txt" --editable "$project[$2]"
    fi || { rm -rf "$1"; fail "the installation failed, see above; run the same command again"; }
    stamp_with "$2" >"$1/installed"
}

# adds extras to an environment in which processes may run, so that nothing there changes: 1 folder, 2 extras
add() {
    echo "launch.sh: adding $2 to the environment $1" >&2
    requirements extras "$2" >"$1/extras.txt"
    if command -v uv >/dev/null; then
        uv pip freeze --quiet --exclude-editable --python "$1/bin/python" >"$1/kept.txt" &&
            uv pip install --quiet --python "$1/bin/python" --constraint "$1/kept.txt" --requirement "$1/extras.txt"
    else
        "$1/bin/python" -m pip freeze --quiet --exclude-editable >"$1/kept.txt" &&
            "$1/bin/python" -m pip install --quiet --disable-pip-version-check \
                --constraint "$1/kept.txt" --requirement "$1/extras.txt"
    fi
}

# makes the environment have the extras, and otherwise another one take its place
prepare() {
    local old extras_there missing next number=2
    old=$(in_use)
    extras_there=$(extras_of "$old")
    missing=$(beyond "$extras_there" "$extras")
    [ -z "$missing" ] || requirements extras "$missing" >/dev/null || exit 1
    if [ -n "$extras_there" ] && { [ -z "$missing" ] || add "$old" "$missing"; }; then
        stamp_with "$extras_there${missing:+,$missing}" >"$old/installed.new"
        mv "$old/installed.new" "$old/installed"
        return
    fi
    next=$old
    # what has no stamp was not finished, and nobody uses it
    while [ -f "$next/installed" ]; do next=$first.$number && number=$((number + 1)); done
    make "$next" "$extras_there${extras_there:+${missing:+,}}${missing}"
    [ "$next" != "$old" ] || return 0
    echo "${next##*/}" >"$first.current.new"
    mv "$first.current.new" "$first.current"
    echo "launch.sh: $old stays for what runs or is queued with it: delete it when nothing does" >&2
}

environment=$(in_use)
if there=$(extras_of "$environment") && [ -z "$there" ] || [ -n "$(beyond "$there" "$extras")" ]; then
    mkdir -p "$project/.venv"
    exec 9>"$project/.venv/lock"
    # A second caller waits for the first and then finds the environment made. The lock is that of descriptor 9,
    # which this shell keeps open; macOS has no command for it.
    "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' ||
        echo "launch.sh: $project/.venv/lock cannot be locked: start one at a time until the environment is made" >&2
    prepare
    environment=$(in_use)
    exec 9>&-
fi

cd "$called_from"
export PYTHONPATH=$project${PYTHONPATH:+:$PYTHONPATH}
processes=${PROCESSES:-1}
case $processes in ''|*[!0-9]*|0) fail "PROCESSES=$processes: must be a number, 1 or more" ;; esac
[ "$processes" -gt 1 ] || exec "$environment/bin/python" -m "$@"

# a port that is free now; the first process opens it
port=$("$environment/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export JAX_COORDINATOR_ADDRESS=127.0.0.1:$port JAX_NUM_PROCESSES=$processes
pids=()
for ((i = 0; i < processes; i++)); do
    JAX_PROCESS_ID=$i "$environment/bin/python" -m "$@" &
    pids+=($!)
done
trap 'kill -TERM "${pids[@]}" 2>/dev/null' TERM
trap 'kill -INT "${pids[@]}" 2>/dev/null' INT
status=0
for pid in "${pids[@]}"; do
    # a signal ends the wait, not the process
    while :; do
        wait "$pid" && code=0 || code=$?
        kill -0 "$pid" 2>/dev/null || break
    done
    [ "$status" -ne 0 ] || status=$code
done
exit "$status"
