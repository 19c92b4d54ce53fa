"""Message classes made at run time from proto/grpc/testing; what both Python peers share."""

import pathlib
import sys
import types

import grpc
from grpc_tools import protoc

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "target" / "interop" / "python"
FILES = ["grpc/testing/empty.proto", "grpc/testing/messages.proto"]

INITIAL = "x-grpc-test-echo-initial"
TRAILING = "x-grpc-test-echo-trailing-bin"


def load():
    """Returns a namespace that holds the message classes."""
    OUT.mkdir(parents=True, exist_ok=True)
    code = protoc.main(["protoc", f"-I{ROOT / 'proto'}", f"--python_out={OUT}", *FILES])
    if code:
        sys.exit(f"protoc ended with {code}")
    # The package `grpc` is grpcio itself: the generated folder joins it.
    grpc.__path__.append(str(OUT / "grpc"))
    from grpc.testing import empty_pb2, messages_pb2

    return types.SimpleNamespace(**{**vars(messages_pb2), **vars(empty_pb2)})


def codec(kind):
    """How a message class is read and written."""
    return kind.FromString, kind.SerializeToString
