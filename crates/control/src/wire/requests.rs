//! Requests to control and the answer to a registration (protocol reference §1.8, §1.9.1).

use super::hostinfo::Hostinfo;
use super::lenient::null;
use keys::{DiscoPublic, NlPublic, NodePublic};
use netmap::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use std::net::SocketAddr;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RegisterRequest<'a> {
    pub(crate) version: u16,
    pub(crate) node_key: NodePublic,
    pub(crate) old_node_key: NodePublic,
    #[serde(rename = "NLKey")]
    pub(crate) nl_key: NlPublic,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) auth: Option<Auth<'a>>,
    #[serde(serialize_with = "display")]
    pub(crate) expiry: Timestamp,
    pub(crate) followup: &'a str,
    pub(crate) hostinfo: &'a Hostinfo,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) ephemeral: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Auth<'a> {
    pub(crate) auth_key: &'a str,
}

fn display<S: Serializer>(value: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(value)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
pub(crate) struct RegisterResponse {
    #[serde(deserialize_with = "null")]
    pub(crate) user: Person,
    #[serde(deserialize_with = "null")]
    pub(crate) login: Person,
    #[serde(deserialize_with = "null")]
    pub(crate) node_key_expired: bool,
    #[serde(deserialize_with = "null")]
    pub(crate) machine_authorized: bool,
    #[serde(rename = "AuthURL", deserialize_with = "null")]
    pub(crate) auth_url: String,
    #[serde(deserialize_with = "null")]
    pub(crate) node_key_signature: String,
    #[serde(deserialize_with = "null")]
    pub(crate) error: String,
}

/// `User` and `Login` in one: they share field names.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Person {
    #[serde(rename = "ID", deserialize_with = "null")]
    pub(crate) id: i64,
    #[serde(deserialize_with = "null")]
    pub(crate) provider: Box<str>,
    #[serde(deserialize_with = "null")]
    pub(crate) login_name: Box<str>,
    #[serde(deserialize_with = "null")]
    pub(crate) display_name: Box<str>,
    #[serde(rename = "ProfilePicURL", deserialize_with = "null")]
    pub(crate) profile_pic_url: Box<str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct MapRequest<'a> {
    pub(crate) version: u16,
    pub(crate) keep_alive: bool,
    pub(crate) node_key: NodePublic,
    pub(crate) disco_key: DiscoPublic,
    pub(crate) stream: bool,
    pub(crate) hostinfo: &'a Hostinfo,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) endpoints: &'a [SocketAddr],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) endpoint_types: &'a [u8],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) omit_peers: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) debug_flags: &'a [String],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn register_request() {
        let hostinfo = Hostinfo { os: "linux".into(), ..Hostinfo::default() };
        let request = RegisterRequest {
            version: 119,
            node_key: NodePublic::from_bytes([1; 32]),
            old_node_key: NodePublic::ZERO,
            nl_key: NlPublic::ZERO,
            auth: Some(Auth { auth_key: "k" }),
            expiry: Timestamp::from_unix(123),
            followup: "",
            hostinfo: &hostinfo,
            ephemeral: false,
        };
        let (one, zero) = ("01".repeat(32), "00".repeat(32));
        assert_eq!(
            serde_json::to_string(&request).expect("json"),
            format!(
                r#"{{"Version":119,"NodeKey":"nodekey:{one}","OldNodeKey":"nodekey:{zero}","NLKey":"nlpub:{zero}","Auth":{{"AuthKey":"k"}},"Expiry":"1970-01-01T00:02:03Z","Followup":"","Hostinfo":{{"OS":"linux"}}}}"#
            )
        );
    }

    #[test]
    fn register_response() {
        let answer: RegisterResponse = serde_json::from_str(
            r#"{"User":{"ID":3,"DisplayName":"Ann","Created":"2026-01-01T00:00:00Z"},"Login":{"ID":4,"LoginName":"ann@x"},
                "NodeKeySignature":null,"MachineAuthorized":true}"#,
        )
        .expect("json");
        assert_eq!(
            (answer.user.id, &*answer.login.login_name, answer.machine_authorized),
            (3, "ann@x", true)
        );
        assert!(serde_json::from_str::<RegisterResponse>("{}").is_ok());
    }
}
