//! The conversation with a server: packets over any stream, numbered and in turn. It decides nothing.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::wire::{self, Answer, Header, NotTheProtocol, Reply};

/// Why a conversation cannot go on.
#[derive(Debug)]
pub(super) enum Broken {
    /// The stream is.
    Stream(io::Error),
    /// What comes over it is no packet, or none that may come now.
    NotTheProtocol,
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Stream(error)
    }
}

impl From<NotTheProtocol> for Broken {
    fn from(_: NotTheProtocol) -> Self {
        Self::NotTheProtocol
    }
}

/// A conversation. No byte is read that is not asked for: what follows the greeting may be TLS.
pub(super) struct Talk<S> {
    stream: S,
    /// The number of the next packet, of either side.
    sequence: u8,
}

impl<S> Talk<S> {
    pub(super) const fn over(stream: S) -> Self {
        Self { stream, sequence: 0 }
    }

    /// The same conversation over what `wrap` makes of the stream.
    pub(super) async fn through<W, E>(self, wrap: impl AsyncFnOnce(S) -> Result<W, E>) -> Result<Talk<W>, E> {
        Ok(Talk { stream: wrap(self.stream).await?, sequence: self.sequence })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    /// Reads the next packet.
    pub(super) async fn hear(&mut self) -> Result<Vec<u8>, Broken> {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header).await?;
        let header = Header::read(header)?;
        let mut body = vec![0; header.length];
        self.stream.read_exact(&mut body).await?;
        if !header.fits(self.sequence, &body) {
            return Err(Broken::NotTheProtocol);
        }
        self.sequence = self.sequence.wrapping_add(1);
        Ok(body)
    }

    /// Sends a packet.
    pub(super) async fn say(&mut self, body: &[u8]) -> Result<(), Broken> {
        let frame = wire::frame(self.sequence, body);
        self.stream.write_all(&frame).await?;
        self.stream.flush().await?;
        self.sequence = self.sequence.wrapping_add(1);
        Ok(())
    }

    /// Has a statement run.
    pub(super) async fn ask(&mut self, statement: &str) -> Result<Answer, Broken> {
        self.sequence = 0;
        self.say(&wire::query(statement)).await?;
        let mut reply = Reply::default();
        loop {
            if let Some(answer) = reply.take(&self.hear().await?)? {
                return Ok(answer);
            }
        }
    }

    /// Ends the conversation. Nothing depends on whether the server hears it.
    pub(super) async fn goodbye(mut self) {
        self.sequence = 0;
        if self.say(&wire::quit()).await.is_ok() {
            let _ = self.stream.shutdown().await;
        }
    }
}
