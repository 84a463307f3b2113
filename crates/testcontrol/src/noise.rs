//! The server's side of the Noise connection: handshake by the `snow` library, records with big-endian counters.

use anyhow::{Context as _, Result, bail, ensure};
use chacha20poly1305::aead::{Aead as _, KeyInit as _};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

/// The server's long-term key pair.
pub(crate) struct Identity {
    private: Vec<u8>,
    pub(crate) public: Vec<u8>,
}

const PATTERN: &str = "Noise_IK_25519_ChaChaPoly_BLAKE2s";
const MAX_PLAIN: usize = 4077;

impl Identity {
    pub(crate) fn generate() -> Result<Self> {
        let pair = snow::Builder::new(PATTERN.parse()?).generate_keypair()?;
        Ok(Self { private: pair.private, public: pair.public })
    }

    /// Answers an initiation. Returns the client's machine key, the version it declared, and the stream.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        initiation: &[u8],
        mut inner: S,
    ) -> Result<(Vec<u8>, u16, NoiseStream<S>)> {
        ensure!(initiation.len() == 101 && initiation[2..5] == [1, 0, 96], "not an initiation");
        let version = u16::from_be_bytes([initiation[0], initiation[1]]);
        let prologue = format!("Tailscale Control Protocol v{version}");
        let mut state = snow::Builder::new(PATTERN.parse()?)
            .local_private_key(&self.private)?
            .prologue(prologue.as_bytes())?
            .build_responder()?;
        let mut buf = [0; 256];
        state.read_message(&initiation[5..], &mut buf).context("initiation")?;
        let len = state.write_message(&[], &mut buf)?;
        let mut response = vec![2];
        response.extend_from_slice(&(len as u16).to_be_bytes());
        response.extend_from_slice(&buf[..len]);
        inner.write_all(&response).await?;
        let machine = state.get_remote_static().context("no client key")?.to_vec();
        let (from_client, to_client) = state.dangerously_get_raw_split();
        Ok((machine, version, NoiseStream::new(inner, &from_client, &to_client)))
    }
}

/// A byte stream inside Noise records.
pub(crate) struct NoiseStream<S> {
    inner: S,
    open: ChaCha20Poly1305,
    seal: ChaCha20Poly1305,
    open_counter: u64,
    seal_counter: u64,
    /// Bytes of the record being received.
    record: Vec<u8>,
    /// Plain bytes not yet read.
    plain: Vec<u8>,
    plain_at: usize,
    /// Sealed bytes not yet written.
    sealed: Vec<u8>,
    sealed_at: usize,
}

impl<S> NoiseStream<S> {
    fn new(inner: S, open: &[u8; 32], seal: &[u8; 32]) -> Self {
        Self {
            inner,
            open: ChaCha20Poly1305::new(Key::from_slice(open)),
            seal: ChaCha20Poly1305::new(Key::from_slice(seal)),
            open_counter: 0,
            seal_counter: 0,
            record: Vec::new(),
            plain: Vec::new(),
            plain_at: 0,
            sealed: Vec::new(),
            sealed_at: 0,
        }
    }

    fn open_record(&mut self) -> Result<()> {
        if self.record[0] != 4 {
            bail!("record of type {}", self.record[0]);
        }
        let nonce = nonce(self.open_counter);
        self.open_counter += 1;
        self.plain =
            self.open.decrypt(&nonce, &self.record[3..]).map_err(|_| anyhow::anyhow!("bad record"))?;
        self.plain_at = 0;
        self.record.clear();
        Ok(())
    }
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::from(bytes)
}

impl<S: AsyncRead + Unpin> AsyncRead for NoiseStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.plain_at < this.plain.len() {
                let n = out.remaining().min(this.plain.len() - this.plain_at);
                out.put_slice(&this.plain[this.plain_at..this.plain_at + n]);
                this.plain_at += n;
                return Poll::Ready(Ok(()));
            }
            let want = if this.record.len() < 3 {
                3
            } else {
                3 + usize::from(u16::from_be_bytes([this.record[1], this.record[2]]))
            };
            if this.record.len() >= 3 && this.record.len() == want {
                this.open_record().map_err(io::Error::other)?;
                continue;
            }
            if want > 4096 {
                return Poll::Ready(Err(io::Error::other("record too long")));
            }
            let mut buf = [0; 4096];
            let mut part = ReadBuf::new(&mut buf[..want - this.record.len()]);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut part))?;
            if part.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.record.extend_from_slice(part.filled());
        }
    }
}

impl<S: AsyncWrite + Unpin> NoiseStream<S> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sealed_at < self.sealed.len() {
            let n = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.sealed[self.sealed_at..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sealed_at += n;
        }
        self.sealed.clear();
        self.sealed_at = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for NoiseStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_drain(cx))?;
        let this = &mut *self;
        let n = buf.len().min(MAX_PLAIN);
        let sealed =
            this.seal.encrypt(&nonce(this.seal_counter), &buf[..n]).map_err(|_| io::Error::other("seal"))?;
        this.seal_counter += 1;
        this.sealed.push(4);
        this.sealed.extend_from_slice(&(sealed.len() as u16).to_be_bytes());
        this.sealed.extend_from_slice(&sealed);
        // Start writing now; what does not fit is written before the next record.
        if let Poll::Ready(Err(error)) = this.poll_drain(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
