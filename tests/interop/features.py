#!/usr/bin/python3
"""What the interop cases do not ask of our interop programs: delays, compressed
fields, sizes, each status code, HalfDuplexCall, and the command lines.

    tests/interop/features.py --bin build/host/bin

grpcio calls our server. Needs the Debian packages that peer_programs.Python
installs.
"""
import concurrent.futures
import os
import subprocess
import sys
import time

from cases import Server, check, parser, run_tests, same
import deps
import peer_programs


def import_stubs():
    peer = peer_programs.Python()
    peer.build()
    sys.path.insert(0, peer.made)
    import grpc
    from src.proto.grpc.testing import empty_pb2, messages_pb2, test_pb2_grpc
    return grpc, empty_pb2.Empty, messages_pb2, test_pb2_grpc


class World:
    """Our server, and a channel to it."""

    def __init__(self, directory):
        self.bin = directory
        self.grpc, self.Empty, self.pb, stubs = import_stubs()
        self.server = Server(self.program("interop_server"), "--port", "0")
        self.stubs = stubs

    def __enter__(self):
        self.server.start()
        self.channel = self.grpc.insecure_channel(
            self.server.address,
            (("grpc.max_receive_message_length", 8 << 20),))
        self.stub = self.stubs.TestServiceStub(self.channel)
        return self

    def __exit__(self, *unused):
        self.channel.close()
        self.server.stop()

    def program(self, name):
        return os.path.join(self.bin, name)

    def run(self, name, *arguments):
        return subprocess.run([self.program(name)] + list(arguments),
                              capture_output=True, text=True, timeout=30)

    def output(self, *parameters, **more):
        return self.pb.StreamingOutputCallRequest(response_parameters=[
            self.pb.ResponseParameters(**one) for one in parameters], **more)

    def fails(self, code, call, *arguments, timeout=10):
        """The details of the failure; raises if it is another or none."""
        try:
            answer = call(*arguments, timeout=timeout)
            if hasattr(answer, "__next__"):
                list(answer)
        except self.grpc.RpcError as error:
            same(error.code(), code)
            return error.details()
        raise AssertionError("it succeeded instead of " + code.name)


# ---- interval_us -----------------------------------------------------------

def test_a_response_waits_for_its_interval(world):
    began = time.monotonic()
    answer = world.stub.StreamingOutputCall(world.output(
        dict(size=1, interval_us=150000), dict(size=2),
        dict(size=3, interval_us=150500)), timeout=10)
    same([len(one.payload.body) for one in answer], [1, 2, 3])
    took = time.monotonic() - began
    check(took >= 0.3, "all responses after %.3f s" % took)


def test_a_sleeping_call_holds_up_no_other(world):
    slow = world.stub.StreamingOutputCall(
        world.output(dict(size=1, interval_us=2000000)), timeout=10)
    began = time.monotonic()
    for _ in range(20):
        world.stub.EmptyCall(world.Empty(), timeout=10)
    check(time.monotonic() - began < 1.5,
          "20 calls took as long as the sleeping one")
    slow.cancel()


def test_sleeping_calls_sleep_at_the_same_time(world):
    calls = [world.stub.StreamingOutputCall(
        world.output(dict(size=1, interval_us=400000)), timeout=20)
        for _ in range(40)]
    began = time.monotonic()
    same([len(list(call)) for call in calls], [1] * 40)
    check(time.monotonic() - began < 8,
          "40 calls of 0.4 s slept one after the other")


def test_a_deadline_ends_a_sleeping_call(world):
    slow = world.output(dict(size=1, interval_us=60000000))
    for _ in range(100):  # more than there are calls: their places are freed
        world.fails(world.grpc.StatusCode.DEADLINE_EXCEEDED,
                    world.stub.StreamingOutputCall, slow, timeout=0.01)
    world.stub.EmptyCall(world.Empty(), timeout=10)


# ---- compression, sizes ----------------------------------------------------

def test_a_request_that_claims_to_be_compressed_is_refused(world):
    true, false = (world.pb.BoolValue(value=v) for v in (True, False))
    refused = world.grpc.StatusCode.INVALID_ARGUMENT
    request = world.pb.SimpleRequest
    world.fails(refused, world.stub.UnaryCall, request(expect_compressed=true))
    world.stub.UnaryCall(request(expect_compressed=false), timeout=10)
    one = world.pb.StreamingInputCallRequest(expect_compressed=true)
    world.fails(refused, world.stub.StreamingInputCall, iter([one]))


def test_a_compressed_response_is_refused_rather_than_sent_plain(world):
    true = world.pb.BoolValue(value=True)
    refused = world.grpc.StatusCode.UNIMPLEMENTED
    world.fails(refused, world.stub.UnaryCall,
                world.pb.SimpleRequest(response_compressed=true))
    world.fails(refused, world.stub.StreamingOutputCall,
                world.output(dict(size=9, compressed=true)))


def test_a_stream_sends_messages_larger_than_any_buffer(world):
    answer = list(world.stub.StreamingOutputCall(
        world.output(dict(size=4 << 20), dict(size=0)), timeout=30))
    same([len(one.payload.body) for one in answer], [4 << 20, 0])
    same(answer[0].payload.body.count(0), 4 << 20)


