#!/usr/bin/env bash
# Builds the cluster's programs into the cache, each only when it is not there as its sources say; prints their folder.
# From nothing about 15 minutes on two cores (Kubernetes itself 10, metrics-server 4); needs Go and a C compiler.
#   kube            etcd, apiserver, controller-manager, scheduler, kubelet, kube-proxy, by the name it is called by
#   kubectl, coredns, metrics-server, helm, pause (process 1 of a pod), probe (for the tests of the cluster)
# The versions are those of node/go.mod and node/go.sum, which belong together: they are not to be tidied.
set -euo pipefail
METRICS_SERVER=v0.9.0
HERE=$(cd "$(dirname "$0")" && pwd)
CACHE=${PARLEY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/parley}
VERSION=$(sed -n 's/^\tk8s\.io\/kubernetes v//p' "$HERE/node/go.mod")
BIN=$CACHE/kubernetes-$VERSION/bin
export CGO_ENABLED=0 GOFLAGS=-buildvcs=false

mkdir -p "$BIN"
exec 9>"$CACHE/kubernetes-$VERSION/.lock"
flock 9

# build NAME SOURCES COMMAND...: runs a command that writes $BIN/NAME.new, unless NAME was made of the same before.
build() {
  local name=$1 key began=$SECONDS
  key=$(cd "$HERE" && { cat /dev/null $2; printf '%s\n' "${@:3}"; } | sha256sum)
  shift 2
  if [ ! -x "$BIN/$name" ] || [ "$(cat "$BIN/.$name.key" 2>/dev/null)" != "$key" ]; then
    command -v go >/dev/null || { echo "Go 1.26 is needed to build $name, and is not installed (https://go.dev/dl)" >&2; exit 1; }
    command -v gcc >/dev/null || { echo "gcc is needed to build $name, and is not installed (Debian package gcc)" >&2; exit 1; }
    echo "building $name" >&2
    "$@" >&2
    mv "$BIN/$name.new" "$BIN/$name"
    echo "$key" >"$BIN/.$name.key"
    echo "built $name in $((SECONDS - began)) s" >&2
  fi
}

go_program() {  # go_program NAME FLAGS: of this module
  (cd "$HERE/node" && go build -trimpath -ldflags "$2" -o "$BIN/$1.new" "./cmd/$1")
}

pause() {
  gcc -O2 -static -s -o "$BIN/pause.new" "$HERE/node/pause.c"
}

metrics_server() {  # of a module of its own, whose versions are not ours
  local folder
  folder=$(mktemp -d)
  GOBIN=$folder go install -trimpath -ldflags "-s -w" "sigs.k8s.io/metrics-server/cmd/metrics-server@$1"
  mv "$folder/metrics-server" "$BIN/metrics-server.new"
  rmdir "$folder"
}

# Kubernetes takes its version from the linker.
minor=${VERSION#*.}
minor=${minor%%.*}
flags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  flags+=" -X $package.gitVersion=v$VERSION -X $package.gitMajor=1 -X $package.gitMinor=$minor"
  flags+=" -X $package.gitTreeState=clean -X $package.gitCommit=local -X $package.buildDate=2026-01-01T00:00:00Z"
done
build kube "node/go.mod node/go.sum node/cmd/kube/main.go" go_program kube "$flags"
build kubectl "node/go.mod node/go.sum node/cmd/kubectl/main.go" go_program kubectl "$flags"
build coredns "node/go.mod node/go.sum node/cmd/coredns/main.go" go_program coredns "-s -w"
build probe "node/cmd/probe/main.go" go_program probe "-s -w"
build pause "node/pause.c" pause
build metrics-server "" metrics_server $METRICS_SERVER
for name in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy; do
  ln -sfn kube "$BIN/$name"
done
ln -sfn "$("$HERE/../install-helm.sh" helm3)" "$BIN/helm"
echo "$BIN"
