"""What negative_peer.py is made of: a server for one client, on python3-h2,
that a class for each case tells how to misbehave.

    class Late(Case):
        ends = ["DEADLINE_EXCEEDED"]       what the client's call comes to

        def on_request(self, conn, stream):
            self.after(500, lambda: conn.answer(stream))

        def check(self):                   and what it put on the wire
            same("resets", self.conns[0].resets(), [(1, CANCEL)])

    run_case(Late, options)                raises Wrong

h2 keeps the state of the connection, and complains of clients that break the
rules of HTTP/2. What h2 would not send, Conn.frame() does.
"""
import collections
import os
import select
import shlex
import socket
import struct
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools", "lib"))
import deps

try:
    import h2
except ImportError:
    deps.apt("python3-h2")
import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NAMES = ("DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS",
         "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE", "CONTINUATION")
KINDS = {name: kind for kind, name in enumerate(NAMES)}
END_STREAM, END_HEADERS, PADDED, PRIORITY, ACK = 1, 4, 8, 0x20, 1
(NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR,
 SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL,
 COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM, INADEQUATE_SECURITY,
 HTTP_1_1_REQUIRED) = range(14)
ERRORS = [code.name for code in h2.errors.ErrorCodes]
Setting = h2.settings.SettingCodes
LARGE_REQUEST, LARGE_RESPONSE = 271828, 314159
HEADERS = [(":status", "200"), ("content-type", "application/grpc")]

Frame = collections.namedtuple("Frame", "name flags stream payload")


class Wrong(Exception):
    """The client did, or saw, something else than it should."""


def same(what, is_, wanted):
    if is_ != wanted:
        raise Wrong("%s: %r instead of %r" % (what, is_, wanted))


# ---- messages ------------------------------------------------------------

