// SPDX-License-Identifier: Apache-2.0
//! TLS: one configuration that verifies, and one, for hosts named as insecure, that does not.
//!
//! Both use `ring`, so that no C library is needed. The certificate authorities are read from files that
//! the caller names, only when the first verified connection is made.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::{Error, Kind, Result};

/// Where distributions keep the bundle of certificate authorities; the first that exists is used.
pub const CA_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Builds the configuration that accepts only certificates signed by an authority of the first existing
/// bundle or of one of the `extra` files.
pub(super) fn verifying(bundles: &[PathBuf], extra: &[PathBuf]) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let bundle = bundles.iter().find(|path| path.exists());
    for path in bundle.into_iter().chain(extra) {
        let pem = fs::read(path).map_err(|error| Error::io(format!("read certificates {}", path.display()), error))?;
        // A bundle may hold a certificate this verifier does not take; the others still count.
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    }
    if roots.is_empty() {
        let what = "verify a registry: no certificate authorities on this machine (package ca-certificates)";
        return Err(Error::new(Kind::Unreachable, what));
    }
    Ok(builder()?.with_root_certificates(roots).with_no_client_auth())
}

/// Builds the configuration that accepts any certificate: encrypted, but to nobody in particular.
pub(super) fn insecure() -> Result<ClientConfig> {
    let verifier = Arc::new(AcceptAny(Arc::new(ring::default_provider())));
    Ok(builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(Kind::Io, "set up TLS").with_source(error))
}

#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
