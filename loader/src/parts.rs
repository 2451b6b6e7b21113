//! Reads the parts of the packed agent as if they were one file.

use crate::Failure;
use core::ffi::CStr;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

/// A reader of the parts.
#[derive(Debug)]
pub struct Parts<'a> {
    names: &'a [&'a CStr],
    current: Option<OwnedFd>,
}

impl<'a> Parts<'a> {
    /// Reads the files of these names, in this order.
    pub fn new(names: &'a [&'a CStr]) -> Self {
        Self { names, current: None }
    }

    /// Reads the next bytes into the buffer; returns their number, which is 0 at the end of the last part.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        while let [name, others @ ..] = self.names {
            let failed = |error| Failure::of_part(name, error);
            let file = match &self.current {
                Some(file) => file,
                None => self
                    .current
                    .insert(open(*name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?),
            };
            match rustix::io::read(file, &mut *buffer) {
                Ok(0) => {
                    self.current = None;
                    self.names = others;
                }
                Ok(length) => return Ok(length),
                Err(Errno::INTR) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(0)
    }
}
