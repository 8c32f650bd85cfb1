//! Allocations, and what becomes of one packet: the same decisions as `parley/stun/turn/forwarding.py` and
//! `parley/stun/ms/forwarding.py` take. No system call is made here. Times are monotonic seconds.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::RawFd;

use crate::net::Appetite;
use crate::wire::{self, IntegrityKey, MAX_HEAD};

/// A bucket holds what may pass in this time.
const BURST_SECONDS: f64 = 0.5;

/// Payload bytes and packets, from the client to peers and back; and what was thrown away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub sent_packets: u64,
    pub sent_bytes: u64,
    pub received_packets: u64,
    pub received_bytes: u64,
    pub dropped_packets: u64,
}

/// Why packets were dropped, over all allocations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    pub not_permitted: u64,
    pub not_relayed: u64,
    pub rate: u64,
    pub relay_send_queue: u64,
    pub client_send_queue: u64,
    pub control_queue: u64,
}

/// Bytes that may pass in one direction.
#[derive(Debug)]
struct Bucket {
    rate: f64,
    tokens: f64,
    at: f64,
}

impl Bucket {
    fn new(rate: f64, now: f64) -> Self {
        Bucket { rate, tokens: rate * BURST_SECONDS, at: now }
    }

    fn take(&mut self, size: usize, now: f64) -> bool {
        self.tokens = (self.rate * BURST_SECONDS).min(self.tokens + (now - self.at) * self.rate);
        self.at = now;
        let size = size as f64;
        if self.tokens < size {
            return false;
        }
        self.tokens -= size;
        true
    }
}

/// A port of ours that stands for a client.
#[derive(Clone, Copy, Debug)]
pub struct Relay {
    pub fd: RawFd,
    pub advertised: SocketAddr,
    /// Nothing that it sends is fragmented.
    pub dont_fragment: bool,
    pub appetite: Appetite,
}

#[derive(Clone, Copy, Debug)]
struct Channel {
    peer: SocketAddr,
    expires_at: f64,
}

/// What a client speaks.
pub enum Dialect {
    Turn,
    MsTurn(IntegrityKey),
}

/// One client's share.
pub struct Allocation {
    pub listener: usize,
    pub client: SocketAddr,
    dialect: Dialect,
    pub relays: Vec<Relay>,
    permissions: HashMap<IpAddr, f64>,
    channels: HashMap<u16, Channel>,
    channel_by_peer: HashMap<SocketAddr, u16>,
    destination: Option<SocketAddr>,
    sent: Option<Bucket>,
    received: Option<Bucket>,
    pub traffic: Traffic,
    /// When a packet last passed, in either direction.
    pub active_at: f64,
}

impl Allocation {
    pub fn new(listener: usize, client: SocketAddr, dialect: Dialect, relays: Vec<Relay>, rate: f64, now: f64) -> Self {
        let bucket = || (rate > 0.0).then(|| Bucket::new(rate, now));
        Allocation {
            listener,
            client,
            dialect,
            relays,
            permissions: HashMap::new(),
            channels: HashMap::new(),
            channel_by_peer: HashMap::new(),
            destination: None,
            sent: bucket(),
            received: bucket(),
            traffic: Traffic::default(),
            active_at: now,
        }
    }

    pub fn permit(&mut self, host: IpAddr, expires_at: f64) {
        self.permissions.insert(host, expires_at);
    }

    pub fn bind(&mut self, number: u16, peer: SocketAddr, expires_at: f64) {
        if let Some(old) = self.channels.insert(number, Channel { peer, expires_at })
            && old.peer != peer
        {
            self.channel_by_peer.remove(&old.peer);
        }
        self.channel_by_peer.insert(peer, number);
    }

    pub fn set_destination(&mut self, destination: Option<SocketAddr>) {
        self.destination = destination;
    }

    pub fn relay_to(&self, peer: SocketAddr) -> Option<&Relay> {
        self.relays.iter().find(|relay| relay.advertised.is_ipv4() == peer.is_ipv4())
    }

    fn permits(&self, host: IpAddr, now: f64) -> bool {
        self.permissions.get(&host).is_some_and(|expires_at| *expires_at > now)
    }

    fn channel_to(&self, peer: SocketAddr, now: f64) -> Option<u16> {
        let number = self.channel_by_peer.get(&peer)?;
        self.channels.get(number).is_some_and(|channel| channel.expires_at > now).then_some(*number)
    }
}

/// Our addresses: as they are bound, and as others know them; and the ports of the relay range.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Bound and advertised.
    pub pairs: Vec<(IpAddr, IpAddr)>,
    /// Of these only relay ports may be reached.
    pub guarded: Vec<IpAddr>,
    /// First and last.
    pub ports: (u16, u16),
}

impl Own {
    fn is_relay_port(&self, port: u16) -> bool {
        (self.ports.0..=self.ports.1).contains(&port)
    }

