#!/usr/bin/python3
"""Runs the examples over real sockets, with each other and with grpcio.

    tests/interop/examples.py --bin build/host/bin
"""
import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import time

from cases import Server, need, parser, run_tests, same
import deps

HERE = os.path.dirname(os.path.abspath(__file__))
PEER = os.path.join(HERE, "route_guide_peer.py")


class Examples:
    def __init__(self, directory):
        self.directory = directory

    def program(self, name):
        return os.path.join(self.directory, name)

    def server(self, name, *arguments):
        return Server(self.program(name), *(arguments or ("--port", "0")))

    def run(self, name, *arguments):
        return subprocess.run([self.program(name)] + list(arguments),
                              capture_output=True, text=True, timeout=60)

    def transcript(self, server):
        done = self.run("route_guide_client", "--at", server.address)
        if done.returncode:
            raise AssertionError(done.stdout + done.stderr)
        return done.stdout

    def expected(self):
        with open(os.path.join(HERE, "route_guide.txt")) as file:
            return file.read()


def greets(examples, *arguments):
    with examples.server("hello_server", *arguments) as server:
        done = examples.run("hello_client", "--at", server.address)
        same(done.stdout + done.stderr, "Hello, world!\n")


def test_hello_over_ipv4(examples):
    greets(examples, "--host", "127.0.0.1", "--port", "0")


def test_hello_over_ipv6(examples):
    greets(examples, "--host", "::1", "--port", "0")


def test_hello_over_a_unix_socket(examples):
    path = os.path.join(deps.cache_dir("examples"), "hello.sock")
    greets(examples, "--at", "unix:" + path)


def test_hello_answers_eight_calls_at_once(examples):
    """Their replies are larger than the requests and, together, than the
    transmit buffer: each waits in its call's RX_BYTES."""
    import grpc
    request, name = b"\x0a\x1f" + b"n" * 31, b"n" * 31
    with examples.server("hello_server") as server:
        with grpc.insecure_channel(server.address) as channel:
            call = channel.unary_unary("/hello.Greeter/SayHello")
            for _ in range(50):
                answers = [call.future(request, timeout=20) for _ in range(8)]
                same({answer.code().name if answer.exception()
                      else answer.result() for answer in answers},
                     {b"\x0a\x27Hello, " + name + b"!"})


def test_route_guide_says_what_it_always_says(examples):
    with examples.server("route_guide_server") as server:
        same(examples.transcript(server), examples.expected())


def test_route_guide_client_says_the_same_with_a_grpcio_server(examples):
    with Server(PEER, "server") as server:
        same(examples.transcript(server), examples.expected())


def test_route_guide_remembers_notes_from_client_to_client(examples):
    with examples.server("route_guide_server") as server:
        first = examples.transcript(server).count("heard")
        second = examples.transcript(server).count("heard")
        same((first, second), (3, 15))


def test_route_guide_serves_many_clients_at_once(examples):
    def quiet(text):  # what one hears depends on who came before
        return "\n".join(line for line in text.splitlines()
                         if "heard" not in line)
    with examples.server("route_guide_server") as server:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            texts = set(pool.map(lambda _: quiet(examples.transcript(server)),
                                 range(24)))
    same(texts, {quiet(examples.expected())})


def test_a_server_says_one_line_and_ends_well_on_a_signal(examples):
    with examples.server("route_guide_server") as server:
        examples.transcript(server)
        server.process.signal(signal.SIGTERM)
        same(server.process.wait(10), 0)
        same(re.sub(r"\d+\n", "N\n", server.process.output()),
             "listening on 127.0.0.1:N\n")


def test_a_server_ends_on_a_second_signal_though_a_call_is_open(examples):
    import socket
    with examples.server("route_guide_server") as server:
        host, port = server.address.split(":")
        with socket.create_connection((host, int(port))):
            time.sleep(0.2)
            server.process.signal(signal.SIGTERM)
            time.sleep(0.2)
            server.process.signal(signal.SIGTERM)
            same(server.process.wait(3), 0)


def test_a_server_says_what_to_do_when_its_port_is_taken(examples):
    with examples.server("hello_server") as server:
        done = examples.run("hello_server", "--at", server.address)
        same((done.returncode, "take another port" in done.stderr), (1, True))


def test_a_client_says_what_to_do_when_nobody_is_there(examples):
    for name in ("hello_client", "route_guide_client"):
        done = examples.run(name, "--port", str(deps.free_port()))
        same((done.returncode, "is the server running" in done.stderr),
             (1, True))


def test_all_examples_explain_their_options(examples):
    for name in ("hello_client", "hello_server", "route_guide_client",
                 "route_guide_server"):
        done = examples.run(name, "--what")
        same((done.returncode, "usage:" in done.stderr), (2, True))


def grpcio_client(examples):
    """The peer's own count of its tests."""
    with examples.server("route_guide_server") as server:
        done = subprocess.run(
            [PEER, "client", "--port", str(server.port)],
            capture_output=True, text=True, timeout=200)
        print(done.stdout.rsplit("\n", 2)[0])
        if done.stderr:
            print(done.stderr)
        found = re.search(r"(\d+) passed, (\d+) failed\n$", done.stdout)
        if not server.process.running():
            print("FAIL the server did not survive it")
            return 0, 1
        return (int(found.group(1)), int(found.group(2))) if found else (0, 1)


def main():
    options = parser(__doc__).parse_args()
    need("python3-grpcio", "python3-protobuf", "protobuf-compiler")
    examples = Examples(options.bin)
    passed, failed = run_tests(globals(), examples)
    more = grpcio_client(examples)
    passed, failed = passed + more[0], failed + more[1]
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
