#!/bin/sh
# Usage: sh cross/build.sh [TARGET…]
#
# Builds static musl binaries into dist/ with Debian's own compilers, without a container: for each
# target (default: all three) the `lan` build (no TLS) and the `tls` build, and SHA256SUMS.
# As root it installs the packages that are missing, otherwise it says which.
#
#   OUT=DIR      where the binaries go (default dist)
#   WORK=DIR     where everything else goes (default target/cross)
#   BUILDS="…"   which builds (default "lan tls")
set -eu
cd "$(dirname "$0")/.."

targets=${*:-"x86_64-unknown-linux-musl aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf"}
builds=${BUILDS:-lan tls}
out=${OUT:-dist}
work=${WORK:-target/cross}
mkdir -p "$out" "$work"
out=$(realpath "$out")
work=$(realpath "$work")

# What each target is called by Debian (compiler, package architecture) and by musl.
describe() {
	case $1 in
	x86_64-unknown-linux-musl)
		gcc=x86_64-linux-gnu-gcc package=gcc arch=amd64 musl=x86_64-linux-musl
		loader=ld-musl-x86_64.so.1 cflags='' rustflags=''
		;;
	aarch64-unknown-linux-musl)
		# Outlined atomics ask glibc which instructions there are.
		gcc=aarch64-linux-gnu-gcc package=gcc-aarch64-linux-gnu arch=arm64 musl=aarch64-linux-musl
		loader=ld-musl-aarch64.so.1 cflags='-mno-outline-atomics' rustflags=''
		;;
	armv7-unknown-linux-musleabihf)
		# Thumb-2, which every ARMv7 has, is 30 % smaller.
		gcc=arm-linux-gnueabihf-gcc package=gcc-arm-linux-gnueabihf arch=armhf musl=arm-linux-musleabihf
		loader=ld-musl-armhf.so.1 cflags='-march=armv7-a+fp -mthumb' rustflags='-Ctarget-feature=+thumb-mode'
		;;
	*)
		echo "cross/build.sh: no target $1; see cross/README.md for how to add one" >&2
		exit 2
		;;
	esac
}

# The compiler and std's source come from Debian: rustup can't be relied on to have the targets.
packages=
need() {
	[ -e "$1" ] || packages="$packages $2"
}
need /usr/bin/rustc rustc-web
need /usr/bin/cargo cargo-web
[ -n "$(find /usr/src -maxdepth 1 -name 'rustc-*' 2>/dev/null)" ] || packages="$packages rust-web-src"
for target in $targets; do
	describe "$target"
	command -v $gcc >/dev/null 2>&1 || packages="$packages $package"
done
if [ -n "$packages" ]; then
	if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
		echo "missing Debian packages; install them with: apt-get install$packages" >&2
		exit 1
	fi
	echo "installing:$packages"
	apt-get update -qq
	# shellcheck disable=SC2086 # one word a package
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
fi

# Unpacks Debian's musl for an architecture, without making it one of this machine's.
sysroot() {
	root=$work/sysroot-$arch
	[ -e "$root/usr/lib/$musl/libc.a" ] && return
	rm -rf "$root" "$work/apt-$arch"
	mkdir -p "$root" "$work/apt-$arch/lists/partial" "$work/apt-$arch/cache/archives/partial"
	: >"$work/apt-$arch/status"
	set -- -qq -o "Dir::State::lists=$work/apt-$arch/lists" -o "Dir::State::status=$work/apt-$arch/status" \
		-o "Dir::Cache=$work/apt-$arch/cache" -o "APT::Architecture=$arch" -o "APT::Architectures=$arch" \
		-o APT::Sandbox::User=root
	apt-get "$@" update
	(cd "$work/apt-$arch" && apt-get "$@" download musl-dev)
	dpkg -x "$work/apt-$arch"/musl-dev_*.deb "$root"
}

# Makes gcc compile and link against that musl, as musl's own musl-gcc does.
specs() {
	lib=$root/usr/lib/$musl
	cat >"$work/$target.specs" <<EOF
%rename cpp_options old_cpp_options

*cpp_options:
-nostdinc -isystem $root/usr/include/$musl -isystem include%s %(old_cpp_options)

*cc1:
%(cc1_cpu) -nostdinc -isystem $root/usr/include/$musl -isystem include%s

*link_libgcc:
-L$lib -L .%s

*libgcc:
libgcc.a%s %:if-exists(libgcc_eh.a%s)

*startfile:
$lib/crt1.o $lib/crti.o crtbeginT.o%s

*endfile:
crtend.o%s $lib/crtn.o

*link:
-nostdlib -static --dynamic-linker /lib/$loader %{rdynamic:-export-dynamic}

EOF
	# std asks for an unwinder by name. Nothing unwinds here, so an empty one will do.
	rm -f "$lib/libunwind.a"
	ar rcD "$lib/libunwind.a"
	cat >"$work/$target-cc" <<EOF
#!/bin/sh
exec $gcc -specs "$work/$target.specs" "\$@"
EOF
	chmod +x "$work/$target-cc"
}

# No unwind tables, no paths of this machine, and no panic messages: a panic aborts at once.
common="-Clink-self-contained=no -Crelocation-model=static -Cforce-unwind-tables=no \
-Zunstable-options -Cpanic=immediate-abort -Zlocation-detail=none \
--remap-path-prefix=$PWD=. --remap-path-prefix=$work=work --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
c_common="-Os -fno-asynchronous-unwind-tables -fno-unwind-tables -ffunction-sections -fdata-sections \
-ffile-prefix-map=$PWD=. -ffile-prefix-map=$work=work -ffile-prefix-map=${CARGO_HOME:-$HOME/.cargo}=cargo"

for target in $targets; do
	describe "$target"
	sysroot
	specs
	name=$(echo "$target" | tr - _)
	upper=$(echo "$name" | tr '[:lower:]' '[:upper:]')
	for build in $builds; do
		case $build in
		lan) features=--no-default-features ;;
		tls) features='--no-default-features --features tls' ;;
		*)
			echo "cross/build.sh: no build $build; there are lan and tls" >&2
			exit 2
			;;
		esac
		# The C library's 64-bit time on 32-bit machines: without it, 2038 is the end.
		# shellcheck disable=SC2086 # one word a flag
		env -u RUSTFLAGS RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 RUST_LIBC_UNSTABLE_MUSL_V1_2_3=1 \
			"CC_$name=$work/$target-cc" "CFLAGS_$name=$c_common $cflags" \
			"CARGO_TARGET_${upper}_LINKER=$work/$target-cc" \
			"CARGO_TARGET_${upper}_RUSTFLAGS=$common $rustflags" \
			/usr/bin/cargo build --release --locked --target "$target" --target-dir "$work/$build" $features \
			-Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size
		cp "$work/$build/$target/release/ssh-session-notifier" "$out/ssh-session-notifier-$build-$target"
	done
done
(cd "$out" && sha256sum ssh-session-notifier-* >SHA256SUMS)
ls -l "$out"
