//! Many frames with one system call.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::Ordering;

use fielato_gateway::Buffer;
use fielato_wire::OFFLOAD_LEN;

use super::{Lost, socket};

/// Frames given to the system at once.
const BATCH: usize = 32;

/// Where an Ethernet header says what follows it, and its length.
const PROTOCOL: usize = 12;

/// What does not change between frames.
pub(super) struct Sender {
    index: u32,
}

impl Sender {
    pub(super) fn new(index: u32) -> Self {
        Self { index }
    }

    pub(super) fn send(&self, socket: BorrowedFd<'_>, frames: &[Buffer], lost: &Lost) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = frames.get(done..)
            && !rest.is_empty()
        {
            match self.send_batch(socket, rest) {
                Ok(count) => done += count,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => break,
                    Some(libc::EINTR) => {}
                    // About the first of them: too long for the interface, not what its offload says, or no room in the
                    // interface's own queue.
                    Some(libc::EMSGSIZE | libc::EINVAL | libc::ENOBUFS) => {
                        lost.refused.fetch_add(1, Ordering::Relaxed);
                        done += 1;
                    }
                    _ => return Err(error),
                },
            }
        }
        Ok(done)
    }

    fn send_batch(&self, socket: BorrowedFd<'_>, frames: &[Buffer]) -> io::Result<usize> {
        // SAFETY: all are plain data, for which all zeros is a value.
        let (mut messages, mut parts): ([libc::mmsghdr; BATCH], [[libc::iovec; 2]; BATCH]) = unsafe { (zeroed(), zeroed()) };
        let mut headers = [[0; OFFLOAD_LEN]; BATCH];
        // The protocol is in the frame, too, but kernels before 6.x look for it here.
        let mut addresses = [socket::address(self.index, socket::ALL); BATCH];
        let count = frames.len().min(BATCH);
        let places = messages.iter_mut().zip(&mut parts).zip(&mut headers).zip(&mut addresses);
        for ((((message, parts), header), address), frame) in places.zip(frames) {
            *header = frame.offload.emit();
            if let Some([high, low]) = frame.data.get(PROTOCOL..PROTOCOL + 2) {
                address.sll_protocol = u16::from_ne_bytes([*high, *low]);
            }
            *parts = [
                libc::iovec {
                    iov_base: header.as_mut_ptr().cast(),
                    iov_len: header.len(),
                },
                libc::iovec {
                    iov_base: frame.data.as_ptr().cast_mut().cast(),
                    iov_len: frame.data.len(),
                },
            ];
            message.msg_hdr.msg_iov = parts.as_mut_ptr();
            message.msg_hdr.msg_iovlen = parts.len() as _;
            message.msg_hdr.msg_name = (&raw mut *address).cast();
            message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        }
        // SAFETY: the first `count` messages point to things that live through the call, with their lengths beside them. Sending
        // writes to none of them but `msg_len`.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT as _,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}
