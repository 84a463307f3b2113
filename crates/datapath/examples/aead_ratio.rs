//! How much of ring's bare speed the lines keep: `seal_batch` and `open_batch` beside the same cipher on a plain
//! buffer, interleaved in one run, so that whatever else the machine does hurts both alike.
//!
//! `cargo run --release -p datapath --example aead_ratio [-- --check]`; with `--check` the exit status is 1 when a
//! ratio at 1280 bytes is below 0.8.
#![allow(clippy::print_stdout, reason = "it prints a table")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use datapath::drop::DropCounters;
use datapath::lines::batch::{Batch, Packet};
use datapath::lines::open::{RecvSession, SessionTable};
use datapath::lines::seal::SendSession;
use datapath::session::SessionKeys;
use datapath::slot::PeerSlot;
use datapath::time::Tick;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use std::process::ExitCode;
use std::time::Instant;

/// Packets a round; a round is timed whole.
const PACKETS: usize = 960;
/// Packets in a batch: full ones, and the worst case of one packet each.
const SIZES: [usize; 2] = [24, 1];
/// Rounds; the medians are compared.
const ROUNDS: usize = 301;
/// What a ratio must reach at 1280 bytes.
const LEAST: f64 = 0.8;

fn keys() -> SessionKeys {
    SessionKeys {
        peer: PeerSlot::new(1, 1),
        local: 0x1111_0001,
        remote: 0x1111_0001,
        send: [7; 32],
        recv: [7; 32],
        born: Tick(1),
        initiator: true,
    }
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// Nanoseconds that `work` takes for one packet.
fn timed(work: &mut dyn FnMut()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / PACKETS as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

struct Row {
    bare: f64,
    ours: f64,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.bare / self.ours
    }
}

fn fill(batch: &mut Batch, size: usize, len: usize) {
    batch.clear();
    for _ in 0..size {
        batch.room(len).expect("room").fill(0x45);
        batch.commit(len, 0, 0);
    }
}

fn measure(size: usize, len: usize) -> (Row, Row) {
    let batches = PACKETS / size;
    let bare = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).expect("key"));
    let mut session = SendSession::new(&keys());
    let mut batch = Batch::to_seal(64 << 10, size);
    fill(&mut batch, size, len);
    let plain: Vec<Packet> = batch.packets().to_vec();
    let mut buffer = vec![0x45u8; size * (len + 32)];
    let mut counter = 0u64;

    // Sealed datagrams for the opening side: copied back before each batch, for both alike.
    let drops = DropCounters::default();
    let mut sealed = Batch::to_open(64 << 10, size);
    let mut sealer = SendSession::new(&keys());
    let (mut pristine, mut datagrams) = (Vec::new(), Vec::<Packet>::new());
    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        times[0].push(timed(&mut || {
            for _ in 0..batches {
                for chunk in buffer.chunks_exact_mut(len + 32) {
                    let (text, tag) = chunk[16..].split_at_mut(len);
                    let made =
                        bare.seal_in_place_separate_tag(nonce(counter), Aad::empty(), text).expect("seals");
                    tag.copy_from_slice(made.as_ref());
                    counter += 1;
                }
            }
        }));
        times[1].push(timed(&mut || {
            for _ in 0..batches {
                let (arena, packets) = batch.parts();
                packets.copy_from_slice(&plain);
                assert_eq!(session.seal_batch(arena, packets, 1280), size);
            }
        }));

        // One batch of fresh datagrams a round; the table is made anew so that its window takes them again.
        fill(&mut batch, size, len);
        let (arena, packets) = batch.parts();
        sealer.seal_batch(arena, packets, 1280);
        pristine.clear();
        datagrams.clear();
        for packet in batch.packets() {
            datagrams.push(Packet { start: pristine.len() as u32, ..*packet });
            pristine.extend_from_slice(batch.bytes(*packet));
        }
        let first = u64::from_le_bytes(pristine[8..16].try_into().expect("counter"));
        let copy = timed(&mut || {
            for _ in 0..batches {
                buffer[..pristine.len()].copy_from_slice(std::hint::black_box(&pristine));
            }
        });
        times[2].push(
            timed(&mut || {
                for _ in 0..batches {
                    buffer[..pristine.len()].copy_from_slice(std::hint::black_box(&pristine));
                    for (n, packet) in datagrams.iter().enumerate() {
                        let datagram = &mut buffer[packet.range()];
                        let nonce = nonce(first + n as u64);
                        bare.open_in_place(nonce, Aad::empty(), &mut datagram[16..]).expect("opens");
                    }
                }
            }) - copy,
        );
        // As many sessions as batches, so that no window refuses what it has seen.
        let mut tables: Vec<SessionTable> = (0..batches).map(|_| fresh()).collect();
        times[3].push(
            timed(&mut || {
                for table in &mut tables {
                    let (arena, packets) = sealed.parts();
                    arena[..pristine.len()].copy_from_slice(std::hint::black_box(&pristine));
                    packets.clear();
                    packets.extend_from_slice(&datagrams);
                    table.open_batch(arena, packets, Tick(2), &drops, &mut |_| true);
                    assert_eq!(packets.len(), size);
                }
            }) - copy,
        );
    }
    let [seal_bare, seal_ours, open_bare, open_ours] = times.map(median);
    (Row { bare: seal_bare, ours: seal_ours }, Row { bare: open_bare, ours: open_ours })
}

fn fresh() -> SessionTable {
    let mut table = SessionTable::with_places(16);
    table.insert(Box::new(RecvSession::new(&keys())));
    table
}

fn main() -> ExitCode {
    let check = std::env::args().any(|arg| arg == "--check");
    let mut good = true;
    println!("bytes  batch  what   ring ns  ours ns  ratio");
    for (size, len) in SIZES.into_iter().flat_map(|size| [(size, 1280), (size, 64)]) {
        let (seal, open) = measure(size, len);
        for (what, row) in [("seal", seal), ("open", open)] {
            println!("{len:5}  {size:5}  {what}  {:8.0} {:8.0}  {:5.2}", row.bare, row.ours, row.ratio());
            good &= len != 1280 || row.ratio() >= LEAST;
        }
    }
    if check && !good {
        println!("a ratio at 1280 bytes is below {LEAST}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
