//! A test's own authorities and certificates, and nginx to present them.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::home::Home;
use crate::support::outcome::Outcome;
use crate::support::{has, tools, wait_for};

/// Moments as `openssl ca` takes them: two in the past, two in the future.
pub const PAST: &str = "20200101000000Z";
pub const EXPIRED: &str = "20200201000000Z";
pub const FUTURE: &str = "20990101000000Z";
pub const END: &str = "20991231000000Z";

/// Whether openssl and an nginx with TLS are installed or unpacked.
pub fn is_possible() -> bool {
    let nginx = tools::command("nginx").args(["-e", "stderr", "-V"]).output();
    has("openssl") && nginx.is_ok_and(|nginx| nginx.stderr().contains("--with-http_ssl_module"))
}

/// A kind of key: words for `openssl req -newkey`, and for `openssl ca` when it signs with the key.
#[derive(Clone, Copy, Debug)]
pub struct Kind(&'static [&'static str], &'static [&'static str]);

/// ECDSA on P-256, with SHA-256.
pub const P256: Kind = Kind(&["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], &[]);
/// ECDSA on P-384, with SHA-384.
pub const P384: Kind = Kind(&["ec", "-pkeyopt", "ec_paramgen_curve:P-384"], &["-md", "sha384"]);
/// RSA with too few bits to trust.
pub const RSA_1024: Kind = Kind(&["rsa:1024"], &[]);
/// RSA with 2048 bits, by PKCS #1 1.5 with SHA-256.
pub const RSA_2048: Kind = Kind(&["rsa:2048"], &[]);
/// RSA with 4096 bits, by PKCS #1 1.5 with SHA-512.
pub const RSA_4096: Kind = Kind(&["rsa:4096"], &["-md", "sha512"]);
/// RSA with 3072 bits, by PSS with SHA-256.
pub const RSA_PSS: Kind =
    Kind(&["rsa:3072"], &["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]);
/// Ed25519.
pub const ED25519: Kind = Kind(&["ed25519"], &[]);

/// A certificate and its key, as files.
#[derive(Clone)]
pub struct Pair {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

/// An authority, with a directory of its own below a host's.
pub struct Authority {
    home: PathBuf,
    kind: Kind,
    /// The certificate to trust, and its key.
    pub pair: Pair,
}

impl Authority {
    /// Makes an authority that is valid from 2020 to 2099.
    pub fn new(home: &Home, name: &str) -> Self {
        Self::with(home, name, P256)
    }

    /// Makes an authority that was valid for a month in 2020.
    pub fn expired(home: &Home, name: &str) -> Self {
        Self::until(home, name, P256, EXPIRED)
    }

    /// Makes an authority that this one has signed.
    pub fn below(&self, home: &Home, name: &str) -> Self {
        let below = Self::new(home, name);
        fs::copy(below.home.join("ca.csr"), self.home.join("below.csr")).expect("a request");
        self.sign("below", &["-cert", "ca.pem", "-keyfile", "ca.key", "-extensions", "authority"], PAST, END);
        fs::copy(self.home.join("below.pem"), &below.pair.certificate).expect("a certificate");
        below
    }

    /// Makes an authority with this kind of key.
    pub fn with(home: &Home, name: &str, kind: Kind) -> Self {
        Self::until(home, name, kind, END)
    }

    fn until(home: &Home, name: &str, kind: Kind, end: &str) -> Self {
        let root = home.at(name);
        fs::create_dir(&root).expect("a new directory");
        let config = format!(
            "[ca]\ndefault_ca = x\n[x]\ndir = {0}\nnew_certs_dir = {0}\ndatabase = {0}/index\nserial = {0}/serial\n\
             default_md = sha256\npolicy = any\nunique_subject = no\n[any]\ncommonName = supplied\n\
             [authority]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = keyCertSign\nsubjectKeyIdentifier = hash\n",
            root.display()
        );
        fs::write(root.join("config"), config).expect("a file");
        fs::write(root.join("index"), "").expect("a file");
        fs::write(root.join("serial"), "1000\n").expect("a file");
        let pair = Pair { certificate: root.join("ca.pem"), key: root.join("ca.key") };
        let authority = Self { home: root, kind, pair };
        authority.request("ca", name, kind);
        authority.sign("ca", &["-selfsign", "-keyfile", "ca.key", "-extensions", "authority"], PAST, end);
        authority
    }

    /// Signs a certificate for `names` (`DNS:localhost,IP:127.0.0.1`), valid between two moments.
    pub fn issue(&self, file: &str, names: &str, from: &str, to: &str) -> Pair {
        self.issue_with(file, P256, names, from, to)
    }

    /// Signs a certificate with this kind of key.
    pub fn issue_with(&self, file: &str, kind: Kind, names: &str, from: &str, to: &str) -> Pair {
        self.issue_bare(file, kind, &format!("basicConstraints = CA:FALSE\nsubjectAltName = {names}"), from, to)
    }

    /// Signs a certificate with these extensions and no others.
    pub fn issue_bare(&self, file: &str, kind: Kind, extensions: &str, from: &str, to: &str) -> Pair {
        self.request(file, file, kind);
        fs::write(self.home.join("extensions"), format!("{extensions}\n")).expect("a file");
        self.sign(file, &["-cert", "ca.pem", "-keyfile", "ca.key", "-extfile", "extensions"], from, to);
        self.pair_of(file)
    }

    /// Makes a self-signed certificate for `localhost` with one more extension.
    pub fn self_signed(&self, file: &str, extension: &str) -> Pair {
        let (key, certificate) = (format!("{file}.key"), format!("{file}.pem"));
        self.openssl(&[
            &["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj"][..],
            &["/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", extension],
            &["-days", "30", "-keyout", &key, "-out", &certificate],
        ]);
        self.pair_of(file)
    }

    /// Signs an X.509 v1 certificate, which has no extensions. `None` if this OpenSSL makes none.
    pub fn issue_old(&self, file: &str) -> Option<Pair> {
        self.request(file, "localhost", P256);
        let (request, certificate) = (format!("{file}.csr"), format!("{file}.pem"));
        let with = ["-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "7", "-days", "30"];
        self.openssl(&[&["x509", "-req", "-in", &request, "-out", &certificate], &with]);
        let pair = self.pair_of(file);
        let shown = Command::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(&pair.certificate).output();
        shown.is_ok_and(|shown| shown.stdout().contains("Version: 1 (0x0)")).then_some(pair)
    }

    fn request(&self, file: &str, name: &str, kind: Kind) {
        let (key, request, subject) = (format!("{file}.key"), format!("{file}.csr"), format!("/CN={name}"));
        let how = ["-nodes", "-subj", &subject, "-keyout", &key, "-out", &request];
        self.openssl(&[&["req", "-new", "-newkey"], kind.0, &how]);
    }

    fn sign(&self, file: &str, how: &[&str], from: &str, to: &str) {
        let (request, certificate) = (format!("{file}.csr"), format!("{file}.pem"));
        let what = ["ca", "-batch", "-notext", "-config", "config", "-in", &request, "-out", &certificate];
        self.openssl(&[&what, how, self.kind.1, &["-startdate", from, "-enddate", to]]);
    }

    fn pair_of(&self, file: &str) -> Pair {
        let at = |ending| self.home.join(format!("{file}.{ending}"));
        Pair { certificate: at("pem"), key: at("key") }
    }

    fn openssl(&self, words: &[&[&str]]) {
        let output = Command::new("openssl").args(words.concat()).current_dir(&self.home).output();
        let output = output.expect("openssl was there");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// nginx in front of a loopback server, with a port for each certificate. It ends with its test.
pub struct Nginx {
    #[expect(dead_code, reason = "it runs as long as this lives")]
    process: Process,
    log: PathBuf,
    /// The ports, in the order of the certificates.
    pub ports: Vec<u16>,
}

impl Nginx {
    /// Starts nginx; `settings` are lines for all servers.
    pub fn start(home: &Home, upstream: u16, settings: &str, pairs: &[Pair]) -> Self {
        // All sockets stay open until every port is known, so that no two are the same.
        let held: Vec<TcpListener> =
            pairs.iter().map(|_| TcpListener::bind("127.0.0.1:0").expect("a loopback port")).collect();
        let ports: Vec<u16> = held.iter().map(|port| port.local_addr().expect("it is bound").port()).collect();
        drop(held);
        let (root, log) = (home.at(""), home.at("nginx.log"));
        let servers: String = pairs.iter().zip(&ports).map(|(pair, port)| server(pair, *port, upstream)).collect();
        let root = root.display();
        let config = format!(
            "daemon off; master_process off; pid {root}/nginx.pid; error_log stderr;\nevents {{}}\nhttp {{\n\
             client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;\n\
             uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;\n\
             log_format tls '$ssl_protocol $status'; access_log {root}/nginx.log tls;\n{settings}\n{servers}}}\n"
        );
        fs::write(home.at("nginx.conf"), config).expect("a file");
        let mut command = tools::command("nginx");
        command.arg("-c").arg(home.at("nginx.conf")).args(["-e", "stderr"]).stderr(Stdio::null());
        let nginx = Self { process: Process(command.spawn().expect("nginx was there")), log, ports };
        for port in &nginx.ports {
            assert!(wait_for(|| TcpStream::connect(("127.0.0.1", *port)).is_ok()), "nginx listens");
        }
        nginx
    }

    /// Returns a line for each request: the TLS version and the answer's status.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// A process that is killed when its test ends.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn server(Pair { certificate, key }: &Pair, port: u16, upstream: u16) -> String {
    format!(
        "server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {}; ssl_certificate_key {};\n\
         location / {{ proxy_pass http://127.0.0.1:{upstream}; }} }}\n",
        certificate.display(),
        key.display()
    )
}

/// Returns the configuration of an ntfy target over TLS, with these settings of `[network]`.
pub fn ntfy(host: &str, port: u16, network: &str) -> String {
    format!(
        "[network]\ntimeout = 5\n{network}\n[notification]\nservice = \"ntfy\"\n[notification.ntfy]\n\
         topic_url = \"https://{host}:{port}/mytopic\"\ntoken = \"tk_s3cret\"\n"
    )
}

/// Returns the setting that trusts an authority.
pub fn trusting(authority: &Authority) -> String {
    format!("ca_file = \"{}\"", authority.pair.certificate.display())
}

/// Reads a certificate.
pub fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("a certificate")
}
