//! Requests to control and the answer to a registration (protocol reference §1.8, §1.9.1).

use super::hostinfo::Hostinfo;
use keys::{DiscoPublic, NlPublic, NodePublic};
use netmap::Timestamp;
use std::net::SocketAddr;

gojson::object! {
    write
    pub(crate) struct RegisterRequest<'a> {
        pub(crate) version: u16 => "Version",
        pub(crate) node_key: NodePublic => "NodeKey",
        pub(crate) old_node_key: NodePublic => "OldNodeKey",
        pub(crate) nl_key: NlPublic => "NLKey",
        pub(crate) auth: Option<Auth<'a>> => "Auth" omit,
        pub(crate) expiry: Timestamp => "Expiry",
        pub(crate) followup: &'a str => "Followup",
        pub(crate) hostinfo: &'a Hostinfo => "Hostinfo",
        pub(crate) ephemeral: bool => "Ephemeral" omit,
    }
}

gojson::object! {
    write
    pub(crate) struct Auth<'a> {
        pub(crate) auth_key: &'a str => "AuthKey",
    }
}

impl gojson::Zero for Auth<'_> {
    fn zero() -> Self {
        Self { auth_key: "" }
    }
}

gojson::object! {
    read
    pub(crate) struct RegisterResponse {
        pub(crate) user: Person => "User",
        pub(crate) login: Person => "Login",
        pub(crate) node_key_expired: bool => "NodeKeyExpired",
        pub(crate) machine_authorized: bool => "MachineAuthorized",
        pub(crate) auth_url: String => "AuthURL",
        pub(crate) node_key_signature: String => "NodeKeySignature",
        pub(crate) error: String => "Error",
    }
}

gojson::object! {
    read
    /// `User` and `Login` in one: they share field names.
    pub(crate) struct Person {
        pub(crate) id: i64 => "ID",
        pub(crate) provider: Box<str> => "Provider",
        pub(crate) login_name: Box<str> => "LoginName",
        pub(crate) display_name: Box<str> => "DisplayName",
        pub(crate) profile_pic_url: Box<str> => "ProfilePicURL",
    }
}

gojson::object! {
    write
    pub(crate) struct MapRequest<'a> {
        pub(crate) version: u16 => "Version",
        pub(crate) keep_alive: bool => "KeepAlive",
        pub(crate) node_key: NodePublic => "NodeKey",
        pub(crate) disco_key: DiscoPublic => "DiscoKey",
        pub(crate) stream: bool => "Stream",
        pub(crate) hostinfo: &'a Hostinfo => "Hostinfo",
        pub(crate) endpoints: &'a [SocketAddr] => "Endpoints" omit,
        pub(crate) endpoint_types: &'a [u8] => "EndpointTypes" omit,
        pub(crate) omit_peers: bool => "OmitPeers" omit,
        pub(crate) debug_flags: &'a [String] => "DebugFlags" omit,
    }
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
            gojson::to_go_json(&request, gojson::Indent::None),
            format!(
                r#"{{"Version":119,"NodeKey":"nodekey:{one}","OldNodeKey":"nodekey:{zero}","NLKey":"nlpub:{zero}","Auth":{{"AuthKey":"k"}},"Expiry":"1970-01-01T00:02:03Z","Followup":"","Hostinfo":{{"OS":"linux"}}}}"#
            )
        );
    }

    #[test]
    fn register_response() {
        let answer: RegisterResponse = gojson::from_str(
            r#"{"User":{"ID":3,"DisplayName":"Ann","Created":"2026-01-01T00:00:00Z"},"Login":{"ID":4,"LoginName":"ann@x"},
                "NodeKeySignature":null,"MachineAuthorized":true}"#,
        )
        .expect("json");
        assert_eq!(
            (answer.user.id, &*answer.login.login_name, answer.machine_authorized),
            (3, "ann@x", true)
        );
        assert!(gojson::from_str::<RegisterResponse>("{}").is_ok());
    }
}
