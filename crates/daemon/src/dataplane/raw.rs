//! Disco that is heard before the host's packet filter, on its way to the engine.
//!
//! Leaves out: the sockets (`parts/listenrawdisco`).

use super::Dataplane;
use std::rc::Rc;

impl Dataplane {
    /// Whether there is any, by [`Self::hear_raw_disco`].
    pub const fn hears_raw_disco(&self) -> bool {
        self.raw_disco.is_some()
    }

    /// Listens for it as long as the node runs.
    pub async fn hear_raw_disco(self: Rc<Self>) {
        if let Some(raw) = &self.raw_disco {
            raw.hear(|from, message| {
                self.engine.borrow_mut().handle_raw_disco(from, message, self.clock.mono());
                self.pump();
            })
            .await;
        }
    }
}
