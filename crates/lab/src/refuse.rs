//! A kernel that lacks a packet filter, as one thread and whatever it starts sees it.
//!
//! The machine that tests run on has everything; what a router's kernel has not is refused by a system call filter, with
//! the errors that such a kernel gives. [`Process::spawn_without`] does it to one program, [`everywhere`] says to all
//! nodes of ours.
//!
//! [`Process::spawn_without`]: crate::Process::spawn_without

use anyhow::{Context, Result, bail};
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// What the kernel is to lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// nf_tables, as RouterOS: its sockets cannot be opened.
    NfTables,
    /// x_tables: its socket options are unknown.
    XTables,
}

/// The variable by which a whole run of tests has the kernels of our nodes lack something.
const VARIABLE: &str = "SMALLTAIL_REFUSED";

/// What the kernel of every node of ours lacks in this run of the tests: `SMALLTAIL_REFUSED=nf_tables,x_tables`.
///
/// # Errors
/// When the variable has another word.
pub fn everywhere() -> Result<Vec<Refused>> {
    let words = std::env::var(VARIABLE).unwrap_or_default();
    let one = |word: &str| match word {
        "nf_tables" => Ok(Refused::NfTables),
        "x_tables" => Ok(Refused::XTables),
        _ => bail!("{VARIABLE}={words}: {word} is neither nf_tables nor x_tables"),
    };
    words.split(',').filter(|word| !word.is_empty()).map(one).collect()
}

fn condition(argument: u8, value: u64) -> Result<SeccompCondition> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value).context("condition")
}

/// Refuses it to this thread and to what it starts, for ever.
///
/// # Errors
/// When this machine has no system call filters.
pub fn refuse(what: &[Refused]) -> Result<()> {
    for refused in what {
        let mut rules = Vec::new();
        let errno = match refused {
            Refused::NfTables => {
                let netfilter = [condition(0, libc::AF_NETLINK as u64)?, condition(2, 12)?];
                rules.push((libc::SYS_socket, vec![SeccompRule::new(netfilter.into())?]));
                libc::EPROTONOSUPPORT
            }
            Refused::XTables => {
                let mut options = Vec::new();
                for level in [libc::SOL_IP, libc::SOL_IPV6] {
                    for option in 64..=67 {
                        let both = [condition(1, level as u64)?, condition(2, option)?];
                        options.push(SeccompRule::new(both.into())?);
                    }
                }
                rules.push((libc::SYS_getsockopt, options.clone()));
                rules.push((libc::SYS_setsockopt, options));
                libc::ENOPROTOOPT
            }
        };
        let filter = SeccompFilter::new(
            rules.into_iter().collect(),
            SeccompAction::Allow,
            SeccompAction::Errno(errno as u32),
            std::env::consts::ARCH.try_into()?,
        )?;
        let program: BpfProgram = filter.try_into()?;
        seccompiler::apply_filter(&program)?;
    }
    Ok(())
}
