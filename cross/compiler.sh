#!/bin/sh
# Usage: sh cross/compiler.sh TARGET DIRECTORY
#
# Makes DIRECTORY/TARGET-cc, a compiler and linker for a musl target out of Debian's gcc for that
# architecture and Debian's musl-dev, which is only unpacked. Both ways to build use it: build.sh on
# the machine itself, Dockerfile in the image for `cross`. As root it installs what is missing.
# With LINK_MAP=FILE in its environment, that compiler writes where each linked byte comes from.
set -eu

target=$1
mkdir -p "$2"
dir=$(realpath "$2")

# A target is what Debian calls its compiler and architecture, what musl calls it, and flags.
flags=''
case $target in
x86_64-unknown-linux-musl)
	gcc=x86_64-linux-gnu-gcc package=gcc-x86-64-linux-gnu arch=amd64 musl=x86_64-linux-musl
	;;
aarch64-unknown-linux-musl)
	gcc=aarch64-linux-gnu-gcc package=gcc-aarch64-linux-gnu arch=arm64 musl=aarch64-linux-musl
	# Outlined atomics ask glibc which instructions there are.
	flags='-mno-outline-atomics'
	;;
armv7-unknown-linux-musleabihf)
	gcc=arm-linux-gnueabihf-gcc package=gcc-arm-linux-gnueabihf arch=armhf musl=arm-linux-musleabihf
	# Thumb-2, which every ARMv7 has, is smaller.
	flags='-march=armv7-a+fp -mthumb'
	;;
*)
	echo "cross/compiler.sh: no target $target; cross/README.md says how to add one" >&2
	exit 2
	;;
esac
[ "$(dpkg --print-architecture)" != $arch ] || package=gcc

if ! command -v $gcc >/dev/null 2>&1; then
	if [ "$(id -u)" -ne 0 ]; then
		echo "missing; install it with: apt-get install --no-install-recommends $package" >&2
		exit 1
	fi
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $package >/dev/null
fi

root=$dir/musl-$arch
lib=$root/usr/lib/$musl
if [ ! -e "$lib/libunwind.a" ]; then
	apt=$dir/apt-$arch
	rm -rf "$root" "$apt"
	mkdir -p "$root" "$apt/lists/partial" "$apt/cache/archives/partial"
	: >"$apt/status"
	# apt is told of another architecture and other directories, so that this machine's stay as they are.
	apt() {
		apt-get -qq -o "Dir::State::lists=$apt/lists" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt/cache" \
			-o "APT::Architecture=$arch" -o "APT::Architectures=$arch" -o APT::Sandbox::User=root "$@"
	}
	# An index that is just being replaced on the mirror is no matter if the package is in another one.
	apt update || true
	(cd "$apt" && apt download musl-dev)
	dpkg -x "$apt"/musl-dev_*.deb "$root"
	rm -rf "$apt"
	# std asks for an unwinder by this name. Nothing unwinds here, so an empty one will do.
	ar rcD "$lib/libunwind.a"
fi

# As musl's own musl-gcc does it.
cat >"$dir/$target.specs" <<END
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
%{static-pie:$lib/rcrt1.o $lib/crti.o crtbeginS.o%s; :$lib/crt1.o $lib/crti.o crtbeginT.o%s}

*endfile:
%{static-pie:crtendS.o%s; :crtend.o%s} $lib/crtn.o

*link:
-nostdlib -static %{static-pie:-pie --no-dynamic-linker -z text} %{rdynamic:-export-dynamic}

END
cat >"$dir/$target-cc" <<END
#!/bin/sh
exec $gcc -specs "$dir/$target.specs" $flags \${LINK_MAP:+"-Wl,-Map=\$LINK_MAP"} "\$@"
END
chmod +x "$dir/$target-cc"
