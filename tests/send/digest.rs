//! Digests: many pending events go out in few messages, in order, each notice whole.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::support::home::{Home, LOGIN};
use crate::support::outcome::Outcome;
use crate::support::server::{Request, Server, reply, taken};

/// The window for five messages: two seconds at Discord, shorter in the model.
const WINDOW: Duration = Duration::from_millis(100);

/// Whether the model announces its rate limit in headers, as Discord does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Limit {
    Announced,
    Silent,
}

/// Starts a service with Discord's rate limit: five messages a window, then 429.
fn discord(limit: Limit) -> Server {
    let window = Mutex::new((Instant::now(), 0));
    Server::new(move |_, _, stream| {
        let mut window = window.lock().expect("no answer panics");
        if window.0.elapsed() >= WINDOW {
            *window = (Instant::now(), 0);
        }
        let left = WINDOW.saturating_sub(window.0.elapsed()).as_secs_f64();
        if window.1 == 5 {
            let body = format!(r#"{{"message":"You are being rate limited.","retry_after":{left},"global":false}}"#);
            return reply(stream, 429, "", &body);
        }
        window.1 += 1;
        let remaining = 5 - window.1;
        let headers = match limit {
            Limit::Announced => {
                format!(
                    "X-RateLimit-Limit: 5\r\nX-RateLimit-Remaining: {remaining}\r\nX-RateLimit-Reset-After: {left}\r\n"
                )
            }
            Limit::Silent => String::new(),
        };
        reply(stream, 200, &headers, r#"{"id":"1"}"#);
    })
}

/// Starts a service with ntfy's burst: sixty messages, then none for as long as a test lasts.
fn ntfy() -> Server {
    Server::new(|number, _, stream| {
        if number < 60 {
            return taken(stream);
        }
        reply(stream, 429, "", r#"{"code":42901,"http":429,"error":"limit reached: too many requests"}"#);
    })
}

/// Returns the configuration of all three targets. The others are compared with stdout.
fn everywhere(discord: &Server, ntfy: &Server) -> String {
    format!("[notification]\nservice = [\"stdout\", \"discord\", \"ntfy\"]\n{}{}", discord.discord(), ntfy.ntfy())
}

/// Returns the messages that a server accepted.
fn messages(server: &Server, member: &str) -> Vec<String> {
    let text = |request: Request| request.json()[member].as_str().expect("text").to_owned();
    let mut messages: Vec<String> = server.requests().into_iter().map(text).collect();
    messages.dedup();
    messages
}

/// Returns the lines of a message's code block for Discord.
fn lines_of_discord(content: &str) -> Vec<String> {
    let inside = content.strip_prefix("```").and_then(|rest| rest.strip_suffix("```")).expect("one code block");
    inside.split('\n').map(|line| line.strip_prefix("- ").expect("an item").to_owned()).collect()
}

/// Returns the smallest number of messages for lines of these lengths, in order.
fn fewest(lengths: impl Iterator<Item = usize>, around: usize, per_line: usize, most: usize) -> usize {
    let (mut messages, mut used) = (0, usize::MAX);
    for length in lengths.map(|length| length + per_line) {
        used = used.saturating_add(length);
        if used > most {
            (messages, used) = (messages + 1, around + length);
        }
    }
    messages
}

/// P6
#[test]
fn a_thousand_events_reach_discord_within_100_requests_and_ntfy_within_60_in_order() {
    // Each message beyond an unannounced limit costs a second, so there are fewer events.
    for (limit, count) in [(Limit::Announced, 1000), (Limit::Silent, 200)] {
        let (discord, ntfy) = (discord(limit), ntfy());
        let home = Home::new(&everywhere(&discord, &ntfy));
        for (user, kind) in [("amanda", "open_session"), ("rené", "open_session"), ("amanda", "close_session")] {
            home.record(user, "2001:db8:1234:5678:9abc:def0:1234:5678", kind);
        }
        home.queue().multiply_events(count);
        home.queue().rename_users(|id, user| format!("{user}{id}"));
        let sent = home.sent();
        let lines: Vec<&str> = sent.lines().collect();
        assert_eq!(lines.len(), count);
        assert!(lines[count - 1].contains(&format!("{count}' (2001:db8:")), "{}", lines[count - 1]);
        let requests = (discord.requests().len(), ntfy.requests().len());
        assert!(requests.0 <= 100 && requests.1 <= 60, "{limit:?}: {requests:?}");
        let to_discord: Vec<String> =
            messages(&discord, "content").iter().flat_map(|content| lines_of_discord(content)).collect();
        assert_eq!(to_discord, lines, "{limit:?}");
        assert_eq!(messages(&ntfy, "message").join("\n"), sent.trim_end(), "{limit:?}");
        if limit == Limit::Announced {
            let fewest = fewest(lines.iter().map(|line| line.len()), 6, 3, 2000);
            assert!(requests.0 <= fewest + 2, "{requests:?} instead of {fewest}: the limit was ignored");
        }
    }
}

/// P3
#[test]
fn long_and_hostile_names_arrive_whole_within_each_services_limit() {
    let (discord, ntfy) = (Server::well(), Server::well());
    let home = Home::new(&everywhere(&discord, &ntfy));
    home.rename(&("h".repeat(140) + &"\u{1f512}".repeat(115)));
    let mixed = "a".repeat(140) + &"\u{1f512}".repeat(115);
    let names =
        ["\u{1f512}".repeat(400), "é".repeat(400), "王".repeat(400), mixed, "x\ny\u{202e}z`".repeat(40), "a".into()];
    for name in &names {
        for fields in [&[1][..], &[1, 3], &[0, 1, 2, 3]] {
            let mut items = LOGIN;
            for field in fields {
                items[*field].1 = name;
            }
            home.hook(&items).succeeds();
        }
    }
    home.queue().multiply_events(200);
    // Different users, because many lines of one user would be summed up.
    home.queue().rename_users(|id, user| format!("{id}{user}"));
    let sent = home.sent();
    let lines: Vec<String> = sent.lines().map(Into::into).collect();
    assert_eq!(lines.len(), 200, "a name made a line of its own");
    let longest = lines.iter().map(|line| line.encode_utf16().count()).max();
    assert!(longest.is_some_and(|longest| longest > 600), "{longest:?}");

    let contents = messages(&discord, "content");
    for content in &contents {
        assert!(content.encode_utf16().count() <= 2000, "{content}");
    }
    let arrived: Vec<String> = contents.iter().flat_map(|content| lines_of_discord(content)).collect();
    let unquoted: Vec<String> = lines.iter().map(|line| line.replace('`', "")).collect();
    assert_eq!(arrived, unquoted);
    let lengths = lines.iter().map(|line| line.encode_utf16().count());
    assert_eq!(contents.len(), fewest(lengths, 6, 3, 2000), "Discord's limit allows fewer messages");

    let texts = messages(&ntfy, "message");
    // ntfy turns a message of 4096 bytes into an attachment.
    assert!(texts.iter().all(|text| text.len() < 4096));
    assert_eq!(texts.join("\n"), sent.trim_end());
    assert_eq!(texts.len(), fewest(lines.iter().map(String::len), 0, 1, 4096), "ntfy's limit allows fewer messages");
}
