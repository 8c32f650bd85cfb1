#!/usr/bin/env bash
# Writes a minimal Debian as a tar file:  debootstrap.sh SUITE OUT.tar
# Packages that are installed into it later leave out their documentation and translations too, as in Debian's own slim image.
set -euo pipefail
suite=$1 out=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
debootstrap --variant=minbase --include=ca-certificates,netbase,tzdata "$suite" "$work/root" >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; exit 1; }
cd "$work/root"
cat >etc/dpkg/dpkg.cfg.d/slim <<'CONF'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
CONF
find usr/share/doc -type f ! -name copyright -delete
find usr/share/doc -type l ! -name copyright -delete
find usr/share/doc -mindepth 1 -type d -empty -delete
rm -rf usr/share/man/* usr/share/info/* usr/share/locale/* var/cache/apt/* var/cache/debconf/*-old var/lib/apt/lists/* var/log/* etc/hostname etc/resolv.conf
tar --one-file-system --sort=name --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' --exclude='./tmp/*' -cf "$out.part" .
mv "$out.part" "$out"
