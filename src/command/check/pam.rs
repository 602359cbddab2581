//! PAM: every line that runs this program, and the services that should have one.

use std::fs;
use std::path::Path;

use crate::command::check::finding::Finding;
use crate::command::check::host::Host;
use crate::command::check::stack::{self, Line};

/// The program's name.
const NAME: &str = "ssh-session-notifier";

/// Services through which people log in or become another user. The first must be watched.
const PEOPLE: [&str; 4] = ["sshd", "login", "su", "sudo"];

/// Services that a user starts, who may keep the hook from starting: there, `required` is a choice.
const STARTED: [&str; 4] = ["su", "su-l", "sudo", "sudo-i"];

/// Services that open sessions for jobs rather than people.
const JOBS: [&str; 4] = ["cron", "crond", "atd", "systemd-user"];

/// Options of `pam_exec` that may come before the program.
const OPTIONS: [&str; 6] = ["debug", "expose_authtok", "seteuid", "quiet", "quiet_log", "stdout"];

/// Examines all PAM files.
pub fn examine(host: &Host) -> Vec<Finding> {
    let mut findings = Vec::new();
    let ours: Vec<Line> = stack::files(host)
        .iter()
        .flat_map(|file| stack::of_file(host, file))
        .filter(|line| is_ours(host, line))
        .collect();
    for line in &ours {
        match mistake(host, line) {
            Some(what) => push(&mut findings, Finding::problem(at(line, &what), mend(host, line))),
            None => findings.extend(style(host, line)),
        }
    }
    let mut unwatched = Vec::new();
    let mut included = Vec::new();
    for service in PEOPLE {
        let stack = stack::of_service(host, service);
        included.extend(stack.iter().map(|line| line.file.clone()));
        let is_watched = examine_service(host, service, &stack, &mut findings);
        if !is_watched && stack::file_of(host, service).is_some() {
            unwatched.push(service);
        }
    }
    for line in ours.iter().filter(|line| !included.contains(&line.file)) {
        let service = line.file.rsplit('/').next().unwrap_or_default();
        if !JOBS.contains(&service) {
            examine_service(host, service, &stack::of_service(host, service), &mut findings);
        }
    }
    for service in JOBS {
        findings.extend(examine_jobs(host, service));
    }
    if let Some(place) = unwatched.iter().position(|service| *service == PEOPLE[0]) {
        unwatched.remove(place);
        let file = stack::file_of(host, PEOPLE[0]).unwrap_or_default();
        let remedy = insert(host, PEOPLE[0], &file);
        findings
            .push(Finding::problem(format!("PAM: {file} doesn't call this program: ssh logins aren't seen"), remedy));
    }
    if !unwatched.is_empty() {
        let what = format!("PAM: not watched, which is a matter of choice: {}", unwatched.join(", "));
        findings.push(Finding::ok(what));
    }
    findings
}

/// Examines a service's stack. Returns whether any line runs this program, correctly or not.
fn examine_service(host: &Host, service: &str, stack: &[Line], findings: &mut Vec<Finding>) -> bool {
    let ours: Vec<usize> = (0..stack.len()).filter(|place| is_ours(host, &stack[*place])).collect();
    let Some(first) = ours.first() else { return false };
    if ours.iter().any(|place| mistake(host, &stack[*place]).is_some()) {
        return true;
    }
    let line = &stack[*first];
    if let Some(second) = ours.get(1) {
        let what = format!("calls this program a second time for {service}, after {}:{}", line.file, line.span.0);
        let second = &stack[*second];
        push(findings, Finding::problem(at(second, &what), delete(second)));
    } else if let Some(before) = stack[..*first].iter().find(|line| is_env(line)) {
        let what = format!(
            "stands after {} ({}:{}), where users can forge or block what the hook sees",
            before.module, before.file, before.span.0
        );
        push(findings, Finding::problem(at(line, &what), mend_for(host, service, line)));
    } else {
        findings.push(Finding::ok(format!("PAM: {service} is watched ({}:{})", line.file, line.span.0)));
        findings.extend(environment_of(stack));
    }
    true
}

