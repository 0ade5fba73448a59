#!/usr/bin/python3
"""Builds everything and runs the tests.

    tools/test               all suites
    tools/test quick         the short ones: a minute or two together
    tools/test NAME...       these suites
    tools/test --list        names them

Debian packages that are missing are named, then installed. A suite's first run
also fetches and builds what it needs of Go, npm, Maven, crates and PyPI, which
takes minutes. What compilers and tests say goes to build/log/NAME.txt, which
can be followed meanwhile, and is shown when something fails.
The last line is the sum: N passed, N failed, N skipped.
"""
import argparse
import collections
import glob
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import build as toolchains
import deps

ROOT = deps.ROOT
LOG = os.path.join(ROOT, "build", "log")
PYTHON = sys.executable
COUNTS = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", re.M)
SKIP = re.compile(r"^\s*skip(?:ped)?:? (.+)$", re.M | re.I)
# What a suite found, for everybody to see: up to an empty line.
TABLE = re.compile(r"^table: (.+\n(?:.+\n)+)", re.M)

BUILD = ("gcc", "libc6-dev", "cmake", "ninja-build", "protobuf-compiler",
         "nanopb", "libnanopb-dev", "python3-protobuf", "grpc-proto")
CLANG = ("g++", "clang")
GRPC = ("python3-grpcio",)
INTEROP = GRPC + (
    "python3-google-auth", "python3-requests", "python3-coverage",
    "python3-six", "python3-pkg-resources", "protobuf-compiler-grpc",
    "dpkg-dev")
PEERS = INTEROP + ("g++", "libgrpc++-dev", "libprotobuf-dev", "libabsl-dev",
                   "pkg-config")
PROXIES = ("curl", "python3-pip", "liblua5.3-0", "libopentracing-c-wrapper0",
           "libapr1", "libaprutil1", "libjansson4", "libnghttp2-14")
MULTILIB = ("gcc-multilib", "g++-multilib", "pkg-config", "dpkg-dev")

# A step of a suite: what it is called, and the command. `counts` False: the
# command is one test by itself, which its exit code decides.
Step = collections.namedtuple("Step", "name command counts")
Suite = collections.namedtuple("Suite", "name about quick packages steps")


def step(name, *command, counts=True):
    return Step(name, list(command), counts)


def script(path, *arguments, counts=True):
    return step(path, PYTHON, os.path.join(ROOT, path), *arguments,
                counts=counts)


def bin_dir(preset):
    return os.path.join(ROOT, "build", preset, "bin")


def programs(preset, folder):
    """A step for each program that tests/<folder>/test_*.c becomes."""
    return [step(name, os.path.join(bin_dir(preset), name)) for name in sorted(
        os.path.splitext(os.path.basename(path))[0] for path in
        glob.glob(os.path.join(ROOT, "tests", folder, "test_*.c")))]


def build(preset, *targets):
    """The steps that build a preset; no tests, but they may fail."""
    where = os.path.join(ROOT, "build", preset)
    return [step("configure " + preset, "cmake", "--preset", preset,
                 counts=None),
            step("build " + preset, "cmake", "--build", where,
                 *(["--target"] + list(targets) if targets else []),
                 counts=None)]


