//! Names that strangers choose: any bytes in them become one safe line everywhere.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::process::{Command, Output};

use crate::support::home::{Home, STDOUT, Syslog};
use crate::support::outcome::Outcome;
use crate::support::server::Server;
use crate::support::{has_mount_namespaces, skip};

/// Hostile names, and how each is shown.
fn names() -> Vec<(Vec<u8>, String)> {
    let rows: [(&[u8], &str); 23] = [
        (b"amanda", "amanda"),
        (b"   ", ""),
        (b"\"'\\", "\"'\\"),
        (b"a\nb", "a\u{fffd}b"),
        (b"a\r\nX-Injected: 1\r\n\r\nb", "a\u{fffd}\u{fffd}X-Injected: 1\u{fffd}\u{fffd}\u{fffd}\u{fffd}b"),
        (b"\x1b[31mred\x1b]0;title\x07", "\u{fffd}[31mred\u{fffd}]0;title\u{fffd}"),
        (b"tab\tbell\x07\x7f", "tab\u{fffd}bell\u{fffd}\u{fffd}"),
        (b"```\n@everyone **bold** <@&1> <!channel>", "```\u{fffd}@everyone **bold** <@&1> <!channel>"),
        (b"@here [a](http://b) <script>", "@here [a](http://b) <script>"),
        (b"\",\"content\":\"x\"}", "\",\"content\":\"x\"}"),
        (b"$(id) `id` ;& %s%n", "$(id) `id` ;& %s%n"),
        (b"'; DROP TABLE event; --", "'; DROP TABLE event; --"),
        ("\u{202e}gnp.exe\u{2066}\u{200f}".as_bytes(), "\u{fffd}gnp.exe\u{fffd}\u{fffd}"),
        ("zero\u{200b}width\u{feff}".as_bytes(), "zero\u{fffd}width\u{fffd}"),
        ("line\u{2028}paragraph\u{2029}end".as_bytes(), "line\u{fffd}paragraph\u{fffd}end"),
        ("next\u{85}csi\u{9b}31m".as_bytes(), "next\u{fffd}csi\u{fffd}31m"),
        ("tag\u{e0041}".as_bytes(), "tag\u{fffd}"),
        (b"\xff\xfe", "\u{fffd}\u{fffd}"),
        (b"cut \xc3", "cut \u{fffd}"),
        (b"surrogate \xed\xa0\x80", "surrogate \u{fffd}\u{fffd}\u{fffd}"),
        (b"overlong \xc0\x8a", "overlong \u{fffd}\u{fffd}"),
        ("Zoë 王 🔒".as_bytes(), "Zoë 王 🔒"),
        (b"end\naction open", "end\u{fffd}action open"),
    ];
    let mut names: Vec<_> = rows.map(|(bytes, shown)| (bytes.to_vec(), shown.to_owned())).into();
    names.push((vec![b'x'; 65_536], "x".repeat(254) + "…"));
    names.push(("\u{1f512}".repeat(16_384).into_bytes(), "\u{1f512}".repeat(149) + "…"));
    // Linux allows 128 KiB in one string, including the variable's name and the NUL.
    names.push((vec![b'y'; 128 * 1024 - "PAM_SERVICE=".len() - 1], "y".repeat(254) + "…"));
    names
}

