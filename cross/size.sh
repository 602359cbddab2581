#!/bin/sh
# Usage: sh cross/size.sh
#
# Prints a table of the binaries in dist/: the bytes of each, and where they are by the linker's maps in target/cross.
set -eu
cd "$(dirname "$0")/.."

row() {
	printf '| %-9s | %-30s | %9s | %7s | %7s | %7s | %7s | %7s | %7s |\n' "$@"
}
set -- dist/ssh-session-notifier-*
[ -e "$1" ] || { echo "dist/ has no binaries: run make dist first" >&2 && exit 1; }
row build target file SQLite TLS std ours other rest
row --- --- ---: ---: ---: ---: ---: ---: ---:
for binary in "$@"; do
	name=${binary##*/ssh-session-notifier-}
	build=${name%%-*} target=${name#*-}
	size=$(stat -c %s "$binary")
	if [ -e "target/cross/$name.map" ]; then
		# shellcheck disable=SC2046 # seven numbers
		row "$build" "$target" $(awk -v "file=$size" -f cross/size.awk "target/cross/$name.map")
	else
		row "$build" "$target" "$size" - - - - - -
	fi
done
