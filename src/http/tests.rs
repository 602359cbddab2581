use super::*;

#[test]
fn interim_answers_are_skipped() {
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
