//! Keeping a map stream open (protocol reference §1.9).

use super::decode::{Builder, wanted};
use super::frames::{Frames, Piece};
use super::split::{Item, Splitter, Wanted};
use super::{MapItem, MapMessage};
use crate::context::Context;
use crate::h2::Answer;
use crate::messages::{Activity, Event};
use crate::text::printable;
use crate::{Error, ping, update};
use dial::LocalFuture;
use keys::NodePublic;
use std::rc::Rc;
use std::time::Duration;

/// A stream that is silent for so long is dead. Any byte counts, so that a slow link may take its time.
const WATCHDOG: Duration = Duration::from_secs(120);
/// Longest sleep that control may order.
const LONGEST_SLEEP: Duration = Duration::from_secs(300);
/// After so many peers other tasks get their turn.
const PEERS_A_TURN: u32 = 64;

/// Why following the map ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Control does not know this node key: register again.
    NodeUnknown,
}

/// Turns the bytes of one stream into items; pure.
pub(crate) struct MapReader {
    frames: Frames,
    splitter: Splitter<fn(&str) -> Wanted>,
    builder: Builder,
    /// A message that was not a keepalive has been completed.
    had_first: bool,
}

impl MapReader {
    pub(crate) fn new() -> Self {
        Self {
            frames: Frames::default(),
            splitter: Splitter::new(wanted),
            builder: Builder::default(),
            had_first: false,
        }
    }

    /// The next item, taking bytes off `input`; `None` when it is used up.
    pub(crate) fn next(&mut self, input: &mut &[u8]) -> Result<Option<MapItem>, Error> {
        loop {
            let before = *input;
            let Some(piece) = self.frames.next(input)? else { return Ok(None) };
            let body = match piece {
                Piece::Body(body) => body,
                Piece::End => {
                    if !self.splitter.is_done() {
                        return Err(Error::Json {
                            what: "a map message".to_owned(),
                            why: "it ends too early".to_owned(),
                        });
                    }
                    self.splitter.reset();
                    let message = self.builder.finish(!self.had_first)?;
                    self.had_first |= message.first;
                    return Ok(Some(MapItem::End(message)));
                }
            };
            let mut rest = body;
            while let Some(item) = self.splitter.next(&mut rest)? {
                match item {
                    Item::Field(name, raw) => self.builder.field(name, raw)?,
                    Item::Skipped(name) => self.builder.skipped(name),
                    Item::Element(name, raw) => {
                        if let Some(node) = self.builder.peer(name, raw) {
                            // Give back what the splitter left of the frame: `input` directly follows it.
                            self.frames.unread(rest.len());
                            let left = input.len() + rest.len();
                            *input = before.get(before.len().saturating_sub(left)..).unwrap_or_default();
                            return Ok(Some(MapItem::Peer(node)));
                        }
                    }
                }
            }
        }
    }
}

/// The items of one message without a frame, for looking at a map that is not to be in force.
///
/// # Errors
/// [`Error::Json`] or [`Error::TooLong`].
pub fn whole_message(json: &[u8]) -> Result<Vec<MapItem>, Error> {
    let mut reader = MapReader::new();
    let mut items = Vec::new();
    let length = u32::try_from(json.len()).unwrap_or(u32::MAX).to_le_bytes();
    for mut input in [&length[..], json] {
        while let Some(item) = reader.next(&mut input)? {
            items.push(item);
        }
    }
    Ok(items)
}

/// The answer to a stream request that has been sent.
type Opening = LocalFuture<'static, Result<Answer, Error>>;

/// Follows the map of `node_key` until control no longer knows it. The first stream may have been asked for already.
pub(crate) async fn follow(
    context: Rc<Context>,
    node_key: NodePublic,
    mut opening: Option<Opening>,
) -> Outcome {
    stream_is_over(&context, Error::StreamDropped).await;
    loop {
        let asked = context.clone();
        let opening = opening
            .take()
            .unwrap_or_else(|| Box::pin(async move { update::map_request(&asked, node_key, true).await }));
        let error = one_stream(&context, opening).await;
        stream_is_over(&context, error.clone()).await;
        let unknown = error == Error::NodeUnknown;
        context.failed(Activity::Map, error.clone()).await;
        context.back_off_map(&error).await;
        if unknown {
            return Outcome::NodeUnknown;
        }
    }
}

/// Tells the daemon that there is no stream any more, if it was told of one.
async fn stream_is_over(context: &Context, error: Error) {
    if context.stream_told.get() {
        context.emit(Event::MapDown { error }).await;
        context.stream_told.set(false);
    }
}

