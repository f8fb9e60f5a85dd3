//! The socket by which `wg` finds a device in user space: `/var/run/wireguard/IFACE.sock`.

use std::fs::{self, DirBuilder};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fielato_wireguard::uapi::{self, EINVAL, EPROTO, Request};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::device::{SetError, Shared};
use crate::memory;

/// Where `wg` looks (`wg` 1.0, `ipc-uapi-unix.h`).
const DIRECTORY: &str = "/var/run/wireguard";

/// The longest request that is read: some 100,000 peers.
const REQUEST_MAX: u64 = 64 << 20;

/// How long a client may keep a connection without a word.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a connection looks whether the device ends.
const SLICE: Duration = Duration::from_millis(200);

/// Bytes of an answer from which on memory is given back: a report of thousands of peers takes megabytes for a moment.
const LARGE: usize = 128 << 10;

/// Connections at one time.
pub(crate) const CONNECTIONS_MAX: usize = 16;

/// Where `wg` looks for the device `interface`.
pub fn socket_path(interface: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{interface}.sock"))
}

/// A listening socket that takes its file along when it goes.
pub(crate) struct Listener {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file, so that nobody else's is removed.
    identity: (u64, u64),
}

impl Listener {
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] when another process answers on the socket; whatever the file system says.
    pub(crate) fn bind(interface: &str) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(DIRECTORY)?;
        let path = socket_path(interface);
        match UnixStream::connect(&path) {
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Left by a process that is gone.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(&path)?,
            Err(error) => return Err(error),
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // Linux gives the file the mode that the socket has when it is bound, so it is never open to others.
        rustix::fs::fchmod(&socket, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
        socket.bind(&SockAddr::unix(&path)?)?;
        let meta = fs::symlink_metadata(&path)?;
        let listener = Self {
            listener: UnixListener::from(std::os::fd::OwnedFd::from(socket)),
            path,
            identity: id(&meta),
        };
        socket2::SockRef::from(&listener.listener).listen(16)?;
        listener.listener.set_nonblocking(true)?;
        Ok(listener)
    }

    pub(crate) fn accept(&self) -> io::Result<UnixStream> {
        let (stream, _) = self.listener.accept()?;
        stream.set_nonblocking(false)?;
        Ok(stream)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|meta| id(&meta) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the socket that a killed process left for `interface`; one that somebody answers on is left alone. Returns whether
/// there was one to remove.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn remove_leftover(interface: &str) -> io::Result<bool> {
    let path = socket_path(interface);
    match UnixStream::connect(&path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(&path).map(|()| true),
        _ => Ok(false),
    }
}

fn id(meta: &fs::Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

/// Answers one client until it hangs up.
pub(crate) fn serve(shared: &Arc<Shared>, stream: &UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(SLICE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let request = match read_request(shared, &mut reader)? {
            Incoming::Request(request) => request,
            Incoming::End => return Ok(()),
            // What follows cannot be told from it, so this is the last answer.
            Incoming::Broken => return writer.write_all(uapi::format_errno(EPROTO).as_bytes()),
        };
        let parse = |text| uapi::parse_with_interfaces(text, &interface_number);
        let answer = match std::str::from_utf8(&request).map(parse) {
            Ok(Ok(request)) => answer(shared, &request),
            Ok(Err(error)) => {
                log::debug!("request refused: {error}");
                uapi::format_errno(error.errno())
            }
            Err(_) => uapi::format_errno(EINVAL),
        };
        writer.write_all(answer.as_bytes())?;
        if answer.len() > LARGE {
            drop(answer);
            memory::give_back();
        }
    }
}

/// The number of the interface of this name, in this thread's network namespace.
fn interface_number(name: &str) -> Option<u32> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET6, rustix::net::SocketType::DGRAM, None).ok()?;
    rustix::net::netdevice::name_to_index(socket, name).ok()
}

fn answer(shared: &Arc<Shared>, request: &Request) -> String {
    match request {
        Request::Get => uapi::format_report(&shared.report()),
        Request::Set(changes) => match shared.configure(changes) {
            Ok(()) => uapi::format_errno(0),
            Err(error) => {
                log::warn!("{error}");
                let (SetError::Port { source, .. } | SetError::Mark { source, .. }) = &error;
                uapi::format_errno(source.raw_os_error().unwrap_or(libc::EIO))
            }
        },
    }
}

enum Incoming {
    /// The lines of a request, with the empty one that ends it.
    Request(Vec<u8>),
    /// No request, or one whose end never came.
    Broken,
    /// The client hung up between requests.
    End,
}

fn read_request(shared: &Shared, reader: &mut BufReader<&UnixStream>) -> io::Result<Incoming> {
    let mut request = Vec::new();
    let mut deadline = Instant::now() + PATIENCE;
    let mut is_operation = false;
    loop {
        let before = request.len();
        let room = REQUEST_MAX - before as u64;
        match reader.by_ref().take(room).read_until(b'\n', &mut request) {
            Ok(0) if before == 0 => return Ok(Incoming::End),
            Ok(0) => return Ok(Incoming::Broken),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                if shared.is_stopping() || Instant::now() > deadline {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            Err(error) => return Err(error),
        }
        if request.len() > before {
            deadline = Instant::now() + PATIENCE;
        }
        // The first line tells whether there is anything to wait for.
        if !is_operation && let Some(first) = request.strip_suffix(b"\n") {
            is_operation = std::str::from_utf8(first).is_ok_and(uapi::is_operation);
            if !is_operation {
                return Ok(Incoming::Broken);
            }
        }
        if request.ends_with(b"\n\n") {
            return Ok(Incoming::Request(request));
        }
    }
}
