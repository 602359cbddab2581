"""What `send` costs for each event, however many wait."""

from hooks import Host
from measure import Times

# How many wait, and how often that is measured.
NUMBERS = [(100, 5), (1_000, 5), (10_000, 3), (100_000, 1)]


def table(bench, label, binary, port):
    """One row a number: service, events, milliseconds in the middle, and peak memory in KiB."""
    rows = []
    for service in ("stdout", "ntfy"):
        for number, times in NUMBERS:
            measured = Times()
            for again in range(times):
                host = Host(bench.directory / f"{label or 'release'}-{service}-{number}-{again}", binary, service, port)
                host.login()
                host.fill(number - 1)
                bench.time(host.command(f"send {number} to {service}", "send"), measured)
            rows.append((service, number, measured.median(), max(measured.memory)))
    return rows
