#!/usr/bin/env python3
"""connectrpc/conformance on our server and our client.

    tests/conformance/connect.py                  all rows, both modes
    tests/conformance/connect.py --mode client --row A
    tests/conformance/connect.py --version v1.0.5

Its runner, connectconformance, and the .proto files of the service it tests
come through the Go module proxy, at the version that tests/versions.txt pins;
conformance_server and conformance_client are then built with the CMake preset
"host". The runner plays the other side twice over: with its own client and
server, on connect-go, and with grpc-go's. In mode "both" it lets our client
call our server.

No case may fail, and none is known to: there is no list of such. A run of other
cases than are counted below has failed too. What the runner says is kept in
build/cache/logs. The last line is the count.
"""
import argparse
import collections
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools", "lib"))
import deps
import golang
import results

MODULE = "connectrpc.com/conformance"
PACKAGES = ("gcc", "libc6-dev", "cmake", "ninja-build", "protobuf-compiler",
            "libprotobuf-dev", "nanopb", "libnanopb-dev", "python3-protobuf")
MODES = ("server", "client", "both")
GRPC = re.compile(r"/\(grpc (client|server) impl\)/")

# ---- what is run ---------------------------------------------------------

# A configuration: what the programs can do, as the runner's file says it, and
# how many cases that makes, for each version of the runner: (its own client,
# grpc-go's client) on our server, (its own server, grpc-go's) on our client,
# and our client on our server.
Row = collections.namedtuple("Row", "name about features counts")


def features(protocols=("GRPC",), compressions=("IDENTITY",), tls=False,
             client_certs=False):
    return {"protocols": protocols, "compressions": compressions, "tls": tls,
            "client_certs": client_certs}


# Other rows are a line each, as soon as the programs can do what it says, e.g.
#   B compressions=("IDENTITY", "GZIP")   v1.0.7: (194, 180), (235, 174), ...
#   C tls=True                            v1.0.7: (212, 92), (260, 87), ...
#   D tls=True, client_certs=True         v1.0.7: (213, 92), (261, 87), ...
#   F protocols=("GRPC", "GRPC_WEB")      v1.0.7: (212, 92), (266, 174), ...
ROWS = (
    Row("A", "gRPC, h2c, identity", features(),
        {"v1.0.5": ((104, 92), (124, 87), (76, 0)),
         "v1.0.7": ((106, 92), (130, 87), (76, 0))}),
)

CONFIGURATION = """features:
  versions: [HTTP_VERSION_2]
  protocols: [%s]
  codecs: [CODEC_PROTO]
  compressions: [%s]
  streamTypes:
    - STREAM_TYPE_UNARY
    - STREAM_TYPE_CLIENT_STREAM
    - STREAM_TYPE_SERVER_STREAM
    - STREAM_TYPE_HALF_DUPLEX_BIDI_STREAM
    - STREAM_TYPE_FULL_DUPLEX_BIDI_STREAM
  supportsH2c: true
  supportsTls: %s
  supportsTlsClientCerts: %s
  supportsMessageReceiveLimit: true
  supportsTrailers: true
"""


def configuration(row):
    """The path of the runner's configuration file for a row."""
    path = os.path.join(deps.cache_dir("conformance"), row.name + ".yaml")
    with open(path, "w") as file:
        file.write(CONFIGURATION % (
            ", ".join("PROTOCOL_" + one for one in row.features["protocols"]),
            ", ".join("COMPRESSION_" + one
                      for one in row.features["compressions"]),
            str(row.features["tls"]).lower(),
            str(row.features["client_certs"]).lower()))
    return path


# ---- getting it ----------------------------------------------------------

def prepare(version, preset):
    """The runner's path and the directory of our two programs."""
    deps.apt(*PACKAGES)
    runner = golang.tool("connectconformance", version)
    protos = os.path.join(golang.module(MODULE, version), "proto")
    place = os.path.join(ROOT, "build", preset)
    deps.run_quietly("configuring the conformance programs",
                     ["cmake", "--preset", preset,
                      "-DCGRPC_CONFORMANCE_PROTO=" + protos], cwd=ROOT)
    deps.run_quietly("building the conformance programs",
                     ["cmake", "--build", place, "--target",
                      "conformance_server", "conformance_client"])
    return runner, os.path.join(place, "bin")


# ---- running it ----------------------------------------------------------

