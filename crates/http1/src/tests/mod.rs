//! Whole messages over pipes: what both sides make of each other, and of what is no HTTP.

mod bodies;
mod client;
mod heads;
mod server;

use crate::{Error, Reader, Request};
use std::future::Future;
use tokio::io::AsyncWriteExt as _;

/// Runs `test` in virtual time.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_time().start_paused(true).build().expect("runtime");
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

/// What a reader makes of `bytes` when they come `step` at a time and then end: the requests, and the error.
fn requests(bytes: &[u8], step: usize) -> (Vec<Request>, Option<Error>) {
    run(async {
        let (mut ours, mut theirs) = tokio::io::duplex(step.max(1));
        let write = async move {
            let _ = theirs.write_all(bytes).await;
        };
        let read = async {
            let (mut reader, mut all) = (Reader::default(), Vec::new());
            let error = loop {
                match reader.request(&mut ours, 1 << 10).await {
                    Ok(Some((mut request, mut body))) => {
                        match reader.whole(&mut ours, &mut body, 1 << 10).await {
                            Ok(whole) => request.body = whole,
                            Err(error) => break Some(error),
                        }
                        all.push(request);
                    }
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            drop(ours);
            (all, error)
        };
        tokio::join!(read, write).0
    })
}
