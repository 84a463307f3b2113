//! A TCP connection that must not break whatever happens below it.

use anyhow::{Context, Result, ensure};
use lab::Node;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// How long a TCP connection may stand still: a path is trusted for some seconds, and TCP doubles its patience meanwhile.
pub const STANDSTILL: Duration = Duration::from_secs(30);

/// A TCP connection on which a byte goes to and fro, twenty times a second.
pub struct Conversation {
    ended: AtomicBool,
    rounds: AtomicU32,
}

impl Conversation {
    /// Talks until `body` is done.
    ///
    /// # Errors
    /// When the connection breaks or stands still for too long, or those of `body`.
    pub fn during(from: &Node, to: &Node, body: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let address: IpAddr = to.ipv4()?.parse()?;
        let listener = to.host.inside(|| TcpListener::bind((address, 0)))??;
        let at = listener.local_addr()?;
        let mut near = from.host.inside(|| TcpStream::connect_timeout(&at, STANDSTILL))??;
        let (mut far, _) = listener.accept()?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        // Ends when the near end is gone and cannot say so.
        far.set_read_timeout(Some(3 * STANDSTILL))?;
        near.set_read_timeout(Some(2 * STANDSTILL))?;
        let this = Self { ended: AtomicBool::new(false), rounds: AtomicU32::new(0) };
        std::thread::scope(|scope| {
            let echo = scope.spawn(move || {
                let mut byte = [0];
                while far.read_exact(&mut byte).is_ok() && far.write_all(&byte).is_ok() {}
            });
            let this = &this;
            // The near end goes with this thread, and then the far one.
            let talk = scope.spawn(move || -> Result<()> {
                let mut n = 0_u8;
                while !this.ended.load(Ordering::SeqCst) {
                    n = n.wrapping_add(1);
                    let mut byte = [n];
                    near.write_all(&byte)?;
                    near.read_exact(&mut byte).context("no answer")?;
                    ensure!(byte == [n], "another byte");
                    this.rounds.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(50));
                }
                Ok(())
            });
            let result = body(this);
            this.ended.store(true, Ordering::SeqCst);
            let talked = talk.join().map_err(|_| anyhow::anyhow!("the conversation panicked"))?;
            echo.join().map_err(|_| anyhow::anyhow!("the echo panicked"))?;
            talked.context("the TCP connection broke")?;
            result
        })
    }

    /// Waits for a few more answers; gives how long that took.
    ///
    /// # Errors
    /// When they do not come.
    pub fn goes_on(&self, within: Duration) -> Result<Duration> {
        let (began, from) = (lab::now(), self.rounds.load(Ordering::SeqCst));
        lab::until("the TCP connection to go on", within, || {
            Ok((self.rounds.load(Ordering::SeqCst) >= from.saturating_add(3)).then_some(()))
        })?;
        Ok(began.elapsed())
    }
}
