//! The scheduler: what runs `send`, as whom, and whether it works.

use std::path::Path;

use nix::unistd::User;

use crate::command::check::finding::Finding;
use crate::command::check::host::Host;
use crate::queue::Paths;

/// The name of the program, its units and its user.
const NAME: &str = "ssh-session-notifier";

/// Where units are; earlier directories override later ones.
const UNITS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// Where crontabs are: those with a field for the user, and those with one file per user.
const SYSTEM_TABS: &str = "/etc/cron.d";
const USER_TABS: [&str; 3] = ["/etc/crontabs", "/var/spool/cron/crontabs", "/var/spool/cron"];

/// The names of cron daemons, and where they are installed.
const CRONS: [&str; 4] = ["crond", "cron", "fcron", "busybox-crond"];
const CRON_STARTERS: [(&str, &str); 5] = [
    ("/etc/init.d/cron", "/etc/init.d/cron start"),
    ("/etc/init.d/crond", "/etc/init.d/crond start"),
    ("/usr/sbin/cron", "/usr/sbin/cron"),
    ("/usr/sbin/crond", "/usr/sbin/crond"),
    ("/sbin/crond", "/sbin/crond"),
];

const SYSTEMCTL: [&str; 2] = ["/usr/bin/systemctl", "/bin/systemctl"];

/// The findings, and the user that `send` runs as, if known.
pub struct Schedule {
    pub findings: Vec<Finding>,
    /// The user's name.
    pub user: Option<String>,
}

/// Examines everything that may run `send`; `owner` is the user that owns the queue or should own it.
pub fn examine(host: &Host, paths: &Paths, owner: (u32, u32)) -> Schedule {
    let has_systemd = host.has("/run/systemd/system");
    let unit = UNITS.iter().map(|directory| format!("{directory}/{NAME}.service")).find(|path| host.has(path));
    let mut schedule = if let Some(unit) = unit.filter(|_| has_systemd) {
        systemd(host, paths, &unit)
    } else if let Some((tab, user)) = crontab(host) {
        Schedule { findings: vec![cron(host, &tab)], user: Some(user) }
    } else if let Some(process) = host.processes.iter().find(|process| is_watch(&process.line)) {
        let text = format!("scheduler: `send --watch` runs (process {})", process.pid);
        Schedule { findings: vec![Finding::ok(text)], user: None }
    } else if let Some(finding) = init_script(host) {
        Schedule { findings: vec![finding], user: None }
    } else {
        let text = "scheduler: nothing runs `send`: no systemd unit, no crontab, no `send --watch`";
        Schedule { findings: vec![Finding::problem(text, install(host, &owner_name(owner)))], user: None }
    };
    if let Some(user) = &schedule.user
        && host.root == Path::new("/")
        && !matches!(User::from_name(user), Ok(Some(_)))
    {
        let text = format!("scheduler: `send` is to run as {user}, and there is no such user");
        schedule.findings = vec![Finding::problem(text, create_user(host, user, owner))];
        schedule.user = None;
    }
    schedule
}

fn is_watch(line: &str) -> bool {
    line.contains(NAME) && line.ends_with("send --watch")
}

/// An init script (`OpenRC` or procd) whose service doesn't run: `send --watch` was looked for before.
fn init_script(host: &Host) -> Option<Finding> {
    let runs_send = |path: &String| host.read(path).is_some_and(|text| text.lines().any(is_send));
    let script = host.list("/etc/init.d").into_iter().find(runs_send)?;
    let name = script.rsplit('/').next().unwrap_or_default();
    let enable = if host.has("/sbin/rc-update") { format!("rc-update add {name}") } else { format!("{script} enable") };
    let text = format!("scheduler: {script} is there, but `send --watch` is not running");
    Some(Finding::problem(text, format!("{enable}; {script} start")))
}

fn owner_name((uid, _): (u32, u32)) -> String {
    let user = User::from_uid(uid.into()).ok().flatten();
    user.map_or_else(|| NAME.into(), |user| user.name)
}

