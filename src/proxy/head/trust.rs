//! Which peers are believed what they say of others. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use http::HeaderName;

/// Whom to believe, and what only those may say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Peers that speak for others: proxies in front of weir.
    pub proxies: Vec<Network>,
    /// Fields that are taken from those only, besides `Forwarded` and `X-Forwarded-*`.
    pub headers: Arc<[HeaderName]>,
}

impl Trust {
    /// Whether this peer is believed.
    #[must_use]
    pub fn believes(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.proxies.iter().any(|network| network.contains(peer))
    }
}

/// A block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// The first address and the mask.
    V4(u32, u32),
    /// The same for IPv6.
    V6(u128, u128),
}

impl Network {
    /// Every address.
    pub const ANY: [Self; 2] = [Self::V4(0, 0), Self::V6(0, 0)];

    /// What nobody outside of the pod's network can have: loopback, private use (RFC 1918), shared
    /// (RFC 6598), link-local, and unique local addresses (RFC 4193).
    pub const PRIVATE: [Self; 9] = [
        Self::v4([10, 0, 0, 0], 8),
        Self::v4([127, 0, 0, 0], 8),
        Self::v4([172, 16, 0, 0], 12),
        Self::v4([192, 168, 0, 0], 16),
        Self::v4([100, 64, 0, 0], 10),
        Self::v4([169, 254, 0, 0], 16),
        Self::v6([0, 0, 0, 0, 0, 0, 0, 1], 128),
        Self::v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
        Self::v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
    ];

    const fn v4(octets: [u8; 4], bits: u32) -> Self {
        Self::V4(u32::from_be_bytes(octets), !(u32::MAX >> bits))
    }

    const fn v6(parts: [u16; 8], bits: u32) -> Self {
        let first = Ipv6Addr::new(
            parts[0], parts[1], parts[2], parts[3], parts[4], parts[5], parts[6], parts[7],
        );
        let mask = if bits == 128 {
            u128::MAX
        } else {
            !(u128::MAX >> bits)
        };
        Self::V6(first.to_bits(), mask)
    }

    fn contains(self, peer: IpAddr) -> bool {
        match (self, peer) {
            (Self::V4(first, mask), IpAddr::V4(peer)) => peer.to_bits() & mask == first,
            (Self::V6(first, mask), IpAddr::V6(peer)) => peer.to_bits() & mask == first,
            _ => false,
        }
    }
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkError {
    /// Neither an address nor an address with a prefix length.
    Form,
    /// The prefix length is longer than the address.
    Prefix,
    /// Bits are set behind the prefix: probably another block was meant. This is the block.
    HostBits(Network),
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Form)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits: u32 = match prefix {
            Some(prefix) if !prefix.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Err(NetworkError::Form);
            }
            Some(prefix) => prefix.parse().map_err(|_| NetworkError::Form)?,
            None => most,
        };
        if bits > most {
            return Err(NetworkError::Prefix);
        }
        let (network, is_exact) = match address {
            IpAddr::V4(address) => {
                let mask = !u32::MAX.checked_shr(bits).unwrap_or(0);
                let first = address.to_bits() & mask;
                (Self::V4(first, mask), first == address.to_bits())
            }
            IpAddr::V6(address) => {
                let mask = !u128::MAX.checked_shr(bits).unwrap_or(0);
                let first = address.to_bits() & mask;
                (Self::V6(first, mask), first == address.to_bits())
            }
        };
        if is_exact {
            Ok(network)
        } else {
            Err(NetworkError::HostBits(network))
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(first, mask) => {
                write!(f, "{}/{}", Ipv4Addr::from(*first), mask.leading_ones())
            }
            Self::V6(first, mask) => {
                write!(f, "{}/{}", Ipv6Addr::from(*first), mask.leading_ones())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust(networks: &[&str]) -> Trust {
        Trust {
            proxies: networks
                .iter()
                .map(|network| network.parse().expect("a network"))
                .collect(),
            headers: [].into(),
        }
    }

    #[test]
    fn a_block_has_its_addresses_and_no_others() {
        let rows: [(&[&str], &str, bool); 12] = [
            (&[], "127.0.0.1", false),
            (&["10.0.0.0/8"], "10.255.255.255", true),
            (&["10.0.0.0/8"], "11.0.0.0", false),
            (&["10.1.2.3"], "10.1.2.3", true),
            (&["10.1.2.3"], "10.1.2.4", false),
            (&["10.1.2.3/32", "fd00::/8"], "fd12::1", true),
            (&["10.1.2.3/32", "fd00::/8"], "fe00::1", false),
            (&["0.0.0.0/0"], "203.0.113.9", true),
            (&["0.0.0.0/0"], "2001:db8::1", false),
            (&["::/0"], "2001:db8::1", true),
            (&["::/0"], "203.0.113.9", false),
            // An IPv4 client of a listener on [::].
            (&["10.0.0.0/8"], "::ffff:10.0.0.1", true),
        ];
        for (networks, peer, expected) in rows {
            let peer = peer.parse().expect("an address");
            assert_eq!(
                trust(networks).believes(peer),
                expected,
                "{networks:?} {peer}"
            );
        }
    }

    #[test]
    fn private_is_what_cannot_come_from_outside() {
        let private = Trust {
            proxies: Network::PRIVATE.to_vec(),
            headers: [].into(),
        };
        let inside = [
            "10.0.0.1",
            "127.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.1.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ];
        let outside = [
            "8.8.8.8",
            "172.32.0.1",
            "172.15.255.255",
            "192.169.0.1",
            "100.128.0.1",
            "0.0.0.0",
            "203.0.113.1",
            "::2",
            "2001:db8::1",
            "::ffff:8.8.8.8",
            "fec0::1",
        ];
        for peer in inside {
            assert!(
                private.believes(peer.parse().expect("an address")),
                "{peer}"
            );
        }
        for peer in outside {
            assert!(
                !private.believes(peer.parse().expect("an address")),
                "{peer}"
            );
        }
    }

    #[test]
    fn what_is_no_network_is_told_apart() {
        for text in [
            "",
            "a",
            "10.0.0",
            "10.0.0.0/",
            "10.0.0.0/x",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
        ] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::Form), "{text}");
        }
        for text in ["10.0.0.0/33", "::/129"] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::Prefix), "{text}");
        }
        let block = "10.0.0.0/8".parse().expect("a network");
        assert_eq!(
            "10.1.0.0/8".parse::<Network>(),
            Err(NetworkError::HostBits(block))
        );
        for text in [
            "10.0.0.0/8",
            "0.0.0.0/0",
            "fd00::/8",
            "::/0",
            "::1/128",
            "10.0.0.1/32",
        ] {
            let network: Network = text.parse().expect("a network");
            assert_eq!(network.to_string(), text);
        }
    }
}
