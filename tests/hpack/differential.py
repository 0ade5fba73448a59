#!/usr/bin/env python3
"""Our HPACK against python3-hpack and libnghttp2, both ways.

    tests/hpack/differential.py --bin DIR [--seed N] [--rounds N]

DIR holds hpack_peek and hpack_make. Random header lists with changes of the
table size are encoded by one side and decoded by the other. A peer library
that is not installed is skipped and named.
"""
import argparse
import base64
import ctypes
import ctypes.util
import random
import subprocess
import sys

try:
    import hpack
except ImportError:
    hpack = None

NAMES = """accept-charset accept-encoding accept-language accept-ranges accept
access-control-allow-origin age allow authorization cache-control
content-disposition content-encoding content-language content-length
content-location content-range content-type cookie date etag expect expires
from host if-match if-modified-since if-none-match if-range
if-unmodified-since last-modified link location max-forwards
proxy-authenticate proxy-authorization range referer refresh retry-after
server set-cookie strict-transport-security transfer-encoding user-agent vary
via www-authenticate te grpc-timeout grpc-encoding grpc-accept-encoding
grpc-status grpc-message grpc-status-details-bin connection keep-alive
proxy-connection upgrade""".split()
PSEUDO = ":authority :method :path :scheme :status".split()
IDS = {name: number for number, name in enumerate(PSEUDO + NAMES, 1)}
USUAL = [(":method", "POST"), (":method", "GET"), (":scheme", "http"),
         (":scheme", "https"), (":path", "/"), (":path", "/index.html"),
         (":status", "200"), (":status", "404"), (":authority", "localhost"),
         (":path", "/hello.Greeter/SayHello"), ("te", "trailers"),
         ("content-type", "application/grpc"),
         ("accept-encoding", "gzip, deflate"), ("grpc-status", "0"),
         ("user-agent", "grpc-go/1.81.1")]


class Nghttp2:
    """The deflater and the inflater of libnghttp2."""

    class Field(ctypes.Structure):
        _fields_ = [("name", ctypes.c_void_p), ("value", ctypes.c_void_p),
                    ("name_len", ctypes.c_size_t),
                    ("value_len", ctypes.c_size_t), ("flags", ctypes.c_uint8)]

    def __init__(self, lib):
        self.lib = lib
        lib.nghttp2_hd_deflate_hd.restype = ctypes.c_ssize_t
        lib.nghttp2_hd_inflate_hd2.restype = ctypes.c_ssize_t
        self.deflater, self.inflater = ctypes.c_void_p(), ctypes.c_void_p()
        if (lib.nghttp2_hd_deflate_new(ctypes.byref(self.deflater),
                                       ctypes.c_size_t(16384)) or
                lib.nghttp2_hd_inflate_new(ctypes.byref(self.inflater))):
            raise RuntimeError("nghttp2: no memory")

    def __del__(self):
        self.lib.nghttp2_hd_deflate_del(self.deflater)
        self.lib.nghttp2_hd_inflate_del(self.inflater)

    def set_encoder_size(self, size):
        self.lib.nghttp2_hd_deflate_change_table_size(
            self.deflater, ctypes.c_size_t(size))

    def set_decoder_size(self, size):
        self.lib.nghttp2_hd_inflate_change_table_size(
            self.inflater, ctypes.c_size_t(size))

    def encode(self, fields):
        array = (self.Field * len(fields))()
        keep = []
        for at, (name, value) in enumerate(fields):
            a, b = (ctypes.create_string_buffer(t, len(t) + 1)
                    for t in (name, value))
            keep += [a, b]
            array[at] = self.Field(ctypes.addressof(a), ctypes.addressof(b),
                                   len(name), len(value), 0)
        out = ctypes.create_string_buffer(1 << 18)
        size = self.lib.nghttp2_hd_deflate_hd(
            self.deflater, out, ctypes.c_size_t(len(out)), array,
            ctypes.c_size_t(len(fields)))
        if size < 0:
            raise RuntimeError("nghttp2: %d" % size)
        return out.raw[:size]

    def decode(self, wire):
        fields, field, flags = [], self.Field(), ctypes.c_int(0)
        while True:
            data = ctypes.create_string_buffer(wire, max(len(wire), 1))
            used = self.lib.nghttp2_hd_inflate_hd2(
                self.inflater, ctypes.byref(field), ctypes.byref(flags), data,
                ctypes.c_size_t(len(wire)), 1)
            if used < 0:
                raise RuntimeError("nghttp2: %d" % used)
            wire = wire[used:]
            if flags.value & 2:
                fields.append((ctypes.string_at(field.name, field.name_len),
                               ctypes.string_at(field.value,
                                                field.value_len)))
            if flags.value & 1 or not (flags.value & 2 or wire):
                break
        self.lib.nghttp2_hd_inflate_end_headers(self.inflater)
        return fields


