#!/bin/sh
# Usage: sh cross/build.sh [TARGET…]
#
# Builds static musl binaries into dist/ with Debian's compilers, without a container: every build for each target
# (default: all three), and SHA256SUMS. As root it installs missing packages, otherwise it lists them.
#
#   BUILDS="…"   the builds (default "lan appliance full")
#   OUT=DIR      the directory for the binaries (default dist)
#   WORK=DIR     the directory for everything else (default target/cross)
set -eu
cd "$(dirname "$0")/.."

mkdir -p "${OUT:=dist}" "${WORK:=target/cross}"
out=$(realpath "$OUT")
work=$(realpath "$WORK")
prefixes="$PWD=. $work=work $(realpath -m "${CARGO_HOME:-$HOME/.cargo}")=cargo"
. cross/flags.sh

# The compiler and std's source come from Debian, because rustup doesn't have every target.
packages=
need() {
	[ -e "$1" ] || packages="$packages $2"
}
need /usr/bin/rustc rustc-web
need /usr/bin/cargo cargo-web
need /usr/bin/cc gcc
need /usr/include/stdlib.h libc6-dev
need /etc/ssl/certs/ca-certificates.crt ca-certificates
[ -n "$(find /usr/src -maxdepth 1 -name 'rustc-*' 2>/dev/null)" ] || packages="$packages rust-web-src"
if [ -n "$packages" ]; then
	if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
		echo "missing packages of Debian 12 (with its security archive); install them with:" >&2
		echo "  apt-get install --no-install-recommends$packages" >&2
		exit 1
	fi
	echo "installing:$packages"
	apt-get update -qq
	# shellcheck disable=SC2086 # one word a package
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
fi

targets=${*:-$all_targets}
for target in $targets; do
	sh cross/compiler.sh "$target" "$work"
	name=$(echo "$target" | tr - _)
	upper=$(echo "$name" | tr '[:lower:]' '[:upper:]')
	for build in ${BUILDS:-lan appliance full}; do
		options=$(features "$build")
		binary=$out/ssh-session-notifier-$build-$target
		rm -f "$binary"
		echo "building $build for $target"
		# RUST_LIBC_… selects 64-bit time on 32-bit machines; without it, the program fails in 2038.
		# shellcheck disable=SC2086 # one word an option
		env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS -u CFLAGS \
			RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 RUST_LIBC_UNSTABLE_MUSL_V1_2_3=1 \
			"CC_$name=$work/$target-cc" "CFLAGS_$name=$c_flags" "LINK_MAP=$work/$build-$target.map" \
			"CARGO_TARGET_${upper}_LINKER=$work/$target-cc" \
			"CARGO_TARGET_${upper}_RUSTFLAGS=$(rust_flags_for "$target")" \
			/usr/bin/cargo build --release --locked --target "$target" --target-dir "$work/cargo" $std $options
		cp "$work/cargo/$target/release/ssh-session-notifier" "$binary"
		if readelf -ldW "$binary" | grep -E 'INTERP|NEEDED'; then
			echo "cross/build.sh: $binary is not static: it needs the interpreter or libraries above" >&2
			exit 1
		fi
	done
done
(cd "$out" && sha256sum ssh-session-notifier-* >SHA256SUMS)
ls -l "$out"
