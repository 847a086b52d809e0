//! Good inputs, and bad ones that were close to good.

pub(crate) const REQUESTS: &[&[u8]] = &[
    b"GET /orders/7?x=1 HTTP/1.1\r\nhost: shop.example\r\naccept: */*\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nhost: a\r\n\r\n",
    b"PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n0\r\nx: y\r\n\r\n",
    b"\r\nGET http://a/ HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\nContent_Length: 18446744073709551615\r\nx:\t folded\r\n line\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nabc\r\n",
];

pub(crate) const ANSWERS: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.0 200\r\n\r\nuntil the end",
    b"HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\ncontent-length: 9\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n\x81\x05hello",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
];

pub(crate) const HEADERS: &[&[u8]] = &[
    b"host: shop.example\nconnection: close, x-one\nx-one: 1\nte: trailers\nkeep-alive: timeout=5\n",
    b"x-forwarded-for: 192.0.2.7\nX_Forwarded_Host: a\nforwarded: for=192.0.2.7\n",
    b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\ntracestate: a=b\n",
    b"intertie-deadline: 2500\ngrpc-timeout: 99999999H\nintertie-attempt: 2\nidempotency-key: \"x\"\n",
    b"grpc-timeout: 5m\ngrpc-previous-rpc-attempts: 1\ncookie: a=b\ncookie: c=d\n",
    b"intertie_client-identity: CN=x\nintertie-client-identity: CN=y\nx-correlation-id: 7\n",
    b"connection: host, content-length, transfer-encoding\ncontent-length: 5\ntransfer-encoding: chunked\n",
];

pub(crate) const ROUTES: &[&[u8]] = &[
    b"* /orders/{id}\n* /orders/special\n* /**\nshop.example /orders/special?x=1",
    b"shop.example /files/*/raw\n*.shop.example /files/**\na.shop.example. /files/x/raw",
    b"[::1] /a%20b/%C3%A9\n* /a b\n[::1] /a%20b/%c3%a9",
    b"* /a/../b\n* /a//b\nEXAMPLE.org /a/%2e%2e/b;x=y",
    b"* /{one}/x\n* /{other}/x\n* /1/x",
    b"* /a\tm=GET,HEAD\n* /a\tm=POST\th=x:1\n* /a\tm=PUT\n* /a\tm=DELETE\th=x:1",
    b"* /a\th=x:1\tq=y:*\n* /a\th=x:*\n* /a\tq=y:1\n* /a?y=1&y=2&z\tm=POST\th=x:1\th=x:2",
    b"a.example /**\tm=CONNECT\n* /**\tm=CONNECT\n* /x\tm=POST\na.example /x\tm=CONNECT",
    b"* /a\tq=y:%31\th=X-Y:a, b\n* /a\tq=y:1\n* /a?%79=1\th=x-y:a\th=x-y:b",
];

pub(crate) const ACCESS_LOG: &[&[u8]] = &[
    br#"192.0.2.7 - frank [10/Oct/2000:13:55:36 -0700] "GET /a/b?x=1&y HTTP/1.1" 200 2326 "http://a.example/" "Mozilla/4.08 [en]""#,
    br#"::1 - - [01/Mar/2026:00:00:00 +0100] "GET /a\"b\x22?u=http://x HTTP/1.1" 404 - 0.120 "-""#,
    br#"{"at":"2026-11-21T18:52:53.149Z","attempts":1,"client":"127.0.0.1","cut":null,"duration_ms":901.473,"endpoint":"127.0.0.1:33009","error":"ATTEMPT_TIMEOUT","host":"a","method":"POST","path":"/","request_id":"d12e","route":"/**","status":504,"tls":null}"#,
    b"2026-11-21T18:52:53.149Z 127.0.0.1 GET /orders/7 200 12.5ms route=/orders/** endpoint=127.0.0.1:7001 attempts=2 cut=deadline",
];

pub(crate) const ENVELOPE: &[&[u8]] = &[
    br#"{"specversion":"1.0","id":"1","source":"/orders","type":"com.example.order.created"}"#,
    br#"{"specversion":"1.0","id":"1","source":"https://a.example:80/b?c=%20#d","type":"t","subject":"\u20ac","time":null,"data":{"a":[1.50,"\ud83d\ude00",null]}}"#,
    br#"{"specversion":"1.0","id":"A-1","source":"urn:uuid:6e8bc430","type":"t","subject":"x","time":"2018-04-05T17:31:00.25+02:00","datacontenttype":"application/xml; charset=\"utf-8\"","dataschema":"http://[::1]/s","a":5,"b":true,"c":"d","data":"<a b=\"c\"/>"}"#,
    br#"{"specversion":"1.0","id":"1","source":"a","type":"t","datacontenttype":"application/json","data_base64":"eyAieHl6IjogMTIzIH0="}"#,
    br#" { "type" : "t", "id" : "1", "data" : "text", "source" : "/a", "correlationid" : "c", "expirytime" : "2018-04-05T17:31:00Z", "specversion" : "1.0" } "#,
];

pub(crate) const ENVELOPE_BATCH: &[&[u8]] = &[
    br#"[{"specversion":"1.0","id":"1","source":"/a","type":"t","data":1},{"specversion":"1.0","id":"2","source":"/a","type":"t","data_base64":"Zg=="}]"#,
    br#"[ {"specversion":"1.0","id":"1","source":"/a","type":"t","a":-1,"data":[[]]} ]"#,
    b"[]",
];

/// Header lines, an empty line, a body.
pub(crate) const ENVELOPE_HEADERS: &[&[u8]] = &[
    b"ce-specversion: 1.0\nce-id: 1\nce-source: /a\nce-type: t\nce-subject: Euro%20%E2%82%AC%20%F0%9F%98%80\ncontent-type: application/json\n\n{\"a\": 1}",
    b"CE-SpecVersion: 1.0\nce-id: \"quoted \\\" \\\\ one\"\nce-source: a:b\nce-type: t\nce-time: 2018-04-05T17:31:00Z\nContent-Type: text/plain; charset=utf-8\n\ntext\xc3\xb6",
    b"ce-specversion: 1.0\nce-id: 1\nce-source: /a\nce-type: t\nce-dataschema: urn:a:b\nce-a: {\"b\": 5}\nhost: x\ncontent-type: image/png\n\n\x89PNG",
    b"ce-specversion: 1.0\nce-id: 1\nce-source: //x@[::1]:8/\nce-type: t\nce-expirytime: 2018-04-05T17:31:00Z\n",
];