class PythonHpack:
    def __init__(self):
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.decoder.max_header_list_size = 1 << 24

    def set_encoder_size(self, size):
        self.encoder.header_table_size = size

    def set_decoder_size(self, size):
        self.decoder.max_allowed_table_size = size

    def encode(self, fields):
        made = [hpack.NeverIndexedHeaderTuple(*f) if len(f[1]) % 7 == 3
                else hpack.HeaderTuple(*f) for f in fields]
        return self.encoder.encode(made, huffman=random_of(fields) % 3 != 0)

    def decode(self, wire):
        return [tuple(f) for f in self.decoder.decode(wire, raw=True)]


def random_of(fields):
    return sum(len(name) + len(value) for name, value in fields)


def any_bytes(rng, low, high):
    kind = rng.random()
    size = int(rng.triangular(low, high, low))
    if kind < 0.6:
        letters = b"abcdefghijklmnopqrstuvwxyz0123456789-_./ %=:;,"
    elif kind < 0.9:
        letters = bytes(range(0x20, 0x7F))
    else:
        letters = bytes(range(256))
    return bytes(rng.choice(letters) for _ in range(size))


def random_field(rng, earlier):
    kind = rng.random()
    if earlier and kind < 0.35:
        return rng.choice(earlier)
    if earlier and kind < 0.45:
        return rng.choice(earlier)[0], any_bytes(rng, 0, 60)
    if kind < 0.6:
        name, value = rng.choice(USUAL)
        return name.encode(), value.encode()
    if kind < 0.75:
        return rng.choice(NAMES).encode(), any_bytes(rng, 0, 60)
    name = any_bytes(rng, 1, 30 if kind < 0.97 else 400)
    name = bytes(c for c in name if chr(c) not in "\n:") or b"x"
    return name.lower(), any_bytes(rng, 0, 80 if kind < 0.95 else 6000)


def decoder_case(rng, peer):
    """The input of hpack_peek and what it must print."""
    lines, expected, earlier, limit = [], b"", [], 4096
    for _ in range(rng.randrange(1, 30)):
        if rng.random() < 0.2:
            # ascending and distinct: python3-hpack announces even a size
            # that the next setting has forbidden meanwhile, and announces
            # nothing for one that comes twice
            sizes = (0, 33, 100, 256, 1365, 2730, 4096, 5000, 16384)
            for limit in sorted(rng.sample(sizes, rng.choice((1, 1, 2)))):
                lines.append("table %d" % limit)
                peer.set_encoder_size(limit)
        fields = [random_field(rng, earlier)
                  for _ in range(rng.randrange(1, 25))]
        earlier = (earlier + fields)[-60:]
        lines.append("wire " + peer.encode(fields).hex())
        expected += b"".join(n + b": " + v + b"\n" for n, v in fields) + b"\n"
    return "\n".join(lines) + "\n", expected


def percent(value):
    def plain(at, c):
        edge = at in (0, len(value) - 1) and c == 0x20
        return 0x20 <= c <= 0x7E and c != 0x25 and not edge
    return b"".join(bytes([c]) if plain(at, c) else b"%%%02X" % c
                    for at, c in enumerate(value))


def on_the_wire(name, value):
    if name == b"grpc-message":
        return percent(value)
    if name.endswith(b"-bin"):
        return base64.b64encode(value).rstrip(b"=")
    return value


