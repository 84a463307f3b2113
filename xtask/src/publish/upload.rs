//! One blob to a registry, in chunks, so that a cut line costs a chunk and not the blob.
//!
//! The distribution specification's way: open a session, `PATCH` ranges, `PUT` the digest. After a failure the session
//! is asked how far it has come; one that is forgotten is opened anew. A registry that takes no chunks gets the blob
//! whole.

use super::client::{Answer, Call, Client, Trouble};
use crate::image::digest::Digest;
use anyhow::{Context, Result, anyhow};
use ureq::http::Method;

/// Bytes of a chunk: small enough for proxies that take 1 MB at most, large enough that 20 requests send an image.
const CHUNK: usize = 512 * 1024;

/// What has become of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was there already.
    There,
    /// It was sent; after how many failures.
    Sent { failures: u32 },
}

/// A session of the registry.
struct Session {
    location: String,
    /// Bytes that it has.
    at: usize,
    /// Chunks but the last must not be smaller.
    least: usize,
}

/// How a chunk went.
enum Step {
    Done,
    /// The session is gone or has something else than we think; the failure that has not been counted yet.
    Lost(Option<anyhow::Error>),
    /// The registry takes no chunks, or not these.
    Refused,
}

/// Brings a blob to the registry unless it is there; `progress` is told how many bytes are.
pub(crate) fn blob(
    client: &mut Client,
    digest: &Digest,
    bytes: &[u8],
    progress: &dyn Fn(usize),
) -> Result<Fate> {
    let what = format!("blob {digest} ({} bytes)", bytes.len());
    let url = client.url(&format!("blobs/{digest}"));
    let mut upload =
        Upload { client, what: &what, bytes, digest, progress, failures: 0, in_a_row: 0, furthest: 0 };
    if upload.is_there(&url)? {
        progress(bytes.len());
        return Ok(Fate::There);
    }
    loop {
        let mut session = upload.open()?;
        match upload.chunks(&mut session)? {
            Step::Done => {}
            Step::Lost(error) => {
                error.map_or(Ok(()), |error| upload.failed(error, None))?;
                continue;
            }
            Step::Refused => {
                session = upload.open()?;
                session.at = 0;
            }
        }
        if upload.close(&session, &url)? {
            progress(bytes.len());
            return Ok(Fate::Sent { failures: upload.failures });
        }
    }
}

struct Upload<'a> {
    client: &'a mut Client,
    what: &'a str,
    bytes: &'a [u8],
    digest: &'a Digest,
    progress: &'a dyn Fn(usize),
    failures: u32,
    /// Failures since the blob last advanced, and how far it ever was.
    in_a_row: u32,
    furthest: usize,
}

