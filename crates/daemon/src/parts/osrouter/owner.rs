//! Who has this node's address in the tailnet: this machine, or the router that its container runs on.

/// Whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Owner {
    /// This machine: the interface has it.
    #[default]
    Machine,
    /// RouterOS: it has the address on its side of the veth, routes and translates; we only carry packets.
    RouterOs,
}

impl Owner {
    /// The variable that says so: from in here nobody could find it out.
    pub const VARIABLE: &'static str = "TS_OWNER";

    /// What the variable says.
    ///
    /// # Errors
    /// When that is nothing we know.
    pub fn of(text: Option<&str>) -> Result<Self, String> {
        match text.map(str::trim) {
            None | Some("") => Ok(Self::Machine),
            Some("routeros") => Ok(Self::RouterOs),
            Some(other) => {
                Err(format!("{}={other:?} is unknown: write routeros, or leave it out", Self::VARIABLE))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_the_environment() {
        assert_eq!(Owner::of(None), Ok(Owner::Machine));
        assert_eq!(Owner::of(Some("")), Ok(Owner::Machine));
        assert_eq!(Owner::of(Some("routeros")), Ok(Owner::RouterOs));
        assert!(Owner::of(Some("mikrotik")).is_err_and(|why| why.contains("TS_OWNER=\"mikrotik\"")));
    }
}
