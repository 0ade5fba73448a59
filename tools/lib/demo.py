#!/usr/bin/python3
"""What tools/demo does: RouteGuide over a socket, and its price.

The price is measured, here and now: what the compiler makes for Cortex-M4 at
-Os of the core, of nanopb and of the service, and the sizes of the objects that
a server with one connection and four calls in flight declares.
"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import build
import deps

GUIDE = os.path.join(deps.ROOT, "examples", "route_guide")
OUT = os.path.join(deps.ROOT, "build", "demo")
PACKAGES = ("gcc", "libc6-dev", "protobuf-compiler", "nanopb", "dpkg-dev",
            "libnanopb-dev", "python3-protobuf") + build.ARM

SERVICE = """
#include "route_guide.cgrpc.h"
CGRPC_SERVER_DEFINE(server, 1, 4, routeguide_RouteGuide_RX_BYTES, 256,
                    routeguide_RouteGuide_SCRATCH);
const void *use[2] = { &server, &routeguide_RouteGuide_service };
"""
CHANNEL = """
#include "route_guide.cgrpc.h"
CGRPC_CHANNEL_DEFINE(channel, routeguide_RouteGuide_MAX_REPLY, 256);
CGRPC_CALL_DEFINE(call, routeguide_RouteGuide_MAX_REPLY);
const void *use[2] = { &channel, &call };
"""


def compile_programs(made):
    """route_guide_server and route_guide_client, each by one line of gcc."""
    port = os.path.join(deps.ROOT, "port")
    for side in ("server", "client"):
        deps.run_quietly(
            "compiling route_guide_" + side,
            ["gcc", "-std=c99", "-O2"] + build.includes(deps.ROOT, port, made)
            + [os.path.join(GUIDE, side + ".c"),
               os.path.join(GUIDE, "features.c"),
               os.path.join(made, "route_guide.pb.c"),
               "-lprotobuf-nanopb", "-lm",
               "-o", os.path.join(OUT, "route_guide_" + side)])


def talk():
    with deps.Process([os.path.join(OUT, "route_guide_server"),
                       "--port", "0"]) as server:
        address = server.wait_ready(r"listening on (\S+)\n").group(1)
        print("\n$ %s/route_guide_server --port 0\nlistening on %s"
              % (os.path.relpath(OUT, deps.ROOT), address))
        port = address.rsplit(":", 1)[1]
        print("\n$ %s/route_guide_client --port %s"
              % (os.path.relpath(OUT, deps.ROOT), port), flush=True)
        done = subprocess.run([os.path.join(OUT, "route_guide_client"),
                               "--port", port], timeout=60)
        if done.returncode:
            deps.die("the client failed:\n" + deps.tail(server.log))


def text_of(gcc, objects):
    """Bytes of code, constants and first values of some object files."""
    return sum(sum(map(int, line.split()[:2])) for line in
               gcc.output("size", *objects).splitlines()[1:])


def objects_of(gcc, made):
    """{name: bytes} of the variables of an object file."""
    return {words[-1]: int(words[1], 16) for words in
            (line.split() for line in
             gcc.output("nm", "-S", made).splitlines())
            if len(words) == 4 and words[2] in "bBdD"}


def core(gcc, pb, name, flags):
    source = os.path.join(deps.ROOT, "tests", "build", "core.c")
    made = os.path.join(gcc.place("demo"), name + ".o")
    gcc.run(["-c", source, "-o", made, "-Os", "-DCGRPC_ERROR_TEXTS=0"] + flags
            + build.includes(deps.ROOT, pb))
    return text_of(gcc, [made])


def print_lines(lines):
    for value, text in lines:
        print("  %7s  %s" % ("{:,}".format(value), text))


def instance(gcc, name, source, includes):
    path = os.path.join(OUT, name + ".c")
    with open(path, "w") as file:
        file.write(source)
    made = gcc.compile([path], ["-Os"] + includes, "demo")[0]
    return made, {n: size for n, size in objects_of(gcc, made).items()
                  if n != "use"}


def price(made):
    gcc = build.TARGETS["cortex-m4"]
    pb, sources = build.nanopb()
    includes = build.includes(deps.ROOT, made, pb)
    flags = ["-Os", "-ffunction-sections"]
    nanopb = text_of(gcc, gcc.compile_kept("nanopb", sources,
                                           flags + build.includes(pb)))
    messages = text_of(gcc, gcc.compile(
        [os.path.join(made, "route_guide.pb.c")], flags + includes, "demo"))
    service, at_server = instance(gcc, "service", SERVICE, includes)
    _, at_client = instance(gcc, "channel", CHANNEL, includes)
    print("\nFlash on a Cortex-M4, -Os, in bytes (CGRPC_ERROR_TEXTS 0)")
    print_lines([
        (core(gcc, pb, "server", ["-DCGRPC_CLIENT=0"]), "cgrpc, server"),
        (core(gcc, pb, "client", ["-DCGRPC_SERVER=0"]), "cgrpc, client"),
        (core(gcc, pb, "both", []), "cgrpc, both"),
        (nanopb, "nanopb"),
        (messages + text_of(gcc, [service]), "the RouteGuide's tables")])
    print("\nRAM there, in bytes, without the port's and the stack; nothing is "
          "allocated later (more: tools/size)")
    print_lines([(sum(at_server.values()), "a server with 1 connection and 4 "
                  "calls in flight: " + parts(at_server)),
                 (sum(at_client.values()), "a client with 1 connection and 1 "
                  "call besides its own: " + parts(at_client))])


PARTS = (("connection", ("conn", "conns")), ("calls", ("call", "calls")),
         ("buffers", ("words", "conn_bytes", "call_bytes", "call_memory")))


def parts(sizes):
    """The variables of an instance, in a reader's words."""
    left = {}
    for name, size in sizes.items():
        name = re.sub("^(server|channel)_", "", name)
        name = next((word for word, names in PARTS if name in names), name)
        left[name] = left.get(name, 0) + size
    return " + ".join("%s %d" % pair for pair in left.items())


def main():
    sys.argv[0] = "tools/demo"  # as errors name it
    if len(sys.argv) > 1:
        print("usage: tools/demo\n\n" + __doc__.strip())
        return
    missing = [name for name in PACKAGES if not deps.have_package(name)]
    if missing:
        deps.say("installs these Debian packages: " + " ".join(missing))
    try:
        deps.apt(*PACKAGES)
        os.makedirs(OUT, exist_ok=True)
        made = build.generate("examples/route_guide/route_guide.proto")
        compile_programs(made)
        talk()
        price(made)
    except deps.Missing as problem:
        deps.die(problem)


if __name__ == "__main__":
    main()
