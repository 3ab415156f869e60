//! TLS on the listener: what connections are accepted with, made from PEM files.
//!
//! A [`Tls`] is made once per configuration and shared by all connections. A connection keeps the
//! one it began with, so that a new certificate disturbs nobody. What a client's certificate says
//! of it goes to the backend in one header field, made once per connection (`identity`).

mod credentials;
mod handshake;
mod identity;
mod socket;

use std::fmt;
use std::sync::Arc;

use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN, digest};
use rustls::ServerConfig;
use rustls::crypto::ring as provider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

pub use credentials::{CertificateInfo, Fault, File, Instead, TlsError};
pub(in crate::proxy) use handshake::{Protocol, Secured, accept};
pub(in crate::proxy) use identity::{TlsPeer, say_client_cert};
pub(in crate::proxy) use socket::TlsStream;

/// The protocols that are offered by ALPN. Some clients name the oldest one when told to speak it.
const ALPN: [&[u8]; 3] = [b"h2", b"http/1.1", b"http/1.0"];

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// No.
    #[default]
    None,
    /// Yes; who has none is let in without, who has a wrong one is not.
    Optional,
    /// Yes; nobody is let in without.
    Required,
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// What a [`Tls`] is made of: the contents of PEM files, and the rules.
#[derive(Clone, Copy, Debug)]
pub struct TlsSource<'a> {
    /// The server's certificate, then those that lead from it to a root.
    pub certificate: &'a [u8],
    /// Its private key.
    pub key: &'a [u8],
    /// Who signs the certificates of clients.
    pub client_ca: Option<&'a [u8]>,
    /// Whether clients are asked for one.
    pub client_auth: ClientAuth,
    /// The oldest version that is spoken.
    pub min_version: MinVersion,
}

/// Who signs the certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorities {
    /// How many they are.
    pub count: usize,
    /// The SHA-256 of their file, in hexadecimal.
    pub fingerprint: String,
}

/// What connections are accepted with.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    /// What is told of the certificate.
    pub certificate: CertificateInfo,
    /// Who signs for clients; `None` if clients are not asked.
    pub client_authorities: Option<Authorities>,
    /// Whether clients are asked for a certificate.
    pub client_auth: ClientAuth,
    /// The oldest version that is spoken.
    pub min_version: MinVersion,
    /// Two that are made of the same are the same: then sessions can be resumed across a reload.
    made_of: [u8; SHA256_OUTPUT_LEN],
}

impl Tls {
    /// Reads what it is made of.
    pub fn new(source: &TlsSource<'_>) -> Result<Self, TlsError> {
        let ring = Arc::new(provider::default_provider());
        let chain = credentials::chain(source.certificate)?;
        let key = credentials::key(source.key)?;
        let certificate = CertificateInfo::of(&chain);
        let certified = credentials::certified(chain, key, &ring)?;
        let versions = match source.min_version {
            MinVersion::Tls12 => rustls::ALL_VERSIONS,
            MinVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(ring.clone())
            .with_protocol_versions(versions)
            .map_err(TlsError::certificate)?;
        let asked = source
            .client_ca
            .filter(|_| source.client_auth != ClientAuth::None);
        let mut client_authorities = None;
        let builder = match asked {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let roots = credentials::authorities(authorities)?;
                client_authorities = Some(Authorities {
                    count: roots.len(),
                    fingerprint: hex(digest(&SHA256, authorities).as_ref()),
                });
                let mut verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), ring);
                if source.client_auth == ClientAuth::Optional {
                    verifier = verifier.allow_unauthenticated();
                }
                builder.with_client_cert_verifier(verifier.build().map_err(TlsError::client_ca)?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(Only(Arc::new(certified))));
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
        // The state of a session is the client's to keep: weir's memory stays its own.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = provider::Ticketer::new().map_err(TlsError::certificate)?;
        Ok(Self {
            config: Arc::new(config),
            certificate,
            client_authorities,
            client_auth: source.client_auth,
            min_version: source.min_version,
            made_of: source.digest(),
        })
    }
}

impl TlsSource<'_> {
    fn digest(&self) -> [u8; SHA256_OUTPUT_LEN] {
        let mut context = Context::new(&SHA256);
        for part in [self.certificate, self.key, self.client_ca.unwrap_or(b"")] {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        context.update(&[self.client_auth as u8, self.min_version as u8]);
        let mut digest = [0; SHA256_OUTPUT_LEN];
        digest.copy_from_slice(context.finish().as_ref());
        digest
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.made_of == other.made_of
    }
}

impl Eq for Tls {}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("certificate", &self.certificate)
            .field("client_authorities", &self.client_authorities)
            .finish_non_exhaustive()
    }
}

/// The one certificate there is, whatever name a client asks for.
#[derive(Debug)]
struct Only(Arc<CertifiedKey>);

impl rustls::server::ResolvesServerCert for Only {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// In small letters.
fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
