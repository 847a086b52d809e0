//! httpx for Python, over TLS in both versions of HTTP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::Channel;
use super::packages::Language;
use crate::harness::{AnyBody, PATIENCE, Server, free_port, full, services};

/// What a service knows of the upload and of the stream that are under way.
#[derive(Default)]
struct Service {
    arrived: Mutex<usize>,
    stream: Mutex<Option<UnboundedSender<Frame<Bytes>>>>,
}

impl Service {
    /// Serves the clients of `listener` for as long as the tests run.
    fn start() -> SocketAddr {
        let (listener, address) = free_port();
        let service = Arc::<Self>::default();
        services().spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a socket");
            while let Ok((stream, _)) = listener.accept().await {
                let service = Arc::clone(&service);
                let answering = service_fn(move |request| {
                    let service = Arc::clone(&service);
                    async move { service.answer(request).await }
                });
                let builder = hyper::server::conn::http1::Builder::new();
                tokio::spawn(builder.serve_connection(TokioIo::new(stream), answering));
            }
        });
        address
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<AnyBody>, hyper::Error> {
        let path = request.uri().path().to_owned();
        let method = request.method().clone();
        let mut body = request.into_body();
        let text = |text: String| Response::new(full(text));
        match path.as_str() {
            "/upload" => {
                *self.arrived.lock().expect("unpoisoned") = 0;
                while let Some(frame) = body.frame().await {
                    let length = frame?.data_ref().map_or(0, Bytes::len);
                    *self.arrived.lock().expect("unpoisoned") += length;
                }
                Ok(text(self.arrived.lock().expect("unpoisoned").to_string()))
            }
            "/arrived" => Ok(text(self.arrived.lock().expect("unpoisoned").to_string())),
            "/stream" => {
                let (sender, receiver) = unbounded_channel();
                sender.send(Frame::data(Bytes::from("0"))).expect("open");
                *self.stream.lock().expect("unpoisoned") = Some(sender);
                Ok(Response::new(Channel(receiver).boxed()))
            }
            path if path.starts_with("/next/") => {
                let mut stream = self.stream.lock().expect("unpoisoned");
                match path.trim_start_matches("/next/") {
                    "end" => *stream = None,
                    number => {
                        let piece = Frame::data(Bytes::from(number.to_owned()));
                        stream.as_ref().expect("a stream is open").send(piece).expect("somebody reads it");
                    }
                }
                let mut response = text(String::new());
                *response.status_mut() = StatusCode::NO_CONTENT;
                Ok(response)
            }
            _ => {
                let whole = body.collect().await?.to_bytes();
                let mut response = Response::new(full(whole));
                response.headers_mut().insert("x-method", method.as_str().parse().expect("a method"));
                Ok(response)
            }
        }
    }
}

#[tokio::test]
async fn httpx_streams_uploads_and_is_refused_in_both_versions_of_http() {
    let language = Language::python("httpx[http2]==0.28.1").await;
    let origin = Service::start();
    for version in ["HTTP/1.1", "HTTP/2"] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = crate::tls::Authority::new("roots");
        authority.write_into(folder.path());
        authority.issue(folder.path(), "gateway", &["127.0.0.1"]);
        let (script, roots) = (folder.path().join("httpx_client.py"), folder.path().join("roots.crt"));
        std::fs::write(&script, include_str!("httpx_client.py")).expect("written");
        let server = Server::start_among(
            folder,
            &format!(
                "[tls]\nlisten = [\"127.0.0.1:0\"]\n\
                 [certificate.gateway]\nchain = \"gateway.crt\"\nkey = \"gateway.key\"\n\
                 [service.origin]\nendpoints = [{{ at = \"{origin}\" }}]\n\
                 [route.\"/**\"]\nto = \"origin\"\n\
                 [route.\"/limited\"]\nto = \"origin\"\nrate_limiter = {{ limit = \"1/h\", burst = 2 }}\n"
            ),
        );
        let mut command = language.command(&script);
        command.arg(server.tls.to_string()).arg(&roots).arg(version);
        let output = tokio::time::timeout(2 * PATIENCE, command.output()).await.expect("it ends");
        let output = output.expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{version}: {said}");
    }
}
