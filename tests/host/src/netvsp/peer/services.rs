// SPDX-License-Identifier: GPL-2.0

//! What the peer does on its ports: echo, discard and a source of bytes over TCP, echo and discard over UDP, and DHCP.

use std::fmt;

use sha2::digest::Output;
use sha2::{Digest, Sha256};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::{IpListenEndpoint, Ipv4Cidr};

use super::dhcp;

/// Ports of RFC 862 to 864.
const ECHO: u16 = 7;
const DISCARD: u16 = 9;
const SOURCE: u16 = 19;
const DHCP: u16 = 67;
/// Connections that a port takes at the same time.
const CONNECTIONS: usize = 8;
/// Bytes of a socket's buffer, each way.
const BUFFER: usize = 64 << 10;
/// Bytes of the longest line that tells a number of bytes.
const MAX_LINE: usize = 20;

/// What came over a connection until the other side shut down, shown as `PORT/BYTES/SHA-256`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    port: u16,
    bytes: u64,
    sha256: Output<Sha256>,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{:x}", self.port, self.bytes, self.sha256)
    }
}

/// A connection, or a socket that waits for one.
struct Connection {
    handle: SocketHandle,
    port: u16,
    /// Bytes that came to echo or discard, and what they hash to.
    received: u64,
    hash: Sha256,
    /// Bytes that the source is to send, once it knows, and has sent.
    wanted: Option<u64>,
    sent: u64,
    line: Vec<u8>,
}

impl Connection {
    fn forget(&mut self) {
        self.received = 0;
        self.hash.reset();
        self.wanted = None;
        self.sent = 0;
        self.line.clear();
    }

    /// Takes note of bytes that came.
    fn came(&mut self, bytes: &[u8]) {
        self.received += bytes.len() as u64;
        self.hash.update(bytes);
    }

    /// All that came, at its end.
    fn stream(&mut self) -> Stream {
        Stream {
            port: self.port,
            bytes: self.received,
            sha256: self.hash.finalize_reset(),
        }
    }

    /// Does what there is to do. Returns what came, when the other side has shut down.
    fn work(&mut self, socket: &mut tcp::Socket<'_>) -> Option<Stream> {
        if !socket.is_open() {
            self.forget();
            // A closed socket can listen at a port that is not 0.
            let _ = socket.listen(self.port);
            return None;
        }
        match self.port {
            ECHO => self.echo(socket),
            DISCARD => self.discard(socket),
            _ => {
                self.source(socket);
                None
            }
        }
    }

    fn discard(&mut self, socket: &mut tcp::Socket<'_>) -> Option<Stream> {
        while let Ok(1..) = socket.recv(|bytes| {
            self.came(bytes);
            (bytes.len(), bytes.len())
        }) {}
        ended(socket).then(|| {
            let line = format!("{} bytes\n", self.received);
            let _ = socket.send_slice(line.as_bytes());
            socket.close();
            self.stream()
        })
    }

    fn echo(&mut self, socket: &mut tcp::Socket<'_>) -> Option<Stream> {
        while socket.can_recv() {
            let room = socket.send_capacity() - socket.send_queue();
            if room == 0 {
                return None;
            }
            let taken = socket.recv(|bytes| {
                let len = bytes.len().min(room);
                (len, bytes.get(..len).unwrap_or_default().to_vec())
            });
            let bytes = taken.ok()?;
            self.came(&bytes);
            let _ = socket.send_slice(&bytes);
        }
        ended(socket).then(|| {
            socket.close();
            self.stream()
        })
    }

    /// Takes a line with a number and sends that many bytes: 0, 1, …, 250, 0, …
    fn source(&mut self, socket: &mut tcp::Socket<'_>) {
        while self.wanted.is_none() {
            let mut byte = [0];
            match socket.recv_slice(&mut byte) {
                Ok(1) if byte[0] == b'\n' || self.line.len() >= MAX_LINE => {
                    let text = String::from_utf8_lossy(&self.line);
                    self.wanted = Some(text.trim().parse().unwrap_or(0));
                }
                Ok(1) => self.line.push(byte[0]),
                _ => break,
            }
        }
        let Some(wanted) = self.wanted else {
            if ended(socket) {
                socket.close();
            }
            return;
        };
        while self.sent < wanted && socket.can_send() {
            let (left, first) = (wanted - self.sent, self.sent);
            let filled = socket.send(|room| {
                let len = room.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                for (byte, n) in room.iter_mut().take(len).zip(first..) {
                    *byte = (n % 251) as u8;
                }
                (len, len)
            });
            let Ok(len @ 1..) = filled else { break };
            self.sent += len as u64;
        }
        if self.sent == wanted {
            socket.close();
        }
    }
}

/// Whether the other side has shut down and all that it sent is taken.
fn ended(socket: &tcp::Socket<'_>) -> bool {
    socket.state() == tcp::State::CloseWait && socket.recv_queue() == 0
}

/// All that the peer offers.
pub struct Services {
    connections: Vec<Connection>,
    echo: SocketHandle,
    discard: SocketHandle,
    dhcp: SocketHandle,
    /// Datagrams that came to the port for discarding.
    pub discarded: u64,
    /// The last stream of bytes to echo or discard that came to its end.
    pub stream: Option<Stream>,
}

fn datagrams(sockets: &mut SocketSet<'static>, port: u16) -> SocketHandle {
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 256], vec![0; BUFFER]);
    let mut socket = udp::Socket::new(buffer(), buffer());
    // A fresh socket can be bound to a port that is not 0.
    let _ = socket.bind(IpListenEndpoint::from(port));
    sockets.add(socket)
}

impl Services {
    /// Opens the sockets.
    pub fn new(sockets: &mut SocketSet<'static>) -> Self {
        let mut connections = Vec::new();
        for port in [ECHO, DISCARD, SOURCE] {
            for _ in 0..CONNECTIONS {
                let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER]);
                let mut socket = tcp::Socket::new(buffer(), buffer());
                socket.set_nagle_enabled(false);
                socket.set_ack_delay(None);
                let _ = socket.listen(port);
                connections.push(Connection {
                    handle: sockets.add(socket),
                    port,
                    received: 0,
                    hash: Sha256::new(),
                    wanted: None,
                    sent: 0,
                    line: Vec::new(),
                });
            }
        }
        Self {
            connections,
            echo: datagrams(sockets, ECHO),
            discard: datagrams(sockets, DISCARD),
            dhcp: datagrams(sockets, DHCP),
            discarded: 0,
            stream: None,
        }
    }

    /// Does what there is to do. `own` is the peer's address.
    pub fn work(&mut self, sockets: &mut SocketSet<'static>, own: Ipv4Cidr) {
        for connection in &mut self.connections {
            if let Some(stream) = connection.work(sockets.get_mut(connection.handle)) {
                self.stream = Some(stream);
            }
        }
        let socket = sockets.get_mut::<udp::Socket<'_>>(self.echo);
        while socket.can_send() {
            let Ok((bytes, from)) = socket.recv() else {
                break;
            };
            let bytes = bytes.to_vec();
            let _ = socket.send_slice(&bytes, from.endpoint);
        }
        let socket = sockets.get_mut::<udp::Socket<'_>>(self.discard);
        while socket.recv().is_ok() {
            self.discarded += 1;
        }
        let socket = sockets.get_mut::<udp::Socket<'_>>(self.dhcp);
        while let Ok((bytes, _)) = socket.recv() {
            if let Some((answer, to)) = dhcp::answer(bytes, own) {
                let _ = socket.send_slice(&answer, to);
            }
        }
    }
}
