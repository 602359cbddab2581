#!/bin/sh
# Usage: sh cross/test.sh [TARGET…]
#
# Runs what `make dist` built: for each target (default: those in dist/) the tests of the real binary
# that need nobody else's sshd, PAM or strace, with each build in place of the one that cargo would
# build; under qemu where the processor is a foreign one, and otherwise with sshd, PAM and strace too.
# The full build takes those of what it has more than the appliance build. Then
# tests/static.rs, which locks the x86_64 binary into root directories with nothing else in them.
set -eu
cd "$(dirname "$0")/.."
sh tests/setup.sh dist-test
sh tests/setup.sh test

# Adds the test files of these names that there are.
tests() {
	for name in "$@"; do
		[ ! -e "tests/$name.rs" ] || echo "--test $name"
	done
}
plain=$(tests wire digest letters takeover idle)
secure=$(tests servers targets tls algorithms config)
extra=$(tests tls algorithms)
native=$(tests login environment privileges links surroundings hostile fallbacks crash powercut crowd cost schedule)

if [ $# -eq 0 ]; then
	for binary in dist/ssh-session-notifier-appliance-*; do
		[ ! -e "$binary" ] || set -- "$@" "${binary#dist/ssh-session-notifier-appliance-}"
	done
	[ $# -gt 0 ] || { echo "nothing is built: run make dist first" >&2 && exit 1; }
fi
# Leaves a test out, and says so.
without() {
	skips="$skips --skip $1"
	echo "SKIP: $1: $2" >&2
}
for target in "$@"; do
	run='' skips='' more=''
	case $target in
	"$(uname -m)"-*) more=$native ;;
	*)
		run=qemu-$(echo "${target%%-*}" | sed 's/^armv7/arm/; s/gc$//')-static
		# tests/setup.sh may have unpacked it instead of installing it.
		run=$(PATH=$(realpath "${CARGO_TARGET_DIR:-target}")/tools/usr/bin:$PATH command -v "$run")
		without the_go_programs_configuration_works_as_it_was "qemu-user turns the order of the environment round"
		without headers_without_end_keep_the_event_however_long_each_line_is "qemu-user limits nobody's memory"
		;;
	esac
	for build in lan appliance full; do
		binary=$PWD/dist/ssh-session-notifier-$build-$target
		[ -e "$binary" ] || continue
		case $build in
		lan) options=--no-default-features names=$plain ;;
		appliance) options='--no-default-features --features tls' names="$plain $secure $more" ;;
		full) options='' names=$extra ;;
		esac
		echo "testing $build for $target"
		# shellcheck disable=SC2086 # one word an option
		SSN_BINARY="$run $binary" ${CARGO:-cargo} test --locked --no-fail-fast $options $names -- $skips
	done
done
${CARGO:-cargo} test --locked --test static
