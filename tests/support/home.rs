//! A test's own host: a temporary directory with configuration, state directory, spool and /dev.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::Pid;

use crate::support::outcome::Outcome;
use crate::support::program;
use crate::support::queue::Queue;

/// The user nobody, who owns the state directory in tests that want the program to give up root.
pub const SERVICE: u32 = 65534;

/// PAM items in the order in which `pam_exec` adds them to the environment; `PAM_TYPE` comes last.
pub const LOGIN: [(&str, &str); 5] = [
    ("PAM_SERVICE", "sshd"),
    ("PAM_USER", "amanda"),
    ("PAM_TTY", "ssh"),
    ("PAM_RHOST", "192.0.2.7"),
    ("PAM_TYPE", "open_session"),
];

/// Configuration of a single target that prints the notices.
pub const STDOUT: &str = "[notification]\nservice = \"stdout\"\n";

/// A login that finds this many pages in the write-ahead log moves them into the database (src/queue/mod.rs).
pub const LOG_PAGES: usize = 64;

/// The second that a login may take, doubled for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// A temporary directory, removed when its test ends.
pub struct Home(pub PathBuf);

impl Home {
    /// Makes a host with this configuration after `[host]` and `[queue]`.
    pub fn new(config: &str) -> Self {
        Self::below(&std::env::temp_dir(), config)
    }

