use super::*;

#[test]
fn an_address_is_taken_apart() {
    let rows = [
        ("https://ntfy.sh/topic", true, "ntfy.sh", "https://ntfy.sh", "/topic", false),
        ("http://127.0.0.1:80", false, "127.0.0.1", "http://127.0.0.1:80", "", true),
        ("http://localhost:8080/a?b=c", false, "localhost", "http://localhost:8080", "/a?b=c", true),
        ("http://h?x", false, "h", "http://h", "?x", false),
    ];
    for (url, is_secure, host, origin, path, is_loopback) in rows {
        let address = Address::parse(url).unwrap_or_else(|why| panic!("{url} {why}"));
        assert_eq!(address, Address { is_secure, host, origin, path }, "{url}");
        assert_eq!(address.is_loopback(), is_loopback, "{url}");
    }
}

#[test]
fn what_is_no_address_of_a_web_server_is_refused() {
    for url in [
        "",
        "ntfy.sh/topic",
        "ftp://h/",
        "file:///etc/passwd",
        "http://",
        "http:///x",
        "http://h:0/",
        "http://h:x/",
        "http://h:70000/",
        "http://u@h/",
        "http://[::1]/",
        "http://h/a b",
        "http://h/\r\nX: y",
        "http://h/#f",
        "http://hé/",
        "HTTP://h/",
    ] {
        assert!(Address::parse(url).is_err(), "{url}");
    }
}

#[test]
fn an_interim_answer_is_not_the_answer() {
    let interim = |body: &str| Response { status: 100, body: body.into(), ..Response::default() };
    let response = after_interim(interim(
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 429 Slow down\r\nRetry-After: 7\r\n\r\nbody",
    ));
    assert_eq!((response.status, response.header("retry-after")), (429, Some("7")));
    assert_eq!(response.body, b"body");
    for broken in ["", "HTTP/1.1 200 OK\r\n", "nonsense\r\n\r\n"] {
        assert_eq!(after_interim(interim(broken)).status, 100, "{broken}");
    }
}
