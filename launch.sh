#!/usr/bin/env bash
# Makes the environment if needed, then runs a module in it:
#   ./launch.sh experiments.vae --beta=4      as  python -m experiments.vae --beta=4
#   ./launch.sh pytest                        as  python -m pytest
# PYTHON=python3.12 chooses the interpreter (each version has its own environment under .venv/);
# EXTRAS=test,tensorboard chooses the extras (default: test).
set -euo pipefail

fail() { echo "launch.sh: $*" >&2; exit 1; }
[ $# -gt 0 ] || fail "give a module, for example: ./launch.sh experiments.vae --beta=4"

project=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
called_from=$PWD
python=${PYTHON:-python3}
extras=${EXTRAS:-test}
command -v "$python" >/dev/null || fail "PYTHON=$python is not there: install Python 3.11 or newer, or set PYTHON"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || fail "$python does not start"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$python is Python $version: 3.11 or newer is needed, set PYTHON"

environment=$project/.venv/$version
stamp=$environment/installed
wanted="$("$python" -c 'import sys; print(sys.executable)') $extras $project
$(cat "$project/pyproject.toml")"

install() {
    echo "launch.sh: making the environment $environment (once; some minutes)" >&2
    rm -rf "$environment"
    if command -v uv >/dev/null; then
        uv venv --quiet --python "$(command -v "$python")" "$environment"
        uv pip install --quiet --python "$environment/bin/python" --editable "$project[$extras]"
    else
        "$python" -m venv "$environment"
        "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$project[$extras]"
    fi || { rm -rf "$environment"; fail "the installation failed, see above; run the same command again"; }
    printf '%s\n' "$wanted" >"$stamp"
}

if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    mkdir -p "$project/.venv"
    exec 9>"$project/.venv/lock"
    # a second caller waits for the first and then finds the environment made
    command -v flock >/dev/null && flock 9
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] || install
    exec 9>&-
fi

cd "$called_from"
exec "$environment/bin/python" -m "$@"
