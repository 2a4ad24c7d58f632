//! Whose a connection to this machine is, as far as the kernel tells: which socket is at its other end, and which process has it.

use std::{fs, net::SocketAddrV4};

use rustix::process::Pid;

/// Largest table of sockets that is read: more than a hundred thousand of them.
const TABLE_LIMIT: u64 = 16 * 1024 * 1024;

/// Who has made a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The process that was asked about.
    Asked,
    /// Another one.
    Another,
    /// It cannot be told: the kernel does not show it.
    Unknown,
}

/// Whether `pid` has made the connection from `from` to `to`. It reads files of the kernel.
pub(super) fn owner(pid: Pid, from: SocketAddrV4, to: SocketAddrV4) -> Owner {
    let number = pid.as_raw_nonzero();
    let Some(socket) = table().and_then(|table| socket(&table, from, to)) else { return Owner::Unknown };
    let Ok(descriptors) = fs::read_dir(format!("/proc/{number}/fd")) else { return Owner::Unknown };
    let name = format!("socket:[{socket}]");
    let has = descriptors
        .filter_map(Result::ok)
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
        .any(|target| target.as_os_str() == name.as_str());
    if has { Owner::Asked } else { Owner::Another }
}

fn table() -> Option<String> {
    use std::io::Read as _;
    let mut table = String::new();
    fs::File::open("/proc/net/tcp").ok()?.take(TABLE_LIMIT).read_to_string(&mut table).ok()?;
    Some(table)
}

/// The number of the socket at `from` that is connected to `to`, out of the kernel's table (proc(5)).
fn socket(table: &str, from: SocketAddrV4, to: SocketAddrV4) -> Option<u64> {
    let (from, to) = (written(from), written(to));
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let pair = (columns.nth(1)?, columns.next()?);
        let number = columns.nth(6)?.parse().ok()?;
        (pair == (&from, &to) && number != 0).then_some(number)
    })
}

/// An address as the table has it: the bytes as a number of this machine.
fn written(address: SocketAddrV4) -> String {
    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};

    use super::*;

    const TABLE: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 111 1 0 100 0 0 10 0
   1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 222 1 0 20 4 30 10 -1
   2: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 333 1 0 20 4 30 10 -1
   3: 0100007F:C351 0100007F:1F90 06 00000000:00000000 00:00000000 00000000     0        0 0 3 0
   4: odd
";

    fn at(port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_other_end_of_a_connection_is_found_in_the_table() {
        assert_eq!(socket(TABLE, at(50000), at(8080)), Some(222));
        assert_eq!(socket(TABLE, at(8080), at(50000)), Some(333));
        assert_eq!(socket(TABLE, at(50001), at(8080)), None, "it has been closed");
        assert_eq!(socket(TABLE, at(50002), at(8080)), None);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test comes from outside")]
    fn a_connection_of_ours_is_ours_and_of_nobody_else() {
        // Begun first, so that it never has a copy of our sockets.
        let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(to) = listener.local_addr().unwrap() else { panic!("no IPv4") };
        let stream = std::net::TcpStream::connect(to).unwrap();
        let SocketAddr::V4(from) = stream.local_addr().unwrap() else { panic!("no IPv4") };
        assert_eq!(owner(rustix::process::getpid(), from, to), Owner::Asked);
        let other = Pid::from_raw(i32::try_from(sleeper.id()).unwrap()).unwrap();
        assert_eq!(owner(other, from, to), Owner::Another);
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert_eq!(owner(other, from, to), Owner::Unknown, "it is gone");
    }
}
