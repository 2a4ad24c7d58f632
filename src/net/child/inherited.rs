//! What a process has from the one that started it. Rust opens files so that they are not handed on; a library of C may not, such as
//! librdkafka with its pipes.

#![expect(unsafe_code, reason = "only C closes what nobody in this process owns; the block says why it is sound")]

use std::{fs, io};

/// The first number after the three standard ones.
const FIRST: i32 = 3;

/// The side of the child: closes all files but standard input, output and error. It is called before anything else is done, while
/// nothing in the process has a file of its own.
///
/// # Errors
/// Where the kernel does not tell which ones there are: who may have files of others does nothing.
pub fn close_what_was_inherited() -> io::Result<()> {
    let names = fs::read_dir("/proc/self/fd")?.map(|entry| entry.map(|entry| entry.file_name()));
    let names = names.collect::<io::Result<Vec<_>>>()?;
    let numbers = names.iter().filter_map(|name| name.to_str()?.parse::<i32>().ok());
    // The directory itself is among them, and closed by now.
    for number in numbers.filter(|number| *number >= FIRST) {
        // SAFETY: it is a number and no memory. Nobody in this process owns the file: it does nothing yet and has one thread.
        unsafe { libc::close(number) };
    }
    Ok(())
}
