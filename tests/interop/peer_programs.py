"""The peers of the interop tests: where each comes from, how it is started,
and what it cannot do.

Real interop programs where there are any (grpc-go, C++, Python, Java); of
grpc-js, tonic and connect-go there are none to be had, and small ones of our
own stand beside this file.
"""
import glob
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tools", "lib"))
import deps
import golang

PROTOS = "/usr/share/grpc-proto"
# The usual cases, which proxies.py runs too; peers.py has the special ones.
CORE = ["empty_unary", "large_unary", "client_streaming", "server_streaming",
        "ping_pong", "empty_stream", "timeout_on_sleeping_server",
        "cancel_after_begin", "cancel_after_first_response",
        "status_code_and_message", "special_status_message",
        "custom_metadata", "unimplemented_method", "unimplemented_service"]
SOAK = 100             # iterations
SOAK_LATENCY_MS = 2000  # two cores, several peers at a time
SOAK_SECONDS = 90

NO_CASE = "its client has no such case"
TOO_LARGE = "its server takes no message over 4 MiB, gRPC's usual limit"
NO_ID = "its server gives no server_id, and the case wants one"


class Unfit(Exception):
    """This machine cannot have the peer: the text says what it would need."""


def soak_options(joined):
    pairs = [("soak_iterations", SOAK), ("soak_max_failures", 0),
             ("soak_per_iteration_max_acceptable_latency_ms", SOAK_LATENCY_MS),
             ("soak_overall_timeout_seconds", SOAK_SECONDS)]
    if joined:
        return ["--%s=%d" % pair for pair in pairs]
    return [word for name, value in pairs for word in ("--" + name, str(value))]


class Peer:
    """What the driver asks of a peer."""
    name = version = ""
    client_lacks = {}      # case: reason
    server_lacks = {}
    environment = None     # of its programs
    directory = None       # in which they run

    def build(self):
        """Gets it; deps.Missing or Unfit if it cannot be had."""

    def server(self, port):
        """The command of its server."""

    def client(self, port, cases):
        """The command of its client for these cases, of which it prints a
        line each ("passed CASE", "FAILED CASE: why")."""

    def single(self, port, case):
        """The same for clients that run one case: the exit code tells.
        None: this peer has client() instead."""
        return None


def interop_flags(port, case):
    return ["--server_host=127.0.0.1", "--server_port=%d" % port,
            "--use_tls=false", "--test_case=" + case]


# ---- ours ------------------------------------------------------------------

class Ours(Peer):
    name = "cgrpc"

    def __init__(self, directory):
        self.bin = directory

    def server(self, port):
        return [os.path.join(self.bin, "interop_server"), "--port", str(port),
                "--use_tls=false"]

    def single(self, port, case):
        return [os.path.join(self.bin, "interop_client")] + interop_flags(
            port, case) + (soak_options(True) if "soak" in case else [])


# ---- Go --------------------------------------------------------------------

class GrpcGo(Peer):
    name = "grpc-go"
    client_lacks = {"half_duplex": NO_CASE, "very_large_request": NO_CASE}
    server_lacks = {"pick_first_unary": NO_ID, "very_large_request": TOO_LARGE}

    def build(self):
        self.version = deps.version("google.golang.org/grpc")
        self.place = deps.cache_dir("go", "grpc-" + self.version)
        for role in ("client", "server"):
            if not os.path.exists(os.path.join(self.place, role)):
                with deps.Lock("go"):
                    golang.install("google.golang.org/grpc/interop/%s@%s" % (
                        role, self.version), self.place)

    def server(self, port):
        return [os.path.join(self.place, "server"), "--port=%d" % port]

    def single(self, port, case):
        return [os.path.join(self.place, "client")] + interop_flags(
            port, case) + soak_options(True)


GO_MODULES = ("connectrpc.com/connect", "google.golang.org/grpc")


class ConnectGo(Peer):
    name = "connect-go"
    client_lacks = {"half_duplex": NO_CASE}
    server_lacks = {"half_duplex": "its service lacks HalfDuplexCall, which "
                                   "no case of the description calls"}
    environment = dict(os.environ, SOAK=str(SOAK))

    def build(self):
        self.version = deps.version("connectrpc.com/connect")
        place = deps.cache_dir("go", "connect-peer")
        self.program = os.path.join(place, "connect_go_peer")
        with deps.Lock("connect-peer"):
            shutil.copyfile(os.path.join(HERE, "connect_go_peer.go"),
                            os.path.join(place, "main.go"))
            golang.build_around(self.program, ".", GO_MODULES, go="1.26")

    def server(self, port):
        return [self.program, "server", str(port)]

    def client(self, port, cases):
        return [self.program, "client", str(port)] + cases


