//! `cargo xtask size`: the shipped binary's bytes, raw and packed.

use crate::build::{self, Spec};
use crate::features::{self, Request};
use crate::target::Target;
use anyhow::Result;

/// Builds for each of `targets` and prints both sizes.
pub(crate) fn run(request: &Request, targets: &[String]) -> Result<()> {
    let closure = features::resolve(request)?;
    let targets = targets.iter().map(|name| Target::parse(name)).collect::<Result<Vec<_>>>()?;
    for target in targets {
        let binary = build::binary(&Spec { target, features: &closure })?;
        println!("raw    {:>9} bytes", std::fs::metadata(&binary.raw)?.len());
        println!("packed {:>9} bytes", std::fs::metadata(&binary.packed)?.len());
    }
    Ok(())
}
