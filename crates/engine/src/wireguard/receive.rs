//! What arrives from the network: initiations, responses, cookie replies. All of it is hostile until proved.

use super::action::Action;
use super::mac::{open_cookie, sign};
use super::message::{CookieReply, Initiation, Kind, Response};
use super::noise;
use super::peer::{Retries, Run, Sent, Session, jitter};
use super::timers::{COOKIE_RETRY, INITIATION_GAP, REKEY_TIMEOUT, STAMP_DOUBT};
use super::tunnel::Tunnel;
use crate::drop::DropReason;
use crate::source::Source;
use crate::time::Mono;
use keys::NodePrivate;
use rand_core::RngCore;

impl Tunnel {
    /// Handles a handshake message (types 1, 2, 3). The error says under what it is to be counted; nothing else
    /// needs to be done about it.
    pub fn handle_message(&mut self, from: Source, bytes: &[u8], now: Mono) -> Result<(), DropReason> {
        let own = self.own.as_ref().ok_or(DropReason::UnknownPeer)?;
        let kind = Kind::of(bytes).ok_or(DropReason::Malformed)?;
        if !own.mac1.ok(bytes) {
            return Err(if kind == Kind::Data { DropReason::Malformed } else { DropReason::BadMac });
        }
        match kind {
            Kind::Initiation => {
                let message = Initiation::decode(bytes).ok_or(DropReason::Malformed)?;
                self.admit(&from, bytes, &message, now)?;
                self.handle_initiation(from, &message, now)
            }
            Kind::Response => {
                self.handle_response(&Response::decode(bytes).ok_or(DropReason::Malformed)?, now)
            }
            Kind::CookieReply => {
                self.handle_cookie(&CookieReply::decode(bytes).ok_or(DropReason::Malformed)?, now)
            }
            Kind::Data => Err(DropReason::Malformed),
        }
    }

    /// Under load, whoever shows no cookie is sent one instead of an answer.
    fn admit(
        &mut self,
        from: &Source,
        bytes: &[u8],
        message: &Initiation,
        now: Mono,
    ) -> Result<(), DropReason> {
        let core = &mut self.core;
        if !core.limit.under_load(now) {
            return Ok(());
        }
        if core.bakery.mac2_ok(bytes, from, now, &mut core.rng) {
            return if core.limit.admit(from, now) { Ok(()) } else { Err(DropReason::HandshakeLimit) };
        }
        if let Some(own) = &self.own
            && let Some(reply) =
                core.bakery.reply(bytes, message.sender, from, &own.cookie_key, now, &mut core.rng)
        {
            let bytes = Box::new(reply.encode());
            core.actions.push_back(Action::Transmit { slot: None, to: Some(*from), bytes });
        }
        Err(DropReason::HandshakeLimit)
    }