/// One stream from request to its end: why it ended.
async fn one_stream(context: &Rc<Context>, opening: Opening) -> Error {
    let answer = tokio::time::timeout(WATCHDOG, opening).await;
    let mut answer = match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(e)) => return e,
        Err(_) => {
            context.client.hang_up();
            return Error::Timeout("the answer to the map request");
        }
    };
    context.emit(Event::MapUp).await;
    context.stream_told.set(true);
    let mut reader = MapReader::new();
    let mut shown = None;
    let mut peers = 0u32;
    loop {
        let chunk = match tokio::time::timeout(WATCHDOG, answer.next()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return Error::StreamEnded,
            Ok(Err(e)) => return e,
            Err(_) => {
                context.client.hang_up();
                return Error::Timeout("the next message of the map stream");
            }
        };
        let mut input = &chunk[..];
        loop {
            let item = match reader.next(&mut input) {
                Ok(Some(item)) => item,
                Ok(None) => break,
                Err(e) => return e,
            };
            match item {
                MapItem::Peer(_) => {
                    peers = peers.wrapping_add(1);
                    context.emit_item(item).await;
                    if peers.is_multiple_of(PEERS_A_TURN) {
                        tokio::task::yield_now().await;
                    }
                }
                MapItem::End(message) => {
                    context.map_backoff.borrow_mut().reset();
                    context.had_map.set(context.had_map.get() || message.first);
                    context.works(Activity::Map).await;
                    end_of_message(context, message, &mut shown).await;
                }
            }
        }
    }
}

/// Answers what is for this crate, hands on the rest, and sleeps if control says so. `shown` is the page that control had
/// people sent to last on this stream.
async fn end_of_message(context: &Rc<Context>, mut message: Box<MapMessage>, shown: &mut Option<String>) {
    judge_pages(context, &mut message, shown);
    if let Some(request) = message.ping.take() {
        ping::answer(context, request);
    }
    let debug = message.debug.unwrap_or_default();
    context.emit_item(MapItem::End(message)).await;
    if let Some(status) = debug.exit {
        log::warn!("control: asked to exit with status {status}, which a router does not do");
    }
    let sleep = Duration::try_from_secs_f64(debug.sleep_seconds).unwrap_or_default().min(LONGEST_SLEEP);
    if !sleep.is_zero() {
        log::info!("control: asked to pause for {sleep:?}");
        tokio::time::sleep(sleep).await;
    }
}

/// Takes the pages out that people are not to be sent to, and the one that they have been sent to already.
fn judge_pages(context: &Context, message: &mut MapMessage, shown: &mut Option<String>) {
    if let Some(page) = message.pop_browser_url.take_if(|page| shown.as_ref() != Some(page)) {
        match context.client.may_show(&page) {
            true => message.pop_browser_url = Some(page.clone()),
            false => {
                log::warn!("control: a page that this node does not show: {}", printable(page.as_bytes()))
            }
        }
        *shown = Some(page);
    } else {
        message.pop_browser_url = None;
    }
    for (_, display) in &mut message.delta.display_messages {
        if let Some(display) = display {
            display.action.take_if(|(page, _)| !context.client.may_show(page));
        }
    }
}

/// The error of a map request that was not answered with 200.
pub(crate) async fn map_error(mut answer: Answer) -> Error {
    let error = answer.error("the map request").await;
    match &error {
        Error::Status { status: 404, .. } => Error::NodeUnknown,
        Error::Status { text, .. } if text.contains("node not found") => Error::NodeUnknown,
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(messages: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        for message in messages {
            out.extend((message.len() as u32).to_le_bytes());
            out.extend(message.as_bytes());
        }
        out
    }

    fn read(stream: &[u8], piece: usize) -> Result<Vec<String>, Error> {
        let mut reader = MapReader::new();
        let mut seen = Vec::new();
        for chunk in stream.chunks(piece) {
            let mut input = chunk;
            while let Some(item) = reader.next(&mut input)? {
                seen.push(match item {
                    MapItem::Peer(node) => format!("peer {}", node.id),
                    MapItem::End(m) => {
                        format!("end keep={} first={} full={}", m.keep_alive, m.first, m.delta.full_peers)
                    }
                });
            }
        }
        Ok(seen)
    }

    #[test]
    fn any_chunking() {
        let stream = framed(&[
            r#"{"KeepAlive":true}"#,
            r#"{"Node":{"ID":1},"Peers":[{"ID":2,"Name":"x"},{"ID":3}],"Domain":"d"}"#,
            r#" {"PeersChanged":[{"ID":4}]} "#,
        ]);
        for piece in 1..=stream.len() {
            assert_eq!(
                read(&stream, piece).expect("read"),
                [
                    "end keep=true first=false full=false",
                    "peer 2",
                    "peer 3",
                    "end keep=false first=true full=true",
                    "peer 4",
                    "end keep=false first=false full=false"
                ]
            );
        }
    }

    #[test]
    fn a_message_must_be_whole() {
        assert!(read(&framed(&["{\"Node\":{\"ID\":1}"]), 7).is_err());
        assert!(read(&framed(&[""]), 7).is_err());
        assert_eq!(read(&framed(&["{}"]), 7), Err(Error::NoSelfNode));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes: Vec<u8>, text in "[{}\\[\\]\",:\\\\ a1PersNod]{0,60}", piece in 1usize..12) {
            let _ = read(&bytes, piece);
            let _ = read(&framed(&[&text]), piece);
        }
    }
}
