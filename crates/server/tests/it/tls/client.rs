//! A client over TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Request;
use http_body_util::BodyExt;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::authority::{Authority, Issued};
use crate::harness::{Answer, AnyBody, full};

/// How a connection is opened.
pub(crate) struct Client {
    config: ClientConfig,
    name: ServerName<'static>,
}

impl Client {
    pub(crate) fn new(authority: &Authority) -> Self {
        Self::speaking(authority, &[&version::TLS13, &version::TLS12], None)
    }

    /// The same with a certificate of its own.
    pub(crate) fn named(authority: &Authority, own: &Issued) -> Self {
        Self::speaking(authority, &[&version::TLS13], Some(own))
    }

    pub(crate) fn speaking(
        authority: &Authority,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<&Issued>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.root.clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let builder = builder.expect("versions").with_root_certificates(roots);
        let config = match own {
            Some(own) => {
                let key = PrivateKeyDer::try_from(own.key.serialize_der()).expect("a key");
                builder.with_client_auth_cert(vec![own.certificate.der().clone()], key).expect("it fits")
            }
            None => builder.with_no_client_auth(),
        };
        Self { config, name: ServerName::try_from("shop.example").expect("a name") }
    }

    pub(crate) fn asking_for(mut self, name: &str) -> Self {
        self.name = ServerName::try_from(name.to_owned()).expect("a name");
        self
    }

    pub(crate) fn offering(mut self, protocols: &[&str]) -> Self {
        self.config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    pub(crate) async fn connect(&self, to: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        self.secure(TcpStream::connect(to).await?).await
    }

    /// Holds the handshake on a connection that is there.
    pub(crate) async fn secure(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(Arc::new(self.config.clone())).connect(self.name.clone(), stream).await
    }

    /// Whether a request is answered with 200 on a new connection.
    pub(crate) async fn is_served(&self, to: SocketAddr) -> bool {
        let Ok(stream) = self.connect(to).await else { return false };
        let Ok(mut session) = Session::open(stream).await else { return false };
        session.get(&[]).await.is_ok_and(|answer| answer.status == 200)
    }

    /// The certificate that the server shows, if it takes the client.
    pub(crate) async fn shown(&self, to: SocketAddr) -> Option<CertificateDer<'static>> {
        let stream = self.connect(to).await.ok()?;
        Some(stream.get_ref().1.peer_certificates()?[0].clone())
    }
}

/// A connection that requests go out on.
pub(crate) enum Session {
    Http1(http1::SendRequest<AnyBody>),
    Http2(http2::SendRequest<AnyBody>),
}

impl Session {
    /// Speaks what ALPN agreed on.
    pub(crate) async fn open(stream: TlsStream<TcpStream>) -> Result<Self, hyper::Error> {
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Ok(Self::Http2(Self::http2(stream).await?)),
            _ => Self::http1(stream).await,
        }
    }

    pub(crate) async fn http1(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Self, hyper::Error> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self::Http1(sender))
    }

    /// A connection that requests can share.
    pub(crate) async fn http2(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<http2::SendRequest<AnyBody>, hyper::Error> {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    pub(crate) async fn get(&mut self, headers: &[(&'static str, &str)]) -> Result<Answer, hyper::Error> {
        let mut request = Request::get("https://shop.example/where").body(full("")).expect("a request");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header value"));
        }
        self.send(request).await
    }

    pub(crate) async fn send(&mut self, mut request: Request<AnyBody>) -> Result<Answer, hyper::Error> {
        let response = match self {
            Self::Http1(sender) => {
                request.headers_mut().insert("host", "shop.example".parse().expect("a host"));
                let target = request.uri().path_and_query().expect("a path").as_str();
                *request.uri_mut() = target.parse().expect("a path");
                sender.send_request(request).await?
            }
            Self::Http2(sender) => sender.send_request(request).await?,
        };
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body, trailers: None })
    }
}
