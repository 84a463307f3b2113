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
    why: Why,
    changes: u32,
}

/// Why a way to the kernel was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Why {
    /// Somebody said so.
    #[default]
    Forced,
    /// Others use it, and only it.
    InUse,
    /// The kernel has it.
    There,
}

impl Netfilter {
    /// Which way to the kernel is in use; `None` while none is.
    pub const fn kind(&self) -> Option<Kind> {
        self.chosen
    }

    /// The way in use and why, in the words by which upstream tells control; empty while there is none.
    pub const fn name(&self) -> &'static str {
        match (self.chosen, self.why) {
            (None, _) => "",
            (Some(Kind::Legacy), Why::Forced) => "ipt-forced",
            (Some(Kind::Legacy), Why::InUse) => "ipt-inuse",
            (Some(Kind::Legacy), Why::There) => "ipt",
            (_, Why::Forced) => "nft-forced",
            (_, Why::InUse) => "nft-inuse",
            (_, Why::There) => "nft",
        }
    }

    /// How many tables have been changed so far.
    pub const fn changes(&self) -> u32 {
        self.changes
    }

    /// Brings the rules to `firewall`, as far as they differ from what is there. Goes on after a refusal; what is
    /// returned is everything that is not as it should be. Somebody else who changes rules is waited for no longer than
    /// 20 ms: try again later.
    pub fn apply(&mut self, firewall: &Firewall) -> Vec<Error> {
        self.apply_under(firewall, &mut legacy::Lock::new(false))
    }

    fn apply_under(&mut self, firewall: &Firewall, lock: &mut legacy::Lock) -> Vec<Error> {
        let mut nft = nft::Nft::open();
        let kind = match firewall.kind {
            _ if firewall.mode == Mode::Off => None,
            // What has been chosen stays: our own rules would tip the balance.
            Kind::Auto => self.chosen.or_else(|| {
                let (kind, why) = choose(nft.as_mut())?;
                self.why = why;
                Some(kind)
            }),
            kind => {
                self.why = Why::Forced;
                Some(kind)
            }
        };
        let known = std::mem::replace(&mut self.chosen, kind).is_some();
        let problems = self.set(firewall, kind, nft.as_mut(), lock);
        // A kernel may have nf_tables and lack what translates addresses there.
        let doubtful = firewall.kind == Kind::Auto && kind == Some(Kind::NfTables) && !known;
        if problems.is_empty() || !doubtful || !legacy::works() {
            return problems;
        }
        self.chosen = Some(Kind::Legacy);
        if self.set(firewall, self.chosen, nft.as_mut(), lock).is_empty() {
            self.why = Why::There;
            return Vec::new();
        }
        self.chosen = kind;
        self.set(firewall, kind, nft.as_mut(), lock)
    }

    /// Removes everything of ours.
    pub fn close(mut self) -> Vec<Error> {
        self.apply_under(&Firewall::default(), &mut legacy::Lock::new(true))
    }

    /// Sets the rules by one way and removes those that were set by the other.
    fn set(
        &mut self,
        firewall: &Firewall,
        kind: Option<Kind>,
        mut nft: Option<&mut nft::Nft>,
        lock: &mut legacy::Lock,
    ) -> Vec<Error> {
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
                let changes = &mut self.changes;
                bring_to(
                    here(Kind::Legacy),
                    &mut |wanted| legacy::apply(wanted, lock),
                    &mut problems,
                    changes,
                );
                let apply: &mut Apply<'_> = match &mut nft {
                    Some(nft) => &mut |wanted| nft.apply(wanted),
                    None => &mut |wanted| if wanted.is_nothing() { Ok(false) } else { Err(Errno::OPNOTSUPP) },
                };
                bring_to(here(Kind::NfTables), apply, &mut problems, changes);
            }
        }
        problems
    }
}

/// Brings one table to what is wanted; whether that took a change.
type Apply<'a> = dyn FnMut(&Wanted<'_>) -> Result<bool, Errno> + 'a;

/// Carries it out, if need be without what needs connections to be tracked.
fn bring_to(mut wanted: Wanted<'_>, apply: &mut Apply<'_>, problems: &mut Vec<Error>, changes: &mut u32) {
    let tried = match apply(&wanted) {
        // What was there when we looked may be gone because somebody else was quicker: then it is not missing twice.
        Err(Errno::NOENT) => apply(&wanted),
        other => other,
    };
    let errno = match tried {
        Ok(changed) => return *changes = changes.wrapping_add(changed.into()),
        Err(errno) => errno,
    };
    let missing = matches!(errno, Errno::NOENT | Errno::INVAL | Errno::OPNOTSUPP);
    problems.push(refused(&wanted, errno));
    if missing && wanted.without_states() {
        // What is told then is that they are missing.
        match apply(&wanted) {
            Ok(changed) => *changes = changes.wrapping_add(changed.into()),
            Err(errno) => problems.push(refused(&wanted, errno)),
        }
    }
}

fn refused(wanted: &Wanted<'_>, errno: Errno) -> Error {
    let (verb, family) = (if wanted.is_nothing() { "remove" } else { "set" }, if wanted.v6 { 6 } else { 4 });
    Error::Refused { op: format!("{verb} the IPv{family} rules of table {}", wanted.table.name), errno }
}

/// As others on this machine do.
fn choose(nft: Option<&mut nft::Nft>) -> Option<(Kind, Why)> {
    let legacy = legacy::in_use();
    match (legacy, nft.map(|nft| nft.in_use())) {
        (false, Some(true)) => Some((Kind::NfTables, Why::InUse)),
        (true, Some(true)) | (false, Some(false)) => Some((Kind::NfTables, Why::There)),
        (true, _) => Some((Kind::Legacy, Why::InUse)),
        (false, None) => legacy::works().then_some((Kind::Legacy, Why::There)),
    }
}

/// Removes the rules that runs that were killed have left.
///
/// # Errors
/// The first thing that could not be removed.
pub fn cleanup_rules() -> Result<(), Error> {
    Netfilter::default().close().into_iter().next().map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tables that a kernel is given which answers so, in turn: how many rules they had. And the problems.
    fn given(answers: &[Result<bool, Errno>]) -> (Vec<usize>, Vec<Error>) {
        let firewall = Firewall { mode: Mode::On, stateful: true, ..Firewall::default() };
        let has_states = |table| wanted(&firewall, table, false).without_states();
        let table = TABLES.iter().find(|table| has_states(table)).expect("a table with states");
        let (mut given, mut problems, mut answers) = (Vec::new(), Vec::new(), answers.iter());
        let mut apply = |wanted: &Wanted<'_>| {
            given.push(wanted.rules.len());
            *answers.next().expect("one more answer")
        };
        bring_to(wanted(&firewall, table, false), &mut apply, &mut problems, &mut 0);
        assert_eq!(answers.len(), 0, "too few calls");
        (given, problems)
    }

    #[test]
    fn somebody_else_was_quicker() {
        let (given, problems) = given(&[Err(Errno::NOENT), Ok(true)]);
        assert_eq!((given[0], problems), (given[1], Vec::new()), "the very same once more");
    }

    #[test]
    fn a_kernel_that_tracks_no_connections() {
        for answers in [&[Err(Errno::NOENT), Err(Errno::NOENT), Ok(true)][..], &[Err(Errno::INVAL), Ok(true)]]
        {
            let (given, problems) = given(answers);
            assert_eq!(problems.len(), 1, "{answers:?}");
            assert!(given.last() < given.first(), "{answers:?}: {given:?}");
        }
        assert_eq!(given(&[Err(Errno::BUSY)]).1.len(), 1, "as it is");
    }
}
