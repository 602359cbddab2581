#!/bin/sh
# Usage: sh tests/setup.sh build|test|dist-test|check|bench
#
# Provides missing programs from Debian's packages. As root it installs them, without removing anything that is
# installed; otherwise it lists them. A package is only unpacked below target/tools, where the tests look first, if it
# would start a service, change how the kernel starts programs, or conflict with common packages.
set -eu
umask 022
cd "$(dirname "$0")/.."

case ${CARGO_TARGET_DIR:-target} in
/*) tools=$CARGO_TARGET_DIR/tools ;;
*) tools=$PWD/${CARGO_TARGET_DIR:-target}/tools ;;
esac
libraries=
for directory in "$tools"/usr/lib/*-linux-*; do
	libraries=$libraries:$directory:$directory/systemd
done
PATH=$PATH:/usr/sbin:/sbin
install='' unpack=''

# need PACKAGES COMMAND…: asks for the packages to be installed unless the command succeeds.
need() {
	works "$@" || install="$install $1"
}

# need_unpacked PACKAGE COMMAND…: asks for the package to be unpacked unless the command succeeds.
need_unpacked() {
	works "$@" || unpack="$unpack $1"
}

# need_mounted PACKAGE COMMAND…: the same for a program that needs its own files below /usr: the tests mount the
# unpacked package over /usr. If root can't do that (in some containers), the package is installed.
need_mounted() {
	if [ "$(id -u)" -ne 0 ] || works mount unshare --mount mount -t overlay -o lowerdir=/usr/bin:/usr/lib tools /usr; then
		need_unpacked "$@"
	else
		need "$@"
	fi
}

# works NAME COMMAND…: whether the command succeeds with the installed and unpacked programs.
works() (
	shift
	PATH=$tools/usr/bin:$tools/usr/sbin:$PATH
	export LD_LIBRARY_PATH="${libraries#:}"
	"$@" >/dev/null 2>&1
)

has() {
	command -v "$1"
}

compiles() {
	echo '#include <stdlib.h>' | cc -fsyntax-only -x c -
}

# Whether there is a static busybox with crond. Debian's package `busybox` is neither static nor has crond.
is_full_busybox() {
	busybox=$(command -v busybox) && "$busybox" --list | grep -qx crond && ! head -c 4096 "$busybox" | grep -aq /lib
}

# `-e` needs nginx 1.19.5.
nginx_has_tls() {
	nginx -e stderr -V 2>&1 | grep -q -- --with-http_ssl_module
}

# squid doesn't start without its error pages.
has_squid() {
	has squid && { [ -d "$tools/usr/share/squid/errors" ] || [ -d /usr/share/squid/errors ]; }
}

shifts_time() {
	[ "$(faketime -f '@2001-02-03 04:05:06' date +%Y)" = 2001 ]
}

# Debian's package is for Debian's interpreter.
has_aiosmtpd() {
	/usr/bin/python3 -c 'import aiosmtpd'
}

has_jsonschema() {
	/usr/bin/python3 -c 'import jsonschema; jsonschema.Draft202012Validator'
}

need_sshd() {
	need openssh-client has ssh-keygen
	need_mounted openssh-server has sshd
}

# Whether the host's zones are as new as the built-in ones: a test is skipped if they are older. Only root can change
# that, so for other users this succeeds.
is_tzdata_current() {
	[ -e /usr/share/zoneinfo/Pacific/Auckland ] || return 1
	[ "$(id -u)" -eq 0 ] || return 0
	table=$(sed -n '1s/^# tzdata \([^,]*\),.*/\1/p' src/tz/table/zones.txt)
	here=$(sed -n '1s/^# version //p' /usr/share/zoneinfo/tzdata.zi) || return 0
	! expr "x$here" \< "x$table"
}

if ! has cargo >/dev/null || ! has rustc >/dev/null; then
	echo "cargo or rustc is missing: install Rust 1.95 or newer, for example from https://rustup.rs" >&2
	exit 1
fi
minor=$(rustc --version | sed -n 's/^rustc 1\.\([0-9]*\).*/\1/p')
if [ "${minor:-99}" -lt 95 ]; then
	echo "$(rustc --version) is too old: install 1.95 or newer, for example with rustup update" >&2
	exit 1