/// Warns if users can set variables before any session line runs.
fn environment_of(stack: &[Line]) -> Option<Finding> {
    let is_set = |line: &&Line| {
        line.kind == "auth" && line.module == "pam_env.so" && line.args.iter().any(|arg| arg == "user_readenv=1")
    };
    let line = stack.iter().find(is_set)?;
    let remedy = format!("sed -i '{}s/user_readenv=1/user_readenv=0/' {}", line.span.0, line.file);
    Some(Finding::warning(at(line, "lets users set variables before the hook runs"), remedy))
}

/// Warns if jobs are reported like logins.
fn examine_jobs(host: &Host, service: &str) -> Option<Finding> {
    let stack = stack::of_service(host, service);
    let line = stack.iter().find(|line| is_ours(host, line) && mistake(host, line).is_none())?;
    let is_own = Some(&line.file) == stack::file_of(host, service).as_ref();
    let remedy = if is_own { delete(line) } else { mend_for(host, PEOPLE[0], line) };
    Some(Finding::warning(at(line, &format!("also runs for {service}: each of its jobs is reported")), remedy))
}

fn push(findings: &mut Vec<Finding>, finding: Finding) {
    if !findings.iter().any(|known| known.remedy == finding.remedy) {
        findings.push(finding);
    }
}

/// Whether a line runs this program, correctly or not.
pub fn is_ours(host: &Host, line: &Line) -> bool {
    let exe = host.exe.file_name().unwrap_or_default().to_string_lossy();
    line.args.iter().any(|arg| arg.contains(NAME) || arg.rsplit('/').next() == Some(&exe))
}

/// What makes our line useless or harmful.
fn mistake(host: &Host, line: &Line) -> Option<String> {
    let mut args = line
        .args
        .iter()
        .map(String::as_str)
        .filter(|arg| !OPTIONS.contains(arg) && !arg.starts_with("log=") && !arg.starts_with("type="));
    let program = args.next().unwrap_or_default();
    if line.module != "pam_exec.so" {
        return Some(format!("names the module {}; it is called pam_exec.so", line.module));
    }
    if line.kind != "session" {
        return Some(format!("is a line for `{}`; only `session` lines see sessions", line.kind));
    }
    let is_chosen = line.control == "required" && STARTED.iter().any(|name| line.file.ends_with(&format!("/{name}")));
    if line.control != "optional" && !is_chosen && !line.control.starts_with('[') {
        return Some(format!(
            "is `{}`, which can keep people out or skip other modules; it must be `optional`",
            line.control
        ));
    }
    if fs::canonicalize(host.at(program)).ok() != fs::canonicalize(&host.exe).ok() {
        let what = if host.has(program) { "another program" } else { "which doesn't exist" };
        return Some(format!("calls {program}, {what}; this program is {}", host.exe.display()));
    }
    args.next_back().is_none_or(|last| last != "queue").then(|| "lacks the argument `queue`".into())
}

/// What could be better about a working line.
fn style(host: &Host, line: &Line) -> Option<Finding> {
    if let Some(config) = other_config(host, line) {
        let what = format!("gives the hook {config}, and this check examines {}", host.config.display());
        return Some(Finding::warning(at(line, &what), format!("{} --config {config} check", host.exe.display())));
    }
    let has = |option: &str| line.args.iter().any(|arg| arg == option);
    let sed = |what: &str| format!("sed -i '{}s/{what}/' {}", line.span.0, line.file);
    if has("stdout") {
        return Some(Finding::warning(
            at(line, "has `stdout`: a login waits while anything holds that pipe"),
            sed(" stdout/"),
        ));
    }
    if !has("quiet") {
        let remedy = sed("pam_exec.so/pam_exec.so quiet");
        return Some(Finding::warning(at(line, "lacks `quiet`: users see pam_exec's messages"), remedy));
    }
    None
}

