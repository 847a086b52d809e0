//! The JSON Schema that editors check files with.

use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use super::{GOOD, folder, intertie, root};

/// The schema of the file as the command prints it.
fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| printed(&["schema"]))
}

/// The schema of a script of `simulate`.
fn script_schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| printed(&["schema", "--script"]))
}

fn printed(arguments: &[&str]) -> Value {
    let run = intertie(folder(GOOD).path(), arguments);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    serde_json::from_str(&run.stdout).expect("JSON")
}

/// What an editor would underline in `text`: every place that the schema does not allow.
pub(in super::super) fn violations(text: &str) -> Vec<String> {
    violations_of(schema(), text)
}

/// The same in a script of `simulate`.
pub(in super::super) fn script_violations(text: &str) -> Vec<String> {
    violations_of(script_schema(), text)
}

fn violations_of(schema: &Value, text: &str) -> Vec<String> {
    let file: Value = toml::from_str(text).expect("TOML");
    let mut found = Vec::new();
    look(schema, schema, &file, "", &mut found);
    found
}

/// The part of JSON Schema 2020-12 that the schemas make use of; anything else fails.
fn look(schema: &Value, rule: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let rule = rule.as_object().unwrap_or_else(|| panic!("a rule for {at}: {rule}"));
    if let Some(name) = rule.get("$ref") {
        let name = name.as_str().and_then(|name| name.strip_prefix("#/$defs/")).expect("a definition's name");
        look(schema, &schema["$defs"][name], value, at, found);
    }
    for several in ["anyOf", "oneOf"] {
        let Some(rules) = rule.get(several).and_then(Value::as_array) else { continue };
        let mut of_each = Vec::new();
        let fits = rules.iter().any(|rule| {
            let before = of_each.len();
            look(schema, rule, value, at, &mut of_each);
            of_each.len() == before
        });
        if !fits {
            found.append(&mut of_each);
        }
    }
    if let Some(wanted) = rule.get("const")
        && wanted != value
    {
        found.push(format!("{at}: {value} is not {wanted}"));
    }
    if let Some(Value::Array(wanted)) = rule.get("enum")
        && !wanted.contains(value)
    {
        found.push(format!("{at}: {value} is none of them"));
    }
    if let Some(wanted) = rule.get("type")
        && !types(wanted).any(|wanted| is_of_type(wanted, value))
    {
        found.push(format!("{at}: {value} is no {wanted}"));
    }
    match value {
        Value::Object(table) => look_into(schema, rule, table, at, found),
        Value::Array(list) => {
            for (position, element) in list.iter().enumerate() {
                if let Some(rule) = rule.get("items") {
                    look(schema, rule, element, &format!("{at}[{position}]"), found);
                }
            }
        }
        _ => {}
    }
}

fn look_into(
    schema: &Value,
    rule: &Map<String, Value>,
    table: &Map<String, Value>,
    at: &str,
    found: &mut Vec<String>,
) {
    for required in rule.get("required").and_then(Value::as_array).into_iter().flatten() {
        let required = required.as_str().expect("a name");
        if !table.contains_key(required) {
            found.push(format!("{at}: `{required}` is missing"));
        }
    }
    for (key, value) in table {
        let at = format!("{at}.{key}");
        match (rule.get("properties").and_then(|known| known.get(key)), rule.get("additionalProperties")) {
            (Some(rule), _) | (None, Some(rule @ Value::Object(_))) => look(schema, rule, value, &at, found),
            (None, Some(Value::Bool(false))) => found.push(format!("{at}: unknown")),
            (None, _) => {}
        }
    }
}

fn types(wanted: &Value) -> impl Iterator<Item = &str> {
    let several = wanted.as_array().into_iter().flatten();
    std::iter::once(wanted).chain(several).filter_map(Value::as_str)
}

fn is_of_type(wanted: &str, value: &Value) -> bool {
    match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("no type: {other}"),
    }
}

#[test]
fn it_describes_the_file_section_by_section() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!((&schema["type"], &schema["additionalProperties"]), (&json!("object"), &json!(false)));
    let sections: Vec<_> = schema["properties"].as_object().expect("sections").keys().collect();
    assert_eq!(
        sections,
        ["certificate", "defaults", "limit", "policy", "queue", "route", "server", "service", "tls", "token"]
    );
    let described = |name: &str, rule: &Value| {
        assert!(rule["description"].is_string(), "editors show what `{name}` means: {rule}");
    };
    for (name, section) in schema["properties"].as_object().expect("sections") {
        described(name, section);
    }
    for definition in
        ["Server", "Tls", "Certificate", "Policy", "Service", "Route", "Match", "Retry", "CircuitBreaker"]
    {
        let rule = &schema["$defs"][definition];
        let table = rule["anyOf"].as_array().and_then(|forms| forms.last()).unwrap_or(rule);
        for (name, rule) in table["properties"].as_object().expect(definition) {
            described(&format!("{definition}.{name}"), rule);
        }
    }
}

#[test]
fn it_knows_every_key_of_the_shop() {
    let text = std::fs::read_to_string(root().join("examples/shop/intertie.toml")).expect("the shop's file");
    assert_eq!(violations(&text), Vec::<String>::new());
}

