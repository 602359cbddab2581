"""The rows about hooks: the least that a hook can cost, ours, and a shell script with curl."""

import os
import re
import shutil
import sqlite3
import subprocess

from measure import SPOOL, Command

SERVICE_USER = 65534

NOTHING = "nothing"
FLOOR = "append, fdatasync"

# Enough logins for SQLite to move its log into the database twice.
SEVERAL = 150

# The number of events in the row "100,000 waiting".
MANY = 100_000

CONFIG = """[host]
name = "host.example"
[notification]
service = "{service}"
[notification.ntfy]
topic_url = "http://127.0.0.1:{port}/mytopic"
[allowlist]
ips = ["10.0.0.0/8"]
[queue]
path = "{home}/state/session_events.db"
spool = "{home}/{spool}"
max_waiting = 1000000
history_days = 3650
"""


def named(name, label):
    """Returns the name of a row about one build."""
    return f"{name} [{label}]"


def pam(remote_host):
    """Returns PAM's items in pam_exec's order, PAM_TYPE last."""
    return {
        "PAM_SERVICE": "sshd",
        "PAM_USER": "amanda",
        "PAM_TTY": "ssh",
        "PAM_RHOST": remote_host,
        "PAM_TYPE": "open_session",
    }


class Host:
    """A directory with a configuration and a queue, and one binary that uses them."""

    def __init__(self, directory, binary, service="stdout", port=9):
        self.home, self.binary = directory, binary
        (self.home / "state").mkdir(parents=True)
        (self.home / SPOOL).mkdir()
        self.config = self.home / "config.toml"
        self.config.write_text(CONFIG.format(service=service, port=port, home=self.home, spool=SPOOL))
        self.config.chmod(0o640)
        # As installed: the program gives up root and becomes the owner of the state directory.
        if os.geteuid() == 0:
            for name in ("state", SPOOL):
                os.chown(self.home / name, SERVICE_USER, SERVICE_USER)

    @property
    def database(self):
        return self.home / "state/session_events.db"

    def command(self, name, what, remote_host=None, counted=5):
        words = [self.binary, "--config", self.config, what]
        return Command(name, words, pam(remote_host) if remote_host else {}, counted)

    def count(self):
        """Returns the number of events in the queue."""
        own = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        try:
            return own.execute("SELECT count(*) FROM event").fetchone()[0]
        finally:
            own.close()

    def login(self):
        self.run("queue", pam("192.0.2.7"))

    def run(self, what, environment=None):
        words = [self.binary, "--config", self.config, what]
        subprocess.run(words, env=environment or {}, stdout=subprocess.DEVNULL, check=True)

    def fill(self, number):
        """Copies the newest event this often, with all columns that this build's table has."""
        own = sqlite3.connect(self.database)
        columns = [row[1] for row in own.execute("PRAGMA table_info(event)") if row[1] != "id"]
        names = ", ".join(f'"{column}"' for column in columns)
        newest = own.execute(f"SELECT {names} FROM event ORDER BY id DESC LIMIT 1").fetchone()
        places = ", ".join("?" for _ in columns)
        copies = (tuple(with_uid(value, i) for value in newest) for i in range(number))
        own.executemany(f"INSERT INTO event ({names}) VALUES ({places})", copies)
        own.commit()
        own.close()
        self.give_away()

    def give_away(self):
        """Gives the files that SQLite made here as root to the service user."""
        for path in (self.home / "state").iterdir():
            shutil.chown(path, *(2 * [(self.home / "state").stat().st_uid]))


def with_uid(value, number):
    """Gives a copied event a uid of its own in its facts, because two events with the same uid count as one."""
    if not isinstance(value, str):
        return value
    return re.sub(r"(?m)^(uid \S+)\S{8}$", lambda found: f"{found[1]}{number:08d}", value)


def floor(bench):
    """Returns the rows of programs that no hook can be faster than."""
    programs = bench.programs
    return [
        Command(NOTHING, [programs / "nothing"]),
        Command(FLOOR, [programs / "append", bench.directory / "appended"]),
    ]


def ours(bench, builds):
    """Returns the rows of our hook (at an ordinary login, at an allowlisted one, and with many events waiting)
    and of a sender with nothing to send. The builds of each kind follow one another."""
    rows = {name: [] for name in ("queue", "queue, allowlisted", "queue, 100,000 waiting", "send, idle")}
    for label, binary in builds.items():
        usual, waiting, idle = (
            Host(bench.directory / f"{label}-{name}", binary) for name in ("usual", "waiting", "idle")
        )
        for host in (usual, waiting, idle):
            host.login()
        waiting.fill(MANY)
        idle.run("send")
        commands = [
            usual.command(named("queue", label), "queue", "192.0.2.7", SEVERAL),
            usual.command(named("queue, allowlisted", label), "queue", "10.0.0.2"),
            waiting.command(named("queue, 100,000 waiting", label), "queue", "192.0.2.7"),
            idle.command(named("send, idle", label), "send"),
        ]
        for row, command in zip(rows.values(), commands):
            row.append(command)
    return [command for row in rows.values() for command in row]


def scripts(bench, port):
    """Returns the row of a hook as people usually write it, a shell script that runs curl. Its server answers at
    once."""
    if not shutil.which("curl"):
        return []
    path = bench.directory / "hook-curl.sh"
    curl(path, port)
    return [Command("shell and curl", [path], {**pam("192.0.2.7"), "PATH": "/usr/bin:/bin"})]


def curl(path, port):
    """Writes a hook that runs curl."""
    text = '"$PAM_USER ($PAM_RHOST) logged in via $PAM_SERVICE"'
    path.write_text(f"#!/bin/sh\ncurl -s -o /dev/null -m 10 -d {text} http://127.0.0.1:{port}/mytopic\n")
    path.chmod(0o755)
