//! Networks as people write them (`192.0.2.0/24`, `2001:db8::/32`, a single address), lists of them, and whose address
//! counts where a proxy stands in between.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::fmt;

use super::limits;

/// Networks that belong together. An IPv4 address in IPv6's clothes (`::ffff:192.0.2.1`) is the IPv4 address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    v4: Vec<Span>,
    v6: Vec<Span>,
}

/// First and last address.
type Span = (u128, u128);

impl Networks {
    /// Reads a file's text: one network a line, `#` begins a comment.
    pub fn parse_lines(text: &str) -> Result<Self, BadNetworks> {
        let mut all = Self::default();
        let mut count = 0;
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            count += 1;
            if count > limits::NETWORKS_MAX {
                return Err(BadNetworks::TooMany);
            }
            all.add(line).map_err(|why| BadNetworks::Line { number: number + 1, why })?;
        }
        all.sort();
        if count == 0 { Err(BadNetworks::Empty) } else { Ok(all) }
    }

    /// Reads a setting: networks separated by commas, none if it is empty.
    pub fn parse_list(text: &str) -> Result<Self, BadNetwork> {
        let mut all = Self::default();
        for one in text.split(',').map(str::trim).filter(|one| !one.is_empty()) {
            all.add(one)?;
        }
        all.sort();
        Ok(all)
    }

    /// Whether an address is in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (spans, number) = match address.to_canonical() {
            IpAddr::V4(v4) => (&self.v4, u128::from(v4.to_bits())),
            IpAddr::V6(v6) => (&self.v6, v6.to_bits()),
        };
        let after = spans.partition_point(|span| span.0 <= number);
        after > 0 && spans[after - 1].1 >= number
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// How many there are; some that were given may have been joined.
    pub fn count(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether one is so wide that it is no description of a few machines: wider than a /8 of IPv4 or a /16 of IPv6.
    pub fn has_nearly_all(&self) -> bool {
        let wider = |spans: &[Span], bits: u32| spans.iter().any(|(first, last)| last - first >= 1 << bits);
        wider(&self.v4, 24) || wider(&self.v6, 112)
    }

    fn add(&mut self, text: &str) -> Result<(), BadNetwork> {
        let bad = |why| BadNetwork { text: text.chars().take(SHOWN_MAX).collect(), why };
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad(Why::Address))?;
        let bits: u32 = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => bits,
            // As people write it: digits alone.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|length| *length <= bits).ok_or_else(|| bad(Why::Length(bits)))?
            }
            Some(_) => return Err(bad(Why::Length(bits))),
        };
        let (first, length, bits) = match address {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), length, 32),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) if length >= 96 => (u128::from(v4.to_bits()), length - 96, 32),
                _ => (v6.to_bits(), length, 128),
            },
        };
        let rest = if bits == length { 0 } else { u128::MAX >> (128 - (bits - length)) };
        if first & rest != 0 {
            let begin = first & !rest;
            let whole: IpAddr = match u32::try_from(begin) {
                Ok(begin) if bits == 32 => Ipv4Addr::from_bits(begin).into(),
                _ => Ipv6Addr::from_bits(begin).into(),
            };
            return Err(bad(Why::Beyond { whole, length }));
        }
        let spans = if bits == 32 { &mut self.v4 } else { &mut self.v6 };
        spans.push((first, first | rest));
        Ok(())
    }

    /// Sorts and joins them, so that the last one that begins before an address tells whether it is in any.
    fn sort(&mut self) {
        for spans in [&mut self.v4, &mut self.v6] {
            spans.sort_unstable();
            spans.dedup_by(|next, kept| {
                let within = next.0 <= kept.1;
                if within {
                    kept.1 = kept.1.max(next.1);
                }
                within
            });
        }
    }
}

/// Of a text that is no network, so much is shown.
const SHOWN_MAX: usize = 60;

