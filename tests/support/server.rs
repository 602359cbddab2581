//! A loopback server that speaks HTTP/1.1 and keeps every request byte for byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// One request, byte for byte.
#[derive(Clone, Debug)]
pub struct Request {
    /// When it had been read completely.
    pub at: Instant,
    /// Request line and headers, up to and including the empty line.
    pub head: String,
    /// As many bytes as `Content-Length` says.
    pub body: String,
}

impl Request {
    /// `POST`
    pub fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .find(|(given, _)| given.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// Parses the body, which must be JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.body))
    }
}

/// Answers a request with any bytes. The number counts requests from 0.
pub type Answer = dyn Fn(usize, &Request, &mut TcpStream) + Send + Sync;

/// A server on a free port. It ends with its test.
pub struct Server {
    pub port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server that accepts everything as Discord and ntfy do.
    pub fn well() -> Self {
        Self::new(|_, _, stream| taken(stream))
    }

    /// Starts a server that answers with these statuses and bodies in turn, and repeats the last.
    pub fn scripted(answers: &'static [(u16, &'static str)]) -> Self {
        Self::new(move |number, _, stream| {
            let (status, body) = answers[number.min(answers.len() - 1)];
            reply(stream, status, "", body);
        })
    }

    /// Starts a server that answers with this function.
    pub fn new(answer: impl Fn(usize, &Request, &mut TcpStream) + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a loopback port"), Arc::new(answer))
    }

    /// Starts a server on a socket that the test opened.
    pub fn on(listener: TcpListener, answer: Arc<Answer>) -> Self {
        let port = listener.local_addr().expect("it is bound").port();
        listener.set_nonblocking(true).expect("a socket can be non-blocking");
        let (requests, is_over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (kept, over) = (Arc::clone(&requests), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            let mut connections = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(2));
                    continue;
                };
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                connections.push(thread::spawn(move || serve(stream, &kept, &*answer)));
            }
        });
        Self { port, requests, is_over, thread: Some(thread) }
    }

    /// Returns every complete request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no test panics with the lock").clone()
    }

    /// Returns the configuration of an ntfy target on this server.
    pub fn ntfy(&self) -> String {
        format!("[notification.ntfy]\ntopic_url = \"http://127.0.0.1:{}/mytopic\"\n", self.port)
    }

    /// Returns the configuration of a Discord target on this server.
    pub fn discord(&self) -> String {
        format!("[notification.discord]\nwebhook_url = \"http://127.0.0.1:{}/api/webhooks/1/s3cret\"\n", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Returns the configuration of a Discord and an ntfy target on these servers.
pub fn discord_and_ntfy(discord: &Server, ntfy: &Server) -> String {
    format!("[notification]\nservice = [\"discord\", \"ntfy\"]\n{}{}", discord.discord(), ntfy.ntfy())
}

/// Answers like a service that accepted the message.
pub fn taken(stream: &mut TcpStream) {
    reply(stream, 200, "Content-Type: application/json\r\n", r#"{"id":"1"}"#);
}

/// Writes a complete answer; `headers` are lines that end with CRLF.
pub fn reply(stream: &mut TcpStream, status: u16, headers: &str, body: &str) {
    let text = format!(
        "HTTP/1.1 {status} Status\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(text.as_bytes());
}

/// Keeps the connection open, without an answer, until the client closes it.
pub fn hold(stream: &mut TcpStream) {
    while stream.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
}

fn serve(mut stream: TcpStream, requests: &Mutex<Vec<Request>>, answer: &Answer) {
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_read_timeout(Some(Duration::from_mins(1)));
    let Some(request) = read(&stream) else { return };
    let number = {
        let mut requests = requests.lock().expect("no test panics with the lock");
        requests.push(request.clone());
        requests.len() - 1
    };
    answer(number, &request, &mut stream);
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let mut request = Request { at: Instant::now(), head, body: String::new() };
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.at = Instant::now();
    request.body = String::from_utf8(body).ok()?;
    Some(request)
}
