#!/usr/bin/env bash
# Builds Jaeger v2 into the cache; needs Go 1.26 or newer, and some minutes. Prints the path of the program.
# `go install` refuses modules with replace directives, hence a module of our own around it (tools/jaeger).
set -euo pipefail
VERSION=2.13.0
MODULE=v1.76.0
HERE=$(cd "$(dirname "$0")" && pwd)
CACHE=${PARLEY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/parley}
DEST=$CACHE/jaeger-$VERSION

if [ ! -x "$DEST/jaeger" ]; then
  command -v go >/dev/null || { echo "Jaeger needs Go 1.26 to be built, which is not installed" >&2; exit 1; }
  mkdir -p "$DEST"
  exec 9>"$DEST/.lock"
  flock 9
  if [ ! -x "$DEST/jaeger" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cp "$HERE/jaeger/go.mod" "$HERE/jaeger/go.sum" "$work"
    cd "$work"
    export GOFLAGS=-buildvcs=false CGO_ENABLED=0
    go build -trimpath \
      -ldflags "-s -w -X github.com/jaegertracing/jaeger/internal/version.latestVersion=$MODULE" \
      -o "$DEST/jaeger.new" github.com/jaegertracing/jaeger/cmd/jaeger >&2
    mv "$DEST/jaeger.new" "$DEST/jaeger"
  fi
fi
echo "$DEST/jaeger"
