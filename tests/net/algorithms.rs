//! TLS with servers that allow few algorithms, and with certificates of every kind.

use std::process::Output;

use crate::support;
use crate::support::home::Home;
use crate::support::outcome::Outcome;
use crate::support::server::Server;
use crate::support::tls::{
    Authority, ED25519, END, Kind, Nginx, P256, P384, PAST, RSA_2048, RSA_4096, RSA_PSS, is_possible, ntfy, trusting,
};

/// The error when a server refuses the handshake.
const REFUSED: &str = "TLS failed: the server refuses the handshake (HandshakeFailure): \
    perhaps it accepts none of the algorithms that this program supports";

const VERSIONS: [&str; 2] = ["TLSv1.2", "TLSv1.3"];

/// Sends to a server with these settings and these kinds of keys. The string is the server's access log.
fn send(settings: &str, authority: Kind, kind: Kind) -> (Home, Output, String) {
    let home = Home::as_installed("");
    let authority = Authority::with(&home, "authority", authority);
    let certificate = authority.issue_with("certificate", kind, "DNS:localhost", PAST, END);
    let server = Server::well();
    let nginx = Nginx::start(&home, server.port, settings, &[certificate]);
    home.login("amanda");
    home.configure(&ntfy("localhost", nginx.ports[0], &trusting(&authority)));
    let output = home.send();
    let is_sent = output.status.success();
    assert_eq!(server.requests().len(), usize::from(is_sent), "{settings}: {}", output.stderr());
    assert!(!is_sent || support::wait_for(|| !nginx.log().is_empty()), "nginx has not logged its answer");
    (home, output, nginx.log())
}

fn assert_sent(settings: &str, authority: Kind, kind: Kind) {
    let (_home, output, log) = send(settings, authority, kind);
    let what = format!("{settings} {authority:?} {kind:?}");
    output.when(&what).succeeds();
    assert!(VERSIONS.iter().all(|version| settings.contains(version) == log.contains(version)), "{what} {log}");
}

/// P2
fn assert_kept(settings: &str, authority: Kind, kind: Kind, error: &str) {
    let (home, output, _) = send(settings, authority, kind);
    let what = format!("{settings} {authority:?} {kind:?}");
    output.when(&what).fails().says(&format!("ntfy: {error}")).says("; everything is kept and retried in 1 min");
    assert!(home.status().starts_with("ntfy: 1 pending, 0 dead, never worked"), "{what}");
}

#[test]
fn servers_with_strict_settings_are_reached() {
    if !is_possible() {
        return support::skip("servers_with_strict_settings_are_reached", "needs nginx and openssl");
    }
    for settings in [
        "ssl_ecdh_curve prime256v1;",
        "ssl_ecdh_curve secp384r1;",
        "ssl_ecdh_curve X25519;",
        "ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;",
        "ssl_ciphers ECDHE-ECDSA-AES256-GCM-SHA384; ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384;",
        "ssl_ciphers ECDHE-ECDSA-CHACHA20-POLY1305; ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256;",
        // Mozilla's recommendations for servers: "intermediate" and, for TLS 1.3, "modern".
        "ssl_ecdh_curve X25519:prime256v1:secp384r1; ssl_prefer_server_ciphers off;\n\
         ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:\
         ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:\
         DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305;",
    ] {
        for version in VERSIONS {
            assert_sent(&format!("ssl_protocols {version}; {settings}"), P256, P256);
        }
    }
}

#[test]
fn certificates_of_every_usual_kind_are_accepted() {
    if !is_possible() {
        return support::skip("certificates_of_every_usual_kind_are_accepted", "needs nginx and openssl");
    }
    for (authority, kind) in [
        (P256, P384),
        (P384, P256),
        (P384, RSA_2048),
        (RSA_4096, RSA_4096),
        (RSA_PSS, RSA_PSS),
        (P256, ED25519),
        (ED25519, P256),
    ] {
        for version in VERSIONS {
            assert_sent(&format!("ssl_protocols {version};"), authority, kind);
        }
    }
}

/// P2
#[test]
fn the_error_explains_that_there_is_no_common_algorithm() {
    let test = "the_error_explains_that_there_is_no_common_algorithm";
    if !is_possible() {
        return support::skip(test, "needs nginx and openssl");
    }
    for settings in
        ["ssl_protocols TLSv1.3; ssl_ecdh_curve X448;", "ssl_protocols TLSv1.2; ssl_ciphers ECDHE-ECDSA-AES128-SHA;"]
    {
        assert_kept(settings, P256, P256, REFUSED);
    }
}
