//! Not in this build: nothing is answered, and the machine's resolver is left alone.

use super::{Asker, Setup};
use crate::backend::{Backend, Moment, Reply};
use crate::node::Shared;
use localapi::server::{Request, Response};
use std::rc::Rc;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = None;

/// Answers nothing.
#[derive(Clone, Default)]
pub struct Dns;

impl Dns {
    /// Nothing is started.
    pub fn start(_: Setup) -> Self {
        Self
    }

    /// Nobody is answered.
    pub fn ask(&self, _: Vec<u8>, _: bool, _: Asker, _: Reply<Vec<u8>>) {}

    /// Nothing follows.
    pub fn apply(&self, _: &Backend, _: Moment) {}

    /// There is nothing to give back.
    pub fn close(&self) {}
}

/// Nothing was left.
///
/// # Errors
/// None.
pub fn cleanup() -> Result<(), String> {
    Ok(())
}

/// Not offered.
pub async fn query(_: &Rc<Shared>, _: &Request) -> Response {
    Response::not_found()
}

/// Not offered.
pub fn os_config(_: &Shared) -> Response {
    Response::not_found()
}

/// No question.
pub fn question(_: &str, _: &str) -> Option<Vec<u8>> {
    None
}

/// No answer.
///
/// # Errors
/// Always.
pub fn records(_: &[u8]) -> Result<Vec<String>, String> {
    Err("DNS is not in this build".to_owned())
}
