"""The server of the interop cases on grpcio. Prints `listening on PORT`; ends with its process.

grpcio_server.py [--cert FILE --key FILE]
"""

import argparse
import time
from concurrent import futures

import grpc

import stubs

m = stubs.load()


def codes(number):
    return next(code for code in grpc.StatusCode if code.value[0] == number)


def echo(context):
    for key, value in context.invocation_metadata():
        if key == stubs.INITIAL:
            context.send_initial_metadata(((key, value),))
        if key == stubs.TRAILING:
            context.set_trailing_metadata(((key, value),))


def check_status(request, context):
    if request.HasField("response_status") and request.response_status.code:
        context.abort(codes(request.response_status.code), request.response_status.message)


def empty_call(request, context):
    echo(context)
    return m.Empty()


def unary_call(request, context):
    # Compression is part of the head, so it is chosen before metadata leave.
    if request.response_compressed.value:
        context.set_compression(grpc.Compression.Gzip)
    echo(context)
    check_status(request, context)
    return m.SimpleResponse(payload=m.Payload(body=bytes(request.response_size)))


def responses(request, context):
    check_status(request, context)
    for parameters in request.response_parameters:
        time.sleep(parameters.interval_us / 1e6)
        if not parameters.compressed.value:
            context.disable_next_message_compression()
        payload = m.Payload(body=bytes(parameters.size))
        yield m.StreamingOutputCallResponse(payload=payload)


def output_call(request, context):
    if any(parameters.compressed.value for parameters in request.response_parameters):
        context.set_compression(grpc.Compression.Gzip)
    echo(context)
    yield from responses(request, context)


def input_call(requests, context):
    size = sum(len(request.payload.body) for request in requests)
    return m.StreamingInputCallResponse(aggregated_payload_size=size)


def duplex_call(requests, context):
    echo(context)
    for request in requests:
        yield from responses(request, context)


def handler(make, function, request, response):
    decode, _ = stubs.codec(request)
    _, encode = stubs.codec(response)
    return make(function, request_deserializer=decode, response_serializer=encode)


def main():
    flags = argparse.ArgumentParser()
    flags.add_argument("--cert")
    flags.add_argument("--key")
    flags = flags.parse_args()
    out = (m.StreamingOutputCallRequest, m.StreamingOutputCallResponse)
    methods = {
        "EmptyCall": handler(grpc.unary_unary_rpc_method_handler, empty_call, m.Empty, m.Empty),
        "UnaryCall": handler(
            grpc.unary_unary_rpc_method_handler, unary_call, m.SimpleRequest, m.SimpleResponse
        ),
        "StreamingOutputCall": handler(grpc.unary_stream_rpc_method_handler, output_call, *out),
        "StreamingInputCall": handler(
            grpc.stream_unary_rpc_method_handler,
            input_call,
            m.StreamingInputCallRequest,
            m.StreamingInputCallResponse,
        ),
        "FullDuplexCall": handler(grpc.stream_stream_rpc_method_handler, duplex_call, *out),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    service = grpc.method_handlers_generic_handler("grpc.testing.TestService", methods)
    server.add_generic_rpc_handlers((service,))
    if flags.cert:
        with open(flags.cert, "rb") as cert, open(flags.key, "rb") as key:
            pair = (key.read(), cert.read())
        credentials = grpc.ssl_server_credentials((pair,))
        port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"listening on 127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


main()
