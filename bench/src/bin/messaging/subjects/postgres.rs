//! PostgreSQL, from Debian: a table, and `FOR UPDATE SKIP LOCKED`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use intertie_bench::process::Server;
use intertie_bench::tools::{find_or_install, run_shown, self_description};
use intertie_bench::workdir::free_ports;
use tokio_postgres::{Client, NoTls, Statement};

use super::redis::parent;
use super::{Site, Subject, Worker, once_ready};

/// The server refuses to run as root.
const USER: &str = "postgres";

pub fn prepare() -> Result<String> {
    let text = self_description(&program("postgres")?, &["--version"])?;
    Ok(text.split_whitespace().nth(2).context("postgres names no version")?.to_owned())
}

/// The newest one in Debian's directory for them, which is in no PATH.
fn program(name: &str) -> Result<PathBuf> {
    find_or_install("psql", "postgresql")?;
    let versions = std::fs::read_dir("/usr/lib/postgresql").context("list the versions of PostgreSQL")?;
    let mut found: Vec<_> = versions.flatten().map(|entry| entry.path().join("bin").join(name)).collect();
    found.retain(|path| path.is_file());
    found.sort();
    found.pop().with_context(|| format!("the package postgresql is installed, yet there is no {name}"))
}

pub struct Postgres {
    server: Server,
    port: u16,
}

const SCHEMA: &str = "CREATE TABLE message (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    body bytea NOT NULL,
    deliveries integer NOT NULL DEFAULT 0,
    due timestamptz NOT NULL DEFAULT now()
); CREATE INDEX ON message (due, id)";

impl Subject for Postgres {
    type Worker = Connection;

    async fn start(site: &Site<'_>) -> Result<Self> {
        let [port] = free_ports()?;
        own(site.dir)?;
        let mut initdb = as_user(&program("initdb")?);
        initdb.args(["--no-sync", "--auth", "trust", "--username", USER, "--pgdata"]).arg(site.dir);
        run_shown(initdb)?;
        let mut command = as_user(&program("postgres")?);
        command.arg("-D").arg(site.dir).args(["-p", &port.to_string(), "-h", "127.0.0.1"]);
        // What one would set on a machine of 24 GiB; everything about durability is as it is by default.
        command.args([
            "-c",
            "shared_buffers=512MB",
            "-c",
            "max_wal_size=4GB",
            "-c",
            "unix_socket_directories=",
        ]);
        let server = Server::start("postgresql", command, parent(site.dir)?)?;
        let client = once_ready(async || connect(port).await).await?;
        client.batch_execute(SCHEMA).await?;
        Ok(Self { server, port })
    }

    async fn worker(&self, _: usize) -> Result<Connection> {
        let client = connect(self.port).await?;
        let insert = client.prepare("INSERT INTO message (body) VALUES ($1)").await?;
        let batch = client.prepare("INSERT INTO message (body) SELECT unnest($1::bytea[])").await?;
        let lease = "UPDATE message SET due = now() + interval '30 s', deliveries = deliveries + 1
            WHERE id IN (SELECT id FROM message WHERE due <= now() ORDER BY due, id LIMIT $1 FOR UPDATE SKIP LOCKED)
            RETURNING id, body, deliveries";
        let lease = client.prepare(lease).await?;
        let settle = client.prepare("DELETE FROM message WHERE id = $1 AND deliveries = $2").await?;
        Ok(Connection { client: Rc::new(client), insert, batch, lease, settle })
    }

    fn process(&self) -> u32 {
        self.server.pid()
    }

    fn explain<T>(&self, result: Result<T>) -> Result<T> {
        self.server.explain(result)
    }

    async fn stop(self) -> Result<()> {
        self.server.stop()
    }
}

/// The user that it runs as has to get there, too.
fn own(dir: &Path) -> Result<()> {
    let mut chown = Command::new("chown");
    chown.arg(USER).arg(dir);
    run_shown(chown)
}

fn as_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--init-groups"]).arg(program);
    command
}

async fn connect(port: u16) -> Result<Client> {
    let parameters = format!("host=127.0.0.1 port={port} user={USER} dbname=postgres");
    let (client, connection) = tokio_postgres::connect(&parameters, NoTls).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("a connection to PostgreSQL failed: {error}");
        }
    });
    Ok(client)
}

/// Each has one of its own: a session does one thing at a time.
pub struct Connection {
    client: Rc<Client>,
    insert: Statement,
    batch: Statement,
    lease: Statement,
    settle: Statement,
}

impl Worker for Connection {
    async fn send(&mut self, body: Bytes) -> Result<()> {
        self.client.execute(&self.insert, &[&&*body]).await?;
        Ok(())
    }

    async fn send_batch(&mut self, bodies: Vec<Bytes>) -> Result<()> {
        let bodies: Vec<&[u8]> = bodies.iter().map(|body| &**body).collect();
        self.client.execute(&self.batch, &[&bodies]).await?;
        Ok(())
    }

    async fn take(&mut self, most: usize) -> Result<usize> {
        let rows = self.client.query(&self.lease, &[&(most as i64)]).await?;
        for row in &rows {
            let (id, deliveries): (i64, i32) = (row.get(0), row.get(2));
            let settled = self.client.execute(&self.settle, &[&id, &deliveries]).await?;
            ensure!(settled == 1, "a message is another consumer's");
        }
        Ok(rows.len())
    }
}
