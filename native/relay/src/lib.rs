//! The packet path of Parley's media relay: a thread that forwards packets of allocations it is told of, in both dialects
//! (RFC 8656 and MS-TURN), and hands everything else to the server. See `parley/stun/turn/plane.py` for what a plane is.

pub mod engine;
pub mod net;
pub mod state;
pub mod wire;

#[cfg(feature = "python")]
mod python;
