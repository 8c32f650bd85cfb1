#!/usr/bin/env bash
# Installs the Debian packages that a cluster of our own uses, for programs that are not there yet. Needs root for those.
# What is there is left alone, whatever package it came from (containerd of Docker serves as well).
set -euo pipefail

declare -A programs=(
  [containerd]=containerd [ctr]=containerd [runc]=runc [iptables]=iptables [nft]=nftables [ip]=iproute2
  [nsenter]=util-linux [unshare]=util-linux [mount]=mount [ethtool]=ethtool [conntrack]=conntrack
)
packages=()
for program in "${!programs[@]}"; do
  PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || packages+=("${programs[$program]}")
done
[ -x /usr/lib/cni/bridge ] || [ -x /opt/cni/bin/bridge ] || packages+=(containernetworking-plugins)
[ ${#packages[@]} -gt 0 ] || exit 0

command -v apt-get >/dev/null || {
  echo "This system has no apt-get; install these by its own means: $(printf '%s ' "${packages[@]}")" >&2
  exit 1
}
[ "$(id -u)" = 0 ] || {
  echo "Packages are missing (${packages[*]}); run tools/cluster/cluster.sh install-tools as root" >&2
  exit 1
}
export DEBIAN_FRONTEND=noninteractive
mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