/// A text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no network: {why}")]
pub struct BadNetwork {
    text: String,
    why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Address,
    Length(u32),
    Beyond { whole: IpAddr, length: u32 },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("write one such as 192.0.2.0/24, 2001:db8::/32 or 192.0.2.7"),
            Self::Length(most) => write!(f, "what follows the / is a number from 0 to {most}, and nothing else"),
            Self::Beyond { whole, length } => {
                write!(f, "it has host bits set; write {whole}/{length}, or the address alone")
            }
        }
    }
}

/// A list of networks that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadNetworks {
    /// A line is no network.
    #[error("line {number}: {why}")]
    Line {
        /// Which, from one.
        number: usize,
        /// What is wrong with it.
        why: BadNetwork,
    },
    /// It would let in nobody.
    #[error("it names no network, and would let in nobody; write one a line, or move it away to let in everybody")]
    Empty,
    /// See [`limits::NETWORKS_MAX`].
    #[error("it has more than {} networks", limits::NETWORKS_MAX)]
    TooMany,
}

/// Whose address counts: the peer's own, unless it is a proxy that is trusted; then the right-most of `X-Forwarded-For`
/// that is not such a proxy itself. What stands left of it anybody may have written. Where the header is missing or
/// cannot be read so far, the proxy's own address counts.
pub fn client<'h>(peer: IpAddr, trusted: &Networks, forwarded: impl DoubleEndedIterator<Item = &'h [u8]>) -> IpAddr {
    let peer = peer.to_canonical();
    if !trusted.contains(peer) {
        return peer;
    }
    let mut farthest = peer;
    for one in forwarded.rev().flat_map(|line| line.rsplit(|&byte| byte == b',')) {
        let Some(address) = std::str::from_utf8(one).ok().and_then(address) else { return peer };
        farthest = address.to_canonical();
        if !trusted.contains(farthest) {
            return farthest;
        }
    }
    farthest
}

