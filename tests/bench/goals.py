"""One line a goal: whether it was reached, and by how much."""

import statistics

from hooks import FLOOR

MIB = 1024


def lines(labels, compilers, times, counts, costs):
    """Every goal for every build."""
    found = ["Goals:"]
    for label in labels:
        suffix = f" [{label}]" if label else ""
        found += queue(suffix, "static" in label, compilers, times, counts)
        found += sender(suffix, times, counts, costs[label])
    return "\n".join(found)


def queue(suffix, is_static, compilers, times, counts):
    usual, count = times["queue" + suffix], counts["queue" + suffix]
    rows = []
    for compiler in compilers:
        floor = FLOOR if compiler == "cc" else f"{FLOOR} [musl]"
        ratio = usual.median() / times[floor].median()
        rows.append((ratio <= 1.5, f"queue at most 1.5 times `{floor}`", f"{ratio:.2f}"))
    for name in ("queue, 100,000 waiting", "queue, Go history"):
        ratio = times[name + suffix].median() / usual.median()
        rows.append((ratio <= 1.1, f"{name}: within 10 % of queue", f"{ratio:.2f}"))
    start = counts["--version" + suffix].calls
    if is_static and start:
        rows.append((max(start) < 30, "--version below 30 system calls", f"{max(start)}"))
    limit = 3 if is_static else 4
    rows.append((max(usual.memory) < limit * MIB, f"queue below {limit} MiB", f"{max(usual.memory)} KiB"))
    if count.calls:
        calls, syncs, written = (statistics.median(values) for values in (count.calls, count.syncs, count.bytes))
        means = f"mean {statistics.mean(count.syncs):.2f}", f"mean {statistics.mean(count.bytes):.0f}"
        rows.append((calls < 100, "queue below 100 system calls", f"{calls:.0f}"))
        rows.append((syncs == 1, "queue syncs once", f"{syncs:.0f}, {means[0]}"))
        rows.append((written <= 4.3 * 1024, "queue writes at most 4.3 KiB", f"{written:.0f} bytes, {means[1]}"))
        rows.append(nothing("an allowlisted login", counts["queue, allowlisted" + suffix]))
    return [line(*row, suffix) for row in rows]


def sender(suffix, times, counts, costs):
    idle, allowed = times["send, idle" + suffix], times["queue, allowlisted" + suffix]
    ratio = idle.median() / allowed.median()
    rows = [
        (ratio <= 1.3, "idle send within 1.3 of an allowlisted login", f"{ratio:.2f}"),
        (max(idle.memory) < 4 * MIB, "idle send below 4 MiB", f"{max(idle.memory)} KiB"),
    ]
    count = counts["send, idle" + suffix]
    if count.calls:
        rows.append(nothing("an idle send", count))
    for service in ("stdout", "ntfy"):
        each = {number: wall / number for name, number, wall, _ in costs if name == service}
        memory = max(memory for name, number, _, memory in costs if (name, number) == (service, 10_000))
        rows.append((memory < 8 * MIB, f"10,000 events to {service} below 8 MiB", f"{memory} KiB"))
        growth = each[100_000] / each[1_000]
        rows.append((growth <= 1.3, f"an event of 100,000 to {service} costs what one of 1,000 does", f"{growth:.2f} times"))
    return [line(*row, suffix) for row in rows]


def nothing(who, count):
    total = sum(count.bytes), sum(count.syncs), sum(count.sockets)
    return not any(total), f"{who} writes nothing, syncs nothing, opens no socket", "{} bytes, {}, {}".format(*total)


def line(is_reached, goal, figure, suffix):
    return f"  {'reached    ' if is_reached else 'NOT reached'}  {goal}{suffix}: {figure}"
