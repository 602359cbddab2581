# Read by build.sh and cross.sh: what is built, and how it is compiled. `prefixes` are the directories
# that no binary may tell of, as OLD=NEW words. cross/README.md has a table of what each flag brings.
# shellcheck shell=sh disable=SC2034 # the variables are for those scripts

all_targets='x86_64-unknown-linux-musl aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf'

# Prints the features of a build.
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

# A panic aborts at once: no unwinder, no tables for it, no messages. `{:?}` prints names without what they
# hold; no message of ours needs more.
rust_flags='-Clink-self-contained=no -Crelocation-model=static -Csymbol-mangling-version=v0 -Zunstable-options -Zfmt-debug=shallow -Cpanic=immediate-abort -Cforce-unwind-tables=no -Cllvm-args=-enable-machine-outliner=always'
c_flags='-Oz -fno-pic -fno-asynchronous-unwind-tables -fno-unwind-tables'
for prefix in ${prefixes:?}; do
	rust_flags="$rust_flags --remap-path-prefix=$prefix"
	c_flags="$c_flags -ffile-prefix-map=$prefix"
done

# Prints the flags for a target. Thumb-2, which every ARMv7 has, is 30 % smaller.
rust_flags_for() {
	case $1 in
	armv7-*) echo "$rust_flags -Ctarget-feature=+thumb-mode" ;;
	*) echo "$rust_flags" ;;
	esac
}
