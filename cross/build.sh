#!/bin/sh
# Usage: sh cross/build.sh [TARGET…]
#
# Builds static musl binaries into dist/ with Debian's own compilers, without a container: for each
# target (default: all three) every build, and SHA256SUMS. As root it installs the packages that are
# missing, otherwise it says which.
#
#   BUILDS="…"   which builds (default "lan appliance full")
#   OUT=DIR      where the binaries go (default dist)
#   WORK=DIR     where everything else goes (default target/cross)
set -eu
cd "$(dirname "$0")/.."

mkdir -p "${OUT:=dist}" "${WORK:=target/cross}"
out=$(realpath "$OUT")
work=$(realpath "$WORK")
prefixes="$PWD=. $work=work $(realpath -m "${CARGO_HOME:-$HOME/.cargo}")=cargo"
. cross/flags.sh

# The compiler and std's source come from Debian: rustup can't be relied on to have the targets.
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
		# RUST_LIBC_…: the C library's 64-bit time on 32-bit machines; without it, 2038 is the end.
		# shellcheck disable=SC2086 # one word an option
		env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS -u CFLAGS \
			RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 RUST_LIBC_UNSTABLE_MUSL_V1_2_3=1 \
			"CC_$name=$work/$target-cc" "CFLAGS_$name=$c_flags" "LINK_MAP=$work/$build-$target.map" \
			"CARGO_TARGET_${upper}_LINKER=$work/$target-cc" \
			"CARGO_TARGET_${upper}_RUSTFLAGS=$(rust_flags_for "$target")" \
			/usr/bin/cargo build --release --locked --target "$target" --target-dir "$work/cargo" $std $options
		cp "$work/cargo/$target/release/ssh-session-notifier" "$binary"
		if readelf -ldW "$binary" | grep -E 'INTERP|NEEDED'; then
			echo "cross/build.sh: $binary is not static" >&2
			exit 1
		fi
	done
done
(cd "$out" && sha256sum ssh-session-notifier-* >SHA256SUMS)
ls -l "$out"
