#!/usr/bin/env bash
# Installs Debian packages that the tests use: SIPp, baresip, Chromium, a JDK and Maven, and what the SIPE client of
# tests/interop/sipe is built with and loads; libnice; client programs of coturn; an MIT KDC and what the package gssapi is built with; OpenLDAP; networks to test NAT
# in. With `bench` also Kamailio.
# Does nothing for what is there already; needs root and apt for what is not.
set -euo pipefail

declare -A programs=(
  [sipp]=sip-tester [baresip]=baresip [chromium]=chromium [java]=default-jdk-headless [mvn]=maven
  [ip]=iproute2 [nft]=nftables [turnutils_uclient]=coturn [finch]=finch [gcc]=gcc [make]=make [pkg-config]=pkg-config
  [krb5kdc]=krb5-kdc [kadmin.local]=krb5-admin-server [kinit]=krb5-user [krb5-config]=libkrb5-dev
  [slapd]=slapd
)
declare -A libraries=(
  [purple]=libpurple-dev [json-glib-1.0]=libjson-glib-dev [gstreamer-1.0]=libgstreamer1.0-dev [libxml-2.0]=libxml2-dev [nice]=libnice-dev
)
declare -A files=(  # what is loaded when it is there
  ["/usr/lib/purple-2/libsipe.so"]=pidgin-sipe
  ["/usr/lib/*/libfarstream-0.2.so.5"]=libfarstream-0.2-5
  ["/usr/lib/*/gstreamer-1.0/libgstaudioconvert.so"]=gstreamer1.0-plugins-base
  ["/usr/lib/*/gstreamer-1.0/libgstrtp.so"]=gstreamer1.0-plugins-good
  ["/usr/lib/*/gstreamer-1.0/libgstsrtp.so"]=gstreamer1.0-plugins-bad
  ["/usr/lib/*/gstreamer-1.0/libgstnice.so"]=gstreamer1.0-nice
)
if [ "${1:-}" = bench ]; then
  programs[kamailio]="kamailio kamailio-redis-modules"
  files["/usr/lib/*/kamailio/modules/presence.so"]=kamailio-presence-modules
fi

packages=()
for program in "${!programs[@]}"; do
  if ! PATH=$PATH:/usr/sbin command -v "$program" >/dev/null; then
    # shellcheck disable=SC2206 # one program may need several packages
    packages+=(${programs[$program]})
  fi
done
for library in "${!libraries[@]}"; do
  pkg-config --exists "$library" 2>/dev/null || packages+=("${libraries[$library]}")
done
for file in "${!files[@]}"; do
  compgen -G "$file" >/dev/null || packages+=("${files[$file]}")
done
[ ${#packages[@]} -eq 0 ] && exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "not installed, and only root can on Debian: ${packages[*]}" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# coturn is there for its client programs, slapd is started by tests: neither now nor after a restart of the machine shall
# their servers take ports 3478 and 389.
mkdir -p /etc/systemd/system
for service in coturn slapd; do
  [ -e "/etc/systemd/system/$service.service" ] || ln -s /dev/null "/etc/systemd/system/$service.service"
done
apt-get install -y -qq --no-install-recommends "${packages[@]}"