impl Upload<'_> {
    fn is_there(&mut self, url: &str) -> Result<bool> {
        let call = Call { method: &Method::HEAD, url, headers: &[], body: &[], what: self.what };
        let answer = self.client.send(call)?;
        if answer.status == 404 {
            return Ok(false);
        }
        self.client.expect(self.what, answer, &[200]).map(|_| true)
    }

    /// Remembers a failure and waits.
    fn failed(&mut self, error: anyhow::Error, pause: Option<std::time::Duration>) -> Result<()> {
        self.failures += 1;
        self.in_a_row += 1;
        self.client.wait(self.in_a_row, error, pause)
    }

    fn open(&mut self) -> Result<Session> {
        let url = self.client.url("blobs/uploads/");
        let call = Call { method: &Method::POST, url: &url, headers: &[], body: &[], what: self.what };
        let answer = self.client.send(call)?;
        let answer = self.client.expect(self.what, answer, &[202])?;
        let least = answer.header("oci-chunk-min-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(Session { location: self.location(&answer)?, at: 0, least })
    }

    fn location(&self, answer: &Answer) -> Result<String> {
        let location = answer.header("location");
        let location = location
            .with_context(|| format!("{}: {} names no session", self.what, self.client.place.host))?;
        self.client.located(location)
    }

    /// Sends what the session does not have.
    fn chunks(&mut self, session: &mut Session) -> Result<Step> {
        while session.at < self.bytes.len() {
            (self.progress)(session.at);
            let end = self.bytes.len().min(session.at + CHUNK.max(session.least));
            let range = format!("{}-{}", session.at, end - 1);
            let headers = [("content-type", "application/octet-stream"), ("content-range", range.as_str())];
            let body = self.bytes.get(session.at..end).unwrap_or_default();
            let call = Call {
                method: &Method::PATCH,
                url: &session.location,
                headers: &headers,
                body,
                what: self.what,
            };
            match self.client.send_once(call) {
                Ok(answer) if answer.status == 202 || answer.status == 204 => {
                    session.location = self.location(&answer)?;
                    let at = received(&answer).filter(|at| *at <= end).unwrap_or(end);
                    // The same chunk once more would end in the same way, and so on for ever.
                    if at <= session.at {
                        return Ok(Step::Lost(Some(self.kept_nothing(&range))));
                    }
                    session.at = at;
                    self.advanced(at);
                }
                // Another place in the blob than the session is at, or no such session.
                Ok(answer) if matches!(answer.status, 404 | 416) => {
                    return Ok(Step::Lost(Some(self.client.refusal(self.what, &answer))));
                }
                Ok(_) => return Ok(Step::Refused),
                Err(Trouble::Lasting(error)) => return Err(error),
                Err(Trouble::Passing(error, pause)) => {
                    self.failed(error, pause)?;
                    if !self.ask(session)? {
                        return Ok(Step::Lost(None));
                    }
                }
            }
        }
        Ok(Step::Done)
    }

    fn kept_nothing(&self, range: &str) -> anyhow::Error {
        let host = &self.client.place.host;
        anyhow!("{}: {host} took bytes {range} and has kept nothing of them", self.what)
    }

    /// Asks the session how far it is; false when it is no more.
    fn ask(&mut self, session: &mut Session) -> Result<bool> {
        let call =
            Call { method: &Method::GET, url: &session.location, headers: &[], body: &[], what: self.what };
        let answer = self.client.send(call)?;
        let Some(at) = received(&answer).filter(|at| *at <= self.bytes.len()) else { return Ok(false) };
        if answer.status != 204 && answer.status != 202 {
            return Ok(false);
        }
        if answer.header("location").is_some() {
            session.location = self.location(&answer)?;
        }
        session.at = at;
        self.advanced(at);
        Ok(true)
    }

    /// A line that fails now and then is borne as long as the blob advances.
    fn advanced(&mut self, at: usize) {
        if at > self.furthest {
            self.furthest = at;
            self.in_a_row = 0;
        }
    }

    /// Ends the session, with all that it has not got yet; false when it has to be done again.
    fn close(&mut self, session: &Session, url: &str) -> Result<bool> {
        let separator = if session.location.contains('?') { '&' } else { '?' };
        let closing = format!("{}{separator}digest={}", session.location, self.digest);
        let body = self.bytes.get(session.at..).unwrap_or_default();
        let headers = [("content-type", "application/octet-stream")];
        let call = Call { method: &Method::PUT, url: &closing, headers: &headers, body, what: self.what };
        match self.client.send_once(call) {
            Ok(answer) if answer.status == 201 || answer.status == 204 => Ok(true),
            Ok(answer) if matches!(answer.status, 404 | 416) => {
                let error = self.client.refusal(self.what, &answer);
                self.failed(error, None).map(|()| false)
            }
            Ok(answer) => Err(self.client.refusal(self.what, &answer)),
            Err(Trouble::Lasting(error)) => Err(error),
            Err(Trouble::Passing(error, pause)) => {
                self.failed(error, pause)?;
                // The answer may be all that was lost.
                self.is_there(url)
            }
        }
    }
}

/// Bytes that a session has, by the head `Range: 0-LAST`. A fresh session says `0-0`, too.
fn received(answer: &Answer) -> Option<usize> {
    let (_, last) = answer.header("range")?.trim_start_matches("bytes=").split_once('-')?;
    let last: usize = last.trim().parse().ok()?;
    Some(if last == 0 { 0 } else { last.checked_add(1)? })
}
