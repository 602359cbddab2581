//! PAM's configuration (pam.conf(5)): the lines that a service runs, with includes resolved.

use crate::command::check::host::Host;

/// Where services are configured; the first directory with a file counts.
const DIRECTORIES: [&str; 3] = ["/etc/pam.d", "/usr/lib/pam.d", "/usr/etc/pam.d"];

/// The single file of hosts without such a directory. Each line begins with the service.
pub const PAM_CONF: &str = "/etc/pam.conf";

/// How deep includes are followed (Linux-PAM stops at 32), and how many lines a service may have: files that include
/// each other twice double the lines at every level.
const DEPTH: usize = 16;
const LINES: usize = 1000;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The file that it is in.
    pub file: String,
    /// Its first and last line number: a line that ends in `\` continues.
    pub span: (usize, usize),
    /// The lines of the service's own file that include it.
    pub top: (usize, usize),
    /// `session`, `auth`, …
    pub kind: String,
    /// `optional`, `required`, `[success=1 default=ignore]`, …
    pub control: String,
    /// `pam_exec.so`, without a directory.
    pub module: String,
    /// The arguments of the module.
    pub args: Vec<String>,
}

/// The files of all services.
pub fn files(host: &Host) -> Vec<String> {
    let mut files: Vec<String> = DIRECTORIES.iter().flat_map(|directory| host.list(directory)).collect();
    if files.is_empty() && host.has(PAM_CONF) {
        files.push(PAM_CONF.into());
    }
    files
}

/// The file of a service, if it has one.
pub fn file_of(host: &Host, service: &str) -> Option<String> {
    let path = |directory: &&str| Some(format!("{directory}/{service}")).filter(|path| host.has(path));
    if service.starts_with('/') {
        return Some(service.into());
    }
    DIRECTORIES.iter().find_map(path).or_else(|| {
        let text = host.read(PAM_CONF)?;
        let is_there = rows(&text).iter().any(|(_, words)| words[0] == service);
        (is_there && !host.has(DIRECTORIES[0])).then(|| PAM_CONF.into())
    })
}

/// The lines of a service, in the order in which PAM runs them.
pub fn of_service(host: &Host, service: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(file) = file_of(host, service) {
        Collector { host, service, lines: &mut lines, left: LINES }.file(&file, None, None, 0);
    }
    lines
}

/// The lines of one file, without its includes.
pub fn of_file(host: &Host, file: &str) -> Vec<Line> {
    let text = host.read(file).unwrap_or_default();
    let rows = rows(&text).into_iter().map(|(span, mut words)| {
        if file == PAM_CONF {
            words.remove(0);
        }
        (span, words)
    });
    rows.filter_map(|(span, words)| line(file, span, span, &words)).collect()
}

struct Collector<'a> {
    host: &'a Host,
    service: &'a str,
    lines: &'a mut Vec<Line>,
    left: usize,
}

impl Collector<'_> {
    fn file(&mut self, file: &str, top: Option<(usize, usize)>, only: Option<&str>, depth: usize) {
        let text = self.host.read(file).unwrap_or_default();
        for (span, mut words) in rows(&text) {
            if depth > DEPTH || self.left == 0 {
                return;
            }
            self.left -= 1;
            if file == PAM_CONF && words.remove(0) != self.service {
                continue;
            }
            let top = top.unwrap_or(span);
            let kind = words.first().map(|kind| kind.trim_start_matches('-').to_ascii_lowercase()).unwrap_or_default();
            let is_wanted = only.is_none_or(|only| only == kind);
            match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["@include", included, ..] => self.include(included, top, only, depth),
                [_, "include" | "substack", included, ..] if is_wanted => {
                    self.include(included, top, Some(&kind), depth);
                }
                _ if is_wanted => self.lines.extend(line(file, span, top, &words)),
                _ => {}
            }
        }
    }

    fn include(&mut self, name: &str, top: (usize, usize), only: Option<&str>, depth: usize) {
        if let Some(file) = file_of(self.host, name) {
            self.file(&file, Some(top), only, depth + 1);
        }
    }
}

fn line(file: &str, span: (usize, usize), top: (usize, usize), words: &[String]) -> Option<Line> {
    let [kind, control, module, args @ ..] = words else { return None };
    let module = module.rsplit('/').next().unwrap_or_default().into();
    let kind = kind.trim_start_matches('-').to_ascii_lowercase();
    Some(Line { file: file.into(), span, top, kind, control: control.clone(), module, args: args.to_vec() })
}

/// The words of each nonempty line, without comments, with its first and last line number.
fn rows(text: &str) -> Vec<((usize, usize), Vec<String>)> {
    let (mut rows, mut pending, mut first) = (Vec::new(), String::new(), 1);
    for (number, line) in (1..).zip(text.lines()) {
        if pending.is_empty() {
            first = number;
        }
        pending += line.split('#').next().unwrap_or_default().trim();
        if let Some(start) = pending.strip_suffix('\\') {
            pending = format!("{start} ");
            continue;
        }
        let words = words(&pending);
        pending.clear();
        if !words.is_empty() {
            rows.push(((first, number), words));
        }
    }
    rows
}

/// Splits a line at white space; text in brackets is one word.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut is_bracketed) = (Vec::new(), String::new(), false);
    for sign in line.chars().chain([' ']) {
        is_bracketed = sign == '[' || is_bracketed && sign != ']';
        if is_bracketed || !sign.is_whitespace() {
            word.push(sign);
        } else if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
    }
    words
}
