//! Mail to a server that others wrote: how its parser reads our messages, and what it refuses.

use std::fs;
use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use serde_json::{Value, json};

use crate::support::home::Home;
use crate::support::outcome::Outcome;
use crate::support::server::Server;
use crate::support::skip;
use crate::support::smtp::{LOGIN, Smtpd, email, is_possible};

/// Makes a host, and a server without TLS that behaves as these words say.
fn scene(words: &[&str], settings: &str) -> (Home, Smtpd) {
    let home = Home::new("");
    let server = Smtpd::start(&home, words);
    home.configure(&email(&format!("server = \"localhost:{}\"\n{settings}", server.port), ""));
    home.login("amanda");
    (home, server)
}

fn waits(home: &Home) -> bool {
    home.status().starts_with("email: 1 pending, 0 dead")
}

#[test]
fn a_parser_reads_notices_and_headers_of_a_mail_without_a_defect() {
    if !is_possible() {
        return skip("a_parser_reads_notices_and_headers_of_a_mail_without_a_defect", "needs aiosmtpd");
    }
    let (home, server) = scene(&[], "");
    home.login("Zoë שרת 王");
    home.send().succeeds();
    let mails = server.mails();
    assert_eq!(mails.len(), 1, "{mails:?}");
    let mail = &mails[0];
    assert_eq!(mail["mail"], "router@host.example");
    assert_eq!(mail["rcpt"], json!(["amanda@host.example", "bob@host.example"]));
    assert_eq!((&mail["hello"], &mail["defects"]), (&json!("host.example"), &json!([])), "{mail}");
    assert_eq!(mail["sender"], json!(["Router", "router@host.example"]));
    let headers = &mail["headers"];
    assert_eq!(headers["Auto-Submitted"], "auto-generated");
    assert_eq!(headers["Content-Type"], "text/plain; charset=\"utf-8\"");
    let subject = headers["Subject"].as_str().expect("a header");
    assert!(subject.starts_with("2 notices: 'amanda' (192.0.2.7) logged in to host.example via ssh"), "{subject}");
    let body = mail["body"].as_str().expect("a text");
    assert!(body.lines().count() == 2 && body.contains("\n'Zoë שרת 王' (192.0.2.7) logged in"), "{body}");
    assert!(mail["data"].as_str().expect("a text").lines().all(|line| line.len() <= 78), "{mail}");
    home.send().succeeds();
    assert_eq!(server.mails().len(), 1);
}

/// The headers of every mail.
const HEADERS: [&str; 9] = [
    "Date",
    "From",
    "To",
    "Subject",
    "Message-ID",
    "Auto-Submitted",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
];

/// P3
#[test]
fn no_name_of_a_stranger_becomes_a_header_an_address_or_the_end_of_a_mail() {
    if !is_possible() {
        return skip("no_name_of_a_stranger_becomes_a_header_an_address_or_the_end_of_a_mail", "needs aiosmtpd");
    }
    let long = "x".repeat(400);
    for user in [
        "a\r\nBcc: eve@evil.example\r\n\r\nhello",
        "a\nBcc: eve@evil.example",
        "a\r.\r\nQUIT\r\n",
        ".",
        "=?utf-8?Q?a=0d=0aBcc:_eve@evil.example?=",
        "\u{202e}eve\u{2066}",
        "<eve@evil.example>, \"x\" ,;:\\",
        &long,
        &"王".repeat(200),
    ] {
        let (home, server) = scene(&[], "");
        home.login(user);
        home.send().succeeds();
        let mails = server.mails();
        assert_eq!(mails.len(), 1, "{user:?}: {mails:?}");
        let mail = &mails[0];
        assert_eq!((&mail["defects"], &mail["names"]), (&json!([]), &json!(HEADERS)), "{user:?}");
        assert_eq!(mail["rcpt"], json!(["amanda@host.example", "bob@host.example"]));
        let data = mail["data"].as_str().expect("a text");
        assert!(data.is_ascii() && data.lines().all(|line| line.len() <= 998), "{user:?}: {data}");
        assert!(
            !data.contains("\nBcc") && mail["body"].as_str().is_some_and(|body| body.lines().count() == 2),
            "{data}"
        );
    }
}

