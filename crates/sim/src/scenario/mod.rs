//! Scenarios as text: what there is, then what happens when. A line each, in the order of time.
//!
//! ```text
//! site home nat easy                       # or: nat map=address filter=port ports=random life=30 hairpin
//! site flat below home nat hard v6 closed  # v6: closed, open, any, address or port; or: no-udp
//! region 2                                 # region 1 is always there
//! node a at flat mapped                    # its router forwards a port and says so
//! node b at internet,home region 2
//! at 2 talk a b                            # seconds
//! at 60 move a home
//! ```
//!
//! Steps: `talk A B`, `hush A B`, `move N SITES`, `udp SITE on|off`, `region R on|off`, `restart N`, `renew SITE` (its router
//! restarts with another outer address), `sleep N`, `wake N`, `control on|off`, `lag MS`, `clock N SECONDS` (forward, or
//! back if negative), `link loss=% jitter=MS late=% twice=%`.

mod stage;
mod text;

pub use stage::Stage;

use crate::net::Plan;
use crate::net::SiteIx;
use netmap::RegionId;
use std::time::Duration;

/// A node of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// How the scenario calls it.
    pub name: String,
    /// Where its interfaces are.
    pub sites: Vec<SiteIx>,
    /// Whether the router of the first forwards a port to it.
    pub mapped: bool,
    /// Its home region.
    pub home: RegionId,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The first one's machine sends something to the second one's twice a second.
    Talk(usize, usize),
    /// It stops.
    Hush(usize, usize),
    /// A node's interfaces are elsewhere.
    Move(usize, Vec<SiteIx>),
    /// Whether a site lets UDP out.
    Udp(SiteIx, bool),
    /// Whether a region works.
    Region(RegionId, bool),
    /// A node's process restarts with a new disco key.
    Restart(usize),
    /// A site's router restarts with another outer address.
    Renew(SiteIx),
    /// A machine sleeps or wakes.
    Awake(usize, bool),
    /// Whether control speaks.
    Control(bool),
    /// How long control's news takes.
    Lag(Duration),
    /// A machine's wall clock jumps, in seconds.
    Clock(usize, i64),
    /// All direct links: loss, late and twice in percent.
    Link {
        /// Lost.
        loss: u32,
        /// Milliseconds.
        jitter: u32,
        /// Held back so that others overtake.
        late: u32,
        /// Arrives twice.
        twice: u32,
    },
}

/// A scenario.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scenario {
    /// Sites; no machines.
    pub plan: Plan,
    /// Regions beside the first.
    pub regions: Vec<RegionId>,
    /// Nodes, in order of joining.
    pub actors: Vec<Actor>,
    /// What happens, in order.
    pub steps: Vec<(Duration, Step)>,
}
