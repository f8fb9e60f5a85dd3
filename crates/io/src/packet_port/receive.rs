//! Many frames with one system call.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::Ordering;

use fielato_gateway::Buffer;
use fielato_wire::{OFFLOAD_LEN, Offload};

use super::Lost;

/// Frames taken at once.
const BATCH: usize = 32;

/// Room for the longest superpacket with its Ethernet header and what stands before it, a multiple of a page: the system hands out
/// memory when it is first written to.
const ROOM: usize = 17 << 12;

/// Room for a control message with `tpacket_auxdata`, aligned as they are.
type Control = [u64; 8];

/// Reusable buffers.
pub(super) struct Receiver {
    buffers: Box<[u8]>,
    control: Box<[Control; BATCH]>,
}

impl Receiver {
    pub(super) fn new() -> Self {
        Self {
            buffers: vec![0; BATCH * ROOM].into_boxed_slice(),
            control: Box::new([[0; 8]; BATCH]),
        }
    }

    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>, to: &mut Vec<Buffer>, lost: &Lost) -> io::Result<usize> {
        // SAFETY: both are plain data, for which all zeros is a value.
        let (mut messages, mut parts): ([libc::mmsghdr; BATCH], [libc::iovec; BATCH]) = unsafe { (zeroed(), zeroed()) };
        let rooms = self.buffers.chunks_exact_mut(ROOM).zip(self.control.iter_mut());
        for ((message, part), (room, control)) in messages.iter_mut().zip(&mut parts).zip(rooms) {
            part.iov_base = room.as_mut_ptr().cast();
            part.iov_len = room.len();
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_control = control.as_mut_ptr().cast();
            message.msg_hdr.msg_controllen = size_of_val(control) as _;
        }
        // SAFETY: every pointer in the messages is to something that lives through the call, with its length beside it.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
                _ => Err(error),
            };
        };
        let before = to.len();
        for (message, room) in messages.iter().zip(self.buffers.chunks_exact(ROOM)).take(count) {
            let len = message.msg_len as usize;
            if message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
                lost.truncated.fetch_add(1, Ordering::Relaxed);
            } else if is_tagged(&message.msg_hdr) {
                lost.tagged.fetch_add(1, Ordering::Relaxed);
            } else if let Some(buffer) = room.get(..len).and_then(read) {
                to.push(buffer);
            } else {
                lost.truncated.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(to.len() - before)
    }
}

/// A frame behind what is left to do with it. As a packet socket has it in the machine's byte order (`packet_rcv_vnet`), this is for
/// little-endian machines, which are all that there are builds for.
fn read(bytes: &[u8]) -> Option<Buffer> {
    let (header, frame) = bytes.split_first_chunk::<OFFLOAD_LEN>()?;
    Some(Buffer {
        data: frame.to_vec(),
        offload: Offload::parse(header).ok()?,
    })
}

/// Whether the kernel took a VLAN tag off the frame: without it, it looks like one of this interface's own.
fn is_tagged(message: &libc::msghdr) -> bool {
    // SAFETY: the kernel wrote whole control messages and their length into `message`, whose buffer lives still.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: a pointer that is not null is to a whole header in that buffer, which is aligned for it.
    while let Some(found) = unsafe { header.as_ref() } {
        if (found.cmsg_level, found.cmsg_type) == (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
            const { assert!(size_of::<libc::tpacket_auxdata>() <= size_of::<Control>() / 2) }
            // SAFETY: such a message holds a `tpacket_auxdata` (net/packet/af_packet.c, `packet_recvmsg`).
            let data = unsafe { libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned() };
            return data.tp_status & libc::TP_STATUS_VLAN_VALID != 0;
        }
        // SAFETY: as above.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    false
}