#[test]
fn a_script_has_a_schema_of_its_own() {
    let schema = script_schema();
    let keys: Vec<_> = schema["properties"].as_object().expect("keys").keys().collect();
    assert_eq!(keys, ["duration", "route", "seed"]);
    for definition in ["SimulationConfig", "FaultConfig"] {
        for (name, rule) in schema["$defs"][definition]["properties"].as_object().expect(definition) {
            assert!(rule["description"].is_string(), "editors show what `{name}` means: {rule}");
        }
    }
    let shop = std::fs::read_to_string(root().join("examples/shop/faults.toml")).expect("the shop's script");
    assert_eq!(script_violations(&shop), Vec::<String>::new());
    for (right, wrong, violation) in [
        ("queue = ", "queu = ", ".route./orders/**.queu: unknown"),
        ("effect = \"refuse\"", "effect = \"refus\"", ".route./payments/**.fault[0].effect: "),
        ("capacity = 20", "capacity = \"20\"", ".route./orders/**.capacity: \"20\" is no"),
    ] {
        let found = script_violations(&shop.replacen(right, wrong, 1));
        assert!(found.iter().any(|found| found.starts_with(violation)), "{wrong}: {found:#?}");
    }
}

#[test]
fn it_allows_what_a_file_can_say() {
    let allowed = r#"
[server]
threads = 2
metric_series_max = 5000
drain = "5s"

[server.client_limits]
connections_max = 5000
connections_per_address_max = 100
header_bytes_max = "64KiB"
headers_max = 200
uri_bytes_max = "16KiB"
header_timeout = "5s"
idle_timeout = "1min"
body_timeout = "10s"
body_rate_min = "1KiB"
send_timeout = "20s"
upgrade_buffer = "4KiB"

[server.client_limits.http2]
streams_max = 100
flood_window = "5s"
resets_max = 100
settings_max = 10
pings_max = 100
window_updates_max = 100
ignored_frames_max = 100
empty_data_max = 10
continuations_max = 3
send_buffer_max = "128KiB"
stream_window = "1MiB"
connection_window = "64MiB"

[server.ready]
services = ["shop"]

[server.access_log]
to = "off"
format = "text"
sample = "10%"
slow = "2s"
query = true
redact = ["token"]
headers = ["user-agent"]
queue = 100

[server.audit_log]
to = "audit.log"
queue = 100
rejections_every = "0s"

[server.traces]
endpoint = "http://127.0.0.1:4318/v1/traces"
sample = "0.5%"
parents = "trusted_proxies"
headers = { authorization = "env:TOKEN" }
service_name = "edge"
queue = 100
batch = 10
timeout = "1s"
deadline = "2s"
flush = "3s"

[policy.off]
retry = "off"
circuit_breaker = { preset = "sensitive", window = "100 calls", minimum_calls = 10 }
bulkhead = "off"
deadline = "off"

[limit.provider]
limit = "5/min"
algorithm = "sliding_window"
by = "header:x-tenant"

[service.shop]
endpoints = [{ at = "127.0.0.1:7001", weight = 9 }]
balance = "p2c_ewma"
health_check = {}
outlier = { max_ejected = "10%" }
connect_timeout = "100ms"

[route.one]
to = "shop"
match = { host = "*.example", method = ["GET", "PUT"], headers = { x-a = "*" }, query = { page = "1" } }

[route.two]
to = "shop"
match = { path = "/two", method = "GET" }
use = "off"
limits = ["provider"]
upgrade = ["websocket", "mqtt"]
upgrade_idle_timeout = "1h"
"#;
    assert_eq!(violations(allowed), Vec::<String>::new());
}

#[test]
fn it_shows_what_check_would_refuse() {
    for (keys, violation) in [
        ("retyr = \"quick\"", ".route./**.retyr: unknown"),
        ("retry = { atempts = 3 }", ".route./**.retry.atempts: unknown"),
        ("circuit_breaker = \"standrd\"", ".route./**.circuit_breaker: \"standrd\""),
        ("deadline = 30", ".route./**.deadline: 30 is no"),
        ("bulkhead = { queue = 3 }", ".route./**.bulkhead: `concurrent` is missing"),
        ("body_max = true", ".route./**.body_max: true is no"),
        ("upgrade = \"websocket\"", ".route./**.upgrade: \"websocket\" is no"),
        ("limits = \"provider\"", ".route./**.limits: \"provider\" is no"),
        ("[serivce.shop]", ".serivce: unknown"),
        ("[service.other]\nbalance = \"fair\"", ".service.other: `endpoints` is missing"),
        ("[service.other]\nendpoints = [{ at = 7001 }]", ".service.other.endpoints[0].at: 7001 is no"),
        ("[server]\nthreads = \"2\"", ".server.threads: \"2\" is no"),
    ] {
        let text = format!("{GOOD}{keys}\n");
        let found = violations(&text);
        assert!(found.iter().any(|found| found.starts_with(violation)), "{keys}: {found:#?}");
        assert_eq!(intertie(folder(&text).path(), &["check", super::FILE]).code, 2, "{keys}");
    }
}
