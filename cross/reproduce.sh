#!/bin/sh
# Usage: sh cross/reproduce.sh [TARGET [BUILD]]
#
# Builds one binary (default: lan for x86_64) again in another directory, and compares it with the
# one in dist/, which is built if it isn't there.
set -eu
cd "$(dirname "$0")/.."

target=${1:-x86_64-unknown-linux-musl} build=${2:-lan}
binary=dist/ssh-session-notifier-$build-$target
[ -e "$binary" ] || BUILDS=$build sh cross/build.sh "$target"
other=$(mktemp -d)
trap 'rm -rf "$other"' EXIT INT TERM
mkdir "$other/a-longer-name"
tar --exclude=./target --exclude=./dist --exclude=./.git -c . | tar -x -C "$other/a-longer-name"
BUILDS=$build sh "$other/a-longer-name/cross/build.sh" "$target"
cmp "$binary" "$other/a-longer-name/$binary"
echo "two builds in two directories are the same: $(sha256sum "$binary")"
