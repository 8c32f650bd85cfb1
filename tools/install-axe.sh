#!/usr/bin/env bash
# Puts axe-core, which finds what keeps people from using a page, into the cache; needs npm. Prints the path of the script.
set -euo pipefail
VERSION=4.11.0
CACHE=${PARLEY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/parley}
DEST=$CACHE/axe-core-$VERSION
SCRIPT=$DEST/node_modules/axe-core/axe.min.js

if [ ! -s "$SCRIPT" ]; then
  command -v npm >/dev/null || { echo "axe-core needs npm, which is not installed" >&2; exit 1; }
  mkdir -p "$DEST"
  exec 9>"$DEST/.lock"
  flock 9
  if [ ! -s "$SCRIPT" ]; then
    cd "$DEST"
    echo '{"private": true}' > package.json
    npm install --silent --no-audit --no-fund "axe-core@$VERSION" >&2
  fi
fi
echo "$SCRIPT"
