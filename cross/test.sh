#!/bin/sh
# Usage: sh cross/test.sh [TARGET…]
#
# Tests the binaries of `make dist`: for each target (default: those in dist/), the test modules that need neither
# sshd, PAM nor strace, under qemu for a foreign processor; for this machine's processor, more modules. The full build
# differs from the appliance build only by services, so it gets only the TLS tests. Then runs
# tests/host/static_build.rs with the x86_64 binary.
set -eu
cd "$(dirname "$0")/.."
sh tests/setup.sh dist-test
sh tests/setup.sh test

# Modules of the test crates: files tests/*/NAME.rs.
plain='wire digest letters rejections takeover idle'
secure='servers targets tls algorithms config'
extra='tls algorithms'
native='login environment privileges links limits signals surroundings worker hostile fallbacks pipes syslog damage
	crash powercut upgrade looks crowd cost schedule'
for module in $plain $secure $extra $native; do
	ls tests/*/"$module.rs" >/dev/null
done

if [ $# -eq 0 ]; then
	for binary in dist/ssh-session-notifier-appliance-*; do
		[ ! -e "$binary" ] || set -- "$@" "${binary#dist/ssh-session-notifier-appliance-}"
	done
	[ $# -gt 0 ] || { echo "dist/ has no appliance build: run make dist first" >&2 && exit 1; }
fi
# without TEST REASON: skips a test and reports it.
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
		# tests/setup.sh may have unpacked qemu instead of installing it.
		run=$(PATH=$(realpath "${CARGO_TARGET_DIR:-target}")/tools/usr/bin:$PATH command -v "$run")
		reversed='qemu-user reverses the order of the environment'
		without the_go_programs_configuration_works_unchanged "$reversed"
		without a_login_is_recorded_in_time_however_long_the_allowlist_is "$reversed"
		# Emulated logins are slow: several at once are late and leave their events in the spool.
		skips="$skips --test-threads=1"
		without ten_first_logins_at_once_take_a_database_over_once "several emulated logins at once are late"
		without endless_headers_keep_the_event_however_long_each_line_is "qemu-user enforces no memory limit"
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
