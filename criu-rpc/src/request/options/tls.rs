//! Encryption between CRIU and a page server.

use crate::request::setters::setters;
use crate::request::{Dump, PageServer, PreDump, SelfDump};

/// Certificates for the connection to a page server, by path. Without a path CRIU looks
/// below `/etc/pki`. CRIU 3.13, built with `GnuTLS`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    ca: Option<String>,
    revoked: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
    any_name: bool,
}

impl Tls {
    /// Encryption with CRIU's own paths.
    pub fn new() -> Self {
        Self::default()
    }

    /// The certificate authority that the peer is checked by.
    #[doc(alias = "tls_cacert")]
    #[must_use]
    pub fn ca(mut self, path: impl Into<String>) -> Self {
        self.ca = Some(path.into());
        self
    }

    /// The list of revoked certificates.
    #[doc(alias = "tls_cacrl")]
    #[must_use]
    pub fn revoked(mut self, path: impl Into<String>) -> Self {
        self.revoked = Some(path.into());
        self
    }

    /// The certificate that the peer checks.
    #[doc(alias = "tls_cert")]
    #[must_use]
    pub fn certificate(mut self, path: impl Into<String>) -> Self {
        self.certificate = Some(path.into());
        self
    }

    /// Its private key.
    #[doc(alias = "tls_key")]
    #[must_use]
    pub fn key(mut self, path: impl Into<String>) -> Self {
        self.key = Some(path.into());
        self
    }

    /// Accept a certificate that was made for another host name.
    #[doc(alias = "tls_no_cn_verify")]
    #[must_use]
    pub fn any_name(mut self, on: bool) -> Self {
        self.any_name = on;
        self
    }
}

setters! { Dump, SelfDump, PreDump, PageServer => {
    /// Encrypts the connection between CRIU and the page server, on both sides.
    fn tls(draft, tls: Tls) {
        draft.options.tls = Some(true);
        draft.options.tls_cacert = tls.ca;
        draft.options.tls_cacrl = tls.revoked;
        draft.options.tls_cert = tls.certificate;
        draft.options.tls_key = tls.key;
        draft.options.tls_no_cn_verify = tls.any_name.then_some(true);
    }
}}
