//! Traffic of real programs: nodes with a kernel interface, and TCP streams whose every byte is compared.

use anyhow::{Context, Result, ensure};
use lab::{Flavour, Headscale, Host, Lab, Node};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// How long a stream may stand still.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of a block of [`transfer`].
pub const BLOCK: usize = 4096;

/// A node with a kernel interface and UDP blocked that has joined.
///
/// # Errors
/// When it does not start or join.
pub fn tunnelled(lab: &Lab, headscale: &Headscale, name: &str, flavour: Flavour) -> Result<Node> {
    let mut node = lab.node(name, flavour)?;
    node.tun = "tailscale0".to_owned();
    node.host.block_udp()?;
    node.start()?;
    node.join(headscale).with_context(|| format!("{name} ({flavour:?}) joins"))?;
    Ok(node)
}

/// Both addresses of a node.
///
/// # Errors
/// When it has none yet.
pub fn addresses(node: &Node) -> Result<[IpAddr; 2]> {
    Ok([node.ipv4()?.parse()?, node.ipv6()?.parse()?])
}

/// Waits for the answer to a `ping` program of `from`; a lost one is followed by another after a tenth of a second.
///
/// # Errors
/// When there is none within `within`.
pub fn echo(from: &Host, to: IpAddr, within: Duration) -> Result<()> {
    let to = to.to_string();
    lab::until(&format!("an echo of {to} at {}", from.name), within, || {
        Ok(from.run(&["ping", "-c", "1", "-W", "0.1", &to]).ok().map(drop))
    })
}

/// So many echoes of so many bytes, one each `every` seconds; one in fifty may be lost.
///
/// # Errors
/// When more are, with what `ping` says.
pub fn echoes(from: &Host, to: IpAddr, many: u32, size: &str, every: &str) -> Result<()> {
    let (many_text, to) = (many.to_string(), to.to_string());
    let said = from.run(&["ping", "-q", "-c", &many_text, "-i", every, "-W", "5", "-s", size, &to])?;
    let received =
        said.split_once(" received").and_then(|(before, _)| before.rsplit(' ').next()?.parse().ok());
    let received: u32 = received.with_context(|| format!("not what ping says: {said}"))?;
    ensure!(received * 50 >= many * 49, "{received} of {many} echoes of {size} bytes");
    Ok(())
}

/// How often a datagram that is not answered is sent again.
const TRIES: u32 = 20;

/// Sends datagrams of several sizes to an address of the other host, each of which is answered with what came; wants every
/// answer, and from where it was asked for. Gives the sender as the other side sees it.
///
/// # Errors
/// When one is not answered, or by somebody else.
pub fn datagrams(from: &Host, to: &Host, address: IpAddr) -> Result<IpAddr> {
    let names = || format!("datagrams {} -> {} ({address})", from.name, to.name);
    let answerer = to.inside(|| UdpSocket::bind((address, 0)))?.with_context(names)?;
    let at = answerer.local_addr()?;
    let any =
        if address.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let asker = from.inside(|| UdpSocket::bind((any, 0)))?.with_context(names)?;
    for socket in [&answerer, &asker] {
        socket.set_read_timeout(Some(Duration::from_millis(250)))?;
    }
    let mut room = [0; 2048];
    let mut seen = None;
    for (n, size) in [1, 512, 1200].into_iter().enumerate() {
        let word: Vec<u8> = (0..size).map(|at| (at ^ n) as u8).collect();
        let exchange = |room: &mut [u8]| -> Option<(SocketAddr, SocketAddr)> {
            asker.send_to(&word, at).ok()?;
            let (len, by) = answerer.recv_from(room).ok().filter(|(len, _)| room[..*len] == word)?;
            answerer.send_to(&room[..len], by).ok()?;
            let (_, of) = asker.recv_from(room).ok().filter(|(len, _)| room[..*len] == word)?;
            Some((by, of))
        };
        let (by, of) = (0..TRIES)
            .find_map(|_| exchange(&mut room))
            .with_context(|| format!("{}: {size} bytes are not answered", names()))?;
        ensure!(of == at, "{}: {of} answers", names());
        ensure!(seen.replace(by).is_none_or(|before| before == by), "{}: now from {by}", names());
    }
    seen.map(|by| by.ip()).with_context(names)
}

/// The `n`th block of a stream that repeats itself nowhere.
fn block(n: u64) -> [u8; BLOCK] {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = [0; BLOCK];
    for chunk in bytes.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// Sends `blocks` blocks from one host to an address of the other by TCP; every byte is compared. Gives the time from
/// connecting to the last byte.
///
/// # Errors
/// When the stream stands still, breaks or brings something else.
pub fn transfer(from: &Host, to: &Host, address: IpAddr, blocks: u64) -> Result<Duration> {
    let names = || format!("{} -> {} ({address})", from.name, to.name);
    let listener = to.inside(|| TcpListener::bind((address, 0)))?.with_context(names)?;
    let at = listener.local_addr()?;
    let started = lab::now();
    let mut out = from.inside(|| TcpStream::connect_timeout(&at, PATIENCE))?.with_context(names)?;
    let (mut incoming, _) = listener.accept()?;
    out.set_write_timeout(Some(PATIENCE))?;
    incoming.set_read_timeout(Some(PATIENCE))?;
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || -> Result<()> {
            for n in 0..blocks {
                out.write_all(&block(n)).with_context(|| format!("write block {n}"))?;
            }
            Ok(out.shutdown(Shutdown::Write)?)
        });
        let mut got = [0; BLOCK];
        for n in 0..blocks {
            incoming
                .read_exact(&mut got)
                .with_context(|| format!("{}: read block {n} of {blocks}", names()))?;
            ensure!(got == block(n), "{}: block {n} is not what was sent", names());
        }
        ensure!(incoming.read(&mut got)? == 0, "{}: more came than was sent", names());
        sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?
    })
    .with_context(names)?;
    Ok(started.elapsed())
}
