"""Prints zones.txt, the table of every zone's current rule, from a zoneinfo directory.

usage: python3 src/tz/table/generate.py [/usr/share/zoneinfo] > src/tz/table/zones.txt

The directory is Debian's tzdata, or another with TZif files and a tzdata.zi, which has the version and
all names. The same tzdata gives the same bytes. mod.rs describes the format.
"""

import io
import pathlib
import struct
import sys
from bisect import bisect_right
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

DAY = 86400


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "/usr/share/zoneinfo")
    version, names = read_names(root / "tzdata.zi")
    start = int(datetime(int(version[:4]), 1, 1, tzinfo=timezone.utc).timestamp())
    rows, seen = {}, {}
    for name, target in sorted(names.items()):
        # Old names have no file here if Debian's tzdata-legacy is not installed.
        path = root / name if (root / name).exists() else root / target
        data = path.read_bytes()
        if data not in seen:
            seen[data] = rule_since(start, data)
        rows.setdefault(seen[data], []).append(name)
    print(f"# tzdata {version}, made by generate.py: each zone's rule from {version[:4]} on")
    for rule, names in sorted(rows.items()):
        print(rule, *names)


def read_names(path):
    """Returns the version, and every name with the zone that it is or links to."""
    lines = [line.split() for line in path.read_text().splitlines()]
    names = {line[1]: line[1] for line in lines if line[:1] == ["Z"]}
    for line in lines:
        if line[:1] == ["L"]:
            names[line[2]] = names[line[1]]
    return lines[0][2], names


def rule_since(start, data):
    """Returns a row's rule: a POSIX TZ string, then `;offset;instant;offset…` until it applies."""
    string = data.rstrip(b"\n").rsplit(b"\n", 1)[1]
    zone, rule = ZoneInfo.from_file(io.BytesIO(data)), ZoneInfo.from_file(io.BytesIO(only_footer(string)))
    instants = [instant for instant in transitions(data) if instant >= start]
    samples = {start, *range(start, max(instants, default=start), DAY)}
    samples |= {instant - before for instant in instants for before in (0, 1)}
    wrong = [instant for instant in samples if offset(zone, instant) != offset(rule, instant)]
    row = [string.decode()]
    if wrong:
        row.append(offset(zone, start))
        for instant in instants[: bisect_right(instants, max(wrong)) + 1]:
            row += [instant, offset(zone, instant)]
    return ";".join(map(str, row))


def offset(zone, instant):
    delta = datetime.fromtimestamp(instant, zone).utcoffset()
    return delta.days * DAY + delta.seconds


def transitions(data):
    """Returns the instants in a TZif file's second data block (RFC 9636 section 3)."""
    header = struct.Struct(">4s c 15x 6L")
    *_, ut, standard, leap, times, types, characters = header.unpack_from(data)
    second = header.size + times * 5 + types * 6 + characters + leap * 8 + standard + ut
    *_, times, _, _ = header.unpack_from(data, second)
    return struct.unpack_from(f">{times}q", data, second + header.size)


def only_footer(string):
    """Makes a TZif file that has a rule and no transitions."""
    block = struct.pack(">4s c 15x 6L", b"TZif", b"2", 0, 0, 0, 0, 1, 1) + bytes(7)
    return block + block + b"\n" + string + b"\n"


if __name__ == "__main__":
    main()
