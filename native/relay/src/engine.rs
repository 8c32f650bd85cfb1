//! The thread that moves packets, and the table of allocations that it shares with the server.
//!
//! The table is locked while a batch is handled, never while the thread waits. What the server changes before it answers a
//! client is so in force when that client's next packet is read.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::net::{self, Appetite, BATCH, Datagram, Poll, Received, Receiver, Sender, Waker};
use crate::state::{self, Allocation, Drops, Own, Relay, Traffic, Verdict, Wrapping};

/// Datagrams that may wait for the server, and their bytes.
const CONTROL_MESSAGES: usize = 4096;
const CONTROL_BYTES: usize = 4 << 20;
/// Datagrams that are read of one relay before the next has its turn.
const RELAY_BATCH: usize = 16;

const KIND_LISTENER: u64 = 0;
const KIND_RELAY: u64 = 1 << 32;
const KIND_WAKE: u64 = 2 << 32;
const INDEX: u64 = (1 << 32) - 1;

/// A datagram that is the server's business.
pub struct Control {
    pub listener: usize,
    pub source: SocketAddr,
    pub data: Vec<u8>,
}

/// What the packets of one batch become, until it is sent.
#[derive(Default)]
struct Out {
    to_peers: Vec<Packet>,
    to_clients: Vec<Packet>,
}

struct Packet {
    fd: RawFd,
    to: SocketAddr,
    allocation: usize,
    wrapping: Option<Wrapping>,
    payload: Range<usize>,
}

/// The table.
pub struct Core {
    own: Own,
    allocations: Vec<Option<Box<Allocation>>>,
    free: Vec<usize>,
    by_client: HashMap<(usize, SocketAddr), usize>,
    by_relay: HashMap<SocketAddr, usize>,
    listeners: Vec<Option<(RawFd, Appetite)>>,
    control: Vec<Control>,
    control_bytes: usize,
    pub drops: Drops,
    random: u64,
}

impl Core {
    /// Transaction ids of indications, which nobody answers: they need to differ and no more (SplitMix64).
    fn transaction(&mut self) -> [u8; 12] {
        let mut id = [0; 12];
        for part in [0..8, 8..12] {
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.random;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            let size = part.len();
            id[part].copy_from_slice(&mixed.to_ne_bytes()[..size]);
        }
        id
    }

    fn get(&mut self, index: usize) -> Option<&mut Allocation> {
        self.allocations.get_mut(index)?.as_deref_mut()
    }

    /// A datagram that came to a listener; `at`: where it stands in the receiver.
    fn on_client(&mut self, listener: usize, source: SocketAddr, data: &[u8], at: usize, now: f64, out: &mut Out) {
        let Some(&index) = self.by_client.get(&(listener, source)) else {
            if matches!(data, [0x40..=0x7f, ..]) {
                self.drops.not_relayed += 1; // ChannelData of nobody
            } else {
                self.hand_over(listener, source, data);
            }
            return;
        };
        let Some(allocation) = self.allocations[index].as_deref_mut() else { return };
        match state::from_client(allocation, &self.own, data, now) {
            Verdict::Control => self.hand_over(listener, source, data),
            Verdict::Drop => {
                allocation.traffic.dropped_packets += 1;
                self.drops.not_relayed += 1;
            }
            Verdict::Forward { fd, relay, peer, payload } => {
                let size = payload.len();
                if !allocation.may_send(size, now) {
                    allocation.traffic.dropped_packets += 1;
                    self.drops.rate += 1;
                    return;
                }
                let payload = at + payload.start..at + payload.end;
                if let Some(&other) = self.by_relay.get(&peer) {
                    allocation.traffic.sent_packets += 1;
                    allocation.traffic.sent_bytes += size as u64;
                    self.on_peer(other, relay, payload, now, out);
                } else {
                    let to = self.own.reached_at(peer);
                    out.to_peers.push(Packet { fd, to, allocation: index, wrapping: None, payload });
                }
            }
        }
    }

    /// A packet of a peer for the client of an allocation.
    fn on_peer(&mut self, index: usize, peer: SocketAddr, payload: Range<usize>, now: f64, out: &mut Out) {
        let transaction = self.transaction();
        let Some(allocation) = self.allocations[index].as_deref_mut() else { return };
        let Some(wrapping) = state::to_client(allocation, peer, payload.len(), transaction, now) else {
            allocation.traffic.dropped_packets += 1;
            self.drops.not_permitted += 1;
            return;
        };
        if !allocation.may_receive(payload.len(), now) {
            allocation.traffic.dropped_packets += 1;
            self.drops.rate += 1;
            return;
        }
        if let Some(Some((fd, _))) = self.listeners.get(allocation.listener) {
            let to = allocation.client;
            out.to_clients.push(Packet { fd: *fd, to, allocation: index, wrapping: Some(wrapping), payload });
        }
    }

    fn hand_over(&mut self, listener: usize, source: SocketAddr, data: &[u8]) {
        if self.control.len() >= CONTROL_MESSAGES || self.control_bytes + data.len() > CONTROL_BYTES {
            self.drops.control_queue += 1;
            return;
        }
        self.control_bytes += data.len();
        self.control.push(Control { listener, source, data: data.to_vec() });
    }

