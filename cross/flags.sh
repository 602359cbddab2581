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
# hold; no message of ours needs more. RELRO would be for nothing: in a static program that is loaded at a
# fixed address nobody makes that memory read-only.
rust_flags='-Clink-self-contained=no -Crelocation-model=static -Crelro-level=off -Csymbol-mangling-version=v0 -Zunstable-options -Cpanic=immediate-abort -Cforce-unwind-tables=no -Zfmt-debug=shallow -Cllvm-args=-enable-machine-outliner=always'
c_flags='-Oz -fno-pic -fno-asynchronous-unwind-tables -fno-unwind-tables -fno-tree-dominator-opts -fno-move-loop-invariants -fno-caller-saves'
for prefix in ${prefixes:?}; do
	rust_flags="$rust_flags --remap-path-prefix=$prefix"
	c_flags="$c_flags -ffile-prefix-map=$prefix"
done

# ALTER TABLE, ANALYZE and VACUUM: SQLite's parser knows them, but no statement of ours is one, and nothing
# in a database's schema can be. What the parser would call for them ends the program.
c_flags="$c_flags -DSQLITE_OMIT_ALTERTABLE -DSQLITE_OMIT_ANALYZE -DSQLITE_OMIT_VACUUM"
left_out='sqlite3AlterAddConstraint sqlite3AlterBeginAddColumn sqlite3AlterDropColumn sqlite3AlterDropConstraint
sqlite3AlterFinishAddColumn sqlite3AlterRenameColumn sqlite3AlterRenameTable sqlite3AlterSetNotNull
sqlite3Analyze sqlite3PagerClearCache sqlite3Vacuum'
for function in $left_out; do
	rust_flags="$rust_flags -Clink-arg=-Wl,--defsym=$function=abort"
done
# For SQL's CURRENT_TIME, which no statement of ours has, SQLite would bring in the C library's calendar and
# its printf, and so would a thread's name. Instead of both stands what does nothing and answers 0: a thread
# has no name then, and CURRENT_TIME is NULL, for without a result of gmtime SQLite doesn't go on to strftime.
for function in gmtime strftime pthread_setname_np; do
	rust_flags="$rust_flags -Clink-arg=-Wl,--defsym=$function=sched_yield"
done

# Prints the C compiler's flags for a target.
c_flags_for() {
	case $1 in
	x86_64-*) echo "$c_flags -fno-jump-tables -fno-inline-functions-called-once" ;;
	aarch64-*) echo "$c_flags -fno-shrink-wrap" ;;
	*) echo "$c_flags" ;;
	esac
}

# Prints rustc's flags for a target. Thumb-2, which every ARMv7 has, is smaller. On x86_64 an address
# in a large stack frame takes three bytes more: functions that need much of it stay on their own.
rust_flags_for() {
	case $1 in
	armv7-*) echo "$rust_flags -Ctarget-feature=+thumb-mode" ;;
	x86_64-*) echo "$rust_flags -Cllvm-args=-inline-max-stacksize=256" ;;
	*) echo "$rust_flags" ;;
	esac
}
