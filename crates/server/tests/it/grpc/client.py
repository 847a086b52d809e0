"""gRPC's interop cases against the service behind the gateway: `client.py ADDRESS [ROOTS]`.

Prints the name of each case that holds. Whatever is wrong fails an assertion.
"""

import queue
import sys
import threading
import time

import grpc
from messages import *

LIMIT, LONG = 20, 120
GZIP = grpc.Compression.Gzip
INITIAL, TRAILING = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"
STATUS = EchoStatus(code=2, message="test status message")
# Of 16 MiB in all, 4 MiB may be under way to who takes nothing.
PIECE, PIECES, WAITING_MAX = bytes(64 << 10), 256, 64
UNARY, OUTPUT = ("unary_unary", SimpleRequest, SimpleResponse), ("unary_stream", StreamingOutputCallRequest, StreamingOutputCallResponse)
CALLS = {
    "EmptyCall": ("unary_unary", Empty, Empty),
    "UnaryCall": UNARY,
    "UnimplementedCall": ("unary_unary", Empty, Empty),
    "StreamingOutputCall": OUTPUT,
    "StreamingInputCall": ("stream_unary", StreamingInputCallRequest, StreamingInputCallResponse),
    "FullDuplexCall": ("stream_stream", *OUTPUT[1:]),
}
# Windows stay as they are: gRPC of C widens them by what it measures, without a bound that means anything here.
OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0))


def open_channel(options=()):
    address, *roots = sys.argv[1:]
    if not roots:
        return grpc.insecure_channel(address, options=OPTIONS + tuple(options))
    credentials = grpc.ssl_channel_credentials(open(roots[0], "rb").read())
    return grpc.secure_channel(address, credentials, options=OPTIONS + tuple(options))


channel = open_channel()


def method(name, service="grpc.testing.TestService", on=None):
    kind, _, answer = CALLS[name]
    return getattr(on or channel, kind)(f"/{service}/{name}", request_serializer=bytes, response_deserializer=answer.read)


def told(name, request=b"", kind="unary_unary"):
    return getattr(channel, kind)(f"/intertie.Told/{name}")(request, timeout=LIMIT)


def fails(code, call):
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, f"{error.code()}: {error.details()}"
        return error
    raise AssertionError(f"no failure with {code}")


class Requests:
    """Requests of a stream, as they are given."""

    def __init__(self):
        self.given = queue.Queue()

    def __call__(self, *sizes, body=None, **rest):
        wishes = [ResponseParameters(size=size) for size in sizes]
        payload = None if body is None else Payload(body=bytes(body))
        self.given.put(StreamingOutputCallRequest(response_parameters=wishes, payload=payload, **rest))

    def end(self):
        self.given.put(None)

    def __iter__(self):
        return iter(self.given.get, None)


def large(on=None, **rest):
    request = SimpleRequest(response_size=314159, payload=Payload(body=bytes(271828)))
    answer = method("UnaryCall", on=on)(request, timeout=LIMIT, **rest)
    assert answer.payload.body == bytes(314159), len(answer.payload.body)


def empty_unary():
    assert bytes(method("EmptyCall")(Empty(), timeout=LIMIT)) == b""


def large_unary():
    large()


def client_streaming():
    pieces = (StreamingInputCallRequest(payload=Payload(body=bytes(size))) for size in (27182, 8, 1828, 45904))
    assert method("StreamingInputCall")(pieces, timeout=LIMIT).aggregated_payload_size == 74922


def server_streaming():
    sizes = [31415, 9, 2653, 58979]
    wishes = [ResponseParameters(size=size) for size in sizes]
    answers = method("StreamingOutputCall")(StreamingOutputCallRequest(response_parameters=wishes), timeout=LIMIT)
    assert [len(answer.payload.body) for answer in answers] == sizes


def ping_pong():
    requests = Requests()
    call = method("FullDuplexCall")(iter(requests), timeout=LIMIT)
    for size, body in ((31415, 27182), (9, 8), (2653, 1828), (58979, 45904)):
        requests(size, body=body)
        assert len(next(call).payload.body) == size
    requests.end()
    assert list(call) == [] and call.code() == grpc.StatusCode.OK


def empty_stream():
    call = method("FullDuplexCall")(iter([]), timeout=LIMIT)
    assert list(call) == [] and call.code() == grpc.StatusCode.OK


def heard(name):
    assert told("Ended", name.encode()) == b"cancelled", f"the service never hears that {name} was given up"


