//! The tonic client of the interop cases: `weir-wire-tonic HOST:PORT CASE…` prints one line of JSON
//! per case: what the call came to. `interop.py` says what that should be.

use std::time::Duration;

use http::uri::PathAndQuery;
use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_stream::{StreamExt, iter};
use tonic::client::Grpc;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{IntoStreamingRequest, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

const SPECIAL: &str = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n";
const PINGS: [(i32, usize); 4] = [(31415, 27182), (9, 8), (2653, 1828), (58979, 45904)];

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

#[derive(Clone, PartialEq, prost::Message)]
struct Ask {
    #[prost(int32, repeated, tag = "1")]
    sizes: Vec<i32>,
    #[prost(bytes = "vec", tag = "2")]
    body: Vec<u8>,
    #[prost(int32, tag = "3")]
    code: i32,
    #[prost(string, tag = "4")]
    message: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(bytes = "vec", tag = "1")]
    body: Vec<u8>,
    #[prost(int64, tag = "2")]
    total: i64,
}

/// What ended a call, in the words of all three clients.
fn ended(result: Result<(), &Status>) -> Value {
    let Err(status) = result else {
        return json!({"code": 0, "message": ""});
    };
    let mut outcome = json!({"code": status.code() as i32, "message": status.message()});
    if let Some(pushback) = status.metadata().get("grpc-retry-pushback-ms") {
        let millis = pushback
            .to_str()
            .ok()
            .and_then(|text| text.parse::<i64>().ok());
        outcome["pushback"] = json!(millis.is_some_and(|millis| millis > 0));
    }
    outcome
}

fn put_metadata(outcome: &mut Value, initial: &MetadataMap, trailing: &MetadataMap) {
    let text = initial
        .get("x-echo-initial")
        .and_then(|value| value.to_str().ok());
    let bytes = trailing.get_bin("x-echo-trailing-bin");
    let bytes = bytes.and_then(|value| value.to_bytes().ok());
    let hex = bytes.map(|bytes| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    });
    outcome["initial"] = json!(text);
    outcome["trailing"] = json!(hex);
}

fn zeros(sizes: &[i32], body: usize) -> Ask {
    Ask {
        sizes: sizes.to_vec(),
        body: vec![0; body],
        ..Ask::default()
    }
}

fn failing(message: &str) -> Ask {
    Ask {
        code: 2,
        message: message.to_owned(),
        ..Ask::default()
    }
}

fn with_metadata<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bytes = MetadataValue::from_bytes(&[0xab; 3]);
    let metadata = request.metadata_mut();
    metadata.insert(
        "x-echo-initial",
        "test_initial_metadata_value".parse().expect("text"),
    );
    metadata.insert_bin("x-echo-trailing-bin", bytes);
    request
}

struct Client(Grpc<Channel>);

impl Client {
    async fn unary<A, B>(
        &mut self,
        path: &'static str,
        request: Request<A>,
    ) -> Result<Response<B>, Status>
    where
        A: prost::Message + Default + 'static,
        B: prost::Message + Default + 'static,
    {
        self.0
            .ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static(path);
        self.0
            .unary(request, path, ProstCodec::<A, B>::default())
            .await
    }

    async fn nothing(&mut self, path: &'static str) -> Value {
        let response = self
            .unary::<Nothing, Nothing>(path, Request::new(Nothing {}))
            .await;
        ended(response.as_ref().map(|_| ()))
    }

    async fn ask(&mut self, ask: Ask) -> Value {
        let response = self
            .unary("/weir.test.Interop/Unary", Request::new(ask))
            .await;
        let mut outcome = ended(response.as_ref().map(|_| ()));
        if let Ok(answer) = response {
            let answer: Answer = answer.into_inner();
            outcome["size"] = json!(answer.body.len());
        }
        outcome
    }

    async fn up(&mut self) -> Value {
        self.0.ready().await.expect("connected");
        let path = PathAndQuery::from_static("/weir.test.Interop/Up");
        let asks = iter(PINGS.map(|(_, size)| zeros(&[], size)));
        let codec = ProstCodec::<Ask, Answer>::default();
        let response = self
            .0
            .client_streaming(asks.into_streaming_request(), path, codec)
            .await;
        let mut outcome = ended(response.as_ref().map(|_| ()));
        if let Ok(answer) = response {
            outcome["total"] = json!(answer.into_inner().total);
        }
        outcome
    }

    async fn down(&mut self) -> Value {
        self.0.ready().await.expect("connected");
        let path = PathAndQuery::from_static("/weir.test.Interop/Down");
        let ask = zeros(&PINGS.map(|(size, _)| size), 0);
        let codec = ProstCodec::<Ask, Answer>::default();
        let response = self
            .0
            .server_streaming(Request::new(ask), path, codec)
            .await;
        drain(response, |_| {}).await.0
    }

