//! A call as a value: what is asked, and how the answer is read.
//!
//! Only reading depends on the type of the answer. Whoever makes calls one after another drives [`Exchange`]s, which are
//! all of one type, and has one event loop instead of one for every kind of answer.

use super::Client;
use crate::error::Error;
use bytes::Bytes;
use http1::Method;
use std::pin::Pin;

/// Makes the answer of the body that came for the path.
type Read<T> = fn(&str, Bytes) -> Result<T, Error>;

/// A call that gives a `T`. To be awaited, or taken apart.
#[derive(Debug)]
#[must_use = "nothing is asked before it is awaited"]
pub struct Call<'c, T> {
    exchange: Exchange<'c>,
    read: Read<T>,
}

/// The request of a call and the status that its answer must have.
#[derive(Debug)]
pub struct Exchange<'c> {
    client: &'c Client,
    method: Method,
    path: String,
    want: u16,
    body: Bytes,
}

impl<'c, T> Call<'c, T> {
    pub(super) fn new(
        client: &'c Client,
        method: Method,
        path: &str,
        want: u16,
        body: Bytes,
        read: Read<T>,
    ) -> Self {
        Self { exchange: Exchange { client, method, path: path.to_owned(), want, body }, read }
    }

    /// The request, which gives the body of the answer, and what makes the answer of it and the path.
    pub fn apart(self) -> (Exchange<'c>, Read<T>) {
        (self.exchange, self.read)
    }
}

impl Exchange<'_> {
    /// The path below `/localapi/v0/`, with the query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The body of the answer.
    ///
    /// # Errors
    /// When the daemon cannot be asked, or its answer has another status.
    pub async fn send(&self) -> Result<Bytes, Error> {
        self.client.exchange(self.method, &self.path, self.want, &self.body).await
    }
}

impl<'c, T: 'c> IntoFuture for Call<'c, T> {
    type Output = Result<T, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + 'c>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let answer = self.exchange.send().await?;
            (self.read)(&self.exchange.path, answer)
        })
    }
}
