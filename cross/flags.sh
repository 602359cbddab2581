# Read by build.sh and cross.sh: the targets, the builds, and the compilers' flags. `prefixes` are the
# directories that must not appear in a binary, as OLD=NEW words. cross/README.md lists what each flag saves.
# How SQLite is compiled stands in .cargo/config.toml, for every build alike: what is tested is what ships.
# shellcheck shell=sh disable=SC2034 # the variables are for those scripts

all_targets='x86_64-unknown-linux-musl aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf'

# Prints the cargo options that select the features of a build.
features() {
	case $1 in
	lan) echo --no-default-features ;;
	appliance) echo '--no-default-features --features tls' ;;
	full) ;;
	*)
		echo "there is no build $1; there are lan, appliance and full" >&2
		exit 2
		;;
	esac
}

std='-Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size'

# A static-pie, which the kernel loads at a random address: what root runs on strangers' strings needs that.
# Its relocations are packed (RELR, which musl knows since 1.2.4). A panic aborts at once: there is no unwinder,
# there are no tables for it, and no messages.
rust_flags='-Clink-self-contained=no -Clink-arg=-static-pie -Clink-arg=-Wl,--pack-dyn-relocs=relr -Csymbol-mangling-version=v0 -Zunstable-options -Cpanic=immediate-abort -Cforce-unwind-tables=no -Zfmt-debug=shallow -Cllvm-args=-enable-machine-outliner=always'
c_flags='-Oz -fPIE -fno-asynchronous-unwind-tables -fno-unwind-tables'
for prefix in ${prefixes:?}; do
	rust_flags="$rust_flags --remap-path-prefix=$prefix"
	c_flags="$c_flags -ffile-prefix-map=$prefix"
done

# Prints rustc's flags for a target. Thumb-2, which every ARMv7 has, is smaller.
rust_flags_for() {
	case $1 in
	armv7-*) echo "$rust_flags -Ctarget-feature=+thumb-mode" ;;
	*) echo "$rust_flags" ;;
	esac
}
