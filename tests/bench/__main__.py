"""Measures the cost of the hook for a login, and of the sender for its host.

    make bench BENCH="--rounds 20"
    python3 tests/bench [--rounds N] [--directory DIR] BINARY [[LABEL=]BINARY …]

More binaries are measured in the same run, such as a static build (the default label is "static") or the
build before a change: `static=dist/new before=/tmp/old`.

Each row is measured once per round, so that other work on the machine affects all rows alike. The tables
show medians. System calls and bytes are counted in separate runs under strace.
"""

import argparse
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import goals
import hooks
import login
import report
import sender
from measure import Bench, counted, rounds
from server import Server

# The number of real logins of each kind. A login takes about a second.
LOGINS = 20


def main():
    arguments = parse()
    directory = Path(tempfile.mkdtemp(prefix="ssn-bench-", dir=arguments.directory))
    directory.chmod(0o755)
    servers = []
    try:
        servers = [Server(), Server(delay=3.0)]
        run(Bench(directory), arguments, servers)
    finally:
        for server in servers:
            server.close()
        shutil.rmtree(directory)


def parse():
    parser = argparse.ArgumentParser(prog="tests/bench")
    parser.add_argument("--rounds", type=int, default=200, help="how often each row is measured (default 200)")
    # /tmp is often in memory, where a sync costs nothing. Other users need access to the directory too.
    parser.add_argument("--directory", default="/var/tmp", help="a directory on the disk to measure (default /var/tmp)")
    parser.add_argument("binary", help="the release build, or LABEL=PATH")
    parser.add_argument("others", nargs="*", help="other builds to compare, as LABEL=PATH")
    arguments = parser.parse_args()
    arguments.builds = {}
    for word, default in zip([arguments.binary, *arguments.others], ["release"] + len(arguments.others) * ["static"]):
        label, is_labelled, path = word.partition("=")
        label, path = (label, path) if is_labelled else (default, word)
        if label in arguments.builds:
            parser.error(f"two builds are called {label}: name them with LABEL=PATH")
        if not os.access(path, os.X_OK):
            parser.error(f"{path} is not a program")
        arguments.builds[label] = Path(path).resolve()
    return arguments


def run(bench, arguments, servers):
    builds = arguments.builds
    print(where(bench, builds), flush=True)
    commands = [*hooks.floor(bench), *hooks.ours(bench, builds), *hooks.scripts(bench, servers[0].port)]
    times = rounds(bench, commands, arguments.rounds)
    counts = counted(bench, commands)
    print(report.hooks(commands, times, counts, arguments.rounds), flush=True)

    print(report.logins(*logins(bench, builds, servers[1].port)), flush=True)

    costs = sender.costs(bench, builds, servers[0].port)
    print(report.sender(costs))
    print(goals.lines(builds, times, counts, costs))


def logins(bench, builds, slow_port):
    """Returns the times of real logins by name, or the reason why they can't be measured."""
    why = login.why_not()
    if why:
        return {}, why
    programs, hosts = login.rows(bench, builds, slow_port)
    daemons = {}
    try:
        for name, hook in programs.items():
            daemons[name] = login.Sshd(bench.directory / f"sshd-{len(daemons)}", hook)
        commands = [daemon.command(name) for name, daemon in daemons.items()]
        times = rounds(bench, [command for command in commands if command.name != login.SLOW], LOGINS)
        times |= rounds(bench, [command for command in commands if command.name == login.SLOW], 3)
    finally:
        for daemon in daemons.values():
            daemon.close()
    for host in hosts:
        if host.count() < LOGINS:
            raise SystemExit(f"after {LOGINS} logins, the queue has only {host.count()} events")
    return times, None


def where(bench, builds):
    """Describes the machine, the disk and the builds."""
    found = subprocess.run(["df", "--output=source,fstype", bench.directory], capture_output=True, text=True)
    disk = " ".join(found.stdout.split("\n")[1].split()) if found.returncode == 0 else "unknown"
    if disk.endswith("tmpfs"):
        disk += " (IN MEMORY: nothing is ever synced; use --directory)"
    sizes = ", ".join(f"{label} {path.stat().st_size:,} bytes" for label, path in builds.items())
    load = os.getloadavg()[0]
    return f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f}; disk: {disk}\nbuilds: {sizes}\n"


main()
