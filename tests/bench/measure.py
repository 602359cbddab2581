"""What a command costs: time and memory without anybody watching, calls and bytes under strace."""

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

# One line of strace's, which `-y` has put the file behind each descriptor into.
CALL = re.compile(r"(\w+)\((?:\d+<(.*?)>)?")
RESULT = re.compile(r"= (\d+)$")


@dataclass
class Command:
    """A row of a table: what is run, in which environment."""

    name: str
    words: list
    environment: dict = field(default_factory=dict)
    # How many runs are counted under strace: where a rare one costs more, enough to meet it.
    counted: int = 5


@dataclass
class Times:
    """What the runs of one command cost; wall and cpu in milliseconds, memory in KiB."""

    wall: list = field(default_factory=list)
    cpu: list = field(default_factory=list)
    memory: list = field(default_factory=list)

    def median(self):
        return statistics.median(self.wall)


@dataclass
class Counts:
    """What the runs of one command did: a number a run."""

    calls: list = field(default_factory=list)
    syncs: list = field(default_factory=list)
    bytes: list = field(default_factory=list)
    sockets: list = field(default_factory=list)


class Bench:
    """A directory on the disk, and the small programs that measure."""

    def __init__(self, directory):
        self.directory = directory
        self.can_trace = shutil.which("strace") and self._traces()
        self.compilers = [words for words in ("cc", "musl-gcc") if shutil.which(words)]
        for compiler in self.compilers:
            (directory / compiler).mkdir()
            for name in ("launch", "nothing", "append"):
                words = [compiler, "-O2", "-static", "-o", directory / compiler / name, HERE / f"{name}.c"]
                subprocess.run(words, check=True)
        self.launcher = directory / self.compilers[-1] / "launch"

    def time(self, command, times):
        """Runs a command once and adds what it cost."""
        reader, writer = os.pipe()
        words = [self.launcher, str(writer), *command.words]
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
        """Runs a command once under strace and adds what it did."""
        traces = Path(tempfile.mkdtemp(dir=self.directory))
        # A file a thread, in which no call is interrupted by another thread's.
        words = ["strace", "-ff", "-y", "-qq", "-e", "signal=none", "-o", traces / "of", *command.words]
        subprocess.run(words, env=command.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        tally(traces.iterdir(), counts)
        shutil.rmtree(traces)

    def _traces(self):
        tried = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "true"], stderr=subprocess.DEVNULL)
        return tried.returncode == 0


def tally(traces, counts):
    """Adds up one run: all calls, the syncs, the bytes that went into files, the sockets opened."""
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
    """Whether a descriptor's name, as strace has it, is that of a file on a disk."""
    return path.startswith("/") and not path.startswith(("/dev/", "/proc/", "/sys/"))


def rounds(bench, commands, number):
    """Times every command once a round, so that what disturbs one disturbs all, in an order that
    changes, so that none always has the same one before it."""
    times = {command.name: Times() for command in commands}
    order = random.Random(1)
    for _ in range(number):
        for command in order.sample(commands, len(commands)):
            bench.time(command, times[command.name])
    return times


def counted(bench, commands):
    """Counts what every command does; nothing where strace may not run."""
    counts = {command.name: Counts() for command in commands}
    if bench.can_trace:
        for command in commands:
            for _ in range(command.counted):
                bench.count(command, counts[command.name])
    return counts
