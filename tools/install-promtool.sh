#!/usr/bin/env bash
# Puts promtool (of the Debian package prometheus) into the cache, for the tests of alerts. Prints the path of the program.
set -euo pipefail
CACHE=${PARLEY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/parley}
DEST=$CACHE/promtool

if [ ! -x "$DEST/promtool" ]; then
  command -v apt-get >/dev/null || { echo "promtool is taken from Debian; elsewhere put the program at $DEST/promtool" >&2; exit 1; }
  mkdir -p "$DEST"
  exec 9>"$DEST/.lock"
  flock 9
  if [ ! -x "$DEST/promtool" ]; then  # nobody made it while we waited
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cd "$work"
    apt-get -qq download prometheus >&2 || { apt-get -qq update >&2; apt-get -qq download prometheus >&2; }
    dpkg -x prometheus_*.deb unpacked
    mv unpacked/usr/bin/promtool "$DEST/promtool"
  fi
fi
echo "$DEST/promtool"
