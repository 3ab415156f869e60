//! `[tls]`: which files connections are accepted with, read and tried out.
//!
//! The files are watched like the configuration itself: a changed certificate is a reload.

use std::path::Path;
use std::time::SystemTime;

use super::files::Watched;
use super::parse;
use super::problem::Problem;
use super::reader::{Complaint, Reader};
use crate::proxy::{ClientAuth, Fault, File, Instead, MinVersion, Tls, TlsError, TlsSource};

const CERTIFICATE: &str = "tls.certificate";
const KEY: &str = "tls.key";
const CLIENT_CA: &str = "tls.client_ca";
const CLIENT_AUTH: &str = "tls.client_auth";

/// How much of a fingerprint is shown.
const SHOWN: usize = 16;

/// The contents of the files.
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// `None` without TLS, and if something is wrong; then the reader has the problem.
pub(super) fn read(
    reader: &mut Reader,
    warnings: &mut Vec<Problem>,
    watched: &mut Watched,
) -> Option<Tls> {
    let given = [CERTIFICATE, KEY, CLIENT_CA].map(|key| reader.has(key));
    let client_auth = reader.read(CLIENT_AUTH, |text| {
        let choices = [
            ("none", ClientAuth::None),
            ("optional", ClientAuth::Optional),
            ("required", ClientAuth::Required),
        ];
        parse::one_of(text, &choices)
    });
    let min_version = reader.read("tls.min_version", |text| {
        parse::one_of(
            text,
            &[("1.2", MinVersion::Tls12), ("1.3", MinVersion::Tls13)],
        )
    });
    let (client_auth, min_version) = (client_auth?, min_version?);
    let fits = fits(reader, given, client_auth);
    let [has_certificate, ..] = given;
    if !has_certificate {
        return None;
    }
    let contents = contents(reader, given, watched)?;
    if !fits {
        return None;
    }
    let source = TlsSource {
        certificate: &contents.certificate,
        key: &contents.key,
        client_ca: contents.client_ca.as_deref(),
        client_auth,
        min_version,
    };
    match Tls::new(&source) {
        Ok(tls) => {
            tell(reader, &tls, warnings);
            Some(tls)
        }
        Err(error) => {
            complain(reader, &error);
            None
        }
    }
}

/// Whether what is given makes sense together; says what does not.
fn fits(reader: &mut Reader, given: [bool; 3], client_auth: ClientAuth) -> bool {
    let [has_certificate, has_key, has_client_ca] = given;
    let asks = client_auth != ClientAuth::None;
    let mut fits = true;
    let mut wrong = |key: &str, problem: &str, remedy: &str| {
        reader.problem(key, Complaint::new(problem, remedy));
        fits = false;
    };
    if has_certificate && !has_key {
        wrong(
            KEY,
            "it is not set, and there is a tls.certificate",
            "name the file with the private key of the certificate, such as \
             \"/etc/weir/tls/tls.key\"; it may be the same file",
        );
    }
    if has_key && !has_certificate {
        wrong(
            CERTIFICATE,
            "it is not set, and there is a tls.key",
            "name the file with the certificate and its chain, such as \
             \"/etc/weir/tls/tls.crt\"; or remove tls.key to go without TLS",
        );
    }
    if has_client_ca && !asks {
        wrong(
            CLIENT_AUTH,
            "there is a tls.client_ca, but no client is asked for a certificate: everybody would \
             be let in",
            "write \"required\" (or \"optional\"), or remove tls.client_ca",
        );
    }
    if asks && !has_client_ca {
        wrong(
            CLIENT_CA,
            "it is not set, and clients are asked for a certificate (tls.client_auth)",
            "name the file with the certificates of those who sign for clients, such as \
             \"/etc/weir/tls/ca.crt\"",
        );
    }
    if asks && !has_certificate && !has_key {
        wrong(
            CLIENT_AUTH,
            "clients are asked for a certificate only over TLS, and there is no tls.certificate",
            "set tls.certificate and tls.key, or write \"none\"",
        );
    }
    fits
}

/// Every file that is named, or a problem with each that cannot be read.
fn contents(reader: &mut Reader, given: [bool; 3], watched: &mut Watched) -> Option<Contents> {
    let mut file = |key: &str, is_given: bool| {
        let read = |text: &str| {
            let content = watched.read(Path::new(text));
            content.map_err(|(wrong, remedy)| Complaint::new(wrong, remedy))
        };
        if is_given {
            reader.read(key, read).map(Some)
        } else {
            Some(None)
        }
    };
    let [has_certificate, has_key, has_client_ca] = given;
    let certificate = file(CERTIFICATE, has_certificate);
    let key = file(KEY, has_key);
    let client_ca = file(CLIENT_CA, has_client_ca);
    Some(Contents {
        certificate: certificate?.unwrap_or_default(),
        key: key?.unwrap_or_default(),
        client_ca: client_ca?,
    })
}

