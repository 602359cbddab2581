use super::*;
use crate::mail::{Failure, Refusal, Stage};
use crate::notifier::tests::{mistakes, target, with_style};
use crate::notifier::{Message, Notice, Notifier};
use crate::rules::Urgency;
use crate::text::Field;

const MAILBOXES: &str = "from = 'a@b'\nto = 'c@d'\n";

fn mail(target: &Notifier, uids: &[u64]) -> Mail {
    let notice = |uid: &u64| Notice { uid: *uid, urgency: Urgency::Normal, title: String::new(), text: "x".into() };
    let notices: Vec<Notice> = uids.iter().map(notice).collect();
    match with_style("host.example", |style| target.render(&Digest { style, notices: &notices }, "")) {
        Message::Mail(mail) => mail,
        other => panic!("{other:?}"),
    }
}

fn id(target: &Notifier, uids: &[u64]) -> String {
    let text = mail(target, uids).text.expect("a mail");
    let (_, rest) = text.split_once("\nMessage-ID: ").expect("it has one");
    rest.lines().next().expect("it is a line").into()
}

#[test]
fn the_same_notices_have_the_same_message_id_and_others_have_another() {
    let target = target("email", &format!("server = 'localhost'\n{MAILBOXES}"));
    assert_eq!(id(&target, &[1]), id(&target, &[1]));
    assert_ne!(id(&target, &[1]), id(&target, &[1, 2]));
    assert!(id(&target, &[1]).ends_with(".ssn@b>"));
    let local = super::super::tests::target("email", "sendmail = true\nto = 'root'");
    assert!(id(&local, &[1]).ends_with(".ssn@host.example>"));
}

#[test]
fn port_and_tls_follow_from_the_servers_address_and_from_each_other() {
    for (settings, port, tls) in [
        ("server = 'smtps://mail.example.com'", 465, Encryption::Implicit),
        ("server = 'SMTPS://mail.example.com:4650/'", 4650, Encryption::Implicit),
        ("server = 'mail.example.com:465'", 465, Encryption::Implicit),
        ("server = 'mail.example.com'\ntls = 'implicit'", 465, Encryption::Implicit),
        ("server = 'mail.example.com'", 587, Encryption::StartTls),
        ("server = 'smtp://mail.example.com'", 587, Encryption::StartTls),
        ("server = 'mail.example.com:25'", 25, Encryption::StartTls),
        ("server = 'mail.lan'\ntls = 'none'", 25, Encryption::None),
        ("server = 'localhost'", 25, Encryption::None),
        ("server = '127.0.0.1:1025'", 1025, Encryption::None),
        ("server = 'localhost'\ntls = 'starttls'", 587, Encryption::StartTls),
    ] {
        if tls != Encryption::None && !cfg!(feature = "tls") {
            let why = mistakes("email", &format!("{settings}\n{MAILBOXES}"));
            assert!(why.contains("needs tls = \"none\": this build has no TLS"), "{why}");
            continue;
        }
        let target = target("email", &format!("{settings}\n{MAILBOXES}"));
        let Transport::Server(server) = mail(&target, &[1]).transport else { panic!("{settings}") };
        assert_eq!((server.address.port(), server.tls), (port, tls), "{settings}");
        assert_eq!(target.is_secure(), tls != Encryption::None, "{settings}");
    }
}

#[cfg(feature = "tls")]
#[test]
fn a_login_is_set_by_settings_or_in_the_address_and_is_the_default_sender() {
    for settings in [
        "server = 'h.example'\nuser = 'a@b'\npassword = 'p:@/ss'",
        "server = 'smtps://a%40b:p%3a%40%2Fss@h.example'",
        "server = 'smtps://a@b@h.example'\npassword = 'p:@/ss'",
    ] {
        let mail = mail(&target("email", &format!("{settings}\nto = ['c@d', 'Carol <e@f>']")), &[1]);
        let Transport::Server(server) = mail.transport else { panic!("{settings}") };
        let (user, password) = server.login.expect("a login");
        assert_eq!((user.as_str(), password.reveal()), ("a@b", "p:@/ss"), "{settings}");
        assert_eq!((mail.from.as_deref(), mail.to), (Some("a@b"), vec!["c@d".to_owned(), "e@f".to_owned()]));
    }
}

/// P7
#[test]
fn a_setting_that_cannot_work_or_would_reveal_the_password_is_a_mistake() {
    for (settings, mistake) in [
        ("", "email needs a setting `server` (a mail server), or sendmail = true"),
        ("server = 'localhost'\nto = 'c@d'", "email needs a setting `from`"),
        ("server = 'localhost'\nfrom = 'a@b'", "email.to is missing"),
        ("server = 'localhost'\nfrom = 'a@b'\nto = []", "email.to must not be empty"),
        ("server = 'localhost'\nfrom = 'a b'\nto = 'c@d'", "email.from must be an address such as"),
        (
            "server = 'localhost'\nfrom = 'a@b'\nto = ['c@d', \"e@f\\r\\nRCPT TO:<g@h>\"]",
            "email.to must be in one line",
        ),
        ("server = 'localhost'\nfrom = 'a@b'\nto = 'c@zoë.example'", "email.to must have an address in ASCII"),
        ("server = ''", "email.server must not be empty"),
        ("server = 'imap://h'", "email.server must be a mail server: mail.example.com"),
        ("server = 'h/x'", "email.server must be a mail server: mail.example.com"),
        ("server = 'h:0'", "email.server must have a host name or an IPv4 address"),
        ("server = 'smtps://h'\ntls = 'none'", "email.server begins with smtps://, which is tls = \"implicit\""),
        ("server = 'h'\ntls = 'yes'", "email.tls must be \"implicit\""),
        ("server = 'localhost'\nuser = 'a'", "email.server needs a setting `password` or `password_file`"),
        ("server = 'localhost'\npassword = 's3cret'", "email.server needs a setting `user`"),
        ("server = 'h.lan'\ntls = 'none'\nuser = 'a'\npassword = 's3cret'", "email would send the password without"),
        ("sendmail = 'sendmail'\nto = 'root'", "email.sendmail must be true, or the absolute path of a program"),
        ("sendmail = true\nserver = 'h'\nto = 'root'", "email has both `server` and `sendmail`"),
        ("sendmail = true\nuser = 'a'\nto = 'root'", "email has settings that belong to `server`"),
        ("sendmail = true\nto = '-oQ/tmp'", "email.to must be an address such as"),
    ] {
        let why = mistakes("email", settings);
        assert!(why.contains(mistake) && !why.contains("s3cret"), "{settings}: {why}");
        assert!(!why.contains("is not a setting"), "{settings}: {why}");
    }
}

