//! Which IP addresses are on the public internet.
//!
//! After IANA's registries of special-purpose addresses
//! (<https://www.iana.org/assignments/iana-ipv4-special-registry>,
//! <https://www.iana.org/assignments/iana-ipv6-special-registry>).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Network, length of its prefix, and what it is.
type V4Network = (Ipv4Addr, u32, &'static str);
type V6Network = (Ipv6Addr, u32, &'static str);

const fn v4(a: u8, b: u8, c: u8) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, 0)
}

const fn v6(a: u16, b: u16) -> Ipv6Addr {
    Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0)
}

const SPECIAL_V4: &[V4Network] = &[
    (v4(0, 0, 0), 8, "an unspecified address"),
    (v4(10, 0, 0), 8, "a private address"),
    (v4(100, 64, 0), 10, "a carrier's shared address"),
    (v4(127, 0, 0), 8, "a loopback address"),
    (v4(169, 254, 0), 16, "a link-local address"),
    (v4(172, 16, 0), 12, "a private address"),
    (v4(192, 0, 0), 24, "a reserved address"),
    (v4(192, 0, 2), 24, "an address for documentation"),
    (v4(192, 88, 99), 24, "a reserved address"),
    (v4(192, 168, 0), 16, "a private address"),
    (v4(198, 18, 0), 15, "an address for benchmarks"),
    (v4(198, 51, 100), 24, "an address for documentation"),
    (v4(203, 0, 113), 24, "an address for documentation"),
    (v4(224, 0, 0), 4, "a multicast address"),
    (v4(240, 0, 0), 4, "a reserved address"),
];

/// For a clearer reason, and for what is special within [`PUBLIC_V6`].
const SPECIAL_V6: &[V6Network] = &[
    (v6(0x2001, 0), 23, "a reserved address"),
    (v6(0x2001, 0x0db8), 32, "an address for documentation"),
    (v6(0x3fff, 0), 20, "an address for documentation"),
    (v6(0xfc00, 0), 7, "a private address"),
    (v6(0xfe80, 0), 10, "a link-local address"),
    (v6(0xfec0, 0), 10, "a private address"),
    (v6(0xff00, 0), 8, "a multicast address"),
];

/// All addresses that are allocated for global use.
const PUBLIC_V6: (Ipv6Addr, u32) = (v6(0x2000, 0), 3);

/// Networks whose addresses stand for an IPv4 address, and the bit at which that begins.
const WITH_V4: &[(Ipv6Addr, u32, u32)] = &[
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 96), // mapped
    (Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96, 96), // translated (SIIT)
    (v6(0, 0), 96, 96),                                   // compatible
    (v6(0x0064, 0xff9b), 96, 96),                         // NAT64
    (v6(0x2002, 0), 16, 16),                              // 6to4
];

/// What kind of address `ip` is, if it is not on the public internet.
pub(in super::super) fn objection(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => v4_objection(ip),
        IpAddr::V6(ip) => v6_objection(ip),
    }
}

fn v4_objection(ip: Ipv4Addr) -> Option<&'static str> {
    let is_in =
        |network: Ipv4Addr, prefix| (ip.to_bits() ^ network.to_bits()) >> (32 - prefix) == 0;
    let special = SPECIAL_V4.iter().find(|(network, prefix, _)| is_in(*network, *prefix));
    special.map(|(_, _, kind)| *kind)
}

fn v6_objection(ip: Ipv6Addr) -> Option<&'static str> {
    match ip {
        Ipv6Addr::UNSPECIFIED => return Some("an unspecified address"),
        Ipv6Addr::LOCALHOST => return Some("a loopback address"),
        _ => {}
    }
    let is_in =
        |network: Ipv6Addr, prefix| (ip.to_bits() ^ network.to_bits()) >> (128 - prefix) == 0;
    if let Some((_, _, at)) = WITH_V4.iter().find(|(network, prefix, _)| is_in(*network, *prefix)) {
        // Bits 96 - at to 128 - at of the 128 are the address.
        let within = (ip.to_bits() >> (96 - at)) as u32;
        return v4_objection(Ipv4Addr::from_bits(within));
    }
    let special = SPECIAL_V6.iter().find(|(network, prefix, _)| is_in(*network, *prefix));
    let kind = special.map(|(_, _, kind)| *kind);
    kind.or_else(|| (!is_in(PUBLIC_V6.0, PUBLIC_V6.1)).then_some("a reserved address"))
}
