"""Python's messages of a .proto, made when they are asked for.

    pb = protos.load(directory, "messages.proto")

To be imported before grpc and any protobuf module: only the Python
implementation gets along with every version of protoc.
"""
import importlib
import os
import subprocess
import sys
import tempfile

os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")


def load(directory, name):
    with tempfile.TemporaryDirectory() as out:
        subprocess.run(["protoc", "-I" + directory, "--python_out=" + out,
                        name], check=True)
        sys.path.insert(0, out)
        try:
            return importlib.import_module(
                os.path.splitext(name)[0] + "_pb2")
        finally:
            sys.path.remove(out)
