//! Trusted authorities: those of `network.ca_file`, of the system's stores, or the built-in ones.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support;
use crate::support::home::{Home, Syslog};
use crate::support::outcome::Outcome;
use crate::support::server::Server;
use crate::support::tls::{Authority, END, Nginx, PAST, Pair, is_possible, ntfy, text, trusting};
use crate::tls::{GOOD, UNKNOWN, assert_kept, scene};

const NEEDS: &str = "needs nginx, openssl, root and mount namespaces";

fn has_own_store() -> bool {
    is_possible() && support::has_mount_namespaces() && Path::new("/etc/ssl").is_dir()
}

/// Runs `send` with these system stores: paths below /etc, and their texts.
fn send_with_stores(home: &Home, stores: &[(&str, &str)]) -> Output {
    let hide =
        "for dir in /etc/ssl /etc/pki /var/lib/ca-certificates; do [ ! -d $dir ] || mount -t tmpfs none $dir; done";
    let mut prepare = hide.to_owned();
    for (number, (path, text)) in stores.iter().enumerate() {
        let file = home.at(&format!("store{number}"));
        fs::write(&file, text).expect("a file");
        let file = file.display().to_string();
        prepare.extend(["; mkdir -p $(dirname /etc/", path, "); cp ", &file, " /etc/", path]);
    }
    home.command_in_own_dev(&prepare, &["send"]).output().expect("unshare starts")
}

const BUNDLE: &str = "ssl/certs/ca-certificates.crt";

#[test]
fn the_systems_store_is_trusted_and_mozillas_authorities_replace_a_missing_one() {
    let test = "the_systems_store_is_trusted_and_mozillas_authorities_replace_a_missing_one";
    if !has_own_store() {
        return support::skip(test, NEEDS);
    }
    let (home, authority, server, nginx) = scene("");
    let _syslog = Syslog::listen(&home);
    home.configure(&ntfy("localhost", nginx.ports[0], ""));
    for stores in [&[][..], &[(BUNDLE, "")], &[(BUNDLE, "this is no certificate\n")]] {
        assert_kept(&home, &send_with_stores(&home, stores), UNKNOWN);
        home.queue().forget_failures();
    }
    let other = Authority::new(&home, "other");
    let store = text(&other.pair.certificate) + "# a comment\n" + &text(&authority.pair.certificate);
    send_with_stores(&home, &[(BUNDLE, &store)]).succeeds();
    assert_eq!(server.requests().len(), 1);
}

/// Returns a certificate without its second half.
fn cut(certificate: &str) -> String {
    certificate[..certificate.len() / 2].to_owned()
}

/// P4: damage as after a power cut during an update of ca-certificates, or on a worn SD card.
#[test]
fn damage_in_a_store_leaves_the_rest_usable_and_is_reported_once() {
    let test = "damage_in_a_store_leaves_the_rest_usable_and_is_reported_once";
    if !has_own_store() {
        return support::skip(test, NEEDS);
    }
    let (home, authority, server, nginx) = scene("");
    let syslog = Syslog::listen(&home);
    home.configure(&ntfy("localhost", nginx.ports[0], ""));
    let (good, other) = (text(&authority.pair.certificate), Authority::new(&home, "other"));
    let other = text(&other.pair.certificate);
    // Valid Base 64 of an invalid certificate.
    let garbled = "-----BEGIN CERTIFICATE-----\nMIIBAAAA\n-----END CERTIFICATE-----\n";
    let all_of = |count: usize, line: usize| {
        format!("cannot read {count} of the certificates in /etc/{BUNDLE}, the first at /etc/{BUNDLE}:{line}; ")
    };
    let unusable = |why: &str| format!("cannot use the authorities in /etc/{BUNDLE}: {why}; using others");
    let lines = |text: &str| text.lines().count();
    let rows: [(&[(&str, &str)], String); 7] = [
        (&[(BUNDLE, &(cut(&other) + "\n" + &good))], all_of(1, 1)),
        (&[(BUNDLE, &(cut(&other) + &good))], all_of(1, 1)),
        (&[(BUNDLE, &(good.clone() + garbled + &cut(&other)))], all_of(2, lines(&good) + 1)),
        // A byte order mark and Windows' line ends are accepted.
        (&[(BUNDLE, &format!("\u{feff}{}", good.replace('\n', "\r\n")))], String::new()),
        (
            &[(BUNDLE, &cut(&good)), ("ssl/cert.pem", &good)],
            unusable(&format!("it holds no readable certificate (/etc/{BUNDLE}:1)")),
        ),
        (&[(BUNDLE, ""), ("pki/tls/certs/ca-bundle.crt", &good)], unusable("it holds no certificate")),
        (&[(BUNDLE, "\0\0\0\0"), ("ssl/certs/5e98733a.0", &good)], unusable("it holds no certificate")),
    ];
    for (count, (stores, expected)) in rows.iter().enumerate() {
        if count > 0 {
            home.login(&format!("user{count}"));
        }
        let _ = fs::remove_file(home.at("spool/.said-authorities"));
        let output = send_with_stores(&home, stores);
        output.when(expected).exits(0);
        assert_eq!(output.stderr().lines().count(), usize::from(!expected.is_empty()), "{output:?}");
        output.says(expected);
        assert!(syslog.lines().contains(expected));
        assert_eq!(server.requests().len(), count + 1, "{expected}");
    }
    home.login("carl");
    let (again, _) = &rows[0];
    send_with_stores(&home, again).succeeds();
}