    fn sent(&mut self, packet: &Packet, to_client: bool, ok: bool) {
        let Some(Some(allocation)) = self.allocations.get_mut(packet.allocation) else { return };
        let (traffic, size) = (&mut allocation.traffic, packet.payload.len() as u64);
        match (ok, to_client) {
            (true, true) => {
                traffic.received_packets += 1;
                traffic.received_bytes += size;
            }
            (true, false) => {
                traffic.sent_packets += 1;
                traffic.sent_bytes += size;
            }
            (false, true) => {
                traffic.dropped_packets += 1;
                self.drops.client_send_queue += 1;
            }
            (false, false) => {
                traffic.dropped_packets += 1;
                self.drops.relay_send_queue += 1;
            }
        }
    }
}

/// A table with the thread that serves it.
pub struct Engine {
    core: Mutex<Core>,
    /// Callers that want the table; the thread lets them go first.
    waiting: AtomicUsize,
    poll: Poll,
    wake: Waker,
    /// Readable while datagrams wait for the server.
    pub control: Waker,
    stopping: AtomicBool,
    segmentation: bool,
}

impl Engine {
    pub fn new(own: Own, segmentation: bool) -> io::Result<Self> {
        let engine = Engine {
            core: Mutex::new(Core {
                own,
                allocations: Vec::new(),
                free: Vec::new(),
                by_client: HashMap::new(),
                by_relay: HashMap::new(),
                listeners: Vec::new(),
                control: Vec::new(),
                control_bytes: 0,
                drops: Drops::default(),
                random: net::seed(),
            }),
            waiting: AtomicUsize::new(0),
            poll: Poll::new()?,
            wake: Waker::new()?,
            control: Waker::new()?,
            stopping: AtomicBool::new(false),
            segmentation,
        };
        engine.poll.add(engine.wake.fd(), KIND_WAKE)?;
        Ok(engine)
    }

    /// The table, for a caller that is not the thread.
    pub fn table(&self) -> MutexGuard<'_, Core> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        // A panic in the thread leaves counters behind at worst, never half an allocation.
        let core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        core
    }

    /// Begins to read a socket that clients send to; its number.
    pub fn listen(&self, fd: RawFd) -> io::Result<usize> {
        net::enable_gro(fd);
        let mut core = self.table();
        let number = core.listeners.len();
        self.poll.add(fd, KIND_LISTENER | number as u64)?;
        core.listeners.push(Some((fd, Appetite::default())));
        Ok(number)
    }

    /// Ends that; the socket may be closed then.
    pub fn unlisten(&self, number: usize) {
        let mut core = self.table();
        if let Some((fd, _)) = core.listeners.get_mut(number).and_then(Option::take) {
            self.poll.remove(fd);
        }
    }

    /// Takes an allocation in; its number, which is free again after `close`.
    pub fn open(&self, allocation: Allocation) -> io::Result<usize> {
        let mut core = self.table();
        let key = (allocation.listener, allocation.client);
        if core.by_client.contains_key(&key) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let index = core.free.last().copied().unwrap_or(core.allocations.len());
        for (done, relay) in allocation.relays.iter().enumerate() {
            if let Err(error) = self.poll.add(relay.fd, relay_token(index, relay)) {
                allocation.relays[..done].iter().for_each(|relay| self.poll.remove(relay.fd));
                return Err(error);
            }
        }
        core.by_client.insert(key, index);
        for relay in &allocation.relays {
            net::enable_gro(relay.fd);
            core.by_relay.insert(relay.advertised, index);
        }
        if core.free.pop().is_none() {
            core.allocations.push(None);
        }
        core.allocations[index] = Some(Box::new(allocation));
        Ok(index)
    }

    /// Changes an allocation. None: there is none of that number.
    pub fn with<T>(&self, index: usize, change: impl FnOnce(&mut Allocation) -> T) -> Option<T> {
        self.table().get(index).map(change)
    }

    /// Sends a payload from the relay of an allocation, as the server wants it; whether it went out.
    pub fn send(&self, index: usize, peer: SocketAddr, payload: &[u8]) -> bool {
        let mut core = self.table();
        let to = core.own.reached_at(peer);
        let Some(allocation) = core.get(index) else { return false };
        let Some(relay) = allocation.relay_to(peer) else { return false };
        let ok = net::send_to(relay.fd, payload, to).is_ok();
        if ok {
            allocation.traffic.sent_packets += 1;
            allocation.traffic.sent_bytes += payload.len() as u64;
        } else {
            allocation.traffic.dropped_packets += 1;
        }
        ok
    }

    /// Gives up one relay; its socket may be closed then.
    pub fn retire(&self, index: usize, advertised: SocketAddr) {
        let mut core = self.table();
        let Some(allocation) = core.get(index) else { return };
        if let Some(at) = allocation.relays.iter().position(|relay| relay.advertised == advertised) {
            let relay = allocation.relays.remove(at);
            core.by_relay.remove(&advertised);
            self.poll.remove(relay.fd);
        }
    }

    /// Ends an allocation; its sockets may be closed then. What it has moved, and when it last did.
    pub fn close(&self, index: usize) -> Option<(Traffic, f64)> {
        let mut core = self.table();
        let allocation = core.allocations.get_mut(index)?.take()?;
        core.free.push(index);
        core.by_client.remove(&(allocation.listener, allocation.client));
        for relay in &allocation.relays {
            core.by_relay.remove(&relay.advertised);
            self.poll.remove(relay.fd);
        }
        Some((allocation.traffic, allocation.active_at))
    }

    /// Datagrams that are the server's business, which it has been woken for.
    pub fn take_control(&self) -> Vec<Control> {
        self.control.clear();
        let mut core = self.table();
        core.control_bytes = 0;
        std::mem::take(&mut core.control)
    }

    /// Ends the thread, soon.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.wake.wake();
    }

    /// What the thread does.
    pub fn run(&self) {
        let mut batch = Batch {
            receiver: Receiver::default(),
            sender: Sender::new(self.segmentation),
            received: Vec::with_capacity(BATCH),
            out: Out::default(),
        };
        let mut tokens = Vec::new();
        loop {
            self.poll.wait(&mut tokens);
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            while self.waiting.load(Ordering::SeqCst) > 0 {
                std::thread::yield_now();
            }
            let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
            let idle = core.control.is_empty();
            let now = net::monotonic();
            for token in &tokens {
                batch.read(&mut core, *token, now);
            }
            batch.flush(&mut core);
            let woken = idle && !core.control.is_empty();
            drop(core);
            if woken {
                self.control.wake();
            }
        }
    }
}

