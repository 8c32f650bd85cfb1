#!/usr/bin/env bash
# Builds the package gssapi with the system's MIT Kerberos into the virtual environment, for the Kerberos tests.
# Not one of the packages that every developer installs, as it needs a C compiler and libkrb5-dev.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${VENV:-.venv}/bin/python

"$python" -c 'import gssapi' 2>/dev/null && exit 0
"$python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-kerberos.lock
