#!/bin/sh
# Installs what this checkout needs: .venv from requirements.txt (hash-checked) and node_modules from package-lock.json.
# Each half keeps a stamp holding the checksum of what it was built from, so a run with nothing to do takes milliseconds.
set -eu
cd "$(dirname "$0")/.."

fail() { printf 'avenue: %s\n' "$*" >&2; exit 1; }

python=${PYTHON:-python3}
command -v "$python" >/dev/null 2>&1 || fail "Python 3.11 or newer is needed, but '$python' was not found. Set PYTHON=/path/to/python3."
command -v node >/dev/null 2>&1 || fail "Node.js 20 or newer is needed, but 'node' was not found."
command -v npm >/dev/null 2>&1 || fail "npm (it comes with Node.js) was not found."

key() { { cat "$@"; pwd; uname -sm; } | cksum | tr -d ' \n'; }

py_version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])') || fail "'$python' does not run."
py_key="$py_version-$(key requirements.txt)"
pip() { .venv/bin/python -m pip --disable-pip-version-check --quiet --quiet "$@"; }
stamp=$(cat .venv/stamp 2>/dev/null || true)
if [ "$stamp" != "$py_key" ]; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Python 3.11 or newer is needed; '$python' is $py_version. Set PYTHON=/path/to/a/newer/python3."
    echo "Installing Python packages into .venv (a minute the first time) …"
    # The same interpreter at the same place keeps what it has; anything else starts afresh.
    [ "${stamp%%-*}" = "$py_version" ] && .venv/bin/python -c '' 2>/dev/null && clear= || clear=--clear
    rm -f .venv/stamp
    # shellcheck disable=SC2086
    "$python" -m venv $clear .venv || fail "could not create .venv (on Debian and Ubuntu: apt install python3-venv)."
    pip install --require-hashes --requirement requirements.txt || fail "installing Python packages failed, see above."
    printf %s "$py_key" >.venv/stamp
fi
if [ "$(cat .venv/stamp-avenue 2>/dev/null || true)" != "$(key pyproject.toml)" ]; then
    pip install --no-deps --no-build-isolation --editable . || fail "installing the avenue package failed, see above."
    key pyproject.toml >.venv/stamp-avenue
fi

node_version=$(node --version)
node_key="$node_version-$(key package.json package-lock.json .npmrc)"
if [ "$(cat node_modules/.stamp 2>/dev/null || true)" != "$node_key" ]; then
    node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 20 ? 0 : 1)' ||
        fail "Node.js 20 or newer is needed; this is $node_version."
    echo "Installing Node packages (PostgreSQL, PostgREST, Auth, nginx, the Supabase CLI; half a minute the first time) …"
    # Nothing here needs an install script to run: the server's library links are made when its private copy is made.
    npm_config_update_notifier=false npm ci --ignore-scripts --loglevel=error >/dev/null || fail "installing Node packages failed, see above."
    printf %s "$node_key" >node_modules/.stamp
fi
