//! Unpacks the agent and computes its SHA-256 in one pass, with little memory: the pod requests no more memory than the
//! agent needs.

use crate::failure::Destination;
use crate::{Failure, Parts};
use alloc::vec;
use lzma_rust2::{Action, Status, XzStream};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use sha2::{Digest, Sha256};

/// The size of the buffers for reads and writes.
const BLOCK: usize = 64 * 1024;

/// The memory limit of the decoder in KiB. An altered file could demand gigabytes.
const DECODER_LIMIT_KIB: u32 = 16 * 1024;

/// The size limit of the unpacked agent, about ten times its actual size. A small altered file could unpack to all the
/// memory of the node.
const LARGEST_AGENT: usize = 64 << 20;

/// Unpacks the parts into a file, and fails unless the result has this SHA-256.
pub fn unpack(
    parts: &[&core::ffi::CStr],
    sha256: &[u8; 32],
    file: BorrowedFd<'_>,
    destination: &Destination,
) -> Result<(), Failure> {
    unpack_at_most(LARGEST_AGENT, parts, sha256, file, destination)
}

fn unpack_at_most(
    largest: usize,
    parts: &[&core::ffi::CStr],
    sha256: &[u8; 32],
    file: BorrowedFd<'_>,
    destination: &Destination,
) -> Result<(), Failure> {
    let mut parts = Parts::new(parts);
    let mut decoder = XzStream::new_mem_limit(false, DECODER_LIMIT_KIB);
    let mut hasher = Sha256::new();
    let (mut input, mut output) = (vec![0; BLOCK], vec![0; BLOCK]);
    let (mut waiting, mut size) = (0..0, 0);
    loop {
        if waiting.is_empty() {
            waiting = 0..parts.read(&mut input)?;
        }
        let bytes = input.get(waiting.clone()).unwrap_or_default();
        let action = match bytes {
            [] => Action::Finish,
            _ => Action::Run,
        };
        let done = decoder
            .process(bytes, &mut output, action)
            .map_err(|_| Failure::Broken)?;
        waiting.start += done.bytes_consumed;
        let unpacked = output.get(..done.bytes_produced).unwrap_or_default();
        size += unpacked.len();
        if size > largest {
            return Err(Failure::Broken);
        }
        hasher.update(unpacked);
        write_all(file, unpacked).map_err(|error| Failure::NotWritten(destination.clone(), error))?;
        match done.status {
            Status::StreamEnd => break,
            // the input has ended inside the xz stream, and the decoder would wait for more
            Status::Ok if bytes.is_empty() && unpacked.is_empty() => return Err(Failure::Broken),
            Status::Ok => {}
        }
    }
    match hasher.finalize()[..] == sha256[..] {
        true => Ok(()),
        false => Err(Failure::OtherAgent),
    }
}

fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lzma_rust2::{CheckType, XzOptions, XzWriter};
    use std::ffi::{CStr, CString};
    use std::fs::{self, File};
    use std::io::Write;
    use std::os::fd::AsFd;

    /// Unpacks a file that is cut into two parts at this position.
    fn unpacked(packed: &[u8], cut: usize, sha256: &[u8; 32]) -> Result<Vec<u8>, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| CString::new(folder.path().join(name).to_str().unwrap()).unwrap();
        let (first, second) = (path("part.0"), path("part.1"));
        fs::write(first.to_str().unwrap(), &packed[..cut]).unwrap();
        fs::write(second.to_str().unwrap(), &packed[cut..]).unwrap();
        let parts: [&CStr; 2] = [&first, &second];
        let output = folder.path().join("agent");
        let file = File::create(&output).unwrap();
        unpack(&parts, sha256, file.as_fd(), &Destination::Memory)?;
        Ok(fs::read(output).unwrap())
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut options = XzOptions::with_preset(6);
        options.set_check_sum_type(CheckType::None);
        let mut writer = XzWriter::new(Vec::new(), options).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    /// Bytes of which every second one is easy to compress, and their SHA-256.
    fn sample() -> (Vec<u8>, [u8; 32]) {
        let bytes: Vec<u8> = (0..600_000_u64)
            .map(|number| match number % 2 {
                0 => number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[7],
                _ => (number / 1000) as u8,
            })
            .collect();
        let sha256 = Sha256::digest(&bytes).into();
        (bytes, sha256)
    }

    #[test]
    fn parts_are_unpacked_to_the_bytes_that_were_packed() {
        let (bytes, sha256) = sample();
        let packed = packed(&bytes);
        for cut in [0, 1, 12, packed.len() / 2, packed.len()] {
            assert!(unpacked(&packed, cut, &sha256).unwrap() == bytes, "cut at {cut}");
        }
    }

    #[test]
    fn truncated_parts_are_refused_as_damaged() {
        let (bytes, sha256) = sample();
        let packed = packed(&bytes);
        for length in [0, 5, 100, packed.len() / 2, packed.len() - 1] {
            let failure = unpacked(&packed[..length], length / 2, &sha256).unwrap_err();
            assert_eq!(failure.status(), 122, "{length}: {failure}");
        }
    }

    #[test]
    fn parts_with_a_changed_bit_are_refused() {
        let (bytes, sha256) = sample();
        let original = packed(&bytes);
        for position in [0, 20, original.len() / 3, original.len() - 2] {
            let mut packed = original.clone();
            packed[position] ^= 1;
            let failure = unpacked(&packed, position, &sha256).unwrap_err();
            assert!(matches!(failure.status(), 122 | 123), "{position}: {failure}");
        }
    }

    #[test]
    fn parts_that_unpack_to_more_than_an_agent_are_refused() {
        let (bytes, sha256) = sample();
        let folder = tempfile::tempdir().unwrap();
        let part = CString::new(folder.path().join("part").to_str().unwrap()).unwrap();
        fs::write(part.to_str().unwrap(), packed(&bytes)).unwrap();
        let unpack_to = |largest| {
            let file = tempfile::tempfile().unwrap();
            unpack_at_most(largest, &[&part], &sha256, file.as_fd(), &Destination::Memory)
        };
        assert!(unpack_to(bytes.len()).is_ok());
        assert_eq!(unpack_to(bytes.len() - 1).unwrap_err().status(), 122);
    }

    #[test]
    fn agent_with_another_sha256_is_refused() {
        let (bytes, _) = sample();
        let failure = unpacked(&packed(&bytes), 7, &[0; 32]).unwrap_err();
        assert_eq!(failure.status(), 123, "{failure}");
    }

    #[test]
    fn missing_part_is_named_in_the_failure() {
        let file = tempfile::tempfile().unwrap();
        let failure = unpack(&[c"/no/such/part"], &[0; 32], file.as_fd(), &Destination::Memory).unwrap_err();
        assert_eq!(
            failure.to_string(),
            "cannot read /no/such/part: no such file or directory"
        );
        assert_eq!(failure.status(), 121);
    }

    #[test]
    fn parts_that_demand_a_large_dictionary_are_refused() {
        let (bytes, sha256) = sample();
        let mut options = XzOptions::with_preset(6);
        options.lzma_options.dict_size = 64 << 20;
        let mut writer = XzWriter::new(Vec::new(), options).unwrap();
        writer.write_all(&bytes).unwrap();
        let packed = writer.finish().unwrap();
        assert_eq!(unpacked(&packed, 9, &sha256).unwrap_err().status(), 122);
    }
}
