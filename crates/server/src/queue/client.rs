//! One connection to the API of a running server.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use intertie_gateway::tls::ServiceTls;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::harmless;

/// The longest that anything but a long poll may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most that is read of an answer: what the server puts into one is at most 8 MiB of messages, which escapes and
/// base64 lengthen.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Speaks to the API.
#[derive(Debug)]
pub(super) struct Client {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
}

impl Client {
    /// Connects to `api`, with TLS to whom `tls` names; `secret` is that of a token.
    ///
    /// # Errors
    /// Nobody answers there.
    pub(super) async fn connect(
        api: SocketAddr,
        tls: Option<(ServiceTls, &str)>,
        secret: Option<&str>,
    ) -> Result<Self> {
        let connecting = tokio::time::timeout(PATIENCE, TcpStream::connect(api));
        let stream = connecting.await.ok().and_then(Result::ok);
        let stream = stream.with_context(|| format!("no server answers at {api}"))?;
        let sender = match tls {
            None => begin(stream).await?,
            Some((tls, name)) => {
                let secured = tls.connect(name, stream).await;
                begin(secured.with_context(|| format!("TLS with `{name}` at {api} fails"))?).await?
            }
        };
        let bearer = secret.map(|secret| HeaderValue::try_from(format!("Bearer {secret}")));
        let mut authorization = bearer.transpose().context("the secret is no value of a header")?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        Ok(Self { sender, host: HeaderValue::try_from(api.to_string())?, authorization })
    }

    /// What the server says to a request, at the latest after `wait` more than usual.
    ///
    /// # Errors
    /// What it says against it, or that it says nothing.
    pub(super) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
        wait: Duration,
    ) -> Result<Value> {
        let mut request = Request::builder().method(method).uri(path).body(Full::from(body))?;
        let fields = request.headers_mut();
        fields.insert(HOST, self.host.clone());
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in headers {
            fields.insert(
                *name,
                HeaderValue::try_from(value).with_context(|| format!("`{value}` is no header"))?,
            );
        }
        if let Some(authorization) = &self.authorization {
            fields.insert(AUTHORIZATION, authorization.clone());
        }
        let answer = async {
            self.sender.ready().await?;
            let (parts, body) = self.sender.send_request(request).await?.into_parts();
            let body =
                Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(anyhow::Error::from_boxed)?;
            anyhow::Ok((parts.status, body.to_bytes()))
        };
        let answer = tokio::time::timeout(PATIENCE + wait, answer).await;
        let (status, body) = answer.context("the server does not answer")??;
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Ok(said);
        }
        let error = &said["errors"][0];
        match (error["code"].as_str(), error["detail"].as_str()) {
            (Some(code), Some(detail)) => bail!("{} ({status}, {})", harmless(detail), harmless(code)),
            _ => bail!("the server answers {status}"),
        }
    }
}

async fn begin<S>(stream: S) -> Result<SendRequest<Full<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