# ---- the C core ------------------------------------------------------------

class Python(Peer):
    """tests.interop of grpcio_tests, from the source package."""
    name = "grpcio"
    client_lacks = dict.fromkeys(
        ("rpc_soak", "channel_soak", "pick_first_unary", "half_duplex",
         "very_large_request"), NO_CASE)
    server_lacks = GrpcGo.server_lacks

    def build(self):
        deps.apt("python3-grpcio", "python3-protobuf", "python3-google-auth",
                 "python3-requests", "python3-coverage", "python3-six",
                 "python3-pkg-resources", "protobuf-compiler",
                 "protobuf-compiler-grpc")
        self.version = deps.debian_version("python3-grpcio")
        source = deps.apt_source("grpc")
        self.made = made = deps.cache_dir("python-interop")
        if not glob.glob(made + "/src/proto/grpc/testing/test_pb2_grpc.py"):
            deps.run_quietly("generating Python's interop messages", [
                "protoc", "-I.", "--python_out=" + made, "--grpc_out=" + made,
                "--plugin=protoc-gen-grpc=/usr/bin/grpc_python_plugin"]
                + ["src/proto/grpc/testing/%s.proto" % name
                   for name in ("empty", "messages", "test")], cwd=source)
        self.directory = os.path.join(source, "src/python/grpcio_tests")
        self.environment = dict(os.environ, PYTHONPATH=os.pathsep.join(
            (made, self.directory)), PYTHONDONTWRITEBYTECODE="",
            PYTHONFAULTHANDLER="1")

    def server(self, port):
        return ["/usr/bin/python3", "-m", "tests.interop.server",
                "--port=%d" % port]

    def single(self, port, case):
        return ["/usr/bin/python3", "-m", "tests.interop.client"] + \
            interop_flags(port, case)


class Cpp(Peer):
    """test/cpp/interop, from the source package."""
    name = "grpc C++"
    client_lacks = {"very_large_request": NO_CASE}
    server_lacks = GrpcGo.server_lacks

    def build(self):
        deps.apt("g++", "cmake", "ninja-build", "pkg-config", "libgrpc++-dev",
                 "libprotobuf-dev", "libabsl-dev", "protobuf-compiler",
                 "protobuf-compiler-grpc")
        self.version = deps.debian_version("libgrpc++-dev")
        self.place = deps.cache_dir("cpp-interop")
        with deps.Lock("cpp-interop"):
            if not os.path.exists(os.path.join(self.place, "build.ninja")):
                deps.run_quietly("configuring C++'s interop programs", [
                    "cmake", "-G", "Ninja", "-S", os.path.join(HERE, "cpp"),
                    "-B", self.place,
                    "-DGRPC_SOURCE=" + deps.apt_source("grpc")])
            deps.run_quietly("building C++'s interop programs (a minute when "
                             "new)", ["cmake", "--build", self.place])

    def server(self, port):
        return [os.path.join(self.place, "grpc_cpp_server"),
                "--port=%d" % port, "--use_tls=false"]

    def single(self, port, case):
        return [os.path.join(self.place, "grpc_cpp_client")] + interop_flags(
            port, case) + soak_options(True)


# ---- JavaScript ------------------------------------------------------------

class GrpcJs(Peer):
    name = "grpc-js"
    client_lacks = {"half_duplex": NO_CASE}
    server_lacks = ConnectGo.server_lacks

    def build(self):
        deps.apt(*deps.programs("node", "npm"))
        names = ("@grpc/grpc-js", "@grpc/proto-loader")
        self.version = deps.version(names[0])
        place = deps.cache_dir("npm", "grpc-js-" + self.version)
        modules = os.path.join(place, "node_modules")
        if not all(os.path.exists(os.path.join(modules, name))
                   for name in names):
            pinned = ["%s@%s" % (name, deps.version(name)) for name in names]
            with deps.Lock("npm"):
                deps.run_quietly("npm install " + " ".join(pinned), [
                    "npm", "install", "--no-audit", "--no-fund",
                    "--ignore-scripts", "--prefix", place] + pinned)
        self.environment = dict(os.environ, NODE_PATH=modules, SOAK=str(SOAK))

    def run(self, *words):
        return ["node", os.path.join(HERE, "grpc_js_peer.js")] + list(words)

    def server(self, port):
        return self.run("server", str(port), PROTOS)

    def client(self, port, cases):
        return self.run("client", str(port), PROTOS, *cases)


# ---- Java ------------------------------------------------------------------

