//! The configuration: whether the user that `send` runs as can read it and every file that it names.

use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, Group, access, getegid, geteuid};

use crate::command::check::finding::Finding;
use crate::config::{Config, Source};
use crate::error::{Error, Kind};
use crate::files::{self, Links};

/// Bytes of the file that are searched for warnings.
const FILE_LIMIT: u64 = 1 << 20;

/// Reads the configuration as the present user.
pub fn examine(file: &Path) -> (Option<Config>, Vec<Finding>) {
    match Source::read(file).and_then(Source::check) {
        Err(why) => (None, mistakes(file, &why)),
        Ok((config, warning)) => {
            let mut findings = Vec::new();
            findings.extend(warning.map(|text| {
                let remedy = format!("chgrp {} {file} && chmod 0640 {file}", group(), file = file.display());
                Finding::warning(format!("configuration: {text}"), remedy)
            }));
            findings.extend(reversed_zone(file));
            findings.extend(config.targets.iter().filter_map(|target| {
                let (what, remedy) = target.doubt()?;
                let name = &target.name;
                let text = format!("configuration: notification.{name}: {what}");
                Some(Finding::warning(text, format!("{remedy} [notification.{name}]")))
            }));
            findings.extend(config.targets.iter().filter_map(|target| {
                let (what, remedy) = target.obstacle()?;
                Some(Finding::problem(format!("configuration: notification.{}: {what}", target.name), remedy))
            }));
            match ca_file(file, &config) {
                Some(problem) => findings.push(problem),
                None if config.targets.is_empty() => findings.push(Finding::problem(
                    "configuration: notification.service is not set, so no notice is sent",
                    format!("edit {}", file.display()),
                )),
                None => findings.push(Finding::ok(format!(
                    "configuration: {} is right; targets: {}",
                    file.display(),
                    config.target_names().join(", ")
                ))),
            }
            (Some(config), findings)
        }
    }
}

/// A finding for each mistake, with the command that fixes it if there is one.
fn mistakes(file: &Path, why: &Error) -> Vec<Finding> {
    let texts = match why.kind() {
        Kind::Config(texts) => texts.clone(),
        _ => vec![why.to_string()],
    };
    let finding = |text: &String| Finding::problem(format!("configuration: {text}"), remedy(file, text));
    texts.iter().map(finding).collect()
}

fn remedy(file: &Path, text: &str) -> String {
    let unreadable = text.split_once("cannot read ").and_then(|(_, rest)| rest.rsplit_once(": Permission denied"));
    if let Some((path, _)) = unreadable {
        return let_in(file, Path::new(path));
    }
    // Messages about owner and mode name the command: `chmod go-w` it.
    match text.split_once("; `").and_then(|(_, rest)| rest.split_once("` it")) {
        Some((command, _)) => format!("{command} {}", file.display()),
        None if text.contains("No such file") => "./install.sh".into(),
        None => format!("edit {}", file.display()),
    }
}

/// The command that lets the present user's group read a file. It changes the file and the directories above it if
/// they are the program's own; otherwise it makes a copy next to the configuration.
fn let_in(config: &Path, path: &Path) -> String {
    let home = config.parent().unwrap_or(Path::new("/"));
    if !path.starts_with(home) {
        let copy = home.join(path.file_name().unwrap_or_default());
        return format!(
            "install -m 640 -g {} {} {} && sed -i 's|{}|{}|' {}",
            group(),
            path.display(),
            copy.display(),
            path.display(),
            copy.display(),
            config.display()
        );
    }
    let (blocked, bit) = blocked(path).unwrap_or((path.into(), 'r'));
    format!("chgrp {} {} && chmod g+{bit} {}", group(), blocked.display(), blocked.display())
}

/// The first directory on the way to a file that can't be entered, or else the file if it can't be read.
pub fn blocked(path: &Path) -> Option<(PathBuf, char)> {
    let mut way: Vec<&Path> = path.ancestors().skip(1).collect();
    way.reverse();
    let directory = way.into_iter().find(|directory| access(*directory, AccessFlags::X_OK).is_err());
    let unreadable = || access(path, AccessFlags::R_OK).is_err().then_some(path);
    directory.map(|path| (path.into(), 'x')).or_else(|| unreadable().map(|path| (path.into(), 'r')))
}

/// The name of the present user's group, or its number if it has no name.
pub fn group() -> String {
    let group = Group::from_gid(getegid()).ok().flatten();
    group.map_or_else(|| getegid().to_string(), |group| group.name)
}

pub fn user() -> u32 {
    geteuid().as_raw()
}

/// The mistake in `network.ca_file` that would show only at a request.
fn ca_file(file: &Path, config: &Config) -> Option<Finding> {
    let path = config.network.ca_file.as_ref()?;
    let what = match files::read(path, 8 << 20, Links::Follow) {
        Ok((bytes, _)) if bytes.windows(17).any(|part| part == b"BEGIN CERTIFICATE") => return None,
        Ok(_) => "holds no certificate in PEM".into(),
        Err(why) if why.kind() == std::io::ErrorKind::PermissionDenied => {
            let text = format!("configuration: network.ca_file: cannot read {}: {why}", path.display());
            return Some(Finding::problem(text, let_in(file, path)));
        }
        Err(why) => why.to_string(),
    };
    let remedy = format!("sed -i '/^[ \\t]*ca_file/d' {} # trusts the system's authorities again", file.display());
    Some(Finding::problem(format!("configuration: network.ca_file: {}: {what}", path.display()), remedy))
}

/// Warns about a zone such as `UTC+12`, because POSIX counts westward.
fn reversed_zone(file: &Path) -> Option<Finding> {
    let (bytes, _) = files::read(file, FILE_LIMIT, Links::Follow).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let line = text.lines().find(|line| line.trim_start().starts_with("timezone"))?;
    let zone = line.split(['"', '\'']).nth(1)?;
    let offset = zone.strip_prefix("UTC").or_else(|| zone.strip_prefix("GMT"))?;
    let (sign, hours) = offset.split_at_checked(1)?;
    let other = match sign {
        "+" => "-",
        "-" => "+",
        _ => return None,
    };
    if hours.is_empty() || !hours.bytes().all(|digit| digit.is_ascii_digit() || digit == b':') {
        return None;
    }
    let text = format!("configuration: host.timezone {zone} means {other}{hours} hours: POSIX counts westward");
    let remedy =
        format!("sed -i 's/{zone}/<{sign}{hours}>{other}{hours}/' {} # if you mean {sign}{hours}", file.display());
    Some(Finding::warning(text, remedy))
}
