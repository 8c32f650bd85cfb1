#!/usr/bin/env bash
# Builds container images without a daemon; see docs/images.md, and `build.sh --help`.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
PYTHON=${PYTHON:-$ROOT/.venv/bin/python}
[ -x "$PYTHON" ] || command -v "$PYTHON" >/dev/null || { echo "images: there is no $PYTHON; run make unit once, which makes it" >&2; exit 1; }
cd "$ROOT"
exec "$PYTHON" -m tools.images "$@"