def cancel_after_begin():
    requests = queue.Queue()
    name = f"begin-{time.time_ns()}"
    call = method("StreamingInputCall").future(iter(requests.get, None), metadata=(("x-call", name),))
    # The service has the call, or there were nothing for it to hear of.
    deadline = time.monotonic() + LIMIT
    while True:
        try:
            told("Left", name.encode())
            break
        except grpc.RpcError:
            assert time.monotonic() < deadline, "the service never gets the call"
    call.cancel()
    assert call.code() == grpc.StatusCode.CANCELLED, call.code()
    requests.put(None)
    heard(name)


def cancel_after_first_response():
    requests, name = Requests(), f"first-{time.time_ns()}"
    call = method("FullDuplexCall")(iter(requests), timeout=LIMIT, metadata=(("x-call", name),))
    requests(31415, body=27182)
    assert len(next(call).payload.body) == 31415
    call.cancel()
    fails(grpc.StatusCode.CANCELLED, lambda: list(call))
    requests.end()
    heard(name)


def timeout_on_sleeping_server():
    requests = Requests()
    requests(body=27182)
    call = method("FullDuplexCall")(iter(requests), timeout=0.001)
    fails(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: list(call))
    requests.end()


def custom_metadata():
    metadata = ((INITIAL, "test_initial_metadata_value"), (TRAILING, b"\xab\xab\xab"))
    request = SimpleRequest(response_size=314159, payload=Payload(body=bytes(271828)))
    answer, call = method("UnaryCall").with_call(request, timeout=LIMIT, metadata=metadata)
    requests = Requests()
    requests(314159, body=271828)
    stream = method("FullDuplexCall")(iter(requests), timeout=LIMIT, metadata=metadata)
    assert len(next(stream).payload.body) == 314159
    # It comes with the first answer, not with the last.
    assert dict(stream.initial_metadata())[INITIAL] == metadata[0][1], stream.initial_metadata()
    requests.end()
    assert list(stream) == []
    for each in (call, stream):
        assert dict(each.initial_metadata())[INITIAL] == metadata[0][1], each.initial_metadata()
        assert dict(each.trailing_metadata())[TRAILING] == metadata[1][1], each.trailing_metadata()


def status_code_and_message(status=STATUS):
    request = SimpleRequest(response_status=status)
    requests = Requests()
    requests(response_status=status)
    requests.end()
    stream = method("FullDuplexCall")(iter(requests), timeout=LIMIT)
    for call in (lambda: method("UnaryCall")(request, timeout=LIMIT), lambda: list(stream)):
        error = fails(grpc.StatusCode.UNKNOWN, call)
        assert error.details() == status.message, error.details()


def special_status_message():
    message = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
    status_code_and_message(EchoStatus(code=2, message=message))


def unimplemented_method():
    fails(grpc.StatusCode.UNIMPLEMENTED, lambda: method("UnimplementedCall")(Empty(), timeout=LIMIT))


def unimplemented_service():
    call = method("UnimplementedCall", "grpc.testing.UnimplementedService")
    fails(grpc.StatusCode.UNIMPLEMENTED, lambda: call(Empty(), timeout=LIMIT))


def client_compressed_unary():
    large(compression=GZIP, metadata=(("x-case", "client_compressed_unary"),))


def server_compressed_unary():
    for wish in (True, False):
        request = SimpleRequest(response_size=314159, response_compressed=BoolValue(value=wish))
        assert method("UnaryCall")(request, timeout=LIMIT).payload.body == bytes(314159)


def client_compressed_streaming():
    pieces = (StreamingInputCallRequest(payload=Payload(body=bytes(size))) for size in (27182, 45904))
    call = method("StreamingInputCall")(pieces, timeout=LIMIT, compression=GZIP)
    assert call.aggregated_payload_size == 73086


def server_compressed_streaming():
    sizes = ((31415, True), (92653, False))
    wishes = [ResponseParameters(size=size, compressed=BoolValue(value=wish)) for size, wish in sizes]
    request = StreamingOutputCallRequest(response_parameters=wishes)
    answers = method("StreamingOutputCall")(request, timeout=LIMIT, metadata=(("x-compress", "gzip"),))
    assert [len(answer.payload.body) for answer in answers] == [31415, 92653]


def rpc_soak():
    for _ in range(50):
        large()


def channel_soak():
    for _ in range(10):
        with open_channel() as other:
            large(on=other)