def suites():
    host = bin_dir("host")
    guide = os.path.join(host, "route_guide_server")
    return [
        Suite("tables", "the generated tables of cgrpc.h are up to date",
              True, (), [script("tools/make_tables.py", "--check",
                                os.path.join(ROOT, "cgrpc.h"), counts=False)]),
        Suite("unit", "each part through the bytes that it eats and makes",
              True, BUILD, build("host") + programs("host", "unit")),
        Suite("port", "sockets, with epoll and with poll", True, BUILD,
              build("host") + programs("host", "port")
              + build("poll", *(s.name for s in programs("poll", "port")))
              + [s._replace(name=s.name + " (poll)")
                 for s in programs("poll", "port")]),
        Suite("simulation", "a server, clients and bad luck, by seed", True,
              BUILD, build("host")
              + [step("sim", os.path.join(host, "sim"), "--seeds", "2000")]),
        Suite("hpack", "HPACK against python3-hpack and libnghttp2", True,
              BUILD + ("python3-hpack", "libnghttp2-14"), build("host")
              + [script("tests/hpack/differential.py", "--bin", host,
                        "--seed", "1")]),
        Suite("examples", "the examples over sockets, with grpcio too", True,
              BUILD + GRPC, build("host")
              + [script("tests/interop/examples.py", "--bin", host)]),
        Suite("interop", "gRPC's interop cases: ourselves, and grpcio both "
              "ways", True, BUILD + INTEROP, build("host")
              + [script("tests/interop/peers.py", "--bin", host, "--quick"),
                 script("tests/interop/features.py", "--bin", host)]),
        Suite("peers", "gRPC's interop cases with every other peer, both ways",
              False, BUILD + PEERS + deps.programs(
                  "node", "npm", "javac", "mvn", "cargo"), build("host")
              + [script("tests/interop/peers.py", "--bin", host, "--others")]),
        Suite("generator", "protoc-gen-cgrpc: its output, golden and compiled",
              False, BUILD + CLANG + ("python3-venv",) + deps.programs("npm"),
              [script("tests/generator/run.py")]),
        Suite("conformance", "h2spec on the server, h2specd on the client",
              False, BUILD, build("host")
              + [script("tests/conformance/h2spec.py", "--server", guide)
                 ._replace(name="h2spec, our server"),
                 script("tests/conformance/h2spec.py", "--client",
                        os.path.join(host, "h2get"))
                 ._replace(name="h2specd, our client")]),
        Suite("tools", "grpcurl, ghz, curl, nghttp and h2load on the server",
              False, BUILD + GRPC + ("curl", "nghttp2-client"),
              build("host")
              + [script("tests/interop/tools.py", "--bin", host)]),
        Suite("proxies", "nginx, HAProxy, Caddy, Apache and Envoy between",
              False, BUILD + GRPC + PROXIES, build("host")
              + [script("tests/interop/proxies.py", "--bin", host)]),
        Suite("evolution", "old and new clients and servers of one .proto",
              False, BUILD + GRPC, build("host")
              + [script("tests/interop/evolution.py", "--bin", host)]),
        Suite("etcd", "our client of an etcd that is restarted under it",
              False, BUILD, build("host")
              + [script("tests/interop/etcd.py", "--bin", host)]),
        Suite("connect", "connectrpc/conformance on our server and client",
              True, BUILD + ("libprotobuf-dev",), build("host")
              + [script("tests/conformance/connect.py", "--mode", mode)
                 ._replace(name="connectconformance, " + name)
                 for mode, name in (("server", "our server"),
                                    ("client", "our client"),
                                    ("both", "our client on our server"))]),
        Suite("negative", "our client and a server that misbehaves", True,
              BUILD + ("python3-h2",), build("host")
              + [script("tests/interop/negative_peer.py", "--client",
                        os.path.join(host, "http2_client")),
                 script("tests/interop/negative_peer.py", "--control")
                 ._replace(name="the same server and grpc-go's client")]),
        Suite("sanitizers", "all that talks over bytes or sockets, with asan "
              "and ubsan", False,
              BUILD + CLANG + INTEROP + ("python3-h2", "libprotobuf-dev"),
              build("asan")
              + programs("asan", "unit") + programs("asan", "port")
              + [step("sim", os.path.join(bin_dir("asan"), "sim")),
                 script("tests/interop/examples.py", "--bin",
                        bin_dir("asan")),
                 script("tests/interop/features.py", "--bin",
                        bin_dir("asan")),
                 script("tests/interop/negative_peer.py", "--client",
                        os.path.join(bin_dir("asan"), "http2_client")),
                 script("tests/conformance/connect.py", "--preset",
                        "asan")]),
        Suite("portability", "compilers, standards, switches, ways to build",
              False, BUILD + CLANG + MULTILIB + toolchains.ARM,
              [script("tests/build/portability.py")]),
        Suite("size", "flash, RAM and stack are no worse than they were",
              False, BUILD + toolchains.ARM + toolchains.RISCV,
              [script("tools/size", "--check", counts=False)]),
        Suite("bench", "instructions and bytes of a call are no worse either",
              False, BUILD + toolchains.ARM + ("valgrind", "qemu-system-arm"),
              [script("tools/bench", "--check", counts=False)]),
        Suite("matrix", "tests/MATRIX.md says what the outside suites found",
              False, (), [script("tests/matrix.py", "--check")]),
    ]


# ---- running ---------------------------------------------------------------

class Total:
    def __init__(self):
        self.passed = self.failed = 0
        self.skipped, self.broken = [], []

    def text(self):
        return "%d passed, %d failed, %d skipped" % (
            self.passed, self.failed, len(self.skipped))


class Line:
    """One line of progress; on a terminal, with the seconds that it takes."""

    def __init__(self, name):
        self.head, self.live = "  %-40s " % name, sys.stdout.isatty()
        self.began = time.monotonic()
        print(self.head, end="", flush=True)

    def rewrite(self, text):
        print(("\r" + self.head if self.live else "") + text, end="",
              flush=True)

    def tick(self):
        if self.live:
            self.rewrite("%d s" % (time.monotonic() - self.began))

    def end(self, text):
        self.rewrite("%s (%.1f s)\n" % (text, time.monotonic() - self.began))


