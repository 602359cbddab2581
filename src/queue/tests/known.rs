//! What is new about a login.

use super::*;
use crate::event::{KEY, METHOD, ORIGIN, REMOTE_HOST, SERVICE, SESSION};
use crate::rules::New;

const WEEK_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// A login by sshd, with a key whose bytes are this number.
fn login(user: &str, remote_host: &str, key: u32, utc_ms: i64) -> Event {
    let mut facts = Facts::default();
    let blob = [&[0, 0, 0, 11][..], b"ssh-ed25519", &[0, 0, 0, 4], &key.to_be_bytes()].concat();
    let key = format!("ssh-ed25519 {}", crate::text::base64(&blob));
    // Another process each time.
    let session = format!("{}-1", 2 + rows_made());
    for (fact, value) in [
        (USER, user),
        (REMOTE_HOST, remote_host),
        (SERVICE, "sshd"),
        (SESSION, &session),
        (METHOD, "publickey"),
        (KEY, &key),
        (ORIGIN, "pam"),
    ] {
        facts[fact] = Field::new(value.as_bytes());
    }
    let at = Stamp { utc_ms, boot_ms: 1, boot_id: "b".into() };
    Event { at, ..Event::session(Action::Open, facts) }
}

fn rows_made() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

/// Records these and returns what is new about each: A for its address, K for its key.
fn news(queue: &mut Queue, events: &[Event]) -> Vec<String> {
    queue.append(events).expect("room");
    let mut news = Vec::new();
    queue
        .judge(&now(0), &mut |_, context| {
            let New { is_address, is_key } = context.new;
            news.push([("A", is_address), ("K", is_key)].map(|(word, is_so)| if is_so { word } else { "" }).concat());
            Verdict::default().into()
        })
        .expect("room");
    news
}

#[test]
fn after_a_week_a_users_unknown_address_or_key_is_new_once() {
    let home = Home::new();
    if crate::queue::known::is_in_memory(&home.path()) {
        println!("SKIP: after_a_week_a_users_unknown_address_or_key_is_new_once: /tmp is in memory");
        return;
    }
    let mut queue = home.queue();
    let (early, late) = (EARLIEST_MS, EARLIEST_MS + WEEK_MS);
    let first = [
        login("amanda", "192.0.2.1", 1, early),
        login("amanda", "192.0.2.2", 2, early + 1),
        login("amanda", "2001:db8:0:1::5", 2, early + 2),
    ];
    assert_eq!(news(&mut queue, &first), ["", "", ""], "nothing is new in the first week");
    let later = [
        login("bob", "192.0.2.9", 9, late),
        login("bob", "192.0.2.9", 9, late),
        login("bob", "192.0.2.8", 9, late),
        login("amanda", "192.0.2.1", 3, late),
        login("amanda", "::ffff:192.0.2.2", 3, late),
        login("amanda", "2001:db8:0:1:ffff::6", 1, late),
        login("amanda", "2001:db8:0:2::5", 1, late),
        login("amanda", "host.example", 4, late),
    ];
    let expected = ["", "", "A", "K", "", "", "A", "K"];
    assert_eq!(news(&mut queue, &later), expected);
    drop(queue);
    assert_eq!(news(&mut home.queue(), &[login("bob", "192.0.2.7", 9, late)]), ["A"], "after a restart too");
}

/// P3: one user can neither make another one's sources new nor fill the disk.
#[test]
fn ten_thousand_keys_of_one_user_change_nothing_for_another() {
    let home = Home::new();
    let mut queue = home.queue();
    let late = EARLIEST_MS + WEEK_MS;
    news(&mut queue, &[login("amanda", "192.0.2.1", 1, EARLIEST_MS)]);
    let flood: Vec<Event> = (0..10_000).map(|key| login("eve", "192.0.2.6", key, late)).collect();
    news(&mut queue, &flood);
    assert_eq!(news(&mut queue, &[login("amanda", "192.0.2.1", 1, late)]), [""]);
    let kept: i64 = queue.read(|connection| value(connection, "SELECT count(*) FROM known", &[])).expect("readable");
    assert_eq!(kept, 2 + 64 + 1);
}

/// P4: the file may hold anything; one bad row must not stop the others.
#[test]
fn blobs_in_place_of_texts_stop_nothing() {
    let home = Home::new();
    let mut queue = home.queue();
    let first = login("amanda", "192.0.2.1", 1, EARLIEST_MS);
    news(&mut queue, slice::from_ref(&first));
    queue
        .connection
        .execute_batch(
            "UPDATE meta SET value = x'ff00' WHERE name IN ('created', 'learning');
             UPDATE open SET closed = x'ff00'; UPDATE known SET value = x'ff00', last = x'ff00';",
        )
        .expect("writable");
    let mut logout = Event::session(Action::Close, first.facts.clone());
    logout.at = first.at.clone();
    assert_eq!(news(&mut queue, &[logout, login("amanda", "192.0.2.1", 1, EARLIEST_MS)]).len(), 2);
    assert!(queue.open_sessions().is_ok());
}
