#!/usr/bin/env bash
# Installs checkov, which looks for what is unsafe in the chart, into the cache; some minutes. Prints the path of the program.
# It has an environment of its own, as it pins many packages that Parley has in other versions.
set -euo pipefail
VERSION=3.3.30
CACHE=${PARLEY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/parley}
DEST=$CACHE/checkov-$VERSION

if [ ! -e "$DEST/.done" ]; then
  mkdir -p "$DEST"
  exec 9>"$DEST/.lock"
  flock 9
  if [ ! -e "$DEST/.done" ]; then
    "${PYTHON:-python3}" -m venv --clear --upgrade-deps "$DEST/venv" >&2
    "$DEST/venv/bin/python" -m pip install --quiet --disable-pip-version-check "checkov==$VERSION" >&2
    touch "$DEST/.done"
  fi
fi
echo "$DEST/venv/bin/checkov"
