//! The PAM environment: whether users can set variables in it before the hook reads it. If they can, a rule with `key`
//! must not make notices quieter.

use crate::command::check::finding::Finding;
use crate::command::check::host::Host;
use crate::command::check::pam::is_ours;
use crate::command::check::sshd;
use crate::command::check::stack::{self, Line};

/// The service whose keys are trusted.
const SERVICE: &str = "sshd";

/// The finding if nothing is wrong.
pub const WELL: &str = "hook.trust_environment: nothing that users set comes before the hook in sshd's stack";

/// The findings against `hook.trust_environment = true`, or the finding that there are none.
pub fn examine(host: &Host, is_root: bool) -> Vec<Finding> {
    let stack = stack::of_service(host, SERVICE);
    let first = stack.iter().position(|line| is_ours(host, line));
    let before = stack.iter().take(first.unwrap_or(stack.len())).filter(|line| line.kind == "session");
    // `auth` and `account` run before every `session` line, wherever they are in the file.
    let others = stack.iter().filter(|line| line.kind == "auth" || line.kind == "account");
    let mut findings: Vec<Finding> = others.chain(before).filter_map(doubt).collect();
    findings.extend(user_environment(host, is_root));
    if findings.is_empty() {
        findings.push(Finding::ok(WELL));
    }
    findings
}

fn doubt(line: &Line) -> Option<Finding> {
    if line.module != "pam_env.so" {
        return None;
    }
    let has = |option: &str| line.args.iter().any(|arg| arg == option);
    let (file, number) = (&line.file, line.span.0);
    let text = |problem: &str| format!("hook.trust_environment: {file}:{number} {problem}");
    if line.kind == "session" {
        let remedy = format!("move the line with this program before {file}:{number}");
        return Some(Finding::problem(text("sets variables before the hook runs"), remedy));
    }
    if has("user_readenv=1") {
        let remedy = format!("sed -i '{number}s/user_readenv=1/user_readenv=0/' {file}");
        return Some(Finding::problem(text("lets users set variables before the hook runs"), remedy));
    }
    let remedy = format!("sed -i '{number}s/pam_env.so/pam_env.so user_readenv=0/' {file}");
    let problem = "sets variables before the hook runs; some versions also read the users' own files";
    (!has("user_readenv=0")).then(|| Finding::warning(text(problem), remedy))
}

/// Whether sshd reads variables from users' files.
fn user_environment(host: &Host, is_root: bool) -> Option<Finding> {
    if !is_root {
        let text = "hook.trust_environment: sshd's settings can't be seen without root";
        return Some(Finding::warning(text, "run this check as root"));
    }
    let value = sshd::setting(host, "permituserenvironment")?;
    let text = format!("hook.trust_environment: sshd has PermitUserEnvironment {value}");
    let remedy = "write `PermitUserEnvironment no` in sshd_config";
    (value != "no").then(|| Finding::problem(text, remedy))
}
