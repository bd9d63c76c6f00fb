#!/bin/sh
# Installs uv into the folder $1. Installs Debian's python3-venv first if it is missing.
set -eu
python3 deploy/local/packages.py uv
python3 -m venv --clear "$1"
"$1/bin/pip" -q --disable-pip-version-check install uv==0.13.9
