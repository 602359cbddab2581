"""Real logins: `ssh ... true` against a private sshd with PAM, in a mount namespace of its own."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from hooks import Host
from measure import Command

SSHD = "/usr/sbin/sshd"

# The namespace has its own /etc/pam.d/sshd and /run/sshd; nothing outside is changed.
START = """mount --make-rprivate / && mount -t tmpfs none {run} && mkdir -p /run/sshd
mount --bind {pam} /etc/pam.d/sshd && exec {sshd} -D -e -f {config}"""

CONFIG = """Port {port}
ListenAddress 127.0.0.1
HostKey {home}/host_key
AuthorizedKeysFile {home}/user_key.pub
PidFile none
UsePAM yes
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
PrintMotd no
PrintLastLog no
"""

PAM = "auth required pam_deny.so\naccount required pam_permit.so\nsession required pam_permit.so\n"


def why_not():
    """Why real logins can't be measured here; nothing where they can."""
    for program in ("ssh", "ssh-keygen", "unshare", SSHD):
        if not shutil.which(program):
            return f"there is no {program}"
    if os.geteuid() != 0:
        return "only root can start sshd"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0:
        return "mount namespaces are not allowed"
    return None


class Sshd:
    """One sshd whose PAM session has this hook."""

    def __init__(self, home, hook):
        home.mkdir()
        for name in ("host_key", "user_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / name], check=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.home = home
        (home / "sshd_config").write_text(CONFIG.format(port=self.port, home=home))
        (home / "pam").write_text(PAM + (f"session optional pam_exec.so quiet {hook}\n" if hook else ""))
        run = "/run/sshd" if Path("/run/sshd").is_dir() else "/run"
        start = START.format(run=run, pam=home / "pam", sshd=SSHD, config=home / "sshd_config")
        with open(home / "log", "w") as log:
            self.process = subprocess.Popen(["unshare", "--mount", "sh", "-ec", start], stderr=log)
        self._wait()

    def command(self, name):
        options = ["-F", "none", "-i", self.home / "user_key", "-p", str(self.port), "-o", "BatchMode=yes"]
        options += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        return Command(name, [shutil.which("ssh"), *options, "127.0.0.1", "true"], {"PATH": "/usr/bin:/bin"})

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def _wait(self):
        """Until it listens."""
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise SystemExit(f"sshd does not start: {(self.home / 'log').read_text()}") from None
                time.sleep(0.02)


def sshds(bench, binary, slow_port):
    """An sshd without a hook, one with ours, and one with curl and a server that takes its time."""
    host = Host(bench.directory / "login-queue", binary)
    host.login()
    curl = bench.directory / "slow.sh"
    curl.write_text(f"#!/bin/sh\ncurl -s -o /dev/null -m 10 -d \"$PAM_USER\" http://127.0.0.1:{slow_port}/mytopic\n")
    curl.chmod(0o755)
    return {
        "login, no hook": Sshd(bench.directory / "sshd-none", None),
        "login, queue": Sshd(bench.directory / "sshd-queue", f"{binary} --config {host.config} queue"),
        "login, curl, 3 s server": Sshd(bench.directory / "sshd-curl", curl),
    }, host
