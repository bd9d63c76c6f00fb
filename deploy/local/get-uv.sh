#!/bin/sh
# Puts uv into the folder $1. Debian's python3 comes without venv's pip.
set -eu
python3 deploy/local/packages.py uv
python3 -m venv --clear "$1"
"$1/bin/pip" -q --disable-pip-version-check install uv==0.13.9
