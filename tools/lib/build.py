"""Compiles what tools/bench and tools/size measure: our header, nanopb, and
nghttp2 for comparison, for this machine or across.

    gcc = build.HOST                      or build.TARGETS["cortex-m4"]
    made = build.generate("tests/bench/echo.proto")
    objects = gcc.compile(["a.c"], ["-O2", "-I" + made], "bench")
    gcc.link(objects, ["-static"], "bench/a")

Everything goes below build/cache. Objects of nanopb and nghttp2 are kept from
run to run; ours are compiled anew each time, in a directory of this run that
goes when it ends, so that runs do not disturb each other.
"""
import atexit
import hashlib
import os
import shutil
import subprocess

import deps

# Sizes and addresses are all that nghttp2 wants of a network.
NGHTTP2_BARE = ["-DHAVE_TIME_H", "-Dhtonl=__builtin_bswap32",
                "-Dntohl=__builtin_bswap32", "-Dhtons=__builtin_bswap16",
                "-Dntohs=__builtin_bswap16"]


def run_dir(*names):
    """A directory of this run."""
    return deps.cache_dir("run-%d" % os.getpid(), *names)


@atexit.register
def remove_run_dir():
    shutil.rmtree(run_dir(), ignore_errors=True)


class Compiler:
    """gcc for one target: `flags` choose it, `packages` bring it."""

    def __init__(self, name, prefix, flags, packages, title):
        self.name, self.prefix, self.flags = name, prefix, flags
        self.packages, self.title = packages, title

    def tool(self, name):
        return self.prefix + name

    def run(self, arguments, **keywords):
        done = subprocess.run([self.tool("gcc")] + self.flags + arguments,
                              capture_output=True, text=True, **keywords)
        if done.returncode:
            raise deps.Missing("%sgcc %s\n%s" % (
                self.prefix, " ".join(arguments), done.stderr[-4000:]))
        return done

    def output(self, tool, *arguments):
        return subprocess.run([self.tool(tool)] + list(arguments), check=True,
                              capture_output=True, text=True).stdout

    def place(self, *names):
        return run_dir(self.name, *names)

    def compile(self, sources, flags, into):
        """Objects of `sources`, in order."""
        made = []
        for source in sources:
            made.append(os.path.join(
                self.place(into), os.path.basename(source)[:-2] + ".o"))
            self.run(["-c", source, "-o", made[-1]] + flags)
        return made

    def compile_kept(self, what, sources, flags):
        """The same for sources that never change: compiled once."""
        key = hashlib.sha256("\0".join(
            self.flags + flags + sources).encode()).hexdigest()[:12]
        place = deps.cache_dir("kept", self.name, what + "-" + key)
        done = os.path.join(place, ".done")
        with deps.Lock("kept"):
            if not os.path.exists(done):
                deps.say("compiling %s for %s, once" % (what, self.title))
                for source in sources:
                    self.run(["-c", source, "-w", "-o", os.path.join(
                        place, os.path.basename(source)[:-2] + ".o")] + flags)
                open(done, "w").close()
        return [os.path.join(place, os.path.basename(source)[:-2] + ".o")
                for source in sources]

    def link(self, objects, flags, name):
        path = os.path.join(self.place(os.path.dirname(name)),
                            os.path.basename(name))
        self.run(["-o", path] + objects + flags)
        return path


ARM = ("gcc-arm-none-eabi", "libnewlib-arm-none-eabi", "binutils-arm-none-eabi")
RISCV = ("gcc-riscv64-unknown-elf", "picolibc-riscv64-unknown-elf",
         "binutils-riscv64-unknown-elf")


def cortex(name, flags):
    return Compiler("cortex-" + name.lower().replace("+", "plus"),
                    "arm-none-eabi-", flags + ["-mthumb"], ARM,
                    "Cortex-" + name)


HOST = Compiler("host", "", [], ("gcc", "libc6-dev"), "this machine")
TARGETS = {one.name: one for one in (
    cortex("M0+", ["-mcpu=cortex-m0plus"]),
    cortex("M3", ["-mcpu=cortex-m3"]),
    cortex("M4", ["-mcpu=cortex-m4"]),
    cortex("M33", ["-mcpu=cortex-m33+nodsp"]),
    Compiler("rv32imac", "riscv64-unknown-elf-",
             ["-march=rv32imac", "-misa-spec=2.2", "-mabi=ilp32",
              "--specs=picolibc.specs"], RISCV, "RV32IMAC"),
)}


def header():
    """A directory with a copy of cgrpc.h, as it is when the run begins."""
    place = run_dir("include")
    copy = os.path.join(place, "cgrpc.h")
    if not os.path.exists(copy):
        shutil.copy(os.path.join(deps.ROOT, "cgrpc.h"), copy)
    return place


def generate(proto):
    """Runs protoc with both plugins; the directory of what they made."""
    deps.apt("protobuf-compiler", "nanopb")
    proto = os.path.join(deps.ROOT, proto)
    source = os.path.dirname(proto)
    out = run_dir("generated", os.path.basename(proto)[:-6])
    done = subprocess.run(
        ["protoc", "--plugin=protoc-gen-cgrpc=" + os.path.join(
            deps.ROOT, "tools", "protoc-gen-cgrpc"),
         "-I" + source, "--nanopb_opt=-I" + source, "--cgrpc_opt=-I" + source,
         "--nanopb_out=" + out, "--cgrpc_out=" + out, proto],
        capture_output=True, text=True)
    if done.returncode:
        raise deps.Missing("protoc %s\n%s" % (proto, done.stderr))
    return out


def nanopb():
    """(directory, sources) of nanopb. Debian's library is compiled for this
    machine and with malloc, so its sources are compiled here."""
    place = deps.apt_source("nanopb")
    return place, [os.path.join(place, name) for name in (
        "pb_common.c", "pb_decode.c", "pb_encode.c")]


def nghttp2():
    """(include directories, sources) of libnghttp2."""
    place = os.path.join(deps.apt_source("nghttp2"), "lib")
    include = deps.cache_dir("source", "nghttp2-version", "nghttp2")
    version = os.path.basename(os.path.dirname(place)).split("-")[1]
    with open(os.path.join(place, "includes/nghttp2/nghttp2ver.h.in")) as text:
        header = text.read().replace("@PACKAGE_VERSION@", version).replace(
            "@PACKAGE_VERSION_NUM@", "0x" + "".join(
                "%02x" % int(part) for part in version.split(".")))
    with open(os.path.join(include, "nghttp2ver.h"), "w") as out:
        out.write(header)
    sources = sorted(name for name in os.listdir(place)
                     if name.endswith(".c"))
    return ([os.path.dirname(include), os.path.join(place, "includes"),
             place], [os.path.join(place, name) for name in sources])


def includes(*directories):
    return ["-I" + one for one in directories]


def anchors():
    """The sections of our header: (first line, name), from their banners."""
    found = []
    with open(os.path.join(header(), "cgrpc.h")) as lines:
        for number, line in enumerate(lines, 1):
            if line.startswith(" * >>") and line[5:].split():
                found.append((number, line[5:].split()[0]))
    return found


def need(*programs):
    """Missing, if one of these is not on PATH."""
    for program in programs:
        if not shutil.which(program):
            raise deps.Missing(program + " is not installed")
