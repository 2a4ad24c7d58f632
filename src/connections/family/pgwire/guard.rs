//! The stream that the driver is given: its login is watched on the way, and what it asks.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    io,
    pin::Pin,
    task::{self, Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use super::messages::{Asked, Gate, Message, Messages, Refused, Sent};
use crate::{failure::Stage, net::Network};

/// A stream to the server whose login is watched: it steps the ladder, and fails instead of letting the driver answer what
/// [`Gate`] refuses, or send what [`Sent`] does.
pub(super) struct Guarded<'a, S> {
    pub stream: S,
    pub binding: fn(&S) -> ChannelBinding,
    pub messages: Messages,
    pub sent: Sent,
    pub gate: Gate<'a>,
    pub net: &'a Network,
}

impl<S> Guarded<'_, S> {
    fn watch(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        for message in self.messages.take(bytes)? {
            match message {
                Message::First => self.net.step(Stage::Authenticate),
                Message::Authentication(kind, body) => self.gate.judge(kind, &body)?,
                Message::Accepted => {
                    self.gate.asked.get_or_init(|| Asked::Nothing);
                    self.net.step(Stage::Access);
                }
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<'_, S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        task::ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        Poll::Ready(this.watch(&buffer.filled()[before..]).map_err(io::Error::other))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<'_, S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // What is not taken now is offered again, so only what was taken counts.
        { this.sent }.take(bytes).map_err(io::Error::other)?;
        let taken = task::ready!(Pin::new(&mut this.stream).poll_write(context, bytes))?;
        this.sent.take(&bytes[..taken]).map_err(io::Error::other)?;
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Guarded<'_, S> {
    fn channel_binding(&self) -> ChannelBinding {
        (self.binding)(&self.stream)
    }
}

/// Hands the driver a stream on which TLS is done or declined already.
pub(super) struct Established;

impl<S: TlsStream + Unpin> TlsConnect<S> for Established {
    type Stream = S;
    type Error = Infallible;
    type Future = Ready<Result<S, Infallible>>;

    fn connect(self, stream: S) -> Self::Future {
        ready(Ok(stream))
    }
}