def deadline_is_carried():
    # The route's 10 s or the call's own, whichever is less. gRPC of C rounds what it is told up, by 3 % at most.
    for timeout, most in ((LIMIT, 10), (5, 5)):
        name = f"deadline-{time.time_ns()}"
        method("EmptyCall")(Empty(), timeout=timeout, metadata=(("x-call", name),))
        left = float(told("Left", name.encode()))
        assert 0 < left <= most * 1.03, f"{left} s are left of {most} s"


def deadline_cancels_the_service():
    name = f"hang-{time.time_ns()}"
    call = channel.unary_unary("/intertie.Told/Hang")
    fails(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: call(b"", timeout=0.5, metadata=(("x-call", name),)))
    heard(name)


def messages_of_four_mebibytes():
    most = (4 << 20) - 64
    request = SimpleRequest(response_size=most, payload=Payload(body=bytes(most)))
    assert method("UnaryCall")(request, timeout=LIMIT).payload.body == bytes(most)
    for request in (
        SimpleRequest(response_size=4 << 20, payload=Payload(body=b"")),
        SimpleRequest(response_size=1, payload=Payload(body=bytes(4 << 20))),
    ):
        fails(grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: method("UnaryCall")(request, timeout=LIMIT))
    large()


def stands(count):
    """What `count` comes to when it moves no more."""
    last = -1
    while (now := count()) != last:
        assert now <= WAITING_MAX, f"{now} pieces are under way to who takes none"
        last = now
        time.sleep(0.3)
    return now


def slow_client_slows_the_service():
    name = f"flood-{time.time_ns()}"
    flood = channel.unary_stream("/intertie.Told/Flood")
    call = flood(str(PIECES).encode(), timeout=LONG, metadata=(("x-call", name),))
    others = [flood(str(PIECES).encode(), timeout=LONG) for _ in range(8)]
    assert all(next(each) == PIECE for each in [call, *others])
    stood = stands(lambda: int(told("Count", name.encode())))
    # Answers that are read pass those that are not.
    large()
    for each in others:
        each.cancel()
    # All that waits, and more that was not there before.
    for _ in range(stood + 16):
        assert next(call) == PIECE
    call.cancel()


def slow_service_slows_the_client():
    name, sent, enough = f"swallow-{time.time_ns()}", [0], [PIECES]

    def send():
        while sent[0] < enough[0]:
            sent[0] += 1
            yield PIECE

    call = channel.stream_unary("/intertie.Told/Swallow").future(send(), timeout=LONG, metadata=(("x-call", name),))
    enough[0] = stands(lambda: sent[0]) + 16
    # Requests that are taken pass the one that is not.
    large()
    told("Resume", name.encode())
    assert int(call.result()) == enough[0] * len(PIECE)


def refusals_are_statuses():
    def refused(code, service, name="Hang", request=b"", words=""):
        call = channel.unary_unary(f"/intertie.{service}/{name}")
        error = fails(code, lambda: call(request, timeout=LIMIT))
        assert words in error.details(), error.details()
        return dict(error.trailing_metadata() or ()) | dict(error.initial_metadata() or ())

    refused(grpc.StatusCode.DEADLINE_EXCEEDED, "Late", words="the deadline of the call is over")
    refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "Large", request=bytes(2000), words="body_max")
    refused(grpc.StatusCode.UNIMPLEMENTED, "Elsewhere", words="no route")
    call = channel.unary_unary("/intertie.Limited/Count")
    try:
        # The first call of all passes the limit, and the service does not know the method.
        call(b"", timeout=LIMIT)
    except grpc.RpcError:
        pass
    said = refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "Limited", words="rate_limiter")
    assert 0 < int(said["grpc-retry-pushback-ms"]) <= 3_600_000, said
    for _ in range(2):
        refused(grpc.StatusCode.UNAVAILABLE, "Broken")
    refused(grpc.StatusCode.UNAVAILABLE, "Broken", words="circuit_breaker")
    # All of them were answers on a connection that goes on.
    large()


CASES = [
    empty_unary,
    large_unary,
    client_streaming,
    server_streaming,
    ping_pong,
    empty_stream,
    cancel_after_begin,
    cancel_after_first_response,
    timeout_on_sleeping_server,
    custom_metadata,
    status_code_and_message,
    special_status_message,
    unimplemented_method,
    unimplemented_service,
    client_compressed_unary,
    server_compressed_unary,
    client_compressed_streaming,
    server_compressed_streaming,
    rpc_soak,
    channel_soak,
    deadline_is_carried,
    deadline_cancels_the_service,
    messages_of_four_mebibytes,
    slow_client_slows_the_service,
    slow_service_slows_the_client,
    refusals_are_statuses,
]

for case in CASES:
    case()
    print(case.__name__, flush=True)
