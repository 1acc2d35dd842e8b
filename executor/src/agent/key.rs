//! Private keys: reading the forms that `ssh-keygen` and `openssl` write, and signing.

use std::fmt;

use ring::rand::SystemRandom;
use ring::rsa;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaKeyPair,
};

use super::message::{Fields, put_number, put_string, strip};
use super::{number, pem};

/// What the wish for SHA-2 signatures looks like in a request.
const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

/// The beginning of a key in OpenSSH's own form.
const MAGIC: &[u8] = b"openssh-key-v1\0";

/// Object identifiers in DER, as they stand in a SEC 1 key.
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];

/// A private key that can sign.
pub(super) struct Key {
    /// The public key as the protocol shows it.
    pub(super) public: Vec<u8>,
    /// What people call it.
    pub(super) comment: String,
    secret: Secret,
}

enum Secret {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair, Curve),
    Rsa(RsaKeyPair),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
}

impl Curve {
    fn name(self) -> &'static str {
        match self {
            Self::P256 => "nistp256",
            Self::P384 => "nistp384",
        }
    }

    fn algorithm(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
            Self::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        }
    }

    /// How many bytes a number of it has.
    fn length(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.comment)
    }
}

impl Key {
    /// Reads a key file. The error says what is wrong with it, to follow its name.
    pub(super) fn parse(text: &[u8], name: &str) -> Result<Self, String> {
        const NO_KEY: &str = "is not a private key (public keys end in .pub; give the other file)";
        const LOCKED: &str = "is protected by a passphrase: add it to an agent with ssh-add, and forward that agent";
        let text = std::str::from_utf8(text).map_err(|_| NO_KEY.to_owned())?;
        let pem = pem::parse(text).ok_or(NO_KEY)?;
        if pem.encrypted || pem.label == "ENCRYPTED PRIVATE KEY" {
            return Err(LOCKED.to_owned());
        }
        let damaged =
            || format!("is damaged, or of a kind that can't be used ({}): forward an agent instead", pem.label);
        let (secret, comment) = match pem.label {
            "OPENSSH PRIVATE KEY" => {
                let mut fields = Fields(pem.bytes.strip_prefix(MAGIC).ok_or_else(damaged)?);
                if fields.string().ok_or_else(damaged)? != b"none" {
                    return Err(LOCKED.to_owned());
                }
                openssh(fields).ok_or_else(damaged)??
            }
            "RSA PRIVATE KEY" => (RsaKeyPair::from_der(&pem.bytes).map(Secret::Rsa).map_err(rejected)?, String::new()),
            "EC PRIVATE KEY" => (sec1(&pem.bytes).ok_or_else(damaged)?, String::new()),
            "PRIVATE KEY" => (pkcs8(&pem.bytes).ok_or_else(damaged)?, String::new()),
            _ => return Err(damaged()),
        };
        let comment = if comment.is_empty() { name.to_owned() } else { comment };
        Ok(Self { public: secret.public(), comment, secret })
    }

    /// The signature of `data` as the protocol shows it; `None` when the request asks for one that is not safe.
    pub(super) fn sign(&self, data: &[u8], flags: u32) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        let mut out = Vec::new();
        match &self.secret {
            Secret::Ed25519(pair) => {
                put_string(&mut out, b"ssh-ed25519");
                put_string(&mut out, pair.sign(data).as_ref());
            }
            Secret::Ecdsa(pair, curve) => {
                let signature = pair.sign(&random, data).ok()?;
                let (r, s) = signature.as_ref().split_at_checked(curve.length())?;
                let mut numbers = Vec::new();
                put_number(&mut numbers, r);
                put_number(&mut numbers, s);
                put_string(&mut out, format!("ecdsa-sha2-{}", curve.name()).as_bytes());
                put_string(&mut out, &numbers);
            }
            Secret::Rsa(pair) => {
                let (name, padding): (_, &dyn ring::signature::RsaEncoding) = if flags & RSA_SHA2_512 != 0 {
                    ("rsa-sha2-512", &RSA_PKCS1_SHA512)
                } else if flags & RSA_SHA2_256 != 0 {
                    ("rsa-sha2-256", &RSA_PKCS1_SHA256)
                } else {
                    // That would be SHA-1, which servers have not taken for years.
                    return None;
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, data, &mut signature).ok()?;
                put_string(&mut out, name.as_bytes());
                put_string(&mut out, &signature);
            }
        }
        Some(out)
    }
}