fn relay_token(index: usize, relay: &Relay) -> u64 {
    KIND_RELAY | (index as u64) << 1 | u64::from(relay.advertised.is_ipv6())
}

/// The thread's own.
struct Batch {
    receiver: Receiver,
    sender: Sender,
    received: Vec<Received>,
    out: Out,
}

impl Batch {
    /// Reads what a descriptor has, up to a batch; what is left tells of itself again.
    fn read(&mut self, core: &mut Core, token: u64, now: f64) {
        let number = (token & INDEX) as usize;
        if token & !INDEX == KIND_LISTENER {
            let Some(Some((fd, mut appetite))) = core.listeners.get(number).copied() else { return };
            if self.receiver.left() < appetite.count() {
                self.flush(core);
            }
            self.receiver.receive(fd, appetite.count(), &mut self.received);
            appetite.learn(self.received.len(), BATCH);
            core.listeners[number] = Some((fd, appetite));
            for slot in &self.received {
                for segment in segments(slot) {
                    let data = self.receiver.data(segment.start, segment.len());
                    core.on_client(number, slot.source, data, segment.start, now, &mut self.out);
                }
            }
        } else if token & !INDEX == KIND_RELAY {
            let (index, ipv6) = (number >> 1, number & 1 == 1);
            if self.receiver.left() < RELAY_BATCH {
                self.flush(core);
            }
            let Some(allocation) = core.get(index) else { return };
            let Some(relay) = allocation.relays.iter_mut().find(|relay| relay.advertised.is_ipv6() == ipv6) else { return };
            self.receiver.receive(relay.fd, relay.appetite.count(), &mut self.received);
            relay.appetite.learn(self.received.len(), RELAY_BATCH);
            for slot in &self.received {
                let peer = core.own.known_as(slot.source);
                for segment in segments(slot) {
                    core.on_peer(index, peer, segment, now, &mut self.out);
                }
            }
        }
    }

    /// Sends what the batch has become.
    fn flush(&mut self, core: &mut Core) {
        for (packets, to_client) in [(&mut self.out.to_peers, false), (&mut self.out.to_clients, true)] {
            let mut first = 0;
            while first < packets.len() {
                let fd = packets[first].fd;
                let count = packets[first..].iter().take_while(|packet| packet.fd == fd).count();
                let datagram = |index: usize| {
                    let packet: &Packet = &packets[index];
                    let (head, padding) = match &packet.wrapping {
                        Some(wrapping) => (&wrapping.head[..wrapping.length], wrapping.padding),
                        None => (&[][..], 0),
                    };
                    let payload = self.receiver.data(packet.payload.start, packet.payload.len());
                    Datagram { to: packet.to, head, payload, padding }
                };
                self.sender.send(fd, first..first + count, datagram, |index, ok| core.sent(&packets[index], to_client, ok));
                first += count;
            }
            packets.clear();
        }
        self.receiver.clear();
    }
}

/// The datagrams in a slot: one, or those that the kernel has put together.
fn segments(slot: &Received) -> impl Iterator<Item = Range<usize>> {
    let (start, end, step) = (slot.start, slot.start + slot.size, slot.segment.max(1));
    let count = slot.size.div_ceil(step).max(1);
    (0..count).map(move |index| start + index * step..(start + (index + 1) * step).min(end))
}
