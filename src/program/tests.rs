use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::sync::RwLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use nix::unistd::geteuid;

use super::*;

/// The limits belong to the process, which all tests share: a test that changes them takes the write lock, and a test
/// that starts a program the read lock.
static LIMITS: RwLock<()> = RwLock::new(());

/// A directory that only root can write to, unlike those for temporary files.
struct Place(PathBuf);

impl Place {
    /// `None` if this isn't root, so that `test` is skipped.
    fn new(test: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !geteuid().is_root() {
            let _ = writeln!(io::stderr().lock(), "SKIP: {test}: needs root");
            return None;
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let place = PathBuf::from(format!("/run/ssn-program-{}-{number}", std::process::id()));
        fs::create_dir_all(&place).expect("root may");
        Some(Self(place))
    }

    fn call(&self, script: &str) -> Call {
        let (draft, path) = (self.0.join("draft"), self.0.join("program"));
        fs::write(&draft, format!("#!/bin/sh\n{script}\n")).expect("root may");
        fs::set_permissions(&draft, Permissions::from_mode(0o755)).expect("it is ours");
        // A file that any process has open for writing can't be executed, and a child of another test may inherit ours.
        assert!(Command::new("cp").arg(&draft).arg(&path).status().expect("cp starts").success());
        Call { path, arguments: vec!["fixed".into(), "a b; $c".into()], input: "a\nb\n".into() }
    }

    fn run(&self, script: &str, left: Duration) -> Result<Field, Failure> {
        let _shared = LIMITS.read().unwrap_or_else(PoisonError::into_inner);
        Launcher::default().run(&self.call(script), left)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Longer than any program here runs.
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn a_program_gets_its_arguments_and_input_but_not_our_environment() {
    let Some(place) = Place::new("a_program_gets_its_arguments_and_input_but_not_our_environment") else {
        return;
    };
    let script = "printf '%s|' \"$@\"; wc -l; env | grep -v -e ^PWD= -e ^_= -e ^SHLVL=; pwd";
    let output = place.run(script, PATIENCE).expect("it succeeds");
    assert_eq!(output.as_str(), format!("fixed|a b; $c|2 PATH={PATH} /"));
}

#[test]
fn a_program_does_not_inherit_our_signal_mask_and_memory_limit() {
    let Some(place) = Place::new("a_program_does_not_inherit_our_signal_mask_and_memory_limit") else { return };
    let _alone = LIMITS.write().unwrap_or_else(PoisonError::into_inner);
    let (soft, hard) = getrlimit(Resource::RLIMIT_DATA).expect("it has one");
    setrlimit(Resource::RLIMIT_DATA, 1 << 30, hard).expect("it may");
    let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).expect("it may");
    // The shell reads the file itself, because it blocks signals while it waits for a child.
    let script = "while read -r name value; do [ $name != SigBlk: ] || echo $value; done </proc/$$/status; ulimit -d";
    let output = Launcher::default().run(&place.call(script), PATIENCE);
    let after = (SigSet::thread_get_mask().expect("it has one"), getrlimit(Resource::RLIMIT_DATA).expect("it has one"));
    mask.thread_set_mask().expect("it may");
    setrlimit(Resource::RLIMIT_DATA, soft, hard).expect("it may");
    assert_eq!(output.expect("it succeeds").as_str(), "0000000000000000 unlimited");
    assert!(after.0.contains(nix::sys::signal::Signal::SIGTERM) && after.1 == (1 << 30, hard), "{after:?}");
}

#[test]
fn a_programs_status_and_output_are_reported_in_one_safe_line() {
    let Some(place) = Place::new("a_programs_status_and_output_are_reported_in_one_safe_line") else { return };
    for (script, status, output) in [
        ("echo no such user >&2; exit 67", Some(67), "no such user"),
        ("echo a; echo b >&2; exit 1", Some(1), "a b"),
        (r"printf 'a\033[31mb\r\n\377'; exit 2", Some(2), "a\u{fffd}[31mb \u{fffd}"),
        ("kill -9 $$", None, ""),
    ] {
        match place.run(script, PATIENCE) {
            Err(Failure::Exited(code, text)) => assert_eq!((code, text.as_str()), (status, output), "{script}"),
            other => panic!("{script}: {other:?}"),
        }
    }
}

/// P8: more output than a pipe holds.
#[test]
fn a_program_with_much_output_never_blocks() {
    let Some(place) = Place::new("a_program_with_much_output_never_blocks") else { return };
    let output = place.run("head -c 1000000 /dev/zero | tr '\\0' x", PATIENCE).expect("it ends");
    assert!(output.as_str().starts_with("xxx") && output.as_str().ends_with('…'), "{output}");
}

/// P8
#[test]
fn a_program_that_hangs_is_killed_with_its_children() {
    let Some(place) = Place::new("a_program_that_hangs_is_killed_with_its_children") else { return };
    let pid = place.0.join("pid");
    let script = format!("sleep 300 & echo $! >{}; yes", pid.display());
    match place.run(&script, Duration::from_secs(2)) {
        Err(Failure::Broken(why)) => assert!(why.ends_with("did not finish in time and was killed"), "{why}"),
        other => panic!("{other:?}"),
    }
    let number = fs::read_to_string(&pid).expect("it was written");
    // The kernel ends a killed process when it is next scheduled, which takes time on a busy machine.
    let end = Instant::now() + PATIENCE;
    let state = || fs::read_to_string(format!("/proc/{}/stat", number.trim())).unwrap_or_default();
    let is_gone = || state().is_empty() || state().contains(" Z ");
    while !is_gone() && Instant::now() < end {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(is_gone(), "{}", state());
}

/// P8
#[test]
fn a_child_that_outlives_its_program_is_not_waited_for() {
    let Some(place) = Place::new("a_child_that_outlives_its_program_is_not_waited_for") else { return };
    let pid = place.0.join("pid");
    let script = format!("sleep 300 & echo $! >{}; echo done", pid.display());
    assert_eq!(place.run(&script, PATIENCE).expect("it succeeds").as_str(), "done");
    let number = fs::read_to_string(&pid).expect("it was written").trim().parse().expect("a number");
    let left = Pid::from_raw(number).expect("a process");
    rustix::process::kill_process(left, Signal::KILL).expect("it is still there");
}

/// P5
#[test]
fn an_untrusted_or_unusable_program_is_refused_with_the_remedy() {
    let Some(place) = Place::new("an_untrusted_or_unusable_program_is_refused_with_the_remedy") else {
        return;
    };
    let path = place.call("exit 0").path;
    let (shown, home) = (path.display(), place.0.display());
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
    let refused = || match Launcher::default()
        .run(&Call { path: path.clone(), arguments: Vec::new(), input: String::new() }, PATIENCE)
    {
        Err(Failure::Unfit(why)) => why.to_string(),
        other => panic!("{other:?}"),
    };
    let shared = format!(
        "{shown} is not run, because users other than root can change it or a directory above it; chown -h root"
    );
    mode(&path, 0o775);
    assert_eq!(refused(), format!("{shared} {shown} && chmod go-w {shown}"));
    mode(&path, 0o755);
    chown(&path, Some(65534), None).expect("root may");
    assert_eq!(refused(), format!("{shared} {shown} && chmod go-w {shown}"));
    chown(&path, Some(0), None).expect("root may");
    mode(&place.0, 0o777);
    assert_eq!(refused(), format!("{shared} {home} && chmod go-w {home}"));
    mode(&place.0, 0o755);
    assert_eq!(check(&path), Ok(()));
    mode(&path, 0o644);
    assert_eq!(refused(), format!("{shown} cannot be executed; chmod a+x {shown}"));
    assert!(Command::new("sed").args(["-i", "s|/bin|/nowhere|"]).arg(&path).status().expect("sed starts").success());
    mode(&path, 0o755);
    let hint = "No such file or directory (os error 2); a script must begin with #! and the path of an interpreter";
    assert_eq!(refused(), format!("cannot start {shown}: {hint}"));
    fs::remove_file(&path).expect("it is ours");
    let missing = "No such file or directory (os error 2); install it, or correct its path";
    assert_eq!(refused(), format!("cannot use {shown}: {missing}"));
    fs::create_dir(&path).expect("its place is free");
    assert_eq!(refused(), format!("{shown} is not a program; correct its path"));
}