    /// Where packets to a peer go.
    pub fn reached_at(&self, peer: SocketAddr) -> SocketAddr {
        let local = self.pairs.iter().find(|(local, advertised)| *advertised == peer.ip() && local != advertised);
        local.map_or(peer, |(local, _)| SocketAddr::new(*local, peer.port()))
    }

    /// What a client calls a peer that packets come from.
    pub fn known_as(&self, source: SocketAddr) -> SocketAddr {
        if !self.is_relay_port(source.port()) {
            return source;
        }
        let pair = self.pairs.iter().find(|(local, advertised)| *local == source.ip() && local != advertised);
        pair.map_or(source, |(_, advertised)| SocketAddr::new(*advertised, source.port()))
    }

    /// Whether packets may go to that port of a permitted address.
    pub fn allows_port(&self, peer: SocketAddr) -> bool {
        if self.guarded.contains(&peer.ip()) { self.is_relay_port(peer.port()) } else { peer.port() > 0 }
    }
}

/// What becomes of a datagram of a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To a peer, from that relay.
    Forward {
        fd: RawFd,
        relay: SocketAddr,
        peer: SocketAddr,
        payload: Range<usize>,
    },
    /// No data: the server has to see it.
    Control,
    Drop,
}

/// Decides on a datagram of a client with an allocation. The first bytes say what it is, except that all which is no
/// MS-TURN message is payload once a client speaks MS-TURN, even if it looks like STUN.
pub fn from_client(allocation: &Allocation, own: &Own, data: &[u8], now: f64) -> Verdict {
    match &allocation.dialect {
        Dialect::Turn => match data {
            [0x40..=0x7f, ..] => from_channel(allocation, data, now),
            [0x00, 0x16, ..] => from_indication(allocation, own, data, now),
            _ => Verdict::Control,
        },
        Dialect::MsTurn(_) if !wire::is_ms_message(data) => match allocation.destination {
            Some(peer) if allocation.permits(peer.ip(), now) => forward(allocation, peer, 0..data.len()),
            _ => Verdict::Drop,
        },
        Dialect::MsTurn(key) if data[..2] == [0x00, 0x04] => from_ms_send(allocation, own, data, key, now),
        Dialect::MsTurn(_) => Verdict::Control,
    }
}

fn forward(allocation: &Allocation, peer: SocketAddr, payload: Range<usize>) -> Verdict {
    match allocation.relay_to(peer) {
        Some(relay) => Verdict::Forward { fd: relay.fd, relay: relay.advertised, peer, payload },
        None => Verdict::Drop,
    }
}

fn from_channel(allocation: &Allocation, data: &[u8], now: f64) -> Verdict {
    let Some((number, payload)) = wire::channel_data(data) else { return Verdict::Drop };
    match allocation.channels.get(&number) {
        Some(channel) if channel.expires_at > now => forward(allocation, channel.peer, payload),
        _ => Verdict::Drop,
    }
}

fn from_indication(allocation: &Allocation, own: &Own, data: &[u8], now: f64) -> Verdict {
    let Some(wire::Outgoing { peer, payload, whole }) = wire::send_indication(data) else { return Verdict::Drop };
    if !allocation.permits(peer.ip(), now) || !own.allows_port(peer) {
        return Verdict::Drop;
    }
    match allocation.relay_to(peer) {
        Some(relay) if !whole || relay.dont_fragment => forward(allocation, peer, payload),
        _ => Verdict::Drop,
    }
}

/// A Send request makes the permission for its peer, which is the server's to judge: without one it goes there.
fn from_ms_send(allocation: &Allocation, own: &Own, data: &[u8], key: &IntegrityKey, now: f64) -> Verdict {
    let Some(send) = wire::ms_send(data) else { return Verdict::Drop };
    if !wire::ms_integrity_is_right(data, send.integrity_at, key) || !own.allows_port(send.out.peer) {
        return Verdict::Drop;
    }
    if !allocation.permits(send.out.peer.ip(), now) {
        return Verdict::Control;
    }
    forward(allocation, send.out.peer, send.out.payload)
}

/// What is put around a payload on its way to the client: a head, and zero bytes after it.
pub struct Wrapping {
    pub head: [u8; MAX_HEAD],
    pub length: usize,
    pub padding: usize,
}

/// Decides on a packet of a peer; `transaction`: random bytes. None: it is dropped.
pub fn to_client(
    allocation: &Allocation,
    peer: SocketAddr,
    size: usize,
    transaction: [u8; 12],
    now: f64,
) -> Option<Wrapping> {
    let mut wrapping = Wrapping { head: [0; MAX_HEAD], length: 0, padding: 0 };
    match &allocation.dialect {
        Dialect::Turn => {
            if let Some(number) = allocation.channel_to(peer, now) {
                wrapping.length = wire::put_channel_head(number, size, &mut wrapping.head)?;
            } else if allocation.permits(peer.ip(), now) {
                wrapping.length = wire::put_data_head(peer, size, transaction, &mut wrapping.head)?;
                wrapping.padding = size.next_multiple_of(4) - size;
            } else {
                return None;
            }
        }
        Dialect::MsTurn(_) => {
            if !allocation.permits(peer.ip(), now) || size > wire::MS_MAX_PAYLOAD {
                return None;
            }
            if allocation.destination == Some(peer) {
                return Some(wrapping);
            }
            wrapping.length = wire::put_ms_data_head(peer, size, transaction, &mut wrapping.head)?;
        }
    }
    Some(wrapping)
}

