"""make bench: what a hook costs a login, and a sender its host.

    make bench BENCH="--rounds 20"
    python3 tests/bench [--rounds N] [--logins N] [--directory DIR] BINARY [STATIC]

Every row is measured once a round, so that whatever else the machine does disturbs all alike; the
tables have medians. Calls and bytes are counted in runs of their own, under strace.
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


def main():
    arguments = parse()
    directory = Path(tempfile.mkdtemp(prefix="ssn-bench-", dir=arguments.directory))
    directory.chmod(0o755)
    servers = []
    try:
        bench = Bench(directory)
        binaries = {"": arguments.binary.resolve()}
        if arguments.static:
            binaries["static"] = arguments.static.resolve()
        servers = [Server(), Server(delay=3.0)]
        run(bench, binaries, arguments, servers)
    finally:
        for server in servers:
            server.close()
        shutil.rmtree(directory)


def parse():
    parser = argparse.ArgumentParser(prog="tests/bench")
    parser.add_argument("--rounds", type=int, default=200, help="how often each row is measured (default 200)")
    parser.add_argument("--logins", type=int, default=20, help="how many real logins of each kind (default 20)")
    # /tmp is often in memory, where a sync costs nothing; other users must get there, too.
    parser.add_argument("--directory", default="/var/tmp", help="where to work, on the disk to measure (/var/tmp)")
    parser.add_argument("binary", type=Path)
    parser.add_argument("static", type=Path, nargs="?", help="a second build to compare, such as a static one")
    return parser.parse_args()


def run(bench, binaries, arguments, servers):
    print(where(bench, binaries))
    commands = hooks.floor(bench)
    for label, binary in binaries.items():
        commands += [hooks.version(label, binary), *hooks.ours(bench, label, binary)]
        commands.append(hooks.idle_sender(bench, label, binary))
    commands += hooks.scripts(bench, servers[0].port)
    times = rounds(bench, commands, arguments.rounds)
    counts = counted(bench, commands)
    print(report.hooks(commands, times, counts, arguments.rounds))

    print(report.logins(*logins(bench, binaries, arguments.logins, servers[1].port)))

    costs = {label: sender.table(bench, label, binary, servers[0].port) for label, binary in binaries.items()}
    print(report.sender(costs))
    print(goals.lines(list(binaries), bench.compilers, times, counts, costs))


def logins(bench, binaries, number, slow_port):
    """Times of real logins by name, or why there are none."""
    why = login.why_not() if number else "not asked for"
    if why:
        return {}, why
    # The build that is installed on small hosts, where there is one.
    daemons, host = login.sshds(bench, list(binaries.values())[-1], slow_port)
    try:
        commands = [daemon.command(name) for name, daemon in daemons.items()]
        times = rounds(bench, commands[:-1], number)
        times |= rounds(bench, commands[-1:], min(number, 3))
    finally:
        for daemon in daemons.values():
            daemon.close()
    if host.count() < number:
        raise SystemExit(f"of {number} logins, the queue has {host.count()} events")
    return times, None


def where(bench, binaries):
    """The machine, the disk and the builds, in a few lines."""
    found = subprocess.run(["df", "--output=source,fstype", bench.directory], capture_output=True, text=True)
    disk = " ".join(found.stdout.split("\n")[1].split()) if found.returncode == 0 else "unknown"
    if disk.endswith("tmpfs"):
        disk += " (IN MEMORY: nothing is ever synced; use --directory)"
    builds = ", ".join(f"{name or 'release'} {path.stat().st_size:,} bytes" for name, path in binaries.items())
    load = os.getloadavg()[0]
    return f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f}; disk: {disk}\nbuilds: {builds}\n"


main()
