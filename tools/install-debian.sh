#!/usr/bin/env bash
# Installs Debian packages that the tests use: SIPp, baresip, Chromium, a JDK and Maven. With `bench` also Kamailio.
# Does nothing for what is there already; needs root and apt for what is not.
set -euo pipefail

declare -A programs=(
  [sipp]=sip-tester [baresip]=baresip [chromium]=chromium [java]=default-jdk-headless [mvn]=maven
)
if [ "${1:-}" = bench ]; then
  programs[kamailio]="kamailio kamailio-redis-modules"
fi

packages=()
for program in "${!programs[@]}"; do
  if ! PATH=$PATH:/usr/sbin command -v "$program" >/dev/null; then
    # shellcheck disable=SC2206 # one program may need several packages
    packages+=(${programs[$program]})
  fi
done
[ ${#packages[@]} -eq 0 ] && exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "not installed, and only root can on Debian: ${packages[*]}" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}"
