#!/usr/bin/env bash
# Installs the Debian packages that building images without a daemon uses, for programs that are not there yet. Needs root for
# those. Cargo for the relay, Go for Jaeger are not among them: Debian's are too old; https://rustup.rs and https://go.dev.
set -euo pipefail

declare -A programs=(
  [buildah]=buildah [debootstrap]=debootstrap [jlink]=default-jdk-headless [mvn]=maven
)
packages=()
for program in "${!programs[@]}"; do
  PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || packages+=("${programs[$program]}")
done
[ ${#packages[@]} -gt 0 ] || exit 0

command -v apt-get >/dev/null || {
  echo "This system has no apt-get; install these by its own means: ${packages[*]}" >&2
  exit 1
}
[ "$(id -u)" = 0 ] || {
  echo "Packages are missing (${packages[*]}); run tools/images/install.sh as root" >&2
  exit 1
}
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
