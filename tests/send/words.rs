//! A target's own `text` and `title`, as services get them.

use crate::support::home::Home;
use crate::support::outcome::Outcome;
use crate::support::server::Server;

/// P3: an untrusted name is a value, even if it looks like a field.
#[test]
fn each_service_gets_the_configured_text_with_untrusted_names_unchanged() {
    let (ntfy, discord) = (Server::well(), Server::well());
    let text = "text = '🚨 {user} {action} from {remote_host}{details} {{user}}'\n";
    let home = Home::new(&format!(
        "[notification]\nservice = ['ntfy', 'discord', 'stdout']\n{}{text}title = '{{user}} on {{host}}'\n{}{text}\
         [notification.stdout]\n{text}",
        ntfy.ntfy(),
        discord.discord()
    ));
    home.login("{host} @everyone `x`");
    let printed = home.sent();
    let expected = "🚨 {host} @everyone `x` logged in from 192.0.2.7 {user}";
    assert_eq!(printed, format!("{expected}\n"));
    let requests = ntfy.requests();
    let [message] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!(message.json()["message"], expected);
    assert_eq!(message.json()["title"], "{host} @everyone `x` on host.example");
    let requests = discord.requests();
    let [message] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!(message.json()["content"], format!("```- {}```", expected.replace('`', "")));
}

#[test]
fn the_programs_own_notices_keep_their_text_and_title() {
    let ntfy = Server::well();
    let words = "text = '{user} {action}'\ntitle = '{user}'\n";
    let home = Home::new(&format!("[notification]\nservice = 'ntfy'\n{}{words}", ntfy.ntfy()));
    home.run(&["test", "ntfy"]);
    let requests = ntfy.requests();
    let Some(message) = requests.last() else { panic!("no request") };
    assert_eq!(message.json()["title"], "host.example");
    assert!(message.body.contains("this is a test; nobody logged in"), "{}", message.body);
    home.configure(&format!("[notification]\nservice = 'ntfy'\n{}{}", ntfy.ntfy(), words.replace("action", "acton")));
    let mistake =
        "config.toml:10: notification.ntfy.text has no field {acton}; did you mean {action}? the fields are {user}";
    home.send().fails().says(mistake);
}