def varint(number):
    out = b""
    while number > 0x7f:
        out += bytes([number & 0x7f | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number, value):
    return varint(number << 3 | 2) + varint(len(value)) + value


def message(encoded):
    return b"\0" + struct.pack(">I", len(encoded)) + encoded


def request_bytes(request_size, response_size):
    """SimpleRequest, as http2_client sends it."""
    encoded = b""
    if response_size:
        encoded += b"\x10" + varint(response_size)
    return message(encoded + field(3, field(2, bytes(request_size))
                                   if request_size else b""))


def stream_request_bytes(request_size, response_size):
    """StreamingOutputCallRequest."""
    return message(field(2, b"\x08" + varint(response_size))
                   + field(3, field(2, bytes(request_size))))


def response_bytes(size):
    """SimpleResponse, and StreamingOutputCallResponse."""
    return message(field(1, field(2, bytes(size))))


# ---- a connection --------------------------------------------------------

class Stream:
    """What a client has sent on one stream."""

    def __init__(self, number):
        self.id = number
        self.headers = {}
        self.body = b""
        self.ended = False
        self.told = 0      # a case's own count


class Conn:
    """One connection of the client: what came on it, and ways to answer."""

    def __init__(self, case, sock, number):
        self.case, self.sock, self.number = case, sock, number
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=False, header_encoding="utf-8",
            validate_outbound_headers=False))
        self.raw, self.out = bytearray(), bytearray()
        self.frames = []       # of the client
        self.streams = {}
        self.waiting = {}      # stream -> what is to be sent on it yet
        self.broken = None     # what h2 had to complain of
        self.closing = self.closed = False
        self.preface = False

    # -- ways to answer --

    def greet(self, settings=None):
        for key, value in (settings or {}).items():
            self.h2.local_settings[key] = value
        self.h2.local_settings.acknowledge()
        self.h2.initiate_connection()
        self.flush()

    def settings(self, **values):
        self.h2.update_settings({Setting[key.upper()]: value
                                 for key, value in values.items()})
        self.flush()

    def headers(self, stream, fields=None, end=False):
        self.h2.send_headers(stream.id, fields or HEADERS, end_stream=end)
        self.flush()

    def trailers(self, stream, status=0, *more):
        self.send(stream, lambda: self.headers(
            stream, [("grpc-status", str(status))] + list(more), True))

    def data(self, stream, payload, chunk=16384, pad=None):
        """Queued: as the client's windows allow."""
        for at in range(0, len(payload), chunk):
            self.send(stream, (payload[at:at + chunk], pad))

    def answer(self, stream, size=None, chunk=16384, pad=None):
        """All of a response."""
        self.headers(stream)
        self.data(stream, self.case.response(size), chunk, pad)
        self.trailers(stream)

    def send(self, stream, item):
        self.waiting.setdefault(stream.id, collections.deque()).append(item)
        self.pump()

    def then(self, stream, do):
        """Does it when all that waits on a stream has been sent."""
        self.send(stream, do)

    def reset(self, stream, code):
        self.waiting.pop(stream.id, None)
        self.h2.reset_stream(stream.id, code)
        self.flush()

    def goaway(self, last, code=NO_ERROR, text=b""):
        self.frame("GOAWAY", 0, 0, struct.pack(">II", last, code) + text)

    def ping(self, payload):
        self.h2.ping(payload)
        self.flush()

    def frame(self, name, flags, stream, payload=b""):
        """Goes out whatever h2 thinks of it."""
        kind = KINDS.get(name, name)
        self.flush()
        self.out += struct.pack(">I", len(payload))[1:] + struct.pack(
            ">BBI", kind, flags, stream) + payload

    def block(self, fields):
        return self.h2.encoder.encode(fields)

    def close(self):
        """Once all is written."""
        self.closing = True

    def abort(self):
        """RST of TCP, at once."""
        self.write()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack("ii", 1, 0))
        self.end()

    # -- what came --

    def named(self, name):
        return [frame for frame in self.frames if frame.name == name]

    def resets(self):
        return [(frame.stream, struct.unpack(">I", frame.payload)[0])
                for frame in self.named("RST_STREAM")]

    def goaways(self):
        return [struct.unpack(">II", frame.payload[:8])
                for frame in self.named("GOAWAY")]

    def pongs(self):
        return [frame.payload for frame in self.named("PING")
                if frame.flags & ACK]

    def acks(self):
        return len([frame for frame in self.named("SETTINGS")
                    if frame.flags & ACK])

    # -- moving --

    def flush(self):
        self.out += self.h2.data_to_send()

    def pump(self):
        for number, items in list(self.waiting.items()):
            while items and number in self.waiting:
                try:
                    if not self.put(number, items[0]):
                        break
                    items.popleft()
                except h2.exceptions.ProtocolError:
                    self.waiting.pop(number, None)  # the client has reset it
        self.flush()

    def put(self, number, item):
        """false: the client's windows do not allow it yet."""
        if callable(item):
            item()
            return True
        payload, pad = item
        cost = len(payload) + (0 if pad is None else pad + 1)
        if self.h2.local_flow_control_window(number) < cost:
            return False
        self.h2.send_data(number, payload, pad_length=pad)
        return True

    def write(self):
        try:
            while self.out:
                del self.out[:self.sock.send(self.out[:self.case.segment])]
                if self.case.segment:
                    return
        except BlockingIOError:
            return
        except OSError:
            self.end()
            return
        if self.closing and not self.waiting_for_window():
            self.end()

    def waiting_for_window(self):
        return any(self.waiting.values())

    def read(self):
        try:
            got = self.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            got = b""
        if not got:
            self.end()
            return
        self.raw += got
        self.split()
        self.feed(got)

    def end(self):
        if not self.closed:
            self.closed = True
            self.sock.close()

    def split(self):
        """Notes the client's frames."""
        if not self.preface:
            if len(self.raw) < len(PREFACE):
                return
            if not self.raw.startswith(PREFACE):
                self.broken = "no preface"
            del self.raw[:len(PREFACE)]
            self.preface = True
        while len(self.raw) >= 9:
            size = int.from_bytes(self.raw[:3], "big")
            if len(self.raw) < 9 + size:
                return
            kind, flags, number = struct.unpack(">BBI", self.raw[3:9])
            self.frames.append(Frame(
                NAMES[kind] if kind < len(NAMES) else kind, flags, number,
                bytes(self.raw[9:9 + size])))
            del self.raw[:9 + size]

    def feed(self, got):
        if self.broken or not self.case.uses_h2:
            return
        try:
            events = self.h2.receive_data(got)
        except h2.exceptions.ProtocolError as problem:
            self.broken = "%s: %s" % (type(problem).__name__, problem)
            return
        for event in events:
            self.event(event)
        self.pump()

    def event(self, event):
        case = self.case
        if isinstance(event, h2.events.RequestReceived):
            stream = Stream(event.stream_id)
            stream.headers = event.headers
            self.streams[stream.id] = stream
            case.on_headers(self, stream)
        elif isinstance(event, h2.events.DataReceived):
            stream = self.streams[event.stream_id]
            stream.body += event.data
            case.credit(self, stream, event.flow_controlled_length)
            case.on_data(self, stream)
        elif isinstance(event, h2.events.StreamEnded):
            stream = self.streams[event.stream_id]
            stream.ended = True
            case.on_request(self, stream)
        elif isinstance(event, h2.events.SettingsAcknowledged):
            case.on_ack(self)
        elif isinstance(event, h2.events.StreamReset):
            self.waiting.pop(event.stream_id, None)


