//! The session's token, which only its programs have.

use kinject_protocol::control::{TOKEN_LENGTH, Token};
use rustix::rand::{GetRandomFlags, getrandom};
use std::io;
use subtle::ConstantTimeEq;

/// 128 random bits in hexadecimal digits.
pub(super) fn random() -> io::Result<Token> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut bits = [0_u8; TOKEN_LENGTH / 2];
    // so few bytes are returned completely or not at all (getrandom(2))
    getrandom(&mut bits, GetRandomFlags::empty())?;
    let mut token = [0; TOKEN_LENGTH];
    for (digits, byte) in token.chunks_exact_mut(2).zip(bits) {
        digits.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    Ok(token)
}

/// Whether the bytes that a caller presents are the token. The comparison takes constant time.
pub(super) fn is_right(presented: &[u8], token: &Token) -> bool {
    presented.ct_eq(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_tokens_differ_and_match_only_themselves() {
        let (one, other) = (random().unwrap(), random().unwrap());
        assert_ne!(one, other);
        assert!(one.iter().all(u8::is_ascii_hexdigit));
        assert!(is_right(&one, &one));
        assert!(!is_right(&one, &other));
        assert!(!is_right(&one[..TOKEN_LENGTH - 1], &one));
        assert!(!is_right(b"", &one));
    }
}
