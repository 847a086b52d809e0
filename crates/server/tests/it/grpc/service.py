"""The test service of gRPC's interop cases, and one that tells what became of calls: `service.py CHAIN KEY`.

Listens without TLS and with it, and prints both ports. Ends with its standard input.
"""

import collections
import sys
import threading
import time
from concurrent import futures

import grpc
from messages import *

INITIAL, TRAILING = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"
PIECE = bytes(64 << 10)

# By what calls name themselves with `x-call`.
cancelled, remaining = set(), {}
moved, resumed = collections.Counter(), collections.defaultdict(threading.Event)


def begin(context):
    """Sends back the metadata that is to come back, and notes how the call ends."""
    metadata = dict(context.invocation_metadata())
    if INITIAL in metadata:
        context.send_initial_metadata(((INITIAL, metadata[INITIAL]),))
    if TRAILING in metadata:
        context.set_trailing_metadata(((TRAILING, metadata[TRAILING]),))
    name = metadata.get("x-call", "")
    remaining[name] = context.time_remaining()
    ended = threading.Event()
    context.add_callback(ended.set)
    # Without answer or status of its own, the call was given up.
    context.add_callback(lambda: None if getattr(context, "answered", False) else cancelled.add(name))
    return name, ended


def compress(context, wish):
    if wish and not wish.value:
        context.disable_next_message_compression()


def answered(context, status):
    """The call ends here, with this status."""
    context.answered = True
    if status:
        context.set_code(next(code for code in grpc.StatusCode if code.value[0] == status.code))
        context.set_details(status.message)


def finish(context, call):
    """A stream with a name is there to be given up: its requests end as if it was not."""
    name, ended = call
    if name:
        ended.wait(20)
    else:
        answered(context, None)


def empty_call(request, context):
    begin(context)
    answered(context, None)
    return Empty()


def unary_call(request, context):
    begin(context)
    if request.response_compressed:
        context.set_compression(grpc.Compression.Gzip)
        compress(context, request.response_compressed)
    answered(context, request.response_status)
    return SimpleResponse(payload=Payload(body=bytes(request.response_size)))


def streaming_output_call(request, context):
    return full_duplex_call(iter([request]), context)


def streaming_input_call(requests, context):
    call = begin(context)
    size = sum(len(request.payload.body) for request in requests)
    finish(context, call)
    return StreamingInputCallResponse(aggregated_payload_size=size)


def full_duplex_call(requests, context):
    call = begin(context)
    metadata = dict(context.invocation_metadata())
    if "x-compress" in metadata:
        context.set_compression(grpc.Compression.Gzip)
    for request in requests:
        for wish in request.response_parameters:
            time.sleep(wish.interval_us / 1e6)
            compress(context, wish.compressed)
            yield StreamingOutputCallResponse(payload=Payload(body=bytes(wish.size)))
        if request.response_status and request.response_status.code:
            return answered(context, request.response_status)
    finish(context, call)


def ended(request, context):
    """Whether the call that named itself so was given up, once it is known."""
    deadline = time.monotonic() + 15
    while request.decode() not in cancelled and time.monotonic() < deadline:
        time.sleep(0.005)
    return b"cancelled" if request.decode() in cancelled else b"not cancelled"


def left(request, context):
    """The seconds that a call had when it came."""
    return str(remaining[request.decode()]).encode()


def hang(request, context):
    begin(context)[1].wait(20)
    return b""


def flood(request, context):
    """Sends so many pieces."""
    name, _ = begin(context)
    for _ in range(int(request)):
        moved[name] += 1
        yield PIECE


def swallow(requests, context):
    """Takes one piece, and the rest after `Resume`."""
    name, _ = begin(context)
    size = 0
    for request in requests:
        size += len(request)
        resumed[name].wait(20)
    answered(context, None)
    return str(size).encode()


def resume(request, context):
    resumed[request.decode()].set()
    return b""


def count(request, context):
    """The pieces that were sent so far."""
    return str(moved[request.decode()]).encode()


def of(make, handler, request=None):
    written = bytes if request else None
    return make(handler, request_deserializer=request and request.read, response_serializer=written)


unary, output = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
taking, both = grpc.stream_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
tested = {
    "EmptyCall": of(unary, empty_call, Empty),
    "UnaryCall": of(unary, unary_call, SimpleRequest),
    "StreamingOutputCall": of(output, streaming_output_call, StreamingOutputCallRequest),
    "StreamingInputCall": of(taking, streaming_input_call, StreamingInputCallRequest),
    "FullDuplexCall": of(both, full_duplex_call, StreamingOutputCallRequest),
}
told = {
    "Ended": of(unary, ended),
    "Left": of(unary, left),
    "Hang": of(unary, hang),
    "Flood": of(output, flood),
    "Swallow": of(taking, swallow),
    "Resume": of(unary, resume),
    "Count": of(unary, count),
}
options = (("grpc.max_receive_message_length", 4 << 20), ("grpc.so_reuseport", 0), ("grpc.http2.bdp_probe", 0))
server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=options)
server.add_generic_rpc_handlers(
    (
        grpc.method_handlers_generic_handler("grpc.testing.TestService", tested),
        grpc.method_handlers_generic_handler("intertie.Told", told),
        grpc.method_handlers_generic_handler("intertie.Late", told),
    )
)
chain, key = (open(path, "rb").read() for path in sys.argv[1:])
plain = server.add_insecure_port("127.0.0.1:0")
secure = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(((key, chain),)))
server.start()
print(plain, secure, flush=True)
sys.stdin.read()
server.stop(0)
