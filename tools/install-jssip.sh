#!/usr/bin/env bash
# Puts JsSIP, bundled for a browser, into the cache; needs npm. Prints the path of the bundle.
set -euo pipefail
VERSION=3.13.8
ESBUILD=0.25.12
CACHE=${PARLEY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/parley}
DEST=$CACHE/jssip-$VERSION
BUNDLE=$DEST/jssip.js

if [ ! -s "$BUNDLE" ]; then
  command -v npm >/dev/null || { echo "JsSIP needs npm, which is not installed" >&2; exit 1; }
  mkdir -p "$DEST"
  exec 9>"$DEST/.lock"
  flock 9
  if [ ! -s "$BUNDLE" ]; then
    cd "$DEST"
    echo '{"private": true}' > package.json
    npm install --silent --no-audit --no-fund "jssip@$VERSION" "esbuild@$ESBUILD" >&2
    echo 'window.JsSIP = require("jssip");' > entry.js
    npx --no-install esbuild entry.js --bundle --format=iife --log-level=warning --outfile=jssip.js.new >&2
    mv jssip.js.new jssip.js
  fi
fi
echo "$BUNDLE"
