//! nginx, from Debian. It is the origin too.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use intertie_bench::tools;

use super::{Site, WORKERS};
use crate::certificate;
use crate::mode::{Mode, route_prefix};

pub const PACKAGE: &str = "nginx";

pub fn prepare() -> Result<(PathBuf, String)> {
    let binary = tools::find_or_install("nginx", PACKAGE)?;
    let text = tools::self_description(&binary, &["-v"])?;
    let version = text.split_once('/').context("nginx -v names no version")?.1;
    Ok((binary, version.to_owned()))
}

/// Runs `<dir>/nginx.conf` in the foreground, with `dir` for everything that it writes.
pub fn arguments(dir: &Path) -> Vec<OsString> {
    vec!["-e".into(), "stderr".into(), "-p".into(), dir.into(), "-c".into(), "nginx.conf".into()]
}

/// What origin and subject have in common: connections stay open as long as the load lasts, and nothing is logged.
pub fn main_config(workers: usize, http: &str) -> String {
    format!(
        r#"daemon off;
worker_processes {workers};
worker_rlimit_nofile 16384;
pid nginx.pid;
error_log stderr warn;
pcre_jit on;

events {{
    worker_connections 4096;
}}

http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path temp-body;
    proxy_temp_path temp-proxy;
    fastcgi_temp_path temp-fastcgi;
    uwsgi_temp_path temp-uwsgi;
    scgi_temp_path temp-scgi;
{http}}}
"#
    )
}

pub fn config(site: &Site<'_>) -> String {
    let http = match site.mode {
        Mode::Work => work(site),
        Mode::H2 => plain(site, " http2", ""),
        Mode::Large | Mode::Upload => plain(site, "", BODIES),
        mode if mode.has_tls() => plain(site, " ssl", &tls(site)),
        _ => plain(site, "", ""),
    };
    main_config(WORKERS, &http)
}

/// Bodies stream, as they do in the other subjects: by default nginx puts them into files.
const BODIES: &str = "        proxy_buffer_size 16k;
        proxy_buffers 16 64k;
        proxy_busy_buffers_size 128k;
        proxy_max_temp_file_size 0;
        client_max_body_size 2m;
        client_body_buffer_size 128k;
        proxy_request_buffering off;
";

/// Kept-alive connections to the origin are per worker. The parameters are those of the `server` line.
fn upstream(site: &Site<'_>, parameters: &str) -> String {
    let port = site.origin_port;
    format!(
        r#"
    upstream origin {{
        server 127.0.0.1:{port}{parameters};
        keepalive 128;
        keepalive_requests 1000000000;
    }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
"#
    )
}

fn tls(site: &Site<'_>) -> String {
    let (chain, key) = (certificate::chain(site.certificates), certificate::key(site.certificates));
    format!(
        r#"        ssl_protocols TLSv1.3;
        ssl_certificate {};
        ssl_certificate_key {};
"#,
        chain.display(),
        key.display()
    )
}

fn plain(site: &Site<'_>, protocol: &str, more: &str) -> String {
    let port = site.port;
    let upstream = upstream(site, "");
    format!(
        r#"{upstream}
    server {{
        listen 127.0.0.1:{port}{protocol} reuseport;
{more}
        location / {{
            proxy_pass http://origin;
        }}
    }}
"#
    )
}

/// What intertie's access log tells of a request, in its form. Lines are gathered, as intertie gathers them.
const ACCESS_LOG: &str = r#"    log_format json escape=json '{"time":"$time_iso8601","request_id":"$request_id","method":"$request_method",'
        '"client":"$remote_addr","host":"$host","path":"$uri","status":$status,"duration":$request_time,'
        '"route":"$route","endpoint":"$upstream_addr","trace":"$trace"}';
"#;

/// A location per route with a rate limit of its own. The bulkhead is `max_conns`, passive health `max_fails`, the
/// retry `proxy_next_upstream`; with one endpoint nginx has nowhere to retry. There is no deadline over attempts
/// other than `proxy_next_upstream_timeout`, and there are no figures per route. `RateLimit` is a constant, since nothing
/// tells what is left.
fn work(site: &Site<'_>) -> String {
    let port = site.port;
    let upstream = upstream(site, " max_conns=10000 max_fails=5 fail_timeout=10s");
    let access_log = site.access_log();
    let access_log = access_log.display();
    let mut http = format!(
        r#"{upstream}
{ACCESS_LOG}
    limit_req_zone $route zone=routes:4m rate=1000000r/s;
    limit_req_status 429;

    # A random trace id, and half of another's digits for the span: nginx has no second source of randomness.
    map $request_id $span_id {{
        "~^(?<half>.{{16}})" $half;
    }}
    map $http_traceparent $trace {{
        default $http_traceparent;
        "" 00-$request_id-$span_id-01;
    }}

    server {{
        listen 127.0.0.1:{port} reuseport;
        access_log {access_log} json buffer=64k flush=1s;
        add_header RateLimit '"default";r=1000000;t=1';
        add_header RateLimit-Policy '"default";q=1000000;w=1';

        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Host $host;
        proxy_set_header X-Request-Id $request_id;
        proxy_set_header traceparent $trace;

        proxy_connect_timeout 5s;
        proxy_send_timeout 5s;
        proxy_read_timeout 5s;
        proxy_next_upstream error timeout http_502 http_503 http_504;
        proxy_next_upstream_tries 3;
        proxy_next_upstream_timeout 30s;

        location / {{
            return 404;
        }}
"#
    );
    for route in 0..site.routes {
        let prefix = route_prefix(route);
        let _ = write!(
            http,
            r#"
        location {prefix} {{
            set $route {route};
            limit_req zone=routes burst=1000000 nodelay;
            proxy_pass http://origin;
        }}
"#
        );
    }
    http.push_str("    }\n");
    http
}
