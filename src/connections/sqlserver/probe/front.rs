//! What stands between the client and the server. [`Envelope`] carries a TLS handshake in packets of TDS, as TDS 7 wants it.
//! [`Front`] is what the client is given: a stream on which all is agreed on and encrypted already, so it is answered by what the
//! server has said before, and is given the answer to its login only once that was read here.

use std::{
    io,
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    answer::{self, NoAnswer},
    packet::{self, ANSWER, HEADER, PRELOGIN, Part, Way},
};
use crate::{
    failure::{Failure, FailureClass},
    net::Network,
};

/// A stream whose TLS handshake travels in packets. What is read may be in packets or not, and tells itself apart: the types of
/// records of TLS are none of packets. Some servers send what ends their handshake in packets, when ours has ended already.
pub(super) struct Envelope<S> {
    stream: S,
    /// What is to be sent in packets.
    flight: Vec<u8>,
    /// What is being sent of it.
    packets: Vec<u8>,
    writing: Form,
    reading: Form,
    header: Vec<u8>,
    left: usize,
}

/// How bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    InPackets,
    AsTheyAre,
}

impl<S> Envelope<S> {
    /// A stream on which a handshake in packets begins.
    pub(super) fn sealed(stream: S) -> Self {
        Self::of(stream, Form::InPackets)
    }

    /// A stream on which everything travels as it is.
    pub(super) fn open(stream: S) -> Self {
        Self::of(stream, Form::AsTheyAre)
    }

    fn of(stream: S, form: Form) -> Self {
        let [flight, packets, header] = [const { Vec::new() }; 3];
        Self { stream, flight, packets, writing: form, reading: form, header, left: 0 }
    }

