//! System calls: datagrams many at a time, epoll, eventfd. All `unsafe` of the crate is here. Sockets are raw descriptors
//! that the caller keeps open for as long as they are used; a closed one gives an error and nothing worse.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;

/// Datagrams of one `recvmmsg` or `sendmmsg`.
pub const BATCH: usize = 64;
/// Room for one datagram, or for those that the kernel has put together (UDP_GRO).
const ROOM: usize = 65536;
/// Slots are this far apart, so that their first bytes do not all fall into the same set of the cache.
const STRIDE: usize = ROOM + 320;
const CONTROL: usize = 64;

fn last_error<T>() -> io::Result<T> {
    Err(io::Error::last_os_error())
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { last_error() } else { Ok(result) }
}

/// Monotonic seconds, as Python's `time.monotonic` has them.
pub fn monotonic() -> f64 {
    // SAFETY: the kernel fills a timespec of ours; the clock always exists.
    let time = unsafe {
        let mut time: libc::timespec = zeroed();
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time);
        time
    };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Random bytes of the system, for seeds.
pub fn seed() -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: the length is that of the array.
    let size = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if size == 8 { u64::from_ne_bytes(bytes) } else { monotonic().to_bits() }
}

/// Asks for received datagrams to be put together; a kernel that cannot does without.
pub fn enable_gro(fd: RawFd) {
    let on: libc::c_int = 1;
    // SAFETY: pointer and length are those of `on`.
    unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_UDP,
            libc::UDP_GRO,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}

