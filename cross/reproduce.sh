#!/bin/sh
# Usage: sh cross/reproduce.sh
#
# Builds the lan build for x86_64 again in another directory, and compares it with the one in dist/, which is built if
# it is missing.
set -eu
cd "$(dirname "$0")/.."

target=x86_64-unknown-linux-musl build=lan
binary=dist/ssh-session-notifier-$build-$target
[ -e "$binary" ] || BUILDS=$build sh cross/build.sh "$target"
other=$(mktemp -d)
trap 'rm -rf "$other"' EXIT INT TERM
mkdir "$other/a-longer-name"
tar --exclude=./target --exclude=./dist --exclude=./.git -c . | tar -x -C "$other/a-longer-name"
BUILDS=$build sh "$other/a-longer-name/cross/build.sh" "$target"
cmp "$binary" "$other/a-longer-name/$binary"
echo "two builds in two directories are the same: $(sha256sum "$binary")"