    /// Says that the handshake is done.
    pub(super) fn unseal(&mut self) {
        self.writing = Form::AsTheyAre;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Envelope<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.reading == Form::AsTheyAre {
                return Pin::new(&mut this.stream).poll_read(context, buffer);
            }
            if this.left > 0 {
                let wanted = this.left.min(buffer.remaining());
                let mut part = ReadBuf::new(buffer.initialize_unfilled_to(wanted));
                ready!(Pin::new(&mut this.stream).poll_read(context, &mut part))?;
                let read = part.filled().len();
                buffer.advance(read);
                this.left -= read;
                return Poll::Ready(Ok(()));
            }
            let mut byte = [0];
            let mut part = ReadBuf::new(&mut byte);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut part))?;
            let Some(byte) = part.filled().first().copied() else { return Poll::Ready(Ok(())) };
            if this.header.is_empty() && !matches!(byte, PRELOGIN | ANSWER) {
                this.reading = Form::AsTheyAre;
                buffer.put_slice(&[byte]);
                return Poll::Ready(Ok(()));
            }
            this.header.push(byte);
            if let Some(header) = this.header.first_chunk::<HEADER>() {
                let (length, _) = packet::measure(*header).ok_or(io::ErrorKind::InvalidData)?;
                this.left = length - HEADER;
                this.header.clear();
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Envelope<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.writing {
            Form::AsTheyAre => Pin::new(&mut this.stream).poll_write(context, bytes),
            // A flight is one message, and it has ended when it is flushed.
            Form::InPackets => {
                this.flight.extend_from_slice(bytes);
                Poll::Ready(Ok(bytes.len()))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.flight.is_empty() {
            this.packets.extend(packet::packets(PRELOGIN, &this.flight));
            this.flight.clear();
        }
        while !this.packets.is_empty() {
            let written = ready!(Pin::new(&mut this.stream).poll_write(context, &this.packets))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            this.packets.drain(..written);
        }
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(context))?;
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// The stream that the client is given.
pub(super) struct Front<'a, S> {
    stream: S,
    net: &'a Network,
    way: Way,
    progress: Progress,
    /// What the client is to read next.
    given: Vec<u8>,
    fault: &'a OnceLock<Failure>,
}

/// How far the conversation is.
enum Progress {
    /// The client greets, which nobody hears: its greeting, as far as it has come.
    Greeting(Vec<u8>),
    /// It logs in: the answer, as far as it has come.
    LoggingIn(Vec<u8>),
    /// What is said goes through.
    Open,
}

impl<'a, S> Front<'a, S> {
    /// A stream to a server that has greeted with `greeting` already. `fault` is told what goes wrong below the client, which
    /// keeps no more than its words.
    pub(super) fn new(stream: S, greeting: Vec<u8>, way: Way, net: &'a Network, fault: &'a OnceLock<Failure>) -> Self {
        Self { stream, net, way, progress: Progress::Greeting(Vec::new()), given: greeting, fault }
    }

    /// Notes what has ended the stream.
    fn fails(&self, error: io::Error) -> io::Error {
        let unknown = || Failure::new(FailureClass::ProtocolMismatch);
        self.fault.get_or_init(|| self.net.classify(&error).unwrap_or_else(unknown));
        error
    }

    /// Notes that what was read is no answer to a login, whatever follows it.
    fn refuses(&self, answer: NoAnswer) -> io::Error {
        self.fault.get_or_init(|| Failure::new(FailureClass::ProtocolMismatch));
        io::Error::other(answer)
    }
}

/// Takes the next bytes of the answer to a login. Once it is whole and makes sense, all that has come is returned.
fn take(answer: &mut Vec<u8>, bytes: &[u8], way: Way) -> Result<Option<Vec<u8>>, NoAnswer> {
    answer.extend_from_slice(bytes);
    let (mut message, mut rest) = (Vec::new(), answer.as_slice());
    while let Some((header, _)) = rest.split_first_chunk::<HEADER>() {
        let (length, part) = packet::measure(*header).filter(|_| header[0] == ANSWER).ok_or(NoAnswer)?;
        if message.len() + length > answer::LONGEST {
            return Err(NoAnswer);
        }
        let Some((packet, after)) = rest.split_at_checked(length) else { return Ok(None) };
        message.extend_from_slice(&packet[HEADER..]);
        rest = after;
        if part == Part::Last {
            answer::judge(&message, way)?;
            return Ok(Some(std::mem::take(answer)));
        }
    }
    // It is known by its first byte: waiting for more would call it slow. Empty packets fill no message.
    match answer.first() {
        Some(&ANSWER) | None if answer.len() <= answer::LONGEST => Ok(None),
        _ => Err(NoAnswer),
    }
}

impl<S: AsyncRead + Unpin> Front<'_, S> {
    /// Reads on, and notes what ends the stream.
    fn poll_on(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        let ended = buffer.filled().len() == before;
        let read = read.and_then(|()| if ended { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) });
        Poll::Ready(read.map_err(|error| self.fails(error)))
    }

    /// Reads a part of the answer to the login.
    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut part = [0; packet::LONGEST];
        let mut part = ReadBuf::new(&mut part);
        ready!(self.poll_on(context, &mut part))?;
        let taken = match &mut self.progress {
            Progress::LoggingIn(answer) => take(answer, part.filled(), self.way),
            // Nothing was to be heard now.
            Progress::Greeting(_) | Progress::Open => Err(NoAnswer),
        };
        match taken {
            Ok(None) => {}
            Ok(Some(given)) => {
                self.given = given;
                self.progress = Progress::Open;
            }
            Err(none) => return Poll::Ready(Err(self.refuses(none))),
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Front<'_, S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.given.is_empty() {
            match this.progress {
                Progress::Open => return this.poll_on(context, buffer),
                Progress::Greeting(_) | Progress::LoggingIn(_) => ready!(this.poll_answer(context))?,
            }
        }
        let length = this.given.len().min(buffer.remaining());
        buffer.put_slice(&this.given[..length]);
        this.given.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Front<'_, S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Progress::Greeting(said) = &mut this.progress else {
            let written = ready!(Pin::new(&mut this.stream).poll_write(context, bytes));
            return Poll::Ready(written.map_err(|error| this.fails(error)));
        };
        let wanted = said.first_chunk::<HEADER>().map_or(Some(HEADER), |header| Some(packet::measure(*header)?.0));
        let Some(wanted) = wanted else { return Poll::Ready(Err(io::ErrorKind::InvalidInput.into())) };
        let length = (wanted - said.len()).min(bytes.len());
        said.extend_from_slice(&bytes[..length]);
        let whole = said.first_chunk::<HEADER>().and_then(|header| packet::measure(*header));
        if whole.is_some_and(|(whole, _)| whole == said.len()) {
            this.progress = Progress::LoggingIn(Vec::new());
        }
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
