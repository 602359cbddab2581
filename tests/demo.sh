#!/bin/sh
# Usage: sh tests/demo.sh BINARY
#
# Shows the program's main job in a temporary directory: it records a login, an allowlisted login and a logout, and
# prints the notices.
set -eu

binary=$(realpath "$1")
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
trap 'exit 1' INT TERM
umask 077
mkdir "$here/state"

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then
	bold=$(printf '\033[1m') plain=$(printf '\033[0m')
fi
show() {
	printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"
}

cat >"$here/config.toml" <<EOF
[host]
name = "example.com"
timezone = "Pacific/Auckland"

[notification]
service = "stdout"

[allowlist]
ips = ["10.0.0.0/8"]

[queue]
path = "$here/state/session_events.db"
spool = "$here/spool"
EOF
show cat config.toml
cat "$here/config.toml"

# pam USER REMOTE_HOST TYPE TITLE: runs the hook as pam_exec does, with PAM's items at the end of the environment and
# PAM_TYPE last.
pam() {
	show "$4: $1 from $2; PAM runs: ssh-session-notifier queue"
	env -i PAM_SERVICE=sshd PAM_USER="$1" PAM_TTY=ssh PAM_RHOST="$2" PAM_TYPE="$3" \
		"$binary" --config "$here/config.toml" queue
	echo "exit status $?"
}
pam amanda 192.168.1.50 open_session login
pam ansible 10.0.0.2 open_session 'login from the allowlist'
pam amanda 192.168.1.50 close_session logout

show ssh-session-notifier status
"$binary" --config "$here/config.toml" status
show ssh-session-notifier send
"$binary" --config "$here/config.toml" send
show ssh-session-notifier log
"$binary" --config "$here/config.toml" log
show ssh-session-notifier status
"$binary" --config "$here/config.toml" status
