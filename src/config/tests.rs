use nix::unistd::geteuid;

use super::*;

const GO: &str = r#"
[host]
name = "example.com"
timezone = "Etc/UTC"

[notification]
service = "discord"

[notification.discord]
webhook_url = "https://discord.com/api/webhooks/1/abc"

[notification.ntfy]
topic_url = "https://ntfy.sh/mytopic"
token = ""

[allowlist]
ips = ["10.0.0.2", "fd00::1"]
"#;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("config.toml"), text, &root_secrets(text)).map_err(|why| why.to_string())
}

fn names(config: &Config) -> Vec<&str> {
    config.targets.iter().map(|target| target.name.as_str()).collect()
}

#[test]
#[cfg(feature = "tls")]
fn a_configuration_of_the_go_program_is_taken_as_it_is() {
    let config = parse(GO).expect("the Go program's file");
    assert_eq!(config.host.as_str(), "example.com");
    assert_eq!(names(&config), ["discord"]);
    assert_eq!(config.paths, Paths::default());
    assert_eq!(config.paths.database, Path::new("/var/lib/ssh-session-notifier/session_events.db"));
    assert_eq!(config.limits.pending, 10_000);
}

#[test]
fn several_services_are_several_targets() {
    let text = "host.name = 'h'\nnotification = { service = ['stdout', 'ntfy'], ntfy.topic_url = 'http://n/t' }";
    let config = parse(text).expect("two services");
    assert_eq!(names(&config), ["stdout", "ntfy"]);
}

#[test]
fn each_mistake_is_named_with_its_file_and_line() {
    let rows = [
        ("", "config.toml:1: host.name is missing"),
        ("[notification.stdout]", "config.toml:1: notification.service is missing"),
        ("[host]\nname = \"\"", "config.toml:2: host.name must not be empty"),
        ("[host]\nname = 5", "config.toml:2: host.name must be a string"),
        ("[host]\nname = \"a\\nb\"", "config.toml:2: host.name must be one line of printable characters"),
        ("[host]\nnmae = \"x\"", "config.toml:2: host.nmae is not a setting"),
        ("[host]\n[hots]\nname = 'x'", "config.toml:2: hots is not a section"),
        ("host = 3", "config.toml:1: host must be a section"),
        ("[host]\nname = \"x\"\n\ntimezone = \"Nowhere/Land\"", "config.toml:4: host.timezone cannot be used: "),
        ("[notification]\nservice = \"discrod\"", "config.toml:2: notification.service is \"discrod\"; it can be"),
        (
            "[notification]\nservice = [\n'stdout',\n'stdout']",
            "config.toml:4: notification.service names \"stdout\" twice",
        ),
        ("[notification]\nservice = \"ntfy\"", "config.toml:1: notification.ntfy.topic_url is missing"),
        (
            "[notification.ntyf]\ntopic_url = 'http://n/t'",
            "config.toml:1: notification.ntyf needs a setting `service`; it can be",
        ),
        ("[host]\nname = '  '", "config.toml:2: host.name must be one line of printable characters"),
        (
            "[network]\nheartbeat_url = 'hc-ping.com/x'",
            "config.toml:2: network.heartbeat_url must begin with https:// or",
        ),
        (
            "[notification.ntfy]\ntopic_url = 'http://n/t'\ntokne = 'x'",
            "config.toml:3: notification.ntfy.tokne is not a setting",
        ),
        (
            "[notification.ntfy]\ntopic_url = 'http://n'",
            "config.toml:2: notification.ntfy.topic_url must end with a topic",
        ),
        (
            "[notification.ntfy]\ntopic_url = 'ftp://n/t'",
            "config.toml:2: notification.ntfy.topic_url must begin with https:// or",
        ),
        (
            "[notification.ntfy]\ntopic_url = 'http://n/t'\ntoken = \"a\\r\\nX: y\"",
            "config.toml:3: notification.ntfy.token must be one word",
        ),
        (
            "[notification.ntfy]\ntopic_url = 'http://n/t'\ntoken_file = '/nonexistent'",
            "config.toml:3: notification.ntfy.token_file cannot be used: cannot read /nonexistent: ",
        ),
        (
            "[notification.discord]\nwebhook_url = 'http://discord.com/api/webhooks/1/a'",
            "config.toml:2: notification.discord.webhook_url must begin with https://discord.com/api/webhooks/",
        ),
        ("[allowlist]\nusers = [\n'backup',\n'',\n]", "config.toml:4: allowlist.users has an empty name"),
        ("[allowlist]\nips = 10", "config.toml:2: allowlist.ips must be a string or an array of them"),
        ("[queue]\npath = 'q.db'", "config.toml:2: queue.path must be an absolute path"),
        ("[queue]\nhistory_days = -1", "config.toml:2: queue.history_days must be a whole number from 0 to 3650"),
        ("[network]\ntimeout = 0", "config.toml:2: network.timeout must be a whole number from 1 to 45"),
        ("\"[host]\\n\\u001B\" = 1", "config.toml:1: [host]\\n\\u{1b} is not a setting"),
        ("[host\nname = 'x'", "config.toml:1: this is not TOML: "),
        ("[host]\nname = 'x'\nname = 'y'", "config.toml:3: this is not TOML: "),
    ];
    for (text, expected) in rows {
        let why = parse(text).expect_err(text);
        assert!(why.lines().any(|line| line.contains(expected)), "{text}\n{why}");
    }
}

