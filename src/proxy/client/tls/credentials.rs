//! Certificates and keys out of PEM files, and what may be wrong with them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::digest::{SHA256, digest};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::{hex, identity};

/// Which file it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// The certificate and its chain.
    Certificate,
    /// The private key.
    Key,
    /// Who signs for clients.
    ClientCa,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is in it.
    Empty,
    /// What is wanted is not in it, but this.
    Lacks(Instead),
    /// A block in it cannot be read; in the library's words.
    Broken(String),
    /// What is in it is well-formed and cannot be used; in the library's words.
    Unusable(String),
    /// The key is that of another certificate.
    Mismatch,
    /// The certificate that belongs to the key is in it, but behind others: here, counted from 1.
    NotFirst(usize),
}

/// What is in a file instead of what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    /// No PEM at all.
    NoPem,
    /// Certificates.
    Certificates,
    /// A private key.
    Key,
    /// A private key under a password.
    EncryptedKey,
    /// PEM blocks of other kinds.
    Other,
}

/// Why there can be no TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    /// Which file is to blame.
    pub file: File,
    /// For what.
    pub fault: Fault,
}

impl TlsError {
    fn new(file: File, fault: Fault) -> Self {
        Self { file, fault }
    }

    fn unusable(file: File, error: &dyn std::fmt::Display) -> Self {
        Self::new(file, Fault::Unusable(error.to_string()))
    }

    #[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
    pub(super) fn certificate(error: rustls::Error) -> Self {
        Self::unusable(File::Certificate, &error)
    }

    #[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
    pub(super) fn client_ca(error: rustls::server::VerifierBuilderError) -> Self {
        Self::unusable(File::ClientCa, &error)
    }
}

/// What is told of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Whose it is, as in `CN=app.example,O=Example`.
    pub subject: String,
    /// From when on it is valid; `None` where it cannot be told.
    pub not_before: Option<SystemTime>,
    /// When it expires; `None` where it cannot be told.
    pub not_after: Option<SystemTime>,
    /// The same as text, in UTC.
    pub not_after_text: String,
    /// The SHA-256 of it, in hexadecimal.
    pub fingerprint: String,
    /// Whether each certificate of the file is followed by that of who signed it.
    pub is_in_order: bool,
}

impl CertificateInfo {
    pub(super) fn of(chain: &[CertificateDer<'_>]) -> Self {
        let parsed: Vec<_> = chain
            .iter()
            .filter_map(|der| Certificate::from_der(der).ok())
            .collect();
        let is_in_order = parsed.len() == chain.len()
            && parsed.windows(2).all(|pair| {
                pair[0].tbs_certificate().issuer() == pair[1].tbs_certificate().subject()
            });
        let fingerprint = chain.first().map_or_else(String::new, |leaf| {
            hex(digest(&SHA256, leaf.as_ref()).as_ref())
        });
        let leaf = chain
            .first()
            .and_then(|der| Certificate::from_der(der).ok());
        let Some(leaf) = leaf else {
            return Self {
                subject: "unknown".to_owned(),
                not_before: None,
                not_after: None,
                not_after_text: "unknown".to_owned(),
                fingerprint,
                is_in_order,
            };
        };
        let leaf = leaf.tbs_certificate();
        let validity = leaf.validity();
        let at = |since_epoch: Duration| UNIX_EPOCH.checked_add(since_epoch);
        Self {
            subject: identity::subject(leaf.subject()),
            not_before: at(validity.not_before.to_unix_duration()),
            not_after: at(validity.not_after.to_unix_duration()),
            not_after_text: validity.not_after.to_date_time().to_string(),
            fingerprint,
            is_in_order,
        }
    }

    /// When it expires, in seconds since the Unix epoch; 0 where it cannot be told.
    #[must_use]
    pub fn expires_unix(&self) -> u64 {
        self.not_after
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
            .map_or(0, |since| since.as_secs())
    }
}

/// Every PEM block of a file.
fn sections(file: File, text: &[u8]) -> Result<Vec<(SectionKind, Vec<u8>)>, TlsError> {
    if text.trim_ascii().is_empty() {
        return Err(TlsError::new(file, Fault::Empty));
    }
    <(SectionKind, Vec<u8>)>::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::new(file, Fault::Broken(error.to_string())))
}

/// What a file has that lacks what is wanted.
fn lacks(file: File, text: &[u8], found: &[(SectionKind, Vec<u8>)]) -> TlsError {
    let says = |words: &[u8]| text.windows(words.len()).any(|part| part == words);
    let is_key = |kind: SectionKind| {
        matches!(
            kind,
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey
        )
    };
    let instead = if !says(b"-----BEGIN ") {
        Instead::NoPem
    } else if says(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        Instead::EncryptedKey
    } else if found.iter().any(|(kind, _)| is_key(*kind)) {
        Instead::Key
    } else if found
        .iter()
        .any(|(kind, _)| *kind == SectionKind::Certificate)
    {
        Instead::Certificates
    } else {
        Instead::Other
    };
    TlsError::new(file, Fault::Lacks(instead))
}

fn certificates(file: File, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = sections(file, text)?;
    let certificates: Vec<_> = found
        .iter()
        .filter(|(kind, _)| *kind == SectionKind::Certificate)
        .map(|(_, der)| CertificateDer::from(der.clone()))
        .collect();
    if certificates.is_empty() {
        return Err(lacks(file, text, &found));
    }
    Ok(certificates)
}

/// The server's certificate, then those that lead from it to a root.
pub(super) fn chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates(File::Certificate, text)
}

/// The first private key of a file. Certificates beside it are passed over: some tools write both
/// into one.
pub(super) fn key(text: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    // An old form of RSA and EC keys under a password says so inside the block.
    if text.windows(20).any(|part| part == b"Proc-Type: 4,ENCRYPT") {
        return Err(TlsError::new(
            File::Key,
            Fault::Lacks(Instead::EncryptedKey),
        ));
    }
    let found = sections(File::Key, text)?;
    PrivateKeyDer::from_pem_slice(text).map_err(|_| lacks(File::Key, text, &found))
}

/// Who signs for clients.
pub(super) fn authorities(text: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(File::ClientCa, text)? {
        roots
            .add(authority)
            .map_err(|error| TlsError::unusable(File::ClientCa, &error))?;
    }
    Ok(roots)
}

/// Both together, if they are of one pair.
pub(super) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| TlsError::unusable(File::Key, &error))?;
    let belongs = |chain: &[CertificateDer<'static>]| {
        CertifiedKey::new(chain.to_vec(), key.clone()).keys_match()
    };
    match belongs(&chain) {
        // Nothing can be told of keys that do not show their public half.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
            Ok(CertifiedKey::new(chain, key))
        }
        Err(rustls::Error::InconsistentKeys(_)) => {
            let place = (1..chain.len()).find(|at| belongs(&chain[*at..]).is_ok());
            Err(match place {
                Some(at) => TlsError::new(File::Certificate, Fault::NotFirst(at + 1)),
                None => TlsError::new(File::Key, Fault::Mismatch),
            })
        }
        Err(error) => Err(TlsError::certificate(error)),
    }
}
