"""Python's messages of a .proto, made when they are asked for, and a grpcio
server and stubs of its services.

    pb = protos.load(directory, "device.proto")
    protos.serve(pb, implementation)           prints where it listens
    stub = protos.Stub(pb, channel)            stub.Method(request)

To be imported before any protobuf module: only the Python implementation gets
along with every version of protoc.
"""
import collections
import concurrent.futures
import importlib
import os
import subprocess
import sys
import tempfile

os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
import grpc
from google.protobuf import descriptor_pb2

# kind: as grpcio calls it, e.g. "unary_stream"
Method = collections.namedtuple("Method", "service name request reply kind")


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


def methods(pb):
    """Of all services of a file."""
    file = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(file)
    for service in file.service:
        for method in service.method:
            kind = "%s_%s" % (
                "stream" if method.client_streaming else "unary",
                "stream" if method.server_streaming else "unary")
            yield Method("%s.%s" % (file.package, service.name), method.name,
                         getattr(pb, method.input_type.split(".")[-1]),
                         getattr(pb, method.output_type.split(".")[-1]), kind)


def serve(pb, implementation, port=0):
    """For ever. Handlers are the methods of `implementation`, by name."""
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
    for method in methods(pb):
        handler = getattr(grpc, method.kind + "_rpc_method_handler")(
            getattr(implementation, method.name),
            request_deserializer=method.request.FromString,
            response_serializer=method.reply.SerializeToString)
        server.add_generic_rpc_handlers((
            grpc.method_handlers_generic_handler(
                method.service, {method.name: handler}),))
    port = server.add_insecure_port("127.0.0.1:%d" % port)
    server.start()
    print("listening on 127.0.0.1:%d" % port, flush=True)
    server.wait_for_termination()


def call(channel, method):
    """A function that calls the method."""
    return getattr(channel, method.kind)(
        "/%s/%s" % (method.service, method.name),
        method.request.SerializeToString, method.reply.FromString)


class Stub:
    def __init__(self, pb, channel):
        for method in methods(pb):
            setattr(self, method.name, call(channel, method))
