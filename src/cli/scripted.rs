//! A server that says what a test tells it to.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What any other server may say.
pub(super) const STRANGER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n";

/// Gives its answers one after the other, each on a connection of its own, and then is gone.
pub(super) struct Scripted {
    pub(super) at: SocketAddr,
    server: JoinHandle<()>,
    heads: tokio::sync::mpsc::UnboundedReceiver<String>,
}

impl Scripted {
    pub(super) async fn open(answers: &[&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let answers = answers.to_vec();
        let (saw, heads) = tokio::sync::mpsc::unbounded_channel();
        let server = tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("accepted");
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    head.push(char::from(stream.read_u8().await.expect("a head")));
                }
                saw.send(head).expect("the test is there");
                stream.write_all(answer.as_bytes()).await.expect("sent");
            }
        });
        Self { at, server, heads }
    }

    /// The heads that it saw until now.
    pub(super) async fn close(mut self) -> Vec<String> {
        self.server.abort();
        // Ended by itself or by the line above.
        let _ = self.server.await;
        let mut seen = Vec::new();
        while let Ok(head) = self.heads.try_recv() {
            seen.push(head);
        }
        seen
    }
}
