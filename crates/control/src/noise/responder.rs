//! The server's half of the handshake, for tests: the control server of this crate's tests runs on it.
#![allow(clippy::unwrap_in_result, reason = "test code")]

use super::NoiseStream;
use super::handshake::{
    INITIATION_LEN, MSG_INITIATION, MSG_RESPONSE, RESPONSE_BODY, SessionKeys, Symmetric, agree,
};
use crate::Error;
use dial::BoxStream;
use keys::{MachinePrivate, MachinePublic};

pub(crate) struct Responder {
    pub(crate) machine: MachinePublic,
    pub(crate) version: u16,
    keys: SessionKeys,
}

impl Responder {
    pub(crate) fn answer(
        server: &MachinePrivate,
        message: &[u8; INITIATION_LEN],
        ephemeral: MachinePrivate,
    ) -> Result<(Self, Vec<u8>), Error> {
        assert_eq!((message[2], &message[3..5]), (MSG_INITIATION, &[0, 96][..]));
        let version = u16::from_be_bytes([message[0], message[1]]);
        let mut state = Symmetric::new(version, &server.public());
        let e_client = MachinePublic::from_bytes(message[5..37].try_into().expect("32"));
        state.mix_hash(e_client.as_bytes());
        let key = state.mix_key(agree(server, &e_client)?);
        let machine = state.open(&key, &message[37..85])?;
        let machine = MachinePublic::from_bytes(machine.try_into().expect("32"));
        let key = state.mix_key(agree(server, &machine)?);
        state.open(&key, &message[85..])?;

        let mut out = vec![MSG_RESPONSE, 0, RESPONSE_BODY as u8];
        state.mix_hash(ephemeral.public().as_bytes());
        out.extend(ephemeral.public().as_bytes());
        state.mix_key(agree(&ephemeral, &e_client)?);
        let key = state.mix_key(agree(&ephemeral, &machine)?);
        out.extend(state.seal(&key, &[])?);
        let (receive, send) = state.split();
        Ok((Self { machine, version, keys: SessionKeys { send, receive } }, out))
    }

    pub(crate) fn into_stream(self, io: BoxStream) -> NoiseStream {
        NoiseStream::new(io, &self.keys)
    }
}
