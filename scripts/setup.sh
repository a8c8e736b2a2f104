#!/usr/bin/env bash
# Makes .venv: CPython 3.10, the hash-locked packages, the project itself (editable).
# Runs once; later calls see the stamp and return at once. An interrupted call can be run again.
set -euo pipefail
cd "$(dirname "$0")/.."

LOCK=requirements/py310.txt
UV_VERSION=0.13.9
stamp=.venv/.ready-$(cat "$LOCK" setup.py scripts/setup.sh | sha256sum | cut -c1-16)
[ -e "$stamp" ] && exit 0

fail() { printf 'setup: %s\n' "$@" >&2; exit 1; }

runs_310() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' >/dev/null 2>&1; }
has_headers() {
  "$1" -c 'import os, sysconfig as s; os.stat(os.path.join(s.get_paths()["include"], "Python.h"))' >/dev/null 2>&1
}

command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null || fail \
  "no C++ compiler found (pyfarmhash, which TensorFlow Data Validation needs, ships as source)." \
  "Install one, e.g. 'apt-get install g++' or 'xcode-select --install', and run this again."

# uv: the one on PATH where it runs, else a pinned copy that pip puts into .tools (no root, no system change).
if uv --version >/dev/null 2>&1; then
  uv() { command uv "$@"; }
else
  uv_home=.tools/uv-$UV_VERSION
  if ! [ -x "$uv_home/bin/uv" ]; then
    python3 -m pip --version >/dev/null 2>&1 || fail "pip not found for python3." \
      "Install it, e.g. 'apt-get install python3-pip', or install uv yourself, and run this again."
    python3 -m pip install --quiet --disable-pip-version-check --target "$uv_home" "uv==$UV_VERSION"
  fi
  uv() { "$uv_home/bin/uv" "$@"; }
fi

# A python3.10 that runs and has the headers. pyenv's shims are on PATH but answer only when the version is
# selected, so its versions are looked up in their own folders.
python=
for candidate in "$(command -v python3.10 || true)" \
                 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.10.*/bin/python3.10; do
  [ -n "$candidate" ] && runs_310 "$candidate" && has_headers "$candidate" && { python=$candidate; break; }
done
if [ -z "$python" ]; then
  echo "setup: no usable python3.10 here (one that runs and has its headers); asking uv for one"
  uv python install 3.10 || fail "uv could not fetch CPython 3.10." \
    "Install CPython 3.10 with its headers (pyenv install 3.10, or python3.10 and python3.10-dev) and run this again."
  python=$(uv python find --managed-python 3.10)
fi

echo "setup: once, a few minutes: $("$python" --version) and the locked packages into .venv"
rm -f .venv/.ready-*
[ -x .venv/bin/python ] && runs_310 .venv/bin/python || uv venv --quiet --clear --python "$python" .venv
# Bytecode is compiled here, once: without it each first import of TFX costs 20 s more.
uv pip sync --quiet --python .venv/bin/python --require-hashes --compile-bytecode "$LOCK"
uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
touch "$stamp"
