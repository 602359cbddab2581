//! Mail over implicit TLS and STARTTLS to a server that others wrote.

use serde_json::{Value, json};

use crate::support::home::Home;
use crate::support::outcome::Outcome;
use crate::support::smtp::{LOGIN, Smtpd, email, is_possible};
use crate::support::tls::{Authority, END, PAST, trusting};
use crate::support::{has, skip};

fn tls_scene(words: &[&str], settings: &str) -> (Home, Authority, Smtpd) {
    let home = Home::as_installed("");
    let authority = Authority::new(&home, "authority");
    let pair = authority.issue("good", "DNS:localhost", PAST, END);
    let server = Smtpd::with_tls(&home, &pair, words);
    let settings = settings.replace("PORT", &server.port.to_string());
    home.configure(&email(&settings, &trusting(&authority)));
    home.login("amanda");
    (home, authority, server)
}

/// P7
#[test]
fn mail_works_over_implicit_tls_and_starttls_and_with_both_ways_to_log_in() {
    let test = "mail_works_over_implicit_tls_and_starttls_and_with_both_ways_to_log_in";
    if !is_possible() || !has("openssl") {
        return skip(test, "needs aiosmtpd and openssl");
    }
    for (words, settings) in [
        (&["implicit", "auth=PLAIN"][..], "server = \"smtps://localhost:PORT\"\n"),
        (&["implicit", "auth=LOGIN"], "server = \"localhost:PORT\"\ntls = \"implicit\"\n"),
        (&["auth=PLAIN,LOGIN"], "server = \"localhost:PORT\"\ntls = \"starttls\"\n"),
        (&["auth=LOGIN"], "server = \"smtp://localhost:PORT\"\ntls = \"starttls\"\n"),
    ] {
        let (home, _authority, server) = tls_scene(words, &format!("{settings}{LOGIN}"));
        home.send().when(settings).succeeds();
        let arrived = server.arrived();
        let way = words.last().expect("one").trim_start_matches("auth=").split(',').next();
        assert_eq!(arrived[0], json!({"login": way, "tls": true, "right": true}), "{settings}");
        assert_eq!((arrived.len(), &arrived[1]["tls"]), (2, &Value::Bool(true)), "{arrived:?}");
    }
}

#[test]
fn name_and_password_may_be_in_the_address() {
    if !is_possible() || !has("openssl") {
        return skip("name_and_password_may_be_in_the_address", "needs aiosmtpd and openssl");
    }
    let (home, _authority, server) = tls_scene(
        &["implicit", "auth=PLAIN"],
        "server = \"smtps://amanda%40host.example:pass%20w%C3%B6rd@localhost:PORT\"\n",
    );
    home.send().succeeds();
    assert_eq!(server.mails().len(), 1);
}

/// P7
#[test]
fn a_server_with_an_invalid_certificate_gets_no_password() {
    if !is_possible() || !has("openssl") {
        return skip("a_server_with_an_invalid_certificate_gets_no_password", "needs aiosmtpd and openssl");
    }
    for (words, settings) in [
        (&["implicit", "auth=PLAIN"][..], "server = \"smtps://127.0.0.1:PORT\"\n"),
        (&["auth=PLAIN"], "server = \"127.0.0.1:PORT\"\ntls = \"starttls\"\n"),
    ] {
        let (home, _authority, server) = tls_scene(words, &format!("{settings}{LOGIN}"));
        home.send()
            .fails()
            .says("email: the server's certificate is not valid for its name, 127.0.0.1, but for localhost");
        assert_eq!(server.arrived(), Vec::<Value>::new());
        assert!(home.status().starts_with("email: 1 pending, 0 dead"), "{}", home.status());
    }
}