    /// Makes a host in memory, where the last run of `send` is recorded. `None`, after skipping `test`, if that is not
    /// possible.
    pub fn in_memory(test: &str, config: &str) -> Option<Self> {
        let memory = Path::new("/dev/shm");
        if statfs(memory).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC) {
            return Some(Self::below(memory, config));
        }
        crate::support::skip(test, "needs a tmpfs at /dev/shm");
        None
    }

    fn below(directory: &Path, config: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ssn-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let home = Self(directory.join(name));
        let _ = fs::remove_dir_all(&home.0);
        for directory in ["", "state", "dev"] {
            fs::create_dir(home.at(directory)).expect("a new temporary directory");
        }
        fs::set_permissions(&home.0, Permissions::from_mode(0o755)).expect("it is ours");
        home.configure(config);
        home
    }

    /// Makes a host whose state directory belongs to the service user ([`SERVICE`]). Needs root.
    pub fn of_service(config: &str) -> Self {
        let home = Self::new(config);
        chown(home.at("state"), Some(SERVICE), Some(SERVICE)).expect("root may give a directory away");
        home.configure(config);
        home
    }

    /// Makes a host as install.sh would: the state directory is the service user's if the tests run as root.
    pub fn as_installed(config: &str) -> Self {
        if crate::support::is_root() { Self::of_service(config) } else { Self::new(config) }
    }

    /// Replaces the configuration. The state directory's group may read it.
    pub fn configure(&self, config: &str) {
        let root = self.0.display();
        let text = format!(
            "[host]\nname = \"host.example\"\n[queue]\npath = \"{root}/state/session_events.db\"\n\
             spool = \"{root}/spool\"\n{config}"
        );
        fs::write(self.at("config.toml"), text).expect("a configuration");
        let group = fs::metadata(self.at("state")).expect("it was made first").gid();
        chown(self.at("config.toml"), None, Some(group)).expect("it is ours");
        fs::set_permissions(self.at("config.toml"), Permissions::from_mode(0o640)).expect("it is ours");
    }

    /// Gives the host another name.
    pub fn rename(&self, host: &str) {
        let text = fs::read_to_string(self.at("config.toml")).expect("a configuration");
        let rest = text.splitn(3, '\n').nth(2).expect("the name is in the second line");
        // A JSON string is a TOML string too.
        let text = format!("[host]\nname = {}\n{rest}", serde_json::json!(host));
        fs::write(self.at("config.toml"), text).expect("a configuration");
    }

    /// A path below this directory.
    pub fn at(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.0.clone() } else { self.0.join(path) }
    }

    pub fn database(&self) -> PathBuf {
        self.at("state/session_events.db")
    }

    /// Returns what reads and changes the database.
    pub fn queue(&self) -> Queue {
        Queue(self.database())
    }

    /// Returns a command: the program with this configuration and an empty environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let words = program();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("--config").arg(self.at("config.toml")).args(arguments).env_clear();
        command
    }

    /// Returns the same command in a mount namespace in which /dev is this host's own (see [`Syslog`]) and
    /// `prepare`, a line of shell, has run. Needs root. The program has the process id of the command.
    pub fn command_in_own_dev(&self, prepare: &str, arguments: &[&str]) -> Command {
        self.in_own_dev(prepare, &self.command(arguments))
    }

    /// Returns any command in such a namespace.
    pub fn in_own_dev(&self, prepare: &str, inner: &Command) -> Command {
        let mut command = Command::new("unshare");
        let script = format!("mount --bind {}/dev /dev && {{ {prepare}\n}} && exec \"$@\"", self.0.display());
        command.args(["--mount", "sh", "-ec", &script, "sh"]).arg(inner.get_program()).args(inner.get_args());
        // The PATH is for unshare and mount; the hook ignores it.
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program starts")
    }

    /// Runs the hook as `pam_exec` would, with these PAM items.
    pub fn hook(&self, items: &[(&str, &str)]) -> Output {
        hook(self.command(&["queue"]), items)
    }

    /// Records a session's `open_session` or `close_session`, which must succeed silently.
    #[track_caller]
    pub fn record(&self, user: &str, remote_host: &str, kind: &str) {
        let items = [
            ("PAM_SERVICE", "sshd"),
            ("PAM_USER", user),
            ("PAM_TTY", "ssh"),
            ("PAM_RHOST", remote_host),
            ("PAM_TYPE", kind),
        ];
        self.hook(&items).succeeds();
    }

    /// Records a user's login, which must succeed silently.
    #[track_caller]
    pub fn login(&self, user: &str) {
        self.record(user, "192.0.2.7", "open_session");
    }

    /// Records a login ([`LOGIN`]) while a directory has the database's name, so that the event goes to the
    /// spool.
    #[track_caller]
    pub fn login_into_spool(&self) {
        let (aside, had_database) = (self.at("aside"), self.database().exists());
        if had_database {
            fs::rename(self.database(), &aside).expect("a database");
        }
        fs::create_dir(self.database()).expect("its place is free");
        self.hook(&LOGIN).exits(0).says("the event waits in");
        assert_eq!(self.spooled().len(), 1, "{:?}", self.spooled());
        fs::remove_dir(self.database()).expect("it is empty");
        if had_database {
            fs::rename(aside, self.database()).expect("the database");
        }
    }

    /// Runs `send`.
    pub fn send(&self) -> Output {
        self.run(&["send"])
    }

    /// Runs `send`, which must succeed, and returns what it printed.
    #[track_caller]
    pub fn sent(&self) -> String {
        self.send().succeeds().stdout()
    }

    /// Runs `status`, which may find a problem but must print nothing on stderr, and returns what it printed.
    #[track_caller]
    pub fn status(&self) -> String {
        let output = self.run(&["status"]);
        output.check(matches!(output.status.code(), Some(0 | 1)), "neither 0 nor 1");
        output.says_only("").stdout()
    }

    /// Counts the valid pages of the write-ahead log: those with the salt of its header
    /// (sqlite.org/fileformat2.html, §4.1). The rest is left over from earlier.
    pub fn log_pages(&self) -> usize {
        let log = fs::read(self.at("state/session_events.db-wal")).unwrap_or_default();
        let Some((header, pages)) = log.split_first_chunk::<32>() else { return 0 };
        let page = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
        pages.chunks_exact(24 + page).take_while(|page| page[8..16] == header[16..24]).count()
    }

    /// Records logins of users `user0`, `user1`, … until the next one will move the log into the database.
    /// Returns the users.
    pub fn grow_log(&self) -> Vec<String> {
        let mut users = Vec::new();
        // Some logins write two pages.
        while self.log_pages() + 3 < LOG_PAGES {
            assert!(users.len() < LOG_PAGES, "the log does not grow");
            users.push(format!("user{}", users.len()));
            self.login(&users[users.len() - 1]);
        }
        while self.log_pages() + 1 < LOG_PAGES {
            // This writes one page.
            self.queue().set_version(self.queue().version());
        }
        users
    }

    /// Returns the running processes of this host's hook: those with its configuration on their command lines.
    pub fn workers(&self) -> Vec<Pid> {
        let config = self.at("config.toml").display().to_string();
        let is_worker = |process: &PathBuf| {
            let line = fs::read_to_string(process.join("cmdline")).unwrap_or_default();
            line.contains(&config) && line.ends_with("queue\0")
        };
        let processes = fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path()).filter(is_worker);
        processes.filter_map(|path| path.file_name()?.to_str()?.parse().ok().map(Pid::from_raw)).collect()
    }

    /// Returns the names of the files in the spool, hidden ones too, without the directory in which the sender records
    /// its last run. None if there is no spool.
    pub fn spooled(&self) -> Vec<String> {
        let entries = fs::read_dir(self.at("spool")).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name != "sender").collect()
    }

    /// Returns the file in which the sender records its last run.
    pub fn last_run(&self) -> PathBuf {
        self.at("spool/sender/last-run")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes one directory hold copies of another's files and nothing else.
pub fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).expect("a new directory");
    for entry in fs::read_dir(from).expect("a directory").flatten().filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

