//! Rules in a running engine, asked over its Unix socket.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use fielato_iptables::iptc::Store;
use fielato_iptables::remote::{RemoteStore, Request, Response};
use fielato_iptables::{Failure, Registry};
use fielato_netfilter::syntax::Names;

use super::failure;

/// The tables behind a socket. A connection is made at the first request and kept.
pub fn store<'a>(socket: PathBuf, registry: &'a Registry, names: &'a dyn Names) -> impl Store + 'a {
    let mut stream = None;
    let ask = move |request: &Request| {
        let talked = |error: std::io::Error| failure("talk with the engine at", &socket, &error);
        let stream = match &mut stream {
            Some(stream) => stream,
            None => stream.insert(UnixStream::connect(&socket).map_err(talked)?),
        };
        stream.write_all(request.encode().as_bytes()).map_err(talked)?;
        let mut bytes = Vec::new();
        let mut chunk = vec![0; 1 << 16];
        loop {
            let decoded = Response::decode(&bytes).map_err(|error| Failure::Store(error.to_string()))?;
            if let Some((response, _)) = decoded {
                return Ok(response);
            }
            let length = stream.read(&mut chunk).map_err(talked)?;
            if length == 0 {
                return Err(Failure::Store("the engine ended the connection".to_owned()));
            }
            bytes.extend_from_slice(chunk.get(..length).unwrap_or(&[]));
        }
    };
    RemoteStore::new(ask, registry, names)
}
