//! What a request's head costs: checked, and rewritten for the backend.
//!
//! `cargo bench --bench head` runs all of it in about a quarter of a minute.

use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, Version, request};
use weir::proxy::bench::{Heads, Nothing};

/// 12 fields, 897 bytes on the wire with the request line: what a browser sends.
const BROWSER: &str = "\
GET /shop/items/trail-running-shoes?colour=blue&size=42&page=3 HTTP/1.1
host: shop.example.com
user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0
accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8
accept-language: en-GB,en;q=0.7,de;q=0.3
accept-encoding: gzip, deflate, br, zstd
referer: https://shop.example.com/shop/items?category=running&sort=price&page=2
connection: keep-alive
cookie: session=8f14e45fceea167a5a36dedd4bea2543c9f0f895fb98ab9159f51fd0297e236d; theme=dark; \
currency=EUR; consent=necessary,statistics; seen=1200,1201,1207,1311,1312,1340,1402; \
basket=5b0e4bd1-39c4-4f0a-a8c6-0f1fbe3b9a51; campaign=autumn-sale-2026-newsletter-42; \
recent=trail-running,road-running,hiking,climbing; split=checkout-b,search-a,images-c
upgrade-insecure-requests: 1
sec-fetch-dest: document
sec-fetch-mode: navigate
priority: u=0, i
";

/// What a gRPC client sends, trailers and deadline included.
const GRPC: &str = "\
POST http://inventory.example.com/shop.inventory.v1.Inventory/Reserve HTTP/2.0
content-type: application/grpc
te: trailers
user-agent: grpc-go/1.71.0
grpc-timeout: 1500m
grpc-accept-encoding: gzip
traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
x-request-id: 4bf92f35-77b3-4da6-a3ce-929d0e0e4736
";

/// A head as hyper makes it: every part a slice of the one buffer that it was read into, and a map
/// of just the size. Not timed.
fn parsed(text: &Bytes) -> request::Parts {
    let str = std::str::from_utf8(text).expect("the heads above are ASCII");
    let mut lines = str.lines();
    let mut words = lines.next().expect("a request line").split(' ');
    let mut word = || words.next().expect("a request line has three words");
    let mut request = Request::new(());
    *request.method_mut() = word().parse().expect("a method");
    *request.uri_mut() =
        Uri::from_maybe_shared(text.slice_ref(word().as_bytes())).expect("a target");
    *request.version_mut() = match word() {
        "HTTP/2.0" => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    let mut fields = HeaderMap::new();
    fields.reserve(lines.clone().count());
    for line in lines {
        let (name, value) = line.split_once(": ").expect("a field");
        let name: HeaderName = name.parse().expect("a field's name");
        let value = text.slice_ref(value.as_bytes());
        fields.append(
            name,
            HeaderValue::from_maybe_shared(value).expect("a value"),
        );
    }
    *request.headers_mut() = fields;
    request.into_parts().0
}

/// The times are without the parsing before and the freeing of the result after.
fn heads(criterion: &mut Criterion) {
    type Rewrite = fn(&Heads, request::Parts) -> Request<Nothing>;
    let way = Heads::default();
    let all = [
        (
            "GET of a browser, h1 to h1",
            BROWSER,
            Heads::to_http1 as Rewrite,
        ),
        ("POST of gRPC, h2 to h2", GRPC, Heads::to_http2),
    ];
    for (name, text, rewrite) in all {
        // On the heap and shared, as hyper's buffer is.
        let text = Bytes::from(text.as_bytes().to_vec());
        let parsed = || parsed(&text);
        let mut group = criterion.benchmark_group(name);
        group.bench_function("check", |bencher| {
            bencher.iter_batched(parsed, |head| way.check(head), BatchSize::SmallInput);
        });
        group.bench_function("check, rewrite", |bencher| {
            bencher.iter_batched(parsed, |head| rewrite(&way, head), BatchSize::SmallInput);
        });
        group.finish();
    }
}

criterion_group! {
    name = timed;
    config = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    targets = heads
}
criterion_main!(timed);