impl Secret {
    fn public(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Ed25519(pair) => {
                put_string(&mut out, b"ssh-ed25519");
                put_string(&mut out, pair.public_key().as_ref());
            }
            Self::Ecdsa(pair, curve) => {
                put_string(&mut out, format!("ecdsa-sha2-{}", curve.name()).as_bytes());
                put_string(&mut out, curve.name().as_bytes());
                put_string(&mut out, pair.public_key().as_ref());
            }
            Self::Rsa(pair) => {
                let public = rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
                put_string(&mut out, b"ssh-rsa");
                put_number(&mut out, &public.e);
                put_number(&mut out, &public.n);
            }
        }
        out
    }
}

fn rejected(error: ring::error::KeyRejected) -> String {
    format!("can't be used ({error}): RSA keys have 2048 to 4096 bits here; forward an agent instead")
}

/// A key in OpenSSH's own form, after the name of its cipher, and its comment.
fn openssh(mut fields: Fields<'_>) -> Option<Result<(Secret, String), String>> {
    let (_kdf, _options) = (fields.string()?, fields.string()?);
    if fields.word()? != 1 {
        return None;
    }
    let _public = fields.string()?;
    let mut fields = Fields(fields.string()?);
    if fields.word()? != fields.word()? {
        return None;
    }
    let kind = std::str::from_utf8(fields.string()?).ok()?;
    let secret = match kind {
        "ssh-ed25519" => {
            let public = fields.string()?;
            let seed = fields.string()?.get(..32)?;
            Ed25519KeyPair::from_seed_and_public_key(seed, public).map(Secret::Ed25519)
        }
        "ecdsa-sha2-nistp256" => ecdsa(&mut fields, Curve::P256)?,
        "ecdsa-sha2-nistp384" => ecdsa(&mut fields, Curve::P384)?,
        "ssh-rsa" => {
            let (modulus, public, private) = (fields.number()?, fields.number()?, fields.number()?);
            let (inverse, first, second) = (fields.number()?, fields.number()?, fields.number()?);
            let rest = |prime| number::modulo_less_one(private, prime);
            let (for_first, for_second) = (rest(first)?, rest(second)?);
            let components = rsa::KeyPairComponents {
                public_key: rsa::PublicKeyComponents { n: modulus, e: public },
                d: private,
                p: first,
                q: second,
                dP: strip(&for_first),
                dQ: strip(&for_second),
                qInv: inverse,
            };
            RsaKeyPair::from_components(&components).map(Secret::Rsa)
        }
        other => return Some(Err(format!("is a key of the kind {other}, which needs an agent: forward one instead"))),
    };
    let comment = fields.string().map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default();
    Some(secret.map(|secret| (secret, comment)).map_err(rejected))
}

type Checked = Result<Secret, ring::error::KeyRejected>;

fn ecdsa(fields: &mut Fields<'_>, curve: Curve) -> Option<Checked> {
    if fields.string()? != curve.name().as_bytes() {
        return None;
    }
    let (public, private) = (fields.string()?, fields.number()?);
    Some(ecdsa_of(curve, private, public))
}

fn ecdsa_of(curve: Curve, private: &[u8], public: &[u8]) -> Checked {
    let mut padded = vec![0; curve.length().saturating_sub(private.len())];
    padded.extend_from_slice(private);
    EcdsaKeyPair::from_private_key_and_public_key(curve.algorithm(), &padded, public, &SystemRandom::new())
        .map(|pair| Secret::Ecdsa(pair, curve))
}

/// `ECPrivateKey` of RFC 5915: a version, the number, and behind two tags the curve and the public key.
fn sec1(bytes: &[u8]) -> Option<Secret> {
    let (0x30, fields, _) = pem::der(bytes)? else { return None };
    let (0x02, [1], rest) = pem::der(fields)? else { return None };
    let (0x04, private, rest) = pem::der(rest)? else { return None };
    let (0xa0, curve, rest) = pem::der(rest)? else { return None };
    let (0x06, curve, _) = pem::der(curve)? else { return None };
    let (0xa1, public, _) = pem::der(rest)? else { return None };
    let (0x03, [0, public @ ..], _) = pem::der(public)? else { return None };
    let curve = match curve {
        P256 => Curve::P256,
        P384 => Curve::P384,
        _ => return None,
    };
    ecdsa_of(curve, private, public).ok()
}

fn pkcs8(bytes: &[u8]) -> Option<Secret> {
    let curve = |curve: Curve| {
        let pair = EcdsaKeyPair::from_pkcs8(curve.algorithm(), bytes, &SystemRandom::new()).ok()?;
        Some(Secret::Ecdsa(pair, curve))
    };
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes)
        .map(Secret::Ed25519)
        .ok()
        .or_else(|| RsaKeyPair::from_pkcs8(bytes).map(Secret::Rsa).ok())
        .or_else(|| curve(Curve::P256))
        .or_else(|| curve(Curve::P384))
}
