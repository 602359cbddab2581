#!/bin/sh
# Usage: sh cross/compiler.sh TARGET DIRECTORY
#
# Makes DIRECTORY/TARGET-cc, a compiler and linker for a musl target. It combines Debian's gcc for that
# architecture with Debian 13's musl-dev, which is unpacked, not installed. build.sh runs this script on
# the machine itself, Dockerfile runs it in the image for `cross`. It works on Debian 12 and 13. As root,
# it installs a missing gcc.
#
# With LINK_MAP=FILE in its environment, TARGET-cc writes the linker's map, which shows where each byte comes from.
set -eu

# Debian 12's musl is too old: its resolver cannot use TCP, so it fails on every truncated answer.
release=trixie version=1.2.5

target=$1
mkdir -p "$2"
dir=$(realpath "$2")

# Debian's names for the target's compiler and architecture, musl's name for the target, and extra flags.
flags=''
case $target in
x86_64-unknown-linux-musl)
	gcc=x86_64-linux-gnu-gcc package=gcc-x86-64-linux-gnu arch=amd64 musl=x86_64-linux-musl
	;;
aarch64-unknown-linux-musl)
	gcc=aarch64-linux-gnu-gcc package=gcc-aarch64-linux-gnu arch=arm64 musl=aarch64-linux-musl
	# Outline atomics need a function of glibc's that detects the processor's instructions.
	flags='-mno-outline-atomics'
	;;
armv7-unknown-linux-musleabihf)
	gcc=arm-linux-gnueabihf-gcc package=gcc-arm-linux-gnueabihf arch=armhf musl=arm-linux-musleabihf
	# Every ARMv7 has Thumb-2, and it is smaller.
	flags='-march=armv7-a+fp -mthumb'
	;;
*)
	echo "cross/compiler.sh: unknown target: $target; cross/README.md explains how to add one" >&2
	exit 2
	;;
esac
[ "$(dpkg --print-architecture)" != $arch ] || package=gcc

missing=''
command -v $gcc >/dev/null 2>&1 || missing=$package
command -v ld.lld >/dev/null 2>&1 || missing="$missing lld"
if [ -n "$missing" ]; then
	if [ "$(id -u)" -ne 0 ]; then
		echo "missing packages; install them with: apt-get install --no-install-recommends $missing" >&2
		exit 1
	fi
	apt-get update -qq
	# shellcheck disable=SC2086 # one word a package
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

root=$dir/musl-$version-$arch
lib=$root/usr/lib/$musl
if [ ! -e "$lib/libunwind.a" ]; then
	apt=$dir/apt-$arch
	rm -rf "$root" "$apt"
	mkdir -p "$root" "$apt/lists/partial" "$apt/cache/archives/partial"
	: >"$apt/status"
	# The mirrors that this machine uses, but with Debian 13's packages. Only what Debian has signed is
	# accepted, so another archive in the list does no harm.
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
	# shellcheck disable=SC2016 # apt expands what looks like commands
	apt-get --no-release-info indextargets 'Created-By: Packages' 'Component: main' \
		--format 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(REPO_URI) $(RELEASE) main' |
		sed -E "/cdrom:/d;s/ (stable|oldstable|$codename)((-[a-z]+)? main)$/ $release\2/" | sort -u >"$apt/sources.list"
	# apt gets its own configuration, lists and architecture here, so that the machine's stay unchanged.
	apt() {
		apt-get -qq -o "Dir::State::lists=$apt/lists" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt/cache" \
			-o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
			-o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null -o Acquire::Languages=none \
			-o "APT::Architecture=$arch" -o "APT::Architectures=$arch" -o APT::Sandbox::User=root "$@"
	}
	# One list may fail, for example while a mirror is being updated, as long as another has the package.
	apt update || true
	(cd "$apt" && apt download musl-dev)
	set -- "$apt/musl-dev_$version"-*.deb
	if [ ! -e "$1" ]; then
		echo "cross/compiler.sh: musl-dev $version of Debian's $release is not on the mirrors that apt uses" >&2
		exit 1
	fi
	dpkg -x "$1" "$root"
	rm -rf "$apt"
	# std wants to link with an unwinder of this name. Nothing unwinds here, so an empty one is enough.
	ar rcD "$lib/libunwind.a"
fi

# The same specs as those of musl's own musl-gcc.
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
# A cross compiler looks for its linker under this name in the directory of -B.
ln -sf "$(command -v ld.lld)" "$dir/ld.lld"
cat >"$dir/$target-cc" <<END
#!/bin/sh
exec $gcc -B "$dir" -fuse-ld=lld -specs "$dir/$target.specs" $flags \${LINK_MAP:+"-Wl,-Map=\$LINK_MAP"} "\$@"
END
chmod +x "$dir/$target-cc"
