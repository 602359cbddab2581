//! What each service gets, byte for byte, and what becomes of its answers.

mod support;

use support::home::Home;
use support::server::{Request, Server};
use support::stderr;

fn request(server: &Server, number: usize) -> Request {
    server.requests().get(number).cloned().unwrap_or_else(|| panic!("no request {number}: {:?}", server.requests()))
}

#[test]
fn discord_gets_its_documented_request_byte_for_byte() {
    let server = Server::well();
    let home = Home::new(&format!("[notification]\nservice = \"discord\"\n{}", server.discord()));
    home.record("amanda", "192.0.2.7", "open_session");
    let output = home.send();
    assert!(output.status.success(), "{}", stderr(&output));
    let request = request(&server, 0);
    let at = request.body.split(" at ").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_default();
    let expected = format!(
        r#"{{"username":"host.example","content":"```- 'amanda' (192.0.2.7) logged in to host.example via ssh (sshd) at {at}```","allowed_mentions":{{"parse":[]}}}}"#
    );
    assert_eq!(request.body, expected);
    let head = [
        "POST /api/webhooks/1/s3cret?wait=true HTTP/1.1".to_owned(),
        format!("Host: 127.0.0.1:{}", server.port),
        concat!("User-Agent: ssh-session-notifier/", env!("CARGO_PKG_VERSION")).to_owned(),
        "Connection: close".to_owned(),
        "Content-Type: application/json".to_owned(),
        format!("Content-Length: {}\r\n\r\n", expected.len()),
    ];
    assert_eq!(request.head, head.join("\r\n"));
}
