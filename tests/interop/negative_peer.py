#!/usr/bin/python3
"""A server that misbehaves, for gRPC clients.

    tests/interop/negative_peer.py --client build/host/bin/http2_client
    tests/interop/negative_peer.py --client ... --case refused_once
    tests/interop/negative_peer.py --control

The first eight cases are those of gRPC's negative HTTP/2 tests
(doc/negative-http2-interop-test-descriptions.md), and --client may then be
anybody's client for them. The others ask http2_client for its cases "calls" and
"stream", and for how each call ended.

--control runs grpc-go's own client for those tests (the module that
tests/versions.txt pins): what that one passes, this server does right.

Each case is a class: its docstring says what the server does, `ends` what the
client's application must see, and check() looks at what the client put on the
wire. What holds for every case is in Case.judge() of h2_peer.py. The last line
is the count.
"""
import argparse
import concurrent.futures
import random
import struct
import sys

from h2_peer import *  # a small language for the cases below
import deps
import golang
import results

# ---- gRPC's own cases ----------------------------------------------------

class AnyOfGrpc(Case):
    pass


class Goaway(AnyOfGrpc):
    """GOAWAY after the first call; the next takes another connection."""
    conns_wanted = 2

    def on_request(self, conn, stream):
        conn.answer(stream)
        if conn.number == 1:
            conn.then(stream, lambda: conn.goaway(stream.id))

    def check(self):
        same("calls on each connection",
             [len(conn.streams) for conn in self.conns], [1, 1])


class RstAfterHeader(AnyOfGrpc):
    """RST_STREAM with NO_ERROR after the headers."""

    def on_request(self, conn, stream):
        conn.headers(stream)
        conn.reset(stream, NO_ERROR)