/// The configuration that a line names, if it isn't the one that is examined.
fn other_config<'l>(host: &Host, line: &'l Line) -> Option<&'l str> {
    let mut args = line.args.iter().map(String::as_str);
    let named = args.find_map(|arg| match arg {
        "-c" | "--config" => Some(""),
        _ => arg.strip_prefix("--config="),
    })?;
    let named = if named.is_empty() { args.next()? } else { named };
    let is_same = Path::new(named) == host.config
        || fs::canonicalize(host.at(named))
            .is_ok_and(|path| fs::canonicalize(&host.config).is_ok_and(|own| own == path));
    (!is_same).then_some(named)
}

fn is_env(line: &Line) -> bool {
    let is_open = !line.args.iter().any(|arg| arg == "close");
    line.kind == "session" && (line.module == "pam_env.so" || line.module == "pam_selinux.so" && is_open)
}

fn at(line: &Line, what: &str) -> String {
    format!("PAM: {}:{} {what}", line.file, line.span.0)
}

fn delete(line: &Line) -> String {
    format!("sed -i '{},{}d' {}", line.span.0, line.span.1, line.file)
}

/// Replaces a wrong line with the right one: in place, if it is in a service's own file.
fn mend(host: &Host, line: &Line) -> String {
    let name = line.file.rsplit('/').next().unwrap_or_default();
    let is_service = PEOPLE.contains(&name) || JOBS.contains(&name);
    let service = if is_service || stack::file_of(host, PEOPLE[0]).is_none() { name } else { PEOPLE[0] };
    let has_other =
        stack::of_service(host, service).iter().any(|other| is_ours(host, other) && mistake(host, other).is_none());
    if has_other || JOBS.contains(&name) { delete(line) } else { mend_for(host, service, line) }
}

/// Deletes a line, and adds the right one to the service's own file.
fn mend_for(host: &Host, service: &str, line: &Line) -> String {
    let file = stack::file_of(host, service).unwrap_or_else(|| line.file.clone());
    // In the same file, deleting first would shift the line numbers, so both are one command.
    if file == line.file {
        let place = place(host, service);
        return format!(
            "sed -i -e '{}' -e '{},{}d' {file}",
            place_line(host, service, &place),
            line.span.0,
            line.span.1
        );
    }
    format!("{} && {}", insert(host, service, &file), delete(line))
}

fn insert(host: &Host, service: &str, file: &str) -> String {
    format!("sed -i '{}' {file}", place_line(host, service, &place(host, service)))
}

/// `3a session optional pam_exec.so quiet /usr/sbin/ssh-session-notifier queue`
fn place_line(host: &Host, service: &str, place: &str) -> String {
    let prefix = if stack::file_of(host, service).as_deref() == Some(stack::PAM_CONF) {
        format!("{service} ")
    } else {
        String::new()
    };
    // A user who starts `su` or `sudo` could kill a hook that still has that user's real id.
    let options = if matches!(service, "su" | "sudo") { "quiet seteuid" } else { "quiet" };
    format!("{place} {prefix}session optional pam_exec.so {options} {} queue", host.call())
}

/// Where the line belongs, as an address and a command for sed: after `pam_loginuid` if nothing sets variables before
/// that; or else before the first session line; or else at the end.
fn place(host: &Host, service: &str) -> String {
    let stack = stack::of_service(host, service);
    let sessions = || stack.iter().filter(|line| line.kind == "session" && !is_ours(host, line));
    let harmless = sessions().take_while(|line| !is_env(line)).find(|line| line.module == "pam_loginuid.so");
    match (harmless, sessions().next()) {
        (Some(line), _) if line.top == line.span => format!("{}a", line.top.1),
        (_, Some(first)) => format!("{}i", first.top.0),
        (_, None) => "$a".into(),
    }
}
