//! Valid zstd frames without compression: Go clients ask for zstd and take nothing else.

/// `payload` as one zstd frame of raw blocks.
pub(crate) fn store(payload: &[u8]) -> Vec<u8> {
    const MAX_BLOCK: usize = 128 << 10;
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd];
    // Frame header descriptor: single segment, four-byte content size, no checksum, no dictionary.
    frame.push(0b1010_0000);
    frame.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    let mut blocks = payload.chunks(MAX_BLOCK).peekable();
    if blocks.peek().is_none() {
        frame.extend_from_slice(&[1, 0, 0]);
    }
    while let Some(block) = blocks.next() {
        let last = u32::from(blocks.peek().is_none());
        let header = last | (block.len() as u32) << 3;
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.extend_from_slice(block);
    }
    frame
}