#[test]
fn a_mistake_never_shows_a_secret() {
    for text in [
        "[notification.ntfy]\ntopic_url = 'https://h/t'\ntoken = 'hunter 2'",
        "[notification.ntfy]\ntopic_url = 'https://h/hunter 2'",
        "[notification.discord]\nwebhook_url = 'https://discord.example/hunter 2'",
        "[notification.ntfy]\ntoken = 'hunter 2",
        "[notification.ntfy]\ntoken = hunter 2",
        "[notification.ntfy]\ntoken = ['hunter 2']",
    ] {
        let why = parse(text).expect_err(text);
        assert!(!why.contains("hunter"), "{why}");
    }
}

#[test]
fn discord_is_reached_at_its_own_hosts_or_a_loopback_relay_only() {
    let configured = |url: &str| {
        parse(&format!("host.name = 'h'\nnotification.service = 'discord'\nnotification.discord.webhook_url = '{url}'"))
            .is_ok()
    };
    let https = cfg!(feature = "tls");
    for url in ["https://discord.com/api/webhooks/1/a", "https://ptb.discord.com/api/webhooks/1/a?thread_id=7"] {
        assert_eq!(configured(url), https, "{url}");
    }
    for url in ["http://127.0.0.1:8080/api/webhooks/1/a", "http://localhost/api/webhooks/1/a"] {
        assert!(configured(url), "{url}");
    }
    for url in [
        "http://discord.com/api/webhooks/1/a",
        "https://discord.com.evil.example/api/webhooks/1/a",
        "https://discord.com@evil.example/api/webhooks/1/a",
        "https://discord.com/api/webhook/1/a",
        "https://discord.com:444/api/webhooks/1/a",
        "http://192.168.0.1/api/webhooks/1/a",
        "http://localhost.evil.example/api/webhooks/1/a",
        "https://discord.com/api/webhooks/1/a#x",
    ] {
        assert!(!configured(url), "{url}");
    }
}

#[test]
#[cfg(not(feature = "tls"))]
fn without_tls_an_https_address_is_a_mistake_that_names_the_build_that_has_it() {
    let why = parse(GO).expect_err("https without TLS");
    assert!(
        why.contains(
            "config.toml:10: notification.discord.webhook_url begins with https://, and this build has no TLS"
        ),
        "{why}"
    );
}

#[test]
fn a_secret_is_the_first_line_of_a_regular_file_of_bounded_size() {
    // Root refuses secrets in the temporary directory, because everybody can write there.
    let parent = if geteuid().is_root() { "/run".into() } else { std::env::temp_dir() };
    let directory = parent.join(format!("ssn-secrets-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a temporary directory");
    let path = directory.join("token");
    let read = || {
        let text = format!(
            "[notification]\nservice = 'stdout'\n[notification.ntfy]\ntopic_url = 'http://n/t'\ntoken_file = '{}'",
            path.display()
        );
        parse(&format!("{text}\n[host]\nname = 'h'")).map(drop)
    };
    let mistake =
        format!("config.toml:5: notification.ntfy.token_file cannot be used: cannot read {}: ", path.display());
    for (content, expected) in [
        (b"  tk_1 \nsecond line \xff".to_vec(), Ok(())),
        (b"\n".to_vec(), Ok(())),
        (b"tk_\xff\n".to_vec(), Err(format!("{mistake}not UTF-8"))),
        (
            b"tk 1".to_vec(),
            Err("config.toml:5: notification.ntfy.token must be one word of ASCII characters, or name:password".into()),
        ),
        (vec![b'\n'; 65_537], Err(format!("{mistake}larger than 65536 bytes"))),
    ] {
        fs::write(&path, content).expect("a file to write");
        assert_eq!(read(), expected);
    }
    fs::remove_file(&path).expect("it is ours");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).expect("its place is free");
    assert_eq!(read(), Err(format!("{mistake}not a regular file")));
    fs::remove_dir_all(&directory).expect("it is ours");
}
