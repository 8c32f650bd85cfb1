//! Messages as they stand in a datagram: RFC 8656 ChannelData, Send and Data indications; MS-TURN Send requests and Data
//! indications. Everything here reads slices and trusts nothing in them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

pub const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
pub const MS_COOKIE: [u8; 8] = [0x00, 0x0f, 0x00, 0x04, 0x72, 0xc6, 0x4b, 0xc6];
pub const HEADER: usize = 20;
/// The longest head that is put before a payload: an MS-TURN Data indication about an IPv6 peer.
pub const MAX_HEAD: usize = HEADER + 8 + 24 + 4;
/// What an IPv4 datagram can hold.
const MAX_PAYLOAD: usize = 65507;
/// The longest payload of an MS-TURN client.
pub const MS_MAX_PAYLOAD: usize = 65_000;
const INTEGRITY: usize = 20;

pub type IntegrityKey = Hmac<Sha1>;

/// What a client wants sent, and to whom; `payload` is a range of the message.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct Outgoing {
    pub peer: SocketAddr,
    pub payload: Range<usize>,
    /// DONT-FRAGMENT was asked for.
    pub whole: bool,
}

fn u16_at(data: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([data[at], data[at + 1]])
}

/// Whether bytes begin as an MS-TURN message does (MS-TURN section 3.1.10).
pub fn is_ms_message(data: &[u8]) -> bool {
    data.len() >= HEADER + 8 && data[0] < 0x40 && data[HEADER..HEADER + 8] == MS_COOKIE
}

/// Channel and payload of a ChannelData message; what follows the payload is padding (RFC 8656 section 12.4).
pub fn channel_data(data: &[u8]) -> Option<(u16, Range<usize>)> {
    if data.len() < 4 {
        return None;
    }
    let end = 4 + usize::from(u16_at(data, 2));
    (data.len() >= end).then(|| (u16_at(data, 0), 4..end))
}

/// Peer and payload of a Send indication. One with an attribute that must be understood and is not is None.
pub fn send_indication(data: &[u8]) -> Option<Outgoing> {
    let end = data.len();
    if end < HEADER || data[4..8] != COOKIE || HEADER + usize::from(u16_at(data, 2)) != end {
        return None;
    }
    let (mut peer, mut payload, mut whole) = (None, None, false);
    let mut at = HEADER;
    while at + 4 <= end {
        let kind = u16_at(data, at);
        let size = usize::from(u16_at(data, at + 2));
        let start = at + 4;
        at = start + size.next_multiple_of(4);
        if at > end {
            return None;
        }
        match kind {
            0x0012 if peer.is_none() => peer = Some(xor_address(&data[start..start + size], &data[4..20])?),
            0x0013 if payload.is_none() => payload = Some(start..start + size),
            0x0012 | 0x0013 => {}
            0x001a => whole = true,
            0x8000.. => {}
            _ => return None,
        }
    }
    Some(Outgoing { peer: peer?, payload: payload?, whole })
}

/// An address masked with the cookie and the transaction id, which stand together in `mask`.
fn xor_address(value: &[u8], mask: &[u8]) -> Option<SocketAddr> {
    let mut plain = [0u8; 20];
    let plain = plain.get_mut(..value.len())?;
    plain.copy_from_slice(value);
    for (index, byte) in plain.iter_mut().skip(2).enumerate() {
        *byte ^= mask[if index < 2 { index } else { index - 2 }];
    }
    address(plain)
}

/// The address in a value of MAPPED-ADDRESS and its like.
pub fn address(value: &[u8]) -> Option<SocketAddr> {
    let host = match (value.len(), value.get(1)?) {
        (8, 1) => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(&value[4..]).ok()?)),
        (20, 2) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(&value[4..]).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(host, u16_at(value, 2)))
}

/// The value of MAPPED-ADDRESS and its like; its length.
fn put_address(peer: SocketAddr, into: &mut [u8]) -> usize {
    into[0] = 0;
    into[2..4].copy_from_slice(&peer.port().to_be_bytes());
    match peer.ip() {
        IpAddr::V4(host) => {
            into[1] = 1;
            into[4..8].copy_from_slice(&host.octets());
            8
        }
        IpAddr::V6(host) => {
            into[1] = 2;
            into[4..20].copy_from_slice(&host.octets());
            20
        }
    }
}

/// An MS-TURN Send request, as far as it can be judged without its sender's key.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct MsSend {
    pub out: Outgoing,
    /// Where MESSAGE-INTEGRITY begins.
    pub integrity_at: usize,
}

/// Reads a Send request. None: it is malformed or ends without integrity. Its other attributes do not matter (MS-TURN section
/// 3.2.5.2), and of two destinations or payloads the last one counts.
pub fn ms_send(data: &[u8]) -> Option<MsSend> {
    if !is_ms_message(data) || HEADER + usize::from(u16_at(data, 2)) != data.len() {
        return None;
    }
    let end = data.len().checked_sub(4 + INTEGRITY)?;
    let (mut peer, mut payload) = (None, None);
    let mut at = HEADER + 8;
    while at + 4 <= end {
        let kind = u16_at(data, at);
        let start = at + 4;
        at = start + usize::from(u16_at(data, at + 2));
        match (kind, data.get(start..at)?) {
            (0x0011, value) => peer = Some(address(value).filter(SocketAddr::is_ipv4)?),
            (0x0013, _) => payload = Some(start..at),
            _ => {}
        }
    }
    if at != end || data[end..end + 4] != [0x00, 0x08, 0x00, 0x14] {
        return None;
    }
    let out = Outgoing { peer: peer?, payload: payload?, whole: false };
    Some(MsSend { out, integrity_at: end })
}