    fn handle_initiation(&mut self, from: Source, message: &Initiation, now: Mono) -> Result<(), DropReason> {
        let own = self.own.as_ref().ok_or(DropReason::UnknownPeer)?;
        let mut opened = noise::open_static(own, message).ok_or(DropReason::BadTag)?;
        let slot = self.slot_of(&opened.peer).ok_or(DropReason::UnknownPeer)?;
        let (own, peer, core) = self.parts(slot).ok_or(DropReason::UnknownPeer)?;
        if peer.unusable || peer.key == own.public {
            return Err(DropReason::UnknownPeer);
        }
        // Until the timestamp opens, the sender has only named a peer: nothing of it may change.
        let known = peer.run.as_ref().map(|run| run.shared.clone());
        let shared = known.or_else(|| own.shared(&peer.key)).ok_or(DropReason::BadTag)?;
        let stamp = opened.open_stamp(&shared, message).ok_or(DropReason::BadTag)?;
        let last = peer.run.as_ref().and_then(|run| run.initiated);
        let unproven =
            last.filter(|(at, _)| now.since(*at) < STAMP_DOUBT).map_or([0; 12], |(_, stamp)| stamp);
        if stamp <= peer.last_stamp.max(unproven) {
            return Err(DropReason::Replay);
        }
        if last.is_some_and(|(at, _)| now.since(at) < INITIATION_GAP) {
            return Err(DropReason::HandshakeLimit);
        }

        let local = core.indices.allocate(slot, &mut core.rng).ok_or(DropReason::HandshakeLimit)?;
        let ephemeral = NodePrivate::generate(&mut core.rng);
        let Some((response, keys)) = opened.respond(&ephemeral, local, message.sender) else {
            core.indices.free(local);
            return Err(DropReason::BadTag);
        };
        let run = peer.run.get_or_insert_with(|| Box::new(Run::new(shared)));
        run.initiated = Some((now, stamp));
        run.watch.heard = Some(now);
        run.watch.spoke = Some(now);
        let session = Session { local, born: now, initiator: false };
        core.retire(slot, run.respond(session));
        core.install(slot, &session, message.sender, &keys.from_responder, &keys.from_initiator);
        let mut bytes = response.encode();
        run.last_mac1 = sign(&mut bytes, &peer.key, run.cookie(now));
        core.actions.push_back(Action::Transmit { slot: Some(slot), to: Some(from), bytes: Box::new(bytes) });
        core.schedule(peer);
        Ok(())
    }

    fn handle_response(&mut self, message: &Response, now: Mono) -> Result<(), DropReason> {
        let slot = self.core.indices.owner(message.receiver).ok_or(DropReason::UnknownSession)?;
        let (own, peer, core) = self.parts(slot).ok_or(DropReason::UnknownSession)?;
        let run = peer.run.as_mut().ok_or(DropReason::UnknownSession)?;
        let sent = run
            .attempts
            .as_mut()
            .and_then(|attempts| attempts.sent.as_mut())
            .filter(|sent| sent.index == message.receiver)
            .ok_or(DropReason::UnknownSession)?;
        sent.tries = sent.tries.checked_sub(1).ok_or(DropReason::HandshakeLimit)?;
        let keys = sent.waiting.finish(own, message).ok_or(DropReason::BadTag)?;
        let Sent { index: local, at, .. } = *sent;

        run.attempts = None;
        run.last_mac1 = None;
        run.watch.heard = Some(now);
        run.look = Some(run.watch.restart(now));
        // Both initiated at once and both were answered. The handshake of the smaller key is kept by both sides:
        // the greater side goes on waiting for its confirmation.
        let crossed = run.next.is_some_and(|next| next.born >= at) && own.public > peer.key;
        let session = Session { local, born: now, initiator: true };
        core.retire(slot, run.complete(session, crossed));
        core.install(slot, &session, message.sender, &keys.from_initiator, &keys.from_responder);
        peer.retries = Retries::Slow;
        peer.last_handshake = Some(now);
        core.actions.push_back(Action::Established { slot, at: now });
        core.actions.push_back(Action::Keepalive { slot, local });
        core.schedule(peer);
        Ok(())
    }

    fn handle_cookie(&mut self, message: &CookieReply, now: Mono) -> Result<(), DropReason> {
        let slot = self.core.indices.owner(message.receiver).ok_or(DropReason::UnknownSession)?;
        let (_, peer, core) = self.parts(slot).ok_or(DropReason::UnknownSession)?;
        let run = peer.run.as_mut().ok_or(DropReason::UnknownSession)?;
        let mac1 = run.last_mac1.as_ref().ok_or(DropReason::UnknownSession)?;
        let cookie = open_cookie(&peer.key, message, mac1).ok_or(DropReason::BadTag)?;
        run.set_cookie(cookie, now);
        if let Some(attempts) = &mut run.attempts {
            let soon = now + COOKIE_RETRY + jitter(core.rng.next_u32(), REKEY_TIMEOUT);
            attempts.next = attempts.next.min(soon);
        }
        core.schedule(peer);
        Ok(())
    }
}
