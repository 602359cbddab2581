"""Real logins: `ssh … true` to a private sshd with PAM, in its own mount namespace."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import hooks
from hooks import Host, named
from measure import Command

NO_HOOK = "login, no hook"
NOTHING = "login, pam_exec of nothing"
SLOW = "login, curl, 3 s server"

# The directory in which tests/setup.sh unpacks sshd if it can't install it.
TOOLS = Path(__file__).resolve().parents[2] / os.environ.get("CARGO_TARGET_DIR", "target") / "tools/usr"

# Starts sshd in its own mount namespace, with unpacked packages over /usr, an empty /run/sshd that only root can
# write to, our users and our PAM file. Nothing outside changes.
START = """mount --make-rprivate /
[ ! -d '{tools}' ] || mount -t overlay -o lowerdir='{tools}':/usr tools /usr
mount -t tmpfs -o mode=755 tmpfs {run}
mkdir -p -m 755 /run/sshd
mount --bind {home}/passwd /etc/passwd
mount --bind {home}/pam.d /etc/pam.d
exec /usr/sbin/sshd -D -e -f {home}/sshd_config"""

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
    """Returns the reason why real logins can't be measured here, or None."""
    for program in ("ssh", "ssh-keygen", "unshare"):
        if not shutil.which(program):
            return f"there is no {program}"
    if not any(path.exists() for path in (Path("/usr/sbin/sshd"), TOOLS / "sbin/sshd")):
        return "there is no sshd"
    if os.geteuid() != 0:
        return "only root can start sshd"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0:
        return "mount namespaces are not permitted"
    return None


class Sshd:
    """One sshd whose PAM session runs this hook."""

    def __init__(self, home, hook):
        home.mkdir()
        for name in ("host_key", "user_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / name], check=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.home = home
        (home / "sshd_config").write_text(CONFIG.format(port=self.port, home=home))
        (home / "pam.d").mkdir()
        (home / "pam.d/sshd").write_text(PAM + (f"session optional pam_exec.so quiet {hook}\n" if hook else ""))
        users = Path("/etc/passwd").read_text().splitlines()
        if not any(user.startswith("sshd:") for user in users):
            users.append("sshd:x:105:65534::/run/sshd:/usr/sbin/nologin")
        (home / "passwd").write_text("\n".join(users) + "\n")
        run = "/run/sshd" if Path("/run/sshd").is_dir() else "/run"
        with open(home / "log", "w") as log:
            script = START.format(tools=TOOLS, run=run, home=home)
            self.process = subprocess.Popen(["unshare", "--mount", "sh", "-ec", script], stderr=log)
        self._wait()

    def command(self, name):
        options = ["-F", "none", "-i", self.home / "user_key", "-p", str(self.port), "-o", "BatchMode=yes"]
        options += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        return Command(name, [shutil.which("ssh"), *options, "127.0.0.1", "true"], {"PATH": "/usr/bin:/bin"})

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def _wait(self):
        """Waits until sshd listens."""
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    self.close()
                    raise SystemExit(f"sshd does not start: {(self.home / 'log').read_text()}") from None
                time.sleep(0.02)


def rows(bench, builds, slow_port):
    """Returns the hook of each row (none, a program that does nothing, each build of ours, curl with a slow
    server), and the hosts of our builds."""
    found = {NO_HOOK: None, NOTHING: bench.programs / "nothing"}
    hosts = []
    for label, binary in builds.items():
        host = Host(bench.directory / f"{label}-login", binary)
        host.login()
        hosts.append(host)
        found[named("login, queue", label)] = f"{binary} --config {host.config} queue"
    if shutil.which("curl"):
        found[SLOW] = bench.directory / "slow.sh"
        hooks.curl(found[SLOW], slow_port)
    return found, hosts
