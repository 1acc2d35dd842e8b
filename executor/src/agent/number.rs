//! The one calculation that a key file leaves to its reader: `d mod (p - 1)` of an RSA key.

use super::message::strip;

/// `a mod (b - 1)` of numbers in big-endian bytes; as long as `b`. `None` when `b` is less than 3.
pub(super) fn modulo_less_one(a: &[u8], b: &[u8]) -> Option<Vec<u8>> {
    if strip(b).len() <= 1 && strip(b) < &[3][..] {
        return None;
    }
    let mut modulus = b.to_vec();
    for byte in modulus.iter_mut().rev() {
        let (less, borrowed) = byte.overflowing_sub(1);
        *byte = less;
        if !borrowed {
            break;
        }
    }
    // Long division, bit by bit: the remainder has one byte more than the modulus, for what is shifted out.
    modulus.insert(0, 0);
    let mut rest = vec![0_u8; modulus.len()];
    for byte in a {
        for bit in (0..8).rev() {
            let mut carry = (byte >> bit) & 1;
            for digit in rest.iter_mut().rev() {
                (*digit, carry) = ((*digit << 1) | carry, *digit >> 7);
            }
            if rest >= modulus {
                subtract(&mut rest, &modulus);
            }
        }
    }
    rest.remove(0);
    Some(rest)
}

/// `a -= b` of equally long numbers with `a >= b`.
fn subtract(a: &mut [u8], b: &[u8]) {
    let mut borrow = false;
    for (left, right) in a.iter_mut().zip(b).rev() {
        let (difference, first) = left.overflowing_sub(*right);
        let (difference, second) = difference.overflowing_sub(u8::from(borrow));
        *left = difference;
        borrow = first || second;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remainders_are_right() {
        let value = |bytes: &[u8]| bytes.iter().fold(0_u128, |sum, byte| (sum << 8) | u128::from(*byte));
        for (a, b) in
            [(0_u64, 3_u64), (1, 3), (255, 256), (256, 257), (65_537, 300), (u64::MAX, 0x1_0000), (u64::MAX, 7)]
        {
            let found = modulo_less_one(&a.to_be_bytes(), &b.to_be_bytes()).unwrap();
            assert_eq!(value(&found), u128::from(a % (b - 1)), "{a} mod {b}-1");
        }
        let large = u128::MAX - 12;
        let found = modulo_less_one(&large.to_be_bytes(), &0xffff_ffff_ffff_ffc5_u64.to_be_bytes()).unwrap();
        assert_eq!(value(&found), large % 0xffff_ffff_ffff_ffc4);
        for small in [&[][..], &[0], &[1], &[2], &[0, 0, 2]] {
            assert_eq!(modulo_less_one(&[9], small), None, "{small:?}");
        }
    }
}