/// Half a login that is wrong must not make the other half a mistake too.
#[test]
fn a_mistake_in_half_a_login_is_the_only_one() {
    for (half, mistake) in [
        ("user = 'a'\npassword_file = '/dev/null/none'", "email.password_file cannot be used"),
        ("user = 'a'\npassword = 5", "email.password must be"),
        ("user = 5\npassword = 's3cret'", "email.user must be"),
    ] {
        let why = mistakes("email", &format!("server = 'localhost'\n{half}\n{MAILBOXES}"));
        assert!(why.contains(mistake) && why.lines().count() == 1, "{half}: {why}");
    }
}

#[test]
fn mail_without_tls_beyond_the_local_network_gets_a_warning() {
    for (settings, is_doubted) in [
        ("server = 'mail.example.com'\ntls = 'none'", true),
        ("server = 'mail.lan'\ntls = 'none'", false),
        ("server = '192.168.1.2'\ntls = 'none'", false),
        ("server = 'localhost'", false),
    ] {
        let target = target("email", &format!("{settings}\n{MAILBOXES}"));
        assert_eq!(target.doubt().is_some(), is_doubted, "{settings}");
    }
}

/// P4
#[test]
fn each_reply_and_exit_status_has_its_outcome_and_remedy() {
    let refused = |stage: &Stage, code, text: &str| {
        Failure::Refused(Refusal { stage: stage.clone(), code, text: Field::new(text.as_bytes()) })
    };
    let to = Stage::To("c@d".into());
    for (stage, code, text, expected) in [
        (Stage::Connection, 554, "no", "R it refuses to talk to this host"),
        (Stage::Connection, 421, "no", "F"),
        (Stage::Hello, 502, "no", "R it refuses to talk to this host"),
        (Stage::StartTls, 454, "4.7.0 no", "F"),
        (Stage::Login, 535, "5.7.8 no", "R it does not accept user and password"),
        (Stage::Login, 534, "5.7.9 no", "R it wants an app password"),
        (Stage::Login, 454, "4.7.0 later", "F"),
        (Stage::Login, 334, "", "F"),
        (Stage::From, 530, "5.7.0 Must issue a STARTTLS command first", "R it wants TLS"),
        (Stage::From, 530, "5.5.1 Authentication Required", "R it wants a login"),
        (Stage::From, 550, "5.7.1 no", "R it does not accept mail from that address"),
        (Stage::From, 450, "4.7.1 no", "F"),
        (to.clone(), 550, "5.1.1 no", "R it does not accept mail for that address"),
        (to.clone(), 552, "5.2.2 full", "R it does not accept mail for that address"),
        (to, 450, "4.2.0 greylisted", "F"),
        (Stage::Data, 554, "5.6.0 no", "R ask the server's administrator"),
        (Stage::Message, 554, "5.6.0 no", "X"),
        (Stage::Message, 552, "5.3.4 too big", "X"),
        (Stage::Message, 550, "5.2.3 too long", "X"),
        (Stage::Message, 552, "too big, or a quota", "R ask the server's administrator"),
        (Stage::Message, 552, "5.2.2 quota", "R ask the server's administrator"),
        (Stage::Message, 550, "5.4.5 daily limit", "R ask the server's administrator"),
        (Stage::Message, 554, "5.7.1 spam", "R ask the server's administrator"),
        (Stage::Message, 451, "5.6.0 no", "F"),
        (Stage::Message, 421, "", "F"),
        (Stage::Message, 354, "", "F"),
    ] {
        let outcome = judge(Err(refused(&stage, code, text)));
        assert!(is_as_expected(&outcome, expected), "{code} {text}: {outcome:?}");
    }
    for (status, expected) in [
        (Some(75), "F"),
        (Some(1), "F"),
        (Some(69), "F"),
        (Some(65), "F"),
        (Some(67), "R check `to`"),
        (Some(64), "R check `to`"),
        (Some(77), "R check `to`"),
        (Some(78), "R check `to`"),
        (None, "F"),
    ] {
        let outcome = judge(Err(Failure::Exited(status, Field::new(b"output"))));
        assert!(is_as_expected(&outcome, expected), "{status:?}: {outcome:?}");
    }
    assert_eq!(judge(Ok(Field::default())), crate::notifier::Outcome::Delivered { pause: None });
}

fn is_as_expected(outcome: &crate::notifier::Outcome, expected: &str) -> bool {
    use crate::notifier::Outcome;
    match outcome {
        Outcome::Failed { why } => expected == "F" && !why.is_empty(),
        Outcome::Rejected { .. } => expected == "X",
        Outcome::Refused { why } => {
            expected.strip_prefix("R ").is_some_and(|remedy| why.contains(&format!("; {remedy}")))
        }
        Outcome::Delivered { .. } | Outcome::Throttled { .. } | Outcome::Moved { .. } => false,
    }
}