class GrpcJava(Peer):
    """The interop distribution of Maven Central; netty or OkHttp below."""
    client_lacks = {"half_duplex": NO_CASE}
    server_lacks = {"pick_first_unary": NO_ID}
    client_class = "io.grpc.testing.integration.TestServiceClient"
    server_class = "io.grpc.testing.integration.TestServiceServer"

    def __init__(self, transport):
        self.name = "grpc-java " + transport
        self.okhttp = transport == "okhttp"

    def build(self):
        deps.apt(*deps.programs("javac", "mvn"))
        self.version = deps.version("io.grpc:grpc-interop-testing")
        place = deps.cache_dir("java")
        stem = "grpc-interop-testing-" + self.version
        self.libraries = os.path.join(place, stem, "lib")
        with deps.Lock("java"):
            if not os.path.exists(self.libraries):
                fetch_java(place, stem, self.version)
            self.archive = os.path.join(place, "%s%s.jsa" % (
                stem, "-okhttp" if self.okhttp else "-netty"))
            if not os.path.exists(self.archive):
                self.make_archive()

    def make_archive(self):
        """Of the classes that a client loads, so that the next starts in half
        the time. Nobody has to answer the call."""
        deps.say("archiving the classes of " + self.name)
        subprocess.run(self.java(
            "-XX:ArchiveClassesAtExit=" + self.archive, self.client_class,
            *self.client_options(deps.free_port(), "empty_unary")),
            capture_output=True, timeout=60)

    def java(self, *words):
        return ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
                "-Xshare:auto", "-Xlog:disable", "-cp",
                self.libraries + "/*"] + list(words)

    def server(self, port):
        if self.okhttp:
            return self.java(os.path.join(HERE, "OkHttpServer.java"), str(port))
        return self.java(self.server_class, "--port=%d" % port,
                         "--use_tls=false")

    def client_options(self, port, case):
        return interop_flags(port, case) + soak_options(True) + [
            "--use_okhttp=" + ("true" if self.okhttp else "false")]

    def single(self, port, case):
        return self.java("-XX:SharedArchiveFile=" + self.archive,
                         self.client_class, *self.client_options(port, case))


def fetch_java(place, stem, version):
    artifact = "io.grpc:grpc-interop-testing:%s:zip" % version
    deps.run_quietly("mvn dependency:copy " + artifact, [
        "mvn", "-B", "dependency:copy", "-Dartifact=" + artifact,
        "-DoutputDirectory=" + place,
        "-Dmaven.repo.local=" + deps.cache_dir("maven")], cwd=place)
    archive = os.path.join(place, stem + ".zip")
    shutil.unpack_archive(archive, place)
    os.remove(archive)


# ---- Rust ------------------------------------------------------------------

class Tonic(Peer):
    name = "tonic"
    needs = (1, 88)
    client_lacks = dict(
        dict.fromkeys(("cancel_after_begin", "cancel_after_first_response"),
                      "a cancelled call is a dropped one in tonic, and leaves "
                      "no status to check"),
        half_duplex=NO_CASE)

    def build(self):
        crate = os.path.join(HERE, "tonic")
        with open(os.path.join(crate, "Cargo.lock")) as lock:
            self.version = re.search(r'name = "tonic"\nversion = "([^"]+)"',
                                     lock.read()).group(1)
        deps.apt(*deps.programs("cargo"))
        said = subprocess.run(["rustc", "--version"], capture_output=True,
                              text=True).stdout
        found = re.search(r"(\d+)\.(\d+)", said)
        if not found or tuple(map(int, found.groups())) < self.needs:
            raise Unfit("tonic %s needs Rust %d.%d, and this is %s" % (
                (self.version,) + self.needs + (said.strip() or "no Rust",)))
        deps.apt("protobuf-compiler", "grpc-proto")
        place = deps.cache_dir("tonic")
        with deps.Lock("tonic"):
            deps.run_quietly("building the tonic peer (two minutes when new)", [
                "cargo", "build", "--locked", "--manifest-path",
                os.path.join(crate, "Cargo.toml"), "--target-dir", place],
                env=dict(os.environ, GRPC_PROTO=PROTOS))
        self.program = os.path.join(place, "debug", "tonic_peer")

    def server(self, port):
        return [self.program, "server", str(port)]

    def client(self, port, cases):
        return [self.program, "client", str(port)] + cases + [
            "--soak", str(SOAK)]


def all_peers(directory):
    ours = Ours(directory)
    return ours, [ours, GrpcGo(), Python(), Cpp(), GrpcJs(),
                  GrpcJava("netty"), GrpcJava("okhttp"), Tonic(), ConnectGo()]
