"""The interop cases by a grpcio client. Prints one line a case, `ok NAME` or `FAILED NAME: why`.

grpcio_client.py --port PORT [--ca FILE]
"""

import argparse
import queue
import sys
import traceback

import grpc

import stubs

m = stubs.load()
GZIP = grpc.Compression.Gzip
PATIENCE = 20
REQUEST, RESPONSE = 271828, 314159
SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
METADATA = ((stubs.INITIAL, "test_initial_metadata_value"), (stubs.TRAILING, b"\xab\xab\xab"))


class Stub:
    """The methods of TestService on one channel."""

    def __init__(self, channel):
        def method(make, name, request, response, service="TestService"):
            encode, decode = stubs.codec(request)[1], stubs.codec(response)[0]
            path = f"/grpc.testing.{service}/{name}"
            return make(path, request_serializer=encode, response_deserializer=decode)

        out = (m.StreamingOutputCallRequest, m.StreamingOutputCallResponse)
        put = (m.StreamingInputCallRequest, m.StreamingInputCallResponse)
        unary, empty = channel.unary_unary, (m.Empty, m.Empty)
        self.empty = method(unary, "EmptyCall", *empty)
        self.unary = method(unary, "UnaryCall", m.SimpleRequest, m.SimpleResponse)
        self.output = method(channel.unary_stream, "StreamingOutputCall", *out)
        self.input = method(channel.stream_unary, "StreamingInputCall", *put)
        self.duplex = method(channel.stream_stream, "FullDuplexCall", *out)
        self.no_method = method(unary, "UnimplementedCall", *empty)
        self.no_service = method(unary, "UnimplementedCall", *empty, service="UnimplementedService")


def payload(size):
    return m.Payload(body=bytes(size))


def large(**fields):
    return m.SimpleRequest(response_size=RESPONSE, payload=payload(REQUEST), **fields)


def output(*sizes, **fields):
    parameters = [m.ResponseParameters(size=size) for size in sizes]
    return m.StreamingOutputCallRequest(response_parameters=parameters, **fields)


def fails(code, call, message=None):
    """Runs `call`, which must end with this code, and returns the error."""
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, f"{error.code()} instead of {code}: {error.details()}"
        assert message is None or error.details() == message, repr(error.details())
        return error
    raise AssertionError(f"went well instead of {code}")


def sizes(responses):
    return [len(response.payload.body) for response in responses]


def empty_unary(stub):
    assert stub.empty(m.Empty(), timeout=PATIENCE) == m.Empty()


def large_unary(stub, **options):
    request = options.pop("request", None) or large()
    response = stub.unary(request, timeout=PATIENCE, **options)
    assert response.payload.body == bytes(RESPONSE)


def client_compressed_unary(stub):
    asked = large(expect_compressed=m.BoolValue(value=True))
    fails(grpc.StatusCode.INVALID_ARGUMENT, lambda: large_unary(stub, request=asked))
    large_unary(stub, request=asked, compression=GZIP)
    large_unary(stub, request=large(expect_compressed=m.BoolValue(value=False)))


def server_compressed_unary(stub):
    for value in (True, False):
        large_unary(stub, request=large(response_compressed=m.BoolValue(value=value)))


def client_streaming(stub):
    requests = [m.StreamingInputCallRequest(payload=payload(n)) for n in (27182, 8, 1828, 45904)]
    response = stub.input(iter(requests), timeout=PATIENCE)
    assert response.aggregated_payload_size == 74922


def client_compressed_streaming(stub):
    def request(size):
        expected = m.BoolValue(value=True)
        return m.StreamingInputCallRequest(payload=payload(size), expect_compressed=expected)

    probe = lambda: stub.input(iter([request(27182)]), timeout=PATIENCE)
    fails(grpc.StatusCode.INVALID_ARGUMENT, probe)
    # grpcio cannot leave single messages of a call uncompressed.
    both = iter([request(27182), request(45904)])
    response = stub.input(both, timeout=PATIENCE, compression=GZIP)
    assert response.aggregated_payload_size == 73086


def server_streaming(stub):
    wanted = [31415, 9, 2653, 58979]
    assert sizes(stub.output(output(*wanted), timeout=PATIENCE)) == wanted


def server_compressed_streaming(stub):
    request = output(31415, 92653)
    for parameters, value in zip(request.response_parameters, (True, False)):
        parameters.compressed.value = value
    assert sizes(stub.output(request, timeout=PATIENCE)) == [31415, 92653]


class Feed:
    """An iterator of requests that is filled while it is read."""

    def __init__(self):
        self.queue = queue.Queue()

    def put(self, request):
        self.queue.put(request)

    def __iter__(self):
        return iter(self.queue.get, None)


def ping_pong(stub):
    feed = Feed()
    responses = stub.duplex(iter(feed), timeout=PATIENCE)
    for asked, size in ((31415, 27182), (9, 8), (2653, 1828), (58979, 45904)):
        feed.put(output(asked, payload=payload(size)))
        assert len(next(responses).payload.body) == asked
    feed.put(None)
    assert sizes(responses) == []


def empty_stream(stub):
    assert sizes(stub.duplex(iter(()), timeout=PATIENCE)) == []