/// The key of an allocation, ready for use; the expensive part of HMAC is done once.
pub fn integrity_key(key: &[u8]) -> IntegrityKey {
    // HMAC takes keys of any length, so this cannot fail.
    IntegrityKey::new_from_slice(key).expect("a key of any length will do")
}

/// Whether MESSAGE-INTEGRITY is right: over what is before it, filled with zero bytes to a multiple of 64.
pub fn ms_integrity_is_right(data: &[u8], at: usize, key: &IntegrityKey) -> bool {
    let mut mac = key.clone();
    mac.update(&data[..at]);
    mac.update(&[0u8; 64][..(64 - at % 64) % 64]);
    // Compares in constant time.
    mac.verify_slice(&data[at + 4..]).is_ok()
}

/// The head of ChannelData; its length.
pub fn put_channel_head(number: u16, size: usize, into: &mut [u8; MAX_HEAD]) -> Option<usize> {
    into[..2].copy_from_slice(&number.to_be_bytes());
    into[2..4].copy_from_slice(&u16::try_from(size).ok()?.to_be_bytes());
    Some(4)
}

/// The head of a Data indication up to its payload, which is padded to four bytes; its length.
pub fn put_data_head(peer: SocketAddr, size: usize, transaction: [u8; 12], into: &mut [u8; MAX_HEAD]) -> Option<usize> {
    if size > MAX_PAYLOAD {
        return None;
    }
    into[4..8].copy_from_slice(&COOKIE);
    into[8..20].copy_from_slice(&transaction);
    let length = put_address(peer, &mut into[24..]);
    for index in 2..length {
        into[24 + index] ^= into[4 + if index < 4 { index - 2 } else { index - 4 }];
    }
    into[..2].copy_from_slice(&0x0017u16.to_be_bytes());
    put_attribute(0x0012, length, &mut into[20..]);
    put_attribute(0x0013, size, &mut into[24 + length..]);
    let body = u16::try_from(8 + length + size.next_multiple_of(4)).ok()?;
    into[2..4].copy_from_slice(&body.to_be_bytes());
    Some(28 + length)
}

/// The head of an MS-TURN Data indication up to its payload, which is not padded; its length. The first four
/// bytes of the transaction id are zero: nobody answers an indication, so nothing depends on it.
pub fn put_ms_data_head(peer: SocketAddr, size: usize, transaction: [u8; 12], into: &mut [u8; MAX_HEAD]) -> Option<usize> {
    into[..2].copy_from_slice(&0x0115u16.to_be_bytes());
    into[4..8].fill(0);
    into[8..20].copy_from_slice(&transaction);
    into[20..28].copy_from_slice(&MS_COOKIE);
    let length = put_address(peer, &mut into[32..]);
    put_attribute(0x0012, length, &mut into[28..]);
    put_attribute(0x0013, size, &mut into[32 + length..]);
    let body = u16::try_from(16 + length + size).ok()?;
    into[2..4].copy_from_slice(&body.to_be_bytes());
    Some(36 + length)
}

fn put_attribute(kind: u16, size: usize, into: &mut [u8]) {
    into[..2].copy_from_slice(&kind.to_be_bytes());
    // Callers have bounded the size of the whole message, and with it this one.
    into[2..4].copy_from_slice(&(size as u16).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn a_data_indication_reads_like_a_send_indication() {
        for text in ["203.0.113.5:4711", "[2001:db8::9]:4711"] {
            let peer: SocketAddr = text.parse().unwrap();
            let mut head = [0; MAX_HEAD];
            let length = put_data_head(peer, 5, *b"abcdefghijkl", &mut head).unwrap();
            let mut message = [&head[..length], b"hello\0\0\0"].concat();
            message[1] = 0x16;
            let read = send_indication(&message).unwrap();
            assert_eq!((read.peer, &message[read.payload]), (peer, &b"hello"[..]));
        }
    }

    #[test]
    fn integrity_of_ms_turn_is_filled_to_64_bytes() {
        // HMAC-SHA1 of 64 zero bytes, of which the message has 60, as Python's hmac.digest gives it.
        let message = [&[0u8; 60][..], &[0, 8, 0, 20], &hex("2801e04db878536a35d676368f998a5d2d00e3a0")].concat();
        let key = integrity_key(b"0123456789abcdef");
        assert!(ms_integrity_is_right(&message, 60, &key));
        let mut changed = message.clone();
        changed[3] ^= 1;
        assert!(!ms_integrity_is_right(&changed, 60, &key));
        assert!(!ms_integrity_is_right(&message[..70], 60, &key));
    }

    #[test]
    fn what_is_cut_short_is_nothing() {
        let peer: SocketAddr = "203.0.113.5:4711".parse().unwrap();
        let mut head = [0; MAX_HEAD];
        let length = put_data_head(peer, 8, [7; 12], &mut head).unwrap();
        let message = [&head[..length], &[1; 8]].concat();
        assert!(send_indication(&message).is_some());
        for size in 0..message.len() {
            assert_eq!(send_indication(&message[..size]), None);
            assert_eq!(ms_send(&message[..size]), None);
        }
        assert_eq!(channel_data(&[0x40, 0, 0, 1]), None);
        assert_eq!(channel_data(&[0x40, 0, 0, 0]), Some((0x4000, 4..4)));
    }
}
