//! Gives a mail to a program of this host that takes sendmail's arguments: Postfix's, Exim's, msmtp's, busybox's.
//!
//! It runs as the user that this process is, with an empty environment, and is ended with all that it started if it
//! takes too long.

use std::fs::File;
use std::io::{self, PipeReader, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::files;
use crate::mail::{Failure, Letter};
use crate::text::Field;

/// How long a program may take to end when it was killed. One with rights of its own can't be.
const GRACE: Duration = Duration::from_secs(1);

/// How often it is asked whether the program has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Bytes of what the program writes that are read.
const OUTPUT_LIMIT: usize = 4096;

/// Runs the program, and returns what it wrote.
pub fn run(path: &Path, letter: &Letter, left: Duration) -> Result<Field, Failure> {
    check(path)?;
    let Some(text) = &letter.text else { return Ok(Field::new(b"the program is there")) };
    let ends = Instant::now() + left;
    let (mut child, mut output) =
        start(path, letter, text).map_err(|why| Failure::Broken(format!("cannot start {}: {why}", path.display())))?;
    let Some(status) = wait(&mut child, ends) else {
        return Err(Failure::Broken(format!("{} did not end in time, and was ended", path.display())));
    };
    let said = read(&mut output);
    if status.success() { Ok(said) } else { Err(Failure::Exited(status.code(), said)) }
}

/// Anybody who could replace the program could act as this process.
fn check(path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    match files::is_roots_alone(path) {
        Ok(true) if path.is_file() => Ok(()),
        Ok(true) => Err(Failure::Impossible(format!("{shown} is no program: set `sendmail` to the path of one"))),
        Ok(false) => Err(Failure::Impossible(format!(
            "{shown} is not run, because it, or something above it, is not root's alone: chown and chmod that"
        ))),
        Err(why) => Err(Failure::Impossible(format!(
            "cannot use {shown}: {why}; install a mail program (msmtp-mta, nullmailer, postfix), or set `server`"
        ))),
    }
}

fn start(path: &Path, letter: &Letter, text: &str) -> io::Result<(Child, PipeReader)> {
    // A file in memory, unlike a pipe, needs nobody who waits for the program to read.
    let mut input = File::from(memfd_create(c"mail", MFdFlags::MFD_CLOEXEC)?);
    input.write_all(text.as_bytes())?;
    input.rewind()?;
    let (output, end) = io::pipe()?;
    let mut command = Command::new(path);
    // A dot alone ends nothing (-i). Addresses begin with no hyphen: the configuration sees to that.
    command.env_clear().current_dir("/").process_group(0).arg("-i");
    if let Some(from) = &letter.from {
        command.args(["-f", from]);
    }
    command.args(&letter.to).stdin(input).stdout(end.try_clone()?).stderr(end);
    Ok((command.spawn()?, output))
}

/// Waits for the program to end. `None`: it didn't in time, and was ended, or left behind if that is impossible.
fn wait(child: &mut Child, ends: Instant) -> Option<ExitStatus> {
    let status = end_of(child, ends);
    if status.is_some() {
        return status;
    }
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = end_of(child, Instant::now() + GRACE);
    None
}

fn end_of(child: &mut Child, ends: Instant) -> Option<ExitStatus> {
    while Instant::now() < ends {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        thread::sleep(LOOK_AGAIN);
    }
    None
}

/// What the program wrote so far; one that it has left behind may never end.
fn read(output: &mut PipeReader) -> Field {
    let _ = fcntl(&*output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
    let mut bytes = Vec::new();
    let _ = output.take(OUTPUT_LIMIT as u64).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    Field::new(text.lines().collect::<Vec<_>>().join(" ").as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;
    use crate::mail::Way;

    /// Runs a script that is root's alone.
    fn send(script: &str, left: Duration) -> Result<Field, Failure> {
        let place = PathBuf::from(format!("/run/ssn-sendmail-{}-{}", std::process::id(), left.as_millis()));
        fs::create_dir_all(&place).expect("root may");
        let path = place.join("sendmail");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("root may");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("it is ours");
        let letter = Letter {
            way: Way::Program(path.clone()),
            is_direct: false,
            hello: None,
            from: Some("a@b".into()),
            to: vec!["c@d".into(), "root".into()],
            text: Some("Subject: x\n\nhello\n".into()),
        };
        let result = run(&path, &letter, left);
        let _ = fs::remove_dir_all(&place);
        result
    }

    fn is_root(test: &str) -> bool {
        let is_root = nix::unistd::geteuid().is_root();
        if !is_root {
            let _ = writeln!(io::stderr().lock(), "SKIP: {test}: needs root");
        }
        is_root
    }

    #[test]
    fn a_program_reads_the_mail_in_an_empty_environment_and_its_status_is_told() {
        if !is_root("a_program_reads_the_mail_in_an_empty_environment_and_its_status_is_told") {
            return;
        }
        let said = send("echo $@; grep -c .; env | grep -v -e ^PWD= -e ^_=; pwd", Duration::from_secs(20));
        assert_eq!(said.expect("it succeeds").as_str(), "-i -f a@b c@d root 2 /");
        match send("echo no such user >&2; exit 67", Duration::from_secs(21)) {
            Err(Failure::Exited(Some(67), said)) => assert_eq!(said.as_str(), "no such user"),
            other => panic!("{other:?}"),
        }
    }

    /// P8
    #[test]
    fn a_program_that_does_not_end_is_ended_with_all_that_it_started() {
        if !is_root("a_program_that_does_not_end_is_ended_with_all_that_it_started") {
            return;
        }
        let start = Instant::now();
        match send("sleep 300 & sleep 300", Duration::from_millis(300)) {
            Err(Failure::Broken(why)) => assert!(why.ends_with("did not end in time, and was ended"), "{why}"),
            other => panic!("{other:?}"),
        }
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