/// An address as proxies write it: some add the port, and then brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse().ok().map(|both: SocketAddr| both.ip()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_list_contains_what_its_lines_name_and_nothing_else() {
        let text =
            "# ours\n192.0.2.0/24\n\n  198.51.100.7  # one\n2001:db8::/32\r\n::ffff:203.0.113.0/120\n192.0.2.128/25\n";
        let list = Networks::parse_lines(text).unwrap();
        for inside in
            ["192.0.2.0", "192.0.2.255", "::ffff:192.0.2.9", "198.51.100.7", "2001:db8:ffff::1", "203.0.113.255"]
        {
            assert!(list.contains(ip(inside)), "{inside}");
        }
        for outside in [
            "192.0.1.255",
            "192.0.3.0",
            "198.51.100.6",
            "198.51.100.8",
            "2001:db7::",
            "2001:db9::",
            "203.0.112.255",
            "::c000:209",
            "0.0.0.0",
        ] {
            assert!(!list.contains(ip(outside)), "{outside}");
        }
        let (all4, all6) = (Networks::parse_lines("0.0.0.0/0").unwrap(), Networks::parse_lines("::/0").unwrap());
        assert!(all4.contains(ip("255.255.255.255")) && all4.contains(ip("::ffff:1.2.3.4")));
        assert!(all6.contains(ip("::1")) && !all4.contains(ip("::1")) && !all6.contains(ip("1.2.3.4")));
    }

    #[test]
    fn a_bad_list_says_which_line_and_what_to_write() {
        for (text, words) in [
            ("192.0.2.0/24\nnowhere", "line 2: \"nowhere\" is no network: write one such as"),
            ("192.0.2.0/33", "line 1: \"192.0.2.0/33\" is no network: what follows the / is a number from 0 to 32"),
            ("2001:db8::/129", "a number from 0 to 128"),
            ("192.0.2.0/+8", "a number from 0 to 32"),
            ("192.0.2.0/", "a number from 0 to 32"),
            ("192.0.2.1/24", "write 192.0.2.0/24, or the address alone"),
            ("2001:db8::1/32", "write 2001:db8::/32, or"),
            ("::ffff:192.0.2.1/120", "write 192.0.2.0/24, or"),
            ("192.0.2.0/24 198.51.100.0/24", "line 1:"),
            ("192.0.2", "line 1:"),
            ("", "names no network"),
            ("# nothing\n\n", "names no network"),
        ] {
            let told = Networks::parse_lines(text).unwrap_err().to_string();
            assert!(told.contains(words), "{text:?}: {told}");
        }
        let many = "192.0.2.1\n".repeat(limits::NETWORKS_MAX);
        assert!(Networks::parse_lines(&many).is_ok());
        assert_eq!(Networks::parse_lines(&(many + "192.0.2.1")), Err(BadNetworks::TooMany));
    }

    #[test]
    fn a_setting_is_a_list_with_commas_and_may_be_empty() {
        assert!(Networks::parse_list("").unwrap().is_empty());
        let list = Networks::parse_list("10.0.0.0/8, ::1").unwrap();
        assert!(list.contains(ip("10.9.8.7")) && list.contains(ip("::1")) && !list.contains(ip("11.0.0.0")));
        assert!(Networks::parse_list("10.0.0.0/8;::1").is_err());
    }

    fn counts(peer: &str, lines: &[&str]) -> String {
        let trusted = Networks::parse_list("10.0.0.0/8, 2001:db8::1").unwrap();
        client(ip(peer), &trusted, lines.iter().map(|line| line.as_bytes())).to_string()
    }

    #[test]
    fn a_forwarded_address_is_believed_only_from_a_trusted_proxy_and_only_from_the_right() {
        assert_eq!(counts("192.0.2.1", &["198.51.100.9"]), "192.0.2.1", "no proxy of ours");
        assert_eq!(counts("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(counts("10.0.0.1", &["198.51.100.9"]), "198.51.100.9");
        assert_eq!(counts("::ffff:10.0.0.1", &["::ffff:198.51.100.9"]), "198.51.100.9");
        assert_eq!(counts("2001:db8::1", &["2001:db8::2, 10.0.0.7,10.0.0.8"]), "2001:db8::2");
        // Whoever called the proxy may have sent a header of their own; the proxy adds its line or entry at the end.
        assert_eq!(counts("10.0.0.1", &["203.0.113.1, 198.51.100.9"]), "198.51.100.9");
        assert_eq!(counts("10.0.0.1", &["203.0.113.1", "198.51.100.9, 10.0.0.2"]), "198.51.100.9");
        assert_eq!(counts("10.0.0.1", &["<script>, ,198.51.100.9"]), "198.51.100.9");
        // With a port, as some write it.
        assert_eq!(counts("10.0.0.1", &["198.51.100.9:4711"]), "198.51.100.9");
        assert_eq!(counts("10.0.0.1", &["[2001:db8::2]:4711"]), "2001:db8::2");
        assert_eq!(counts("10.0.0.1", &["[2001:db8::2]"]), "2001:db8::2");
        for broken in ["unknown", "", "198.51.100.9,", "198.51.100.9, x", "198.51.100.999", "_hidden, 10.0.0.2"] {
            assert_eq!(counts("10.0.0.1", &[broken]), "10.0.0.1", "{broken:?}");
        }
        assert_eq!(counts("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3", "a proxy that calls by itself");
    }

    proptest! {
        #[test]
        fn any_text_is_a_list_or_an_error_and_any_header_leads_to_an_address(text in "[0-9a-f:./#\\n ]{0,80}", header in ".{0,60}") {
            let _ = Networks::parse_lines(&text);
            let trusted = Networks::parse_list("10.0.0.0/8").unwrap();
            let counted = client(ip("10.0.0.1"), &trusted, std::iter::once(header.as_bytes()));
            if address(header.rsplit(',').next().unwrap_or_default()).is_none() {
                prop_assert_eq!(counted, ip("10.0.0.1"));
            }
        }

        #[test]
        fn a_network_contains_exactly_its_addresses(address: u32, length in 0_u32..=32, other: u32) {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            let network = format!("{}/{length}", Ipv4Addr::from_bits(address & mask));
            let list = Networks::parse_list(&network).unwrap();
            prop_assert!(list.contains(Ipv4Addr::from_bits(address).into()));
            prop_assert_eq!(list.contains(Ipv4Addr::from_bits(other).into()), other & mask == address & mask);
        }
    }
}
