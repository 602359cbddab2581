//! The environment attack: with Debian's `pam_env.so user_readenv=1`, the variables in a user's
//! `~/.pam_environment` reach every PAM hook, before PAM's own variables and under any name.

use std::fs;
use std::io::Read;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::support::home::Home;
use crate::support::outcome::Outcome;
use crate::support::sshd::{self, CLIENT, EVE, SERVER, Sshd};
use crate::support::{has, program, skip};

/// Debian 12's line for sshd and login.
const READ_ENVIRONMENT: &str = "session required pam_env.so user_readenv=1\n";

/// The address that the allowlist names, and that eve claims to come from.
const ALLOWED: &str = "[notification]\nservice = \"stdout\"\n[allowlist]\nips = [\"10.0.0.2\"]\n";

/// A naive hook: `getenv` returns the first of two variables with the same name.
const READER: &str = r#"
#include <stdio.h>
#include <stdlib.h>
int main(int count, char **words) {
    FILE *file = fopen(words[1], "a");
    fprintf(file, "%s %s %s %s %s\n", getenv("PAM_TYPE"), getenv("PAM_USER"), getenv("PAM_RHOST"),
            getenv("PAM_SERVICE"), getenv("PAM_TTY"));
    return count != 2 || fclose(file);
}
"#;

/// A library that records which program loaded it, and as which user.
const LIBRARY: &str = r#"
#include <stdio.h>
#include <unistd.h>
__attribute__((constructor)) static void run(void) {
    char path[4096] = {0};
    FILE *file = fopen(WITNESS, "a");
    if (file && readlink("/proc/self/exe", path, sizeof path - 1) > 0) fprintf(file, "%d %s\n", geteuid(), path);
    if (file) fclose(file);
}
"#;

/// A host on which eve has written a hostile `~/.pam_environment`.
struct Attack {
    home: Home,
    /// Written by the hook that uses `getenv`.
    found: PathBuf,
    /// Written by eve's library.
    witness: PathBuf,
}

impl Attack {
    fn prepare(test: &str) -> Option<Self> {
        if let Some(why) = sshd::missing().or_else(|| (!has("cc")).then(|| "needs a C compiler".into())) {
            skip(test, &why);
            return None;
        }
        if !*READS_WHAT_A_USER_WROTE {
            skip(test, "this machine's pam_env does not read ~/.pam_environment");
            return None;
        }
        let home = Home::of_service(ALLOWED);
        let (found, witness) = (home.at("found"), home.at("witness"));
        compile(&home.at("reader"), READER, &[]);
        compile(&home.at("eve.so"), LIBRARY, &["-shared", "-fPIC", &format!("-DWITNESS=\"{}\"", witness.display())]);
        let attack = Self { home, found, witness };
        write_environment(&attack.home, &attack.variables());
        Some(attack)
    }

    /// Variables that could change what a hook records or where it writes, or could stop it.
    fn variables(&self) -> String {
        let (eve, library) = (self.home.at("eve"), self.home.at("eve.so"));
        let eve = eve.display();
        format!(
            "PAM_RHOST=10.0.0.2\nPAM_USER=root\nPAM_TYPE=auth\nPAM_SERVICE=cron\nPAM_TTY=tty9\nPAM_RUSER=root\n\
             TZ=:/dev/zero\nSQLITE_TMPDIR={eve}\nTMPDIR={eve}\nSSL_CERT_FILE={eve}/ca.pem\nSSL_CERT_DIR={eve}\n\
             HTTP_PROXY=http://127.0.0.1:1\nhttp_proxy=http://127.0.0.1:1\nALL_PROXY=http://127.0.0.1:1\n\
             RUST_BACKTRACE=full\nRUST_LOG=trace\nRUST_MIN_STACK=1\nMINREQ_TIMEOUT=0\nHOME={eve}\nPATH={eve}\n\
             LD_PRELOAD={}\nLD_LIBRARY_PATH={eve}\nMALLOC_PERTURB_=1\nNO_COLOR=1\nLANG=xx\nLC_ALL=xx\n",
            library.display()
        )
    }

    /// Returns the PAM line of the hook that uses `getenv`.
    fn reader_line(&self) -> String {
        format!("session optional pam_exec.so quiet {} {}\n", self.home.at("reader").display(), self.found.display())
    }

    fn recorded(&self) -> Vec<String> {
        self.home.queue().events()
    }
}

fn write_environment(home: &Home, text: &str) {
    fs::create_dir_all(home.at("eve")).expect("a home directory");
    let path = home.at("eve/.pam_environment");
    fs::write(&path, text).expect("eve's file");
    chown(path, Some(EVE), Some(EVE)).expect("root may give a file away");
}

/// Whether this machine's `pam_env` reads the user's file as Debian 12's does; newer ones may not.
static READS_WHAT_A_USER_WROTE: LazyLock<bool> = LazyLock::new(|| {
    let home = Home::of_service(ALLOWED);
    write_environment(&home, "PAM_RHOST=10.0.0.2\n");
    let sshd = Sshd::start(&home, READ_ENVIRONMENT);
    sshd.login("/usr/bin/env").stdout().contains("PAM_RHOST=10.0.0.2\n")
});

fn compile(path: &Path, source: &str, options: &[&str]) {
    let code = path.with_extension("c");
    fs::write(&code, source).expect("a source file");
    let compiled = Command::new("cc").args(options).arg("-o").arg(path).arg(code).output().expect("cc starts");
    compiled.exits(0);
}

/// The true events of a session of eve's.
fn truth() -> [String; 2] {
    ["open", "close"].map(|action| format!("{action} eve {CLIENT} sshd ssh"))
}

