"""The costs of `send`, with few and with many waiting events."""

from dataclasses import dataclass

from hooks import Host
from measure import Times

# Numbers of waiting events, and of measurements.
NUMBERS = [(1_000, 5), (100_000, 2)]


@dataclass
class Cost:
    """A row: the median in milliseconds, and the peak memory in KiB."""

    label: str
    service: str
    events: int
    wall: float
    memory: int

    def per_event(self):
        """Returns the microseconds for each event."""
        return 1000 * self.wall / self.events


def costs(bench, builds, port):
    """Measures every build with every service and number of events."""
    rows = []
    for service in ("stdout", "ntfy"):
        for number, repeats in NUMBERS:
            measured = {label: Times() for label in builds}
            for repeat in range(repeats):
                for label, binary in builds.items():
                    host = Host(bench.directory / f"{label}-{service}-{number}-{repeat}", binary, service, port)
                    host.login()
                    host.fill(number - 1)
                    bench.time(host.command(f"send {number} to {service}", "send"), measured[label])
            for label, times in measured.items():
                rows.append(Cost(label, service, number, times.median(), max(times.memory)))
    return rows
