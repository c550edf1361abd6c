#!/usr/bin/env bash
# Makes the environment if needed, then runs a module in it:
#   ./launch.sh experiments.vae --beta=4      as  python -m experiments.vae --beta=4
#   ./launch.sh pytest                        as  python -m pytest
# PYTHON=python3.12 chooses the interpreter (each version has its own environment under .venv/);
# EXTRAS=test,tensorboard chooses the extras (default: test).
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
extras=${EXTRAS:-test}
resolution=${RESOLUTION:-highest}
command -v "$python" >/dev/null || fail "PYTHON=$python is not there: install Python 3.11 or newer, or set PYTHON"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || fail "$python does not start"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$python is Python $version: 3.11 or newer is needed, set PYTHON"

environment=$project/.venv/$version
case $resolution in
    highest) ;;
    lowest) environment=$environment-lowest ;;
    *) fail "RESOLUTION=$resolution: must be highest or lowest" ;;
esac
stamp=$environment/installed
wanted="$("$python" -c 'import sys; print(sys.executable)') $extras $project
$(cat "$project/pyproject.toml")"

# what pip has no option for: the lowest version that pyproject.toml allows of each package, as constraints
floors() {
    "$python" -c '
import re, sys, tomllib
project = tomllib.load(open(sys.argv[1], "rb"))["project"]
extras = [project["optional-dependencies"].get(extra, []) for extra in sys.argv[2].split(",")]
lowest = {}
for line in sum(extras, project["dependencies"]):
    name, floor, marker = re.fullmatch(r"([\w-]+)(?:\[.*\])?>=([\d.]+)(;.*)?", line).groups()
    order = [int(part) for part in floor.split(".")]
    lowest[name] = max(lowest.get(name, ([],)), (order, f"{name}=={floor}{marker or str()}"))
print(*(line for _, line in lowest.values()), sep="\n")
' "$project/pyproject.toml" "$extras"
}

install() {
    echo "launch.sh: making the environment $environment (once; some minutes)" >&2
    rm -rf "$environment"
    if command -v uv >/dev/null; then
        [ "$resolution" = highest ] || resolution=lowest-direct
        uv venv --quiet --python "$(command -v "$python")" "$environment" &&
            uv pip install --quiet --resolution "$resolution" --python "$environment/bin/python" \
                --editable "$project[$extras]"
    else
        "$python" -m venv "$environment" &&
            { [ "$resolution" = highest ] || floors; } >"$environment/constraints.txt" &&
            "$environment/bin/python" -m pip install --quiet --disable-pip-version-check \
                --constraint "$environment/constraints.txt" --editable "$project[$extras]"
    fi || { rm -rf "$environment"; fail "the installation failed, see above; run the same command again"; }
    printf '%s\n' "$wanted" >"$stamp"
}

if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    mkdir -p "$project/.venv"
    exec 9>"$project/.venv/lock"
    # A second caller waits for the first and then finds the environment made. The lock is that of descriptor 9,
    # which this shell keeps open; macOS has no command for it.
    "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' ||
        echo "launch.sh: $project/.venv/lock cannot be locked: start one at a time until the environment is made" >&2
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] || install
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
