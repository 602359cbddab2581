//! Real proxies, tinyproxy and squid, as the only way out of a host. The test looks at every packet.

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;

use crate::names::send_with_names;
use crate::support::home::Home;
use crate::support::network::{has_networks, ip};
use crate::support::outcome::Outcome;
use crate::support::proxies::{GATEWAY, PORT, behind, squid, tinyproxy};
use crate::support::server::{Server, taken};
use crate::support::tls::Process;
use crate::support::{has, skip};

const NEEDS: &str = "needs root, iproute2, network namespaces, tinyproxy, squid and openssl";

fn is_possible() -> bool {
    has_networks() && ["tinyproxy", "squid", "openssl"].into_iter().all(has)
}

/// Names that only the proxy knows.
const HOSTS: &str = "127.0.0.1 localhost\n127.0.0.1 service.example\n";

const SECRET: &str = "s3cret";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Tinyproxy,
    Squid,
}

/// The requests that a proxy allows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    Everything,
    WithPassword,
    OtherPorts,
}

impl Kind {
    fn start(self, home: &Home, rule: Rule) -> Process {
        match (self, rule) {
            (Self::Tinyproxy, Rule::Everything) => tinyproxy(home, HOSTS, ""),
            (Self::Tinyproxy, Rule::WithPassword) => tinyproxy(home, HOSTS, &format!("BasicAuth anna {SECRET}")),
            (Self::Tinyproxy, Rule::OtherPorts) => tinyproxy(home, HOSTS, "ConnectPort 1"),
            (Self::Squid, Rule::Everything) => squid(home, HOSTS, "http_access allow all"),
            (Self::Squid, Rule::OtherPorts) => {
                squid(home, HOSTS, "acl one port 1\nhttp_access deny !one\nhttp_access allow all")
            }
            (Self::Squid, Rule::WithPassword) => {
                let hash =
                    Command::new("openssl").args(["passwd", "-apr1", SECRET]).output().expect("openssl was there");
                let users = home.at("users");
                fs::write(&users, format!("anna:{}", hash.stdout())).expect("a file");
                let settings = format!(
                    "auth_param basic program USR/lib/squid/basic_ncsa_auth {}\nauth_param basic children 1\n\
                     acl known proxy_auth REQUIRED\nhttp_access allow known\nhttp_access deny all",
                    users.display()
                );
                squid(home, HOSTS, &settings)
            }
        }
    }
}

/// Starts a server on the proxy's network.
fn at_gateway() -> Server {
    Server::on(TcpListener::bind((GATEWAY, 0)).expect("its address"), Arc::new(|_, _, stream| taken(stream)))
}

/// Makes a host send through the proxy, as this user, to this address.
fn configure(home: &Home, user: &str, origin: &str) {
    home.configure(&format!(
        "[network]\nproxy = \"http://{user}{GATEWAY}:{PORT}\"\ntimeout = 8\n[notification]\nservice = \"ntfy\"\n\
         [notification.ntfy]\ntopic_url = \"{origin}/mytopic\"\n"
    ));
}

/// P4: the proxy looks names up, and no packet goes anywhere else.
#[test]
fn tinyproxy_and_squid_carry_a_notice_with_and_without_a_password_and_nothing_bypasses_them() {
    let test = "tinyproxy_and_squid_carry_a_notice_with_and_without_a_password_and_nothing_bypasses_them";
    if !is_possible() {
        return skip(test, NEEDS);
    }
    for kind in [Kind::Tinyproxy, Kind::Squid] {
        for (rule, user) in [(Rule::Everything, ""), (Rule::WithPassword, "anna:s3cret@")] {
            let home = Home::new("");
            home.login("amanda");
            behind(
                || (kind.start(&home, rule), Server::well()),
                |(_, server), wire| {
                    configure(&home, user, &format!("http://service.example:{}", server.port));
                    let output = send_with_names(&home, "127.0.0.1 localhost\n", Some(GATEWAY));
                    output.when(format!("{kind:?} {rule:?}")).succeeds();
                    assert_eq!(server.requests().len(), 1);
                    assert_eq!(wire.sent_to(), [format!("{GATEWAY}:{PORT}")], "{kind:?}");
                },
            );
        }
    }
}

/// P7: TLS goes from end to end.
#[cfg(feature = "tls")]
#[test]
fn tls_through_a_proxy_checks_the_services_own_certificate() {
    use crate::support::tls::{self, Authority, END, Nginx, PAST, trusting};
    let test = "tls_through_a_proxy_checks_the_services_own_certificate";
    if !is_possible() || !tls::is_possible() {
        return skip(test, &format!("{NEEDS}, and nginx"));
    }
    for kind in [Kind::Tinyproxy, Kind::Squid] {
        for (names, error) in [("DNS:service.example", ""), ("DNS:proxy.example", "is not valid for its name")] {
            let home = Home::as_installed("");
            home.login("amanda");
            let authority = Authority::new(&home, "authority");
            let good = authority.issue("good", names, PAST, END);
            let outside = || {
                let server = Server::well();
                let nginx = Nginx::start(&home, server.port, "", std::slice::from_ref(&good));
                (kind.start(&home, Rule::Everything), server, nginx)
            };
            behind(outside, |(_, server, nginx), wire| {
                let network = format!("proxy = \"http://{GATEWAY}:{PORT}\"\n{}", trusting(&authority));
                home.configure(&tls::ntfy("service.example", nginx.ports[0], &network));
                let output = send_with_names(&home, "127.0.0.1 localhost\n", Some(GATEWAY));
                output.when(format!("{kind:?}")).exits(i32::from(!error.is_empty())).says(error);
                assert_eq!(server.requests().len(), usize::from(error.is_empty()));
                assert_eq!(wire.sent_to(), [format!("{GATEWAY}:{PORT}")], "{kind:?}");
            });
        }
    }
}