# ---- what all cases share ------------------------------------------------

CASES = []


class Case:
    """A server that does as it should."""

    ends = None            # how each call ends; None: the client judges
    runs = None            # gRPC's case that the client runs; None: this one's
    conns_wanted = 1
    settings = {}
    uses_h2 = True         # False: only check() looks at what came
    segment = None         # bytes that are written at a time; None: all
    # how http2_client calls: (requests of 10 bytes fit every first window)
    calls = request_size = response_size = None
    deadline_ms = 10000
    pause_ms = 0
    wait_for_ready = False
    messages = None        # one FullDuplexCall with so many, not unary calls
    ping_pong = False
    breaks = None          # the GOAWAY with which the client ends it

    def __init_subclass__(cls):
        cls.name = "".join("_" + letter.lower() if letter.isupper() else letter
                           for letter in cls.__name__).lstrip("_")
        if not cls.__name__.startswith("Any"):
            CASES.append(cls)

    def __init__(self):
        self.conns = []
        self.timers = []   # (when, what to do)
        large = self.ends is None
        self.request_size = self.default(self.request_size,
                                         LARGE_REQUEST if large else 10)
        self.response_size = self.default(self.response_size,
                                          LARGE_RESPONSE if large else 20)

    @staticmethod
    def default(value, otherwise):
        return otherwise if value is None else value

    def response(self, size=None):
        return response_bytes(self.default(size, self.response_size))

    def after(self, ms, do):
        self.timers.append((time.monotonic() + ms / 1000, do))

    # -- the server's behaviour --

    def on_connect(self, conn):
        conn.greet(self.settings)

    def on_headers(self, conn, stream):
        pass

    def on_data(self, conn, stream):
        pass

    def on_request(self, conn, stream):
        conn.answer(stream)

    def on_ack(self, conn):
        pass

    def credit(self, conn, stream, count):
        if count:
            conn.h2.acknowledge_received_data(count, stream.id)

    # -- judging --

    def streams(self):
        return [stream for conn in self.conns
                for stream in conn.streams.values()]

    def check(self):
        """What the client must have put on the wire."""

    def judge(self):
        same("connections", len(self.conns), self.conns_wanted)
        for conn in self.conns:
            if conn.broken:
                raise Wrong("connection %d, h2 says: %s" % (
                    conn.number, conn.broken))
            self.judge_conn(conn)
        for stream in self.streams():
            self.judge_stream(stream)
        self.check()

    def judge_conn(self, conn):
        if conn.frames:
            same("the first frame", conn.frames[0].name, "SETTINGS")
        numbers = [frame.stream for frame in conn.named("HEADERS")]
        same("streams, in their order", numbers, sorted(set(numbers)))
        same("their numbers are odd", [n for n in numbers if n % 2 == 0], [])
        codes = [code for last, code in conn.goaways()]
        if self.breaks is not None and conn is self.conns[0]:
            same("GOAWAYs", [ERRORS[code] for code in codes],
                 [ERRORS[self.breaks]])
        else:
            same("GOAWAYs with an error", [code for code in codes if code], [])
        if self.ends is not None:
            same("last streams of GOAWAYs (none of ours)",
                 [last for last, code in conn.goaways() if last], [])

    path = "/grpc.testing.TestService/UnaryCall"

    def whole_request(self):
        return request_bytes(self.request_size, self.response_size)

    def judge_stream(self, stream):
        for name, value in ((":method", "POST"), (":scheme", "http"),
                            (":path", self.path),
                            ("te", "trailers"),
                            ("content-type", "application/grpc")):
            same(name, dict(stream.headers).get(name), value)
        if self.ends is not None:  # it is http2_client
            same("x-sent-bin", dict(stream.headers).get("x-sent-bin"), "AAEC")
        whole = self.whole_request()
        if stream.ended:
            same("the request is whole", stream.body == whole, True)
        else:
            same("what came of the request is right",
                 whole.startswith(stream.body), True)


