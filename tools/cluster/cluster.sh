#!/usr/bin/env bash
# A Kubernetes cluster for developing and testing the chart; see docs/local-cluster.md, and `cluster.sh --help`.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
case ${1:-} in
  build) exec "$HERE/build.sh" ;;
  install-tools) exec "$HERE/install-tools.sh" ;;
esac

# load takes paths of files from wherever it was called.
arguments=()
for argument in "$@"; do
  if [ "${1:-}" = load ] && [ -e "$argument" ]; then argument=$(realpath "$argument"); fi
  arguments+=("$argument")
done
ROOT=$(cd "$HERE/../.." && pwd)
PYTHON=${PYTHON:-$ROOT/.venv/bin/python}
[ -x "$PYTHON" ] || command -v "$PYTHON" >/dev/null || { echo "cluster: there is no $PYTHON; run make unit once, which makes it" >&2; exit 1; }
cd "$ROOT"
exec "$PYTHON" -m tools.cluster "${arguments[@]}"