/// P4, P7
#[test]
fn refusals_of_tinyproxy_and_squid_are_reported_with_the_remedy_and_keep_the_event() {
    let test = "refusals_of_tinyproxy_and_squid_are_reported_with_the_remedy_and_keep_the_event";
    if !is_possible() {
        return skip(test, NEEDS);
    }
    let wants = "wants a name and a password (HTTP 407): set network.proxy to http://NAME:PASSWORD@HOST:PORT";
    let refuses = "does not accept the name and the password in network.proxy (HTTP 40";
    let forbids = "(HTTP 403): allow it in the proxy's settings";
    for (rule, user, host, error) in [
        (Rule::WithPassword, "", "service.example:8080", wants),
        (Rule::WithPassword, "anna:wr0ng@", "service.example:8080", refuses),
        (Rule::OtherPorts, "", "service.example:8080", forbids),
        (Rule::Everything, "", "service.example:9", "cannot reach service.example:9 itself (HTTP 50"),
        (Rule::Everything, "", "nowhere.invalid", "cannot reach nowhere.invalid:80 itself (HTTP 50"),
    ] {
        for kind in [Kind::Tinyproxy, Kind::Squid] {
            let home = Home::new("");
            home.login("amanda");
            behind(
                || kind.start(&home, rule),
                |_, wire| {
                    configure(&home, user, &format!("http://{host}"));
                    let output = send_with_names(&home, "127.0.0.1 localhost\n", Some(GATEWAY));
                    let case = output.when(format!("{kind:?} {rule:?}"));
                    case.fails().says(&format!("ntfy: the proxy {GATEWAY}:{PORT} ")).says(error);
                    assert!(!output.stderr().contains("wr0ng"), "{}", output.stderr());
                    assert_eq!(wire.sent_to(), [format!("{GATEWAY}:{PORT}")], "{kind:?}");
                    assert!(home.status().starts_with("ntfy: 1 pending, 0 dead"), "{}", home.status());
                },
            );
        }
    }
}

/// P4: even if the proxy is dead.
#[test]
fn only_loopback_and_targets_without_the_proxy_are_reached_directly() {
    let test = "only_loopback_and_targets_without_the_proxy_are_reached_directly";
    if !has_networks() {
        return skip(test, "needs root, iproute2 and network namespaces");
    }
    let home = Home::new("");
    home.login("amanda");
    behind(at_gateway, |lan, wire| {
        let own = Server::well();
        home.configure(&format!(
            "[network]\nproxy = \"http://{GATEWAY}:{PORT}\"\ntimeout = 3\n[notification]\n\
             service = [\"own\", \"lan\", \"far\"]\n\
             [notification.own]\nservice = \"ntfy\"\ntopic_url = \"http://localhost:{}/mytopic\"\n\
             [notification.lan]\nservice = \"ntfy\"\ntopic_url = \"http://{GATEWAY}:{}/mytopic\"\nproxy = false\n\
             [notification.far]\nservice = \"ntfy\"\ntopic_url = \"http://{GATEWAY}:{}/mytopic\"\n",
            own.port, lan.port, lan.port
        ));
        let output = send_with_names(&home, "127.0.0.1 localhost\n", Some(GATEWAY));
        output.fails().says(&format!("far: the proxy {GATEWAY}:{PORT} cannot be reached: cannot connect to"));
        assert_eq!((own.requests().len(), lan.requests().len()), (1, 1));
        let mut places = wire.sent_to();
        places.sort();
        let mut expected = [format!("{GATEWAY}:{PORT}"), format!("{GATEWAY}:{}", lan.port)];
        expected.sort();
        assert_eq!(places, expected);
        let status = home.status();
        assert!(status.contains("far: 1 pending") && status.contains("own: 0 pending"), "{status}");
    });
}

/// P4: without loopback there is no relay, so minreq connects by itself.
#[test]
fn a_host_without_loopback_sends_directly_but_never_bypasses_its_proxy() {
    let test = "a_host_without_loopback_sends_directly_but_never_bypasses_its_proxy";
    if !has_networks() {
        return skip(test, "needs root, iproute2 and network namespaces");
    }
    let home = Home::new("");
    home.login("amanda");
    behind(at_gateway, |server, wire| {
        ip("link set lo down");
        let target = |proxy: &str| {
            format!(
                "[network]\ntimeout = 3\n{proxy}\n[notification]\nservice = \"ntfy\"\n[notification.ntfy]\n\
                 topic_url = \"http://{GATEWAY}:{}/mytopic\"\n",
                server.port
            )
        };
        // The server gets a CONNECT and nothing else.
        home.configure(&target(&format!("proxy = \"http://{GATEWAY}:{}\"", server.port)));
        home.send().fails().says("ntfy: network.proxy needs this host's loopback interface (127.0.0.1), which is down");
        let requests = server.requests();
        assert!(requests.iter().all(|request| request.method() == "CONNECT"), "{requests:?}");
        home.queue().end_waits();
        home.configure(&target(""));
        home.send().succeeds();
        assert_eq!(server.requests().last().map(|request| request.method().to_owned()).as_deref(), Some("POST"));
        assert_eq!(wire.sent_to(), [format!("{GATEWAY}:{}", server.port)]);
    });
}
