#!/usr/bin/env bash
# Installs the chart in the running cluster: builds the images that are not built yet, brings them to the nodes, and calls
# `helm upgrade --install`. What is there already is upgraded. At the end it says where Parley is reached, and by whom.
#
#   tools/cluster/install.sh [VALUES.yaml ...] [-- more arguments of helm]
#
# Environment: NAMESPACE (parley), RELEASE (parley); CLUSTER_WITHOUT_IMAGES=1 leaves the images as they are in the release.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
NAMESPACE=${NAMESPACE:-parley}
RELEASE=${RELEASE:-parley}

values=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do values+=(--values "$(realpath "$1")"); shift; done
[ "${1:-}" != -- ] || shift
[ ${#values[@]} -gt 0 ] || values=(--values "$ROOT/tests/cluster/values/default.yaml")
settings=$("$HERE/cluster.sh" env)
eval "$settings"
cd "$ROOT"

if [ "${CLUSTER_WITHOUT_IMAGES:-}" = 1 ]; then
  tag=$(helm get values "$RELEASE" --namespace "$NAMESPACE" --output json | python3 -c 'import json, sys; print(json.load(sys.stdin)["image"]["tag"])')
else
  images=$(tools/images/build.sh)
  tag=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["parley"]["ref"].rpartition(":")[2])' <<<"$images")
  mapfile -t archives < <(python3 -c 'import json, sys; print(*sorted({each["tar"] for each in json.load(sys.stdin).values()}), sep="\n")' <<<"$images")
  "$HERE/cluster.sh" load "${archives[@]}"
fi

kubectl create namespace "$NAMESPACE" --dry-run=client --output=yaml | kubectl apply --filename=- >/dev/null
kubectl label namespace "$NAMESPACE" pod-security.kubernetes.io/enforce=restricted --overwrite >/dev/null
helm upgrade --install "$RELEASE" charts/parley --namespace "$NAMESPACE" "${values[@]}" --set-string image.tag="$tag" \
  --wait --timeout 5m "$@" >/dev/null || {
  echo "install: helm gave up; these pods are not ready:" >&2
  kubectl --namespace "$NAMESPACE" get pods >&2
  exit 1
}

# Names of objects begin with what the values say, so they are found by label.
own="app.kubernetes.io/instance=$RELEASE"
users=$(kubectl --namespace "$NAMESPACE" get secrets --selector "$own,app.kubernetes.io/component=secrets" --output=name | grep -- '-given-demo$' || true)
addressbook=$(kubectl --namespace "$NAMESPACE" get deployments --selector "$own,app.kubernetes.io/component in (addressbook, core)" --output=name)
echo "$RELEASE runs in the namespace $NAMESPACE:"
kubectl get nodes --output=jsonpath='{range .items[*]}{.status.addresses[?(@.type=="InternalIP")].address}{"\n"}{end}' | while read -r address; do
  kubectl --namespace "$NAMESPACE" get services --selector "$own" --output=json | python3 -c '
import json, sys
for service in json.load(sys.stdin)["items"]:
    for port in service["spec"]["ports"]:
        if port.get("nodePort"):
            print("  %-12s %s:%d" % (port["name"], sys.argv[1], port["nodePort"]))' "$address"
done
[ -z "$users" ] || echo "Users: alice, bob and carol of the first domain; the password: kubectl -n $NAMESPACE get $users -o jsonpath='{.data.password}' | base64 -d"
echo "A user: kubectl -n $NAMESPACE exec -it $addressbook -- parley user add NAME@DOMAIN"
