#!/bin/sh
# Usage: sh cross/levers.sh [BUILD [TARGET]]
#
# Undoes the measures that make the binaries small, one at a time, and prints how many bytes each saves. A build takes a
# minute or two; the default is lan for x86_64. A measure that saves less than one per cent is not worth its line.
set -eu
cd "$(dirname "$0")/.."

build=${1:-lan} target=${2:-x86_64-unknown-linux-musl}
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT INT TERM
export BUILDS="$build" WORK="$PWD/target/levers" OUT="$copy/out"

# size [FILE EDIT]: prints the size of the build after sed has edited a file.
size() {
	rm -rf "$copy/tree"
	mkdir "$copy/tree"
	tar --exclude=./target --exclude=./dist --exclude=./.git -c . | tar -x -C "$copy/tree"
	[ $# -eq 0 ] || sed -i "$2" "$copy/tree/$1"
	if [ $# -gt 0 ] && cmp -s "$1" "$copy/tree/$1"; then
		echo "cross/levers.sh: this edit changes nothing in $1, so the measure is gone: $2" >&2
		exit 1
	fi
	sh "$copy/tree/cross/build.sh" "$target" >"$copy/log" 2>&1 || { tail -n 20 "$copy/log" >&2 && return 1; }
	stat -c %s "$copy/out/ssh-session-notifier-$build-$target"
}

whole=$(size)
echo "$build for $target: $whole bytes"
lever() {
	if without=$(size "$2" "$3"); then
		printf '| %-56s | %9s | %8s |\n' "$1" "$without" "$((without - whole))"
	else
		printf '| %-56s | %9s | %8s |\n' "$1" 'fails' ''
	fi
}
lever 'SQLite: no JSON' .cargo/config.toml 's/ -DSQLITE_OMIT_JSON//'
lever 'SQLite: no foreign keys' .cargo/config.toml 's/^-DSQLITE_OMIT_FOREIGN_KEY //'
lever 'SQLite: no date functions' .cargo/config.toml 's/ -DSQLITE_OMIT_DATETIME_FUNCS//'
lever 'SQLite: no auto-vacuum' .cargo/config.toml 's/ -DSQLITE_OMIT_AUTOVACUUM//'
lever 'SQLite: no EXPLAIN' .cargo/config.toml 's/ -DSQLITE_OMIT_EXPLAIN//'
lever 'SQLite: no authorizer' .cargo/config.toml 's/-DSQLITE_OMIT_AUTHORIZATION//'
lever 'SQLite: no plans for large tables' .cargo/config.toml '/OMIT_AUTOMATIC_INDEX/,/OMIT_XFER_OPT/d'
lever 'SQLite: no interfaces that nobody here calls' .cargo/config.toml '/OMIT_COMPILEOPTION_DIAGS/,/UNTESTABLE/d'
lever 'C: no unwind tables' cross/flags.sh 's/ -fno-asynchronous-unwind-tables -fno-unwind-tables//'
lever 'C: -Oz, not -Os' cross/flags.sh "s/c_flags='-Oz/c_flags='-Os/"
lever 'optimised for size: opt-level z, not s' Cargo.toml 's/opt-level = "z"/opt-level = "s"/'
lever 'link-time optimisation: fat, not thin' Cargo.toml 's/lto = "fat"/lto = "thin"/'
# The code that prints a message needs an unwinder, whose size isn't counted.
lever 'a panic aborts at once: no message' cross/flags.sh \
	's/-Cpanic=immediate-abort/-Cpanic=abort -Clink-arg=-Wl,--unresolved-symbols=ignore-all/'
lever 'std: optimize_for_size' cross/flags.sh 's/ -Zbuild-std-features=optimize_for_size//'
lever 'Rust: {:?} prints names only' cross/flags.sh 's/ -Zfmt-debug=shallow//'
lever 'Rust: machine outliner' cross/flags.sh 's/ -Cllvm-args=-enable-machine-outliner=always//'
lever 'Rust: no unwind tables' cross/flags.sh 's/ -Cforce-unwind-tables=no//'
lever 'packed relocations' cross/flags.sh 's/ -Clink-arg=-Wl,--pack-dyn-relocs=relr//'
lever '(not taken) a fixed load address' cross/flags.sh \
	's/-Clink-arg=-static-pie/-Crelocation-model=static/;s/-fPIE/-fno-pic/'
[ "$build" = lan ] || lever '(not taken) TLS 1.3 alone' Cargo.toml 's/, "tls12"//'
