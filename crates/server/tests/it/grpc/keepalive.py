"""A gRPC client that asks every 100 ms whether its silent connection is alive: `keepalive.py ADDRESS`.

Says when its stream is open, and goes on with it when it is told to.
"""

import queue
import sys

import grpc
from messages import *

OPTIONS = {
    "grpc.enable_http_proxy": 0,
    "grpc.keepalive_time_ms": 100,
    "grpc.keepalive_timeout_ms": 15_000,
    "grpc.http2.max_pings_without_data": 0,
}
channel = grpc.insecure_channel(sys.argv[1], options=tuple(OPTIONS.items()))
requests = queue.Queue()
request = StreamingOutputCallRequest(response_parameters=[ResponseParameters(size=7)])
open_stream = channel.stream_stream("/grpc.testing.TestService/FullDuplexCall", request_serializer=bytes)
call = open_stream(iter(requests.get, None))
requests.put(request)
next(call)
print("open", flush=True)
sys.stdin.readline()
requests.put(request)
next(call)
requests.put(None)
assert list(call) == [] and call.code() == grpc.StatusCode.OK, call.code()
