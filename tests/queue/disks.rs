//! A sender whose disk is full or read-only: pending events are delivered once, and settled in the database when
//! the disk is writable again.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output};

use crate::crash;
use crate::support::home::{Home, SERVICE, STDOUT};
use crate::support::inject::{self, Fault, Where};
use crate::support::outcome::Outcome;
use crate::support::server::{Request, Server, discord_and_ntfy, hold, reply, taken};
use crate::support::{has_mount_namespaces, skip};

/// Shell functions: a login, and a run that prints its name and exit status.
const FUNCTIONS: &str = "
    login() { env -i PAM_SERVICE=sshd PAM_USER=\"$user\" PAM_RHOST=192.0.2.7 PAM_TYPE=open_session \"$@\" queue; }
    run() { name=$1; shift; \"$@\" && code=$? || code=$?; echo \"$name: $code\"; }
    fill() { cat /dev/zero >\"$1/filler\" 2>/dev/null || :; [ \"$(df --output=avail \"$1\" | tail -n 1)\" -eq 0 ]; }
    # The worker of a login may still be writing.
    protect() { for time in $(seq 100); do mount -o remount,ro \"$1\" 2>/dev/null && return; sleep 0.05; done; false; }
";

/// A line of shell that hides the machine's own orphans, which every sender would look at.
pub const HIDE: &str = "mount -t tmpfs none /var/lib; mount -t tmpfs none /run";

/// How to make a disk unwritable, and writable again.
const DISKS: [(&str, &str, &str); 2] =
    [("full", "fill state", "rm state/filler"), ("read-only", "protect state", "mount -o remount,rw state")];

pub fn can_run(test: &str) -> bool {
    let can = has_mount_namespaces();
    if !can {
        skip(test, "needs root and mount namespaces");
    }
    can
}

/// Makes a host with two targets. Its state directory is root's or the service user's.
pub fn host(owner: u32) -> (Server, Server, Home) {
    let (discord, ntfy) = (Server::well(), Server::well());
    let config = discord_and_ntfy(&discord, &ntfy);
    let home = if owner == 0 { Home::new(&config) } else { Home::of_service(&config) };
    (discord, ntfy, home)
}

/// Runs a script in the host's directory, in a mount namespace in which `state` is a small disk. `"$@"` is the
/// program with its configuration.
pub fn on_a_small_disk(home: &Home, owner: u32, script: &str) -> Output {
    let inner = home.command(&[]);
    let disk = format!("mount -t tmpfs -o size=1m,mode=700,uid={owner},gid={owner} none state");
    let script = format!("{HIDE}\ncd {}\n{disk}\n{FUNCTIONS}\n{script}", home.0.display());
    Command::new("unshare")
        .args(["--mount", "sh", "-ec", &script, "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .output()
        .expect("unshare starts")
}

/// Counts a server's notices of each user.
fn notices(server: &Server) -> BTreeMap<String, usize> {
    let mut notices = BTreeMap::new();
    for request in server.requests() {
        // In Discord's JSON and in ntfy's text, each notice begins with the user in quotes.
        for part in request.body.split(" logged in").filter_map(|before| before.rsplit('\'').nth(1)) {
            *notices.entry(part.to_owned()).or_default() += 1;
        }
    }
    notices
}

#[track_caller]
fn assert_sent_once(server: &Server, users: &[String], case: &str) {
    let once: BTreeMap<String, usize> = users.iter().map(|user| (user.clone(), 1)).collect();
    assert_eq!(notices(server), once, "{case}");
}

/// P2: the number of events decides how much of the log can still be written.
#[test]
fn a_full_or_read_only_disk_repeats_nothing_however_many_events_are_pending() {
    if !can_run("a_full_or_read_only_disk_repeats_nothing_however_many_events_are_pending") {
        return;
    }
    for (disk, ill, well) in DISKS {
        for (count, owner) in (1..=20).flat_map(|count| [(count, 0), (count, SERVICE)]) {
            let case = format!("{disk}, {count} events, owner {owner}");
            let (discord, ntfy, home) = host(owner);
            let script = format!(
                "for number in $(seq {count}); do user=user$number login \"$@\"; done
                 [ ! -e state/session_events.db-shm ]
                 {ill}
                 for time in 1 2 3; do run ill \"$@\" send; done
                 run status \"$@\" status
                 {well}
                 run well \"$@\" send
                 run status \"$@\" status
                 user=zoe login \"$@\"
                 run next \"$@\" send"
            );
            let output = on_a_small_disk(&home, owner, &script);
            let output = output.when(&case);
            let reason = if disk == "full" { "the disk is full" } else { "mounted read-only" };
            output.exits(0).says(reason).prints(reason);
            let codes: Vec<String> =
                output.stdout().lines().filter(|line| line.ends_with([':', '0', '1'])).map(Into::into).collect();
            let all = codes.join(" ");
            assert!(all.contains("ill: 1 ill: 1 ill: 1"), "{case}: {all}");
            assert!(output.stdout().contains("status: 1\nwell: 0"), "{case}: {}", output.stdout());
            assert!(output.stdout().contains("status: 0\nnext: 0"), "{case}: {}", output.stdout());
            let users: Vec<String> = (1..=count).map(|number| format!("user{number}")).chain(["zoe".into()]).collect();
            for server in [&discord, &ntfy] {
                assert_sent_once(server, &users, &format!("{case}\n{}\n{}", output.stdout(), output.stderr()));
            }
            assert!(home.spooled().is_empty(), "{case}: {:?}", home.spooled());
        }
    }
}

/// P2: the spool can't be written either.
#[test]
fn nothing_is_posted_while_no_note_can_be_written() {
    if !can_run("nothing_is_posted_while_no_note_can_be_written") {
        return;
    }
    for (disk, ill, well) in DISKS {
        for owner in [0, SERVICE] {
            let (discord, ntfy, home) = host(owner);
            let script = format!(
                "mkdir spool; mount -t tmpfs -o size=64k,mode=700,uid={owner},gid={owner} none spool
                 for user in bob carol; do login \"$@\"; done
                 {ill}; fill spool
                 for time in 1 2 3; do run ill \"$@\" send; done
                 rm spool/filler
                 run noted \"$@\" send; run again \"$@\" send
                 {well}
                 run well \"$@\" send
                 [ \"$(ls -A spool)\" = sender ]"
            );
            let output = on_a_small_disk(&home, owner, &script);
            let output = output.when(format!("{disk}, owner {owner}"));
            output.exits(0).says("notes-discord: No space left on device");
            output.prints("ill: 1\nill: 1\nill: 1\nnoted: 1\nagain: 1\nwell: 0");
            let posts = output.stdout();
            for server in [&discord, &ntfy] {
                assert_sent_once(server, &["bob".into(), "carol".into()], &format!("{disk} {posts}"));
            }
        }
    }
    // `queue.spool` on the same disk.
    let (discord, ntfy, home) = host(0);
    let script = "
        user=bob login \"$@\"
        mkdir spool state/spool; mount --bind state/spool spool
        protect state; mount -o remount,bind,ro spool
        run ill \"$@\" send; run ill \"$@\" send";
    on_a_small_disk(&home, 0, script).prints("ill: 1\nill: 1");
    assert_eq!((notices(&discord).len(), notices(&ntfy).len()), (0, 0));
}

/// P2: and their files are removed.
#[test]
fn logins_on_a_full_or_read_only_disk_are_delivered_from_the_spool() {
    if !can_run("logins_on_a_full_or_read_only_disk_are_delivered_from_the_spool") {
        return;
    }
    for (disk, ill, well) in DISKS {
        for owner in [0, SERVICE] {
            let (discord, ntfy, home) = host(owner);
            // One login before, three during and one after the disk is unwritable.
            let script = format!(
                "user=bob login \"$@\"
                 {ill}
                 # Too long for a free page of the log.
                 SSH_AUTH_INFO_0=\"publickey ssh-rsa $(printf %02900d 0)\"; export SSH_AUTH_INFO_0
                 login() {{ env -i SSH_AUTH_INFO_0=\"$SSH_AUTH_INFO_0\" PAM_SERVICE=sshd PAM_USER=\"$user\" \
                     PAM_RHOST=192.0.2.7 PAM_TYPE=open_session \"$@\" queue; }}
                 for user in carol dave; do login \"$@\" 2>/dev/null; done
                 ls spool | grep -c event-
                 run first \"$@\" send
                 ls spool
                 user=erin login \"$@\" 2>/dev/null
                 run second \"$@\" send
                 {well}
                 user=frank login \"$@\"
                 run well \"$@\" send; run again \"$@\" send"
            );
            let output = on_a_small_disk(&home, owner, &script);
            let case = format!("{disk}, owner {owner}");
            let output = output.when(&case);
            output.exits(0);
            output.prints("2\nfirst: 1\nnotes-discord\nnotes-ntfy\nsecond: 1\nwell: 0\nagain: 0");
            let users = ["bob", "carol", "dave", "erin", "frank"].map(Into::into);
            for server in [&discord, &ntfy] {
                assert_sent_once(server, &users, &case);
            }
            assert!(home.spooled().is_empty(), "{case}: {:?}", home.spooled());
        }
    }
}

/// P2, P4: the other target is not delayed, and the failing one loses nothing.
#[test]
fn back_off_works_while_the_disk_is_full_or_read_only() {
    if !can_run("back_off_works_while_the_disk_is_full_or_read_only") {
        return;
    }
    for (disk, ill, well) in DISKS {
        let (discord, ntfy) = (Server::scripted(&[(503, "")]), Server::well());
        let config = discord_and_ntfy(&discord, &ntfy);
        let home = Home::new(&config);
        let script = format!(
            "for user in bob carol; do login \"$@\"; done
             {ill}
             for time in 1 2 3; do run ill \"$@\" send; done
             {well}
             run well \"$@\" send
             run status \"$@\" status
             cp state/session_events.db* ."
        );
        let output = on_a_small_disk(&home, 0, &script);
        let output = output.when(disk);
        output.exits(0).says("HTTP 503").prints("ill: 1\nill: 1\nill: 1\nwell: 0").prints("discord: 2 pending");
        assert_eq!(discord.requests().len(), 1, "{disk}: retried without a wait");
        assert_sent_once(&ntfy, &["bob".into(), "carol".into()], disk);
    }
}

/// P2: it is not posted again before.
#[test]
fn an_event_rejected_while_the_disk_is_full_or_read_only_becomes_a_dead_letter_later() {
    if !can_run("an_event_rejected_while_the_disk_is_full_or_read_only_becomes_a_dead_letter_later") {
        return;
    }
    for (disk, ill, well) in DISKS {
        let ntfy = Server::new(|_, request, stream| {
            if request.body.contains("'bad'") {
                reply(stream, 400, "", r#"{"code":40011,"error":"it does not please"}"#);
            } else {
                taken(stream);
            }
        });
        let home = Home::new(&format!("[notification]\nservice = \"ntfy\"\n{}", ntfy.ntfy()));
        let script = format!(
            "for user in bob bad carol; do login \"$@\"; done
             {ill}
             run ill \"$@\" send
             echo posted
             run ill \"$@\" send
             {well}
             run well \"$@\" send; run status \"$@\" status"
        );
        let output = on_a_small_disk(&home, 0, &script);
        let output = output.when(disk);
        output.exits(0).prints("ill: 1\nposted\nill: 1").prints("1 dead").prints("the service rejected it");
        let requests = ntfy.requests();
        let is_bad = |request: &&Request| request.body.contains("'bad'");
        let alone = |request: &&Request| request.body.matches("logged in").count() == 1;
        let alone = requests.iter().filter(is_bad).filter(alone).count();
        assert_eq!(alone, 1, "{disk}: rejected, and posted again: {requests:#?}");
        for user in ["'bob'", "'carol'"] {
            let accepted = requests.iter().filter(|it| !is_bad(it) && it.body.contains(user)).count();
            assert_eq!(accepted, 1, "{disk}: {user}: {requests:#?}");
        }
    }
}

/// P2: at every step, a kill or a spool that can't be written from then on.
#[test]
fn no_fault_during_a_run_on_a_read_only_disk_loses_a_delivery_or_repeats_it_more_than_once() {
    let test = "no_fault_during_a_run_on_a_read_only_disk_loses_a_delivery_or_repeats_it_more_than_once";
    if !can_run(test) || !crash::is_possible(test) {
        return;
    }
    let template = Home::new(STDOUT);
    let users = ["bob", "carol", "dave", "amanda"];
    for user in &users[..3] {
        template.login(user);
    }
    template.login_into_spool();

    let (_discord, _ntfy, home) = crash::services(&template);
    let traced = inject::traced(&home, &home.command(&["send"]), Where::Everywhere);
    let output = on_a_read_only_disk(&home, &traced);
    output.exits(0).prints("faulty: 1\nill: 1\nill: 1\nwell: 0\nagain: 0");
    let calls = inject::calls(&home);
    for name in ["unlink", "pwrite64", "connect", "recvfrom"] {
        assert!(calls.iter().any(|call| call.is(name)), "no {name} in {calls:?}");
    }
    let (mut came_about, mut all) = (0, 0);
    for call in &calls {
        for fault in [Fault::Kill, Fault::Once("ENOSPC"), Fault::FromThenOn("ENOSPC")] {
            let (discord, ntfy, home) = crash::services(&template);
            let faulty = inject::with_fault(&home, &home.command(&["send"]), Where::Everywhere, call, fault);
            let output = on_a_read_only_disk(&home, &faulty);
            let case = format!("{fault:?} at {call:?}\n{output:?}");
            output.when(&case).exits(0).prints("ill: 1\nill: 1\nwell: 0\nagain: 0");
            for server in [&discord, &ntfy] {
                let notices = notices(server);
                assert!(
                    users.iter().all(|user| (1..=2).contains(notices.get(*user).unwrap_or(&0))),
                    "{notices:?}\n{case}"
                );
            }
            assert!(home.spooled().is_empty(), "{case}\n{:?}", home.spooled());
            all += 1;
            came_about += usize::from(inject::came_about(&home.at("trace"), fault));
        }
    }
    // Which thread makes the n-th call differs from run to run.
    assert!(came_about * 10 >= all * 9, "only {came_about} of {all} faults were injected");
}

/// Runs `send` on a read-only disk: once with a fault, twice without; then twice on a writable disk. Before each
/// run, all waits are ended.
fn on_a_read_only_disk(home: &Home, faulty: &Command) -> Output {
    let plain = home.command(&["send"]);
    let send: Vec<String> =
        [plain.get_program()].into_iter().chain(plain.get_args()).map(|word| word.to_string_lossy().into()).collect();
    let send = send.join(" ");
    let script = format!(
        "{HIDE}\ncd {}\n{FUNCTIONS}
         cp -a state saved; mount -t tmpfs -o size=1m,mode=700 none state; cp -a saved/. state
         mount -o remount,ro state
         run faulty \"$@\"
         for time in 1 2; do
             for file in spool/notes-*; do [ ! -e $file ] || sed -i 's/^waits .*/kept      /' $file; done
             run ill {send}
         done
         mount -o remount,rw state
         for file in spool/notes-*; do [ ! -e $file ] || sed -i 's/^waits .*/kept      /' $file; done
         run well {send}; run again {send}",
        home.0.display()
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", &script, "sh"]).arg(faulty.get_program()).args(faulty.get_args());
    command.output().expect("unshare starts")
}

/// P2: the sender was killed while it posted, so nobody knows whether the message arrived.
#[test]
fn a_delivery_interrupted_on_a_read_only_disk_is_shown_and_repeated_once() {
    if !can_run("a_delivery_interrupted_on_a_read_only_disk_is_shown_and_repeated_once") {
        return;
    }
    // The first request is never answered.
    let ntfy = Server::new(|number, _, stream| if number == 0 { hold(stream) } else { taken(stream) });
    let home = Home::new(&format!("[notification]\nservice = \"ntfy\"\n{}", ntfy.ntfy()));
    let script = "
        user=bob login \"$@\"
        protect state
        \"$@\" send & sender=$!
        for time in $(seq 100); do grep -q begun spool/notes-ntfy 2>/dev/null && break; sleep 0.05; done
        # The note is written before the request.
        sleep 0.5
        kill -9 $sender
        run status \"$@\" status
        run again \"$@\" send; run third \"$@\" send
        run status \"$@\" status
        mount -o remount,rw state
        run well \"$@\" send";
    let output = on_a_small_disk(&home, 0, script);
    output.exits(0).prints("ntfy: 1 of unknown outcome").prints("ntfy: 1 are done").prints("well: 0");
    assert_eq!(notices(&ntfy), BTreeMap::from([("bob".into(), 2)]), "{output:?}");
}

/// P2, P6
#[test]
fn a_resident_send_delivers_on_a_read_only_disk_and_then_sleeps() {
    if !can_run("a_resident_send_delivers_on_a_read_only_disk_and_then_sleeps") {
        return;
    }
    let (discord, ntfy, home) = host(SERVICE);
    let script = "
        user=bob login \"$@\"
        protect state
        \"$@\" send --watch 2>said & sender=$!
        for time in $(seq 200); do [ -e spool/notes-ntfy ] && break; sleep 0.05; done
        env -i PAM_SERVICE=sshd PAM_USER=carol PAM_RHOST=192.0.2.7 PAM_TYPE=open_session \"$@\" queue 2>/dev/null
        for time in $(seq 300); do ls spool | grep -q event- || break; sleep 0.05; done
        sleep 12
        kill $sender; wait $sender";
    let output = on_a_small_disk(&home, SERVICE, script);
    let errors = fs::read_to_string(home.at("said")).expect("the script wrote it");
    output.exits(0);
    for server in [&discord, &ntfy] {
        assert_sent_once(server, &["bob".into(), "carol".into()], &errors);
    }
    // A message for each delivery and for the check after it. The two events may need two deliveries.
    assert!((2..=5).contains(&errors.matches("mounted read-only").count()), "{errors}");
}