/// P3
#[test]
fn variables_of_a_user_fool_a_hook_with_getenv_but_not_ours() {
    let Some(attack) = Attack::prepare("variables_of_a_user_fool_a_hook_with_getenv_but_not_ours") else { return };
    let stack = format!("{READ_ENVIRONMENT}{}{}", attack.reader_line(), sshd::hook_line(&attack.home));
    let sshd = Sshd::start(&attack.home, &stack);
    // Debian's pam_env lets all variables through.
    let seen = sshd.login("/usr/bin/env").stdout();
    for variable in attack.variables().lines().filter(|line| !line.starts_with("HOME") && !line.starts_with("PATH")) {
        assert!(seen.lines().any(|line| line == variable), "{variable} is not in eve's session: {seen}");
    }
    let fooled = "auth root 10.0.0.2 cron tty9\n";
    assert_eq!(fs::read_to_string(&attack.found).expect("the reader ran"), fooled.repeat(2));

    assert_eq!(attack.recorded(), truth());
    let sent = attack.home.sent();
    let sentences: Vec<_> = sent.lines().filter_map(|line| line.split(" at ").next()).collect();
    let notice = |doing| format!("'eve' ({CLIENT}) {doing} host.example via ssh (sshd)");
    assert_eq!(sentences, [notice("logged in to"), notice("logged out from")], "{sent}");
}

/// P3
#[test]
fn a_line_before_pam_env_protects_getenv_at_login_but_not_at_logout() {
    let test = "a_line_before_pam_env_protects_getenv_at_login_but_not_at_logout";
    let Some(attack) = Attack::prepare(test) else { return };
    let stack = format!("{}{}{READ_ENVIRONMENT}", attack.reader_line(), sshd::hook_line(&attack.home));
    let sshd = Sshd::start(&attack.home, &stack);
    sshd.login("true");
    let found = fs::read_to_string(&attack.found).expect("the reader ran");
    assert_eq!(found, format!("open_session eve {CLIENT} sshd ssh\nauth root 10.0.0.2 cron tty9\n"));
    assert_eq!(attack.recorded(), truth());
}

/// P3, P5
#[test]
fn ld_preload_of_a_user_works_in_a_dynamic_hook_but_not_in_a_static_one() {
    let test = "ld_preload_of_a_user_works_in_a_dynamic_hook_but_not_in_a_static_one";
    let Some(attack) = Attack::prepare(test) else { return };
    let stack = format!("{READ_ENVIRONMENT}{}{}", attack.reader_line(), sshd::hook_line(&attack.home));
    let sshd = Sshd::start(&attack.home, &stack);
    sshd.login("true");
    let loaded = || fs::read_to_string(&attack.witness).unwrap_or_default();
    let line_of = |path: &Path| format!("0 {}\n", fs::canonicalize(path).expect("it is there").display());
    assert!(loaded().contains(&line_of(&attack.home.at("reader"))), "the attack does not work here: {}", loaded());

    let hook = PathBuf::from(program().pop().expect("a program"));
    if has_shared_libraries(&hook) {
        return skip(test, "this build has shared libraries: put the path of a static one into SSN_BINARY");
    }
    assert_eq!(attack.recorded(), truth());
    assert!(!loaded().contains(&line_of(&hook)), "{}", loaded());
}

/// Whether a program names a dynamic linker: its path follows an ELF file's headers.
fn has_shared_libraries(program: &Path) -> bool {
    let mut head = [0; 4096];
    let length = fs::File::open(program).and_then(|mut file| file.read(&mut head)).expect("a program");
    head[..length].windows(4).any(|bytes| bytes == b"/ld-")
}

/// P3
#[test]
fn nothing_is_written_where_a_users_variables_point() {
    let Some(attack) = Attack::prepare("nothing_is_written_where_a_users_variables_point") else { return };
    let sshd = Sshd::start(&attack.home, &format!("{READ_ENVIRONMENT}{}", sshd::hook_line(&attack.home)));
    sshd.login("true");
    let mut names: Vec<_> = fs::read_dir(attack.home.at("eve")).expect("a directory").flatten().collect();
    names.sort_by_key(fs::DirEntry::file_name);
    let names: Vec<_> = names.iter().map(fs::DirEntry::file_name).collect();
    assert_eq!(names, [".pam_environment", ".ssh"]);
    assert_eq!(attack.recorded(), truth());
}

/// P3
#[test]
fn variables_too_large_for_any_program_to_start_cannot_hide_a_login_from_a_hook_before_pam_env() {
    let test = "variables_too_large_for_any_program_to_start_cannot_hide_a_login_from_a_hook_before_pam_env";
    let Some(attack) = Attack::prepare(test) else { return };
    // execve(2) allows a quarter of the stack limit, usually 2 MiB; pam_env allows 1024 bytes a line.
    let large = (0..4000).map(|number| format!("V{number}={:0900}\n", 0)).collect::<Vec<_>>().concat();
    write_environment(&attack.home, &large);
    let after = format!("{READ_ENVIRONMENT}{}", attack.reader_line());
    let sshd = Sshd::start(&attack.home, &format!("{}{after}", sshd::hook_line(&attack.home)));
    // sshd can't start a shell with such an environment, but a tunnel needs none.
    let tunnelled = sshd.tunnel(&format!("{SERVER}:22"));
    tunnelled.prints_first("SSH-2.0-");
    assert!(!attack.found.exists(), "the attack does not work here");
    assert_eq!(attack.recorded().first(), truth().first());
}
