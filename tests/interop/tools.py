#!/usr/bin/python3
"""The tools that people point at a gRPC server, pointed at ours: grpcurl and
ghz, and curl, nghttp and h2load, which speak HTTP/2 and know nothing of gRPC.

    tests/interop/tools.py --bin build/host/bin
    tests/interop/tools.py --bin build/host/bin --only h2load

grpcurl and ghz come through the Go module proxy, at the versions that
tests/versions.txt pins; the others are Debian's.
"""
import json
import os
import re
import select
import shutil
import subprocess
import time

from cases import Cases, Server, check, need, parser, same
import deps
import ghz
import golang
from peer_programs import PROTOS

PACKAGES = ("curl", "nghttp2-client", "grpc-proto", "python3-grpcio",
            "python3-protobuf", "protobuf-compiler")
need(*PACKAGES)
import route_guide_peer as guide  # needs them

GUIDE = os.path.join(deps.ROOT, "examples/route_guide/route_guide.proto")
SERVICE = "routeguide.RouteGuide"
PATH = "/%s/" % SERVICE
EMPTY = b"\0\0\0\0\0"           # a message of no bytes
NOWHERE = b"\0\0\0\0\2\x12\0"  # the reply to it: a Feature, no name
WINDOW = 125 + 5  # routeguide_RouteGuide_RX_BYTES and a prefix
REFUSAL = "This server answers gRPC calls only.\n"
GRPC = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
WORLD = {"lo": {"latitude": -900000000, "longitude": -1800000000},
         "hi": {"latitude": 900000000, "longitude": 1800000000}}


def framed(message):
    """A message as it stands on the wire: flag, length, bytes."""
    data = message.SerializeToString()
    return b"\0" + len(data).to_bytes(4, "big") + data


def framed_world():
    return framed(guide.pb.Rectangle(lo=guide.pb.Point(**WORLD["lo"]),
                                     hi=guide.pb.Point(**WORLD["hi"])))


class Done:
    def __init__(self, code, out, err, seconds):
        self.code, self.out, self.err = code, out, err
        self.seconds = seconds

    @property
    def text(self):
        return self.out.decode(errors="replace")

    def __str__(self):
        return "exit %d\n%s\n%s" % (self.code, self.text[-1500:],
                                    self.err[-500:])


def run(command, stdin=b"", timeout=30):
    began = time.monotonic()
    done = subprocess.run(command, input=stdin, capture_output=True,
                          timeout=timeout)
    return Done(done.returncode, done.stdout,
                done.stderr.decode(errors="replace"),
                time.monotonic() - began)


class World:
    """The servers and the tools."""

    def __init__(self, directory, place):
        self.directory, self.place = directory, place
        self.servers = []

    def start(self, name, *arguments):
        self.servers.append(Server(os.path.join(self.directory, name),
                                   *arguments).start())
        return self.servers[-1]

    def stop(self):
        for server in self.servers:
            server.stop()

    def still_runs(self):
        for server in (self.guide, self.tester):
            check(server.process.running(), server.process.output())

    def file(self, name, content):
        path = os.path.join(self.place, name)
        with open(path, "wb") as out:
            out.write(content)
        return path

    def url(self, path, at=None):
        return "http://" + (at or self.guide.address) + path

    # ---- grpcurl

    def grpcurl_command(self, *arguments, proto=None, at=None):
        proto = proto or GUIDE
        call = arguments[-1]
        return [golang.tool("grpcurl"), "-plaintext", "-import-path",
                os.path.dirname(proto), "-proto", os.path.basename(proto)] \
            + list(arguments[:-1]) + [at or self.guide.address, call]

    def grpcurl(self, *arguments, stdin=b"", **keywords):
        return run(self.grpcurl_command(*arguments, **keywords), stdin)

    def interop(self, *arguments, **keywords):
        return run([golang.tool("grpcurl"), "-plaintext", "-import-path",
                    PROTOS, "-proto", "grpc/testing/test.proto"]
                   + list(arguments[:-1])
                   + [self.tester.address, arguments[-1]], **keywords)


def replies(done):
    """The JSON values that grpcurl prints, one after the other."""
    found, at, text = [], 0, done.text.strip()
    while at < len(text):
        value, at = json.JSONDecoder().raw_decode(text, at)
        found.append(value)
        while at < len(text) and text[at].isspace():
            at += 1
    return found


