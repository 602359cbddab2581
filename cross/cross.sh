#!/bin/sh
# Usage: sh cross/cross.sh [TARGET…]
#
# Builds the same binaries as build.sh in containers, with `cross` 0.2.5 and podman or docker, but without rustup:
# cross gets a toolchain made of Debian's packages, and a `rustup` that knows only this toolchain. Needs root and
# Debian 12; installs missing packages.
#
#   BUILDS="…"   the builds (default "appliance")
#   CROSS_CONTAINER_ENGINE=…   podman or docker (default: a running docker, else podman, which is installed)
set -eu
cd "$(dirname "$0")/.."

out=$PWD/dist
work=$PWD/target/cross
mkdir -p "$out" "$work"
# cross mounts the project, the target directory and cargo's downloads here.
prefixes="/project=. /target=work/cargo /cargo=cargo"
. cross/flags.sh

if [ -z "${CROSS_CONTAINER_ENGINE-}" ]; then
	CROSS_CONTAINER_ENGINE=podman
	# docker may be only a client without its daemon.
	! docker info >/dev/null 2>&1 || CROSS_CONTAINER_ENGINE=docker
fi
packages='rustc-web cargo-web rust-web-src libstd-rust-web-dev gcc libc6-dev patchelf'
[ "$CROSS_CONTAINER_ENGINE" != podman ] || packages="$packages podman runc fuse-overlayfs netavark aardvark-dns iptables"
# shellcheck disable=SC2086 # one word a package
if ! dpkg -s $packages >/dev/null 2>&1; then
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
fi
export CROSS_CONTAINER_ENGINE CONTAINERS_CONF="${CONTAINERS_CONF-$PWD/cross/containers.conf}"
sh cross/base-image.sh "$CROSS_CONTAINER_ENGINE"

# A toolchain with rustup's layout: programs, their libraries, std and its source.
toolchain=$work/debian-x86_64-unknown-linux-gnu
if [ ! -e "$toolchain/bin/rustup" ]; then
	rm -rf "$toolchain"
	mkdir -p "$toolchain/bin" "$toolchain/lib/rustlib/src/rust"
	cp /usr/bin/rustc /usr/bin/rustdoc /usr/bin/cargo "$toolchain/bin/"
	libc='^(linux-vdso|libc|libm|libdl|libpthread|librt|libresolv|ld-linux.*)\.so'
	ldd /usr/bin/rustc /usr/bin/rustdoc /usr/bin/cargo | awk '$2 == "=>" { print $1, $3 }' | sort -u |
		grep -vE "$libc" | while read -r name file; do
		cp -L "$file" "$toolchain/lib/$name"
	done
	cp -a /usr/lib/rustlib/x86_64-unknown-linux-gnu "$toolchain/lib/rustlib/"
	cp -a /usr/src/rustc-*/library "$toolchain/lib/rustlib/src/rust/"
	for program in "$toolchain"/bin/*; do
		patchelf --set-rpath "\$ORIGIN/../lib" "$program"
	done
	for library in "$toolchain"/lib/*.so*; do
		patchelf --set-rpath "\$ORIGIN" "$library"
	done
	{
		echo '#!/bin/sh'
		echo '# Everything that cross 0.2.5 asks rustup about a custom toolchain.'
		echo "[ \"\$1 \$2\" = 'toolchain list' ] && echo debian-x86_64-unknown-linux-gnu"
	} >"$toolchain/bin/rustup"
	chmod +x "$toolchain/bin/rustup"
fi

export PATH="$work/tools/bin:$toolchain/bin:$PATH" CARGO_HOME="$work/cargo-home" RUSTUP_HOME="$work/rustup-home"
unset RUSTC RUSTFLAGS CFLAGS RUSTUP_TOOLCHAIN
[ -e "$work/tools/bin/cross" ] || cargo install cross --version 0.2.5 --locked --root "$work/tools"

export CROSS_CONFIG=cross/Cross.toml CROSS_CUSTOM_TOOLCHAIN=1 XARGO_HOME="$work/xargo-home"
export CARGO_TARGET_DIR="$work/container" RUSTC_BOOTSTRAP=1 RUST_LIBC_UNSTABLE_MUSL_V1_2_3=1
targets=${*:-$all_targets}
for target in $targets; do
	for build in ${BUILDS:-appliance}; do
		options=$(features "$build")
		# shellcheck disable=SC2086 # one word an option
		CFLAGS=$c_flags RUSTFLAGS=$(rust_flags_for "$target") cross build --release --locked --target "$target" $std $options
		binary=$out/ssh-session-notifier-$build-$target
		rm -f "$binary"
		cp "$CARGO_TARGET_DIR/$target/release/ssh-session-notifier" "$binary"
	done
done
(cd "$out" && sha256sum ssh-session-notifier-* >SHA256SUMS)
ls -l "$out"
