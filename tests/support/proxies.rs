//! Real proxies, tinyproxy and squid, as the only way out of a test's own network.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::libc::{AF_PACKET, SOCK_RAW};
use nix::unistd::gettid;
use socket2::{Domain, Protocol, Socket, Type};

use crate::support::home::Home;
use crate::support::network::{alone, ip};
use crate::support::tls::Process;
use crate::support::{tools, wait_for};

/// The address of the host's only neighbour, which runs the proxy and is the gateway to everything else.
pub const GATEWAY: &str = "10.77.0.2";
/// The proxy's port.
pub const PORT: u16 = 3128;

/// Runs `outside` on a host with the proxy and the services, then `inside` on a host whose only interface leads
/// there. Packets to any other address would pass through that interface too.
pub fn behind<P: Sync, T: Send>(outside: impl FnOnce() -> P + Send, inside: impl FnOnce(&P, &Wire) -> T + Send) -> T {
    alone(|| {
        ip("link add out type veth peer name in");
        ip(&format!("addr add {GATEWAY}/30 dev out"));
        ip("link set out up");
        let there = format!("--net=/proc/{}/task/{}/ns/net", std::process::id(), gettid());
        let made = outside();
        let made = &made;
        alone(move || {
            let (link, here) = (["ip", "link", "set", "in", "netns"], gettid().to_string());
            let moved = Command::new("nsenter").arg(there).args(link).arg(here).status();
            assert!(moved.is_ok_and(|moved| moved.success()), "the other end of the cable");
            ip("addr add 10.77.0.1/30 dev in");
            ip("link set in up");
            ip(&format!("route add default via {GATEWAY}"));
            inside(made, &Wire::tap())
        })
    })
}

/// A raw socket that sees every packet of this network.
pub struct Wire(Socket);

impl Wire {
    fn tap() -> Self {
        // ETH_P_ALL in network byte order.
        let all = Protocol::from(i32::from(3_u16.to_be()));
        let socket = Socket::new(Domain::from(AF_PACKET), Type::from(SOCK_RAW), Some(all)).expect("root may look");
        socket.set_nonblocking(true).expect("a socket can be non-blocking");
        Self(socket)
    }

    /// Returns the destinations of this host's packets since the last call, without packets to itself.
    pub fn sent_to(&self) -> Vec<String> {
        let (mut places, mut frame) = (Vec::new(), [0; 2048]);
        while let Ok(length) = (&self.0).read(&mut frame) {
            let frame = &frame[..length];
            let place = match frame.get(12..14) {
                Some([8, 0]) if frame[26..30] == [10, 77, 0, 1] => {
                    let (to, body) = (&frame[30..34], &frame[14 + usize::from(frame[14] & 15) * 4..]);
                    format!("{}.{}.{}.{}:{}", to[0], to[1], to[2], to[3], u16::from_be_bytes([body[2], body[3]]))
                }
                // The kernel sends ICMP to its neighbours by itself.
                Some([0x86, 0xdd]) if [6, 17].contains(&frame[20]) => format!("{:x?}", &frame[38..54]),
                _ => continue,
            };
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places
    }
}

/// Starts tinyproxy with more lines of configuration, and with this text as its /etc/hosts.
pub fn tinyproxy(home: &Home, hosts: &str, settings: &str) -> Process {
    let config = format!(
        "Port {PORT}\nListen {GATEWAY}\nTimeout 20\nLogLevel Critical\nLogFile \"{}\"\n{settings}\n",
        home.at("tinyproxy.log").display()
    );
    fs::write(home.at("tinyproxy.conf"), config).expect("a file");
    fs::write(home.at("proxy-hosts"), hosts).expect("a file");
    let script = format!(
        "mount --bind {} /etc/hosts; exec tinyproxy -d -c {}",
        home.at("proxy-hosts").display(),
        home.at("tinyproxy.conf").display()
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", &script]);
    started(command)
}

/// Starts squid like [`tinyproxy`].
pub fn squid(home: &Home, hosts: &str, settings: &str) -> Process {
    let program = tools::find("squid").expect("squid was there");
    let usr = program.parent().and_then(Path::parent).expect("usr/sbin/squid");
    let (share, own) = (usr.join("share/squid"), home.at("squid"));
    fs::create_dir_all(&own).expect("a new directory");
    fs::set_permissions(&own, fs::Permissions::from_mode(0o777)).expect("it is ours");
    fs::write(home.at("proxy-hosts"), hosts).expect("a file");
    let config = format!(
        "http_port {GATEWAY}:{PORT}\nvisible_hostname proxy\nhosts_file {hosts}\npid_filename none\naccess_log none\n\
         cache_log {own}/log\ncoredump_dir {own}\ncache deny all\npinger_enable off\nshutdown_lifetime 0\n\
         unlinkd_program {usr}/lib/squid/unlinkd\n\
         mime_table {share}/mime.conf\nicon_directory {share}/icons\nerror_directory {share}/errors/templates\n\
         dns_nameservers 127.0.0.1\ndns_timeout 2 seconds\n{settings}\n",
        hosts = home.at("proxy-hosts").display(),
        own = own.display(),
        share = share.display(),
        usr = usr.display()
    );
    fs::write(home.at("squid.conf"), config.replace("USR", &usr.display().to_string())).expect("a file");
    let mut command = tools::command("squid");
    command.args(["-N", "-f"]).arg(home.at("squid.conf"));
    started(command)
}

fn started(mut command: Command) -> Process {
    let process = Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the proxy was there"));
    assert!(wait_for(|| TcpStream::connect((GATEWAY, PORT)).is_ok()), "the proxy listens");
    process
}
