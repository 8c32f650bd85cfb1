//! The module `parley_relay`. Addresses are pairs of text and number; descriptors stay the caller's, who closes them after
//! `close`, `retire`, `unlisten` or `stop`.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::engine::Engine;
use crate::net::{self, Appetite};
use crate::state::{Allocation, Dialect, Own, Relay, Traffic};
use crate::wire;

type Host<'a> = (&'a str, u16);
type Moved = (u64, u64, u64, u64, u64, f64);

fn host(text: &str) -> PyResult<IpAddr> {
    text.parse().map_err(|_| PyValueError::new_err(format!("not an IP address: {text:?}")))
}

fn address(pair: Host<'_>) -> PyResult<SocketAddr> {
    Ok(SocketAddr::new(host(pair.0)?, pair.1))
}

fn moved(traffic: Traffic, active_at: f64) -> Moved {
    let Traffic { sent_packets, sent_bytes, received_packets, received_bytes, dropped_packets } = traffic;
    (sent_packets, sent_bytes, received_packets, received_bytes, dropped_packets, active_at)
}

/// A thread that moves packets.
#[pyclass(frozen)]
struct RelayThread {
    engine: Arc<Engine>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl RelayThread {
    /// Changes an allocation; the interpreter goes on meanwhile, as the thread may have the table.
    fn change<T: Send>(
        &self,
        py: Python<'_>,
        number: usize,
        change: impl FnOnce(&mut Allocation) -> T + Send,
    ) -> PyResult<T> {
        py.detach(|| self.engine.with(number, change)).ok_or_else(|| PyKeyError::new_err(number))
    }
}

#[pymethods]
impl RelayThread {
    /// `own`: our addresses, as bound and as advertised; `guarded`: of which only relay ports may be reached; `ports`: first and last of the relay range; `segmentation`: whether
    /// bursts to one destination go to the kernel as one.
    #[new]
    #[pyo3(signature = (own, guarded, ports, segmentation = true))]
    fn new(own: Vec<(String, String)>, guarded: Vec<String>, ports: (u16, u16), segmentation: bool) -> PyResult<Self> {
        let pairs = own.iter().map(|(local, known)| Ok((host(local)?, host(known)?))).collect::<PyResult<Vec<_>>>()?;
        let guarded = guarded.iter().map(|text| host(text)).collect::<PyResult<Vec<_>>>()?;
        let engine = Arc::new(Engine::new(Own { pairs, guarded, ports }, segmentation)?);
        let runner = Arc::clone(&engine);
        let thread = std::thread::Builder::new().name("relay".into()).spawn(move || runner.run())?;
        Ok(RelayThread { engine, thread: Mutex::new(Some(thread)) })
    }

    /// A descriptor that is readable while `take_control` has something.
    fn control_fd(&self) -> RawFd {
        self.engine.control.fd()
    }

    /// Begins to read a bound, non-blocking UDP socket that clients send to; its number.
    fn listen(&self, py: Python<'_>, fd: RawFd) -> PyResult<usize> {
        Ok(py.detach(|| self.engine.listen(fd))?)
    }

    /// Ends that.
    fn unlisten(&self, py: Python<'_>, listener: usize) {
        py.detach(|| self.engine.unlisten(listener));
    }

    /// Takes an allocation in; its number. `key`: of MS-TURN, None for RFC 8656; `relays`: descriptor, advertised address and
    /// whether DONT-FRAGMENT can be promised; `rate`: bytes per second each way, 0 for any number.
    fn open(
        &self,
        py: Python<'_>,
        listener: usize,
        client: Host<'_>,
        key: Option<&[u8]>,
        relays: Vec<(RawFd, String, u16, bool)>,
        rate: f64,
    ) -> PyResult<usize> {
        let dialect = key.map_or(Dialect::Turn, |key| Dialect::MsTurn(wire::integrity_key(key)));
        let relays = relays
            .iter()
            .map(|(fd, known, port, dont_fragment)| {
                Ok(Relay {
                    fd: *fd,
                    advertised: address((known, *port))?,
                    dont_fragment: *dont_fragment,
                    appetite: Appetite::default(),
                })
            })
            .collect::<PyResult<Vec<_>>>()?;
        let allocation = Allocation::new(listener, address(client)?, dialect, relays, rate, net::monotonic());
        Ok(py.detach(|| self.engine.open(allocation))?)
    }