/// Runs the hook as `pam_exec` would, with items of any bytes; `None` is a missing item.
fn hook(command: &Command, [service, user, tty, remote_host]: [Option<&[u8]>; 4]) -> Output {
    let items = [
        ("PAM_SERVICE", service),
        ("PAM_USER", user),
        ("PAM_TTY", tty),
        ("PAM_RHOST", remote_host),
        ("PAM_TYPE", Some(&b"open_session"[..])),
    ];
    let mut env = Command::new("/usr/bin/env");
    env.args(["-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
    for (name, value) in items {
        if let Some(value) = value {
            env.arg(OsString::from_vec([name.as_bytes(), b"=", value].concat()));
        }
    }
    env.arg(command.get_program()).args(command.get_args()).output().expect("env starts")
}

/// Returns the notice of a login up to the time, with each name cut to its display width.
fn sentence([service, user, tty, remote_host]: [&str; 4]) -> String {
    let cut = |text: &str, width: usize| match text.chars().count() {
        count if count > width => text.chars().take(width - 1).collect::<String>() + "…",
        _ => text.to_owned(),
    };
    let (service, user, tty, remote_host) = (cut(service, 32), cut(user, 64), cut(tty, 32), cut(remote_host, 128));
    let from = if remote_host.is_empty() { String::new() } else { format!(" ({remote_host})") };
    let via = if tty.is_empty() { String::new() } else { format!("via {tty} ") };
    format!("'{user}'{from} logged in to host.example {via}({service})")
}

/// Records a login for every name in every item, and returns the expected notices. The users differ, because
/// many logins of one user would be summed up.
fn record_all(home: &Home) -> Vec<String> {
    let mut expected = Vec::new();
    for (number, (bytes, shown)) in names().into_iter().enumerate() {
        let user = format!("amanda{number}");
        // An FTP server, because one of its processes may have several sessions.
        let usual = ["vsftpd", &user, "ssh", "192.0.2.7"];
        for place in 0..usual.len() {
            let mut items = usual.map(|text| Some(text.as_bytes()));
            let mut fields = usual;
            (items[place], fields[place]) = (Some(bytes.as_slice()), &shown);
            hook(&home.command(&["queue"]), items).succeeds();
            expected.push(sentence(fields));
        }
    }
    let usual = ["sshd", "amanda", "ssh", "192.0.2.7"];
    for place in 1..usual.len() {
        let mut items = usual.map(|text| Some(text.as_bytes()));
        let mut fields = usual;
        (items[place], fields[place]) = (None, "");
        hook(&home.command(&["queue"]), items).succeeds();
        expected.push(sentence(fields));
    }
    expected
}

/// The lines of a text without their times.
fn sentences(text: &str) -> Vec<String> {
    let cut =
        |line: &str| line.rsplit_once(" at ").map_or_else(|| line.to_owned(), |(sentence, _)| sentence.to_owned());
    text.split('\n').map(cut).collect()
}

/// P3
#[test]
fn every_service_gets_one_safe_line_for_any_bytes_in_a_name() {
    let server = Server::well();
    let services = "[notification]\nservice = [\"discord\", \"ntfy\", \"stdout\"]\n";
    let home = Home::new(&format!("{services}{}{}", server.discord(), server.ntfy()));
    let expected = record_all(&home);
    let sent = home.sent();
    assert_eq!(sentences(sent.trim_end_matches('\n')), expected);

    let requests = server.requests();
    let (discord, ntfy): (Vec<_>, Vec<_>) = requests.iter().partition(|request| request.target() != "/");
    let heads = ["POST /api/webhooks/1/s3cret?wait=true HTTP/1.1", "POST / HTTP/1.1"];
    for request in &requests {
        assert!(heads.iter().any(|head| request.head.starts_with(head)), "{}", request.head);
        assert_eq!(request.head.lines().count(), 8, "{}", request.head);
    }
    let mut got = Vec::new();
    for request in discord {
        let json = request.json();
        assert_eq!(json["allowed_mentions"], serde_json::json!({"parse": []}));
        assert_eq!(json["username"], "host.example");
        let content = json["content"].as_str().expect("text");
        assert!(content.chars().count() <= 2000, "{content}");
        let block = content.strip_prefix("```").and_then(|rest| rest.strip_suffix("```")).expect("a code block");
        assert!(!block.contains('`'), "{block}");
        let lines = block.split('\n').map(|line| line.strip_prefix("- ").expect("each line is an item"));
        got.extend(lines.flat_map(sentences));
    }
    let without_backticks: Vec<_> = expected.iter().map(|line| line.replace('`', "")).collect();
    assert_eq!(got, without_backticks);

    let messages = ntfy.iter().map(|request| {
        assert!(request.json().as_object().is_some_and(|members| members.len() == 5), "{}", request.body);
        request.json()["message"].as_str().expect("text").to_owned()
    });
    let got: Vec<_> =
        messages.inspect(|message| assert!(message.len() <= 4096)).flat_map(|text| sentences(&text)).collect();
    assert_eq!(got, expected);
}

/// P3
#[test]
fn syslog_gets_only_our_lines_for_any_bytes_in_a_name() {
    let test = "syslog_gets_only_our_lines_for_any_bytes_in_a_name";
    if !has_mount_namespaces() {
        return skip(test, "needs root and mount namespaces");
    }
    // Neither the database nor the spool can take an event.
    let home = Home::new("");
    fs::create_dir(home.database()).expect("a directory in the database's place");
    fs::write(home.at("spool"), "a file in the spool's place").expect("a file");
    let syslog = Syslog::listen(&home);
    for (bytes, shown) in names() {
        let output = hook(&home.command_in_own_dev("true", &["queue"]), [Some(&bytes); 4]);
        output.exits(0);
        let messages = syslog.messages();
        for message in &messages {
            assert!(message.starts_with("<34> ") && !message.contains(char::is_control), "{message:?}");
        }
        assert!(messages.len() == 2 && messages[0].contains("only record of an event"), "{messages:?}");
        for name in ["user", "remote_host", "tty", "service"] {
            let field = format!(" | {name} {} | ", shown.replace('\\', "\\\\").replace('|', "\\|"));
            assert!(shown.is_empty() || messages[1].contains(&field), "{field}: {messages:?}");
        }
        output.prints_only("");
    }
}

/// P3
#[test]
fn any_bytes_in_a_name_survive_the_spool() {
    let home = Home::new(STDOUT);
    for (bytes, shown) in names() {
        fs::create_dir(home.database()).expect("a directory in the database's place");
        let output = hook(&home.command(&["queue"]), [Some(&bytes); 4]);
        output.exits(0);
        assert_eq!(home.spooled().len(), 1, "{output:?}");
        fs::remove_dir(home.database()).expect("an empty directory");
        assert_eq!(sentences(home.sent().trim_end_matches('\n')), [sentence([&shown; 4])]);
        fs::remove_dir_all(home.at("state")).expect("ours");
        fs::create_dir(home.at("state")).expect("a new directory");
    }
}
