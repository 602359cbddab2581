//! Programs of this host that `send` starts: sendmail, and a target's command.
//!
//! A program runs as the user that this process is, without a shell, and with nothing of this process's environment,
//! signal mask and memory limit. It is ended with all that it started if it takes too long.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, PipeReader, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::{AccessFlags, access};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::files;
use crate::text::Field;

/// How long a program may take to end when it was killed. One with rights of its own can't be.
const GRACE: Duration = Duration::from_secs(1);

/// How often it is asked whether the program has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Bytes of what the program writes that are kept. The rest is read, so that it doesn't wait for a reader.
const OUTPUT_LIMIT: usize = 4096;

/// How many pieces are read of it at a time: a pipe holds as much.
const PIECES: usize = 16;

/// All that a program finds in its environment.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program, and what it gets.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its absolute path.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it reads from stdin.
    pub input: String,
}

/// Why a program can't be started, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// What is wrong.
    pub what: String,
    /// A command for root, or what to do.
    pub remedy: String,
}

/// Why a program did not do its work.
#[derive(Debug)]
pub enum Failure {
    /// It can't be started until somebody changes something.
    Unfit(Unfit),
    /// It couldn't be started, or was ended: a sentence.
    Broken(String),
    /// It ended with this status, or was killed by somebody else, and wrote this.
    Exited(Option<i32>, Field),
}

/// Starts programs, one at a time: for a moment this process has the limits that the program gets.
#[derive(Debug, Default)]
pub struct Launcher(Mutex<()>);

impl Launcher {
    /// Runs a program to its end, and returns what it wrote.
    pub fn run(&self, call: &Call, left: Duration) -> Result<Field, Failure> {
        check(&call.path).map_err(Failure::Unfit)?;
        let (shown, ends) = (call.path.display(), Instant::now() + left);
        let (mut child, mut output) = self.start(call).map_err(|why| unstartable(&call.path, &why))?;
        let Some(status) = wait(&mut child, &mut output, ends) else {
            return Err(Failure::Broken(format!("{shown} did not finish in time and was killed")));
        };
        let said = output.finish();
        if status.success() { Ok(said) } else { Err(Failure::Exited(status.code(), said)) }
    }

    fn start(&self, call: &Call) -> io::Result<(Child, Output)> {
        // A file in memory, unlike a pipe, needs nobody who waits for the program to read.
        let mut input = File::from(memfd_create(c"input", MFdFlags::MFD_CLOEXEC)?);
        input.write_all(call.input.as_bytes())?;
        input.rewind()?;
        let (pipe, end) = io::pipe()?;
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let mut command = Command::new(&call.path);
        command.args(&call.arguments).env_clear().env("PATH", PATH).current_dir("/").process_group(0);
        command.stdin(input).stdout(end.try_clone()?).stderr(end);
        let child = self.spawn(&mut command)?;
        Ok((child, Output { pipe, kept: Vec::new() }))
    }

    /// A program inherits the mask of this thread, and the limits of this process.
    fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let _alone = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (soft, hard) = getrlimit(Resource::RLIMIT_DATA)?;
        let mask = SigSet::empty().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let _ = setrlimit(Resource::RLIMIT_DATA, hard, hard);
        let child = command.spawn();
        let _ = (setrlimit(Resource::RLIMIT_DATA, soft, hard), mask.thread_set_mask());
        child
    }
}

/// Says why a program would not be started. Anybody who could replace it could act as this process.
pub fn check(path: &Path) -> Result<(), Unfit> {
    let shown = path.display();
    let unfit = |what: String, remedy: String| Err(Unfit { what, remedy });
    match files::shared_part(path) {
        Err(why) => unfit(format!("cannot use {shown}: {why}"), "install it, or correct its path".into()),
        Ok(Some(part)) => unfit(
            format!("{shown} is not run, because users other than root can change it or a directory above it"),
            format!("chown -h root {0} && chmod go-w {0}", part.display()),
        ),
        Ok(None) if !path.is_file() => unfit(format!("{shown} is not a program"), "correct its path".into()),
        Ok(None) if access(path, AccessFlags::X_OK).is_err() => {
            unfit(format!("{shown} cannot be executed"), format!("chmod a+x {shown}"))
        }
        Ok(None) => Ok(()),
    }
}

fn unstartable(path: &Path, why: &io::Error) -> Failure {
    let what = format!("cannot start {}: {why}", path.display());
    let is_for_good = matches!(why.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied)
        || why.raw_os_error() == Some(Errno::ENOEXEC as i32);
    if !is_for_good {
        return Failure::Broken(what);
    }
    // The kernel says the same of a missing interpreter as of a missing program.
    Failure::Unfit(Unfit { what, remedy: "a script must begin with #! and the path of an interpreter".into() })
}

/// Waits for the program to end. `None`: it didn't in time, and was ended, or left behind if that is impossible.
fn wait(child: &mut Child, output: &mut Output, ends: Instant) -> Option<ExitStatus> {
    let status = end_of(child, output, ends);
    if status.is_some() {
        return status;
    }
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = end_of(child, output, Instant::now() + GRACE);
    None
}

fn end_of(child: &mut Child, output: &mut Output, ends: Instant) -> Option<ExitStatus> {
    while Instant::now() < ends {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        output.read();
        thread::sleep(LOOK_AGAIN);
    }
    None
}

/// What a program writes. Another one that it has left behind may never end.
struct Output {
    pipe: PipeReader,
    kept: Vec<u8>,
}

impl Output {
    /// Reads what is there, and waits for nothing.
    fn read(&mut self) {
        let mut piece = [0; OUTPUT_LIMIT];
        for _ in 0..PIECES {
            let length = self.pipe.read(&mut piece).unwrap_or(0);
            self.kept.extend(&piece[..length.min(OUTPUT_LIMIT - self.kept.len())]);
            if length == 0 {
                return;
            }
        }
    }

    /// What was kept, as one line.
    fn finish(mut self) -> Field {
        self.read();
        let text = String::from_utf8_lossy(&self.kept);
        Field::new(text.lines().collect::<Vec<_>>().join(" ").as_bytes())
    }
}

/// `/usr/sbin/x cannot be executed; chmod a+x /usr/sbin/x`
impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

#[cfg(test)]
mod tests;
