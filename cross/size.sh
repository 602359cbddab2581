#!/bin/sh
# Usage: sh cross/size.sh [DIRECTORY]
#
# Prints a table of what is in DIRECTORY (default dist): bytes of each stripped binary, and where they
# are, as the linker's maps in WORK (default target/cross) say. `make dist` must have built them.
set -eu
cd "$(dirname "$0")/.."

out=${1:-dist}
work=${WORK:-target/cross}
row() {
	printf '| %-9s | %-30s | %9s | %7s | %7s | %7s | %7s | %7s | %7s |\n' "$@"
}
set -- "$out"/ssh-session-notifier-*
[ -e "$1" ] || { echo "nothing is built: run make dist first" >&2 && exit 1; }
row build target file SQLite TLS std ours other rest
row --- --- ---: ---: ---: ---: ---: ---: ---:
for binary in "$@"; do
	name=${binary##*/ssh-session-notifier-}
	build=${name%%-*} target=${name#*-}
	size=$(stat -c %s "$binary")
	if [ -e "$work/$name.map" ]; then
		# shellcheck disable=SC2046 # seven numbers
		row "$build" "$target" $(awk -v "file=$size" -f cross/size.awk "$work/$name.map")
	else
		row "$build" "$target" "$size" - - - - - -
	fi
done
