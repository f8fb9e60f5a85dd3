//! `fielato agent enrol`: a token becomes a key of the host's own, which never leaves it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use fielato_fleet::{PLAN_LINE_MAX, ToHost, ToHub, VERSION, line};
use fielato_kernel::netlink::Netlink;
use fielato_wireguard::{KeyError, PresharedKey, PrivateKey};
use jiff::Timestamp;
use socket2::{Domain, Protocol, Socket, Type};

use super::tunnel::TunnelSettings;
use super::{Settings, lock};
use crate::fleet::Token;
use crate::{Paths, files, protocol};

/// How long the hub is tried: the first packets make the tunnel.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the hub may take to answer, or to accept a connection.
const ANSWER: Duration = Duration::from_secs(5);

/// Takes a token: afterwards [`run`](super::run()) talks to the hub with a key of the host's own.
///
/// # Errors
/// While an agent runs; when the token's time is over, or the hub refuses it; when the hub is not reached.
pub fn enrol(paths: &Paths, text: &str) -> Result<Settings> {
    let token: Token = serde_json::from_str(text).context("this is not a token of `fielato host enrol`")?;
    if token.version != protocol::VERSION {
        bail!(
            "the token is of version {}; install the hub's version of fielato here",
            token.version
        );
    }
    if token.until <= Timestamp::now() {
        bail!(
            "the token's time ended at {}; make a new one on the hub with `fielato host enrol {}`",
            token.until,
            token.host
        );
    }
    let _lock = lock(paths)?;
    let first: PrivateKey = key(&token.private_key)?;
    let psk: Option<PresharedKey> = token.preshared_key.as_deref().map(key).transpose()?;
    let settings = Settings {
        version: protocol::VERSION,
        host: Some(token.host.clone()),
        interface: token.interface.clone(),
        hub: token.hub.clone(),
        tunnel: Some(TunnelSettings {
            endpoint: token.endpoint.clone(),
            hub_key: token.hub_key,
            addresses: token.addresses.clone(),
            allowed_ips: token.allowed_ips.clone(),
            mtu: token.mtu,
        }),
    };
    let own = PrivateKey::generate().context("the system has no random numbers")?;
    // On the disk before the hub knows it: a key that only the hub has would lock the host out.
    let (path, unproven) = (paths.agent_key(), paths.agent_key().with_extension("new"));
    files::ensure_dir(&paths.keys())?;
    files::replace(&unproven, format!("{}\n", own.to_base64()).as_bytes(), 0o600)?;
    let enrolled = through_tunnel(&settings, &first, psk.as_ref(), || offer(&settings, &token.secret, &own));
    if let Err(error) = enrolled {
        files::remove(&unproven)?;
        return Err(error);
    }
    files::replace(&path, format!("{}\n", own.to_base64()).as_bytes(), 0o600)?;
    match &psk {
        Some(psk) => files::replace(&paths.agent_psk(), format!("{}\n", psk.to_base64()).as_bytes(), 0o600)?,
        None => files::remove(&paths.agent_psk())?,
    }
    settings.save(paths)?;
    files::remove(&unproven)?;
    Ok(settings)
}

/// A key of the token's. What is wrong with it is said, but not what it is.
fn key<K: std::str::FromStr<Err = KeyError>>(text: &str) -> Result<K> {
    text.parse().context("the token is damaged")
}

/// With the tunnel of the token's key, which is gone afterwards.
fn through_tunnel(
    settings: &Settings,
    key: &PrivateKey,
    psk: Option<&PresharedKey>,
    act: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let Some(tunnel) = &settings.tunnel else { return act() };
    let tunnel = tunnel.bring_up(&settings.interface, key, psk.cloned())?;
    let result = act();
    tunnel.remove(&mut Netlink::open()?)?;
    result
}

/// Offers the host's own key to whichever of the hub's addresses answers first.
fn offer(settings: &Settings, secret: &str, own: &PrivateKey) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let stream = loop {
        let mut tried = settings.hub.iter().map(|to| connect(*to, &settings.interface));
        match tried.find_map(Result::ok) {
            Some(stream) => break stream,
            None if Instant::now() >= deadline => {
                bail!(
                    "the hub does not answer through the tunnel; is its endpoint reachable from here, and was the token used before?"
                )
            }
            None => thread::sleep(Duration::from_millis(200)),
        }
    };
    let enrol = ToHub::Enrol {
        version: VERSION,
        token: secret.to_owned(),
        public_key: own.public_key(),
    };
    (&stream).write_all(&line(&enrol))?;
    let mut answer = Vec::new();
    let limit = u64::try_from(PLAN_LINE_MAX)?;
    BufReader::new(stream.take(limit))
        .read_until(b'\n', &mut answer)
        .context("the hub did not answer")?;
    if answer.is_empty() {
        bail!("the hub closed the connection without an answer; see its log");
    }
    match serde_json::from_slice(&answer).context("the hub's answer makes no sense; is it of another version?")? {
        ToHost::Enrolled => Ok(()),
        ToHost::Refused { why } => bail!("the hub refused: {why}"),
        _ => bail!("the hub answered something else"),
    }
}

fn connect(to: SocketAddr, interface: &str) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    // By the tunnel and no other way: who answers there is the hub.
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.connect_timeout(&to.into(), ANSWER)?;
    socket.set_read_timeout(Some(ANSWER))?;
    socket.set_write_timeout(Some(ANSWER))?;
    Ok(socket.into())
}