def custom_metadata(stub):
    def check(call):
        assert dict(call.initial_metadata())[stubs.INITIAL] == "test_initial_metadata_value"
        assert dict(call.trailing_metadata())[stubs.TRAILING] == b"\xab\xab\xab"

    response, call = stub.unary.with_call(large(), timeout=PATIENCE, metadata=METADATA)
    assert len(response.payload.body) == RESPONSE
    check(call)
    request = output(RESPONSE, payload=payload(REQUEST))
    call = stub.duplex(iter([request]), timeout=PATIENCE, metadata=METADATA)
    assert sizes(call) == [RESPONSE]
    check(call)


def status_code_and_message(stub, message="test status message"):
    status = m.EchoStatus(code=2, message=message)
    unary = lambda: stub.unary(m.SimpleRequest(response_status=status), timeout=PATIENCE)
    fails(grpc.StatusCode.UNKNOWN, unary, message)
    request = m.StreamingOutputCallRequest(response_status=status)
    duplex = lambda: sizes(stub.duplex(iter([request]), timeout=PATIENCE))
    fails(grpc.StatusCode.UNKNOWN, duplex, message)


def special_status_message(stub):
    status_code_and_message(stub, SPECIAL)


def metadata_edges(stub):
    # C-core sends blanks at the edges of values as they are.
    metadata = ((stubs.INITIAL, "  an edge "), (stubs.TRAILING, b""))
    response, call = stub.unary.with_call(large(), timeout=PATIENCE, metadata=metadata)
    assert dict(call.initial_metadata())[stubs.INITIAL] == "an edge"
    assert dict(call.trailing_metadata())[stubs.TRAILING] == b""


def large_trailing_metadata(stub):
    # 6,000 bytes are 8,000 in base64: more than servers send that stop at 8 KiB of trailers.
    metadata = ((stubs.TRAILING, bytes(6000)),)
    _, call = stub.unary.with_call(large(), timeout=PATIENCE, metadata=metadata)
    assert dict(call.trailing_metadata())[stubs.TRAILING] == bytes(6000)


def oversized_metadata(stub):
    metadata = (("x-large", "v" * 20_000),)
    call = lambda: stub.unary(large(), timeout=PATIENCE, metadata=metadata)
    fails(grpc.StatusCode.RESOURCE_EXHAUSTED, call)


def unimplemented_method(stub):
    fails(grpc.StatusCode.UNIMPLEMENTED, lambda: stub.no_method(m.Empty(), timeout=PATIENCE))


def unimplemented_service(stub):
    fails(grpc.StatusCode.UNIMPLEMENTED, lambda: stub.no_service(m.Empty(), timeout=PATIENCE))


def cancel_after_begin(stub):
    feed = Feed()
    call = stub.input.future(iter(feed), timeout=PATIENCE)
    call.cancel()
    feed.put(None)
    assert call.cancelled() and call.code() == grpc.StatusCode.CANCELLED


def cancel_after_first_response(stub):
    feed = Feed()
    feed.put(output(31415, payload=payload(27182)))
    call = stub.duplex(iter(feed), timeout=PATIENCE)
    assert len(next(call).payload.body) == 31415
    call.cancel()
    feed.put(None)
    fails(grpc.StatusCode.CANCELLED, lambda: next(call))


def timeout_on_sleeping_server(stub):
    feed = Feed()
    feed.put(m.StreamingOutputCallRequest(payload=payload(27182)))
    call = stub.duplex(iter(feed), timeout=0.001)
    fails(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: next(call))
    feed.put(None)


def server_sees_the_deadline(stub):
    # The server's own timer ends the call: the response would come only after a minute.
    request = output(1)
    request.response_parameters[0].interval_us = 60_000_000
    call = lambda: sizes(stub.output(request, timeout=0.2))
    fails(grpc.StatusCode.DEADLINE_EXCEEDED, call)


def concurrent_large_unary(stub):
    calls = [stub.unary.future(large(), timeout=PATIENCE) for _ in range(100)]
    for call in calls:
        assert len(call.result().payload.body) == RESPONSE


CASES = [
    empty_unary,
    large_unary,
    client_compressed_unary,
    server_compressed_unary,
    client_streaming,
    client_compressed_streaming,
    server_streaming,
    server_compressed_streaming,
    ping_pong,
    empty_stream,
    custom_metadata,
    status_code_and_message,
    special_status_message,
    metadata_edges,
    large_trailing_metadata,
    oversized_metadata,
    unimplemented_method,
    unimplemented_service,
    cancel_after_begin,
    cancel_after_first_response,
    timeout_on_sleeping_server,
    server_sees_the_deadline,
    concurrent_large_unary,
]


def main():
    flags = argparse.ArgumentParser()
    flags.add_argument("--port", type=int, required=True)
    flags.add_argument("--ca")
    flags = flags.parse_args()
    target = f"localhost:{flags.port}"
    if flags.ca:
        with open(flags.ca, "rb") as file:
            credentials = grpc.ssl_channel_credentials(file.read())
        channel = grpc.secure_channel(target, credentials)
    else:
        channel = grpc.insecure_channel(target)
    failed = 0
    with channel:
        stub = Stub(channel)
        for case in CASES:
            try:
                case(stub)
                print(f"ok {case.__name__}", flush=True)
            except Exception as error:
                failed += 1
                text = " ".join(str(error).split()) or type(error).__name__
                print(f"FAILED {case.__name__}: {text}", flush=True)
                traceback.print_exc()
    sys.exit(1 if failed else 0)


main()
