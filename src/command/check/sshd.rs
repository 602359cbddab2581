//! The SSH server: which one listens, and whether it uses PAM.

use crate::command::check::finding::Finding;
use crate::command::check::host::Host;
use crate::command::check::stack;

const SSHD: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"];
const CONFIG: &str = "/etc/ssh/sshd_config";

/// How each package manager installs an sshd with PAM.
const PACKAGES: [(&str, &str); 5] = [
    ("/usr/bin/apt-get", "apt-get install openssh-server"),
    ("/bin/opkg", "opkg install openssh-server-pam"),
    ("/usr/bin/apk", "apk add openssh-server-pam"),
    ("/sbin/apk", "apk add openssh-server-pam"),
    ("/usr/bin/dnf", "dnf install openssh-server"),
];

/// Examines the server. Users other than root can only see which one runs.
pub fn examine(host: &Host, is_root: bool) -> Vec<Finding> {
    let with_pam = || {
        let package = PACKAGES.iter().find(|(manager, _)| host.has(manager));
        package.map_or("install an sshd that is built with PAM", |(_, command)| command)
    };
    if let (Some(dropbear), None) = (host.process(&["dropbear"]), host.process(&["sshd"])) {
        let text = format!(
            "sshd: dropbear (process {}) serves ssh, and does not use PAM: its logins aren't seen",
            dropbear.pid
        );
        let remedy = format!("{} && kill {} # then start sshd", with_pam(), dropbear.pid);
        return vec![Finding::problem(text, remedy)];
    }
    if !is_root {
        return vec![Finding::warning("sshd: its settings can't be seen without root", "run this check as root")];
    }
    let Some(settings) = host.ask(&SSHD, &["-T"]).map(|text| text.to_ascii_lowercase()) else {
        let text = "sshd: not found in the usual places, or `sshd -T` fails";
        return vec![if stack::file_of(host, "sshd").is_some() {
            Finding::warning(text, "sshd -T")
        } else {
            Finding::problem(format!("{text}, and PAM has no file for it: ssh logins aren't seen"), with_pam())
        }];
    };
    judge(host, &settings, with_pam())
}

/// A setting from `sshd -T`, in lower case; `None` if that fails.
pub fn setting(host: &Host, key: &str) -> Option<String> {
    let settings = host.ask(&SSHD, &["-T"])?.to_ascii_lowercase();
    value(&settings, key).map(String::from)
}

fn value<'s>(settings: &'s str, key: &str) -> Option<&'s str> {
    settings.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
}

/// Judges the output of `sshd -T`, in lower case.
fn judge(host: &Host, settings: &str, package: &str) -> Vec<Finding> {
    let value = |key: &str| value(settings, key);
    // The first value in a file counts (sshd_config(5)).
    let set = |line: &str| {
        let sed = format!("sed -i '1i {line}' {CONFIG}");
        host.process(&["sshd"]).map_or(sed.clone(), |sshd| format!("{sed} && kill -HUP {}", sshd.pid))
    };
    let mut findings = Vec::new();
    match value("usepam") {
        Some("yes") => findings.push(Finding::ok("sshd: UsePAM is on")),
        Some(_) => {
            let text = "sshd: UsePAM is off, so ssh logins aren't seen";
            findings.push(Finding::problem(text, set("UsePAM yes")));
        }
        None if settings.contains("unsupported option usepam") || value("port").is_some() => {
            findings.push(Finding::problem("sshd: it is built without PAM, so ssh logins aren't seen", package));
        }
        None => findings.push(Finding::warning("sshd: `sshd -T` shows no settings", "sshd -T")),
    }
    if value("usedns") == Some("yes") {
        let text = "sshd: UseDNS is on: notices show names that strangers can choose, and the allowlist misses them";
        findings.push(Finding::warning(text, set("UseDNS no")));
    }
    findings
}