/// P4
#[test]
fn a_mail_goes_through_the_proxy_and_no_name_is_looked_up_here() {
    if !is_possible() {
        return skip("a_mail_goes_through_the_proxy_and_no_name_is_looked_up_here", "needs aiosmtpd");
    }
    let home = Home::new("");
    let server = Smtpd::start(&home, &[]);
    let port = server.port;
    let proxy = Server::new(move |_, _, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
        let upstream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        thread::scope(|scope| {
            scope.spawn(|| io::copy(&mut &upstream, &mut &*stream).map(|_| stream.shutdown(Shutdown::Write)));
            let _ = io::copy(&mut &*stream, &mut &upstream);
            let _ = upstream.shutdown(Shutdown::Write);
        });
    });
    let network = format!("proxy = \"http://127.0.0.1:{}\"", proxy.port);
    home.configure(&email("server = \"mail.invalid\"\ntls = \"none\"", &network));
    home.login("amanda");
    home.send().succeeds();
    assert_eq!((proxy.requests()[0].target(), server.mails().len()), ("mail.invalid:25", 1));
}

/// P2, P4
#[test]
fn each_refusal_keeps_everything_and_the_error_names_the_command_and_the_remedy() {
    if !is_possible() {
        return skip("each_refusal_keeps_everything_and_the_error_names_the_command_and_the_remedy", "needs aiosmtpd");
    }
    let wrong = LOGIN.replace("wörd", "s3cret");
    for (words, settings, expected) in [
        (
            &["auth=PLAIN"][..],
            wrong.as_str(),
            "SMTP 535 to AUTH: 5.7.8 Authentication credentials invalid; it does not accept",
        ),
        (&["auth=PLAIN"], "", "SMTP 530 to MAIL FROM: 5.7.0 Authentication required; it wants a login: set `user`"),
        (&[], LOGIN, "the server offers no log-in mechanism"),
        (
            &["from=553 5.7.1 not owned"],
            "",
            "SMTP 553 to MAIL FROM: 5.7.1 not owned; it does not accept mail from that",
        ),
        (
            &["to=550 5.1.1 unknown"],
            "",
            "SMTP 550 to RCPT TO:<bob@host.example>: 5.1.1 unknown; it does not accept mail for",
        ),
        (&["to=451 4.7.1 greylisted"], "", "SMTP 451 to RCPT TO:<bob@host.example>: 4.7.1 greylisted; everything"),
        (
            &["data=554 5.7.1 looks like spam"],
            "",
            "SMTP 554 to the message: 5.7.1 looks like spam; ask the server's administrator",
        ),
        (
            &["data=552 5.2.2 mailbox full"],
            "",
            "SMTP 552 to the message: 5.2.2 mailbox full; ask the server's administrator",
        ),
        (&["data=452 4.3.1 no space"], "", "SMTP 452 to the message: 4.3.1 no space; everything is kept"),
        (&["data=421 4.3.2 shutting down"], "", "SMTP 421 to the message: 4.3.2 shutting down; everything is kept"),
    ] {
        let (home, _server) = scene(words, settings);
        let output = home.send();
        output.when(expected).fails().says(&format!("email: {expected}")).says("everything is kept");
        assert!(!output.stderr().contains("s3cret") && waits(&home), "{output:?}");
    }
}