/// Shows what the files came to, and warns of what is unwise.
fn tell(reader: &mut Reader, tls: &Tls, warnings: &mut Vec<Problem>) {
    let certificate = &tls.certificate;
    let shown = format!(
        "{}, expires {}, SHA-256 {}…",
        certificate.subject,
        certificate.not_after_text,
        &certificate.fingerprint[..SHOWN.min(certificate.fingerprint.len())]
    );
    reader.came_to(CERTIFICATE, &shown);
    reader.came_to(KEY, "it is that of the certificate");
    if let Some(authorities) = &tls.client_authorities {
        let count = authorities.count;
        let noun = if count == 1 {
            "certificate"
        } else {
            "certificates"
        };
        let shown = &authorities.fingerprint[..SHOWN];
        reader.came_to(CLIENT_CA, &format!("{count} {noun}, SHA-256 {shown}…"));
    }
    let now = SystemTime::now();
    let mut warn = |problem: String, remedy: &str| {
        warnings.push(reader.warning(CERTIFICATE, Complaint::new(problem, remedy)));
    };
    let until = &certificate.not_after_text;
    if certificate.not_after.is_some_and(|at| at < now) {
        warn(
            format!("it has expired ({until}): clients that check it will refuse it"),
            "renew it; weir takes the new one as soon as it is in the file",
        );
    }
    if certificate.not_before.is_some_and(|at| at > now) {
        warn(
            "it is not valid yet: clients that check it will refuse it".to_owned(),
            "check this machine's clock, or wait",
        );
    }
    if certificate.not_after.is_none() {
        warn(
            "weir cannot tell when it expires: weir_tls_certificate_expiry_seconds stays 0"
                .to_owned(),
            "check it with openssl x509 -text -noout -in FILE",
        );
    } else if !certificate.is_in_order {
        warn(
            "the certificates in it do not follow each other: some clients will not find the way \
             to a root"
                .to_owned(),
            "put the server's first, and after each the one that signed it",
        );
    }
}

fn complain(reader: &mut Reader, error: &TlsError) {
    let (key, wanted, what) = match error.file {
        File::Certificate => (CERTIFICATE, "BEGIN CERTIFICATE", "the certificate"),
        File::Key => (KEY, "BEGIN PRIVATE KEY", "the private key"),
        File::ClientCa => (
            CLIENT_CA,
            "BEGIN CERTIFICATE",
            "the certificates of those who sign for clients",
        ),
    };
    let pem = format!("put {what} into it in PEM form (-----{wanted}-----)");
    let (problem, remedy) = match &error.fault {
        Fault::Empty => (
            "the file is empty".to_owned(),
            format!("{pem}; if it is a Secret that is still being issued, wait for it"),
        ),
        Fault::Lacks(instead) => lacks(*instead, what, pem),
        Fault::Broken(words) => (
            format!("a PEM block in the file cannot be read: {words}"),
            format!("{pem}, whole and as it was issued"),
        ),
        Fault::Unusable(words) => (
            format!("what is in the file cannot be used: {words}"),
            match error.file {
                File::Key => "use an RSA key of 2048 to 8192 bits, or one of ECDSA P-256 or P-384 \
                              or Ed25519"
                    .to_owned(),
                _ => "check it with openssl x509 -text -noout -in FILE, and have it issued again"
                    .to_owned(),
            },
        ),
        Fault::Mismatch => (
            "it is not the key of the certificate in tls.certificate".to_owned(),
            "name the key that the certificate was issued for; both print the same with openssl \
             x509 -pubkey -noout -in CERTIFICATE and openssl pkey -pubout -in KEY"
                .to_owned(),
        ),
        Fault::NotFirst(at) => (
            format!("the certificate that belongs to tls.key is number {at} in the file"),
            "put the server's certificate first, then the one that signed it, and so on".to_owned(),
        ),
    };
    reader.problem(key, Complaint::new(problem, remedy));
}

fn lacks(instead: Instead, what: &str, pem: String) -> (String, String) {
    match instead {
        Instead::NoPem => (
            "there is no PEM in the file".to_owned(),
            format!(
                "{pem}; DER is turned into it by openssl x509 -inform der, or openssl pkey -inform \
                 der"
            ),
        ),
        Instead::Key => (
            "there is a private key in the file, and no certificate".to_owned(),
            format!("name the file with {what}; are tls.certificate and tls.key swapped?"),
        ),
        Instead::Certificates => (
            "there are certificates in the file, and no private key".to_owned(),
            format!("name the file with {what}; are tls.certificate and tls.key swapped?"),
        ),
        Instead::EncryptedKey => (
            "the private key in the file is under a password, which weir cannot ask for".to_owned(),
            "write it without one: openssl pkey -in KEY -out NEW; let only weir read the new file"
                .to_owned(),
        ),
        Instead::Other => (
            "there are PEM blocks in the file, but of other kinds".to_owned(),
            pem,
        ),
    }
}
