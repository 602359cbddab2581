//! Email's settings: a server or a program, who writes, and to whom.

use std::path::PathBuf;

use crate::http::Url;
use crate::mail::{Encryption, Server, Way};
use crate::notifier::email::Account;
use crate::notifier::email::mailbox::Mailbox;
use crate::notifier::{Service, Setup};
use crate::text::{Secret, base64};
use crate::toml::{Found, Section};

/// Receivers of one target's mails.
const MOST_RECEIVERS: usize = 20;

/// Bytes of a user's name and password together, so that both fit into one command (RFC 5321 §4.5.3.1.4, in base 64).
const LOGIN_LIMIT: usize = 360;

/// Where most systems have sendmail, or what takes its place.
const SENDMAIL: &str = "/usr/sbin/sendmail";

/// Settings that a program doesn't need.
const SERVERS: [&str; 4] = ["tls", "user", "password", "password_file"];

/// Reads `server`, `tls`, `user` and `password`, or `sendmail`; `from` and `to`.
pub fn configure(section: &mut Section<'_>) -> Option<Setup> {
    let program = section.program("sendmail", SENDMAIL);
    if let Some(path) = program {
        return with_program(section, path);
    }
    let from = mailbox(section, "from");
    let to = receivers(section);
    let server = server(section)?;
    let login = server.login.as_ref();
    let own = || login.and_then(|(user, _)| Mailbox::parse(user).ok()).filter(|own| !own.domain().is_empty());
    let Some(from) = from.or_else(own) else {
        if !section.has("from") {
            section.refuse("needs a setting `from`, the address that mails come from");
        }
        return None;
    };
    let secrets = login.map_or_else(Vec::new, |(user, password)| {
        let plain = format!("\0{user}\0{}", password.reveal());
        vec![password.clone(), Secret::new(base64(password.reveal().as_bytes())), Secret::new(base64(plain.as_bytes()))]
    });
    let address = Some(server.address.clone());
    let account = Account { way: Way::Server(server), from: Some(from), to: to? };
    Some(Setup::new(Service::Email(account.into()), address, secrets))
}

fn with_program(section: &mut Section<'_>, path: PathBuf) -> Option<Setup> {
    if section.has("server") || section.has("server_file") {
        section.refuse("has both `server` and `sendmail`: give one of them");
    } else if SERVERS.iter().any(|key| section.has(key)) {
        section.refuse("has settings that belong to `server` (user, password, tls): sendmail has its own");
    }
    for key in ["server", "tls", "user"] {
        let _ = section.string(key);
    }
    let (from, to) = (mailbox(section, "from"), receivers(section)?);
    Some(Setup::new(Service::Email(Account { way: Way::Program(path), from, to }.into()), None, Vec::new()))
}

fn mailbox(section: &mut Section<'_>, key: &str) -> Option<Mailbox> {
    let found = section.string(key)?;
    section.check(key, &found, |text| Mailbox::parse(text))
}

/// Only addresses count: mails name nobody else.
fn receivers(section: &mut Section<'_>) -> Option<Vec<String>> {
    let found = section.required("to", Section::strings)?;
    let read: Option<Vec<Mailbox>> =
        found.value.iter().map(|one| section.check("to", one, |text| Mailbox::parse(text))).collect();
    let addresses: Vec<String> = read?.into_iter().map(|mailbox| mailbox.address).collect();
    let is_short = addresses.len() <= MOST_RECEIVERS;
    section.check(
        "to",
        &found,
        |_| if is_short { Ok(addresses) } else { Err("has more than 20 addresses: use a list") },
    )
}

