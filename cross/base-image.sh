#!/bin/sh
# Usage: sh cross/base-image.sh ENGINE
#
# Provides the image debian:bookworm, on which Dockerfile is based: from a registry or, if none can be reached, by
# debootstrap from this machine's Debian mirror. Needs root and Debian.
set -eu

image=docker.io/library/debian:bookworm
engine=$1
if "$engine" image inspect $image >/dev/null 2>&1 || timeout 120 "$engine" pull -q $image >/dev/null 2>&1; then
	exit 0
fi
command -v debootstrap >/dev/null 2>&1 || apt-get install -y -qq --no-install-recommends debootstrap >/dev/null

mirror=
sources=/etc/apt/sources.list.d/debian.sources
[ ! -e $sources ] || mirror=$(awk '/^URIs:/ { print $2; exit }' $sources)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT INT TERM
debootstrap --variant=minbase --include=ca-certificates bookworm "$root" ${mirror:+"$mirror"} >/dev/null
if [ -e $sources ]; then
	cp $sources "$root/etc/apt/sources.list.d/"
	: >"$root/etc/apt/sources.list"
fi
# The machine's own authorities, which its connections may need.
for authority in /usr/local/share/ca-certificates/*.crt; do
	[ ! -e "$authority" ] || cp "$authority" "$root/usr/local/share/ca-certificates/"
done
chroot "$root" update-ca-certificates >/dev/null
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
tar -C "$root" -c . | "$engine" import --change 'CMD ["/bin/bash"]' - $image >/dev/null
