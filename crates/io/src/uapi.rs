//! The socket by which `wg` finds a device in user space: `/var/run/wireguard/IFACE.sock`.

use std::fs::{self, DirBuilder};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fielato_wireguard::uapi::{self, EINVAL, Request};
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
        let path = Path::new(DIRECTORY).join(format!("{interface}.sock"));
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
    let path = Path::new(DIRECTORY).join(format!("{interface}.sock"));
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
    while let Some(request) = read_request(shared, &mut reader)? {
        let answer = match std::str::from_utf8(&request).map(uapi::parse) {
            Ok(Ok(request)) => answer(shared, &request),
            Ok(Err(error)) => {
                log::debug!("request refused: {error}");
                uapi::format_errno(error.errno())
            }
            Err(_) => uapi::format_errno(EINVAL),
        };
        let mut stream = stream;
        stream.write_all(answer.as_bytes())?;
        if answer.len() > LARGE {
            drop(answer);
            memory::give_back();
        }
    }
    Ok(())
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

/// The lines of a request with the empty one that ends it; `None` when the client hung up.
fn read_request(shared: &Shared, reader: &mut BufReader<&UnixStream>) -> io::Result<Option<Vec<u8>>> {
    let mut request = Vec::new();
    let mut deadline = Instant::now() + PATIENCE;
    loop {
        let before = request.len();
        let room = REQUEST_MAX - before as u64;
        match reader.by_ref().take(room).read_until(b'\n', &mut request) {
            Ok(0) if room == 0 => return Err(io::ErrorKind::InvalidData.into()),
            Ok(0) => return Ok(None),
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
        if request == b"\n" || request.ends_with(b"\n\n") {
            return Ok(Some(request));
        }
    }
}
