"""The goals, with the measured values: a line for each goal and build."""

import statistics

from hooks import FLOOR, named

MIB = 1024


def lines(builds, times, counts, costs):
    """Checks every goal for every build."""
    found = ["Goals:"]
    for label in builds:
        for is_reached, goal, figure in [*queue(label, times, counts), *sender(label, times, counts, costs)]:
            found.append(f"  {'reached    ' if is_reached else 'NOT reached'}  {named(goal, label)}: {figure}")
    return "\n".join(found)


def queue(label, times, counts):
    usual, waiting = times[named("queue", label)], times[named("queue, 100,000 waiting", label)]
    ratio, growth = usual.median() / times[FLOOR].median(), waiting.median() / usual.median()
    memory = max(usual.memory + waiting.memory)
    rows = [
        (ratio <= 1.5, f"queue takes at most 1.5 times `{FLOOR}`", f"{ratio:.2f} times"),
        (growth <= 1.1, "queue takes at most 10 % more with 100,000 waiting", f"{100 * growth - 100:+.0f} %"),
        (memory <= 3 * MIB, "queue needs at most 3 MiB", f"{memory} KiB"),
    ]
    count = counts[named("queue", label)]
    if count.calls:
        syncs, written = statistics.median(count.syncs), statistics.mean(count.bytes)
        mean = statistics.mean(count.syncs)
        rows.append((syncs == 1, "queue syncs once", f"{syncs:.0f} times, on average {mean:.2f}"))
        rows.append((written <= 4.3 * 1024, "queue writes at most 4.3 KiB", f"{written:.0f} bytes on average"))
        rows.append(nothing("an allowlisted queue", counts[named("queue, allowlisted", label)]))
    return rows


def sender(label, times, counts, costs):
    idle, allowed = times[named("send, idle", label)], times[named("queue, allowlisted", label)]
    ratio = idle.median() / allowed.median()
    rows = [(ratio <= 2, "an idle send takes at most twice an allowlisted queue", f"{ratio:.2f} times")]
    count = counts[named("send, idle", label)]
    if count.calls:
        rows.append(nothing("an idle send", count))
    for service in sorted({cost.service for cost in costs}):
        each = {cost.events: cost for cost in costs if (cost.label, cost.service) == (label, service)}
        fewest, most = each[min(each)], each[max(each)]
        growth = most.per_event() / fewest.per_event()
        goal = f"each of {most.events:,} events to {service} takes at most 1.3 times as long as of {fewest.events:,}"
        rows.append((growth <= 1.3, goal, f"{growth:.2f} times"))
        goal = f"{most.events:,} events to {service} need at most 8 MiB"
        rows.append((most.memory <= 8 * MIB, goal, f"{most.memory} KiB"))
    return rows


def nothing(who, count):
    total = sum(count.bytes), sum(count.syncs), sum(count.sockets)
    return not any(total), f"{who} writes nothing, syncs nothing and opens no socket", "{} bytes, {}, {}".format(*total)
