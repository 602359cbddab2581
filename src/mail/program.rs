//! Hands a mail to a local program that accepts sendmail's arguments: Postfix, Exim, msmtp, busybox.
//!
//! It runs as this process's user with an empty environment. At the deadline its process group is killed.

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
use crate::mail::{Failure, Mail};
use crate::text::Field;

/// How long a killed program may take to end. A set-user-ID program may be out of our reach.
const GRACE: Duration = Duration::from_secs(1);

/// How often to check whether the program has ended.
const POLL: Duration = Duration::from_millis(20);

/// Bytes read of the program's output.
const OUTPUT_LIMIT: usize = 4096;

/// Runs the program within `left`, and returns its output. For a probe, only checks that it exists.
pub fn run(path: &Path, mail: &Mail, left: Duration) -> Result<Field, Failure> {
    check(path)?;
    let Some(text) = &mail.text else { return Ok(Field::new(b"the program exists")) };
    let deadline = Instant::now() + left;
    let (mut child, mut output) =
        start(path, mail, text).map_err(|why| Failure::Broken(format!("cannot start {}: {why}", path.display())))?;
    let Some(status) = wait(&mut child, deadline) else {
        return Err(Failure::Broken(format!("{} did not finish in time and was killed", path.display())));
    };
    let output = read(&mut output);
    if status.success() { Ok(output) } else { Err(Failure::Exited(status.code(), output)) }
}

/// Refuses a program that users other than root can replace: they could act as this process.
fn check(path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    match files::is_roots_alone(path) {
        Ok(true) if path.is_file() => Ok(()),
        Ok(true) => Err(Failure::Impossible(format!("{shown} is not a program: set `sendmail` to the path of one"))),
        Ok(false) => Err(Failure::Impossible(format!(
            "{shown} is not run, because users other than root can change it or a directory above it: \
             chown and chmod that"
        ))),
        Err(why) => Err(Failure::Impossible(format!(
            "cannot use {shown}: {why}; install a mail program (msmtp-mta, nullmailer, postfix), or set `server`"
        ))),
    }
}

fn start(path: &Path, mail: &Mail, text: &str) -> io::Result<(Child, PipeReader)> {
    // Unlike a pipe, a memfd needs no thread that writes while the program reads.
    let mut input = File::from(memfd_create(c"mail", MFdFlags::MFD_CLOEXEC)?);
    input.write_all(text.as_bytes())?;
    input.rewind()?;
    let (output, end) = io::pipe()?;
    let mut command = Command::new(path);
    // -i: a dot alone on a line does not end the mail. The configuration refuses addresses that begin with a hyphen.
    command.env_clear().current_dir("/").process_group(0).arg("-i");
    if let Some(from) = &mail.from {
        command.args(["-f", from]);
    }
    command.args(&mail.to).stdin(input).stdout(end.try_clone()?).stderr(end);
    Ok((command.spawn()?, output))
}

/// Waits for the program to end. `None` if it was killed at the deadline, or left behind if it can't be killed.
fn wait(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    let status = wait_until(child, deadline);
    if status.is_some() {
        return status;
    }
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = wait_until(child, Instant::now() + GRACE);
    None
}

fn wait_until(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    while Instant::now() < deadline {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        thread::sleep(POLL);
    }
    None
}

/// Reads the output so far without waiting, because a background process may keep the pipe open forever.
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
    use crate::mail::Transport;

    /// Runs a script that only root can change.
    fn send(script: &str, left: Duration) -> Result<Field, Failure> {
        let place = PathBuf::from(format!("/run/ssn-sendmail-{}-{}", std::process::id(), left.as_millis()));
        fs::create_dir_all(&place).expect("root may");
        let path = place.join("sendmail");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("root may");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("it is ours");
        let mail = Mail {
            transport: Transport::Program(path.clone()),
            is_direct: false,
            hello: None,
            from: Some("a@b".into()),
            to: vec!["c@d".into(), "root".into()],
            text: Some("Subject: x\n\nhello\n".into()),
        };
        let result = run(&path, &mail, left);
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
    fn a_program_gets_the_mail_and_an_empty_environment_and_its_status_is_returned() {
        if !is_root("a_program_gets_the_mail_and_an_empty_environment_and_its_status_is_returned") {
            return;
        }
        let output = send("echo $@; grep -c .; env | grep -v -e ^PWD= -e ^_=; pwd", Duration::from_secs(20));
        assert_eq!(output.expect("it succeeds").as_str(), "-i -f a@b c@d root 2 /");
        match send("echo no such user >&2; exit 67", Duration::from_secs(21)) {
            Err(Failure::Exited(Some(67), output)) => assert_eq!(output.as_str(), "no such user"),
            other => panic!("{other:?}"),
        }
    }

    /// P8
    #[test]
    fn a_program_that_does_not_end_is_killed_with_its_process_group() {
        if !is_root("a_program_that_does_not_end_is_killed_with_its_process_group") {
            return;
        }
        let start = Instant::now();
        match send("sleep 300 & sleep 300", Duration::from_millis(300)) {
            Err(Failure::Broken(why)) => assert!(why.ends_with("did not finish in time and was killed"), "{why}"),
            other => panic!("{other:?}"),
        }
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
