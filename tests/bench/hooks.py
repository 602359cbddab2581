"""The rows about a login: what bounds a hook from below, ours, and what people write instead."""

import os
import shutil
import sqlite3
import subprocess
import sys

from measure import Command

SERVICE_USER = 65534

NOTHING = "nothing"
FLOOR = "append, fdatasync"

# Enough logins for the queue to move its log into the database at least twice.
SEVERAL = 150

# An event that waits and one that doesn't count alike here; so many of each.
MANY = 100_000

CONFIG = """[host]
name = "host.example"
[notification]
service = {service}
[notification.ntfy]
topic_url = "http://127.0.0.1:{port}/mytopic"
[allowlist]
ips = ["10.0.0.0/8"]
[queue]
path = "{home}/state/session_events.db"
spool = "{home}/spool"
max_waiting = 1000000
history_days = 3650
"""


def pam(remote_host):
    """PAM's items as pam_exec hands them over: in this order, PAM_TYPE last."""
    return {
        "PAM_SERVICE": "sshd",
        "PAM_USER": "amanda",
        "PAM_TTY": "ssh",
        "PAM_RHOST": remote_host,
        "PAM_TYPE": "open_session",
    }


class Host:
    """A directory with a configuration and a queue, and one binary that works on it."""

    def __init__(self, directory, binary, service="stdout", port=9):
        self.home, self.binary = directory, binary
        (self.home / "state").mkdir(parents=True)
        (self.home / "spool").mkdir()
        self.config = self.home / "config.toml"
        self.config.write_text(CONFIG.format(service=f'"{service}"', port=port, home=self.home))
        self.config.chmod(0o640)
        # As installed: root gives itself up for the owner of the state directory.
        if os.geteuid() == 0:
            for name in ("state", "spool"):
                os.chown(self.home / name, SERVICE_USER, SERVICE_USER)

    @property
    def database(self):
        return self.home / "state/session_events.db"

    def command(self, name, what, remote_host=None, counted=5):
        words = [self.binary, "--config", self.config, what]
        return Command(name, words, pam(remote_host) if remote_host else {}, counted)

    def count(self):
        """How many events the queue has."""
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
        """Makes so many events of the newest one, in the tables that the binary made."""
        own = sqlite3.connect(self.database)
        columns = [row[1] for row in own.execute("PRAGMA table_info(event)") if row[1] != "id"]
        names = ", ".join(columns)
        own.execute(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {number}) "
            f"INSERT INTO event ({names}) SELECT {names} FROM n, (SELECT {names} FROM event ORDER BY id DESC LIMIT 1)"
        )
        own.commit()
        own.close()
        self.give_away()

    def give_away(self):
        """What this process made as root beside the queue belongs to the service user, too."""
        for path in (self.home / "state").iterdir():
            shutil.chown(path, *(2 * [(self.home / "state").stat().st_uid]))

    def take_over(self, number):
        """Begins with a Go program's queue of so many events, and delivers them: they stay as history."""
        old = sqlite3.connect(self.database)
        old.executescript(
            "PRAGMA journal_mode = WAL; CREATE TABLE schema_version (version INTEGER NOT NULL);"
            "INSERT INTO schema_version VALUES (1);"
            "CREATE TABLE session_events (id INTEGER PRIMARY KEY, event_type TEXT NOT NULL, user TEXT NOT NULL,"
            " remote_host TEXT NOT NULL, terminal TEXT NOT NULL, service TEXT NOT NULL,"
            " session_datetime DATETIME NOT NULL, locked_at DATETIME);"
            "CREATE INDEX idx_session_events_session_datetime ON session_events (session_datetime);"
        )
        row = ("open_session", "amanda", "192.0.2.7", "ssh", "sshd", "2026-11-20T10:00:00.123456789+12:00", None)
        old.executemany(
            "INSERT INTO session_events (event_type, user, remote_host, terminal, service, session_datetime, locked_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (row for _ in range(number)),
        )
        old.commit()
        old.close()
        self.give_away()
        self.run("send")


def script(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return [path]


def floor(bench):
    """The programs that no hook can be faster than."""
    rows = []
    for compiler in bench.compilers:
        suffix = "" if compiler == "cc" else " [musl]"
        programs = bench.directory / compiler
        rows.append(Command(NOTHING + suffix, [programs / "nothing"]))
        rows.append(Command(FLOOR + suffix, [programs / "append", programs / "appended"]))
    return rows


def ours(bench, label, binary):
    """Our hook: usual, allowlisted, with many waiting and with a long history."""
    homes = {}
    for name in ("queue", "waiting", "history"):
        homes[name] = Host(bench.directory / f"{label or 'release'}-{name}", binary)
    homes["queue"].login()
    homes["waiting"].login()
    homes["waiting"].fill(MANY)
    homes["history"].take_over(MANY)
    suffix = f" [{label}]" if label else ""
    return [
        homes["queue"].command("queue" + suffix, "queue", "192.0.2.7", SEVERAL),
        homes["queue"].command("queue, allowlisted" + suffix, "queue", "10.0.0.2"),
        homes["waiting"].command("queue, 100,000 waiting" + suffix, "queue", "192.0.2.7", SEVERAL),
        homes["history"].command("queue, Go history" + suffix, "queue", "192.0.2.7", SEVERAL),
    ]


def version(label, binary):
    """What starting costs."""
    return Command("--version" + (f" [{label}]" if label else ""), [binary, "--version"])


def scripts(bench, port):
    """What people put into PAM instead."""
    place = {**pam("192.0.2.7"), "PATH": "/usr/bin:/bin"}
    python = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
    text = '"$PAM_USER ($PAM_RHOST) logged in via $PAM_SERVICE"'
    url = f"http://127.0.0.1:{port}/mytopic"
    rows = []
    if shutil.which("curl"):
        words = script(bench.directory / "hook-curl.sh", f"#!/bin/sh\ncurl -s -o /dev/null -m 10 -d {text} {url}\n")
        rows.append(Command("shell and curl", words, place))
    if shutil.which("sqlite3"):
        database = bench.directory / "script.db"
        subprocess.run(["sqlite3", database, "CREATE TABLE event (id INTEGER PRIMARY KEY, at TEXT, what TEXT)"], check=True)
        insert = f"""sqlite3 {database} "INSERT INTO event (at, what) VALUES (datetime('now'), '$PAM_USER ($PAM_RHOST)')"\n"""
        rows.append(Command("shell and sqlite3", script(bench.directory / "hook-sqlite3.sh", "#!/bin/sh\n" + insert), place))
    source = (
        f"#!{python}\nimport os, urllib.request\ne = os.environ\n"
        f"text = f\"{{e['PAM_USER']}} ({{e['PAM_RHOST']}}) logged in via {{e['PAM_SERVICE']}}\"\n"
        f"urllib.request.urlopen('{url}', text.encode(), timeout=10).read()\n"
    )
    rows.append(Command("python and urllib", script(bench.directory / "hook-urllib.py", source), place))
    return rows


def idle_sender(bench, label, binary):
    """`send` with nothing to do: everything was delivered before."""
    host = Host(bench.directory / f"{label or 'release'}-idle", binary)
    host.login()
    host.run("send")
    return host.command("send, idle" + (f" [{label}]" if label else ""), "send")