CONSTANT_VALUES = [b"application/grpc", b"/a.B/C", b"/a.B/D", b"trailers",
                   b"identity", b"0", b"", b"x" * 300, b"localhost:50051"]


def made_field(rng):
    """A command of hpack_make and the field that must come out."""
    kind = rng.random()
    value = any_bytes(rng, 0, 300)
    if kind < 0.5:
        name = rng.choice(PSEUDO + NAMES)
        value = rng.choice(CONSTANT_VALUES)
        verb, key = "constant", str(IDS[name])
        return (verb, key, value), (name.encode(), value)
    if kind < 0.75:
        name = rng.choice(NAMES)
        return (("known", str(IDS[name]), value),
                (name.encode(), on_the_wire(name.encode(), value)))
    name = rng.choice((b"x-token", b"a", b"x-data-bin", b"authorization",
                       b"traceparent", b"x" * 200))
    return ("record", name.hex(), value), (name, on_the_wire(name, value))


def encoder_case(rng):
    """The input of hpack_make, and for each block (limits, fields)."""
    lines, blocks = [], []
    for _ in range(rng.randrange(1, 20)):
        limits = []
        if rng.random() < 0.25:
            for _ in range(rng.choice((1, 1, 2, 3))):
                limits.append(rng.choice((0, 47, 100, 512, 4096, 65536)))
                lines.append("limit %d" % limits[-1])
        lines.append("room %d" % rng.choice((131072, 131072, 60)))
        made = [made_field(rng) for _ in range(rng.randrange(1, 12))]
        lines += ["%s %s %s" % (verb, key, value.hex() or "-")
                  for (verb, key, value), _ in made] + ["end"]
        blocks.append((limits, [field for _, field in made]))
    return "\n".join(lines) + "\n", blocks


def run(program, text):
    done = subprocess.run([program], input=text.encode(),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return done.returncode, done.stdout, done.stderr


def check_decoder(binaries, rng, peer):
    text, expected = decoder_case(rng, peer)
    code, out, err = run(binaries + "/hpack_peek", text)
    if code == 0 and out == expected:
        return None
    return "hpack_peek exited with %d\n%s\n%s" % (
        code, err.decode(), first_difference(out, expected))


def first_difference(out, expected):
    for at, (a, b) in enumerate(zip(out.split(b"\n"), expected.split(b"\n"))):
        if a != b:
            return "line %d: %r, expected %r" % (at + 1, a, b)
    return "%d bytes, expected %d" % (len(out), len(expected))


def check_encoder(binaries, rng, peer):
    text, blocks = encoder_case(rng)
    code, out, err = run(binaries + "/hpack_make", text)
    if code != 0:
        return "hpack_make exited with %d\n%s" % (code, err.decode())
    for at, (line, (limits, fields)) in enumerate(
            zip(out.decode().splitlines(), blocks)):
        for limit in limits:
            peer.set_decoder_size(limit)
        if line == "full":
            continue
        found = peer.decode(bytes.fromhex(line[5:]))
        if found != fields:
            return "block %d: %r, expected %r" % (at, found, fields)
    return None


def peers():
    if hpack is not None:
        yield "python3-hpack", PythonHpack
    else:
        print("skipped: python3-hpack is not installed")
    name = ctypes.util.find_library("nghttp2")
    if name:
        lib = ctypes.CDLL(name)
        yield "libnghttp2", lambda: Nghttp2(lib)
    else:
        print("skipped: libnghttp2 is not installed")


def check_all(options):
    passed = failed = 0
    for name, make in peers():
        for check in (check_decoder, check_encoder):
            for at in range(options.rounds):
                seed = "%d/%s/%s/%d" % (options.seed, name, check.__name__,
                                        at)
                wrong = check(options.bin, random.Random(seed), make())
                passed, failed = passed + (not wrong), failed + bool(wrong)
                if wrong:
                    print("FAILED %s: %s" % (seed, wrong))
    return passed, failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--seed", type=int,
                        default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--rounds", type=int, default=150)
    options = parser.parse_args()
    print("seed %d" % options.seed)
    passed, failed = check_all(options)
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