// --- systemd ---

fn systemd(host: &Host, paths: &Paths, unit: &str) -> Schedule {
    let settings = settings(host, unit);
    let user = values(&settings, "User").pop().unwrap_or("root");
    let mut findings = vec![timer(host, user)];
    findings.extend(last_run(host));
    findings.extend(confinement(paths, &settings));
    Schedule { findings, user: Some(user.into()) }
}

/// What systemd reports about a unit; `None` if it doesn't answer.
fn state(host: &Host, unit: &str) -> Option<String> {
    host.ask(&SYSTEMCTL, &["show", "-p", "ActiveState,Result,ExecMainStatus", unit])
}

fn timer(host: &Host, user: &str) -> Finding {
    let start = format!("systemctl enable --now {NAME}.timer {NAME}.path");
    let state = state(host, &format!("{NAME}.timer"));
    if !host.at(&format!("/etc/systemd/system/timers.target.wants/{NAME}.timer")).is_symlink() {
        return Finding::problem(format!("scheduler: {NAME}.timer is not enabled"), start);
    }
    if state.as_ref().is_some_and(|state| is_stopped(state)) {
        return Finding::problem(format!("scheduler: {NAME}.timer is not running"), start);
    }
    let known = if state.is_some() { "and running" } else { "(systemd doesn't say whether it runs)" };
    Finding::ok(format!("scheduler: {NAME}.timer is enabled {known}; `send` runs as {user}"))
}

fn last_run(host: &Host) -> Option<Finding> {
    let last = state(host, &format!("{NAME}.service"))?;
    last.lines().find(|line| line.starts_with("Result=") && *line != "Result=success")?;
    let text = format!("scheduler: the last run of `send` failed ({})", last.trim().replace('\n', ", "));
    Some(Finding::warning(text, format!("journalctl -n 20 -u {NAME}.service; {NAME} status")))
}

/// Whether the unit may write to the queue and the spool.
fn confinement(paths: &Paths, settings: &[(String, String)]) -> Option<Finding> {
    if values(settings, "ProtectSystem").pop() != Some("strict") {
        return None;
    }
    let writable = values(settings, "ReadWritePaths").join(" ");
    let is_writable = |path: &Path| {
        writable.split_whitespace().any(|allowed| path.starts_with(allowed.trim_start_matches(['-', '+'])))
    };
    let needed = [paths.database.parent().unwrap_or(Path::new("/")), paths.spool.as_path()];
    let missing = needed.into_iter().filter(|path| !is_writable(path));
    let missing: Vec<String> = missing.map(|path| path.display().to_string()).collect();
    if missing.is_empty() {
        return None;
    }
    let (places, drop_in) = (missing.join(" "), format!("/etc/systemd/system/{NAME}.service.d"));
    let text = format!("scheduler: {NAME}.service may not write where the configuration puts the queue: {places}");
    let remedy = format!(
        "mkdir -p {drop_in} && printf '[Service]\\nReadWritePaths={places}\\n' >>{drop_in}/queue.conf && \
         systemctl daemon-reload"
    );
    Some(Finding::problem(text, remedy))
}

fn values<'s>(settings: &'s [(String, String)], key: &str) -> Vec<&'s str> {
    settings.iter().filter(|(name, _)| name == key).map(|(_, value)| value.as_str()).collect()
}

/// Whether systemd reports that a unit is not active. In a container it reports nothing.
fn is_stopped(state: &str) -> bool {
    state.contains("ActiveState=") && !state.contains("ActiveState=active")
}

/// The settings of a unit and its drop-ins, in order.
fn settings(host: &Host, unit: &str) -> Vec<(String, String)> {
    let drop_ins = UNITS.iter().rev().flat_map(|directory| host.list(&format!("{directory}/{NAME}.service.d")));
    let texts = [unit.to_owned()].into_iter().chain(drop_ins).filter_map(|file| host.read(&file));
    let setting = |line: &str| {
        let (key, value) = line.split_once('=')?;
        Some((key.trim().to_owned(), value.trim().to_owned()))
    };
    texts.flat_map(|text| text.lines().filter_map(setting).collect::<Vec<_>>()).collect()
}

