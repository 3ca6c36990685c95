//! The socket to one CRIU: a datagram is a message, and may carry a file descriptor.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendFlags, SocketFlags, SocketType,
};

use crate::error::ProtocolError;
use crate::wire::MAX_RESPONSE;

/// Our end.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

/// What CRIU sent.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fd: Option<OwnedFd>,
}

/// Why nothing was read.
#[derive(Debug)]
pub(crate) enum ReceiveError {
    System(io::Error),
    Protocol(ProtocolError),
}

impl From<Errno> for ReceiveError {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}

impl Socket {
    /// Our end and CRIU's. This process has to make the pair: CRIU takes the maker for its
    /// client (`SO_PEERCRED`) and finds our file descriptors through it.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self(ours), theirs))
    }

    /// Sends one message, whole.
    ///
    /// # Errors
    /// `EMSGSIZE` when it does not fit into the send buffer, even after raising it.
    pub(crate) fn send(&self, message: &[u8]) -> Result<(), Errno> {
        match self.try_send(message) {
            Err(Errno::MSGSIZE) => {
                // The kernel keeps about as much again for its own bookkeeping.
                let wanted = message.len().saturating_mul(2).saturating_add(4096);
                if rustix::net::sockopt::set_socket_send_buffer_size_force(&self.0, wanted).is_err()
                {
                    rustix::net::sockopt::set_socket_send_buffer_size(&self.0, wanted)?;
                }
                self.try_send(message)
            }
            sent => sent,
        }
    }

    fn try_send(&self, message: &[u8]) -> Result<(), Errno> {
        retry_on_intr(|| {
            rustix::net::sendmsg(
                &self.0,
                &[IoSlice::new(message)],
                &mut SendAncillaryBuffer::default(),
                SendFlags::NOSIGNAL,
            )
        })
        .map(drop)
    }

    /// The size of the send buffer, in bytes.
    pub(crate) fn limit(&self) -> usize {
        rustix::net::sockopt::socket_send_buffer_size(&self.0).unwrap_or_default()
    }

    /// Takes one message; `None` when CRIU closed its end. Does not block: `EAGAIN` when
    /// there is none.
    ///
    /// # Errors
    /// [`ReceiveError::Protocol`] for a message larger than any answer, which is left unread.
    pub(crate) fn try_receive(&self) -> Result<Option<Datagram>, ReceiveError> {
        let flags = RecvFlags::PEEK | RecvFlags::TRUNC | RecvFlags::DONTWAIT;
        let peek = || rustix::net::recv(&self.0, &mut [0u8; 0][..], flags);
        let (_, size) = retry_on_reset(peek)?;
        if size > MAX_RESPONSE {
            return Err(ReceiveError::Protocol(ProtocolError::TooLarge {
                bytes: size,
                limit: MAX_RESPONSE,
            }));
        }
        let mut bytes = vec![0; size];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = retry_on_reset(|| {
            rustix::net::recvmsg(
                &self.0,
                &mut [IoSliceMut::new(&mut bytes)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
            )
        })?;
        bytes.truncate(received.bytes);
        // CRIU sends one descriptor at most; any other is closed here.
        let fd = ancillary
            .drain()
            .flat_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
                _ => Vec::new(),
            })
            .next();
        if bytes.is_empty() {
            Ok(None)
        } else {
            Ok(Some(Datagram { bytes, fd }))
        }
    }
}

/// A peer that dies with our message unread is told of once, before what it said; that is
/// still there.
fn retry_on_reset<T>(mut receive: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    match retry_on_intr(&mut receive) {
        Err(Errno::CONNRESET) => retry_on_intr(receive),
        received => received,
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
