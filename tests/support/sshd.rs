//! The machine's sshd in a test's own namespaces, with the test's users, PAM files and network. Those of the
//! machine are neither used nor changed.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Child, Command, Output, Stdio};

use crate::support::home::Home;
use crate::support::outcome::Outcome;
use crate::support::{has_mount_namespaces, program, tools, wait_for};

/// An ordinary user's id; the name is `eve`.
pub const EVE: u32 = 61_234;

/// The address that sshd listens on.
pub const SERVER: &str = "192.0.2.1";

/// The address that logins come from.
pub const CLIENT: &str = "192.0.2.6";

/// Programs that this needs.
const PROGRAMS: [&str; 7] = ["sshd", "ssh", "ssh-keygen", "su", "ip", "nsenter", "setpriv"];

/// Mounts the users and PAM files of the host `$1`, hides the machine's state, adds two addresses and starts
/// `sshd`.
const ENTER: &str = r#"
for file in passwd group shadow pam.d; do mount --bind "$1/etc/$file" "/etc/$file"; done
for directory in /run /var/lib; do mount -t tmpfs -o mode=755 tmpfs "$directory"; done
mkdir -m 755 /run/sshd
ip link set lo up
for address in "$2" "$3"; do ip address add "$address/32" dev lo; done
exec /usr/sbin/sshd -D -e -f "$1/etc/sshd_config"
"#;

/// A running sshd. It ends with its test.
pub struct Sshd<'a> {
    home: &'a Home,
    process: Child,
}

/// Returns the reason why this machine can't run a private sshd, if there is one.
pub fn missing() -> Option<String> {
    if !has_mount_namespaces() {
        return Some("needs root and mount namespaces".into());
    }
    let network = Command::new("unshare").args(["--net", "true"]).output();
    if !network.is_ok_and(|done| done.status.success()) {
        return Some("needs network namespaces".into());
    }
    PROGRAMS.into_iter().find(|name| !tools::has_mounted(name)).map(|name| format!("needs {name}"))
}

/// Returns the line of docs/pam.md for the session stack.
pub fn hook_line(home: &Home) -> String {
    let program = program().join(" ");
    format!("session optional pam_exec.so quiet {program} --config {} queue\n", home.at("config.toml").display())
}

impl<'a> Sshd<'a> {
    /// Starts sshd with this session stack, which `su` and `pamtest` (for pamtester) also get.
    pub fn start(home: &'a Home, session: &str) -> Self {
        write_users(home);
        write_pam(home, session);
        write_keys(home);
        let log = fs::File::create(home.at("sshd.log")).expect("a log");
        let process = Command::new("unshare")
            .args(["--mount", "--net", "sh", "-ec", &format!("{}{ENTER}", tools::MOUNT), "sh"])
            .args([home.0.as_os_str(), SERVER.as_ref(), CLIENT.as_ref()])
            .stderr(log)
            .spawn()
            .expect("unshare starts");
        let sshd = Self { home, process };
        assert!(wait_for(|| sshd.log().contains("Server listening")), "{}", sshd.log());
        sshd
    }