// --- cron ---

/// The first crontab that runs `send`, and the user that it runs as.
fn crontab(host: &Host) -> Option<(String, String)> {
    // Busybox's crond reads only the users' crontabs.
    let system = if has_busybox_crond(host) { Vec::new() } else { host.list(SYSTEM_TABS) };
    for tab in system.iter().map(String::as_str).chain(["/etc/crontab"]) {
        let text = host.read(tab).unwrap_or_default();
        if let Some(line) = text.lines().find(|line| is_send(line)) {
            let user = line.split_whitespace().nth(if line.starts_with('@') { 1 } else { 5 });
            return Some((tab.into(), user.unwrap_or_default().into()));
        }
    }
    let tabs = USER_TABS.iter().flat_map(|directory| host.list(directory));
    tabs.into_iter().find_map(|tab| {
        let is_ours = host.read(&tab).is_some_and(|text| text.lines().any(is_send));
        let user = tab.rsplit('/').next()?.to_owned();
        is_ours.then_some((tab, user))
    })
}

fn is_send(line: &str) -> bool {
    !line.starts_with('#') && line.contains(NAME) && line.split_whitespace().any(|word| word == "send")
}

fn has_busybox_crond(host: &Host) -> bool {
    ["/usr/sbin/crond", "/sbin/crond", "/usr/bin/crond", "/bin/crond"]
        .iter()
        .filter_map(|path| host.at(path).read_link().ok())
        .any(|target| target.ends_with("busybox"))
}

fn cron(host: &Host, tab: &str) -> Finding {
    let busybox = host.processes.iter().find(|process| process.name == "busybox" && process.line.contains("crond"));
    if let Some(daemon) = host.process(&CRONS).or(busybox) {
        return Finding::ok(format!("scheduler: {tab} runs `send`, and {} is running", daemon.name));
    }
    let start = if host.has("/run/systemd/system") {
        let unit = if host.has("/lib/systemd/system/cron.service") { "cron" } else { "crond" };
        format!("systemctl enable --now {unit}")
    } else {
        let found = CRON_STARTERS.iter().find(|(path, _)| host.has(path));
        found.map_or("start a cron daemon", |(_, command)| command).into()
    };
    Finding::problem(format!("scheduler: {tab} is there, but no cron daemon is running"), start)
}

/// The command that schedules `send` with the host's means.
fn install(host: &Host, user: &str) -> String {
    let call = host.call();
    let tabs = USER_TABS[..2].iter().find(|directory| host.has(directory));
    match tabs {
        _ if host.has("/run/systemd/system") => "./install.sh".into(),
        Some(tabs) if has_busybox_crond(host) || !host.has(SYSTEM_TABS) => {
            format!("echo '* * * * * {call} send' >>{tabs}/{user} && echo {user} >>{tabs}/cron.update")
        }
        _ if host.has(SYSTEM_TABS) => format!("echo '* * * * * {user} {call} send' >{SYSTEM_TABS}/{NAME}"),
        _ => format!("{call} send --watch &"),
    }
}

// --- the user ---

/// The command that creates the user again, with the number that still owns the queue.
fn create_user(host: &Host, user: &str, (uid, gid): (u32, u32)) -> String {
    let number = |flag: &str, number: u32| if number == 0 { String::new() } else { format!(" {flag} {number}") };
    let (uid, gid) = (number("-u", uid), number("-g", gid));
    if host.has("/usr/sbin/useradd") {
        format!("groupadd -f -r{gid} {user}; useradd -r -M{uid} -g {user} -d / -s /bin/false {user}")
    } else {
        format!("addgroup -S{gid} {user}; adduser -S -D -H{uid} -h / -s /bin/false -G {user} {user}")
    }
}