impl Allocation {
    /// Whether the rate lets a packet to a peer pass.
    pub fn may_send(&mut self, size: usize, now: f64) -> bool {
        self.active_at = now;
        self.sent.as_mut().is_none_or(|bucket| bucket.take(size, now))
    }

    /// Whether the rate lets a packet to the client pass.
    pub fn may_receive(&mut self, size: usize, now: f64) -> bool {
        self.active_at = now;
        self.received.as_mut().is_none_or(|bucket| bucket.take(size, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: f64 = 100.0;

    fn relay(host: &str) -> Relay {
        Relay {
            fd: 7,
            advertised: SocketAddr::new(host.parse().unwrap(), 50000),
            dont_fragment: false,
            appetite: Appetite::default(),
        }
    }

    fn allocation(dialect: Dialect, rate: f64) -> Allocation {
        let client = "198.51.100.1:4000".parse().unwrap();
        Allocation::new(0, client, dialect, vec![relay("192.0.2.1")], rate, NOW)
    }

    fn own() -> Own {
        let (local, known) = ("10.0.0.1".parse().unwrap(), "192.0.2.1".parse().unwrap());
        Own { pairs: vec![(local, known)], guarded: vec![local, known], ports: (50000, 50999) }
    }

    #[test]
    fn a_channel_lasts_as_long_as_it_says() {
        let mut allocation = allocation(Dialect::Turn, 0.0);
        let peer = "203.0.113.5:9".parse().unwrap();
        allocation.bind(0x4001, peer, NOW + 1.0);
        let data = [0x40, 0x01, 0, 2, 5, 6, 0, 0];
        let forward = Verdict::Forward { fd: 7, relay: relay("192.0.2.1").advertised, peer, payload: 4..6 };
        assert_eq!(from_client(&allocation, &own(), &data, NOW), forward);
        assert_eq!(from_client(&allocation, &own(), &data, NOW + 1.0), Verdict::Drop);
        let wrapping = to_client(&allocation, peer, 2, [0; 12], NOW).unwrap();
        assert_eq!(wrapping.head[..wrapping.length], [0x40, 0x01, 0, 2]);
        assert!(to_client(&allocation, peer, 2, [0; 12], NOW + 1.0).is_none());
    }

    #[test]
    fn a_client_of_ms_turn_sends_anything_to_its_destination() {
        let mut allocation = allocation(Dialect::MsTurn(wire::integrity_key(b"key")), 0.0);
        let looks_like_stun = [0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        assert_eq!(from_client(&allocation, &own(), &looks_like_stun, NOW), Verdict::Drop);
        let peer = "203.0.113.5:9".parse().unwrap();
        allocation.set_destination(Some(peer));
        allocation.permit(peer.ip(), NOW + 1.0);
        let forward = Verdict::Forward { fd: 7, relay: relay("192.0.2.1").advertised, peer, payload: 0..20 };
        assert_eq!(from_client(&allocation, &own(), &looks_like_stun, NOW), forward);
        assert_eq!(to_client(&allocation, peer, 9, [0; 12], NOW).unwrap().length, 0);
        let other = to_client(&allocation, "203.0.113.5:10".parse().unwrap(), 9, [0; 12], NOW).unwrap();
        assert_eq!(other.length, 44);
        assert_eq!(from_client(&allocation, &own(), &looks_like_stun, NOW + 1.0), Verdict::Drop);
    }

    #[test]
    fn our_own_addresses_have_two_names() {
        let own = own();
        let (local, known) = ("10.0.0.1:50002".parse().unwrap(), "192.0.2.1:50002".parse().unwrap());
        assert_eq!(own.reached_at(known), local);
        assert_eq!(own.known_as(local), known);
        assert!(own.allows_port(known));
        let service: SocketAddr = "10.0.0.1:22".parse().unwrap();
        assert_eq!(own.known_as(service), service);
        assert!(!own.allows_port(service));
    }

    #[test]
    fn a_bucket_lets_half_a_second_pass_at_once() {
        let mut allocation = allocation(Dialect::Turn, 1000.0);
        assert!(allocation.may_send(500, NOW));
        assert!(!allocation.may_send(1, NOW));
        assert!(allocation.may_receive(500, NOW));
        assert!(allocation.may_send(125, NOW + 0.125));
        assert!(!allocation.may_send(1, NOW + 0.125));
    }
}
