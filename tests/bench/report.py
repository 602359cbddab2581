"""The tables, as plain text."""

import statistics

from hooks import FLOOR


def hooks(commands, times, counts, rounds):
    """What a login costs, against the durable floor."""
    floor = times[FLOOR].median()
    lines = [
        f"What a hook costs: medians of {rounds} interleaved rounds; bytes are those written to files,",
        "as a mean, because now and then a login moves the log into the database.",
        f"{'':31}{'wall ms':>9}{'min':>8}{'max':>8}{'× floor':>9}{'cpu ms':>8}{'KiB':>8}{'calls':>7}{'syncs':>7}{'bytes':>8}",
    ]
    for command in commands:
        time, count = times[command.name], counts[command.name]
        line = f"{command.name:31}{time.median():9.2f}{min(time.wall):8.2f}{max(time.wall):8.2f}"
        line += f"{time.median() / floor:9.2f}{statistics.median(time.cpu):8.2f}{max(time.memory):8,}"
        if count.calls:
            line += f"{statistics.median(count.calls):7.0f}{statistics.mean(count.syncs):7.2f}"
            line += f"{statistics.mean(count.bytes):8,.0f}"
        lines.append(line)
    if not any(count.calls for count in counts.values()):
        lines.append("calls, syncs and bytes: not counted, because strace is missing or not allowed")
    return "\n".join(lines) + "\n"


def logins(times, why_not):
    """What a person waits for."""
    if why_not:
        return f"Real logins: not measured: {why_not}\n"
    lines = ["Real logins, `ssh … true` to a private sshd with PAM:", f"{'':31}{'wall ms':>9}{'min':>8}{'max':>8}{'runs':>6}"]
    for name, time in times.items():
        lines.append(f"{name:31}{time.median():9.1f}{min(time.wall):8.1f}{max(time.wall):8.1f}{len(time.wall):6}")
    return "\n".join(lines) + "\n"


def sender(costs):
    """What a sender costs that has something to send."""
    lines = ["What `send` costs for so many waiting events:", f"{'':31}{'ms':>10}{'µs/event':>10}{'KiB':>8}"]
    for label, rows in costs.items():
        suffix = f" [{label}]" if label else ""
        for service, number, wall, memory in rows:
            name = f"{number:,} to {service}{suffix}"
            lines.append(f"{name:31}{wall:10.1f}{1000 * wall / number:10.1f}{memory:8,}")
    return "\n".join(lines) + "\n"
