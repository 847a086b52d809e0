//! The processes of the shop.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, Command};

/// The file that the demo runs, with the addresses that it replaces by free ones.
const FILE: &str = include_str!("../../../../examples/shop/intertie.toml");

/// A process of ours that ends with its standard input.
pub(super) struct Process {
    child: Child,
    stdin: ChildStdin,
}

impl Process {
    fn start(arguments: &[&str]) -> Result<Self> {
        let binary = std::env::current_exe().context("failed to find our own binary")?;
        let mut child = Command::new(binary)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C in a terminal goes to the demo alone, which ends the others in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to start {arguments:?}"))?;
        let stdin = child.stdin.take().context("failed to take the child's standard input")?;
        Ok(Self { child, stdin })
    }

    /// Tells a service how to behave from now on.
    pub(super) async fn tell(&mut self, command: &str) -> Result<()> {
        self.stdin
            .write_all(format!("{command}\n").as_bytes())
            .await
            .context("failed to tell the service")?;
        self.stdin.flush().await?;
        Ok(())
    }

    /// kill -9.
    pub(super) async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.context("failed to kill the service")
    }
}

/// Where everything listens.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    pub(super) gateway: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) orders: [SocketAddr; 2],
    pub(super) inventory: SocketAddr,
    pub(super) payments: SocketAddr,
}

/// The running shop.
pub(super) struct Shop {
    pub(super) addresses: Addresses,
    pub(super) orders: [Process; 2],
    pub(super) inventory: Process,
    pub(super) _payments: Process,
    _gateway: Process,
    _folder: Folder,
}

impl Shop {
    /// Starts the services and the server, and waits until all of them listen.
    pub(super) async fn open() -> Result<Self> {
        let addresses = free_addresses()?;
        let folder = Folder::new()?;
        let file = folder.0.join("intertie.toml");
        let mut text = FILE.to_owned();
        for (written, free) in [
            ("127.0.0.1:8080", addresses.gateway),
            ("127.0.0.1:9901", addresses.admin),
            ("127.0.0.1:7001", addresses.orders[0]),
            ("127.0.0.1:7002", addresses.orders[1]),
            ("127.0.0.1:7003", addresses.inventory),
            ("127.0.0.1:7004", addresses.payments),
        ] {
            text = text.replace(written, &free.to_string());
        }
        // Nobody reads the access log of a demo.
        text = text.replacen("[server]\n", "[server]\naccess_log = \"off\"\n", 1);
        std::fs::File::create(&file)?.write_all(text.as_bytes())?;

        let inventory = service("inventory", addresses.inventory, addresses.gateway)?;
        let payments = service("payments", addresses.payments, addresses.gateway)?;
        let orders = [
            service("orders", addresses.orders[0], addresses.gateway)?,
            service("orders", addresses.orders[1], addresses.gateway)?,
        ];
        for address in [addresses.inventory, addresses.payments, addresses.orders[0], addresses.orders[1]] {
            wait_until_listening(address).await?;
        }
        let file = file.to_str().context("failed to name the temporary folder in UTF-8")?;
        let gateway = Process::start(&["up", file, "--until-stdin-closes"])?;
        wait_until_listening(addresses.gateway).await?;
        wait_until_listening(addresses.admin).await?;
        Ok(Self { addresses, orders, inventory, _payments: payments, _gateway: gateway, _folder: folder })
    }

    /// Starts the first orders service again where it was.
    pub(super) async fn restart_orders(&mut self) -> Result<()> {
        self.orders[0] = service("orders", self.addresses.orders[0], self.addresses.gateway)?;
        wait_until_listening(self.addresses.orders[0]).await
    }
}

fn service(name: &str, listen: SocketAddr, gateway: SocketAddr) -> Result<Process> {
    Process::start(&["demo-service", name, &listen.to_string(), &gateway.to_string()])
}

/// Six ports that were free a moment ago.
fn free_addresses() -> Result<Addresses> {
    let listeners =
        (0..6).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<Vec<_>, _>>()?;
    let mut free = Vec::new();
    for listener in &listeners {
        free.push(listener.local_addr()?);
    }
    Ok(Addresses {
        gateway: free[0],
        admin: free[1],
        orders: [free[2], free[3]],
        inventory: free[4],
        payments: free[5],
    })
}

async fn wait_until_listening(address: SocketAddr) -> Result<()> {
    for _ in 0..500 {
        if TcpStream::connect(address).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("nothing listens on {address} after 5 s");
}

/// A temporary folder, removed with everything in it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!(
            "intertie-demo-{}-{:08x}",
            std::process::id(),
            fastrand::u32(..)
        ));
        std::fs::create_dir(&path).with_context(|| format!("failed to create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
