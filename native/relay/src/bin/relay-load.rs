//! Load for `python -m bench relay`: plays the clients and the peers of allocations that exist already.
//!
//! Arguments: packets per second in all, seconds, bytes of payload. Standard input: one line for each allocation with the
//! descriptor of its client's socket (connected to the server), the descriptor of its peer's socket (connected to the relay),
//! and in hexadecimal what the client puts before a payload.
//! Packets go in turn from clients to peers and from peers to clients. Prints sent, received, and delays in microseconds:
//! half of the packets took less than the first, 99 of 100 less than the second, all less than the third.

use std::io::{self, BufRead};
use std::os::fd::RawFd;
use std::time::Instant;

use parley_relay::net::{self, Poll};

/// Time for the last packets to arrive.
const LINGER: f64 = 0.3;
/// The payload begins with the time at which it was sent.
const STAMP: usize = 8;
/// Packets that are sent before arrivals are looked at.
const MOST: u64 = 32;

struct Socket {
    fd: RawFd,
    /// What is sent: a head, and the payload from `payload_at` on.
    message: Vec<u8>,
    payload_at: usize,
    /// What arrives is a message of the server's, and no bare payload.
    is_client: bool,
}

/// The payload of ChannelData, or of a Data indication: servers differ in the order of its attributes.
fn payload(message: &[u8]) -> Option<&[u8]> {
    if message.first()? & 0x40 != 0 {
        return message.get(4..);
    }
    let mut at = 20;
    loop {
        let [kind_high, kind_low, size_high, size_low] = *message.get(at..at + 4)? else { return None };
        let size = usize::from(u16::from_be_bytes([size_high, size_low]));
        if u16::from_be_bytes([kind_high, kind_low]) == 0x0013 {
            return message.get(at + 4..at + 4 + size);
        }
        at += 4 + size.next_multiple_of(4);
    }
}

fn parse(line: &str, size: usize) -> Option<[Socket; 2]> {
    let mut words = line.split_whitespace();
    let client = words.next()?.parse().ok()?;
    let peer = words.next()?.parse().ok()?;
    let text = words.next()?;
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    let head = (0..text.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>()?;
    let payload_at = head.len();
    let message = [head, vec![0; size]].concat();
    Some([
        Socket { fd: client, message, payload_at, is_client: true },
        Socket { fd: peer, message: vec![0; size], payload_at: 0, is_client: false },
    ])
}

/// Reads what has arrived, some datagrams of each socket; notes how long each took.
fn receive(poll: &Poll, sockets: &[Socket], tokens: &mut Vec<u64>, delays: &mut Vec<u32>, since: Instant) {
    let mut buffer = [0u8; 2048];
    poll.look(tokens);
    for token in tokens.iter() {
        let socket = &sockets[*token as usize];
        let Some(size) = net::receive_one(socket.fd, &mut buffer) else { continue };
        let now = since.elapsed().as_nanos() as u64;
        let message = &buffer[..size];
        let received = if socket.is_client { payload(message) } else { Some(message) };
        if let Some(stamp) = received.and_then(|received| received.get(..STAMP)) {
            let sent = stamp.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
            delays.push(u32::try_from(now.saturating_sub(sent)).unwrap_or(u32::MAX));
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, rate, seconds, size] = arguments.as_slice() else { return Err("usage: relay-load RATE SECONDS BYTES".into()) };
    let (rate, seconds, size): (f64, f64, usize) = (rate.parse()?, seconds.parse()?, size.parse()?);
    let mut sockets = Vec::new();
    for line in io::stdin().lock().lines() {
        sockets.extend(parse(&line?, size.max(STAMP)).ok_or("a line is not understood")?);
    }
    let poll = Poll::new()?;
    for (index, socket) in sockets.iter().enumerate() {
        poll.add(socket.fd, index as u64)?;
    }
    let (since, count) = (Instant::now(), sockets.len());
    let mut delays: Vec<u32> = Vec::with_capacity((rate * seconds) as usize);
    let (mut tokens, mut sent, mut turn) = (Vec::new(), 0u64, 0u64);
    loop {
        let elapsed = since.elapsed().as_secs_f64();
        if elapsed > seconds + LINGER || (elapsed > seconds && delays.len() as u64 >= sent) {
            break;
        }
        let due = (elapsed.min(seconds) * rate) as u64;
        for _ in 0..due.saturating_sub(turn).min(MOST) {
            // All clients first, then all peers, and again.
            let at = turn as usize % count;
            let socket = &mut sockets[if at < count / 2 { 2 * at } else { 2 * at + 1 - count }];
            turn += 1;
            let stamp = (since.elapsed().as_nanos() as u64).to_le_bytes();
            socket.message[socket.payload_at..socket.payload_at + STAMP].copy_from_slice(&stamp);
            sent += u64::from(net::send_connected(socket.fd, &socket.message));
        }
        receive(&poll, &sockets, &mut tokens, &mut delays, since);
    }
    delays.sort_unstable();
    let at = |share: f64| delays.get((delays.len() as f64 * share) as usize).or(delays.last()).map_or(0, |ns| ns / 1000);
    println!("{sent} {} {} {} {}", delays.len(), at(0.5), at(0.99), at(1.0));
    Ok(())
}
