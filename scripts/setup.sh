#!/usr/bin/env bash
# Makes .venv: CPython, the hash-locked packages, the project itself (editable).
# Two locks: py312.txt (CPython 3.12 and 3.13; glibc 2.39 or later, or macOS on arm64) and py310.txt (older glibc).
# PYTHON=3.10, 3.12 or 3.13 chooses. Runs once; later calls see the stamp and return at once. An interrupted call
# can be run again.
set -euo pipefail
cd "$(dirname "$0")/.."

UV_VERSION=0.13.9
fail() { printf 'setup: %s\n' "$@" >&2; exit 1; }

lock_of() { [ "$1" = 3.10 ] && echo requirements/py310.txt || echo requirements/py312.txt; }
stamp_of() { echo ".venv/.ready-$1-$(cat "$(lock_of "$1")" setup.py scripts/setup.sh | sha256sum | cut -c1-16)"; }

for version in ${PYTHON:-3.10 3.12 3.13}; do
  case $version in
    3.10 | 3.12 | 3.13) [ -e "$(stamp_of "$version")" ] && exit 0 ;;
    *) fail "PYTHON=$version is not supported. Choose 3.10, 3.12 or 3.13." ;;
  esac
done

# Which Pythons this system can have, the best first.
case $(uname -sm) in
  "Linux x86_64")
    glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2) || true
    [ -n "$glibc" ] || fail \
      "this system has no glibc (musl?), and TensorFlow has no build for it." \
      "Run pawprint in a container of Debian or Ubuntu."
    if [ "$(printf '%s\n' 2.39 "$glibc" | sort -V | head -n 1)" = 2.39 ]; then
      possible="3.12 3.13 3.10"
    else
      possible=3.10
    fi
    ;;
  "Darwin arm64") possible="3.12 3.13" ;;
  *) fail \
    "$(uname -sm) is not supported: ml-metadata has builds for Linux x86_64 and macOS arm64 only." \
    "On Windows use WSL 2, elsewhere a container or a machine of Linux x86_64." ;;
esac
if [ -n "${PYTHON:-}" ]; then
  case " $possible " in
    *" $PYTHON "*) possible=$PYTHON ;;
    *) fail "PYTHON=$PYTHON does not run here (glibc ${glibc:-none}; TFX 1.21 needs glibc 2.39)." \
            "Possible: $possible." ;;
  esac
fi

command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null || fail \
  "no C++ compiler found (pyfarmhash, which TensorFlow Data Validation needs, ships as source)." \
  "Debian and Ubuntu: 'apt-get install g++'. macOS: 'xcode-select --install'. Then run this again."

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

is_version() { "$1" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$2')" >/dev/null 2>&1; }
has_headers() {
  "$1" -c 'import os, sysconfig as s; os.stat(os.path.join(s.get_paths()["include"], "Python.h"))' >/dev/null 2>&1
}

# A Python that runs and has the headers. pyenv's shims are on PATH but answer only when the version is
# selected, so its versions are looked up in their own folders.
find_python() {
  local version candidate
  for version in $possible; do
    for candidate in "$(command -v "python$version" || true)" \
                     "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/"python$version"; do
      if [ -n "$candidate" ] && is_version "$candidate" "$version" && has_headers "$candidate"; then
        echo "$version $candidate"
        return
      fi
    done
  done
}

read -r version python <<<"$(find_python)" || true
if [ -z "$python" ]; then
  version=${possible%% *}
  echo "setup: no usable Python $version here (one that runs and has its headers); asking uv for one"
  uv python install "$version" || fail "uv could not fetch CPython $version." \
    "Install it with its headers and run this again. Debian 13: 'apt-get install python3.13-dev'; Ubuntu 24.04:" \
    "'apt-get install python3.12-dev'; macOS: 'brew install python@$version'; elsewhere: 'pyenv install $version'."
  python=$(uv python find --managed-python "$version")
fi

lock=$(lock_of "$version")
echo "setup: once, a few minutes: $("$python" --version) and the packages of $lock into .venv"
rm -f .venv/.ready-*
[ -x .venv/bin/python ] && is_version .venv/bin/python "$version" || uv venv --quiet --clear --python "$python" .venv
# Bytecode is compiled here, once: without it each first import of TFX costs 20 s more.
uv pip sync --quiet --python .venv/bin/python --require-hashes --compile-bytecode "$lock"
uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
touch "$(stamp_of "$version")"
