// SPDX-License-Identifier: Apache-2.0
//! Registries: a client of the OCI distribution specification (v1.1) and Docker's token authentication.
//!
//! Guarantees: every byte that leaves this module towards the store was asked for by digest or is hashed by
//! the caller; credentials go to the registry's own host and the token service it names, over verified TLS;
//! plain HTTP and unverified TLS are used only for hosts that the caller named exactly, never because an
//! address looks local (CVE-2026-92543, CVE-2019-10214), and never after a redirect to another host
//! (CVE-2020-15157). Trusts: the caller's options. Faces: registries, mirrors, token services and everybody
//! on the way to them.
//!
//! Why not `oci-client` 0.18, which the design names first: its one HTTP client turns verification off for
//! all hosts or for none, the token service included; it reads manifests and errors of any size into memory;
//! its errors have lost the headers, so that `Retry-After` cannot be obeyed; it follows a redirect from HTTPS
//! to HTTP; and it fetches the `urls` that a manifest names. Each of those is a requirement here.
//!
//! The interface is synchronous. Every thread that transfers has a `Session` with a runtime of its own:
//! socket, hash and file are then driven by one thread, without any hand-over between threads per buffer.

mod auth;
mod challenge;
mod endpoint;
mod fetch;
mod http;
pub mod login;
mod manifest;
mod platform;
mod proxy;
mod retry;
mod tls;
mod token;
mod transfer;
mod upload;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use auth::{AuthSources, Credential};
pub use fetch::fetch;
pub use platform::Platform;
pub use proxy::Proxies;
pub use retry::RetryPolicy;
pub use tls::CA_BUNDLES;

pub(crate) use endpoint::Endpoint;
pub(crate) use http::Client;
pub(crate) use manifest::{Resolved, resolve};
pub(crate) use transfer::{BlobWatch, Transfer, cancelled};

/// How registries are reached: everything that is not in the image's name.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Where credentials are.
    pub auth: AuthSources,
    /// The hosts, written exactly as in image names (`localhost:5000`), for which TLS is not verified and
    /// plain HTTP is tried after it. No address is in this list by itself, loopback neither.
    pub insecure: Vec<String>,
    /// For a registry's host, the mirrors that are asked before it, each `HOST[:PORT][/PREFIX]`. Only pulls.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Bundles of certificate authorities in PEM; the first that exists is used.
    pub ca_bundles: Vec<PathBuf>,
    /// Further certificate authorities in PEM.
    pub extra_cas: Vec<PathBuf>,
    /// The proxies, if any.
    pub proxies: Proxies,
    /// How often a failed transfer is tried again.
    pub retry: RetryPolicy,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long a server may be silent.
    pub read_timeout: Duration,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            auth: AuthSources::default(),
            insecure: Vec::new(),
            mirrors: BTreeMap::new(),
            ca_bundles: CA_BUNDLES.map(PathBuf::from).to_vec(),
            extra_cas: Vec::new(),
            proxies: Proxies::default(),
            retry: RetryPolicy::default(),
            connect_timeout: Duration::from_secs(15),
            read_timeout: Duration::from_secs(60),
        }
    }
}

impl RegistryOptions {
    /// Returns whether the caller named this host as insecure: the same host and the same port, in writing.
    fn is_insecure(&self, authority: &str) -> bool {
        self.insecure.iter().any(|named| named.eq_ignore_ascii_case(authority))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_host_is_insecure() {
        let options = RegistryOptions { insecure: vec!["localhost:5000".into()], ..RegistryOptions::default() };
        assert!(options.is_insecure("localhost:5000") && options.is_insecure("LocalHost:5000"));
        for other in ["localhost", "localhost:5001", "127.0.0.1:5000", "x.localhost:5000", "[::1]:5000", ""] {
            assert!(!options.is_insecure(other), "{other}");
        }
        assert!(!RegistryOptions::default().is_insecure("127.0.0.1:5000"));
    }
}