def as_json(feature):
    place = {}
    if feature.location.latitude:
        place["latitude"] = feature.location.latitude
    if feature.location.longitude:
        place["longitude"] = feature.location.longitude
    out = {"location": place}
    if feature.name:
        out["name"] = feature.name
    return out


def succeeds(done, wanted):
    check(done.code == 0, done)
    same(replies(done), wanted)


STATUSES = ["Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded",
            "NotFound", "AlreadyExists", "PermissionDenied",
            "ResourceExhausted", "FailedPrecondition", "Aborted",
            "OutOfRange", "Unimplemented", "Internal", "Unavailable",
            "DataLoss", "Unauthenticated"]  # from 1 on


def fails(done, status, message):
    """grpcurl's exit code is 64 and the status."""
    same(done.err, "ERROR:\n  Code: %s\n  Message: %s\n" % (status, message))
    same(done.code, 64 + STATUSES.index(status) + 1)


# ---- grpcurl ---------------------------------------------------------------

def finds_features(w):
    for feature in guide.FEATURES[::16] + [guide.find_feature(
            guide.pb.Point(latitude=1, longitude=2))]:
        point = as_json(feature)["location"]
        succeeds(w.grpcurl("-d", json.dumps(point), SERVICE + "/GetFeature"),
                 [as_json(feature)])


def shows_headers_and_trailers(w):
    done = w.grpcurl("-v", "-d", "{}", SERVICE + "/GetFeature")
    same(done.text[done.text.index("Response headers"):],
         "Response headers received:\ncontent-type: application/grpc\n\n"
         "Response contents:\n{\n  \"location\": {}\n}\n\n"
         "Response trailers received:\n(empty)\n"
         "Sent 1 request and received 1 response\n")


def lists_all_features(w):
    succeeds(w.grpcurl("-d", json.dumps(WORLD), SERVICE + "/ListFeatures"),
             [as_json(feature) for feature in guide.FEATURES])


def sums_up_500_points(w):
    points = guide.spread(500)
    done = w.grpcurl("-d", "@", SERVICE + "/RecordRoute", stdin="".join(
        '{"latitude": %d, "longitude": %d}' % (p.latitude, p.longitude)
        for p in points).encode())
    check(done.code == 0, done)
    answer, = replies(done)
    same((answer["pointCount"], answer["featureCount"]), (500, 500))
    exact = guide.summary(points).distance
    check(abs(answer["distance"] - exact) <= 10 + exact / 1e6, done)


def sums_up_an_empty_walk(w):
    succeeds(w.grpcurl("-d", "@", SERVICE + "/RecordRoute"), [{}])


def reads_until(stream, wanted, seconds=10):
    """What `stream` says until it ends with `wanted`."""
    said, end = b"", time.monotonic() + seconds
    while not said.endswith(wanted):
        left = end - time.monotonic()
        if left <= 0 or not select.select([stream], [], [], left)[0]:
            raise AssertionError("no %r but %r" % (wanted, said))
        more = os.read(stream.fileno(), 65536)
        if not more:
            raise AssertionError("ended after %r" % said)
        said += more
    return said


