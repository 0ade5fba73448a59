#!/usr/bin/python3
"""A .proto that evolves: old and new clients with old and new servers, ours
and grpcio's, all sixteen pairs.

    tests/interop/evolution.py --bin build/host/bin

evolution/v1 and evolution/v2 hold the two versions, evolution/client-vN-
server-vM.txt what Google's own protobuf and grpcio say to each other. With us
on one side or on both the same is said, but for the differences that stand
below, each with its reason.
"""
import os
import subprocess

from cases import Cases, Server, check, need, parser, same
import deps

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "evolution")
PEER = os.path.join(HERE, "peer.py")
VERSIONS = ("v1", "v2")

# (client's version, server's version, whose side is ours): {case: what is
# said instead}. With us on both sides both apply, the server's first.
#
# - nanopb drops fields that it does not know, where Google's protobuf keeps
#   them for whoever writes the message again: what an old server of ours
#   echoes has lost them.
# - nanopb fails a field of another wire type, which protobuf passes over: a
#   request that cannot be decoded is INTERNAL, and so is such a reply.
# - what is longer than its field's max_size or max_count cannot be decoded;
#   what is longer than RX_BYTES, unknown fields included, is
#   RESOURCE_EXHAUSTED.
# - one message where one is expected: too few or too many are UNIMPLEMENTED
#   (gRPC's status codes: "cardinality violation"). grpcio takes no message
#   for None, waits for ever after two, and serves the first of two.
DIFFERENCES = {
    ("v1", "v2", "server"): {
        "chat": ["- id=9 name= value=-5 state=3 unit=0 place=(3,-4) "
                 "samples=1,2,3,4, note=short"] * 2 + ["OK"],
        "echo": ["OK id=9 name= value=-5 state=3 unit=0 place=(3,-4) "
                 "samples=1,2,3,4, note=short"],
        "recode": ["INTERNAL"],
    },
    ("v1", "v2", "client"): {
        "recode": ["INTERNAL"],
        "widen-0": ["UNIMPLEMENTED"],
        "widen-3": ["UNIMPLEMENTED"],
    },
    ("v2", "v1", "server"): {
        "chat": ["- id=9 value=-5 state=9 place= samples=1,-1, note=short "
                 "exact=0.00 battery=- labels= blob=0 serial=0"] * 2 + ["OK"],
        "echo": ["OK id=9 value=-5 state=9 place= samples=1,-1, note=short "
                 "exact=0.00 battery=- labels= blob=0 serial=0"],
        "echo-long-note": ["INTERNAL"],
        "echo-more-samples": ["INTERNAL"],
        "echo-large-value": [
            "OK id=9 value=1410065408 state=9 place= samples=1,-1, "
            "note=short exact=0.00 battery=- labels= blob=0 serial=0"],
        "echo-large-blob": ["RESOURCE_EXHAUSTED"],
        "recode": ["INTERNAL"],
        "gather-2": ["UNIMPLEMENTED"],
    },
    ("v2", "v1", "client"): {
        "recode": ["INTERNAL"],
    },
}


def parsed(text):
    """{case: its lines}"""
    cases = {}
    for line in text.splitlines():
        name, rest = line.split(":", 1)
        cases.setdefault(name, []).append(rest.strip())
    return cases


def expected(client, server, ours):
    with open(os.path.join(HERE, "client-%s-server-%s.txt"
                           % (client, server))) as file:
        wanted = parsed(file.read())
    for side in ("server", "client"):
        if side in ours:
            wanted.update(DIFFERENCES.get((client, server, side), {}))
    return wanted


class World:
    def __init__(self, directory):
        self.directory = directory

    def command(self, role, version, ours):
        if ours:
            return [os.path.join(self.directory, "evolution_%s_%s"
                                 % (role, version))]
        return [PEER, role, version]

    def server(self, version, ours):
        return Server(*self.command("server", version, ours), "--port", "0")

    def talk(self, version, ours, port):
        done = subprocess.run(
            self.command("client", version, ours) + ["--port", str(port)],
            capture_output=True, text=True, timeout=60)
        check(done.returncode == 0, done.stdout + done.stderr)
        return parsed(done.stdout)


def word(lines):
    """The status that a case ended with."""
    return lines[-1].split()[0] if lines else "nothing"


def judge(cases, client, server, said, wanted, table):
    for name in sorted(set(said) | set(wanted)):
        lines = said.get(name, [])
        cases.run("%s client, %s server: %s: %s" % (
            client, server, name, word(lines)), same, lines,
            wanted.get(name))
        table.setdefault(name, {})[client, server] = word(lines)


def show(title, table):
    pairs = [(client, server) for client in VERSIONS for server in VERSIONS]
    print("%s\n%-22s%s" % (title, "", "".join(
        "%-20s" % ("%s to %s" % pair) for pair in pairs).rstrip()))
    for name, row in table.items():
        print(("  %-20s" % name + "".join(
            "%-20s" % row.get(pair, "-") for pair in pairs)).rstrip())


def main():
    options = parser(__doc__).parse_args()
    need("python3-grpcio", "python3-protobuf", "protobuf-compiler")
    cases = Cases("evolution", "old and new .proto")
    w = World(options.bin)
    grpcio = "grpcio " + deps.debian_version("python3-grpcio")
    tables = []
    for peer, ours in ((grpcio, ("server",)), (grpcio, ("client",)),
                       ("cgrpc", ("client", "server"))):
        table = {}
        with cases.peer(peer, "both" if len(ours) == 2 else ours[0]):
            for server in VERSIONS:
                with w.server(server, "server" in ours) as running:
                    for client in VERSIONS:
                        said = w.talk(client, "client" in ours, running.port)
                        judge(cases, client, server, said,
                              expected(client, server, ours), table)
        tables.append(("client %s, server %s" % tuple(
            "ours" if side in ours else grpcio
            for side in ("client", "server")), table))
    with cases.peer(grpcio + " with itself", "neither"):
        for server in VERSIONS:
            with w.server(server, False) as running:
                for client in VERSIONS:
                    cases.run("%s client, %s server: as was written down"
                              % (client, server), same,
                              w.talk(client, False, running.port),
                              expected(client, server, ()))
    for title, table in tables:
        show(title, table)
    cases.finish()


if __name__ == "__main__":
    main()
