//! Email's settings: a server or a program, the sender, and the recipients.

use std::path::PathBuf;

use crate::http::Url;
use crate::mail::{Encryption, Server, Transport};
use crate::notifier::email::Account;
use crate::notifier::email::mailbox::Mailbox;
use crate::notifier::{Service, Setup};
use crate::text::{Secret, base64};
use crate::toml::{Found, Section};

/// Recipients of one target.
const MOST_RECIPIENTS: usize = 20;

/// Bytes in a user's name and password together: in base64, both must fit into one command (RFC 5321 §4.5.3.1.4).
const LOGIN_LIMIT: usize = 360;

/// Where most systems have sendmail or its replacement.
const SENDMAIL: &str = "/usr/sbin/sendmail";

/// Settings for a server only.
const SERVER_SETTINGS: [&str; 4] = ["tls", "user", "password", "password_file"];

/// Reads `server`, `tls`, `user` and `password`, or `sendmail`; `from` and `to`.
pub fn configure(section: &mut Section<'_>) -> Option<Setup> {
    let program = section.program("sendmail", SENDMAIL);
    if let Some(path) = program {
        return with_program(section, path);
    }
    let from = mailbox(section, "from");
    let to = recipients(section);
    let server = server(section)?;
    let login = server.login.as_ref();
    let own = || login.and_then(|(user, _)| Mailbox::parse(user).ok()).filter(|own| !own.domain().is_empty());
    let Some(from) = from.or_else(own) else {
        if !section.has("from") {
            section.refuse("needs a setting `from`, the sender's address");
        }
        return None;
    };
    let secrets = login.map_or_else(Vec::new, |(user, password)| {
        let plain = format!("\0{user}\0{}", password.reveal());
        vec![password.clone(), Secret::new(base64(password.reveal().as_bytes())), Secret::new(base64(plain.as_bytes()))]
    });
    let address = Some(server.address.clone());
    let account = Account { transport: Transport::Server(server), from: Some(from), to: to? };
    Some(Setup { is_titled: true, ..Setup::new(Service::Email(account.into()), address, secrets) })
}

fn with_program(section: &mut Section<'_>, path: PathBuf) -> Option<Setup> {
    if section.has("server") || section.has("server_file") {
        section.refuse("has both `server` and `sendmail`: give one of them");
    } else if SERVER_SETTINGS.iter().any(|key| section.has(key)) {
        section.refuse("has settings that belong to `server` (user, password, tls): sendmail has its own");
    }
    // Read them, so that they aren't reported as unknown too.
    for key in ["server", "tls", "user"] {
        let _ = section.string(key);
    }
    let (from, to) = (mailbox(section, "from"), recipients(section)?);
    let service = Service::Email(Account { transport: Transport::Program(path), from, to }.into());
    Some(Setup { is_titled: true, ..Setup::new(service, None, Vec::new()) })
}

fn mailbox(section: &mut Section<'_>, key: &str) -> Option<Mailbox> {
    let found = section.string(key)?;
    section.check(key, &found, |text| Mailbox::parse(text))
}

/// Reads the recipients' addresses. Their display names are dropped.
fn recipients(section: &mut Section<'_>) -> Option<Vec<String>> {
    let found = section.required("to", Section::strings)?;
    let read: Option<Vec<Mailbox>> =
        found.value.iter().map(|one| section.check("to", one, |text| Mailbox::parse(text))).collect();
    let addresses: Vec<String> = read?.into_iter().map(|mailbox| mailbox.address).collect();
    let is_short = addresses.len() <= MOST_RECIPIENTS;
    section.check("to", &found, |_| {
        if is_short { Ok(addresses) } else { Err("has more than 20 addresses: use a mailing list") }
    })
}

/// Reads a server's settings, all of them before it returns for a mistake: an unread one would be reported as unknown.
fn server(section: &mut Section<'_>) -> Option<Server> {
    let tls = section.string("tls");
    let user = section.string("user");
    let password = section.secret("password");
    let has_password = section.has("password") || section.has("password_file");
    let has_mistake = section.has("user") != user.is_some() || has_password != password.is_some();
    let user = user.filter(|found| !found.value.is_empty());
    let password = password.filter(|found| !found.value.reveal().is_empty());
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
    if has_mistake {
        // The wrong half of the login is reported already; `login` would call it missing.
        return None;
    }
    let login = login(section, &found, &address, user, password)?;
    if login.is_some() && tls == Encryption::None && !address.is_loopback() {
        section.refuse("would send the password without encryption: set tls to \"starttls\" or \"implicit\"");
        return None;
    }
    Some(Server { address, tls, login })
}

/// Parses `smtps://user:password@mail.example.com:465`; only the host is required. The result has the scheme https if
/// TLS is used, no matter when it begins.
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
        // A mail server on this host, whose certificate no authority signed.
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

/// Takes the user's name and password from their settings or from the address. `None` after a mistake, `Some(None)`
/// without a login.
#[expect(clippy::option_option, reason = "a mistake, no login, a login")]
fn login(
    section: &Section<'_>,
    server: &Found<Secret>,
    address: &Url,
    user: Option<Found<String>>,
    password: Option<Found<Secret>>,
) -> Option<Option<(String, Secret)>> {
    let inside = address.user().map(Secret::reveal).unwrap_or_default();
    let (name, secret) = inside.split_once(':').unwrap_or((inside, ""));
    let name = user.map_or_else(|| name.to_owned(), |found| found.value);
    let secret = password.map_or_else(|| Secret::new(secret), |found| found.value);
    let mistake = match (name.is_empty(), secret.reveal().is_empty()) {
        (true, true) => return Some(None),
        (false, true) => Some("needs a setting `password` or `password_file` for its user"),
        (true, false) => Some("needs a setting `user` for its password"),
        _ if name.len() + secret.reveal().len() > LOGIN_LIMIT => Some("has a user or password that is too long"),
        _ if name.contains('\0') || secret.reveal().contains('\0') => Some("has a NUL in user or password"),
        (false, false) => None,
    };
    section.check("server", server, |_| mistake.map_or(Ok(Some((name, secret))), Err))
}