/// Writes a system address; its length.
fn to_system(address: SocketAddr, storage: &mut libc::sockaddr_storage) -> libc::socklen_t {
    match address.ip() {
        IpAddr::V4(host) => {
            // SAFETY: sockaddr_storage is large enough, and aligned, for every kind of address.
            let into = unsafe { &mut *(&raw mut *storage).cast::<libc::sockaddr_in>() };
            into.sin_family = libc::AF_INET as libc::sa_family_t;
            into.sin_port = address.port().to_be();
            into.sin_addr.s_addr = u32::from(host).to_be();
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        IpAddr::V6(host) => {
            // SAFETY: as above.
            let into = unsafe { &mut *(&raw mut *storage).cast::<libc::sockaddr_in6>() };
            into.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            into.sin6_port = address.port().to_be();
            into.sin6_flowinfo = 0;
            into.sin6_scope_id = 0;
            into.sin6_addr.s6_addr = host.octets();
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

fn from_system(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says what the storage holds.
            let from = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            let host = Ipv4Addr::from(u32::from_be(from.sin_addr.s_addr));
            Some(SocketAddr::new(IpAddr::V4(host), u16::from_be(from.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let from = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            let host = Ipv6Addr::from(from.sin6_addr.s6_addr);
            Some(SocketAddr::new(IpAddr::V6(host), u16::from_be(from.sin6_port)))
        }
        _ => None,
    }
}

/// Sends one datagram.
pub fn send_to(fd: RawFd, data: &[u8], to: SocketAddr) -> io::Result<()> {
    // SAFETY: all zero is a valid sockaddr_storage; pointers and lengths are those of `data` and of the storage.
    let sent = unsafe {
        let mut storage: libc::sockaddr_storage = zeroed();
        let length = to_system(to, &mut storage);
        libc::sendto(fd, data.as_ptr().cast(), data.len(), libc::MSG_DONTWAIT, (&raw const storage).cast(), length)
    };
    if sent < 0 { last_error() } else { Ok(()) }
}

/// Sends to the peer of a connected socket; whether the kernel took it.
pub fn send_connected(fd: RawFd, data: &[u8]) -> bool {
    // SAFETY: pointer and length are those of `data`.
    unsafe { libc::send(fd, data.as_ptr().cast(), data.len(), libc::MSG_DONTWAIT) >= 0 }
}

/// Reads one datagram; its size.
pub fn receive_one(fd: RawFd, into: &mut [u8]) -> Option<usize> {
    // SAFETY: pointer and length are those of `into`.
    usize::try_from(unsafe { libc::recv(fd, into.as_mut_ptr().cast(), into.len(), libc::MSG_DONTWAIT) }).ok()
}

/// How many datagrams are asked for at once. An attempt that finds nothing costs nearly as much as one that does, so it
/// follows what came last: one at a time for voice, more for bursts.
#[derive(Clone, Copy, Debug)]
pub struct Appetite(usize);

impl Default for Appetite {
    fn default() -> Self {
        Appetite(1)
    }
}

impl Appetite {
    pub fn count(&self) -> usize {
        self.0
    }

    /// `got`: how many came; `most`: how many it may be.
    pub fn learn(&mut self, got: usize, most: usize) {
        if got >= self.0 {
            self.0 = (2 * self.0).min(most);
        } else if 2 * got < self.0 {
            self.0 = (self.0 / 2).max(1);
        }
    }
}

/// Where datagrams are received: slots that are filled one after the other and used until `clear`.
pub struct Receiver {
    memory: Box<[u8]>,
    addresses: Box<[libc::sockaddr_storage]>,
    controls: Box<[[u64; CONTROL / 8]]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    used: usize,
}

/// One slot that was filled. `segment`: the size of each datagram in it but the last.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    pub source: SocketAddr,
    pub start: usize,
    pub size: usize,
    pub segment: usize,
}

impl Default for Receiver {
    fn default() -> Self {
        // SAFETY: all zero is a valid value of each.
        let (empty, vector, header) = unsafe { (zeroed(), zeroed(), zeroed()) };
        // The memory is taken page by page, as it is used: a slot of small datagrams takes one page.
        Receiver {
            memory: vec![0; STRIDE * BATCH].into_boxed_slice(),
            addresses: vec![empty; BATCH].into_boxed_slice(),
            controls: vec![[0; CONTROL / 8]; BATCH].into_boxed_slice(),
            vectors: vec![vector; BATCH].into_boxed_slice(),
            headers: vec![header; BATCH].into_boxed_slice(),
            used: 0,
        }
    }
}

impl Receiver {
    /// How many slots are free.
    pub fn left(&self) -> usize {
        BATCH - self.used
    }

    /// Frees all slots.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// What stands at a place that `receive` told of.
    pub fn data(&self, start: usize, size: usize) -> &[u8] {
        &self.memory[start..start + size]
    }

    /// Fills up to `most` slots from a socket and tells of each. Errors of earlier datagrams (ICMP) are passed over.
    pub fn receive(&mut self, fd: RawFd, most: usize, into: &mut Vec<Received>) {
        into.clear();
        let count = most.min(self.left());
        let (vectors, headers) = (&mut self.vectors, &mut self.headers);
        // SAFETY: every header points to slots, addresses and control buffers of `self`, which live longer than the call, and
        // gives their true lengths; `count` is at most the number of free ones.
        unsafe {
            for index in 0..count {
                let slot = self.used + index;
                vectors[index].iov_base = self.memory[slot * STRIDE..].as_mut_ptr().cast();
                vectors[index].iov_len = ROOM;
                let header = &mut headers[index].msg_hdr;
                header.msg_iov = &raw mut vectors[index];
                header.msg_iovlen = 1;
                header.msg_name = (&raw mut self.addresses[slot]).cast();
                header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
                header.msg_control = (&raw mut self.controls[slot]).cast();
                header.msg_controllen = CONTROL as _;
            }
            let got = if count == 1 {
                // One message costs a little less this way.
                let size = libc::recvmsg(fd, &raw mut headers[0].msg_hdr, libc::MSG_DONTWAIT);
                headers[0].msg_len = size.max(0) as libc::c_uint;
                if size < 0 { 0 } else { 1 }
            } else {
                libc::recvmmsg(fd, headers.as_mut_ptr(), count as libc::c_uint, libc::MSG_DONTWAIT, null_mut())
            };
            for (index, message) in headers.iter().enumerate().take(usize::try_from(got).unwrap_or(0)) {
                let slot = self.used + index;
                let size = message.msg_len as usize;
                if let Some(source) = from_system(&self.addresses[slot]) {
                    let segment = segment_size(&message.msg_hdr).filter(|segment| *segment > 0).unwrap_or(size);
                    into.push(Received { source, start: slot * STRIDE, size, segment });
                }
            }
            self.used += usize::try_from(got).unwrap_or(0);
        }
    }
}

/// What the control message UDP_GRO says.
///
/// # Safety
/// The header must be one that the kernel has filled.
unsafe fn segment_size(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: the kernel has written whole control messages into the buffer and set its length.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            if (*control).cmsg_level == libc::SOL_UDP && (*control).cmsg_type == libc::UDP_GRO {
                let value: libc::c_int = libc::CMSG_DATA(control).cast::<libc::c_int>().read_unaligned();
                return usize::try_from(value).ok();
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    None
}

/// A datagram to be sent: a head of its own, and a payload that stands in a `Receiver`.
pub struct Datagram<'a> {
    pub to: SocketAddr,
    pub head: &'a [u8],
    pub payload: &'a [u8],
    /// Zero bytes after the payload.
    pub padding: usize,
}

impl Datagram<'_> {
    fn size(&self) -> usize {
        self.head.len() + self.payload.len() + self.padding
    }
}

/// Segments of one datagram that the kernel cuts (UDP_SEGMENT): their number, and the size of each, which no link of ours cuts.
const MOST_SEGMENTS: usize = 48;
const LARGEST_SEGMENT: usize = 1400;
const LARGEST_BURST: usize = 64_000;
const VECTORS: usize = 3 * BATCH;
static ZEROES: [u8; 4] = [0; 4];

/// Sends datagrams, and those of one size to one destination together.
pub struct Sender {
    segmentation: bool,
    /// What system calls point to; kept, since filling it with zeroes would cost more than a datagram.
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    addresses: Box<[libc::sockaddr_storage]>,
    controls: Box<[[u64; CONTROL / 8]]>,
}

impl Sender {
    pub fn new(segmentation: bool) -> Self {
        // SAFETY: all zero is a valid value of each.
        let (vector, header, address) = unsafe { (zeroed(), zeroed(), zeroed()) };
        Sender {
            segmentation,
            vectors: vec![vector; VECTORS].into_boxed_slice(),
            headers: vec![header; BATCH].into_boxed_slice(),
            addresses: vec![address; BATCH].into_boxed_slice(),
            controls: vec![[0; CONTROL / 8]; BATCH].into_boxed_slice(),
        }
    }

    /// Sends the datagrams of a range in their order; `done` is told of each whether the kernel took it.
    pub fn send<'a>(
        &mut self,
        fd: RawFd,
        range: Range<usize>,
        datagram: impl Fn(usize) -> Datagram<'a>,
        mut done: impl FnMut(usize, bool),
    ) {
        let mut first = range.start;
        while first < range.end {
            let together = self.segmentation;
            let (taken, error) = self.send_some(fd, first..range.end.min(first + BATCH), &datagram, together);
            (first..first + taken).for_each(|index| done(index, true));
            first += taken;
            let Some(failed) = error else { continue };
            if failed.count > 1 {
                // Devices without checksums cannot cut datagrams, and routes may have a smaller limit than ours.
                if matches!(failed.code, libc::EIO | libc::EOPNOTSUPP) {
                    self.segmentation = false;
                }
                for index in first..first + failed.count {
                    let (taken, _) = self.send_some(fd, index..index + 1, &datagram, false);
                    done(index, taken == 1);
                }
                first += failed.count;
            } else if failed.code == libc::EAGAIN {
                // The socket is full: what is left is dropped, as a network would.
                (first..range.end).for_each(|index| done(index, false));
                return;
            } else {
                done(first, false);
                first += 1;
            }
        }
    }

    /// One `sendmmsg`: the number of datagrams sent, and what failed after them, if anything did.
    fn send_some<'a>(
        &mut self,
        fd: RawFd,
        range: Range<usize>,
        datagram: &impl Fn(usize) -> Datagram<'a>,
        together: bool,
    ) -> (usize, Option<Failed>) {
        let mut counts = [0usize; BATCH];
        let (vectors, headers) = (&mut self.vectors, &mut self.headers);
        let (addresses, controls) = (&mut self.addresses, &mut self.controls);
        // SAFETY: headers point to vectors, addresses and control buffers of `self` and to slices that outlive the call, with
        // their true lengths; each array has room for BATCH datagrams. The kernel only reads through them.
        let sent = unsafe {
            let (mut messages, mut vector, mut index) = (0, 0, range.start);
            while index < range.end {
                let count = if together { burst(index..range.end, datagram) } else { 1 };
                let first = datagram(index);
                let header = &mut headers[messages].msg_hdr;
                header.msg_namelen = to_system(first.to, &mut addresses[messages]);
                header.msg_name = (&raw mut addresses[messages]).cast();
                header.msg_iov = &raw mut vectors[vector];
                let begin = vector;
                for next in (index..index + count).map(datagram) {
                    for part in [next.head, next.payload, &ZEROES[..next.padding]] {
                        if !part.is_empty() {
                            vectors[vector].iov_base = part.as_ptr().cast_mut().cast();
                            vectors[vector].iov_len = part.len();
                            vector += 1;
                        }
                    }
                }
                header.msg_iovlen = (vector - begin) as _;
                header.msg_control = null_mut();
                header.msg_controllen = 0;
                if count > 1 {
                    header.msg_control = (&raw mut controls[messages]).cast();
                    header.msg_controllen = libc::CMSG_SPACE(size_of::<u16>() as u32) as _;
                    let control = libc::CMSG_FIRSTHDR(header);
                    (*control).cmsg_level = libc::SOL_UDP;
                    (*control).cmsg_type = libc::UDP_SEGMENT;
                    (*control).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
                    libc::CMSG_DATA(control).cast::<u16>().write_unaligned(first.size() as u16);
                }
                counts[messages] = count;
                messages += 1;
                index += count;
            }
            let sent = if messages == 1 {
                // One message costs a little less this way.
                let sent = libc::sendmsg(fd, &raw const headers[0].msg_hdr, libc::MSG_DONTWAIT);
                if sent < 0 { -1 } else { 1 }
            } else {
                libc::sendmmsg(fd, headers.as_mut_ptr(), messages as libc::c_uint, libc::MSG_DONTWAIT)
            };
            if sent == messages as libc::c_int {
                return (range.len(), None);
            }
            sent
        };
        if sent < 0 {
            let code = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
            return (0, Some(Failed { count: counts[0], code }));
        }
        // The kernel keeps the error of the message after the last one sent for the next call.
        (counts[..sent as usize].iter().sum(), None)
    }
}

/// What could not be sent: datagrams that were put together, and the system's error.
struct Failed {
    count: usize,
    code: i32,
}

/// How many datagrams from the first on can go as one: same destination and size, the last may be shorter.
fn burst<'a>(range: Range<usize>, datagram: &impl Fn(usize) -> Datagram<'a>) -> usize {
    let first = datagram(range.start);
    let size = first.size();
    if size == 0 || size > LARGEST_SEGMENT {
        return 1;
    }
    let most = MOST_SEGMENTS.min(LARGEST_BURST / size);
    let mut count = 1;
    for index in range.skip(1).take(most - 1) {
        let next = datagram(index);
        if next.to != first.to || next.size() > size || next.size() == 0 {
            break;
        }
        count += 1;
        if next.size() < size {
            break;
        }
    }
    count
}

