//! Without feature `debug` the endpoint does not exist.

use crate::node::Shared;
use localapi::server::{Request, Response};
use localapi::types::ErrorBody;
use std::rc::Rc;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = None;

/// 404, as upstream.
pub fn bug_report(_request: &Request) -> Response {
    Response::not_found()
}

/// 404, as upstream.
pub fn component_logging() -> Response {
    Response::not_found()
}

/// Nobody asks for it.
pub fn no_component_logging() -> ErrorBody {
    ErrorBody::default()
}

/// 404, as upstream.
pub async fn action(_shared: &Rc<Shared>, _request: &Request) -> Response {
    Response::not_found()
}
