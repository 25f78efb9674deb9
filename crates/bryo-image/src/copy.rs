// SPDX-License-Identifier: Apache-2.0
//! Moving a stream of any length.

use std::io::{ErrorKind, Read, Write};

use crate::error::{Error, Result};

/// Copies a stream to its end in large steps, and returns its length in bytes. The error says which side failed with
/// `what`.
pub(crate) fn copy(reader: &mut dyn Read, writer: &mut dyn Write, what: &str) -> Result<u64> {
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        let n = match reader.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::from_read(format!("read {what}"), error)),
        };
        writer.write_all(&buffer[..n]).map_err(|error| Error::io(format!("write {what}"), error))?;
        total += n as u64;
    }
}