def run_command(command, log, tick):
    """Exit code and output of a command; its output is added to `log`."""
    with open(log, "ab") as out:
        out.write(("$ %s\n" % " ".join(command)).encode())
        out.flush()
        start = out.tell()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                   stdout=out, stderr=out, cwd=ROOT,
                                   preexec_fn=deps.die_with_parent)
        try:
            while True:
                try:
                    process.wait(1)
                    break
                except subprocess.TimeoutExpired:
                    tick()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    with open(log, errors="replace") as file:
        file.seek(start)
        return process.returncode, file.read()


def judge(one, code, output):
    """(passed, failed, [skips]) of a step that has run."""
    if one.counts is None:
        return 0, int(code != 0), []
    if not one.counts:
        return int(code == 0), int(code != 0), []
    found = COUNTS.findall(output)
    if not found:
        return 0, 1, []
    passed, failed, skipped = (int(n or 0) for n in found[-1])
    if code != 0 and failed == 0:
        failed = 1
    skips = SKIP.findall(output)
    skips += ["(no name)"] * (skipped - len(skips))
    return passed, failed, skips


def show(output):
    """The failures of a step, or the end of what it said."""
    lines = output.splitlines()
    wrong = [i for i, line in enumerate(lines) if re.search(
        r"FAIL|not so:|error:|Error:|#error|ERROR:|warning: unused", line)]
    shown = sorted({j for i in wrong for j in range(i, min(i + 12, len(lines)))}
                   | set(range(max(0, len(lines) - 15), len(lines))))
    for line in [lines[i] for i in shown][-60:]:
        print("      | " + line[:400])


def run_suite(suite, total, built):
    log = os.path.join(LOG, suite.name + ".txt")
    open(log, "w").close()
    print("%s: %s" % (suite.name, suite.about), flush=True)
    for one in suite.steps:
        if tuple(one.command) in built:
            continue
        line = Line(one.name)
        code, output = run_command(one.command, log, line.tick)
        passed, failed, skips = judge(one, code, output)
        total.passed += passed
        total.failed += failed
        total.skipped += ["%s: %s: %s" % (suite.name, one.name, skip)
                          for skip in skips]
        if one.counts is None and not failed:
            built.add(tuple(one.command))
            line.end("done")
        else:
            line.end("FAILED" if failed and one.counts is None else
                     "%d passed, %d failed%s" % (
                         passed, failed, ", %d skipped" % len(skips)
                         if skips else ""))
        for table in TABLE.findall(output):
            print("\n" + table)
        if failed:
            total.broken.append("%s: %s, see build/log/%s.txt" % (
                suite.name, one.name, suite.name))
            show(output)
        if failed and one.counts is None:
            return


def install(chosen):
    packages = sorted({p for suite in chosen for p in suite.packages})
    missing = [p for p in packages if not deps.have_package(p)]
    if missing:
        print("needs these Debian packages, and installs them: "
              + " ".join(map(deps.choice, missing)), flush=True)
        deps.apt(*missing)


def choose(names):
    everything = suites()
    if not names:
        return everything
    known = {suite.name for suite in everything}
    for name in names:
        if name != "quick" and name not in known:
            deps.die("no suite is called %s; there are: quick, %s" % (
                name, ", ".join(s.name for s in everything)))
    return [suite for suite in everything if suite.name in names
            or ("quick" in names and suite.quick)]


def main():
    sys.argv[0] = "tools/test"  # as errors name it
    parser = argparse.ArgumentParser(
        prog="tools/test", description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    chosen = choose(options.names)
    if options.list:
        for suite in chosen:
            print("%-12s %s%s" % (suite.name, suite.about,
                                  " (quick)" if suite.quick else ""))
        return
    os.makedirs(LOG, exist_ok=True)
    try:
        install(chosen)
    except deps.Missing as missing:
        deps.die(missing)
    os.environ["CGRPC_TEST_BEGAN"] = str(time.time())
    total, built, began = Total(), set(), time.monotonic()
    for suite in chosen:
        run_suite(suite, total, built)
    print("\n%d suites in %d s" % (len(chosen), time.monotonic() - began))
    for line in total.skipped:
        print("skipped  " + line)
    for line in total.broken:
        print("failed   " + line)
    print(total.text())
    sys.exit(1 if total.failed or not total.passed else 0)


if __name__ == "__main__":
    main()