class RstDuringData(AnyOfGrpc):
    """RST_STREAM with NO_ERROR after half of the data."""

    def on_request(self, conn, stream):
        whole = self.response()
        conn.headers(stream)
        conn.data(stream, whole[:len(whole) // 2])
        conn.then(stream, lambda: conn.reset(stream, NO_ERROR))


class RstAfterData(AnyOfGrpc):
    """RST_STREAM with NO_ERROR after all of the data."""

    def on_request(self, conn, stream):
        conn.headers(stream)
        conn.data(stream, self.response())
        conn.then(stream, lambda: conn.reset(stream, NO_ERROR))


class Ping(AnyOfGrpc):
    """PINGs around the headers and between the data: all come back."""

    def __init__(self):
        super().__init__()
        self.pings = []

    def ping(self, conn):
        self.pings.append(struct.pack(">Q", len(self.pings)))
        conn.ping(self.pings[-1])

    def on_request(self, conn, stream):
        whole = self.response()
        self.ping(conn)
        conn.headers(stream)
        self.ping(conn)
        for at in range(0, len(whole), 16384):
            conn.data(stream, whole[at:at + 16384])
            conn.then(stream, lambda: self.ping(conn))
        conn.trailers(stream)

    def check(self):
        same("PINGs answered", self.conns[0].pongs(), self.pings)


class MaxStreams(AnyOfGrpc):
    """MAX_CONCURRENT_STREAMS 1: fifteen calls come one after the other."""
    settings = {Setting.MAX_CONCURRENT_STREAMS: 1}

    def check(self):
        same("calls", len(self.conns[0].streams), 16)  # h2 saw to the limit


class DataFramePadding(AnyOfGrpc):
    """Every byte of padding counts against the client's windows."""

    def on_request(self, conn, stream):
        conn.answer(stream, chunk=1024, pad=255)


class NoDfPaddingSanityTest(AnyOfGrpc):
    """The same without padding."""

    def on_request(self, conn, stream):
        conn.answer(stream, chunk=1024)


# ---- GOAWAY --------------------------------------------------------------

class Any(Case):
    """Of ours: one call, unless said otherwise."""
    ends = ["OK"]


class AnyRetry(Any):
    """What never reached the application may be sent again, once."""

    def same_again(self):
        """But for grpc-timeout, which says what is left."""
        sent = [dict(stream.headers) for stream in self.streams()]
        left = [int(one.pop("grpc-timeout").rstrip("m")) for one in sent]
        same("the request is sent again as it was", sent[1:],
             sent[:1] * (len(sent) - 1))
        same("grpc-timeout falls", left, sorted(left, reverse=True))


class GoawayBelowStream(AnyRetry):
    """GOAWAY that excludes the stream in flight: again, elsewhere."""
    conns_wanted = 2

    def on_request(self, conn, stream):
        if conn.number == 1:
            conn.goaway(0)
        else:
            conn.answer(stream)

    def check(self):
        same("calls on each connection",
             [len(conn.streams) for conn in self.conns], [1, 1])
        self.same_again()


class GoawayBelowStreamMidRequest(AnyRetry):
    """The same when half of a large request is on its way."""
    conns_wanted = 2
    request_size = LARGE_REQUEST

    def on_data(self, conn, stream):
        if conn.number == 1 and not stream.told and len(stream.body) > 30000:
            stream.told = 1
            conn.goaway(0)

    def credit(self, conn, stream, count):
        if conn.number > 1:
            super().credit(conn, stream, count)

    def on_request(self, conn, stream):
        conn.answer(stream)

    check = AnyRetry.same_again


class GoawayBelowStreamTwice(AnyRetry):
    """And if that happens again, the call fails: one retry, no more."""
    conns_wanted = 2
    ends = ["UNAVAILABLE"]

    def on_request(self, conn, stream):
        conn.goaway(0)

    check = AnyRetry.same_again


class GoawayInTwoSteps(Any):
    """As gRPC servers drain: GOAWAY 2^31-1, PING, then GOAWAY with the last
    stream. The call in flight ends well, the next goes elsewhere."""
    ends = ["OK", "OK"]
    conns_wanted = 2

    def on_request(self, conn, stream):
        if conn.number == 2:
            conn.answer(stream)
            return
        conn.goaway(0x7fffffff)
        conn.ping(b"draining")
        self.after(50, lambda: conn.goaway(stream.id))
        self.after(100, lambda: conn.answer(stream))

    def check(self):
        same("PINGs answered", self.conns[0].pongs(), [b"draining"])
        same("calls on each connection",
             [list(conn.streams) for conn in self.conns], [[1], [1]])


class GoawayTooManyPings(Any):
    """GOAWAY ENHANCE_YOUR_CALM and the end, with a call in flight."""
    ends = ["UNAVAILABLE"]

    def on_request(self, conn, stream):
        conn.goaway(stream.id, ENHANCE_YOUR_CALM, b"too_many_pings")
        conn.close()


class GoawayBeforeAnyCall(Any):
    """GOAWAY right after SETTINGS, on the first connection."""
    conns_wanted = 2

    def on_connect(self, conn):
        super().on_connect(conn)
        if conn.number == 1:
            conn.goaway(0)

    def check(self):
        same("calls on the second connection", len(self.conns[1].streams), 1)


# ---- RST_STREAM ----------------------------------------------------------

class RefusedOnce(AnyRetry):
    """RST_STREAM REFUSED_STREAM: again, on the same connection."""

    def on_request(self, conn, stream):
        if stream.id == 1:
            conn.reset(stream, REFUSED_STREAM)
        else:
            conn.answer(stream)

    def check(self):
        same("streams", list(self.conns[0].streams), [1, 3])
        self.same_again()


class RefusedTwice(AnyRetry):
    """REFUSED_STREAM again: the call fails."""
    ends = ["UNAVAILABLE"]

    def on_request(self, conn, stream):
        conn.reset(stream, REFUSED_STREAM)

    def check(self):
        same("streams", list(self.conns[0].streams), [1, 3])


class RefusedAfterHeaders(Any):
    """REFUSED_STREAM from a server that had begun to answer: no retry."""
    ends = ["UNAVAILABLE"]

    def on_request(self, conn, stream):
        conn.headers(stream)
        conn.reset(stream, REFUSED_STREAM)

    def check(self):
        same("streams", list(self.conns[0].streams), [1])


class RstCodes(Any):
    """RST_STREAM with every error code, in the order of their numbers: the
    table of errors in gRPC over HTTP2. (Two REFUSED_STREAM: the first is tried
    again.)"""
    ends = ["INTERNAL", "INTERNAL", "INTERNAL", "INTERNAL", "INTERNAL",
            "INTERNAL", "INTERNAL", "UNAVAILABLE", "CANCELLED", "INTERNAL",
            "INTERNAL", "RESOURCE_EXHAUSTED", "PERMISSION_DENIED", "INTERNAL"]
    codes = list(range(REFUSED_STREAM + 1)) + list(range(REFUSED_STREAM, 14))

    def __init__(self):
        super().__init__()
        self.left = list(self.codes)

    def on_request(self, conn, stream):
        conn.reset(stream, self.left.pop(0))

    def check(self):
        same("codes that were not asked for", self.left, [])


class RstAfterTheEnd(Any):
    """A whole answer, then RST_STREAM NO_ERROR: the answer counts."""

    def on_request(self, conn, stream):
        conn.answer(stream)
        conn.then(stream, lambda: conn.frame("RST_STREAM", 0, stream.id,
                                             struct.pack(">I", NO_ERROR)))


class EarlyAnswer(Any):
    """All of the answer before the request is here, then RST_STREAM NO_ERROR
    (RFC 9113, 8.1): the answer counts, the rest of the request is not sent."""
    request_size = LARGE_REQUEST

    def on_headers(self, conn, stream):
        conn.answer(stream)
        conn.then(stream, lambda: conn.reset(stream, NO_ERROR))

    def credit(self, conn, stream, count):
        pass  # no more than the first window

    def on_request(self, conn, stream):
        raise Wrong("all of the request was sent")


class EarlyError(Any):
    """Trailers-Only while the request is still coming: its status, and our
    end of the stream is reset."""
    request_size = LARGE_REQUEST
    ends = ["RESOURCE_EXHAUSTED"]

    def on_headers(self, conn, stream):
        conn.headers(stream, HEADERS + [("grpc-status", "8")], end=True)

    def credit(self, conn, stream, count):
        pass

    def check(self):
        same("resets", [(number, ERRORS[code]) for number, code in
                        self.conns[0].resets()], [(1, "CANCEL")])


# ---- windows -------------------------------------------------------------

class WindowShrinksMidMessage(Any):
    """SETTINGS_INITIAL_WINDOW_SIZE falls to 1000 when the request has begun, so
    that the stream's window is negative; credit then comes in small pieces. h2
    sees to it that none of it is exceeded."""
    request_size = 90000

    def on_data(self, conn, stream):
        if not stream.told:
            stream.told = 1
            conn.settings(initial_window_size=1000)
            self.feed(conn, stream)

    def feed(self, conn, stream):
        if stream.ended or conn.closed:
            return
        conn.h2.increment_flow_control_window(3001, stream.id)
        conn.h2.increment_flow_control_window(3001)
        conn.flush()
        self.after(1, lambda: self.feed(conn, stream))

    def credit(self, conn, stream, count):
        pass

    def check(self):
        same("SETTINGS acknowledged", self.conns[0].acks(), 2)


class WindowGrowsMidMessage(Any):
    """It rises by SETTINGS alone, from 10 bytes to enough."""
    settings = {Setting.INITIAL_WINDOW_SIZE: 10}
    request_size = 30000

    def on_headers(self, conn, stream):
        self.after(50, lambda: conn.settings(initial_window_size=17))
        self.after(100, lambda: conn.settings(initial_window_size=40000))

    def credit(self, conn, stream, count):
        pass


class WindowOfOneByte(Any):
    """A request goes through a window of one byte, byte by byte."""
    settings = {Setting.INITIAL_WINDOW_SIZE: 1}
    request_size = 300

    def credit(self, conn, stream, count):
        conn.h2.increment_flow_control_window(count, stream.id)

    def check(self):
        sizes = {len(frame.payload) for frame in self.conns[0].named("DATA")}
        same("sizes of DATA", sizes, {1})


class WindowZeroThenCredit(Any):
    """No window at all, until a WINDOW_UPDATE."""
    settings = {Setting.INITIAL_WINDOW_SIZE: 0}

    def on_headers(self, conn, stream):
        self.after(100, lambda: (conn.h2.increment_flow_control_window(
            1000, stream.id), conn.flush()))


class WindowZeroForever(Any):
    """No window ever: the deadline ends the call, and the server is told."""
    settings = {Setting.INITIAL_WINDOW_SIZE: 0}
    ends = ["DEADLINE_EXCEEDED"]
    deadline_ms = 300

    def check(self):
        same("DATA", self.conns[0].named("DATA"), [])
        same("resets", self.conns[0].resets(), [(1, CANCEL)])


class WindowOverflowOfAStream(Any):
    """Credit beyond 2^31-1 on the stream (RFC 9113, 6.9.1)."""
    ends = ["INTERNAL"]

    def on_request(self, conn, stream):
        for _ in range(2):
            conn.frame("WINDOW_UPDATE", 0, stream.id,
                       struct.pack(">I", 0x7fffffff))

    def check(self):
        same("resets", self.conns[0].resets(), [(1, FLOW_CONTROL_ERROR)])


class WindowOverflowOfTheConnection(Any):
    """Credit beyond 2^31-1 on the connection."""
    ends = ["UNAVAILABLE"]
    breaks = FLOW_CONTROL_ERROR

    def on_request(self, conn, stream):
        for _ in range(2):
            conn.frame("WINDOW_UPDATE", 0, 0, struct.pack(">I", 0x7fffffff))


class WindowUpdateOfZero(Any):
    """Credit of nothing is an error of the stream."""
    ends = ["INTERNAL"]

    def on_request(self, conn, stream):
        conn.frame("WINDOW_UPDATE", 0, stream.id, bytes(4))

    def check(self):
        same("resets", self.conns[0].resets(), [(1, PROTOCOL_ERROR)])


class DataBeyondTheWindow(Any):
    """More of a message than the stream's window allows."""
    ends = ["INTERNAL"]

    def on_request(self, conn, stream):
        payload = conn.named("SETTINGS")[0].payload
        window = dict(struct.iter_unpack(">HI", payload))[
            Setting.INITIAL_WINDOW_SIZE]
        conn.headers(stream)
        whole = message(bytes(window - 5)) + bytes(16000)
        for at in range(0, len(whole), 16000):
            conn.frame("DATA", 0, stream.id, whole[at:at + 16000])

    def check(self):
        same("resets", self.conns[0].resets(), [(1, FLOW_CONTROL_ERROR)])


# ---- MAX_CONCURRENT_STREAMS ----------------------------------------------

class NoStreamsThenOne(Any):
    """MAX_CONCURRENT_STREAMS 0, raised later: the call waits for it."""
    settings = {Setting.MAX_CONCURRENT_STREAMS: 0}

    def on_ack(self, conn):
        self.after(200, lambda: self.allow(conn))

    def allow(self, conn):
        if not conn.named("HEADERS") and conn.acks() == 1:
            conn.settings(max_concurrent_streams=1)


class NoStreamsForever(Any):
    """MAX_CONCURRENT_STREAMS 0: the deadline ends the call, which the server
    never hears of."""
    settings = {Setting.MAX_CONCURRENT_STREAMS: 0}
    ends = ["DEADLINE_EXCEEDED"]
    deadline_ms = 300

    def check(self):
        same("HEADERS", self.conns[0].named("HEADERS"), [])


# ---- header blocks -------------------------------------------------------

ANSWER = HEADERS + [("x-test", "first")]
END = [("grpc-status", "0"), ("x-test", "last")]


class AnySplit(Any):
    """Blocks as plain frames."""
    ends = ["OK:  initial=first trailing=last"]

    def on_request(self, conn, stream):
        self.put(conn, stream, ANSWER, 0)
        conn.frame("DATA", 0, stream.id, self.response())
        self.put(conn, stream, END, END_STREAM)


class SplitByContinuation(AnySplit):
    """Answer and trailers in CONTINUATIONs of one byte, some of them empty."""

    def put(self, conn, stream, fields, flags):
        block = conn.block(fields)
        conn.frame("HEADERS", flags, stream.id, block[:1])
        for at in range(1, len(block)):
            conn.frame("CONTINUATION", 0, stream.id)
            conn.frame("CONTINUATION", 0, stream.id, block[at:at + 1])
        conn.frame("CONTINUATION", END_HEADERS, stream.id)


class PaddedHeadersWithPriority(AnySplit):
    """Padding and priority around each block."""

    def put(self, conn, stream, fields, flags):
        conn.frame("HEADERS", flags | END_HEADERS | PADDED | PRIORITY,
                   stream.id, b"\x07" + struct.pack(">IB", 0, 15)
                   + conn.block(fields) + bytes(7))


class InformationalHeaders(AnySplit):
    """100 and 103 come before the answer, and mean nothing."""

    def put(self, conn, stream, fields, flags):
        if not flags:
            for status in ("100", "103", "103"):
                conn.frame("HEADERS", END_HEADERS, stream.id, conn.block(
                    [(":status", status), ("x-test", "early")]))
        conn.frame("HEADERS", END_HEADERS | flags, stream.id,
                   conn.block(fields))


class InformationalEnd(Any):
    """100 with END_STREAM: malformed (RFC 9113, 8.1)."""
    ends = ["INTERNAL"]

    def on_request(self, conn, stream):
        conn.frame("HEADERS", END_HEADERS | END_STREAM, stream.id,
                   conn.block([(":status", "100")]))


class TrailersWithoutAnEnd(Any):
    """Trailers that do not end the stream: malformed."""
    ends = ["INTERNAL"]

    def on_request(self, conn, stream):
        conn.headers(stream)
        conn.frame("HEADERS", END_HEADERS, stream.id, conn.block(END))

    def check(self):
        same("resets", self.conns[0].resets(), [(1, PROTOCOL_ERROR)])


class HeadersWithoutAStatus(Any):
    """No :status: malformed."""
    ends = ["INTERNAL"]

    def on_request(self, conn, stream):
        conn.frame("HEADERS", END_HEADERS, stream.id,
                   conn.block(HEADERS[1:]))

    def check(self):
        same("resets", self.conns[0].resets(), [(1, PROTOCOL_ERROR)])


class FrameInsideABlock(Any):
    """A PING between HEADERS and its CONTINUATION (RFC 9113, 6.10)."""
    ends = ["UNAVAILABLE"]
    breaks = PROTOCOL_ERROR

    def on_request(self, conn, stream):
        conn.frame("HEADERS", 0, stream.id, conn.block(HEADERS))
        conn.frame("PING", 0, 0, bytes(8))


class ContinuationWithoutEnd(Any):
    """A header block that never ends: 100 MiB of it are not awaited."""
    ends = ["UNAVAILABLE"]
    breaks = ENHANCE_YOUR_CALM

    def on_request(self, conn, stream):
        conn.frame("HEADERS", 0, stream.id, conn.block(HEADERS))
        # fields that are not indexed, again and again
        block = (b"\x00\x03x-y\x0a0123456789") * 1024
        for _ in range(40):
            conn.frame("CONTINUATION", 0, stream.id, block)


class BrokenHeaderCompression(Any):
    """A reference to a field that no table has."""
    ends = ["UNAVAILABLE"]
    breaks = COMPRESSION_ERROR

    def on_request(self, conn, stream):
        conn.frame("HEADERS", END_HEADERS, stream.id, b"\xff\x80\x01")


class NoTableForTheClient(Any):
    """SETTINGS_HEADER_TABLE_SIZE 0: the client must say that it obeys, and
    refer to nothing; h2 decodes with no table at all."""
    settings = {Setting.HEADER_TABLE_SIZE: 0}
    ends = ["OK", "OK", "OK"]


class MetadataBeyondTheLimit(Any):
    """More metadata than the client has room for."""
    ends = ["RESOURCE_EXHAUSTED", "OK"]

    def on_request(self, conn, stream):
        if stream.id == 1:
            conn.headers(stream, HEADERS + [("x-test", "x" * 4000)])
        else:
            conn.answer(stream)


class StatusThatIsNone(Any):
    """grpc-status 17, -1, nothing, words; and no grpc-status at all."""
    ends = ["UNKNOWN"] * 5

    def on_request(self, conn, stream):
        status = ["17", "-1", "", "OK", None][stream.id // 2]
        conn.headers(stream)
        conn.data(stream, self.response())
        conn.then(stream, lambda: conn.headers(
            stream, [("grpc-status", status)] if status is not None
            else [("x-test", "none")], True))


# ---- frames that are odd -------------------------------------------------

class UnknownFramesAndSettings(Any):
    """What an extension may send, is passed over (RFC 9113, 5.5)."""

    def on_request(self, conn, stream):
        conn.frame("SETTINGS", 0, 0, struct.pack(">HIHI", 0xfe03, 1, 0x99, 7))
        conn.frame(0x0a, 0, 0, b"\x00\x0bhttp://here" b'h2=":1"')  # ALTSVC
        conn.frame(0x0c, 0, 0, b"\x00\x0bhttp://here")           # ORIGIN
        conn.frame(0xbe, 0, stream.id, bytes(100))
        conn.frame("PING", 0xfe, 0, b"flagged!")
        conn.frame("PRIORITY", 0, 77, struct.pack(">IB", 0, 3))
        conn.frame("SETTINGS", ACK, 0)     # of none
        conn.frame("PING", ACK, 0, b"nobody's")
        conn.answer(stream)

    def check(self):
        same("PINGs answered", self.conns[0].pongs(), [b"flagged!"])


class PushPromise(Any):
    """A push, which the client's SETTINGS forbid."""
    ends = ["UNAVAILABLE"]
    breaks = PROTOCOL_ERROR

    def on_request(self, conn, stream):
        conn.frame("PUSH_PROMISE", END_HEADERS, stream.id,
                   struct.pack(">I", 2) + conn.block(
                       [(":method", "GET"), (":scheme", "http"),
                        (":path", "/"), (":authority", "here")]))

    def check(self):
        payload = self.conns[0].named("SETTINGS")[0].payload
        said = dict(struct.iter_unpack(">HI", payload))
        same("ENABLE_PUSH", said.get(Setting.ENABLE_PUSH), 0)


class StreamOfTheServer(Any):
    """HEADERS on a stream that only the server can have opened."""
    ends = ["UNAVAILABLE"]
    breaks = PROTOCOL_ERROR

    def on_request(self, conn, stream):
        conn.frame("HEADERS", END_HEADERS, 2, conn.block(HEADERS))


class ResetOfAnIdleStream(Any):
    """RST_STREAM on a stream that nobody has opened (RFC 9113, 6.4)."""
    ends = ["UNAVAILABLE"]
    breaks = PROTOCOL_ERROR

    def on_request(self, conn, stream):
        conn.frame("RST_STREAM", 0, 99, struct.pack(">I", CANCEL))


class DataBeforeHeaders(Any):
    """DATA first."""
    ends = ["INTERNAL"]

    def on_request(self, conn, stream):
        conn.frame("DATA", 0, stream.id, self.response())

    def check(self):
        same("resets", self.conns[0].resets(), [(1, PROTOCOL_ERROR)])


class DataAfterTheEnd(Any):
    """DATA and HEADERS on a stream that has ended: the answer stands."""
    ends = ["OK", "OK"]
    pause_ms = 50

    def on_request(self, conn, stream):
        conn.answer(stream)
        if stream.id == 1:
            conn.then(stream, lambda: (
                conn.frame("DATA", 0, 1, b"more"),
                conn.frame("HEADERS", END_HEADERS | END_STREAM, 1,
                           conn.block(END))))


class FrameTooLarge(Any):
    """A frame over the 16,384 bytes that every client allows."""
    ends = ["UNAVAILABLE"]
    breaks = FRAME_SIZE_ERROR

    def on_request(self, conn, stream):
        conn.headers(stream)
        conn.frame("DATA", 0, stream.id, bytes(16385))


class BadSettings(Any):
    """SETTINGS_INITIAL_WINDOW_SIZE over 2^31-1 (RFC 9113, 6.5.2)."""
    ends = ["UNAVAILABLE"]
    breaks = FLOW_CONTROL_ERROR

    def on_request(self, conn, stream):
        conn.frame("SETTINGS", 0, 0, struct.pack(">HI", 4, 0x80000000))


class ContentLengthThatLies(Any):
    """More DATA than content-length says (RFC 9113, 8.1.1)."""
    ends = ["INTERNAL"]

    def on_request(self, conn, stream):
        conn.frame("HEADERS", END_HEADERS, stream.id,
                   conn.block(HEADERS + [("content-length", "3")]))
        conn.frame("DATA", 0, stream.id, self.response())

    def check(self):
        same("resets", self.conns[0].resets(), [(1, PROTOCOL_ERROR)])


class MessageTooLarge(Any):
    """A message whose prefix says 3 GiB: refused before it comes."""
    ends = ["RESOURCE_EXHAUSTED", "OK"]

    def on_request(self, conn, stream):
        if stream.id == 1:
            conn.headers(stream)
            conn.data(stream, b"\0" + struct.pack(">I", 3 << 30) + bytes(90))
        else:
            conn.answer(stream)

    def check(self):
        same("resets", self.conns[0].resets(), [(1, CANCEL)])


class AnswerByteByByte(Any):
    """DATA of one byte each."""

    def on_request(self, conn, stream):
        conn.answer(stream, chunk=1)


class DropByDrop(Any):
    """All that the server says comes in segments of one byte."""
    segment = 1


# ---- streams of messages -------------------------------------------------

class AnyStream(Any):
    """One FullDuplexCall. on_message() is told of each request."""
    path = "/grpc.testing.TestService/FullDuplexCall"
    messages = 3
    ping_pong = True

    def whole_request(self):
        return stream_request_bytes(self.request_size,
                                    self.response_size) * self.messages

    def on_data(self, conn, stream):
        each = len(self.whole_request()) // self.messages
        while stream.told * each + each <= len(stream.body):
            stream.told += 1
            self.on_message(conn, stream, stream.told)

    def on_message(self, conn, stream, number):
        if number == 1:
            conn.headers(stream)
        conn.data(stream, self.response())

    def on_request(self, conn, stream):
        conn.trailers(stream)


class StreamOutlivesGoaway(AnyStream):
    """The server drains when a stream has begun: it goes on to its end."""
    ends = ["OK:  messages=5"]
    messages = 5

    def on_message(self, conn, stream, number):
        if number == 1:
            conn.goaway(0x7fffffff)
        if number == 3:
            conn.goaway(stream.id)
        super().on_message(conn, stream, number)


class GoawayBelowOpenStream(AnyStream):
    """GOAWAY that excludes a stream with messages on it: they cannot be sent
    again, for nobody has kept them."""
    ends = ["UNAVAILABLE: the server is going away messages=0"]

    def on_message(self, conn, stream, number):
        conn.goaway(0)


class ServerEndsFirst(AnyStream):
    """Trailers when the client would still send: the call is over, and the
    server is told that no more will come."""
    ends = ["OK:  messages=1"]

    def on_message(self, conn, stream, number):
        super().on_message(conn, stream, number)
        conn.trailers(stream)

    def check(self):
        same("resets", self.conns[0].resets(), [(1, CANCEL)])


class ResetMidStream(AnyStream):
    """RST_STREAM CANCEL after two messages."""
    ends = ["CANCELLED: the stream was reset messages=2"]

    def on_message(self, conn, stream, number):
        if number < 3:
            super().on_message(conn, stream, number)
        else:
            conn.reset(stream, CANCEL)


class SilenceMidStream(AnyStream):
    """No more answers after two messages: the deadline ends the call."""
    ends = ["DEADLINE_EXCEEDED: deadline exceeded messages=2"]
    deadline_ms = 600

    def on_message(self, conn, stream, number):
        if number < 3:
            super().on_message(conn, stream, number)

    def check(self):
        same("resets", self.conns[0].resets(), [(1, CANCEL)])


class ManyMessagesInOneFrame(AnyStream):
    """Fifty responses in one DATA frame, then the end at once."""
    ends = ["OK:  messages=50"]
    messages = 1
    ping_pong = False

    def on_message(self, conn, stream, number):
        conn.headers(stream)
        conn.data(stream, self.response() * 50)


class MessageCutShort(AnyStream):
    """Two responses and a half, then the status OK."""
    ends = ["INTERNAL: the last message is cut short messages=2"]
    messages = 1
    ping_pong = False

    def on_message(self, conn, stream, number):
        conn.headers(stream)
        conn.data(stream, self.response() * 2 + self.response()[:11])


class SlowApplication(AnyStream):
    """Twenty responses of 100,000 bytes for an application that takes none at
    first: the client gives no credit for what lies in its buffer."""
    ends = ["OK:  messages=20"]
    messages = 1
    ping_pong = False
    response_size = 100000
    pause_ms = 1000

    def on_message(self, conn, stream, number):
        conn.headers(stream)
        conn.data(stream, self.response() * 20)
        self.after(500, lambda: self.look(conn))

    def look(self, conn):
        self.early = [frame for frame in conn.named("WINDOW_UPDATE")
                      if frame.stream == 1]

    def check(self):
        same("credit for what was not taken", self.early, [])


# ---- storms --------------------------------------------------------------

class PingStorm(Any):
    """A thousand PINGs while a call waits: all come back, in order."""

    def __init__(self):
        super().__init__()
        self.pings = [struct.pack(">Q", number) for number in range(1000)]

    def on_request(self, conn, stream):
        for one in self.pings:
            conn.ping(one)
        self.after(100, lambda: conn.answer(stream))

    def check(self):
        same("PINGs answered", self.conns[0].pongs(), self.pings)


class AnyFlood(Any):
    """Too much of what costs the server nothing: the client hangs up."""
    ends = ["UNAVAILABLE"]
    breaks = ENHANCE_YOUR_CALM

    def on_request(self, conn, stream):
        conn.headers(stream)
        for number in range(20000):
            self.drop(conn, stream)


class PingFlood(AnyFlood):
    """PINGs."""

    def drop(self, conn, stream):
        conn.frame("PING", 0, 0, bytes(8))


class SettingsFlood(AnyFlood):
    """Empty SETTINGS."""

    def drop(self, conn, stream):
        conn.frame("SETTINGS", 0, 0)


class EmptyDataFlood(AnyFlood):
    """Empty DATA."""

    def drop(self, conn, stream):
        conn.frame("DATA", 0, stream.id)


class WindowUpdateFlood(AnyFlood):
    """WINDOW_UPDATEs of one byte."""

    def drop(self, conn, stream):
        conn.frame("WINDOW_UPDATE", 0, stream.id, struct.pack(">I", 1))


# ---- all at once ---------------------------------------------------------

class AnyOdd(Any):
    """All that the rules allow, at once, by the dice of `seed`: 15 large calls
    at a time must come to their end. h2 sees to the client's manners."""
    runs = "max_streams"
    ends = None
    settings = {Setting.MAX_CONCURRENT_STREAMS: 7,
                Setting.INITIAL_WINDOW_SIZE: 3000}

    def __init__(self):
        super().__init__()
        self.dice = random.Random(self.seed)
        self.pings = []

    def on_connect(self, conn):
        super().on_connect(conn)
        self.change(conn, 0)

    def change(self, conn, turn):
        """The limits change all the time. None of them may be the last to be
        small, or nothing would ever move."""
        if conn.closed:
            return
        dice = self.dice
        if conn.acks() > turn:  # h2 obeys, as the client does, with the ACK
            conn.settings(
                initial_window_size=dice.choice((0, 1, 900, 65535, 400000)),
                header_table_size=dice.choice((0, 100, 4096)),
                max_concurrent_streams=dice.choice((1, 3, 15)))
            turn += 1
        self.after(dice.randrange(30), lambda: self.change(conn, turn))

    def credit(self, conn, stream, count):
        if not count:
            return
        late = self.dice.randrange(10)
        if late < 7:
            super().credit(conn, stream, count)
        else:
            self.after(late, lambda: self.credit_late(conn, stream, count))

    def credit_late(self, conn, stream, count):
        super().credit(conn, stream, count)
        conn.flush()

    def aside(self, conn, stream):
        """A frame that changes nothing."""
        throw = self.dice.randrange(12)
        if throw == 0:
            self.pings.append(struct.pack(">Q", len(self.pings)))
            conn.ping(self.pings[-1])
        elif throw == 1:
            conn.frame("PRIORITY", 0, stream.id, struct.pack(">IB", 0, 9))
        elif throw == 2:
            conn.frame(0xbe, 0xff, stream.id, b"?")
        elif throw == 3:
            conn.frame("DATA", PADDED, stream.id, b"\x00")

    def on_request(self, conn, stream):
        dice, whole, at = self.dice, self.response(), 0
        for _ in range(dice.randrange(3)):
            conn.frame("HEADERS", END_HEADERS, stream.id, conn.block(
                [(":status", "103"), ("x-test", "early")]))
        conn.headers(stream, HEADERS + [
            ("x-test", "first"), ("x-other", "y" * dice.randrange(90))])
        while at < len(whole):
            size = dice.choice((1, 5, 300, 5000, 16000, 16000))
            pad = dice.choice((None, None, 0, 1, 200))
            conn.data(stream, whole[at:at + size], pad=pad)
            conn.then(stream, lambda: self.aside(conn, stream))
            at += size
        conn.trailers(stream, 0, ("x-test", "last"),
                      ("x-more", "z" * dice.randrange(90)))

    def check(self):
        same("PINGs answered", self.conns[0].pongs(), self.pings)
        same("calls", len(self.conns[0].streams), 16)


class OddButLegal1(AnyOdd):
    """The first throw."""
    seed = 1


class OddButLegal2(AnyOdd):
    """The second."""
    seed = 2


class OddButLegal3(AnyOdd):
    """The third."""
    seed = 3


# ---- silence, and ends ---------------------------------------------------

class NoSettings(Any):
    """A server that never sends SETTINGS: no call is begun."""
    ends = ["DEADLINE_EXCEEDED"]
    deadline_ms = 500
    uses_h2 = False

    def on_connect(self, conn):
        pass

    def check(self):
        same("HEADERS", self.conns[0].named("HEADERS"), [])


class SettingsAreNotTheFirstFrame(Any):
    """A server that acknowledges before it says its own (RFC 9113, 3.4)."""
    ends = ["UNAVAILABLE"]
    breaks = PROTOCOL_ERROR
    uses_h2 = False

    def on_connect(self, conn):
        conn.frame("SETTINGS", ACK, 0)
        conn.frame("SETTINGS", 0, 0)

    def check(self):
        same("HEADERS", self.conns[0].named("HEADERS"), [])


class NotHttp2(Any):
    """A server of HTTP/1.1 (RFC 9113, 3.4)."""
    ends = ["UNAVAILABLE"]
    breaks = PROTOCOL_ERROR
    uses_h2 = False

    def on_connect(self, conn):
        conn.out += b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


class NoAnswer(Any):
    """Nothing comes: the deadline ends the call and the server is told; the
    connection carries the next one."""
    ends = ["DEADLINE_EXCEEDED", "OK"]
    deadline_ms = 600

    def on_request(self, conn, stream):
        if stream.id > 1:
            conn.answer(stream)

    def check(self):
        same("resets", self.conns[0].resets(), [(1, CANCEL)])
        timeout = dict(self.conns[0].streams[1].headers).get("grpc-timeout")
        if not 300 <= int((timeout or "0m").rstrip("m")) <= 600:
            raise Wrong("grpc-timeout is %r" % timeout)


class HalfAnAnswer(NoAnswer):
    """Headers and half a message, then silence."""

    def on_request(self, conn, stream):
        if stream.id > 1:
            conn.answer(stream)
        else:
            conn.headers(stream)
            conn.data(stream, self.response()[:12])


class ClosesMidMessage(Any):
    """The connection ends in the middle of a message; the next call takes
    another one."""
    ends = ["UNAVAILABLE", "OK"]
    conns_wanted = 2
    response_size = 50000

    def on_request(self, conn, stream):
        if conn.number > 1:
            conn.answer(stream)
            return
        conn.headers(stream)
        conn.data(stream, self.response()[:30000])
        self.leave(conn, stream)

    def leave(self, conn, stream):
        conn.then(stream, conn.close)


class AbortsMidMessage(ClosesMidMessage):
    """The same by a RST of TCP."""

    def leave(self, conn, stream):
        self.after(50, conn.abort)


class ClosesBeforeTheTrailers(Any):
    """All of the message is there, but no status: that is no success."""
    ends = ["UNAVAILABLE"]

    def on_request(self, conn, stream):
        conn.headers(stream)
        conn.data(stream, self.response())
        conn.then(stream, conn.close)


class HangsUpBetweenCalls(Any):
    """The connection ends when nothing is in flight; the next call does not
    notice."""
    ends = ["OK", "OK"]
    conns_wanted = 2
    pause_ms = 100

    def on_request(self, conn, stream):
        conn.answer(stream)
        if conn.number == 1:
            conn.then(stream, conn.close)


class ClosesMidRequest(Any):
    """The connection ends while a large request is being sent."""
    ends = ["UNAVAILABLE"]
    request_size = LARGE_REQUEST

    def on_data(self, conn, stream):
        conn.close()

    def credit(self, conn, stream, count):
        pass


class ClosesAtOnce(Any):
    """Two connections are closed as they come; a call that waits for one takes
    the third."""
    wait_for_ready = True
    conns_wanted = 3

    def on_connect(self, conn):
        if conn.number < 3:
            conn.close()
        else:
            super().on_connect(conn)


# ---- running -------------------------------------------------------------

def outcome(kind, options):
    """"", or what was wrong."""
    try:
        run_case(kind, options)
    except Wrong as problem:
        if not excused(options, kind, problem):
            return ": " + str(problem)
    except deps.Missing as problem:
        return ": " + str(problem)
    return ""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--client", metavar="CMD")
    which.add_argument("--control", action="store_true")
    parser.add_argument("--case", action="append", metavar="NAME")
    parser.add_argument("--timeout", type=float, default=25, metavar="S",
                        help="of one case (25)")
    options = parser.parse_args()
    if options.control:
        prepare_control(options)
    unknown = set(options.case or ()) - {kind.name for kind in CASES}
    if unknown:
        deps.die("no case is called %s; there are: %s" % (
            ", ".join(unknown), ", ".join(kind.name for kind in CASES)))
    chosen = [kind for kind in CASES
              if not options.case or kind.name in options.case]
    passed, notes = 0, []
    # they mostly wait: for deadlines, and for what should not come
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for kind, wrong in zip(chosen, pool.map(
                lambda kind: outcome(kind, options), chosen)):
            passed += not wrong
            notes += [kind.name + wrong] if wrong else []
            print("%s %s%s" % ("FAIL" if wrong else "ok  ", kind.name, wrong),
                  flush=True)
    if not options.case:
        results.write("negative_peer", list(rows(notes)))
    print("%d passed, %d failed, 0 skipped" % (passed, len(notes)))
    sys.exit(1 if notes or not passed else 0)


def prepare_control(options):
    try:
        options.client = golang.tool("http2")
    except deps.Missing as missing:
        deps.die(missing)
    options.case = ["goaway", "rst_after_header", "rst_during_data",
                    "rst_after_data", "ping", "max_streams"]


def excused(options, kind, problem):
    """What is no fault of this server: see EXPLAINED."""
    return (options.control and kind is RstDuringData
            and "UnaryCall() = _, Internal, want _, Unknown" in str(problem))


EXPLAINED = ("rst_during_data: passed with INTERNAL, as the table of errors in "
             "gRPC over HTTP/2 has it for NO_ERROR, and as grpc-go says too; "
             "the program in grpc-go still waits for UNKNOWN")


def rows(notes):
    """For the matrix: gRPC's own cases, and ours."""
    for title, kinds, explained in (
            ("gRPC negative HTTP/2", AnyOfGrpc, [EXPLAINED]),
            ("negative HTTP/2, our own cases", Any, [])):
        names = {kind.name for kind in CASES if issubclass(kind, kinds)}
        bad = [note for note in notes if note.split(":")[0] in names]
        yield {"suite": title, "peer": "python3-h2", "ours": "client",
               "passed": len(names) - len(bad), "run": len(names),
               "notes": bad + explained}


if __name__ == "__main__":
    main()
