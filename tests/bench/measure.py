"""Measures a command: time and memory when it runs alone, calls and bytes when it runs under strace."""

import os
import random
import re
import shutil
import statistics
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent

# Calls that wait for the disk, and calls that write bytes.
SYNCS = {"fsync", "fdatasync", "sync", "syncfs", "msync", "sync_file_range"}
WRITES = {"write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile", "copy_file_range"}

# A host's directory that stands for /run, which is in memory.
SPOOL = "run"

# A line of strace's output. With `-y`, a descriptor is followed by the path of its file.
CALL = re.compile(r"(\w+)\((?:\d+<(.*?)>)?")
RESULT = re.compile(r"= (\d+)$")


@dataclass
class Command:
    """A row of a table: words and environment of a command."""

    name: str
    words: list
    environment: dict = field(default_factory=dict)
    # The number of runs under strace. If some runs cost more, it must be large enough to include one.
    counted: int = 5


@dataclass
class Times:
    """The costs of each run of a command: wall and cpu in milliseconds, memory in KiB."""

    wall: list = field(default_factory=list)
    cpu: list = field(default_factory=list)
    memory: list = field(default_factory=list)

    def median(self):
        return statistics.median(self.wall)


@dataclass
class Counts:
    """The counts of each run of a command."""

    calls: list = field(default_factory=list)
    syncs: list = field(default_factory=list)
    bytes: list = field(default_factory=list)
    sockets: list = field(default_factory=list)


class Bench:
    """A directory on the disk to measure, with the small programs to compare with."""

    def __init__(self, directory):
        self.directory = directory
        self.can_trace = shutil.which("strace") and self._traces()
        self.programs = directory / "programs"
        self.programs.mkdir()
        # With musl if possible, like our static builds.
        compiler = "musl-gcc" if shutil.which("musl-gcc") else "cc"
        for name in ("launch", "nothing", "append"):
            words = [compiler, "-O2", "-static", "-o", self.programs / name, HERE / f"{name}.c"]
            subprocess.run(words, check=True)

    def time(self, command, times):
        """Runs a command once and records its costs."""
        reader, writer = os.pipe()
        words = [self.programs / "launch", str(writer), *command.words]
        done = subprocess.run(
            words, env=command.environment, pass_fds=[writer], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        os.close(writer)
        with os.fdopen(reader) as pipe:
            measured = pipe.read().split()
        if done.returncode != 0 or len(measured) != 4 or measured[3] != "0" or done.stderr:
            raise SystemExit(f"{command.name}: {words} failed: {measured} {done.stderr.decode()}")
        times.wall.append(int(measured[0]) / 1e6)
        times.cpu.append(int(measured[1]) / 1e3)
        times.memory.append(int(measured[2]))

    def count(self, command, counts):
        """Runs a command once under strace and records its counts."""
        traces = Path(tempfile.mkdtemp(dir=self.directory))
        # With a file for each thread, no line is split by another thread's.
        words = ["strace", "-ff", "-y", "-qq", "-e", "signal=none", "-o", traces / "of", *command.words]
        subprocess.run(words, env=command.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        tally(traces.iterdir(), counts)
        shutil.rmtree(traces)

    def _traces(self):
        tried = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "true"], stderr=subprocess.DEVNULL)
        return tried.returncode == 0


def tally(traces, counts):
    """Counts one run's calls, syncs, bytes written to files, and sockets opened."""
    calls = syncs = written = sockets = 0
    for trace in traces:
        for line in trace.read_text(errors="replace").splitlines():
            found = CALL.match(line)
            if not found:
                continue
            name, path = found.groups()
            calls += 1
            syncs += name in SYNCS
            sockets += name == "socket"
            if name in WRITES and path and is_file(path):
                result = RESULT.search(line)
                written += int(result.group(1)) if result else 0
    counts.calls.append(calls)
    counts.syncs.append(syncs)
    counts.bytes.append(written)
    counts.sockets.append(sockets)


def is_file(path):
    """Whether a descriptor's path, as strace prints it, is a file on a disk."""
    return path.startswith("/") and not path.startswith(("/dev/", "/proc/", "/sys/")) and f"/{SPOOL}/" not in path


def rounds(bench, commands, number):
    """Times each command once per round, so that a disturbance affects all of them, and in a random order, so that no
    command always runs after the same one."""
    times = {command.name: Times() for command in commands}
    order = random.Random(1)
    for _ in range(number):
        for command in order.sample(commands, len(commands)):
            bench.time(command, times[command.name])
    return times


def counted(bench, commands):
    """Counts the calls of each command, or nothing if strace may not run."""
    counts = {command.name: Counts() for command in commands}
    if bench.can_trace:
        for command in commands:
            for _ in range(command.counted):
                bench.count(command, counts[command.name])
    return counts
