"""A gRPC service, and a client that reaches it through the gateway: `grpc.py GATEWAY_OF_PORT`.

The service listens on a port of its own, which is printed; the client begins when the address of the gateway
comes in. Whatever is wrong fails an assertion.
"""

import queue
import sys
import threading
import time
from concurrent import futures

import grpc

cancelled = threading.Event()
deadlines = queue.Queue()


def unary(request, context):
    metadata = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-initial", metadata["x-order"]),))
    context.set_trailing_metadata((("x-trailing", "t"), ("x-binary-bin", b"\x00\xff")))
    deadlines.put(context.time_remaining())
    return request[::-1]


def failing(request, context):
    context.set_trailing_metadata((("x-why", request.decode()),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not like this: ä")


def client_stream(requests, context):
    return b"".join(requests)


def server_stream(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def both(requests, context):
    for request in requests:
        yield request + b"!"


def endless(request, context):
    context.add_callback(cancelled.set)
    yield b"begun"
    cancelled.wait(20)


def slow(request, context):
    time.sleep(5)
    return b"late"


def rpc(handler, make):
    return make(handler, request_deserializer=None, response_serializer=None)


handlers = {
    "Unary": rpc(unary, grpc.unary_unary_rpc_method_handler),
    "Failing": rpc(failing, grpc.unary_unary_rpc_method_handler),
    "ClientStream": rpc(client_stream, grpc.stream_unary_rpc_method_handler),
    "ServerStream": rpc(server_stream, grpc.unary_stream_rpc_method_handler),
    "Both": rpc(both, grpc.stream_stream_rpc_method_handler),
    "Endless": rpc(endless, grpc.unary_stream_rpc_method_handler),
    "Slow": rpc(slow, grpc.unary_unary_rpc_method_handler),
}
server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", handlers),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)

channel = grpc.insecure_channel(sys.stdin.readline().strip(), options=(("grpc.enable_http_proxy", 0),))
LIMIT = 20

answer, call = channel.unary_unary("/test.Test/Unary").with_call(b"abc", timeout=LIMIT, metadata=(("x-order", "7"),))
assert answer == b"cba", answer
assert dict(call.initial_metadata())["x-initial"] == "7", call.initial_metadata()
trailing = dict(call.trailing_metadata())
assert (trailing["x-trailing"], trailing["x-binary-bin"]) == ("t", b"\x00\xff"), trailing
assert call.code() == grpc.StatusCode.OK
remaining = deadlines.get()
assert remaining and 0 < remaining <= LIMIT, remaining

large = bytes(3 << 20)
assert channel.unary_unary("/test.Test/Unary")(large, timeout=LIMIT, metadata=(("x-order", "8"),)) == large

try:
    channel.unary_unary("/test.Test/Failing")(b"because", timeout=LIMIT)
    assert False, "no failure"
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
    assert error.details() == "not like this: ä", error.details()
    assert dict(error.trailing_metadata())["x-why"] == "because", error.trailing_metadata()

try:
    channel.unary_unary("/test.Test/Unknown")(b"", timeout=LIMIT)
    assert False, "no failure"
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error

pieces = [bytes([number]) * 1000 for number in range(100)]
assert channel.stream_unary("/test.Test/ClientStream")(iter(pieces), timeout=LIMIT) == b"".join(pieces)
got = list(channel.unary_stream("/test.Test/ServerStream")(b"500", timeout=LIMIT))
assert got == [str(number).encode() for number in range(500)], len(got)

# Each message waits for the answer to the one before: nothing is held back in either direction.
said = queue.Queue()
call = channel.stream_stream("/test.Test/Both")(iter(said.get, None), timeout=LIMIT)
for number in range(50):
    said.put(str(number).encode())
    assert next(call) == f"{number}!".encode()
said.put(None)
assert list(call) == [] and call.code() == grpc.StatusCode.OK

call = channel.unary_stream("/test.Test/Endless")(b"", timeout=LIMIT)
assert next(call) == b"begun"
call.cancel()
assert cancelled.wait(10), "the service never hears that the client cancelled"

started = time.monotonic()
try:
    channel.unary_unary("/test.Test/Slow")(b"", timeout=0.5)
    assert False, "no failure"
except grpc.RpcError as error:
    # The client's own clock, or the gateway's, whichever is first; gRPC reads a 504 as UNAVAILABLE.
    assert error.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE), error
assert time.monotonic() - started < 4

# A service that cancels, in the middle of a stream.
call = channel.stream_stream("/test.Test/Both")(iter(said.get, None), timeout=LIMIT)
said.put(b"a")
assert next(call) == b"a!"
server.stop(0)
try:
    list(call)
    assert False, "no failure"
except grpc.RpcError as error:
    assert error.code() != grpc.StatusCode.OK, error
said.put(None)
print("done", flush=True)
