//! What the LocalAPI is answered: a query by hand, and what the machine has without us.

use crate::backend::Reply;
use crate::node::Shared;
use crate::parts::dns::Asker;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dns::message;
use dns::name::Name;
use localapi::server::{Request, Response};
use localapi::types::{self, DnsOsConfig, DnsQueryResponse, Indent};
use std::rc::Rc;
use tokio::sync::oneshot;

/// LocalAPI `dns-query`: asked as if by TCP.
pub async fn query(shared: &Rc<Shared>, request: &Request) -> Response {
    let wanted = request.query.text("type").trim();
    let kind = if wanted.is_empty() { Some(message::kind::A) } else { message::kind::by_name(wanted) };
    let Some(kind) = kind else {
        return Response::error(400, &format!("unknown DNS message type: {}", wanted.to_ascii_uppercase()));
    };
    let text = request.query.text("name");
    let Some(name) = Name::parse(text.as_bytes()) else {
        return Response::error(500, &format!("{text:?} is no name that DNS could know"));
    };
    let (sender, answer) = oneshot::channel();
    let reply = Reply::new(move |bytes| drop(sender.send(bytes)));
    shared.dns.ask(message::query(1, &name, kind), true, Asker::Machine, reply);
    let Ok(bytes) = answer.await else {
        return Response::error(500, "too many queries at the same time; try again");
    };
    let inner = &shared.dns.0;
    let resolver = inner.resolver.borrow();
    let steps = resolver.steps(name.bytes()).into_iter().flat_map(|steps| steps.iter());
    let resolvers =
        steps.map(|step| types::Resolver { addr: step.upstream.to_string(), ..types::Resolver::default() });
    let answer = DnsQueryResponse { bytes: Some(STANDARD.encode(bytes)), resolvers: resolvers.collect() };
    Response::json(&answer, Indent::None)
}

/// LocalAPI `dns-osconfig`: what the machine has without us.
pub fn os_config(shared: &Shared) -> Response {
    match shared.dns.0.machine.borrow().base() {
        Ok(base) => {
            let config = DnsOsConfig {
                nameservers: Some(base.nameservers.iter().map(ToString::to_string).collect()),
                search_domains: Some(base.search.iter().map(ToString::to_string).collect()),
                match_domains: Some(Vec::new()),
            };
            Response::json(&config, Indent::None)
        }
        Err(error) => Response::error(500, &error.to_string()),
    }
}