    /// Lets packets of a peer address pass until then (monotonic seconds).
    fn permit(&self, py: Python<'_>, allocation: usize, peer: &str, expires_at: f64) -> PyResult<()> {
        let peer = host(peer)?;
        self.change(py, allocation, move |allocation| allocation.permit(peer, expires_at))
    }

    /// Binds a channel until then.
    fn bind(&self, py: Python<'_>, allocation: usize, channel: u16, peer: Host<'_>, expires_at: f64) -> PyResult<()> {
        let peer = address(peer)?;
        self.change(py, allocation, move |allocation| allocation.bind(channel, peer, expires_at))
    }

    /// Sets the active destination of MS-TURN.
    fn set_destination(&self, py: Python<'_>, allocation: usize, peer: Option<Host<'_>>) -> PyResult<()> {
        let peer = peer.map(address).transpose()?;
        self.change(py, allocation, move |allocation| allocation.set_destination(peer))
    }

    /// Sends a payload from the relay of an allocation; whether it went out.
    fn send(&self, py: Python<'_>, allocation: usize, peer: Host<'_>, payload: &[u8]) -> PyResult<bool> {
        let peer = address(peer)?;
        Ok(py.detach(|| self.engine.send(allocation, peer, payload)))
    }

    /// Gives up one relay of two.
    fn retire(&self, py: Python<'_>, allocation: usize, advertised: Host<'_>) -> PyResult<()> {
        let advertised = address(advertised)?;
        py.detach(|| self.engine.retire(allocation, advertised));
        Ok(())
    }

    /// Packets and bytes sent to peers, packets and bytes received from them, packets dropped, and the time of the last one.
    fn traffic(&self, py: Python<'_>, allocation: usize) -> PyResult<Moved> {
        self.change(py, allocation, |allocation| moved(allocation.traffic, allocation.active_at))
    }

    /// Ends an allocation; its traffic at the end.
    fn close(&self, py: Python<'_>, allocation: usize) -> PyResult<Moved> {
        let (traffic, active_at) =
            py.detach(|| self.engine.close(allocation)).ok_or_else(|| PyKeyError::new_err(allocation))?;
        Ok(moved(traffic, active_at))
    }

    /// What clients sent that the server has to see: listener, host, port, datagram.
    fn take_control<'py>(&self, py: Python<'py>) -> Vec<(usize, String, u16, Bound<'py, PyBytes>)> {
        let messages = py.detach(|| self.engine.take_control());
        let tuple = |message: &crate::engine::Control| {
            let (source, data) = (message.source, PyBytes::new(py, &message.data));
            (message.listener, source.ip().to_string(), source.port(), data)
        };
        messages.iter().map(tuple).collect()
    }

    /// Dropped packets by reason.
    fn drops<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let drops = py.detach(|| self.engine.table().drops);
        let counts = PyDict::new(py);
        counts.set_item("not_permitted", drops.not_permitted)?;
        counts.set_item("not_relayed", drops.not_relayed)?;
        counts.set_item("rate", drops.rate)?;
        counts.set_item("relay_send_queue", drops.relay_send_queue)?;
        counts.set_item("client_send_queue", drops.client_send_queue)?;
        counts.set_item("control_queue", drops.control_queue)?;
        Ok(counts)
    }

    /// Ends the thread and waits for it.
    fn stop(&self, py: Python<'_>) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            self.engine.stop();
            // Joining a thread that panicked gives its panic, which it has printed.
            py.detach(|| drop(thread.join()));
        }
    }
}

impl Drop for RelayThread {
    fn drop(&mut self) {
        self.engine.stop();
    }
}

#[pymodule]
fn parley_relay(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<RelayThread>()?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}