    async fn both<S>(
        &mut self,
        asks: Request<S>,
        next: impl FnMut(usize),
    ) -> (Value, Option<(MetadataMap, MetadataMap)>)
    where
        S: tokio_stream::Stream<Item = Ask> + Send + 'static,
    {
        self.0.ready().await.expect("connected");
        let path = PathAndQuery::from_static("/weir.test.Interop/Both");
        let codec = ProstCodec::<Ask, Answer>::default();
        let response = self.0.streaming(asks, path, codec).await;
        drain(response, next).await
    }

    /// Each answer is awaited before the next message is sent.
    async fn ping_pong(&mut self) -> Value {
        let (sender, receiver) = unbounded_channel();
        let mut sender = Some(sender);
        let mut ping = move |at: usize| match (PINGS.get(at), &sender) {
            (Some((size, body)), Some(open)) => open.send(zeros(&[*size], *body)).expect("open"),
            _ => sender = None,
        };
        ping(0);
        let asks = Request::new(UnboundedReceiverStream::new(receiver));
        self.both(asks, ping).await.0
    }

    async fn custom_metadata(&mut self) -> Value {
        let ask = zeros(&[314_159], 271_828);
        let request = with_metadata(ask.clone());
        let response = self
            .unary::<_, Answer>("/weir.test.Interop/Unary", request)
            .await;
        let mut unary = ended(response.as_ref().map(|_| ()));
        if let Ok(response) = response {
            unary["size"] = json!(response.get_ref().body.len());
            // tonic hands out a unary call's initial and trailing metadata as one map.
            put_metadata(&mut unary, response.metadata(), response.metadata());
        }
        let (mut both, metadata) = self.both(with_metadata(iter([ask])), |_| {}).await;
        if let Some((initial, trailing)) = metadata {
            put_metadata(&mut both, &initial, &trailing);
        }
        json!({"unary": unary, "both": both})
    }

    async fn run(&mut self, case: &str) -> Value {
        match case {
            "empty_unary" => self.nothing("/weir.test.Interop/Empty").await,
            "large_unary" => self.ask(zeros(&[314_159], 271_828)).await,
            "client_streaming" => self.up().await,
            "server_streaming" => self.down().await,
            "ping_pong" => self.ping_pong().await,
            "empty_stream" => self.both(Request::new(iter([])), |_| {}).await.0,
            "status_code_and_message" => {
                let ask = failing("test status message");
                let unary = self.ask(ask.clone()).await;
                let both = self.both(Request::new(iter([ask])), |_| {}).await.0;
                json!({"unary": unary, "both": both})
            }
            "special_status_message" => self.ask(failing(SPECIAL)).await,
            "custom_metadata" => self.custom_metadata().await,
            "unimplemented_method" => self.nothing("/weir.test.Interop/Missing").await,
            "unimplemented_service" => self.nothing("/weir.test.Absent/Missing").await,
            _ => panic!("no such case: {case}"),
        }
    }
}

/// Reads all answers; `next` is told of each. With the metadata, initial and trailing.
async fn drain(
    response: Result<Response<Streaming<Answer>>, Status>,
    mut next: impl FnMut(usize),
) -> (Value, Option<(MetadataMap, MetadataMap)>) {
    let mut sizes = Vec::new();
    let (result, metadata) = match response {
        Err(status) => (Err(status), None),
        Ok(response) => {
            let initial = response.metadata().clone();
            let mut answers = response.into_inner();
            let mut result = Ok(());
            while let Some(answer) = answers.next().await {
                match answer {
                    Ok(answer) => sizes.push(answer.body.len()),
                    Err(status) => {
                        result = Err(status);
                        break;
                    }
                }
                next(sizes.len());
            }
            let trailing = answers.trailers().await.ok().flatten().unwrap_or_default();
            (result, Some((initial, trailing)))
        }
    };
    let mut outcome = ended(result.as_ref().copied());
    outcome["sizes"] = json!(sizes);
    (outcome, metadata)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().expect("HOST:PORT CASE…");
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let channel = endpoint
        .timeout(Duration::from_secs(20))
        .connect()
        .await
        .expect("it listens");
    let mut client = Client(Grpc::new(channel));
    for case in arguments {
        if case == "pause" {
            // Goes on when it is told to; meanwhile the connection is served.
            let line =
                tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
            line.await.expect("no panic").expect("a line");
            continue;
        }
        let outcome = client.run(&case).await;
        println!("{}", json!({"case": case, "outcome": outcome}));
    }
}