/// P4
#[test]
fn a_mail_rejected_for_its_content_becomes_a_dead_letter_and_the_others_arrive() {
    let test = "a_mail_rejected_for_its_content_becomes_a_dead_letter_and_the_others_arrive";
    if !is_possible() {
        return skip(test, "needs aiosmtpd");
    }
    let (home, server) = scene(&["poison=mallory", "data=554 5.6.0 bad content"], "");
    home.login("mallory");
    home.login("bob");
    home.send().fails().says("email rejects an event, which becomes a dead letter: SMTP 554 to the message: 5.6.0");
    assert!(home.status().starts_with("email: 0 pending, 1 dead"), "{}", home.status());
    let taken: Vec<Value> = server.mails().into_iter().filter(|mail| mail["taken"] == true).collect();
    assert_eq!(taken.len(), 3, "not amanda, bob and the note on the dead letter: {taken:?}");
}

/// P2
#[test]
fn a_server_may_take_longer_for_a_mail_than_for_a_command() {
    if !is_possible() {
        return skip("a_server_may_take_longer_for_a_mail_than_for_a_command", "needs aiosmtpd");
    }
    let (home, server) = scene(&["slow=3"], "");
    let config = fs::read_to_string(home.at("config.toml")).expect("a configuration");
    fs::write(home.at("config.toml"), config.replace("timeout = 5", "timeout = 2")).expect("written");
    home.send().succeeds();
    assert_eq!(server.mails().len(), 1);
}

/// P2
#[test]
fn a_mail_without_an_answer_is_repeated_with_the_same_id_and_no_event_is_lost() {
    let test = "a_mail_without_an_answer_is_repeated_with_the_same_id_and_no_event_is_lost";
    if !is_possible() {
        return skip(test, "needs aiosmtpd");
    }
    let (home, server) = scene(&["lose=2"], "");
    for _ in 0..2 {
        home.send().fails().says("the mail was sent, but the server may or may not have it: the server closed");
        home.queue().forget_failures();
    }
    home.login("bob");
    home.send().succeeds();
    let mails = server.mails();
    let id = |place: usize| mails[place]["headers"]["Message-ID"].as_str().expect("a header");
    assert_eq!((mails.len(), id(0)), (3, id(1)));
    assert_ne!(id(0), id(2));
    assert!(id(2).ends_with(".ssn@host.example>"), "{}", id(2));
    let body = mails[2]["body"].as_str().expect("a text");
    assert!(body.contains("'amanda'") && body.contains("'bob'"), "{body}");
}

#[test]
fn check_warns_of_mail_that_crosses_the_internet_unencrypted() {
    let home = Home::new(&email("server = \"mail.example.com\"\ntls = \"none\"", ""));
    let output = home.run(&["check"]);
    output.prints("configuration: notification.email: its mail crosses the internet without TLS");
    output.prints("set tls to \"starttls\" or \"implicit\" in [notification.email]");
}

#[test]
fn check_asks_whether_the_server_would_accept_a_mail_and_test_sends_one() {
    if !is_possible() {
        return skip("check_asks_whether_the_server_would_accept_a_mail_and_test_sends_one", "needs aiosmtpd");
    }
    let (home, server) = scene(&["to=550 5.1.1 unknown"], "");
    home.run(&["check", "--network"]).exits(1).prints("network: email: SMTP 550 to RCPT TO:<bob@host.example>: 5.1.1");
    home.run(&["test"]).exits(1).prints("SMTP 550 to RCPT TO:<bob@host.example>: 5.1.1 unknown");
    let config = fs::read_to_string(home.at("config.toml")).expect("a configuration");
    fs::write(home.at("config.toml"), config.replace(", \"bob@host.example\"", "")).expect("written");
    let check = home.run(&["check", "--network"]);
    check.prints("network: email: the server would accept a mail");
    home.run(&["test"])
        .exits(0)
        .prints("email: the mail was accepted for amanda@host.example: 2.0.0 Ok: queued as 4711");
    let mails = server.mails();
    assert_eq!(mails.len(), 1, "`check` has sent a mail too");
    assert!(mails[0]["body"].as_str().is_some_and(|body| body.contains("this is a test; nobody logged in")));
}
