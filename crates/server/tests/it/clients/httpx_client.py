"""A client of httpx over TLS, in the version of HTTP that it is told: streams both ways, an upload and a refusal."""

import random
import ssl
import sys
import time

import httpx

address, roots, version = sys.argv[1:]
base = f"https://{address}"
options = {
    "verify": ssl.create_default_context(cafile=roots),
    "http1": version == "HTTP/1.1",
    "http2": version == "HTTP/2",
    "timeout": 20,
    "trust_env": False,
}


def check(answer, status=200):
    assert (answer.status_code, answer.http_version) == (status, version), (answer.url, answer)
    return answer


def arrived(client, count):
    """Waits until the service has read `count` bytes of the upload that is under way."""
    began = time.monotonic()
    while int(check(client.get(f"{base}/arrived")).text) < count:
        assert time.monotonic() < began + 20, f"{count} bytes never arrived"


with httpx.Client(**options) as client:
    for number in range(50):
        method = ("GET", "POST", "PUT", "DELETE")[number % 4]
        sent = f"body {number}".encode() if method in ("POST", "PUT") else b""
        answer = check(client.request(method, f"{base}/echo/{number}", content=sent))
        assert (answer.content, answer.headers["x-method"]) == (sent, method), (answer.content, answer.headers)
    check(client.head(f"{base}/echo/head"))

    whole = random.Random(7).randbytes(1 << 20)
    assert check(client.put(f"{base}/echo/upload", content=whole)).content == whole, "the upload came back changed"
    form = check(client.post(f"{base}/echo/form", files={"file": ("eggs.bin", whole)}))
    assert whole in form.content and form.request.headers["content-type"].startswith("multipart/form-data")

    # Each piece goes out when the service has the ones before it, so nobody on the way waits for the whole.
    def pieces():
        with httpx.Client(**options) as other:
            for number in range(10):
                arrived(other, number * 1000)
                yield bytes([number]) * 1000

    assert check(client.post(f"{base}/upload", content=pieces())).text == "10000"

    # Each piece comes when the one before it was read.
    with client.stream("GET", f"{base}/stream") as answer, httpx.Client(**options) as other:
        check(answer)
        heard = []
        for piece in answer.iter_raw():
            heard.append(piece.decode())
            number = len(heard)
            check(other.post(f"{base}/next/{number if number < 10 else 'end'}"), 204)
        assert heard == [str(number) for number in range(10)], heard

    limited = [client.get(f"{base}/limited") for _ in range(3)]
    assert [answer.status_code for answer in limited] == [200, 200, 429], limited
    refused = check(limited[-1], 429)
    assert refused.json()["errors"][0]["code"] == "RATE_LIMITED", refused.text
    for name, value in {
        "content-type": "application/json",
        "proxy-status": "intertie; error=http_request_denied",
        "ratelimit-policy": '"default";q=2;w=7200',
    }.items():
        assert refused.headers[name] == value, (name, refused.headers)
    wait = int(refused.headers["retry-after"])
    assert 3500 < wait <= 3600, wait
    assert refused.headers["ratelimit"] == f'"default";r=0;t={wait}', refused.headers
    problem = check(client.get(f"{base}/limited", headers={"accept": "application/problem+json"}), 429)
    assert problem.headers["content-type"] == "application/problem+json" and problem.json()["status"] == 429
