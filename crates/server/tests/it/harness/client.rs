//! Clients that open a connection for each request.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpSocket, TcpStream};

use super::{AnyBody, full};

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).expect("UTF-8")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("visible ASCII"))
    }

    /// The gateway's own error code.
    pub(crate) fn code(&self) -> String {
        let document: serde_json::Value = serde_json::from_slice(&self.body).expect("a JSON answer");
        document["errors"][0]["code"].as_str().expect("a code").to_owned()
    }
}

/// What kept an answer from being complete, with its causes.
fn told(what: &str, error: &hyper::Error) -> String {
    let error: &dyn std::error::Error = error;
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.fold(what.to_owned(), |said, error| format!("{said}: {error}"))
}

/// A client that opens a connection for each request.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    to: SocketAddr,
    from: Option<IpAddr>,
    http2: bool,
}

impl Client {
    pub(crate) fn new(to: SocketAddr) -> Self {
        Self { to, from: None, http2: false }
    }

    pub(crate) fn from(mut self, address: IpAddr) -> Self {
        self.from = Some(address);
        self
    }

    pub(crate) fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(full("")).expect("a request")).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&'static str, &str)]) -> Answer {
        let mut request = Request::get(path).body(full("")).expect("a request");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header value"));
        }
        self.send(request).await
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&'static str, &str)], body: &str) -> Answer {
        let mut request = Request::post(path).body(full(body.to_owned())).expect("a request");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header value"));
        }
        self.send(request).await
    }

    /// The complete answer.
    pub(crate) async fn send(&self, request: Request<AnyBody>) -> Answer {
        self.try_send(request).await.expect("an answer")
    }

    /// The complete answer, or what kept it from being complete.
    pub(crate) async fn try_send(&self, request: Request<AnyBody>) -> Result<Answer, String> {
        let response = self.begin(request).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| told("the body", &error))?;
        let trailers = body.trailers().cloned();
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body: body.to_bytes(), trailers })
    }

    /// The head of the answer.
    pub(crate) async fn begin(&self, mut request: Request<AnyBody>) -> Result<Response<Incoming>, String> {
        let stream = self.connect().await.map_err(|error| format!("connecting: {error}"))?;
        if self.http2 {
            let uri = format!("http://{}{}", self.to, request.uri());
            *request.uri_mut() = uri.parse().expect("a URL");
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .map_err(|error| told("handshake", &error))?;
            tokio::spawn(connection);
            return sender.send_request(request).await.map_err(|error| told("sending", &error));
        }
        if !request.headers().contains_key("host") {
            request.headers_mut().insert("host", self.to.to_string().parse().expect("a host"));
        }
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| told("handshake", &error))?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|error| told("sending", &error))
    }

    pub(crate) async fn connect(&self) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = self.from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let stream = socket.connect(self.to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}
