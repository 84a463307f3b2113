//! The answer: what is in, why, and what of it is not written yet.

use anyhow::{Result, ensure};

/// Everything that a choice of features brings along.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Closure {
    /// Features that a build of this has, sorted.
    pub(crate) built: Vec<String>,
    /// Features that it should have and that are not written yet, sorted. Reached by an edge or from a profile.
    pub(crate) missing: Vec<String>,
    /// Why each is in, in the order in which they were found.
    pub(crate) reasons: Vec<Reason>,
    /// Why a build of this is refused, a sentence each; empty if it is not.
    pub(crate) refusals: Vec<String>,
}

/// One way by which a feature came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    /// Who came in.
    pub(crate) feature: String,
    /// Through which feature; `None` if it was asked for by name or is in the profile asked for.
    pub(crate) needed_by: Option<String>,
    /// In words.
    pub(crate) why: String,
}

impl Closure {
    /// Name of the environment variable by which a build learns of `missing`: names separated by blanks. The binary
    /// shows them in `version --features`.
    pub(crate) const MISSING_VAR: &'static str = "SMALLTAIL_MISSING_FEATURES";

    /// Words for cargo that build exactly this.
    pub(crate) fn cargo_words(&self) -> Vec<String> {
        vec!["--no-default-features".to_owned(), format!("--features={}", self.built.join(","))]
    }

    /// Value of [`Self::MISSING_VAR`].
    pub(crate) fn missing_value(&self) -> String {
        self.missing.join(" ")
    }

    /// Refuses what cannot be built.
    ///
    /// # Errors
    /// The refusals.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(self.refusals.is_empty(), "{}", self.refusals.join("\n"));
        Ok(())
    }
}
