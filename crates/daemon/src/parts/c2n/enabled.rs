//! Requests of control to this node: raw HTTP/1.1 in, raw HTTP/1.1 out.

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = Some("c2n");

/// Answers one request (protocol reference §1.15).
pub fn answer(request: &[u8]) -> Vec<u8> {
    let Some(end) = request.windows(4).position(|w| w == b"\r\n\r\n") else {
        return response("400 Bad Request", b"malformed request\n");
    };
    let (head, rest) = request.split_at(end);
    let body = rest.get(4..).unwrap_or_default();
    let head = String::from_utf8_lossy(head);
    let mut words = head.lines().next().unwrap_or("").split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    // The target may be a whole URL.
    let path =
        target.split_once("://").map_or(target, |(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]));
    match (method, path.split('?').next().unwrap_or("")) {
        (_, "/echo") => response("200 OK", body),
        ("POST", "/logtail/flush") => response("204 No Content", b""),
        _ => response("400 Bad Request", b"unknown c2n path\n"),
    }
}

fn response(status: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::answer;

    fn text(request: &str) -> String {
        String::from_utf8(answer(request.as_bytes())).expect("utf-8")
    }

    #[test]
    fn echo_and_unknown() {
        let answer = text("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhello"));
        assert!(text("GET http://local/echo?x=1 HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200"));
        assert!(text("GET /nothing HTTP/1.1\r\n\r\n").contains("unknown c2n path"));
        assert!(text("garbage").starts_with("HTTP/1.1 400"));
        assert!(text("GET http://nopath HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 400"));
    }
}
