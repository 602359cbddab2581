#!/bin/sh
# Usage: sh tests/services/run.sh BINARY
#
# Delivers to servers that others wrote: a Matrix homeserver (synapse) and an emulator of Telegram's Bot API; and checks
# signatures with the reference library of Standard Webhooks. Installs them from PyPI and npm into target/services;
# what cannot be installed is skipped by name.
set -eu
cd "$(dirname "$0")/../.."

binary=$1
home=target/services
mkdir -p "$home"

if [ ! -x "$home/python/bin/python" ]; then
	python3 -m venv "$home/python"
fi
if ! "$home/python/bin/python" -c 'import synapse' 2>/dev/null; then
	"$home/python/bin/pip" install --quiet 'matrix-synapse>=1.100' || true
fi
if ! "$home/python/bin/python" -c 'import standardwebhooks' 2>/dev/null; then
	"$home/python/bin/pip" install --quiet 'standardwebhooks>=1.0' || true
fi
if [ ! -d "$home/node_modules/telegram-test-api" ] && command -v npm >/dev/null; then
	npm install --silent --no-audit --no-fund --prefix "$home" telegram-test-api@4 || true
fi

"$home/python/bin/python" tests/services/check.py "$binary" "$home"