fi
need 'gcc libc6-dev' compiles
case ${1-} in
build) ;;
check) need shellcheck has shellcheck ;;
test)
	need_sshd
	need pamtester has pamtester
	need iproute2 has ip
	need openssl has openssl
	need strace has strace
	need shellcheck has shellcheck
	need python3 has python3
	need python3-jsonschema has_jsonschema
	need python3-aiosmtpd has_aiosmtpd
	need e2fsprogs has mkfs.ext4
	need time test -x /usr/bin/time
	need faketime shifts_time
	need tzdata is_tzdata_current
	need dnsmasq-base has dnsmasq
	need tinyproxy-bin has tinyproxy
	need_unpacked squid has_squid
	need_unpacked busybox-static is_full_busybox
	need_unpacked nginx nginx_has_tls
	need_unpacked exim4-daemon-light has exim4
	need_unpacked msmtp has msmtp
	need_mounted unionfs-fuse has unionfs
	need_unpacked systemd has systemd-analyze
	need_unpacked systemd-container has systemd-nspawn
	;;
bench)
	need_sshd
	need python3 has python3
	need musl-tools has musl-gcc
	need strace has strace
	need curl has curl
	;;
dist-test)
	need openssl has openssl
	need strace has strace
	need time test -x /usr/bin/time
	need faketime shifts_time
	need qemu-user has qemu-arm
	need_unpacked qemu-user-static has qemu-arm-static
	need_unpacked busybox-static is_full_busybox
	need_unpacked nginx nginx_has_tls
	;;
*)
	echo "usage: sh tests/setup.sh build|test|dist-test|check|bench" >&2
	exit 2
	;;
esac
[ -n "$install$unpack" ] || exit 0

# Package lists and downloads are separate from the host's, so that any user can make them.
apt() {
	DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends -o APT::Sandbox::User=root \
		-o Dir::State::Lists="$tools/apt/lists" -o Dir::Cache="$tools/apt" -o DPkg::Lock::Timeout=300 "$@" \
		>"$tools/log" 2>&1
}

install_package() {
	echo "installing $1"
	apt install --no-remove "$1"
}

# Unpacks a package and its dependencies that aren't installed.
unpack_package() {
	echo "unpacking $1 in $tools"
	rm -rf "$tools/apt/archives"
	mkdir -p "$tools/apt/archives/partial"
	apt install --download-only -o Debug::NoLocking=1 "$1" || return
	for package in "$tools"/apt/archives/*.deb; do
		dpkg-deb --fsys-tarfile "$package" |
			tar -x -C "$tools" --exclude='./usr/share/[!s]*' --exclude='./usr/share/s[!q]*' --no-same-permissions \
				--keep-directory-symlink || return
	done
}

# each COMMAND PACKAGE…: runs a command for each package and collects those that it fails for.
each() {
	command=$1 failed=
	shift
	for name in "$@"; do
		"$command" "$name" || {
			cat "$tools/log" >&2
			failed="$failed $name"
		}
	done
}

if command -v apt-get >/dev/null 2>&1; then
	# Some packages still have files in /bin or /lib, which are links into /usr here too.
	for directory in bin sbin lib lib64; do
		mkdir -p "$tools/usr/$directory" "$tools/apt/lists/partial"
		[ -e "$tools/$directory" ] || ln -s "usr/$directory" "$tools/$directory"
	done
	apt update -o APT::Update::Error-Mode=any || cat "$tools/log" >&2
	# shellcheck disable=SC2086 # one word a package
	if [ "$(id -u)" -eq 0 ]; then
		each install_package $install
		install=$failed
	fi
	# shellcheck disable=SC2086
	each unpack_package $unpack
	unpack=$failed
	rm -rf "$tools/apt" "$tools/log"
fi
if [ -n "$install" ]; then
	echo "missing Debian packages:$install; install them as root: apt-get install$install" >&2
fi
if [ -n "$unpack" ]; then
	echo "cannot download the Debian packages$unpack, to unpack them in $tools: run this again with a network" >&2
fi
# Tests without their programs are skipped by name, but nothing can be built without a compiler.
works compiler compiles || exit 1
