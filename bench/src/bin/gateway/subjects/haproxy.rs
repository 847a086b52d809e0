//! HAProxy, from Debian.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use intertie_bench::tools;

use super::{Site, WORKERS};
use crate::certificate;
use crate::mode::{Mode, route_prefix};

pub fn prepare() -> Result<(PathBuf, String)> {
    let binary = tools::find_or_install("haproxy", "haproxy")?;
    let text = tools::self_description(&binary, &["-v"])?;
    let version = text.split_whitespace().nth(2).context("haproxy -v names no version")?.to_owned();
    Ok((binary, version))
}

/// The map of [`Mode::Work`]: the prefix of a route, its name.
pub fn routes(count: usize) -> String {
    (0..count).fold(String::new(), |mut map, route| {
        let prefix = route_prefix(route);
        let _ = writeln!(map, "{prefix} service-{route}");
        map
    })
}

pub fn config(site: &Site<'_>, routes: &Path) -> String {
    let Site { port, origin_port, .. } = site;
    let common = format!(
        r#"global
    log stdout format raw local0
    nbthread {WORKERS}
    maxconn 4096

defaults
    mode http
    timeout client 60s
    timeout connect 5s
    timeout http-keep-alive 60s
    http-reuse always
"#
    );
    match site.mode {
        Mode::Work => format!("{common}{}", work(site, routes)),
        mode => {
            let protocol = match mode {
                Mode::H2 => " proto h2".to_owned(),
                mode if mode.has_tls() => {
                    let both = certificate::both_in_one(site.certificates);
                    format!(" ssl crt {} ssl-min-ver TLSv1.3", both.display())
                }
                _ => String::new(),
            };
            format!(
                r#"{common}    timeout server 60s

listen gateway
    bind 127.0.0.1:{port}{protocol}
    server origin 127.0.0.1:{origin_port}
"#
            )
        }
    }
}

/// One look-up in a map of prefixes names the route; the name is the key of a stick table that limits the rate and
/// keeps the figures of each route. All routes end at one backend, as they do for the other subjects, with its
/// pool of connections. The bulkhead is the server's `maxconn`, the breaker `observe layer7`, the attempt's timeout
/// `timeout server`; 2.6 has no deadline over attempts.
fn work(site: &Site<'_>, routes: &Path) -> String {
    let Site { port, origin_port, .. } = site;
    let routes = routes.display();
    format!(
        r#"    timeout server 5s
    timeout queue 100ms
    timeout http-request 30s
    retries 2
    retry-on conn-failure empty-response response-timeout 502 503 504

frontend gateway
    bind 127.0.0.1:{port}
    log global
    log-format '{{"time":"%tr","request_id":"%[var(txn.request)]","client":"%ci","method":"%HM","host":"%[var(txn.host)]","path":"%HP","status":%ST,"duration_ms":%Ta,"route":"%[var(txn.route)]","endpoint":"%s","trace":"%[var(txn.trace)]"}}'
    http-request set-var(txn.host) req.hdr(host)
    http-request set-var(txn.route) path,map_beg({routes})
    http-request return status 404 unless {{ var(txn.route) -m found }}
    http-request track-sc0 var(txn.route) table limits
    http-request deny deny_status 429 if {{ sc0_http_req_rate gt 1000000 }}
    option forwardfor
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-var(txn.request) uuid()
    http-request set-header X-Request-Id %[var(txn.request)]
    http-request set-header traceparent 00-%[rand,hex,lower]%[rand,hex,lower]-%[rand,hex,lower]-01 unless {{ req.hdr(traceparent) -m found }}
    http-request set-var(txn.trace) req.hdr(traceparent)
    http-response set-header RateLimit '"default";r=1000000;t=1'
    http-response set-header RateLimit-Policy '"default";q=1000000;w=1'
    default_backend origin

backend limits
    stick-table type string len 32 size 4k expire 1h store http_req_rate(1s),http_req_cnt,http_err_cnt

backend origin
    option redispatch
    server origin 127.0.0.1:{origin_port} maxconn 10000 check inter 2s observe layer7 error-limit 50 on-error mark-down
"#
    )
}
