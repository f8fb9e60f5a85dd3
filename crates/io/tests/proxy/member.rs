//! A member: a stack in memory whose packets go to the proxy and come from it.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use fielato_gateway::Buffer;
use fielato_io::proxy::{Options, Proxy, Sink};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::wire::{HardwareAddress, IpCidr, Ipv4Address, Ipv6Address};

use super::common::{Namespace, cable, is_slow, ping};

pub const MTU: u16 = 1420;

/// What came for members.
#[derive(Default)]
pub struct Inbox {
    packets: Mutex<VecDeque<Vec<u8>>>,
    came: Condvar,
    pub superpackets: AtomicUsize,
}

impl Sink for Inbox {
    fn send(&self, packets: &mut Vec<Buffer>) {
        let mut inbox = self.packets.lock().unwrap();
        for packet in packets.drain(..) {
            if packet.offload.segmentation.is_some() {
                self.superpackets.fetch_add(1, Ordering::Relaxed);
            }
            packet.split(&mut |packet| {
                assert!(packet.data.len() <= MTU.into(), "{} bytes", packet.data.len());
                inbox.push_back(packet.data);
            });
        }
        self.came.notify_one();
    }
}

impl Inbox {
    pub fn take(&self) -> Option<Vec<u8>> {
        self.packets.lock().unwrap().pop_front()
    }

    /// Waits for a packet, for so long.
    pub fn wait(&self, time: Duration) {
        let packets = self.packets.lock().unwrap();
        drop(
            self.came
                .wait_timeout_while(packets, time, |packets| packets.is_empty())
                .unwrap(),
        );
    }

    /// The next packet, ten seconds from now at most.
    pub fn next(&self) -> Vec<u8> {
        self.wait(Duration::from_secs(10));
        self.take().expect("a packet for the member")
    }
}

/// The proxy in its namespace, and the outside in another.
pub struct World {
    pub proxy: Proxy,
    pub inbox: Arc<Inbox>,
    pub hub: Namespace,
    pub outside: Namespace,
}

pub fn options() -> Options {
    Options {
        overlay: vec!["10.8.0.0/24".parse().unwrap(), "fd08::/64".parse().unwrap()],
        ..Options::new(MTU)
    }
}

impl World {
    pub fn new(options: Options) -> Self {
        Self::with(|sink| Proxy::start(options, Arc::clone(sink) as _).unwrap())
    }

    /// With a proxy that is started so, in the hub's namespace.
    pub fn with(start: impl FnOnce(&Arc<Inbox>) -> Proxy + Send) -> Self {
        let (hub, outside) = cable();
        hub.within(|| std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"))
            .unwrap();
        // The first neighbour solicitation may be lost, and costs a second then.
        assert!(["10.9.0.2", "fd09::2"].iter().all(|address| ping(&hub, address)));
        let inbox = Arc::new(Inbox::default());
        let proxy = hub.within(|| start(&inbox));
        Self {
            proxy,
            inbox,
            hub,
            outside,
        }
    }

    pub fn member(&self) -> Member<'_> {
        Member::new(self)
    }
}

/// A member's TCP.
pub struct Member<'a> {
    wire: Wire<'a>,
    interface: Interface,
    pub sockets: SocketSet<'static>,
    start: Instant,
    next_port: u16,
}

/// The way between the member and the proxy.
struct Wire<'a> {
    world: &'a World,
    /// Of a thousand packets, so many are lost each way.
    loss: u32,
    random: u32,
}

impl Wire<'_> {
    fn loses(&mut self) -> bool {
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.random >> 16 < self.loss * 65_536 / 1000
    }
}

impl<'a> Member<'a> {
    fn new(world: &'a World) -> Self {
        let mut wire = Wire {
            world,
            loss: 0,
            random: 1,
        };
        let mut interface = Interface::new(Config::new(HardwareAddress::Ip), &mut wire, smoltcp::time::Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            for address in ["10.8.0.2/24", "fd08::2/64"] {
                addresses.push(address.parse::<IpCidr>().unwrap()).unwrap();
            }
        });
        let routes = interface.routes_mut();
        routes.add_default_ipv4_route(Ipv4Address::new(10, 8, 0, 1)).unwrap();
        routes
            .add_default_ipv6_route(Ipv6Address::new(0xfd08, 0, 0, 0, 0, 0, 0, 1))
            .unwrap();
        Self {
            wire,
            interface,
            sockets: SocketSet::new(Vec::new()),
            start: Instant::now(),
            next_port: 40_000,
        }
    }

    /// Loses so many of a thousand packets each way.
    pub fn lose(&mut self, loss: u32) {
        self.wire.loss = loss;
    }

    /// A connection under way, with buffers of so many bytes.
    pub fn connect(&mut self, to: &str, buffer: usize) -> SocketHandle {
        let mut socket = Socket::new(SocketBuffer::new(vec![0; buffer]), SocketBuffer::new(vec![0; buffer]));
        let to: SocketAddr = to.parse().unwrap();
        self.next_port += 1;
        let local = match to.ip() {
            IpAddr::V4(_) => ("10.8.0.2".parse::<IpAddr>().unwrap(), self.next_port),
            IpAddr::V6(_) => ("fd08::2".parse::<IpAddr>().unwrap(), self.next_port),
        };
        socket.connect(self.interface.context(), to, local).unwrap();
        self.sockets.add(socket)
    }

    pub fn tcp(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub fn state(&self, handle: SocketHandle) -> State {
        self.sockets.get::<Socket<'_>>(handle).state()
    }

    pub fn poll(&mut self) {
        let now = smoltcp::time::Instant::from_micros(self.start.elapsed().as_micros() as i64);
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
    }

    /// Carries packets until something is so.
    pub fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(if is_slow() { 300 } else { 60 });
        loop {
            self.poll();
            if is_so(self) {
                self.poll();
                return;
            }
            assert!(
                Instant::now() < deadline,
                "waited in vain for {what}: {:?}",
                self.wire.world.proxy.stats()
            );
            self.wire.world.inbox.wait(Duration::from_millis(5));
        }
    }

    /// Carries packets for so long.
    pub fn pass(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            self.poll();
            self.wire.world.inbox.wait(Duration::from_millis(5));
        }
    }
}

impl Device for Wire<'_> {
    type RxToken<'a>
        = Receive
    where
        Self: 'a;
    type TxToken<'a>
        = Transmit<'a>
    where
        Self: 'a;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Receive, Transmit<'_>)> {
        let mut packet = self.world.inbox.take()?;
        while self.loses() {
            packet = self.world.inbox.take()?;
        }
        let transmit = Transmit(self.world, self.loses());
        Some((Receive(packet), transmit))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Transmit<'_>> {
        Some(Transmit(self.world, self.loses()))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU.into();
        capabilities
    }
}

pub struct Receive(Vec<u8>);

impl phy::RxToken for Receive {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

pub struct Transmit<'a>(&'a World, bool);

impl phy::TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut data = vec![0; len];
        let result = write(&mut data);
        if self.1 {
            return result;
        }
        // A full queue is a lossy link.
        self.0.proxy.send(Buffer::from(data));
        result
    }
}
