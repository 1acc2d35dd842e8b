//! Networks in CIDR notation.

use std::net::IpAddr;

use super::{Function, at_least, exactly};
use crate::bake::error::{BakeError, BakeResult};
use crate::bake::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    exactly("cidrhost", 2, |a| {
        let network = Network::parse(&a[0])?;
        let (number, size) = (a[1].to_integer()?, network.width() - network.prefix);
        let hosts = 1_i128.checked_shl(size).filter(|_| size < 127).unwrap_or(i128::MAX);
        let host = if number < 0 { hosts + number } else { number };
        if !(0..hosts).contains(&host) {
            return Err(BakeError::new(format!("{} has no host {number}", a[0])));
        }
        Ok(Value::string(network.at(host as u128).to_string()))
    }),
    exactly("cidrnetmask", 1, |a| {
        let network = Network::parse(&a[0])?;
        if network.v6 {
            return Err(BakeError::new("only IPv4 networks have a netmask"));
        }
        Ok(Value::string(Network { start: network.mask(), ..network }.at(0).to_string()))
    }),
    exactly("cidrsubnet", 3, |a| {
        let network = Network::parse(&a[0])?;
        let bits = bits(&a[1], &network)?;
        let number = a[2].to_integer()?;
        let subnet = network.subnet(bits, u128::try_from(number).ok());
        subnet
            .map(|subnet| subnet.text())
            .ok_or_else(|| BakeError::new(format!("{} has no subnet {number} with {bits} more bits", a[0])))
    }),
    at_least("cidrsubnets", 1, |a| {
        let network = Network::parse(&a[0])?;
        let mut next = network.start;
        let mut subnets = Vec::new();
        for value in &a[1..] {
            let bits = bits(value, &network)?;
            let prefix = network.prefix + bits;
            let size = 1_u128.checked_shl(network.width() - prefix).unwrap_or(0);
            // Subnets begin at a multiple of their size.
            let start = next.div_ceil(size.max(1)) * size.max(1);
            if start & network.mask() != network.start {
                return Err(BakeError::new(format!("{} has no room for {} subnets of these sizes", a[0], a.len() - 1)));
            }
            subnets.push(Network { start, prefix, ..network }.text());
            next = start.saturating_add(size);
        }
        Ok(Value::List(subnets))
    }),
];

#[derive(Debug, Clone, Copy)]
struct Network {
    start: u128,
    prefix: u32,
    v6: bool,
}

fn bits(value: &Value, network: &Network) -> BakeResult<u32> {
    let number = value.to_integer()?;
    let bits = u32::try_from(number).ok().filter(|bits| network.prefix + bits <= network.width());
    bits.ok_or_else(|| BakeError::new(format!("the prefix can't be extended by {number} bits")))
}

impl Network {
    fn parse(value: &Value) -> BakeResult<Self> {
        let text = value.to_text()?;
        let wrong = || BakeError::new(format!("{text:?} is not a network in CIDR notation"));
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let (start, v6) = match address.parse().map_err(|_| wrong())? {
            IpAddr::V4(address) => (u128::from(address.to_bits()), false),
            IpAddr::V6(address) => (address.to_bits(), true),
        };
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= if v6 { 128 } else { 32 }).ok_or_else(wrong)?;
        let network = Self { start, prefix, v6 };
        Ok(Self { start: start & network.mask(), ..network })
    }

    fn width(&self) -> u32 {
        if self.v6 { 128 } else { 32 }
    }

    fn mask(&self) -> u128 {
        let all = u128::MAX.checked_shr(128 - self.width()).unwrap_or(0);
        all & u128::MAX.checked_shl(self.width() - self.prefix).unwrap_or(0)
    }

    fn at(&self, host: u128) -> IpAddr {
        let address = self.start | host;
        if self.v6 { IpAddr::V6(address.into()) } else { IpAddr::V4((address as u32).into()) }
    }

    fn subnet(self, bits: u32, number: Option<u128>) -> Option<Self> {
        let prefix = self.prefix + bits;
        let number = number.filter(|number| bits >= 128 || *number < 1_u128 << bits)?;
        let start = self.start | number.checked_shl(self.width() - prefix).unwrap_or(0);
        Some(Self { start, prefix, ..self })
    }

    fn text(&self) -> Value {
        Value::String(format!("{}/{}", self.at(0), self.prefix))
    }
}
