//! Free ports on 127.0.0.1, given out so that no two servers get the same one, not even those of test
//! programs that run at the same time.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use anyhow::{Result, bail};

/// Below Linux's range for outgoing connections (32768 to 60999), so that none of those takes a port
/// between a server's stop and its next start.
const RANGE: std::ops::Range<u16> = 12_000..32_000;

/// Where ports are claimed. The servers listen on 127.0.0.1 and are not in the way of each other.
const CLAIMS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 99);

/// A port that belongs to this process until it is dropped, free for TCP and UDP on 127.0.0.1.
///
/// The claim is a socket on the same port of another loopback address: the kernel refuses it to
/// everybody else, and lets go of it when the process ends.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _claim: TcpListener,
}

impl Port {
    /// Claims a free port.
    pub fn claim() -> Result<Self> {
        let size = usize::from(RANGE.end - RANGE.start);
        // Any start will do as long as processes begin at different ones.
        let start = usize::try_from(RandomState::new().hash_one(std::process::id()) % 20_000)? % size;
        for step in 0..size {
            let number = RANGE.start + u16::try_from((start + step) % size)?;
            if let Some(port) = Self::try_claim(number) {
                return Ok(port);
            }
        }
        bail!(
            "no free port on 127.0.0.1 between {} and {}",
            RANGE.start,
            RANGE.end
        )
    }

    fn try_claim(number: u16) -> Option<Self> {
        let claim = TcpListener::bind((CLAIMS, number)).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Self {
            number,
            _claim: claim,
        })
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The port on 127.0.0.1.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}