def chats_while_stdin_is_open(w):
    process = subprocess.Popen(
        w.grpcurl_command("-d", "@", SERVICE + "/RouteChat"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, preexec_fn=deps.die_with_parent)
    try:
        for number in range(20):
            process.stdin.write(b'{"location": {"latitude": 4711, '
                                b'"longitude": %d}, "message": "m"}\n'
                                % (number // 2))
            process.stdin.flush()
            if number % 2:
                reads_until(process.stdout, b'\n  "message": "m"\n}\n')
        process.stdin.close()
        same((process.wait(10), process.stdout.read(),
              process.stderr.read()), (0, b"", b""))
    finally:
        process.kill()
        process.wait()


def more_methods(w):
    """The path of a proto that has more than the server."""
    with open(GUIDE) as file:
        text = file.read().replace("service RouteGuide {", "service Other {\n"
                                   "  rpc GetFeature(Point) returns (Point);"
                                   "\n}\nservice RouteGuide {\n"
                                   "  rpc Nothing(Point) returns (Point);")
    return w.file("more.proto", text.encode())


def names_an_unknown_method(w):
    proto = more_methods(w)
    for call in ("RouteGuide/Nothing", "Other/GetFeature"):
        fails(w.grpcurl("-d", "{}", "routeguide." + call, proto=proto),
              "Unimplemented", "no such method")


def refuses_a_long_message(w):
    fails(w.grpcurl("-d", json.dumps({"message": "x" * 20000}),
                    SERVICE + "/RouteChat"),
          "ResourceExhausted", "message over the receiver's limit")


SLOW = {"responseParameters": [{"size": 1}, {"size": 1,
                                             "intervalUs": 20000000}]}


def holds_deadlines(w):
    """The second message would come after 20 seconds."""
    for seconds in (0.2, 1):
        done = w.interop("-max-time", str(seconds), "-d", json.dumps(SLOW),
                         "grpc.testing.TestService/StreamingOutputCall")
        same((done.code, len(replies(done))), (64 + 4, 1))
        check("Code: DeadlineExceeded" in done.err, done)
        check(seconds <= done.seconds < seconds + 2, done.seconds)


def survives_40_killed_clients(w):
    """More than the server has calls: each must come back."""
    for batch in range(8):
        clients = [subprocess.Popen(
            w.grpcurl_command("-d", "@", SERVICE + "/RouteChat"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            preexec_fn=deps.die_with_parent) for _ in range(5)]
        try:
            for client in clients:
                client.stdin.write(b'{"location": {"latitude": 4712}, '
                                   b'"message": "k"}\n')
                client.stdin.flush()
            for client in clients:
                if batch:
                    reads_until(client.stdout, b'"k"\n}\n')
                else:
                    time.sleep(0.02)
        finally:
            for client in clients:
                client.kill()
                client.communicate()
    finds_features(w)


def says_that_there_is_no_reflection(w):
    done = run([golang.tool("grpcurl"), "-plaintext", w.guide.address,
                "list"])
    same((done.code, done.err), (1, "Failed to list services: server does "
                                    "not support the reflection API\n"))


def skips_metadata_that_it_does_not_keep(w):
    more = []
    for number in range(40):
        more += ["-H", "key-%d: %s" % (number, "v" * number * 5)]
    more += ["-H", "some-bin: " + "AAEC" * 50, "-H", "large: " + "x" * 3000,
             "-user-agent", "somebody", "-authority", "guide.example"]
    succeeds(w.grpcurl(*more, "-d", "{}", SERVICE + "/GetFeature"),
             [{"location": {}}])


def works_over_a_unix_socket(w):
    path = os.path.join(w.place, "guide.sock")
    w.start("route_guide_server", "--at", "unix:" + path)
    succeeds(w.grpcurl("-unix", "-authority", "guide", "-d", json.dumps(WORLD),
                       SERVICE + "/ListFeatures", at=path),
             [as_json(feature) for feature in guide.FEATURES])


def works_over_ipv6(w):
    server = w.start("route_guide_server", "--host", "::1", "--port", "0")
    succeeds(w.grpcurl("-d", "{}", SERVICE + "/GetFeature",
                       at=server.address), [{"location": {}}])


def echoes_metadata(w):
    done = w.interop(
        "-v", "-H", "x-grpc-test-echo-initial: one initial",
        "-H", "x-grpc-test-echo-trailing-bin: q6ur", "-d",
        '{"responseParameters": [{"size": 3}]}',
        "grpc.testing.TestService/FullDuplexCall")
    check(done.code == 0, done)
    said = done.text[done.text.index("Response headers"):]
    same(re.findall(r"^(?:Response|x-grpc|content-type)\S*.*$", said, re.M),
         ["Response headers received:", "content-type: application/grpc",
          "x-grpc-test-echo-initial: one initial", "Response contents:",
          "Response trailers received:",
          "x-grpc-test-echo-trailing-bin: q6ur"])


def echoes_every_status(w):
    for code, status in enumerate(STATUSES, 1):
        why = "why: %d %%" % code
        fails(w.interop("-d", json.dumps({"responseStatus": {
            "code": code, "message": why}}),
            "grpc.testing.TestService/UnaryCall"), status, why)


def carries_large_messages(w):
    done = w.interop("-d", "@", "grpc.testing.TestService/UnaryCall",
                     stdin=json.dumps({"responseSize": 314159, "payload": {
                         "body": "AAAA" * 100000}}).encode())
    check(done.code == 0, done)
    same(len(replies(done)[0]["payload"]["body"]), (314159 + 2) // 3 * 4)


GRPCURL = [
    ("unary: features, and an unknown point", finds_features),
    ("-v: exact headers and trailers", shows_headers_and_trailers),
    ("server streaming: all 64 features in order", lists_all_features),
    ("client streaming: 500 points by -d @", sums_up_500_points),
    ("client streaming: none", sums_up_an_empty_walk),
    ("bidi: 20 notes, answered while stdin is open",
     chats_while_stdin_is_open),
    ("an unknown method, an unknown service", names_an_unknown_method),
    ("a message over the server's limit", refuses_a_long_message),
    ("-max-time ends calls in time", holds_deadlines),
    ("40 clients killed within a stream", survives_40_killed_clients),
    ("list: no reflection", says_that_there_is_no_reflection),
    ("metadata that nobody asked for, 10 KB of it",
     skips_metadata_that_it_does_not_keep),
    ("a unix socket", works_over_a_unix_socket),
    ("IPv6", works_over_ipv6),
    ("metadata both ways, text and -bin", echoes_metadata),
    ("all 16 statuses with a message", echoes_every_status),
    ("300 KB up, 314,159 bytes down", carries_large_messages),
]


# ---- ghz -------------------------------------------------------------------

def ghz_calls(w, method, data, n, *options):
    """n calls, all answered, in sane times."""
    report = ghz.run(w.guide.address, GUIDE, "%s.%s" % (SERVICE, method), data,
                     n, *options)
    check(not any(one["error"] for one in report["details"]), "errors")
    spread = report["latencyDistribution"]
    times = [report["fastest"]] + [s["latency"] for s in spread] \
        + [report["slowest"]]
    same([s["percentage"] for s in spread], [10, 25, 50, 75, 90, 95, 99])
    check(0 < times[0] and times == sorted(times) and times[-1] < 10e9, times)
    check(times[0] <= report["average"] <= times[-1], report["average"])
    check(report["rps"] > 100, report["rps"])
    return "%.0f calls/s, median %.1f ms, 99%% %.1f ms" % (
        report["rps"], times[3] / 1e6, times[7] / 1e6)


def ghz_unary(w):
    return ghz_calls(w, "GetFeature", {"latitude": 465209724,
                                 "longitude": 89847639},
               10000, "-c", "20", "--connections", "5")


def ghz_many_connections(w):
    return ghz_calls(w, "GetFeature", {}, 5000, "-c", "30",
               "--connections", "15")


def ghz_server_streaming(w):
    return ghz_calls(w, "ListFeatures", WORLD, 1000, "-c", "10",
               "--connections", "3")


def ghz_client_streaming(w):
    points = [{"latitude": p.latitude, "longitude": p.longitude}
              for p in guide.spread(20)]
    return ghz_calls(w, "RecordRoute", points, 2000, "-c", "10",
               "--connections", "3")


def ghz_bidi(w):
    notes = [{"location": {"latitude": 5000 + n}, "message": "ghz"}
             for n in range(10)]
    return ghz_calls(w, "RouteChat", notes, 1000, "-c", "10",
               "--connections", "3")


def ghz_unknown(w):
    ghz.run(w.guide.address, more_methods(w), SERVICE + ".Nothing", {}, 1000,
            "-c", "10", "--connections", "2", wanted="Unimplemented")


GHZ = [
    ("10,000 unary calls on 5 connections", ghz_unary),
    ("5,000 on 15 connections, 30 at a time", ghz_many_connections),
    ("1,000 server streams, 64,000 features", ghz_server_streaming),
    ("2,000 client streams, 40,000 points", ghz_client_streaming),
    ("1,000 bidi streams of 10 notes", ghz_bidi),
    ("1,000 calls of an unknown method", ghz_unknown),
]


# ---- curl ------------------------------------------------------------------

def curl(w, path, *arguments, at=None):
    """(status line, headers, body, trailers) of an exchange that ended well
    within 10 seconds. Each has its own connection: curl 7.88 cannot use one
    twice with --http2-prior-knowledge, not with grpcio's server either."""
    heads, body = w.file("heads", b""), w.file("body", b"")
    done = run(["curl", "-sS", "--max-time", "10",
                "--http2-prior-knowledge", "-D", heads, "-o", body]
               + list(arguments) + [w.url(path, at)])
    check(done.code == 0, done)
    with open(heads) as file:
        blocks = [block.split("\n") for block in file.read().split("\n\n")]
    with open(body, "rb") as file:
        content = file.read()
    headers = [line for line in blocks[0][1:] if line]
    return (blocks[0][0].strip(), headers, content,
            [line for block in blocks[1:] for line in block if line])


REFUSED_415 = ("HTTP/2 415", ["content-type: text/plain"], REFUSAL.encode(),
               [])
REFUSED_405 = ("HTTP/2 405", ["content-type: text/plain", "allow: POST"],
               REFUSAL.encode(), [])
ALL_WELL = ("HTTP/2 200", ["content-type: application/grpc"], NOWHERE,
            ["grpc-status: 0"])


def curl_get(w):
    for path in ("/", "/favicon.ico", PATH + "GetFeature", "/" + "x" * 4000):
        same(curl(w, path), REFUSED_415)


def curl_types(w):
    for kind in ("application/json", "application/grpc-web", "image/jpeg",
                 "application/grpcx", "application"):
        same(curl(w, PATH + "GetFeature", "-d", "{}", "-H",
                  "content-type: " + kind), REFUSED_415)


def curl_head(w):
    same(curl(w, "/", "-I")[:3], REFUSED_415[:2] + (b"HTTP/2 415 \r\n"
         b"content-type: text/plain\r\n\r\n",))
    same(curl(w, PATH + "GetFeature", "-I", *GRPC)[1], REFUSED_405[1])


def curl_methods(w):
    for method in ("GET", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"):
        same(curl(w, PATH + "GetFeature", "-X", method, *GRPC), REFUSED_405)


def curl_call(w):
    message = w.file("empty", EMPTY)
    for more in ([], ["-H", "grpc-timeout: 5S"], ["-H", "user-agent: x/1"],
                 ["-H", "content-type: application/grpc+proto"],
                 ["-H", "cookie: a=b; c=d"], ["-H", "grpc-encoding: identity"],
                 ["-H", "x: " + "y" * 9000]):
        same(curl(w, PATH + "GetFeature", *GRPC, *more, "--data-binary",
                  "@" + message), ALL_WELL)


# An answer without a message may come before curl 7.88 has sent its body; it
# then misses its own end of the stream and waits for it. So these have none.

def curl_unknown(w):
    for path in ("/", "/a.B/C", PATH, PATH + "Nothing", PATH + "GetFeature/"):
        same(curl(w, path, "-X", "POST", *GRPC),
             ("HTTP/2 200", ["content-type: application/grpc",
                             "grpc-status: 12",
                             "grpc-message: no such method"], b"", []))


def curl_compressed(w):
    same(curl(w, PATH + "GetFeature", "-X", "POST", *GRPC, "-H",
              "grpc-encoding: gzip"),
         ("HTTP/2 200", ["content-type: application/grpc", "grpc-status: 12",
                         "grpc-accept-encoding: identity",
                         "grpc-message: unknown grpc-encoding"], b"", []))


def curl_nothing(w):
    same(curl(w, PATH + "GetFeature", "-X", "POST", *GRPC),
         ("HTTP/2 200", ["content-type: application/grpc", "grpc-status: 12",
                         "grpc-message: no message where one was expected"],
          b"", []))


def curl_deadline(w):
    """The server itself ends the stream: curl has no deadline of its own."""
    pb = w.file("slow", b"\0\0\0\0\x0d" b"\x12\x02\x08\x01"
                b"\x12\x07\x08\x01\x10\x80\xda\xc4\x09")
    began = time.monotonic()
    same(curl(w, "/grpc.testing.TestService/StreamingOutputCall", *GRPC, "-H",
              "grpc-timeout: 300m", "--data-binary", "@" + pb,
              at=w.tester.address),
         ("HTTP/2 200", ["content-type: application/grpc"],
          b"\0\0\0\0\5\x0a\3\x12\1\0",
          ["grpc-status: 4", "grpc-message: deadline exceeded"]))
    check(0.3 <= time.monotonic() - began < 2, "late")


def curl_list(w):
    """64 messages as they stand on the wire."""
    same(curl(w, PATH + "ListFeatures", *GRPC, "--data-binary",
              "@" + w.file("area", framed_world())),
         ("HTTP/2 200", ALL_WELL[1], b"".join(map(framed, guide.FEATURES)),
          ALL_WELL[3]))


def curl_http1(w):
    """It is told, in frames, that this is HTTP/2, and does not wait."""
    for version in ("--http1.1", "--http2", "--http1.0"):
        done = run(["curl", "-sS", "--max-time", "5", version, w.url("/")])
        check(done.code == 1 and "HTTP/0.9" in done.err, done)
        check(done.seconds < 2, done.seconds)


CURL = [
    ("GET: 415, whatever the path", curl_get),
    ("POST of other types: 415", curl_types),
    ("HEAD: headers and no body", curl_head),
    ("other methods of a gRPC request: 405 and Allow", curl_methods),
    ("a call by hand: exact bytes and trailers", curl_call),
    ("unknown paths: Trailers-Only, 12", curl_unknown),
    ("grpc-encoding gzip: 12, and what is accepted", curl_compressed),
    ("a unary call without a message: 12", curl_nothing),
    ("grpc-timeout: the server ends the stream", curl_deadline),
    ("a stream: exact bytes of 64 messages", curl_list),
    ("HTTP/1: refused at once", curl_http1),
]


# ---- nghttp ----------------------------------------------------------------

def nghttp(w, path, *arguments, data=EMPTY):
    more = ["-d", w.file("request", data)] if data is not None else []
    done = run(["nghttp"] + GRPC + more + list(arguments) + [w.url(path)])
    check(done.code == 0 and done.seconds < 5, done)
    check("[ERROR]" not in done.err + done.text
          and "not processed" not in done.err, done)
    return done


def received(done):
    """What -v says that the server sent: a line a frame or field, without
    times. Fields that are numbers of ours stay out."""
    lines = []
    for line in done.text.split("\n"):
        found = re.search(r"\[ *[\d.]+\] recv (?:\(stream_id=\d+\) )?(.*)", line)
        if found:
            lines.append(re.sub(r"stream_id=\d+|length=\d+, ", "",
                                found.group(1)).replace(", >", ">"))
    return lines


def nghttp_call(*options):
    def call(w):
        same(nghttp(w, PATH + "GetFeature", *options).out, NOWHERE)
    return call


def nghttp_verbose(w):
    """The whole answer; bytes of DATA stand between its lines."""
    done = nghttp(w, PATH + "GetFeature", "-v")
    lines = [line for line in received(done)
             if not line.startswith(("SETTINGS", "WINDOW_UPDATE"))]
    same(lines, [":status: 200", "content-type: application/grpc",
                 "HEADERS frame <flags=0x04>", "DATA frame <flags=0x00>",
                 "grpc-status: 0", "HEADERS frame <flags=0x05>"])
    check(NOWHERE in done.out, done)
    ours = re.search(r"recv SETTINGS frame <length=12,.*\n.*\n.*\n.*\n",
                     done.text)
    settings = re.findall(r"\[SETTINGS_(\w+)\(0x\d+\):(\d+)\]",
                          ours.group(0) if ours else "")
    same(settings, [("MAX_CONCURRENT_STREAMS", "32"),
                    ("INITIAL_WINDOW_SIZE", str(WINDOW))])


def nghttp_many(w):
    same(nghttp(w, PATH + "GetFeature", "-m", "32").out, NOWHERE * 32)


def nghttp_too_many(w):
    """It sends 100 requests before it knows that 32 are allowed; those that
    find no slot are refused, and the 100 that come later have one."""
    done = run(["nghttp", "-m", "200", "-d", w.file("request", EMPTY)] + GRPC
               + [w.url(PATH + "GetFeature")])
    found = re.search(r"total=200, processed=(\d+)\n", done.err)
    answered = int(found.group(1)) if found else 200
    check(132 <= answered, done)
    same(done.out, NOWHERE * answered)
    return "%d answered, %d refused" % (answered, 200 - answered)


def nghttp_refused(w):
    done = nghttp(w, "/a.B/C", "-v")
    same([line for line in received(done) if ": " in line],
         [":status: 200", "content-type: application/grpc", "grpc-status: 12",
          "grpc-message: no such method"])


def nghttp_plain(w):
    same(nghttp(w, "/", "-H", "content-type: text/html").text, REFUSAL)
    same(run(["nghttp", w.url("/")]).text, REFUSAL)


def nghttp_upload(w):
    """20,000 messages where one is expected: it is told to stop."""
    done = nghttp(w, PATH + "GetFeature", "-v", data=EMPTY * 20000)
    lines = [line for line in received(done)
             if not line.startswith(("SETTINGS", "WINDOW_UPDATE"))]
    same(lines, [":status: 200", "content-type: application/grpc",
                 "grpc-status: 12", "grpc-message: more than one message "
                 "where one was expected", "HEADERS frame <flags=0x05>",
                 "RST_STREAM frame <flags=0x00>"])
    check("error_code=NO_ERROR(0x00)" in done.text, done)


def nghttp_walk(w):
    """5,000 messages, of which 65,535 bytes are sent before nghttp knows that
    there is room for one: the rest waits until the handler has taken them."""
    message = framed(guide.FEATURES[0].location)
    for count in (5, 5000):
        done = nghttp(w, PATH + "RecordRoute", data=message * count)
        answer = guide.pb.RouteSummary.FromString(done.out[5:])
        same((answer.point_count, answer.feature_count, answer.distance),
             (count, count, 0))


def nghttp_chat(w):
    """The same with an answer to almost each."""
    message = framed(guide.pb.RouteNote(
        location=guide.pb.Point(latitude=77), message="n"))
    done = nghttp(w, PATH + "RouteChat", data=message * 60)
    same(done.out, message * (60 * 59 // 2))


def nghttp_upgrade(w):
    """Upgrade: h2c starts as HTTP/1.1, which is not spoken here."""
    done = run(["nghttp", "-u", w.url("/")])
    check("Some requests were not processed. total=1, processed=0"
          in done.err and done.seconds < 3, done)


NGHTTP = [
    ("a call", nghttp_call()),
    ("-v: every frame of the answer", nghttp_verbose),
    ("--no-dep", nghttp_call("--no-dep")),
    ("priorities: -p 256", nghttp_call("-p", "256")),
    ("no RFC 7540 priorities", nghttp_call("--no-rfc7540-pri")),
    ("--continuation", nghttp_call("--continuation")),
    ("--continuation, and 12 KB of fields",
     nghttp_call("--continuation", *sum((["-H", "k%d: %s" % (n, "v" * 1000)]
                                         for n in range(12)), []))),
    ("--padding 255", nghttp_call("-b", "255")),
    ("windows of 1 byte", nghttp_call("-w", "1", "-W", "1")),
    ("windows of 1 GB", nghttp_call("-w", "30", "-W", "30")),
    ("--header-table-size 0", nghttp_call("-c", "0")),
    ("--encoder-header-table-size 0",
     nghttp_call("--encoder-header-table-size", "0")),
    ("header tables of 64 KB", nghttp_call(
        "-c", "65536", "--encoder-header-table-size", "65536")),
    ("--no-content-length", nghttp_call("--no-content-length")),
    ("--expect-continue", nghttp_call("--expect-continue")),
    ("--trailer: a request with trailers", nghttp_call("--trailer", "a: b")),
    ("32 calls on one connection", nghttp_many),
    ("200 calls on one connection", nghttp_too_many),
    ("an unknown method", nghttp_refused),
    ("what is no gRPC", nghttp_plain),
    ("an upload that is refused", nghttp_upload),
    ("5,000 messages up", nghttp_walk),
    ("60 messages up, 1,770 down", nghttp_chat),
    ("--upgrade: refused at once", nghttp_upgrade),
]


# ---- h2load ----------------------------------------------------------------

def h2load(w, n, path, *arguments, data=EMPTY, grpc=True):
    """(succeeded, failed, responses by class, bytes of DATA)"""
    more = ["-d", w.file("request", data)] if data is not None else []
    done = run(["h2load", "-n", str(n)] + (GRPC if grpc else [])
               + list(arguments) + more + [w.url(path)], timeout=60)
    check(done.code == 0, done)
    found = re.search(
        r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, "
        r"(\d+) failed, (\d+) errored, (\d+) timeout\nstatus codes: (\d+) "
        r"2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx\ntraffic: .* \((\d+)\) data",
        done.text)
    check(found, done)
    numbers = [int(number) for number in found.groups()]
    speed = re.search(r", ([\d.]+) req/s", done.text)
    return numbers, "%.0f requests/s" % float(speed.group(1))


def load(n, *options):
    """n calls, all of them answered, with the right number of bytes."""
    def case(w):
        numbers, speed = h2load(w, n, PATH + "GetFeature", *options)
        same(numbers, [n, n, n, n, 0, 0, 0, n, 0, 0, 0, n * len(NOWHERE)])
        return speed
    return case


def load_lists(w):
    each = sum(len(framed(feature)) for feature in guide.FEATURES)
    numbers, speed = h2load(w, 2000, PATH + "ListFeatures", "-c", "4", "-m",
                            "8", data=framed_world())
    same(numbers, [2000] * 4 + [0, 0, 0, 2000, 0, 0, 0, 2000 * each])
    return speed


def load_plain(w):
    """Under CGRPC_ABUSE_BURST (4000) a connection: after that many requests
    without a call in them it is closed."""
    numbers, speed = h2load(w, 3000, "/", "-c", "4", "-m", "8", grpc=False,
                            data=None)
    same(numbers, [3000] * 3 + [0, 3000, 0, 0, 0, 0, 3000, 0,
                                3000 * len(REFUSAL)])
    return speed


def load_uploads(w):
    """500 refused uploads of 100 KB: none of them holds its slot."""
    began = time.monotonic()
    numbers, speed = h2load(w, 500, PATH + "GetFeature", "-c", "2", "-m",
                            "10", data=EMPTY * 20000)
    same(numbers, [500] * 4 + [0, 0, 0, 500, 0, 0, 0, 0])
    check(time.monotonic() - began < 10, speed)
    return speed


def load_beyond(w):
    """128 calls at a time for 32 slots: each is answered, or refused with
    RST_STREAM(REFUSED_STREAM), which h2load counts as an error."""
    numbers, _ = h2load(w, 5000, PATH + "GetFeature", "-c", "8", "-m", "16")
    total, started, done, good, failed, errored, late = numbers[:7]
    same((total, started, done, good + errored, failed, late),
         (5000, 5000, 5000, 5000, errored, 0))
    same(numbers[7:], [good, 0, 0, 0, good * len(NOWHERE)])
    check(good >= 32, numbers)
    same(curl(w, PATH + "GetFeature", *GRPC, "--data-binary",
              "@" + w.file("empty", EMPTY)), ALL_WELL)
    return "%d answered, %d refused" % (good, errored)


H2LOAD = [
    ("20,000 calls, 4 connections of 8", load(20000, "-c", "4", "-m", "8")),
    ("5,000, one at a time", load(5000, "-c", "1", "-m", "1")),
    ("10,000, one connection of 32", load(10000, "-c", "1", "-m", "32")),
    ("10,000, 16 connections of 2", load(10000, "-c", "16", "-m", "2")),
    ("4,000, 40 clients for 16 places", load(4000, "-c", "40", "-m", "1")),
    ("2,000, windows of 1023 bytes", load(2000, "-c", "2", "-m", "8", "-w",
                                          "10", "-W", "10")),
    ("2,000, no header tables", load(
        2000, "-c", "2", "-m", "8", "--header-table-size", "0",
        "--encoder-header-table-size", "0")),
    ("2,000 streams, 128,000 features", load_lists),
    ("3,000 requests that are no calls: 415", load_plain),
    ("500 uploads of 100 KB that are refused", load_uploads),
    ("4 times as many calls as there are slots", load_beyond),
]


TOOLS = (
    ("grpcurl", lambda: deps.version("github.com/fullstorydev/grpcurl"),
     GRPCURL),
    ("ghz", lambda: deps.version("github.com/bojand/ghz"), GHZ),
    ("curl", lambda: deps.debian_version("curl"), CURL),
    ("nghttp", lambda: deps.debian_version("nghttp2-client"), NGHTTP),
    ("h2load", lambda: deps.debian_version("nghttp2-client"), H2LOAD),
)


def main():
    made = parser(__doc__)
    made.add_argument("--only", choices=[tool[0] for tool in TOOLS])
    options = made.parse_args()
    cases = Cases("tools", "gRPC and HTTP/2 tools")
    w = World(options.bin, deps.cache_dir("run", "tools-%d" % os.getpid()))
    try:
        w.guide = w.start("route_guide_server", "--port", "0")
        w.tester = w.start("interop_server", "--port", "0")
        for tool, version, list_ in TOOLS:
            if options.only not in (None, tool):
                continue
            with cases.peer("%s %s" % (tool, version()), "server"):
                for name, function in list_:
                    cases.run(name, function, w)
                cases.run("the servers still run", w.still_runs)
    finally:
        w.stop()
    if cases.all_passed():
        shutil.rmtree(w.place)
    cases.finish(publish=not options.only)


if __name__ == "__main__":
    main()
