//! How packets leave for networks beyond the hub, and come back.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use fielato_gateway::Buffer;

use super::shared::Shared;
use crate::fd::{Waker, readable};
use crate::packet_port::PacketPort;
use crate::proxy::{self, Proxy};

/// How packets leave for networks beyond the hub.
pub enum WayOut {
    /// By ordinary sockets of the hub's.
    Proxy(proxy::Options),
    /// As frames, by an interface of its own.
    Packet(PacketPort),
}

/// A [`WayOut`] at work.
pub(super) enum Opened {
    Proxy(Proxy),
    Packet(Frames),
}

impl Opened {
    /// Opens it. What comes back by it is judged as everything else.
    pub(super) fn open(way: WayOut, shared: &Arc<Shared>) -> io::Result<Self> {
        let shared = Arc::downgrade(shared);
        match way {
            WayOut::Proxy(options) => {
                let proxy = Proxy::start(options, Arc::new(WayBack(shared))).map_err(io::Error::other)?;
                Ok(Self::Proxy(proxy))
            }
            WayOut::Packet(port) => Frames::start(port, WayBack(shared)).map(Self::Packet),
        }
    }

    /// Sends them in their order; returns how many were lost.
    pub(super) fn send(&self, buffers: Vec<Buffer>) -> u64 {
        match self {
            Self::Proxy(proxy) => buffers.into_iter().map(|buffer| u64::from(!proxy.send(buffer))).sum(),
            Self::Packet(frames) => frames.send(&buffers),
        }
    }
}

/// Brings back what came in.
struct WayBack(Weak<Shared>);

impl proxy::Sink for WayBack {
    fn send(&self, packets: &mut Vec<Buffer>) {
        let Some(shared) = self.0.upgrade() else {
            return packets.clear();
        };
        if let Some(between) = &shared.between {
            let mut session = between.session(&shared, None);
            for packet in packets.drain(..) {
                session.take_from_exit(packet);
            }
            session.distribute();
        }
    }
}

/// A packet port with the thread that reads it.
pub(super) struct Frames {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

struct Inner {
    port: PacketPort,
    /// Used when the thread is to end.
    waker: Waker,
    ending: AtomicBool,
}

impl Frames {
    fn start(port: PacketPort, back: WayBack) -> io::Result<Self> {
        let inner = Arc::new(Inner {
            port,
            waker: Waker::new()?,
            ending: false.into(),
        });
        let reader = Arc::clone(&inner);
        let thread = std::thread::Builder::new()
            .name("frames".to_owned())
            .spawn(move || reader.read(&back))?;
        Ok(Self {
            inner,
            thread: Some(thread),
        })
    }

    fn send(&self, frames: &[Buffer]) -> u64 {
        match self.inner.port.send(frames) {
            Ok(sent) => (frames.len() - sent) as u64,
            Err(error) => {
                log::debug!("packet port: {error}");
                frames.len() as u64
            }
        }
    }
}

impl Inner {
    fn read(&self, back: &WayBack) {
        let descriptor = match self.port.as_fd().try_clone_to_owned() {
            Ok(descriptor) => descriptor,
            Err(error) => return log::error!("packet port: {error}"),
        };
        let mut frames = Vec::new();
        while !self.ending.load(Ordering::Acquire) {
            let outcome = self.port.receive(&mut frames);
            if !frames.is_empty() {
                proxy::Sink::send(back, &mut frames);
            }
            let idle = match outcome {
                Ok(received) => received == 0,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {
                    log::warn!("packet port: the interface is down");
                    true
                }
                Err(error) => return log::error!("packet port: {error}; nothing comes in by it any more"),
            };
            if idle && let Err(error) = readable(Some(&descriptor), &self.waker, None) {
                return log::error!("packet port: {error}");
            }
        }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.inner.ending.store(true, Ordering::Release);
        self.inner.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}
