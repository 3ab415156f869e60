//! `[tls]`: every file that cannot be used is explained, and one that changes is seen.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use tempfile::TempDir;
use weir::config::{Loaded, Problems, Sources, changes, load_watched};

use super::{BASE_ENV, effective, machine, owned, with_sets};

/// A certificate and its key, in PEM.
struct Pair {
    certificate: String,
    key: String,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("an authority")
}

fn signed(params: &CertificateParams, by: &Issuer<'_, KeyPair>) -> Pair {
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, by).expect("a certificate");
    Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    }
}

/// The files of a test, named as a Secret names them.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn path(&self, name: &str) -> String {
        let path = self.0.path().join(name);
        path.to_str().expect("a temporary path is UTF-8").to_owned()
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).expect("written");
    }

    /// What these files and settings come to.
    fn load(&self, files: &[&str], more: &[&str]) -> Result<Loaded, Problems> {
        let keys = ["tls.certificate", "tls.key", "tls.client_ca"];
        let mut sets: Vec<String> = std::iter::zip(keys, files)
            .filter(|(_, file)| !file.is_empty())
            .map(|(key, file)| format!("{key}={}", self.path(file)))
            .collect();
        sets.extend(more.iter().map(|set| (*set).to_owned()));
        with_sets(&sets.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// The one problem there is: which key, what is wrong, and the remedy.
fn only(loaded: Result<Loaded, Problems>) -> (String, String, String) {
    let Problems(problems) = loaded.expect_err("it cannot be used");
    let [problem] = &problems[..] else {
        panic!("not one problem: {problems:?}");
    };
    let words = (&problem.key, &problem.problem, &problem.remedy);
    (words.0.clone(), words.1.clone(), words.2.clone())
}

const REQUIRED: &str = "tls.client_auth=required";

/// Good ones, and each way in which they can be bad.
fn every_kind_of_file() -> Files {
    let files = Files::new();
    let issuer = authority("root");
    let (server, other) = (signed(&params("a"), &issuer), signed(&params("b"), &issuer));
    let root = issuer.pem();
    let block = |kind: &str, fields: &str| {
        format!("-----BEGIN {kind}-----\n{fields}aGVsbG8=\n-----END {kind}-----\n")
    };
    files.write("crt", &server.certificate);
    files.write("key", &server.key);
    files.write("ca", &root);
    files.write("other", &other.key);
    files.write("empty", " \n");
    files.write("words", "not PEM at all");
    files.write("reversed", &format!("{root}{}", server.certificate));
    files.write("broken", &server.certificate.replacen("MII", "M!I", 1));
    files.write("cut", &server.certificate[..200]);
    files.write("nonsense", &block("CERTIFICATE", ""));
    files.write("tiny", &block("PRIVATE KEY", ""));
    files.write("locked", &block("ENCRYPTED PRIVATE KEY", ""));
    let fields = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n";
    files.write("old-locked", &block("RSA PRIVATE KEY", fields));
    // Both in one, as HAProxy has them.
    files.write(
        "both",
        &format!("{}{}{root}", server.key, server.certificate),
    );
    files
}

#[test]
fn every_file_that_cannot_be_used_is_explained() {
    let files = every_kind_of_file();
    files.load(&["crt", "key"], &[]).expect("valid");
    files
        .load(&["crt", "key", "ca"], &[REQUIRED])
        .expect("valid");
    files.load(&["both", "both"], &[]).expect("valid");
    let lines = include_str!("tls.txt").lines();
    for line in lines.filter(|line| !line.starts_with('#')) {
        let cells: Vec<&str> = line.split(" | ").collect();
        let [given, key, problem, remedy] = cells[..] else {
            panic!("not four cells: {line}");
        };
        let given: Vec<&str> = given.split(' ').filter(|name| *name != "-").collect();
        let more: &[&str] = if given.len() == 3 { &[REQUIRED] } else { &[] };
        let found = only(files.load(&given, more));
        assert_eq!(found.0, key, "{line}");
        assert!(found.1.contains(problem), "{line}: {}", found.1);
        assert!(found.2.contains(remedy), "{line}: {}", found.2);
    }
}

#[test]
fn what_is_given_must_make_sense_together() {
    let files = Files::new();
    let issuer = authority("root");
    let server = signed(&params("a"), &issuer);
    files.write("crt", &server.certificate);
    files.write("key", &server.key);
    files.write("ca", &issuer.pem());
    let keys = |loaded: Result<Loaded, Problems>| -> Vec<String> {
        let Problems(problems) = loaded.expect_err("it cannot be used");
        problems.into_iter().map(|problem| problem.key).collect()
    };
    assert_eq!(keys(files.load(&["crt"], &[])), ["tls.key"]);
    assert_eq!(keys(files.load(&["", "key"], &[])), ["tls.certificate"]);
    // Not a door left open because a word was forgotten.
    let forgotten = files.load(&["crt", "key", "ca"], &[]);
    assert_eq!(keys(forgotten), ["tls.client_auth"]);
    assert_eq!(
        keys(files.load(&["crt", "key"], &[REQUIRED])),
        ["tls.client_ca"]
    );
    assert_eq!(
        keys(files.load(&[], &[REQUIRED])),
        ["tls.client_ca", "tls.client_auth"]
    );
    assert_eq!(
        keys(files.load(&[], &["tls.min_version=1.1"])),
        ["tls.min_version"]
    );
    let loaded = files.load(&[], &[]).expect("valid");
    assert_eq!(loaded.config.proxy.tls, None);
}

#[test]
fn what_is_unwise_is_a_warning() {
    let files = Files::new();
    let issuer = authority("root");
    let mut old = params("old");
    (old.not_before, old.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 2, 3));
    let mut early = params("early");
    (early.not_before, early.not_after) = (date_time_ymd(2090, 1, 1), date_time_ymd(2091, 1, 1));
    let stranger = authority("stranger").pem();
    for (name, params, chain, words) in [
        (
            "old",
            old,
            String::new(),
            "it has expired (2021-02-03T00:00:00Z)",
        ),
        ("early", early, String::new(), "not valid yet"),
        (
            "astray",
            params("astray"),
            stranger,
            "do not follow each other",
        ),
        ("fine", params("fine"), issuer.pem(), ""),
    ] {
        let pair = signed(&params, &issuer);
        files.write("crt", &format!("{}{chain}", pair.certificate));
        files.write("key", &pair.key);
        let loaded = files.load(&["crt", "key"], &[]).expect("it can be used");
        let warnings = loaded
            .warnings
            .iter()
            .filter(|one| one.key == "tls.certificate");
        let warnings: Vec<&str> = warnings.map(|one| one.problem.as_str()).collect();
        if words.is_empty() {
            assert_eq!(warnings, [""; 0], "{name}");
        } else {
            let said = matches!(&warnings[..], [one] if one.contains(words));
            assert!(said, "{name}: {warnings:?}");
        }
    }
}

/// The files of a mounted Secret are links through `..data`, and that link is swapped.
fn swap(root: &Path, version: u32, pair: &Pair) {
    let dated = root.join(format!("..{version}"));
    fs::create_dir(&dated).expect("a new directory");
    fs::write(dated.join("crt"), &pair.certificate).expect("written");
    fs::write(dated.join("key"), &pair.key).expect("written");
    symlink(&dated, root.join("..tmp")).expect("a link");
    fs::rename(root.join("..tmp"), root.join("..data")).expect("swapped");
}

#[test]
fn a_rotated_certificate_is_seen_and_named() {
    let files = Files::new();
    let issuer = authority("root");
    let root = files.0.path();
    for name in ["crt", "key"] {
        symlink(format!("..data/{name}"), root.join(name)).expect("a link");
    }
    swap(root, 1, &signed(&params("first.example"), &issuer));
    let sources = Sources {
        file: None,
        sets: vec![
            format!("tls.certificate={}", files.path("crt")),
            format!("tls.key={}", files.path("key")),
        ],
        env: owned(&BASE_ENV),
    };
    let load = || load_watched(&sources, &machine());
    let (watched, old) = load();
    let old = old.expect("valid");
    assert!(!watched.has_changed());
    let (shown, _) = effective(&old, "tls.certificate");
    assert!(shown.contains("(CN=first.example, expires "), "{shown}");

    swap(root, 2, &signed(&params("second.example"), &issuer));
    assert!(watched.has_changed());
    let (watched, new) = load();
    let new = new.expect("valid");
    assert!(!watched.has_changed());
    assert_eq!(changes(&old, &new).applied, ["tls.certificate"]);
    assert_ne!(old.config.proxy.tls, new.config.proxy.tls);
    let (_, same) = load();
    assert_eq!(new.config.proxy.tls, same.expect("valid").config.proxy.tls);

    // A key that does not fit is watched, too: it may yet be followed by its certificate.
    let third = signed(&params("third.example"), &issuer);
    fs::write(root.join("..2/key"), &third.key).expect("written");
    assert!(watched.has_changed());
    let (waiting, refused) = load();
    assert!(refused.is_err() && !waiting.has_changed());
    fs::write(root.join("..2/crt"), &third.certificate).expect("written");
    assert!(waiting.has_changed());
    load().1.expect("valid");
}
