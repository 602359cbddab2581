# Targets, builds and the compilers' flags, for build.sh and cross.sh. `prefixes` are directories that must not appear
# in a binary, as OLD=NEW words. cross/levers.sh prints how much each flag saves. SQLite's flags are in
# .cargo/config.toml, the same for every build, so that the tested code is the code that ships.
# shellcheck shell=sh disable=SC2034 # the variables are for those scripts

all_targets='x86_64-unknown-linux-musl aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf'

# Prints the cargo options that select the features of a build.
features() {
	case $1 in
	lan) echo --no-default-features ;;
	appliance) echo '--no-default-features --features tls' ;;
	appliance+*) echo "--no-default-features --features tls,${1#appliance+}" ;;
	full) ;;
	*)
		echo "unknown build: $1; there are lan, appliance and full" >&2
		exit 2
		;;
	esac
}

std='-Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size'

# A static-pie, which the kernel loads at a random address, because root runs it on strangers' strings. Its relocations
# are packed (RELR, which needs musl 1.2.4). A panic aborts at once, without a message, so there are no unwinder and no
# unwind tables.
rust_flags='-Clink-self-contained=no -Clink-arg=-static-pie -Clink-arg=-Wl,--pack-dyn-relocs=relr'
rust_flags="$rust_flags -Csymbol-mangling-version=v0 -Zunstable-options -Cpanic=immediate-abort"
rust_flags="$rust_flags -Cforce-unwind-tables=no -Zfmt-debug=shallow -Cllvm-args=-enable-machine-outliner=always"
c_flags='-Oz -fPIE -fno-asynchronous-unwind-tables -fno-unwind-tables'
for prefix in ${prefixes:?}; do
	rust_flags="$rust_flags --remap-path-prefix=$prefix"
	c_flags="$c_flags -ffile-prefix-map=$prefix"
done

# Prints rustc's flags for a target. Every ARMv7 has Thumb-2, and it is smaller.
rust_flags_for() {
	case $1 in
	armv7-*) echo "$rust_flags -Ctarget-feature=+thumb-mode" ;;
	*) echo "$rust_flags" ;;
	esac
}
