#!/bin/sh
# Puts uv into the folder $1. Debian's python3 comes without venv's pip.
set -eu
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    as_root=$([ "$(id -u)" = 0 ] || echo sudo)
    echo "installing python3-venv"
    { $as_root apt-get -qq update && $as_root apt-get -qq install -y --no-install-recommends python3-venv >/dev/null; } ||
        { echo "please install python3-venv, or uv" >&2; exit 1; }
fi
python3 -m venv --clear "$1"
"$1/bin/pip" -q --disable-pip-version-check install uv