def test_sizes_that_make_no_sense_are_refused(world):
    refused = world.grpc.StatusCode.INVALID_ARGUMENT
    world.fails(refused, world.stub.UnaryCall,
                world.pb.SimpleRequest(response_size=-1))
    world.fails(refused, world.stub.StreamingOutputCall,
                world.output(dict(size=-5)))


def test_a_request_over_the_limit_is_refused(world):
    payload = world.pb.Payload(body=bytes(11 << 20))
    world.fails(world.grpc.StatusCode.RESOURCE_EXHAUSTED,
                world.stub.UnaryCall, world.pb.SimpleRequest(payload=payload))
    world.stub.EmptyCall(world.Empty(), timeout=10)


# ---- status, metadata, HalfDuplexCall --------------------------------------

def test_every_status_code_comes_back(world):
    for code in world.grpc.StatusCode:
        number = code.value[0]
        if number:
            wanted = world.pb.EchoStatus(code=number, message="no. %d" % number)
            same(world.fails(code, world.stub.UnaryCall,
                             world.pb.SimpleRequest(response_status=wanted)),
                 "no. %d" % number)
            same(world.fails(code, world.stub.StreamingOutputCall,
                             world.output(response_status=wanted)),
                 "no. %d" % number)


def test_every_method_echoes_metadata_with_all_its_values(world):
    key, binary = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"
    sent = ((key, "one"), (key, "two"), (binary, b"\0\xff,"), (binary, b""))
    stub, pb = world.stub, world.pb
    for call in (
            lambda: stub.EmptyCall.with_call(world.Empty(), metadata=sent,
                                             timeout=10)[1],
            lambda: stub.UnaryCall.with_call(pb.SimpleRequest(),
                                             metadata=sent, timeout=10)[1],
            lambda: stub.StreamingInputCall.with_call(
                iter([]), metadata=sent, timeout=10)[1],
            lambda: stub.StreamingOutputCall(world.output(dict(size=1)),
                                             metadata=sent, timeout=10),
            lambda: stub.FullDuplexCall(iter([]), metadata=sent, timeout=10)):
        done = call()
        if hasattr(done, "__next__"):
            list(done)
        same([v for k, v in done.initial_metadata() if k == key],
             ["one", "two"])
        same([v for k, v in done.trailing_metadata() if k == binary],
             [b"\0\xff,", b""])


def test_half_duplex_answers_when_all_was_said(world):
    asked = [world.output(dict(size=n), dict(size=n * 10)) for n in (1, 2, 3)]
    answer = world.stub.HalfDuplexCall(iter(asked), timeout=10)
    same([len(one.payload.body) for one in answer], [1, 10, 2, 20, 3, 30])


# ---- command lines ---------------------------------------------------------

def test_tls_is_refused_as_long_as_there_is_none(world):
    for name in ("interop_server", "interop_client"):
        for words in (["--use_tls=true"], ["--use_tls", "true"], ["--use_tls"]):
            done = world.run(name, *words)
            same((done.returncode, "TLS is not built in" in done.stderr),
                 (2, True))


def test_options_are_explained_and_wrong_ones_refused(world):
    for name in ("interop_server", "interop_client"):
        done = world.run(name, "--help")
        same((done.returncode, "--use_tls" in done.stdout), (0, True))
        done = world.run(name, "--what=7")
        same((done.returncode, "is no option" in done.stderr), (2, True))
    done = world.run("interop_client", "--test_case=?")
    same((done.returncode, "ping_pong" in done.stderr), (2, True))


def test_both_ways_to_write_an_option_work(world):
    port = str(world.server.port)
    for words in (["--server_port", port, "--test_case", "large_unary"],
                  ["--server_port=" + port, "--test_case=large_unary",
                   "--use_tls", "false"]):
        done = world.run("interop_client", "--server_host=127.0.0.1", *words)
        same((done.returncode, done.stdout), (0, "passed large_unary\n"))


def test_a_client_whose_server_is_not_there_says_so(world):
    done = world.run("interop_client", "--server_host=127.0.0.1",
                     "--server_port=%d" % deps.free_port(),
                     "--test_case=empty_unary")
    same((done.returncode, "FAILED empty_unary: " in done.stdout,
          "is the server running" in done.stdout), (1, True, True))


def test_many_clients_at_once_are_served(world):
    def one(_):
        return world.run("interop_client", "--server_host=127.0.0.1",
                         "--server_port=%d" % world.server.port,
                         "--test_case=custom_metadata").stdout
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        same(set(pool.map(one, range(24))), {"passed custom_metadata\n"})


def main():
    options = parser(__doc__).parse_args()
    with World(options.bin) as world:
        passed, failed = run_tests(globals(), world)
        process = world.server.process
        if not process.running():
            failed += 1
            print("FAIL the server did not survive it: "
                  + process.output()[-600:])
    if process.popen.returncode != 0:
        failed += 1
        print("FAIL the server ended with %d" % process.popen.returncode)
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
