"""What a command costs: time and memory when it runs undisturbed, calls and bytes when it runs under strace."""

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

# The directory that a host here has in place of /run, where writing costs no flash.
SPOOL = "run"

# One line of strace's output. With `-y`, the path of a descriptor's file follows it.
CALL = re.compile(r"(\w+)\((?:\d+<(.*?)>)?")
RESULT = re.compile(r"= (\d+)$")


@dataclass
class Command:
    """One row of a table: what to run, and with which environment."""

    name: str
    words: list
    environment: dict = field(default_factory=dict)
    # How many runs are counted under strace: if a rare run costs more, enough to include one.
    counted: int = 5


@dataclass
class Times:
    """What each run of one command cost: wall and cpu in milliseconds, memory in KiB."""

    wall: list = field(default_factory=list)
    cpu: list = field(default_factory=list)
    memory: list = field(default_factory=list)

    def median(self):
        return statistics.median(self.wall)


@dataclass
class Counts:
    """What each run of one command did."""

    calls: list = field(default_factory=list)
    syncs: list = field(default_factory=list)
    bytes: list = field(default_factory=list)
    sockets: list = field(default_factory=list)


class Bench:
    """A directory on the disk to measure, and the small programs in it."""

    def __init__(self, directory):
        self.directory = directory
        self.can_trace = shutil.which("strace") and self._traces()
        self.programs = directory / "programs"
        self.programs.mkdir()
        # With musl where possible: static builds of ours have it, too.
        compiler = "musl-gcc" if shutil.which("musl-gcc") else "cc"
        for name in ("launch", "nothing", "append"):
            words = [compiler, "-O2", "-static", "-o", self.programs / name, HERE / f"{name}.c"]
            subprocess.run(words, check=True)

    def time(self, command, times):
        """Runs a command once and records what it cost."""
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
        """Runs a command once under strace and records what it did."""
        traces = Path(tempfile.mkdtemp(dir=self.directory))
        # One file per thread, so that no call's line is split by another thread's.
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
    for values, value in zip((counts.calls, counts.syncs, counts.bytes, counts.sockets), (calls, syncs, written, sockets)):
        values.append(value)


def is_file(path):
    """Whether the path of a descriptor, as strace prints it, is that of a file outside /run."""
    return path.startswith("/") and not path.startswith(("/dev/", "/proc/", "/sys/")) and f"/{SPOOL}/" not in path


def rounds(bench, commands, number):
    """Times each command once per round, so that a disturbance affects all of them, in an order that
    changes, so that no command always runs after the same one."""
    times = {command.name: Times() for command in commands}
    order = random.Random(1)
    for _ in range(number):
        for command in order.sample(commands, len(commands)):
            bench.time(command, times[command.name])
    return times


def counted(bench, commands):
    """Counts what each command does. Counts nothing if strace may not run."""
    counts = {command.name: Counts() for command in commands}
    if bench.can_trace:
        for command in commands:
            for _ in range(command.counted):
                bench.count(command, counts[command.name])
    return counts
