#!/bin/sh
# Usage: sh tests/setup.sh build|test|dist-test|check|bench
# Installs what is missing for it from Debian's packages when root, otherwise says what that is.
set -eu

packages=
newer=
# need COMMAND PACKAGE: has the package installed unless the command is there.
need() {
	PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 || packages="$packages $2"
}

if ! command -v cargo >/dev/null 2>&1; then
	echo "missing: cargo and rustc 1.95 or newer" >&2
	exit 1
fi
minor=$(rustc --version | sed -n 's/^rustc 1\.\([0-9]*\).*/\1/p')
if [ "${minor:-99}" -lt 95 ]; then
	echo "$(rustc --version) is too old: 1.95 or newer is needed" >&2
	exit 1
fi
need cc gcc
[ -e /usr/include/stdlib.h ] || packages="$packages libc6-dev"
case $1 in
build) ;;
check) need shellcheck shellcheck ;;
test)
	need sshd openssh-server
	need ssh openssh-client
	need pamtester pamtester
	need ip iproute2
	need busybox busybox-static
	need nginx nginx-light
	need openssl openssl
	need strace strace
	need shellcheck shellcheck
	need python3 python3
	need unshare util-linux
	need unionfs unionfs-fuse
	need mkfs.ext4 e2fsprogs
	need sqlite3 sqlite3
	need /usr/bin/time time
	need faketime faketime
	need systemd-analyze systemd
	[ -e /usr/share/zoneinfo/Pacific/Auckland ] || packages="$packages tzdata"
	# An older release than the built-in zones' will do, but one test of them is skipped then.
	table=$(sed -n '1s/^# tzdata \([^,]*\),.*/\1/p' "$(dirname "$0")/../src/tz/table/zones.txt")
	here=$(sed -n '1s/^# version //p' /usr/share/zoneinfo/tzdata.zi 2>/dev/null) || here=$table
	! expr "x$here" \< "x$table" >/dev/null || newer=tzdata
	[ -e /usr/lib/python3/dist-packages/jsonschema ] || packages="$packages python3-jsonschema"
	;;
bench)
	need python3 python3
	need musl-gcc musl-tools
	need strace strace
	need curl curl
	need sqlite3 sqlite3
	need sshd openssh-server
	need ssh openssh-client
	need unshare util-linux
	;;
dist-test)
	need busybox busybox-static
	need nginx nginx-light
	need openssl openssl
	need strace strace
	need /usr/bin/time time
	need faketime faketime
	need qemu-arm qemu-user
	need qemu-arm-static qemu-user-static
	;;
*)
	echo "usage: sh tests/setup.sh build|test|dist-test|check|bench" >&2
	exit 2
	;;
esac

[ -n "$packages$newer" ] || exit 0
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
	export DEBIAN_FRONTEND=noninteractive
	if [ -n "$newer" ]; then
		{ apt-get update -qq && apt-get install -y -qq --only-upgrade "$newer"; } >/dev/null 2>&1 ||
			echo "$newer is old and could not be upgraded"
	fi
	[ -n "$packages" ] || exit 0
	echo "installing:$packages"
	# A server that a package brings must not be started here. Word splitting is what is wanted.
	# shellcheck disable=SC2086
	if apt-get update -qq && RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $packages >/dev/null; then
		exit 0
	fi
fi
[ -n "$packages" ] || exit 0
echo "missing Debian packages:$packages" >&2
echo "install them with: apt-get install$packages" >&2
# Tests that need them skip themselves by name; nothing is built without a compiler.
case $packages in *gcc* | *libc6-dev*) exit 1 ;; esac
