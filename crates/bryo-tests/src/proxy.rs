// SPDX-License-Identifier: Apache-2.0
//! A network that breaks: a TCP proxy that cuts a connection in the middle of an answer.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A proxy that runs until the test ends.
#[derive(Debug)]
pub struct Proxy {
    /// `127.0.0.1:PORT`.
    pub host: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    /// How many more connections will be cut.
    cuts: AtomicU32,
    /// After how many bytes of an answer.
    after: usize,
    requests: Mutex<Vec<u8>>,
}

impl Proxy {
    /// Starts a proxy to a host that cuts as many connections as `cuts` says, each after `after` bytes.
    pub fn start(upstream: &str, cuts: u32, after: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            cuts: AtomicU32::new(cuts),
            after,
            requests: Mutex::default(),
        });
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&of_thread);
                thread::spawn(move || serve(client, &shared));
            }
        });
        Self { host, shared }
    }

    /// Returns everything that clients sent, in lower case.
    pub fn requests(&self) -> String {
        let bytes = self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).to_lowercase()
    }

    /// Returns how many connections are still to be cut.
    pub fn cuts_left(&self) -> u32 {
        self.shared.cuts.load(Ordering::SeqCst)
    }
}

fn serve(client: TcpStream, shared: &Arc<Shared>) {
    let Ok(server) = TcpStream::connect(&shared.upstream) else { return };
    let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let of_thread = Arc::clone(shared);
    thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(n @ 1..) = from_client.read(&mut buffer) {
            of_thread.requests.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..n]);
            if to_server.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        let _ended = to_server.shutdown(Shutdown::Write);
    });
    let (mut from_server, mut to_client) = (server, client);
    let mut sent = 0;
    let mut buffer = [0; 8192];
    while let Ok(n @ 1..) = from_server.read(&mut buffer) {
        if to_client.write_all(&buffer[..n]).is_err() {
            break;
        }
        sent += n;
        let cut = |left: u32| left.checked_sub(1);
        if sent > shared.after && shared.cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, cut).is_ok() {
            break;
        }
    }
    let _ended = (to_client.shutdown(Shutdown::Both), from_server.shutdown(Shutdown::Both));
}
