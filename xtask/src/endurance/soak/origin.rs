//! A service that can be stopped with all that it has open, and started again where it was.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;

use super::answers::{Chance, answer};

/// The service. Its runtime is its process: it ends with every task and connection.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    serving: Serving,
    runtime: Option<Runtime>,
}

/// How it answers.
#[derive(Debug, Clone)]
struct Serving {
    /// With TLS whatever ALPN agrees on is spoken, without it HTTP/2.
    tls: Option<Arc<ServerConfig>>,
    chance: Arc<Chance>,
}

impl Origin {
    pub(super) fn start(tls: Option<Arc<ServerConfig>>, chance: Chance) -> Result<Self> {
        let serving = Serving { tls, chance: Arc::new(chance) };
        let (runtime, address) = serving.run((Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(Self { address, serving, runtime: Some(runtime) })
    }

    /// Stops it, waits for `away` and starts it again.
    pub(super) fn restart(&mut self, away: Duration) -> Result<()> {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(away);
        }
        std::thread::sleep(away);
        let (runtime, _) = self.serving.run(self.address)?;
        self.runtime = Some(runtime);
        Ok(())
    }
}

impl Serving {
    fn run(&self, address: SocketAddr) -> Result<(Runtime, SocketAddr)> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(address)).context("no port for a service")?;
        let address = listener.local_addr()?;
        let serving = self.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                // Any error ends the connection: its other side sees it too.
                tokio::spawn(async move {
                    let _ = serving.serve(stream).await;
                });
            }
        });
        Ok((runtime, address))
    }

    async fn serve(&self, stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return self.http2(stream).await };
        let stream = TlsAcceptor::from(Arc::clone(tls)).accept(stream).await?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            return self.http2(stream).await;
        }
        let builder = http1::Builder::new();
        let chance = Arc::clone(&self.chance);
        let answers = service_fn(move |request| {
            let chance = Arc::clone(&chance);
            async move { answer(request, &chance).await }
        });
        Ok(builder.serve_connection(TokioIo::new(stream), answers).with_upgrades().await?)
    }

    async fn http2(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<()> {
        let chance = Arc::clone(&self.chance);
        let answers = service_fn(move |request| {
            let chance = Arc::clone(&chance);
            async move { answer(request, &chance).await }
        });
        let builder = http2::Builder::new(TokioExecutor::new());
        Ok(builder.serve_connection(TokioIo::new(stream), answers).await?)
    }
}