class Outcome:
    """What the runner said of one row in one mode."""

    def __init__(self, output, code):
        self.code = code
        self.ran = re.findall(r'^Received response for "(.*)"\.\.\.$', output,
                              re.M)
        self.failed = dict(re.findall(
            r"^FAILED: (.*):\n((?:\t.*\n?)*)", output, re.M))
        found = re.search(r"^Total cases: (\d+)\n(\d+) passed, (\d+) failed$",
                          output, re.M)
        self.total, self.passed = map(int, found.group(1, 2)) if found \
            else (0, 0)
        self.odd = re.findall(
            r"^(?:Another \d+ could not|\(Another \d+ failed|timed out).*",
            output, re.M)

    def cases(self, grpc):
        """Those that the runner's own peer ran, or grpc-go's."""
        return [name for name in self.ran if bool(GRPC.search(name)) == grpc]

    def wrong(self, counts):
        """What is amiss with the run as a whole."""
        made = (len(self.cases(False)), len(self.cases(True)))
        if made != counts:
            yield "%d + %d cases instead of %d + %d" % (made + counts)
        if len(set(self.ran)) != len(self.ran) or self.total != len(self.ran):
            yield "the runner counts %d cases and names %d" % (
                self.total, len(set(self.ran)))
        if self.passed != len(self.ran) - len(self.failed):
            yield "the runner counts %d that passed and names %d failures" % (
                self.passed, len(self.failed))
        yield from self.odd
        if self.code and not self.failed:
            yield "the runner ended with exit code %d" % self.code


def run(runner, programs, row, mode, options):
    command = [runner, "--conf", configuration(row), "--mode", mode, "--vv"]
    if options.trace:
        command += ["--trace"]
    if mode == "server":
        command += ["--parallel", "16"]
    for pattern in options.run:
        command += ["--run", pattern]
    client, server = (os.path.join(programs, "conformance_" + side)
                      for side in ("client", "server"))
    command += ["--"] + {"server": [server], "client": [client],
                         "both": [client, "----", server]}[mode]
    log = os.path.join(deps.cache_dir("logs"),
                       "connectconformance-%s-%s.log" % (row.name, mode))
    with deps.Process(command, log) as process:
        code = process.wait(options.timeout)
        if code is None:
            deps.die("the runner was not done after %g s:\n%s" % (
                options.timeout, deps.tail(log)))
        return Outcome(process.output(), code)


def show(outcome):
    """A line for each suite, with what failed below it."""
    suites = collections.Counter(name.split("/")[0] for name in outcome.ran)
    for suite, count in sorted(suites.items()):
        bad = sorted(name for name in outcome.failed
                     if name.split("/")[0] == suite)
        print("  %s %-32s %3d passed of %3d" % (
            "FAIL" if bad else "ok  ", suite, count - len(bad), count))
        for name in bad:
            print("    FAIL %s\n%s" % (name, outcome.failed[name].rstrip()))


def rows_of(outcome, row, mode, version):
    """For the matrix: a row for each peer."""
    peers = ((False, "cgrpc"),) if mode == "both" else (
        (False, "connect-go, the reference"), (True, "grpc-go"))
    for grpc, peer in peers:
        names = outcome.cases(grpc)
        bad = [name for name in names if name in outcome.failed]
        yield {"suite": "connectrpc/conformance %s, %s: %s" % (
                   version, row.name, row.about),
               "peer": peer, "ours": mode, "passed": len(names) - len(bad),
               "run": len(names),
               "notes": ["%s: %s" % (name, outcome.failed[name].strip())
                         for name in bad]}


def judge(row, mode, options, outcome):
    """Shows what came of a run. Counts: (passed, failed)."""
    print("%s, our %s: %s" % (
        row.name, "client on our server" if mode == "both" else mode,
        row.about))
    show(outcome)
    counts = row.counts[options.version][MODES.index(mode)]
    wrong = [] if options.run else list(outcome.wrong(counts))
    for text in wrong:
        print("  FAIL %s" % text)
    sys.stdout.flush()
    return (len(outcome.ran) - len(outcome.failed),
            len(outcome.failed) + len(wrong))


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--mode", choices=MODES, action="append")
    parser.add_argument("--row", choices=[row.name for row in ROWS],
                        action="append")
    parser.add_argument("--version", default=deps.version(MODULE))
    parser.add_argument("--preset", default="host",
                        help="CMake preset to build with (host)")
    parser.add_argument("--run", action="append", default=[],
                        metavar="PATTERN", help="only these cases: then the "
                        "number of cases is not looked at")
    parser.add_argument("--trace", action="store_true", help="the runner's "
                        "log shows the HTTP of what fails, seconds later")
    parser.add_argument("--timeout", type=float, default=300, metavar="S",
                        help="of one row in one mode (300)")
    return parser.parse_args()


def main():
    options = arguments()
    rows = [row for row in ROWS if not options.row or row.name in options.row]
    for row in rows:
        if options.version not in row.counts:
            deps.die("%s: nobody has counted its cases: add them to ROWS"
                     % options.version)
    try:
        runner, programs = prepare(options.version, options.preset)
    except deps.Missing as missing:
        deps.die(missing)
    passed = failed = 0
    for mode in options.mode or MODES:
        matrix = []
        for row in rows:
            outcome = run(runner, programs, row, mode, options)
            counts = judge(row, mode, options, outcome)
            passed, failed = passed + counts[0], failed + counts[1]
            matrix += rows_of(outcome, row, mode, options.version)
        if not options.run:
            results.write("connect-" + mode, matrix)
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
