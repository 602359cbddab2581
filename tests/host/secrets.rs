//! Secrets in their own files: who reads them, and what may be planted in their place.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::support::home::{Home, SERVICE};
use crate::support::outcome::Outcome;
use crate::support::server::Server;
use crate::support::{is_root, skip};

/// A directory that belongs to root alone, as do all directories above it.
struct Etc(PathBuf);

impl Etc {
    fn new(name: &str) -> Self {
        let directory = PathBuf::from(format!("/run/ssn-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("root may");
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).expect("it is ours");
        Self(directory)
    }

    /// A file that only root can read.
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("root may");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("it is ours");
        path
    }
}

impl Drop for Etc {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn with_token(home: &Home, server: &Server, token: &Path) {
    let target = server.ntfy();
    home.configure(&format!("[notification]\nservice = \"ntfy\"\n{target}token_file = \"{}\"\n", token.display()));
}

#[test]
fn a_secret_may_be_the_first_line_of_a_file() {
    let server = Server::well();
    let home = Home::as_installed("");
    let secret = home.at("token");
    fs::write(&secret, "tk_s3cret  \nsecond line\n").expect("it is ours");
    with_token(&home, &server, &secret);
    home.login("amanda");
    home.send().succeeds();
    assert_eq!(server.requests()[0].header("authorization"), Some("Bearer tk_s3cret"));
}

/// P5, P7
#[test]
fn root_reads_a_secret_that_is_its_own_and_the_service_user_reads_every_other_one() {
    let test = "root_reads_a_secret_that_is_its_own_and_the_service_user_reads_every_other_one";
    if !is_root() {
        return skip(test, "needs root");
    }
    let etc = Etc::new("secrets");
    let shadow = etc.file("shadow", "root:tk_shadow\n");
    let token = etc.file("token", "tk_root\n");
    symlink("token", etc.0.join("link")).expect("root may");
    let (server, home) = (Server::well(), Home::of_service(""));
    let planted = home.at("state/token");
    let plant = |target: &Path| {
        let _ = fs::remove_file(&planted);
        symlink(target, &planted).expect("root may");
        lchown(&planted, Some(SERVICE), Some(SERVICE)).expect("root may");
    };
    // The path leaves root's directories and comes back.
    symlink(&planted, etc.0.join("detour")).expect("root may");
    plant(&shadow);
    home.login("amanda");
    for path in [planted.clone(), etc.0.join("detour"), home.at("state/../state/token")] {
        with_token(&home, &server, &path);
        for arguments in [&["send"][..], &["status"], &["retry", "--all"]] {
            let said = format!("token_file cannot be used: cannot read {}: Permission denied", path.display());
            home.run(arguments).when(path.display()).fails().says(&said);
        }
    }
    assert_eq!(server.requests().len(), 0);
    for (path, next) in [(&token, "bob"), (&etc.0.join("link"), "carol")] {
        with_token(&home, &server, path);
        home.send().when(path.display()).succeeds();
        home.login(next);
    }
    let own = home.at("state/own");
    fs::write(&own, "tk_own\n").expect("root may");
    chown(&own, Some(SERVICE), Some(SERVICE)).expect("root may");
    plant(&own);
    with_token(&home, &server, &planted);
    home.send().succeeds();
    let requests = server.requests();
    let tokens: Vec<_> = requests.iter().filter_map(|request| request.header("authorization")).collect();
    assert_eq!(tokens, ["Bearer tk_root", "Bearer tk_root", "Bearer tk_own"]);
    with_token(&home, &server, &etc.0.join("missing"));
    home.send().fails().says(&format!("cannot read {}: No such file", etc.0.join("missing").display()));
}

/// P5: if root owns the state directory, root is not given up.
#[test]
fn a_sender_that_stays_root_reads_no_secret_that_others_could_have_put_there() {
    let test = "a_sender_that_stays_root_reads_no_secret_that_others_could_have_put_there";
    if !is_root() {
        return skip(test, "needs root");
    }
    let etc = Etc::new("root-secrets");
    let token = etc.file("token", "tk_root\n");
    let (server, home) = (Server::well(), Home::new(""));
    home.login("amanda");
    let theirs = home.at("token");
    fs::write(&theirs, "tk_theirs\n").expect("it is ours");
    with_token(&home, &server, &theirs);
    let said = format!(
        "cannot read {}: root reads it only if no other user can change it or a directory above it",
        theirs.display()
    );
    home.send().fails().says(&said);
    assert_eq!(server.requests().len(), 0);
    with_token(&home, &server, &token);
    home.send().succeeds();
    assert_eq!(server.requests()[0].header("authorization"), Some("Bearer tk_root"));
}

/// P5
#[test]
#[cfg(feature = "tls")]
fn a_sender_that_stays_root_trusts_no_authorities_that_others_could_have_put_there() {
    let test = "a_sender_that_stays_root_trusts_no_authorities_that_others_could_have_put_there";
    if !is_root() {
        return skip(test, "needs root");
    }
    let home = Home::new("");
    let theirs = home.at("ca.pem");
    fs::write(&theirs, "-----BEGIN CERTIFICATE-----\n").expect("it is ours");
    let target = "[notification]\nservice = \"ntfy\"\n[notification.ntfy]\ntopic_url = \"https://127.0.0.1:9/topic\"\n";
    home.configure(&format!("{target}[network]\nca_file = \"{}\"\n", theirs.display()));
    home.login("amanda");
    home.send().fails().says("root reads it only if no other user can change it or a directory above it");
}

/// P8
#[test]
fn a_pipe_in_place_of_a_file_that_the_configuration_names_blocks_no_command() {
    let home = Home::as_installed("");
    let etc = is_root().then(|| Etc::new("pipes"));
    let directories = [Some(home.at("state")), etc.as_ref().map(|etc| etc.0.clone())];
    for pipe in directories.into_iter().flatten().map(|directory| directory.join("pipe")) {
        mkfifo(&pipe, Mode::from_bits_truncate(0o644)).expect("its place is free");
        let pipe = pipe.display();
        let ntfy = "[notification]\nservice = \"ntfy\"\n[notification.ntfy]\ntopic_url = \"http://127.0.0.1:9/t\"\n";
        let rows = [
            format!("{ntfy}token_file = \"{pipe}\"\n"),
            format!("[notification]\nservice = \"discord\"\n[notification.discord]\nwebhook_url_file = \"{pipe}\"\n"),
            format!("[notification]\nservice = \"ntfy\"\n[notification.ntfy]\ntopic_url_file = \"{pipe}\"\n"),
            format!("{ntfy}[network]\nheartbeat_url_file = \"{pipe}\"\n"),
            #[cfg(feature = "tls")]
            format!("{}[network]\nca_file = \"{pipe}\"\n", ntfy.replace("http:", "https:")),
        ];
        for row in rows {
            home.configure(&row);
            let started = Instant::now();
            home.login("amanda");
            home.send().when(&row).fails().says("not a regular file");
            home.queue().end_waits();
            assert!(started.elapsed() < Duration::from_secs(5), "{row}: {:?}", started.elapsed());
        }
    }
}
