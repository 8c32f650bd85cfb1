#!/usr/bin/env bash
# Builds helm 3, helm 4 and kubeconform into the cache, for the tests of the chart; needs Go 1.26, and some minutes each.
#   tools/install-helm.sh [helm3|helm4|kubeconform]...    prints the path of each program named, by default of all three
set -euo pipefail
declare -A modules=(
  [helm3]=helm.sh/helm/v3/cmd/helm@v3.22.0
  [helm4]=helm.sh/helm/v4/cmd/helm@v4.3.1
  [kubeconform]=github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0
)
CACHE=${PARLEY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/parley}
export GOFLAGS=-buildvcs=false CGO_ENABLED=0

install() {  # install PACKAGE@VERSION
  local package=${1%@*} version=${1#*@} program destination folder
  program=${package##*/}
  destination=$CACHE/$program-${version#v}
  if [ ! -x "$destination/$program" ]; then
    command -v go >/dev/null || { echo "$program needs Go 1.26 to be built, which is not installed" >&2; exit 1; }
    mkdir -p "$destination"
    exec 9>"$destination/.lock"
    flock 9
    if [ ! -x "$destination/$program" ]; then  # nobody made it while we waited
      folder=$(mktemp -d)
      GOBIN=$folder go install -trimpath \
        -ldflags "-s -w -X ${package%%/cmd/*}/internal/version.version=$version" "$1" >&2
      mv "$folder/$program" "$destination/$program.new"
      mv "$destination/$program.new" "$destination/$program"
      rmdir "$folder"
    fi
  fi
  echo "$destination/$program"
}

[ $# -gt 0 ] || set -- helm3 helm4 kubeconform
for name in "$@"; do
  [ -n "${modules[$name]:-}" ] || { echo "usage: $0 [helm3|helm4|kubeconform]..." >&2; exit 2; }
  install "${modules[$name]}"
done
