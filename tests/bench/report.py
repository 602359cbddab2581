"""The tables as plain text."""

import statistics

from hooks import FLOOR, named
from login import NO_HOOK, NOTHING


def hooks(commands, times, counts, rounds):
    """Returns the table of hooks, compared with the least that durable storage can cost."""
    floor, width = times[FLOOR].median(), widest(times)
    lines = [
        f"Costs of a hook: medians of {rounds} interleaved rounds. Bytes are those written to files outside /run, on",
        "average, because some logins move SQLite's log into the database.",
        f"{'':{width}}{'wall ms':>9}{'min':>8}{'max':>8}{'× floor':>9}{'cpu ms':>8}{'KiB':>8}"
        f"{'calls':>7}{'syncs':>7}{'bytes':>8}",
    ]
    for command in commands:
        time, count = times[command.name], counts[command.name]
        line = f"{command.name:{width}}{time.median():9.2f}{min(time.wall):8.2f}{max(time.wall):8.2f}"
        line += f"{time.median() / floor:9.2f}{statistics.median(time.cpu):8.2f}{max(time.memory):8,}"
        if count.calls:
            line += f"{statistics.median(count.calls):7.0f}{statistics.mean(count.syncs):7.2f}"
            line += f"{statistics.mean(count.bytes):8,.0f}"
        lines.append(line)
    if not any(count.calls for count in counts.values()):
        lines.append("calls, syncs and bytes: not counted, because strace is missing or not permitted")
    return "\n".join(lines) + "\n"


def logins(times, why_not):
    """Returns the table of real logins: how long a person waits, and how much of that each hook adds."""
    if why_not:
        return f"Real logins: not measured: {why_not}\n"
    width = widest(times)
    lines = [
        "Real logins, `ssh … true` to a private sshd with PAM: medians, and the difference to a login without a hook",
        "and to one whose pam_exec runs a program that does nothing.",
        f"{'':{width}}{'wall ms':>9}{'min':>8}{'max':>8}{'runs':>6}{'- no hook':>11}{'- nothing':>11}",
    ]
    bases = times[NO_HOOK].median(), times[NOTHING].median()
    for name, time in times.items():
        line = f"{name:{width}}{time.median():9.1f}{min(time.wall):8.1f}{max(time.wall):8.1f}{len(time.wall):6}"
        lines.append(line + "".join(f"{time.median() - base:+11.1f}" for base in bases))
    return "\n".join(lines) + "\n"


def sender(costs):
    """Returns the table of senders with something to send."""
    names = [named(f"{cost.events:,} to {cost.service}", cost.label) for cost in costs]
    width = widest(names)
    lines = ["Costs of `send` by the number of waiting events:", f"{'':{width}}{'ms':>10}{'µs/event':>10}{'KiB':>8}"]
    for name, cost in zip(names, costs):
        lines.append(f"{name:{width}}{cost.wall:10.1f}{cost.per_event():10.1f}{cost.memory:8,}")
    return "\n".join(lines) + "\n"


def widest(names):
    """Returns the width of the first column."""
    return max(len(name) for name in names)