/// Runs a command with these PAM items after the variables that it has already.
pub fn hook(mut command: Command, items: &[(&str, &str)]) -> Output {
    // A `Command` sorts its environment; env(1) keeps pam_exec's order.
    let mut ordered = Command::new("/usr/bin/env");
    let given: Vec<(String, String)> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value?.to_str()?.to_owned())))
        .collect();
    let variables = given.iter().map(|(name, value)| format!("{name}={value}"));
    ordered.arg("-i").args(variables).args(items.iter().map(|(name, value)| format!("{name}={value}")));
    ordered.arg(command.get_program()).args(command.get_args());
    command = ordered;
    command.output().expect("the hook starts")
}

/// The syslog daemon's end of `/dev/log` in a host's own `/dev`.
pub struct Syslog(UnixDatagram);

impl Syslog {
    /// Opens the socket and makes the devices in the same directory. Needs root.
    pub fn listen(home: &Home) -> Self {
        let everybody = Mode::from_bits_truncate(0o666);
        for (name, minor) in [("null", 3), ("urandom", 9), ("full", 7)] {
            let path = home.at("dev").join(name);
            mknod(&path, SFlag::S_IFCHR, everybody, makedev(1, minor)).expect("root may make a device");
            fs::set_permissions(path, Permissions::from_mode(0o666)).expect("it is ours");
        }
        Self::at(&home.at("dev/log"))
    }

    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a socket");
        socket.set_nonblocking(true).expect("a socket can be non-blocking");
        fs::set_permissions(path, Permissions::from_mode(0o666)).expect("it is ours");
        Self(socket)
    }

    /// Returns the packets that have arrived since the last call, one a line.
    pub fn lines(&self) -> String {
        let mut lines = String::new();
        let mut packet = [0; 4096];
        while let Ok(length) = self.0.recv(&mut packet) {
            lines.push_str(&String::from_utf8_lossy(&packet[..length]));
            lines.push('\n');
        }
        lines
    }

    /// Returns the messages that have arrived since the last call, with their priority. Continued packets are
    /// joined.
    pub fn messages(&self) -> Vec<String> {
        let mut messages: Vec<String> = Vec::new();
        for line in self.lines().lines() {
            let (head, text) = line.split_once(": ").unwrap_or_default();
            let (priority, _) = head.split_once('>').unwrap_or_default();
            match (text.strip_prefix("(continued) "), messages.last_mut()) {
                (Some(rest), Some(message)) => message.push_str(rest),
                _ => messages.push(format!("{priority}> {text}")),
            }
        }
        messages
    }
}
