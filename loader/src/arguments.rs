//! The loader's command line.

use crate::Failure;
use alloc::vec::Vec;
use core::ffi::CStr;

/// The loader's arguments.
#[derive(Debug)]
pub struct Arguments<'a> {
    /// The SHA-256 that the unpacked agent must have.
    pub sha256: [u8; 32],
    /// The files that make up the packed agent, in order.
    pub parts: Vec<&'a CStr>,
    /// The file to unpack into if a file in memory cannot be executed.
    pub fallback: Option<&'a CStr>,
    /// The agent's own arguments.
    pub agent: Vec<&'a CStr>,
}

impl<'a> Arguments<'a> {
    /// Reads the arguments, without the program's name.
    pub fn parse(words: &[&'a CStr]) -> Result<Self, Failure> {
        let mut sha256 = None;
        let mut parts = Vec::new();
        let mut fallback = None;
        let mut words = words.iter().copied();
        loop {
            let word = words
                .next()
                .ok_or(Failure::Usage("`--` and the agent's arguments are missing"))?;
            if word == c"--" {
                break;
            }
            let option = word.to_bytes();
            if ![&b"--sha256"[..], b"--part", b"--fallback"].contains(&option) {
                return Err(Failure::Usage(
                    "it takes --sha256, --part, --fallback and `--` alone",
                ));
            }
            let value = words
                .next()
                .ok_or(Failure::Usage("the last option needs a value after it"))?;
            match option {
                b"--sha256" => sha256 = Some(digest(value.to_bytes())?),
                b"--part" => parts.push(value),
                _ => fallback = Some(value),
            }
        }
        if parts.is_empty() {
            return Err(Failure::Usage("it needs --part FILE"));
        }
        Ok(Self {
            sha256: sha256.ok_or(Failure::Usage("it needs --sha256 HEX"))?,
            parts,
            fallback,
            agent: words.collect(),
        })
    }
}

fn digest(hex: &[u8]) -> Result<[u8; 32], Failure> {
    const WRONG: Failure = Failure::Usage("the value of --sha256 is not 64 hexadecimal digits");
    let (pairs, []) = hex.as_chunks::<2>() else {
        return Err(WRONG);
    };
    let mut digest = [0; 32];
    if pairs.len() != digest.len() {
        return Err(WRONG);
    }
    for (byte, pair) in digest.iter_mut().zip(pairs) {
        let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (high, low) else {
            return Err(WRONG);
        };
        *byte = (high << 4 | low) as u8;
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &CStr = c"00ff23456789abcdef0123456789abcdef0123456789abcdef0123456789abcd";

    #[test]
    fn arguments_after_the_double_dash_are_passed_to_the_agent() {
        let words = [
            c"--sha256",
            HEX,
            c"--part",
            c"/a.0",
            c"--part",
            c"/a.1",
            c"--fallback",
            c"/scratch/agent",
            c"--",
            c"--part",
            c"--sha256",
        ];
        let arguments = Arguments::parse(&words).unwrap();
        assert_eq!(arguments.sha256[..3], [0, 0xff, 0x23]);
        assert_eq!(arguments.parts, [c"/a.0", c"/a.1"]);
        assert_eq!(arguments.fallback, Some(c"/scratch/agent"));
        assert_eq!(arguments.agent, [c"--part", c"--sha256"]);
    }

    #[test]
    fn missing_or_invalid_arguments_are_named_in_the_failure() {
        for (words, named) in [
            (
                &[c"--sha256", HEX, c"--part", c"a"][..],
                "`--` and the agent's arguments",
            ),
            (&[c"--sha256", HEX, c"--"], "--part FILE"),
            (&[c"--part", c"a", c"--"], "--sha256 HEX"),
            (&[c"--sha256"], "a value after it"),
            (&[c"--sha", HEX, c"--"], "--sha256, --part"),
            (&[c"--sha256", c"00", c"--"], "64 hexadecimal digits"),
            (
                &[
                    c"--sha256",
                    c"+0ff23456789abcdef0123456789abcdef0123456789abcdef0123456789abcd",
                    c"--",
                ],
                "64 hex",
            ),
        ] {
            let failure = Arguments::parse(words).unwrap_err();
            assert!(failure.to_string().contains(named), "{words:?}: {failure}");
            assert_eq!(failure.status(), 120);
        }
    }
}
