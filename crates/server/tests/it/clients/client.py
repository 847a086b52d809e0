"""A client of Python's standard library: keep-alive, a chunked upload, and a wait that the server asks for."""

import http.client
import json
import sys
import time

connection = http.client.HTTPConnection(sys.argv[1], timeout=20)
connection.connect()
own = connection.sock.getsockname()


def exchange(method, path, **rest):
    connection.request(method, path, **rest)
    answer = connection.getresponse()
    body = answer.read()
    assert connection.sock and connection.sock.getsockname() == own, f"{path} closed the connection"
    return answer, body


for number in range(200):
    method = ("GET", "POST", "HEAD", "DELETE")[number % 4]
    sent = f"body {number}".encode() if method == "POST" else None
    answer, body = exchange(method, f"/alive/{number}", body=sent)
    assert (answer.status, body) == (200, sent or b""), (number, answer.status, body)
    assert answer.getheader("x-method") == method, answer.getheaders()

pieces = [bytes([number]) * 1024 for number in range(64)]
answer, body = exchange("PUT", "/upload", body=iter(pieces), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
assert (answer.status, body) == (200, b"".join(pieces)), (answer.status, len(body))

for _ in range(50):
    answer, body = exchange("GET", "/limited")
    if answer.status != 200:
        break
assert answer.status == 429, answer.status
assert answer.getheader("content-type") == "application/json", answer.getheaders()
assert json.loads(body)["errors"][0]["code"] == "RATE_LIMITED", body
wait = int(answer.getheader("retry-after"))
assert wait == 1, wait
time.sleep(wait)
answer, body = exchange("GET", "/limited")
assert answer.status == 200, f"{answer.status} after the wait that was asked for"
