//! The field that says who a client is, certificate by certificate.

use rcgen::string::{BmpString, Ia5String, PrintableString, TeletexString};
use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SanType};

use super::*;

fn certificate(name: Vec<(DnType, DnValue)>, alternatives: Vec<SanType>) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in name {
        params.distinguished_name.push(kind, value);
    }
    params.subject_alt_names = alternatives;
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    certificate.der().to_vec()
}

fn utf8(text: &str) -> DnValue {
    DnValue::Utf8String(text.to_owned())
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("ASCII"))
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().expect("ASCII"))
}

/// The field without its hash, which is checked here.
fn said(der: &[u8]) -> String {
    let element = element(der);
    let (hash, rest) = element.split_once(';').expect("more than a hash");
    let expected = hex(digest(&SHA256, der).as_ref());
    assert_eq!(hash, format!("Hash={expected}"));
    assert!(rest.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    rest.to_owned()
}

fn subject_of(kind: DnType, value: DnValue) -> String {
    let said = said(&certificate(vec![(kind, value)], vec![]));
    let subject = said.strip_prefix("Subject=\"").expect("a subject first");
    let subject = subject.strip_suffix('"').expect("quoted");
    subject.to_owned()
}

#[test]
fn the_form_is_envoys() {
    let der = certificate(
        vec![
            (DnType::CountryName, utf8("US")),
            (DnType::OrganizationName, utf8("Lyft")),
            (DnType::CommonName, utf8("Test Client")),
        ],
        vec![
            dns("lyft.com"),
            uri("http://testclient.lyft.com"),
            dns("www.lyft.com"),
        ],
    );
    assert_eq!(
        said(&der),
        "Subject=\"CN=Test Client,O=Lyft,C=US\";URI=http://testclient.lyft.com;DNS=lyft.com;\
         DNS=www.lyft.com"
    );
}

#[test]
fn a_name_cannot_add_a_key_or_an_element() {
    let names = vec![
        uri("spiffe://a/b,By=spiffe://forged"),
        uri("spiffe://a;Subject=forged"),
        uri("spiffe://a\",By=forged"),
        uri("spiffe://a\\"),
        uri("spiffe://a\r\nx: y"),
        uri("spiffe://a b"),
        dns("a;DNS=b"),
        uri("spiffe://good/ns/x"),
    ];
    assert_eq!(
        said(&certificate(vec![], names)),
        "Subject=\"\";URI=\"spiffe://a/b,By=spiffe://forged\";\
         URI=\"spiffe://a;Subject=forged\";URI=spiffe://good/ns/x;DNS=\"a;DNS=b\""
    );
    for (value, shown) in [
        ("a\",By=\"b", "CN=a\\\"\\,By=\\\"b"),
        ("a\\", "CN=a\\\\"),
        ("a\r\nb\u{0}", "CN=a\\0D\\0Ab\\00"),
        ("#a+b", "CN=\\#a\\+b"),
        (" a b ", "CN=\\ a b\\ "),
        ("<a>;b=c", "CN=\\<a\\>\\;b=c"),
        ("grün", "CN=gr\\C3\\BCn"),
    ] {
        assert_eq!(subject_of(DnType::CommonName, utf8(value)), shown);
    }
}

#[test]
fn every_kind_of_text_is_read_and_other_kinds_are_dumped() {
    let bmp = BmpString::try_from("gr\u{fc}n").expect("in the plane");
    let latin = TeletexString::try_from("plain").expect("ASCII");
    let printable = PrintableString::try_from("US").expect("printable");
    let mail = Ia5String::try_from("a@b.c").expect("ASCII");
    let custom = |oid: &[u64]| DnType::CustomDnType(oid.to_vec());
    for (kind, value, shown) in [
        (
            DnType::CommonName,
            DnValue::BmpString(bmp),
            "CN=gr\\C3\\BCn",
        ),
        (
            DnType::CommonName,
            DnValue::TeletexString(latin),
            "CN=plain",
        ),
        (
            DnType::CountryName,
            DnValue::PrintableString(printable),
            "C=US",
        ),
        (
            custom(&[1, 2, 840, 113_549, 1, 9, 1]),
            DnValue::Ia5String(mail),
            "emailAddress=a@b.c",
        ),
        (custom(&[1, 2, 3, 4]), utf8("x"), "1.2.3.4=#0C0178"),
    ] {
        assert_eq!(subject_of(kind, value), shown);
    }
}

#[test]
fn what_cannot_be_read_has_its_hash_and_no_name() {
    assert_eq!(
        element(b"no certificate"),
        format!("Hash={}", hex(digest(&SHA256, b"no certificate").as_ref()))
    );
}

#[test]
fn the_field_is_bounded() {
    let many = (0..1000).map(|number| dns(&format!("host-{number}.example.com")));
    let said = said(&certificate(vec![], many.collect()));
    assert!(said.len() > MAX_LEN / 2 && said.len() <= MAX_LEN);
    assert!(said.ends_with(".example.com"));
}

#[test]
fn what_a_client_says_of_itself_is_dropped() {
    let claims = [
        "x-forwarded-client-cert",
        "x_forwarded_client_cert",
        "x-forwarded_client-cert",
    ];
    let peer = TlsPeer {
        certificate: Some(HeaderValue::from_static("Hash=true")),
    };
    for peer in [None, Some(&TlsPeer::default()), Some(&peer)] {
        let mut headers = HeaderMap::new();
        for claim in claims {
            headers.append(claim, HeaderValue::from_static("Hash=forged"));
            headers.append(claim, HeaderValue::from_static("Hash=forged again"));
        }
        headers.insert("x-forwarded-client-xcert", HeaderValue::from_static("kept"));
        let found = Found::of(&headers);
        say_client_cert(&mut headers, peer, found);
        let is_verified = peer.is_some_and(|peer| peer.certificate.is_some());
        assert_eq!(headers.len(), 1 + usize::from(is_verified));
        let field = headers.get("x-forwarded-client-cert");
        assert_eq!(field.is_some(), is_verified);
        assert!(field.is_none_or(|field| field == "Hash=true"));
    }
}
