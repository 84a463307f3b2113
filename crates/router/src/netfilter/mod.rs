//! The packet filter of the kernel: chains beside other people's, by legacy x_tables or by nf_tables, without a helper
//! program.
//!
//! Owns: which rules there are ([`rules`], pure), both ways to the kernel ([`legacy`], [`nft`]), choosing between them,
//! taking over what a killed run or another node like us has left, and removing it. Leaves out: what the rules depend
//! on (the caller gives it whole). Everything in the tables that is not exactly what we make stays as it is.
//!
//! A program that never calls this does not carry it.

mod legacy;
mod nft;
pub(crate) mod rules;

use crate::Error;
use rules::{Firewall, Mode, TABLES, Wanted, wanted};
use rustix::io::Errno;

/// How the kernel is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// As others on this machine do, else nf_tables if the kernel has it.
    #[default]
    Auto,
    /// x_tables (`iptables-legacy`).
    Legacy,
    /// nf_tables (`nft`, `iptables-nft`).
    NfTables,
}

/// Keeps the rules as configured.
#[derive(Debug, Default)]
pub struct Netfilter {
    chosen: Option<Kind>,
}

impl Netfilter {
    /// Which way to the kernel is in use; `None` while none is.
    pub const fn kind(&self) -> Option<Kind> {
        self.chosen
    }

    /// Brings the rules to `firewall`, as far as they differ from what is there. Goes on after a refusal; what is
    /// returned is everything that is not as it should be.
    pub fn apply(&mut self, firewall: &Firewall) -> Vec<Error> {
        let mut nft = nft::Nft::open();
        let kind = match firewall.kind {
            _ if firewall.mode == Mode::Off => None,
            // What has been chosen stays: our own rules would tip the balance.
            Kind::Auto => self.chosen.or_else(|| choose(nft.as_mut())),
            kind => Some(kind),
        };
        let known = std::mem::replace(&mut self.chosen, kind).is_some();
        let problems = set(firewall, kind, nft.as_mut());
        // A kernel may have nf_tables and lack what translates addresses there.
        let doubtful = firewall.kind == Kind::Auto && kind == Some(Kind::NfTables) && !known;
        if problems.is_empty() || !doubtful || !legacy::works() {
            return problems;
        }
        self.chosen = Some(Kind::Legacy);
        if set(firewall, self.chosen, nft.as_mut()).is_empty() {
            return Vec::new();
        }
        self.chosen = kind;
        set(firewall, kind, nft.as_mut())
    }

    /// Removes everything of ours.
    pub fn close(mut self) -> Vec<Error> {
        self.apply(&Firewall::default())
    }
}

/// Sets the rules by one way and removes those that were set by the other.
fn set(firewall: &Firewall, kind: Option<Kind>, mut nft: Option<&mut nft::Nft>) -> Vec<Error> {
    let mut problems = Vec::new();
    if firewall.mode != Mode::Off && kind.is_none() {
        problems.push(Error::NoNetfilter);
    }
    for table in &TABLES {
        for v6 in [false, true] {
            let here = |this| {
                let mut wanted = wanted(firewall, table, v6);
                if kind != Some(this) {
                    (wanted.chains, wanted.hooks) = (false, false);
                    wanted.rules.clear();
                }
                wanted
            };
            bring_to(here(Kind::Legacy), &mut legacy::apply, &mut problems);
            let apply: &mut dyn FnMut(&Wanted<'_>) -> Result<(), Errno> = match &mut nft {
                Some(nft) => &mut |wanted| nft.apply(wanted),
                None => &mut |wanted| if wanted.is_nothing() { Ok(()) } else { Err(Errno::OPNOTSUPP) },
            };
            bring_to(here(Kind::NfTables), apply, &mut problems);
        }
    }
    problems
}

/// Carries it out, if need be without what needs connections to be tracked.
fn bring_to(
    mut wanted: Wanted<'_>,
    apply: &mut dyn FnMut(&Wanted<'_>) -> Result<(), Errno>,
    problems: &mut Vec<Error>,
) {
    let Err(errno) = apply(&wanted) else { return };
    let missing = matches!(errno, Errno::NOENT | Errno::INVAL | Errno::OPNOTSUPP);
    problems.push(refused(&wanted, errno));
    if missing && wanted.without_states() {
        // What is told then is that they are missing.
        if let Err(errno) = apply(&wanted) {
            problems.push(refused(&wanted, errno));
        }
    }
}

fn refused(wanted: &Wanted<'_>, errno: Errno) -> Error {
    let (verb, family) = (if wanted.is_nothing() { "remove" } else { "set" }, if wanted.v6 { 6 } else { 4 });
    Error::Refused { op: format!("{verb} the IPv{family} rules of table {}", wanted.table.name), errno }
}

/// As others on this machine do.
fn choose(nft: Option<&mut nft::Nft>) -> Option<Kind> {
    let legacy = legacy::in_use();
    if nft.is_some_and(|nft| !legacy || nft.in_use()) {
        Some(Kind::NfTables)
    } else {
        (legacy || legacy::works()).then_some(Kind::Legacy)
    }
}

/// Removes the rules that runs that were killed have left.
///
/// # Errors
/// The first thing that could not be removed.
pub fn cleanup_rules() -> Result<(), Error> {
    Netfilter::default().close().into_iter().next().map_or(Ok(()), Err)
}
