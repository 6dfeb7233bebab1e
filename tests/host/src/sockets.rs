// SPDX-License-Identifier: GPL-2.0

//! Hyper-V sockets, as AF_VSOCK of the guest has them: connections of the guest to services of the host, and of the
//! host to programs of the guest. Each connection is a channel of its own. The guest asks for one with
//! TL_CONNECT_REQUEST; the answer is an offer that names both ends, or TL_CONNECT_RESULT. When both sides have said
//! that they send no more, the host withdraws the offer.
//!
//! [`service`] has what a guest may connect to, [`connection`] the life of one connection, [`wire`] the formats.

mod connection;
mod service;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use rlis_proto::Guid;
use vmm_sys_util::rand::rand_bytes;

use connection::{Connection, Ending, Ends};
use service::{Client, Service, SERVICES};

use crate::vmbus::server::Server;
use crate::vmbus::Connector;

/// Most connections at a time. Each has a relid and two threads.
const MAX_CONNECTIONS: usize = 256;
/// How long a request waits until the guest has let go of its last connection between the same ends.
const RELEASE_WAIT: Duration = Duration::from_secs(5);
/// How often that is looked at.
const RELEASE_POLL: Duration = Duration::from_millis(10);

#[derive(Default)]
struct State {
    /// Those that have a channel, or wait for one.
    connections: Vec<Weak<Connection>>,
    from_guest: u64,
    from_host: u64,
    refused: u64,
}

/// All sockets of a host.
pub struct Sockets {
    server: Weak<Server>,
    state: Mutex<State>,
    this: Weak<Sockets>,
}

impl Sockets {
    /// Sockets on the bus `server`, which hands the guest's requests to them.
    pub fn new(server: &Arc<Server>) -> Arc<Self> {
        let sockets = Arc::new_cyclic(|this: &Weak<Self>| Self {
            server: Arc::downgrade(server),
            state: Mutex::default(),
            this: this.clone(),
        });
        server.connect_by(sockets.clone());
        sockets
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic would leave a counter behind; a test tool goes on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection with a name of its own.
    fn add(&self, ends: Ends, service: Box<dyn Service>) -> Result<Arc<Connection>> {
        let mut state = self.state();
        state.connections.retain(|c| c.strong_count() > 0);
        ensure!(
            state.connections.len() < MAX_CONNECTIONS,
            "there are {MAX_CONNECTIONS} connections already"
        );
        if ends.from_host {
            state.from_host += 1;
        } else {
            state.from_guest += 1;
        }
        let name = format!("hvsock{}", state.from_host + state.from_guest);
        let connection = Connection::new(name, ends, service);
        state.connections.push(Arc::downgrade(&connection));
        Ok(connection)
    }

    /// Answers the guest's wish to connect.
    fn accept(&self, ends: Ends) -> Result<()> {
        let port = wire::port_of(&ends.service);
        let (_, make) = SERVICES
            .iter()
            .find(|(p, _)| Some(*p) == port)
            .with_context(|| format!("there is no service {}", ends.service))?;
        let connection = self.add(ends, make())?;
        let (server, this) = (self.server.clone(), self.this.clone());
        thread::Builder::new()
            .name("hvsock-accept".into())
            .spawn(move || {
                let (Some(server), Some(this)) = (server.upgrade(), this.upgrade()) else {
                    return;
                };
                if let Err(error) = offer(&server, &connection) {
                    eprintln!("rlis-host: sockets: {error:#}");
                    this.state().refused += 1;
                    server.refuse(ends.endpoint, ends.service);
                    return;
                }
                match connection.supervise(&server, None) {
                    Ending::Finished | Ending::Closed => {}
                    ending => {
                        eprintln!("rlis-host: sockets: {ending:?}: {}", connection.describe())
                    }
                }
            })?;
        Ok(())
    }

    /// Connects to `port` of the guest, sends `bytes`, shuts down that direction and waits until the guest has shut
    /// down the other. Returns what came back, in lines.
    pub fn connect(&self, port: u32, bytes: Vec<u8>, limit: Duration) -> Result<Vec<String>> {
        let server = self.server.upgrade().context("the bus is gone")?;
        let endpoint = rand_bytes(16).try_into().ok();
        let ends = Ends {
            from_host: true,
            service: wire::service_of(port),
            endpoint: Guid::from_bytes(endpoint.context("no 16 random bytes")?),
        };
        let connection = self.add(ends, Box::new(Client::new(bytes)))?;
        offer(&server, &connection)?;
        let ending = connection.supervise(&server, Some(limit));
        let report = connection.report();
        match ending {
            Ending::Finished => Ok(report),
            Ending::NotOpened => bail!("the guest did not accept a connection to port {port}"),
            ending => bail!("the connection ended as {ending:?}: {}", report.join(", ")),
        }
    }

    /// Counters, and the connections that have a channel.
    pub fn list(&self) -> Vec<String> {
        let state = self.state();
        let live = state.connections.iter().filter_map(Weak::upgrade);
        let lines: Vec<String> = live.map(|c| c.describe()).collect();
        let mut all = vec![format!(
            "from_guest={} from_host={} refused={} live={}",
            state.from_guest,
            state.from_host,
            state.refused,
            lines.len()
        )];
        all.extend(lines);
        all
    }
}

/// Offers a connection, once the guest holds no other between the same ends.
fn offer(server: &Server, connection: &Arc<Connection>) -> Result<()> {
    let deadline = Instant::now() + RELEASE_WAIT;
    while !server.offer_once(connection.offer())? {
        ensure!(
            Instant::now() < deadline,
            "the guest still has a connection like {}",
            connection.describe()
        );
        thread::sleep(RELEASE_POLL);
    }
    Ok(())
}

impl Connector for Sockets {
    fn connect_request(&self, endpoint: Guid, service: Guid) -> bool {
        let ends = Ends {
            from_host: false,
            service,
            endpoint,
        };
        let accepted = self.accept(ends);
        if let Err(error) = &accepted {
            eprintln!("rlis-host: sockets: {error:#}");
            self.state().refused += 1;
        }
        accepted.is_ok()
    }
}
