#!/usr/bin/env bash
# Gets what the tests use besides Python packages, and says plainly what could not be had.
# With CI=true something missing is an error.
set -uo pipefail
cd "$(dirname "$0")"
missing=()

want() {  # want NAME COMMAND...
  local name=$1 log
  shift
  log=$(mktemp)
  if ! "$@" >"$log" 2>&1; then
    missing+=("$name: $(tail -n 1 "$log")")
  fi
  rm -f "$log"
}

want "Debian packages" ./install-debian.sh
want "Kerberos" ./install-kerberos.sh
want "Kafka" ./install-kafka.sh
want "Jaeger" ./install-jaeger.sh
want "JsSIP" ./install-jssip.sh
want "helm 3, helm 4 and kubeconform" ./install-helm.sh
want "schemas of Kubernetes" ./install-kubernetes-schemas.sh
want "checkov" ./install-checkov.sh
want "promtool" ./install-promtool.sh

if [ ${#missing[@]} -gt 0 ]; then
  echo "The tests that need these are skipped, as they could not be installed here:"
  printf '  %s\n' "${missing[@]}"
  if [ "${CI:-}" = true ]; then exit 1; fi
fi
exit 0
