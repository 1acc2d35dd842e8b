//! Hashes and unique ids.

use std::fmt::Write as _;

use sha2::Digest;

use super::{Function, exactly};
use crate::bake::error::{BakeError, BakeResult};
use crate::bake::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    exactly("bcrypt", 1, |_| Err(unsupported("bcrypt"))),
    exactly("md5", 1, |a| Ok(hashed::<md5::Md5>(&a[0].to_text()?))),
    exactly("rsadecrypt", 2, |_| Err(unsupported("rsadecrypt"))),
    exactly("sha1", 1, |a| Ok(hashed::<sha1::Sha1>(&a[0].to_text()?))),
    exactly("sha256", 1, |a| Ok(hashed::<sha2::Sha256>(&a[0].to_text()?))),
    exactly("sha512", 1, |a| Ok(hashed::<sha2::Sha512>(&a[0].to_text()?))),
    exactly("uuidv4", 0, |_| random_id()),
    exactly("uuidv5", 2, |a| named_id(&a[0].to_text()?, &a[1].to_text()?)),
];

/// Build arguments are no place for passwords, so their ciphers are not worth their crates.
fn unsupported(name: &str) -> BakeError {
    BakeError::new(format!("`{name}` is not supported"))
        .help("compute the value outside and pass it in a variable, or give it to the build as a secret")
}

fn hashed<D: Digest>(text: &str) -> Value {
    let mut hex = String::new();
    for byte in &D::digest(text.as_bytes()) {
        let _ = write!(hex, "{byte:02x}");
    }
    Value::String(hex)
}

fn random_id() -> BakeResult<Value> {
    let mut bytes = [0; 16];
    match rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty()) {
        Ok(16) => Ok(id(bytes, 4)),
        _ => Err(BakeError::new("this machine has no random numbers")),
    }
}

/// `uuidv5(namespace, name)`: the namespace is `dns`, `url`, `oid`, `x500` or an id.
fn named_id(space: &str, name: &str) -> BakeResult<Value> {
    let known = |last: u8| {
        let mut bytes = [0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0, 0xc0, 0x4f, 0xd4, 0x30, 0xc8];
        bytes[3] = last;
        bytes
    };
    let space = match space {
        "dns" => known(0x10),
        "url" => known(0x11),
        "oid" => known(0x12),
        "x500" => known(0x14),
        other => parse_id(other).ok_or_else(|| BakeError::new(format!("{other:?} is no namespace of ids")))?,
    };
    let mut hash = sha1::Sha1::new();
    hash.update(space);
    hash.update(name.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    Ok(id(bytes, 5))
}

fn parse_id(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let number = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32)?;
    Some(number.to_be_bytes())
}

fn id(mut bytes: [u8; 16], version: u8) -> Value {
    bytes[6] = bytes[6] & 0x0f | version << 4;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Value::String(parts.join("-"))
}