    /// Returns a command that runs a program on sshd's host.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.process.id().to_string(), "--mount", "--net", program]);
        command
    }

    /// Returns a command that runs a program on sshd's host as `eve`.
    pub fn command_of_eve(&self, program: &str) -> Command {
        let (mut command, id) = (self.command("setpriv"), EVE.to_string());
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", program]);
        command
    }

    /// Returns an ssh client that logs in as `eve` and runs a line of shell.
    pub fn ssh(&self, line: &str) -> Command {
        let mut command = self.client();
        command.arg(format!("eve@{SERVER}")).arg(line);
        command
    }

    fn client(&self) -> Command {
        let mut command = self.command("ssh");
        command.args(["-F", "none", "-b", CLIENT, "-i"]).arg(self.home.at("key"));
        for option in ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes"] {
            command.args(["-o", option]);
        }
        command
    }

    /// Logs in, runs a line of shell, logs out, and waits until sshd has closed the session.
    pub fn login(&self, line: &str) -> Output {
        let output = self.ssh(line).stdin(Stdio::null()).output().expect("ssh starts");
        output.when(self.log()).exits(0);
        self.wait_for_the_end();
        output
    }

    /// Logs in only to forward a connection to `address`. Returns what came through it.
    pub fn tunnel(&self, address: &str) -> Output {
        let mut command = self.client();
        command.args(["-W", address, &format!("eve@{SERVER}")]).stdin(Stdio::null());
        let output = command.output().expect("ssh starts");
        self.wait_for_the_end();
        output
    }

    /// Opens and closes a session with pamtester, from this remote host and on this terminal.
    pub fn pamtester(&self, remote_host: &str, tty: &str) -> Output {
        let items = [format!("rhost={remote_host}"), format!("tty={tty}")];
        let mut command = self.command("pamtester");
        command.args(["-I", &items[0], "-I", &items[1], "pamtest", "eve", "open_session", "close_session"]);
        command.output().expect("pamtester starts")
    }

    /// Returns the processes that sshd has started for its sessions.
    pub fn sessions(&self) -> Vec<String> {
        let id = self.process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        children.split_whitespace().map(str::to_owned).collect()
    }

    /// Replaces the session stack of `sshd`, `su` and `pamtest`.
    pub fn set_session_stack(&self, session: &str) {
        write_pam(self.home, session);
    }

    /// Waits until no session is left: sshd calls PAM once more after the client has gone.
    pub fn wait_for_the_end(&self) {
        assert!(wait_for(|| self.sessions().is_empty()), "a session of sshd does not end\n{}", self.log());
    }

    /// Returns sshd's messages.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.at("sshd.log")).unwrap_or_default()
    }
}

impl Drop for Sshd<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn write_users(home: &Home) {
    let eve = home.at("eve");
    fs::create_dir(home.at("etc")).expect("a new directory");
    let passwd = format!(
        "root:x:0:0:root:/root:/bin/sh\nsshd:x:105:65534::/run/sshd:/usr/sbin/nologin\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\neve:x:{EVE}:{EVE}::{}:/bin/sh\n",
        eve.display()
    );
    fs::write(home.at("etc/passwd"), passwd).expect("users");
    fs::write(home.at("etc/group"), format!("root:x:0:\nnogroup:x:65534:\neve:x:{EVE}:\n")).expect("groups");
    fs::write(home.at("etc/shadow"), "root:*:20000:0:99999:7:::\neve:*:20000:0:99999:7:::\n").expect("no passwords");
    fs::create_dir_all(eve.join(".ssh")).expect("a home directory");
    for path in [eve.join(".ssh"), eve] {
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("it is ours");
        chown(&path, Some(EVE), Some(EVE)).expect("root may give a directory away");
    }
}

fn write_pam(home: &Home, session: &str) {
    fs::create_dir_all(home.at("etc/pam.d")).expect("a directory");
    for (service, auth) in [("sshd", "pam_deny.so"), ("su", "pam_permit.so"), ("pamtest", "pam_deny.so")] {
        let text = format!("auth required {auth}\naccount required pam_permit.so\n{session}");
        fs::write(home.at("etc/pam.d").join(service), text).expect("a PAM service");
    }
}

fn write_keys(home: &Home) {
    for name in ["key", "host_key"] {
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(home.at(name)).output();
        assert!(made.as_ref().is_ok_and(|made| made.status.success()), "{made:?}");
    }
    fs::copy(home.at("key.pub"), home.at("eve/.ssh/authorized_keys")).expect("eve's key");
    let config = format!(
        "ListenAddress {SERVER}\nHostKey {}\nUsePAM yes\nPasswordAuthentication no\nPidFile none\n",
        home.at("host_key").display()
    );
    fs::write(home.at("etc/sshd_config"), config).expect("a configuration");
}
