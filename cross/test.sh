#!/bin/sh
# Usage: sh cross/test.sh [TARGET…]
#
# Runs the tests of the real binary with what `make dist` built: for each target (default: those in
# dist/) the test modules that need neither sshd, PAM nor strace, under qemu where the processor is a
# foreign one; for this machine's own processor the others too. The full build, which is the same
# program as the appliance build today, takes only the tests of TLS. Last comes tests/host/static_build.rs, which runs the
# x86_64 binary in root directories with nothing else in them.
set -eu
cd "$(dirname "$0")/.."
sh tests/setup.sh dist-test
sh tests/setup.sh test

# Modules of the test crates: files tests/*/NAME.rs.
plain='wire digest letters takeover idle'
secure='servers targets tls algorithms config'
extra='tls algorithms'
native='login environment privileges links limits signals surroundings worker hostile fallbacks crash powercut upgrade looks crowd cost schedule'
for module in $plain $secure $extra $native; do
	ls tests/*/"$module.rs" >/dev/null
done

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
		without the_go_programs_configuration_works_unchanged "qemu-user turns the order of the environment round"
		# An emulated login is slow: several at once are late, and leave their events in the spool.
		skips="$skips --test-threads=1"
		without ten_first_logins_at_once_take_a_database_over_once "emulated logins at once are late"
		without endless_headers_keep_the_event_however_long_each_line_is "qemu-user limits nobody's memory"
		;;
	esac
	for build in lan appliance full; do
		binary=$PWD/dist/ssh-session-notifier-$build-$target
		[ -e "$binary" ] || continue
		case $build in
		lan) options=--no-default-features modules=$plain ;;
		appliance) options='--no-default-features --features tls' modules="$plain $secure $more" ;;
		full) options='' modules=$extra ;;
		esac
		echo "testing $build for $target"
		# shellcheck disable=SC2086 # one filter a word
		filters=$(printf ' %s::' $modules)
		# shellcheck disable=SC2086 # one option a word
		SSN_BINARY="$run $binary" ${CARGO:-cargo} test --locked --no-fail-fast $options --test '*' -- $filters $skips
	done
done
${CARGO:-cargo} test --locked --test host static_build::