/// An epoll instance.
pub struct Poll(OwnedFd);

impl Poll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: a new descriptor, which nobody else owns.
        unsafe { Ok(Poll(OwnedFd::from_raw_fd(checked(libc::epoll_create1(libc::EPOLL_CLOEXEC))?))) }
    }

    /// Tells of input on a descriptor, under that token.
    pub fn add(&self, fd: RawFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        // SAFETY: the kernel copies the event.
        checked(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) }).map(|_| ())
    }

    pub fn remove(&self, fd: RawFd) {
        // SAFETY: no pointer is used; a descriptor that is not there gives an error that changes nothing.
        unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, null_mut()) };
    }

    /// Waits for input and gives the tokens.
    pub fn wait(&self, tokens: &mut Vec<u64>) {
        self.take(tokens, -1);
    }

    /// Gives the tokens of what has input now.
    pub fn look(&self, tokens: &mut Vec<u64>) {
        self.take(tokens, 0);
    }

    fn take(&self, tokens: &mut Vec<u64>, timeout: libc::c_int) {
        tokens.clear();
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 4 * BATCH];
        // SAFETY: pointer and length are those of the array.
        let count =
            unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), events.len() as libc::c_int, timeout) };
        tokens.extend(events.iter().take(usize::try_from(count).unwrap_or(0)).map(|event| event.u64));
    }
}

/// An eventfd: wakes whoever waits for it.
pub struct Waker(OwnedFd);

impl Waker {
    pub fn new() -> io::Result<Self> {
        // SAFETY: a new descriptor, which nobody else owns.
        unsafe {
            let fd = checked(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?;
            Ok(Waker(OwnedFd::from_raw_fd(fd)))
        }
    }

    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub fn wake(&self) {
        let one = 1u64;
        // SAFETY: eight bytes of `one` are read.
        unsafe { libc::write(self.fd(), (&raw const one).cast(), 8) };
    }

    pub fn clear(&self) {
        let mut count = 0u64;
        // SAFETY: eight bytes are written to `count`.
        unsafe { libc::read(self.fd(), (&raw mut count).cast(), 8) };
    }
}
