#!/bin/sh
# Usage: sh cross/services.sh [TARGET]
#
# Prints how many bytes each optional service adds to the appliance build (default: for x86_64). A build takes a minute
# or two.
set -eu
cd "$(dirname "$0")/.."

target=${1:-x86_64-unknown-linux-musl}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT INT TERM

# size BUILD: prints the size of a build.
size() {
	BUILDS=$1 OUT=$out WORK=target/services sh cross/build.sh "$target" >"$out/log" 2>&1 ||
		{ tail -n 20 "$out/log" >&2 && return 1; }
	stat -c %s "$out/ssh-session-notifier-$1-$target"
}

appliance=$(size appliance)
services=$(sed -n 's/^default = \["tls", "\(.*\)"\]$/\1/p' Cargo.toml | sed 's/", "/ /g')
echo "appliance for $target: $appliance bytes"
for service in $services; do
	printf '| %-10s | %7s |\n' "$service" "$(($(size "appliance+$service") - appliance))"
done
printf '| %-10s | %7s |\n' "all" "$(($(size full) - appliance))"
