"""Prints zones.txt, the table of every zone's present rule, from a directory of zoneinfo.

usage: python3 src/tz/table/generate.py [/usr/share/zoneinfo] > src/tz/table/zones.txt

The directory is Debian's tzdata (or another with TZif files and tzdata.zi), whose names and version
tzdata.zi says. The same tzdata gives the same bytes. mod.rs says how the table is read.
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
        # Debian's old names may be in a package of their own (tzdata-legacy).
        path = root / name if (root / name).exists() else root / target
        data = path.read_bytes()
        if data not in seen:
            seen[data] = rule_since(start, data)
        rows.setdefault(seen[data], []).append(name)
    print(f"# tzdata {version}, made by generate.py: each zone's rule from {version[:4]} on")
    for rule, names in sorted(rows.items()):
        print(rule, *names)


def read_names(path):
    """The version, and every name with the name of the zone that it is, or links to."""
    lines = [line.split() for line in path.read_text().splitlines()]
    names = {line[1]: line[1] for line in lines if line[:1] == ["Z"]}
    for line in lines:
        if line[:1] == ["L"]:
            names[line[2]] = names[line[1]]
    return lines[0][2], names


def rule_since(start, data):
    """A POSIX TZ string; where that isn't the whole truth, `;offset;instant;offset…` before it holds."""
    string = data.rstrip(b"\n").rsplit(b"\n", 1)[1]
    zone, rule = ZoneInfo.from_file(io.BytesIO(data)), ZoneInfo.from_file(io.BytesIO(only_footer(string)))
    instants = [instant for instant in transitions(data) if instant >= start]
    looked_at = {start, *range(start, max(instants, default=start), DAY)}
    looked_at |= {instant - before for instant in instants for before in (0, 1)}
    wrong = [instant for instant in looked_at if offset(zone, instant) != offset(rule, instant)]
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
    """The instants of a TZif file's second data block (RFC 9636 section 3)."""
    header = struct.Struct(">4s c 15x 6L")
    *_, ut, standard, leap, times, types, characters = header.unpack_from(data)
    second = header.size + times * 5 + types * 6 + characters + leap * 8 + standard + ut
    *_, times, _, _ = header.unpack_from(data, second)
    return struct.unpack_from(f">{times}q", data, second + header.size)


def only_footer(string):
    """A TZif file that has a rule and no past."""
    block = struct.pack(">4s c 15x 6L", b"TZif", b"2", 0, 0, 0, 0, 1, 1) + bytes(7)
    return block + block + b"\n" + string + b"\n"


if __name__ == "__main__":
    main()