/// `OpenWrt` and Alpine have such stores.
#[test]
fn a_directory_of_single_files_is_a_store() {
    let test = "a_directory_of_single_files_is_a_store";
    if !has_own_store() {
        return support::skip(test, NEEDS);
    }
    let (home, authority, server, nginx) = scene("");
    let _syslog = Syslog::listen(&home);
    home.configure(&ntfy("localhost", nginx.ports[0], ""));
    let (good, other) = (text(&authority.pair.certificate), Authority::new(&home, "other"));
    let other = text(&other.pair.certificate);
    for (count, name) in ["5e98733a.0", "Our_Own.crt", "Our_Own.pem"].into_iter().enumerate() {
        if count > 0 {
            home.login(&format!("user{count}"));
        }
        let name = format!("ssl/certs/{name}");
        send_with_stores(&home, &[("ssl/certs/0.crt", &other), (&name, &good)]).when(&name).succeeds();
        assert_eq!(server.requests().len(), count + 1);
    }
    home.login("carl");
    let output = send_with_stores(&home, &[("ssl/certs/README", &good), ("ssl/certs/old.pem~", &good)]);
    assert_kept_again(&home, &output);
    // A damaged file leaves the others usable.
    home.queue().end_waits();
    let output = send_with_stores(&home, &[("ssl/certs/0.crt", &cut(&other)), ("ssl/certs/1.crt", &good)]);
    output.exits(0).says("cannot read 1 of the certificates in /etc/ssl/certs, the first at /etc/ssl/certs/0.crt:1;");
}

#[track_caller]
fn assert_kept_again(home: &Home, output: &Output) {
    output.fails().says(UNKNOWN);
    assert!(home.status().starts_with("ntfy: 1 pending, 0 dead"), "{}", home.status());
}

#[test]
fn ca_file_takes_private_and_public_authorities_a_directory_and_der() {
    if !is_possible() {
        let test = "ca_file_takes_private_and_public_authorities_a_directory_and_der";
        return support::skip(test, "needs nginx and openssl");
    }
    let home = Home::as_installed("");
    let (private, public) = (Authority::new(&home, "private"), Authority::new(&home, "public"));
    let pairs = [private.issue("one", GOOD, PAST, END), public.issue("two", GOOD, PAST, END)];
    let server = Server::well();
    let nginx = Nginx::start(&home, server.port, "", &pairs);
    let both = home.at("both.pem");
    fs::write(&both, text(&private.pair.certificate) + &text(&public.pair.certificate)).expect("a file");
    let hashed = home.at("hashed");
    fs::create_dir(&hashed).expect("a new directory");
    for (name, authority) in [("11111111.0", &private), ("22222222.0", &public)] {
        symlink(&authority.pair.certificate, hashed.join(name)).expect("its place is free");
    }
    let der = |authority: &Authority| -> PathBuf {
        let path = authority.pair.certificate.with_extension("der");
        let mut openssl = Command::new("openssl");
        openssl.args(["x509", "-outform", "DER", "-in"]).arg(&authority.pair.certificate).arg("-out").arg(&path);
        assert!(openssl.status().is_ok_and(|status| status.success()));
        path
    };
    let files = [[both.clone(), both], [hashed.clone(), hashed], [der(&private), der(&public)]];
    for (count, file) in files.iter().enumerate() {
        for (port, file) in nginx.ports.iter().zip(file) {
            home.login(&format!("user{count}of{port}"));
            home.configure(&ntfy("localhost", *port, &format!("ca_file = \"{}\"", file.display())));
            home.send().when(file.display()).succeeds();
        }
    }
    assert_eq!(server.requests().len(), 6);
}

#[test]
fn a_server_must_send_its_intermediate_certificates_but_a_trusted_authority_may_have_expired() {
    if !is_possible() {
        let test = "a_server_must_send_its_intermediate_certificates_but_a_trusted_authority_may_have_expired";
        return support::skip(test, "needs nginx and openssl");
    }
    let home = Home::as_installed("");
    let (root, old) = (Authority::new(&home, "root"), Authority::expired(&home, "old"));
    let middle = root.below(&home, "middle");
    let (alone, aged) = (middle.issue("alone", GOOD, PAST, END), old.issue("aged", GOOD, PAST, END));
    let chain = Pair { certificate: home.at("chain.pem"), ..alone.clone() };
    fs::write(&chain.certificate, text(&alone.certificate) + &text(&middle.pair.certificate)).expect("a file");
    let server = Server::well();
    let nginx = Nginx::start(&home, server.port, "", &[alone, chain, aged]);
    home.login("amanda");
    home.configure(&ntfy("localhost", nginx.ports[0], &trusting(&root)));
    let output = home.send();
    assert_kept(&home, &output, UNKNOWN);
    output.says("or make the server send its intermediate certificates");
    home.configure(&ntfy("localhost", nginx.ports[1], &trusting(&root)));
    home.send().succeeds();
    // Only the key counts: authorities in an old store have often been renewed with the same one.
    home.login("ben");
    home.configure(&ntfy("localhost", nginx.ports[2], &trusting(&old)));
    home.send().succeeds();
    assert_eq!(server.requests().len(), 2);
}