# ---- running -------------------------------------------------------------

def client_command(options, case, port):
    name = case.runs or case.name if case.ends is None else \
        "stream" if case.messages else "calls"
    command = shlex.split(options.client) + [
        "--server_host", "127.0.0.1", "--server_port", str(port),
        "--test_case", name]
    if case.ends is None:
        return command
    return command + [
        "--calls", str(case.messages or len(case.ends)),
        "--ping_pong=" + str(case.ping_pong).lower(), "--request_size",
        str(case.request_size), "--response_size", str(case.response_size),
        "--deadline_ms", str(case.deadline_ms), "--pause_ms",
        str(case.pause_ms),
        "--wait_for_ready=" + str(case.wait_for_ready).lower()]


class Server:
    """Serves one case until its client has ended and hung up."""

    def __init__(self, case):
        self.case = case
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]

    def accept(self):
        sock, _ = self.listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conn = Conn(self.case, sock, len(self.case.conns) + 1)
        self.case.conns.append(conn)
        self.case.on_connect(conn)

    def turn(self):
        conns = {conn.sock: conn for conn in self.case.conns
                 if not conn.closed}
        for sock in select.select([self.listener, *conns], [], [], 0.005)[0]:
            if sock is self.listener:
                self.accept()
            else:
                conns[sock].read()
        now = time.monotonic()
        due = [one for one in self.case.timers if one[0] <= now]
        self.case.timers = [one for one in self.case.timers if one[0] > now]
        for _, do in due:
            try:
                do()
            except h2.exceptions.ProtocolError:
                pass  # the client, or the stream, has gone meanwhile
        for conn in self.case.conns:
            if not conn.closed:
                conn.pump()
                conn.write()

    def serve(self, client, seconds):
        end = time.monotonic() + seconds
        while client.running() or not all(conn.closed
                                          for conn in self.case.conns):
            if time.monotonic() > end:
                raise Wrong("the client hangs" if client.running() else
                            "its connection stays open")
            self.turn()

    def close(self):
        for conn in self.case.conns:
            conn.end()
        self.listener.close()


def judge_client(case, client):
    said = client.output().rstrip()
    if client.popen.returncode:
        raise Wrong("the client says: %s" % said)
    if case.ends is None:
        return
    # what stderr had is not the outcome of a call
    ends = [line for line in said.splitlines() if not
            line.startswith("cgrpc: ")]
    same("calls that ended", len(ends), len(case.ends))
    for number, (end, wanted) in enumerate(zip(ends, case.ends)):
        whole = ":" in wanted
        if end != wanted if whole else end.split(":")[0] != wanted:
            raise Wrong("call %d ended with %r instead of %r" % (
                number + 1, end, wanted))


def run_case(kind, options):
    case = kind()
    server = Server(case)
    client = deps.Process(
        client_command(options, case, server.port),
        os.path.join(deps.cache_dir("logs"), "http2_client-%s.log" % kind.name))
    try:
        with client:
            server.serve(client, options.timeout)
        judge_client(case, client)
        case.judge()
    finally:
        server.close()