/// Reads all its settings before any mistake ends that: what isn't read seems unknown.
fn server(section: &mut Section<'_>) -> Option<Server> {
    let tls = section.string("tls");
    let user = section.string("user").filter(|found| !found.value.is_empty());
    let password = section.secret("password").filter(|found| !found.value.reveal().is_empty());
    if !section.has("server") && !section.has("server_file") {
        section.refuse("needs a setting `server` (a mail server), or sendmail = true");
        return None;
    }
    let found = section.required("server", Section::secret)?;
    let tls = match &tls {
        Some(tls) => Some(section.check("tls", tls, |text| match text.as_str() {
            "implicit" => Ok(Encryption::Implicit),
            "starttls" => Ok(Encryption::StartTls),
            "none" => Ok(Encryption::None),
            _ => Err("must be \"implicit\" (port 465), \"starttls\" (port 587) or \"none\""),
        })?),
        None => None,
    };
    let (address, tls) = section.check("server", &found, |text| address(text, tls))?;
    if tls != Encryption::None && !cfg!(feature = "tls") {
        section.refuse("needs tls = \"none\": this build has no TLS; use the build with the feature `tls`");
    }
    let login = login(section, &found, &address, user, password)?;
    if login.is_some() && tls == Encryption::None && !address.is_loopback() {
        section.refuse("would send the password in clear: set tls to \"starttls\" or \"implicit\"");
        return None;
    }
    Some(Server { address, tls, login })
}

/// Reads `smtps://user:password@mail.example.com:465`, of which only the name is needed. The address says https where
/// there is TLS, whenever that begins.
fn address(text: &Secret, tls: Option<Encryption>) -> Result<(Url, Encryption), &'static str> {
    let what = "must be a mail server: mail.example.com, mail.example.com:587 or smtps://mail.example.com";
    let (scheme, rest) = text.reveal().split_once("://").unwrap_or(("", text.reveal()));
    let is_smtps = scheme.eq_ignore_ascii_case("smtps");
    if !is_smtps && !scheme.is_empty() && !scheme.eq_ignore_ascii_case("smtp") {
        return Err(what);
    }
    let url = Url::parse(&Secret::new(format!("http://{}", rest.trim_end_matches('/'))))?;
    if url.reveal() != url.origin() {
        return Err(what);
    }
    let has_port = url.origin().len() > "http://".len() + url.host().len();
    let tls = match tls {
        Some(Encryption::StartTls | Encryption::None) if is_smtps => {
            return Err("begins with smtps://, which is tls = \"implicit\"");
        }
        Some(tls) => tls,
        None if is_smtps || (has_port && url.port() == 465) => Encryption::Implicit,
        // A relay of this host, whose certificate nobody would know.
        None if url.is_loopback() => Encryption::None,
        None => Encryption::StartTls,
    };
    let port = match tls {
        _ if has_port => url.port(),
        Encryption::Implicit => 465,
        Encryption::StartTls => 587,
        Encryption::None => 25,
    };
    let scheme = if tls == Encryption::None { "http" } else { "https" };
    let address = Url::parse(&Secret::new(format!("{scheme}://{}:{port}", url.host())))?;
    Ok((url.user().cloned().map_or(address.clone(), |user| address.with_user(user)), tls))
}

/// The user's name and password, from their settings or from the address. `None`: a mistake, which was noted.
#[expect(clippy::option_option, reason = "a mistake, nobody, somebody")]
fn login(
    section: &Section<'_>,
    server: &Found<Secret>,
    address: &Url,
    user: Option<Found<String>>,
    password: Option<Found<Secret>>,
) -> Option<Option<(String, Secret)>> {
    let inside = address.user().map(Secret::reveal).unwrap_or_default();
    let (name, word) = inside.split_once(':').unwrap_or((inside, ""));
    let name = user.map_or_else(|| name.to_owned(), |found| found.value);
    let word = password.map_or_else(|| Secret::new(word), |found| found.value);
    let what = match (name.is_empty(), word.reveal().is_empty()) {
        (true, true) => return Some(None),
        (false, true) => Err("needs a setting `password` or `password_file` for its user"),
        (true, false) => Err("needs a setting `user` for its password"),
        (false, false) if name.len() + word.reveal().len() > LOGIN_LIMIT => Err("has too long a user or password"),
        (false, false) if name.contains('\0') || word.reveal().contains('\0') => Err("has a zero in user or password"),
        (false, false) => Ok(()),
    };
    section.check("server", server, |_| what.map(|()| Some((name, word))))
}
