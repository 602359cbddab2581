//! Local programs that `send` starts: sendmail, and a target's command.
//!
//! A program runs as the same user as this process, without a shell, and doesn't inherit the environment, the signal
//! mask or the memory limit. If it exceeds its time limit, its whole process group is killed.

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

/// How long to wait for a killed program to exit. A set-user-ID program can't be killed.
const GRACE: Duration = Duration::from_secs(1);

/// How often to check whether the program has exited.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The most bytes of output that are kept. The rest is read and dropped, so that the program never blocks.
const OUTPUT_LIMIT: usize = 4096;

/// How many reads empty a full pipe.
const READS: usize = 16;

/// The only variable in a program's environment.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program with its arguments and input.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its absolute path.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The text on its stdin.
    pub input: String,
}

/// Why a program can't be started, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// What is wrong.
    pub what: String,
    /// A command for root, or an instruction.
    pub remedy: String,
}

/// Why a program did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// It can't be started until the administrator fixes the cause.
    Unfit(Unfit),
    /// It couldn't be started, or was killed at its time limit, for this reason.
    Broken(String),
    /// It exited with this status (`None`: killed by a signal) and this output.
    Exited(Option<i32>, Field),
}

/// Starts programs, one at a time, because this process briefly takes on the limits that the program inherits.
#[derive(Debug, Default)]
pub struct Launcher(Mutex<()>);

impl Launcher {
    /// Runs a program for at most `left`, and returns its output.
    pub fn run(&self, call: &Call, left: Duration) -> Result<Field, Failure> {
        check(&call.path).map_err(Failure::Unfit)?;
        let (shown, ends) = (call.path.display(), Instant::now() + left);
        let (mut child, mut output) = self.start(call).map_err(|why| unstartable(&call.path, &why))?;
        let Some(status) = wait(&mut child, &mut output, ends) else {
            return Err(Failure::Broken(format!("{shown} did not finish in time and was killed")));
        };
        let output = output.finish();
        if status.success() { Ok(output) } else { Err(Failure::Exited(status.code(), output)) }
    }

    fn start(&self, call: &Call) -> io::Result<(Child, Output)> {
        // Unlike a pipe, a file in memory takes all input at once, whether the program reads it or not.
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

    /// Starts the process, which inherits this thread's signal mask and this process's limits.
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

/// Checks whether a program may be started. A user who can replace it can run code as this process's user.
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
    let is_permanent = matches!(why.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied)
        || why.raw_os_error() == Some(Errno::ENOEXEC as i32);
    if !is_permanent {
        return Failure::Broken(what);
    }
    // The kernel's error is the same for a missing interpreter as for a missing program.
    Failure::Unfit(Unfit { what, remedy: "a script must begin with #! and the path of an interpreter".into() })
}

/// Waits for the program to exit. `None` if it exceeded its time and was killed, or left running if it can't be killed.
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
        thread::sleep(POLL_INTERVAL);
    }
    None
}

/// A program's output. A process that it left running may hold the pipe open forever.
struct Output {
    pipe: PipeReader,
    kept: Vec<u8>,
}

impl Output {
    /// Reads the available output without blocking.
    fn read(&mut self) {
        let mut piece = [0; OUTPUT_LIMIT];
        for _ in 0..READS {
            let length = self.pipe.read(&mut piece).unwrap_or(0);
            self.kept.extend(&piece[..length.min(OUTPUT_LIMIT - self.kept.len())]);
            if length == 0 {
                return;
            }
        }
    }

    /// The kept output as one line.
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
