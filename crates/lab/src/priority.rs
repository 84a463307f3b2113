//! Going before other programs of the machine while something is measured.
//!
//! Where the kernel groups processes by session (`autogroup`, sched(7)), niceness only counts inside a session, and the
//! session has a niceness of its own. So both are changed, and the session's is put back.

/// The session's niceness now, as `/autogroup-N nice M`, and where a new one is written.
const SESSION: &str = "/proc/self/autogroup";

/// This thread and everything it starts (threads and programs) are preferred; dropping it gives the session its old
/// niceness back.
#[derive(Debug)]
pub struct Preferred {
    session_was: Option<i32>,
}

impl Preferred {
    /// Changes the niceness by `by`: below zero goes before others and needs root. `None` when the kernel refuses.
    pub fn start(by: i32) -> Option<Self> {
        rustix::process::nice(by).ok()?;
        let session_was = std::fs::read_to_string(SESSION).ok().and_then(|text| niceness(&text));
        let session_was = session_was.filter(|was| {
            let wanted = was.saturating_add(by).clamp(-20, 19);
            std::fs::write(SESSION, wanted.to_string()).is_ok()
        });
        Some(Self { session_was })
    }
}

impl Drop for Preferred {
    fn drop(&mut self) {
        if let Some(was) = self.session_was {
            std::fs::write(SESSION, was.to_string()).ok();
        }
    }
}

/// The number at the end.
fn niceness(text: &str) -> Option<i32> {
    text.trim().rsplit_once(' ')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_niceness_of_a_session() {
        assert_eq!(niceness("/autogroup-22 nice -5\n"), Some(-5));
        assert_eq!((niceness(""), niceness("/autogroup-22 nice x")), (None, None));
    }
}
