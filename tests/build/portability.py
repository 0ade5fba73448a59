#!/usr/bin/env python3
"""Compiles and builds cgrpc in all the ways that users do.

    tests/build/portability.py              all of it
    tests/build/portability.py WORD...      checks with a word in their name
    tests/build/portability.py --list

Warnings are errors here: gcc, clang, C and C++, 32 and 64 bits, Cortex-M, each
switch off and on; what the object file may need and hold; what a bad macro
says; and every way into a build: plain gcc, an installed package, pkg-config,
FetchContent. Works in build/portability.
"""
import argparse
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools", "lib"))
import build
import deps

HERE = os.path.join(ROOT, "tests", "build")
OUT = os.path.join(ROOT, "build", "portability")
CORE = os.path.join(HERE, "core.c")
HELLO = os.path.join(ROOT, "examples", "hello", "hello.proto")
PACKAGES = ("gcc", "g++", "clang", "gcc-multilib", "g++-multilib", "cmake",
            "ninja-build", "pkg-config", "protobuf-compiler", "nanopb",
            "libnanopb-dev", "gcc-arm-none-eabi", "libnewlib-arm-none-eabi")

STRICT = ("-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wundef "
          "-Wstrict-aliasing=2 -Wcast-align -Werror").split()
COMPILERS = {
    "gcc -std=c99": ["gcc", "-std=c99"],
    "gcc -std=c17": ["gcc", "-std=c17"],
    "gcc -m32": ["gcc", "-std=c99", "-m32"],
    "clang -std=c99": ["clang", "-std=c99"],
    "g++ -std=c++11": ["g++", "-x", "c++", "-std=c++11"],
    "clang++ -std=c++11": ["clang++", "-x", "c++", "-std=c++11"],
    "clang++ -std=c++20": ["clang++", "-x", "c++", "-std=c++20"],
}
PORTS = ("cgrpc_memory.h", "cgrpc_posix.h")

# Values just outside the bounds of each macro that has some.
BAD_MACROS = {
    "CGRPC_HPACK_TABLE_BYTES": ("4095", "16385"),
    "CGRPC_HPACK_CACHE": ("3", "65"),
    "CGRPC_METADATA_BYTES": ("31", "32769"),
    "CGRPC_STATE_BYTES": ("7", "65537"),
    "CGRPC_ABUSE_BURST": ("99",),
    "CGRPC_POSIX_RX_BYTES": ("63",),
    "CGRPC_POSIX_LISTENERS": ("0",),
}


class Failed(Exception):
    pass


def run(command, directory=None, good=True):
    """Output of a command that must succeed (or, not good, must fail)."""
    done = subprocess.run(command, cwd=directory, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if (done.returncode == 0) != good:
        raise Failed("%s\n%s" % (" ".join(command), done.stdout[-3000:]))
    return done.stdout


def place(*names):
    path = os.path.join(OUT, *names)
    os.makedirs(path, exist_ok=True)
    return path


def write(path, text):
    with open(path, "w") as file:
        file.write(text)
    return path


def slug(text):
    return re.sub(r"\W+", "-", text).strip("-")


# ---- what the header says of itself ---------------------------------------

def header(name="cgrpc.h"):
    for directory in (ROOT, os.path.join(ROOT, "port")):
        if os.path.exists(os.path.join(directory, name)):
            with open(os.path.join(directory, name)) as file:
                return file.read()
    raise Failed("no " + name)


def switches():
    """The macros that are 0 or 1 by default: name -> default."""
    found = re.findall(r"#ifndef (CGRPC_\w+)\n#define \1 ([01])\n", header())
    return {name: int(default) for name, default in found}


def version():
    return ".".join(re.search(r"#define CGRPC_VERSION_%s (\d+)" % part,
                              header()).group(1)
                    for part in ("MAJOR", "MINOR", "PATCH"))


# ---- compiling -------------------------------------------------------------

def nanopb_headers():
    """pb.h and its like alone, for compilers that know another /usr."""
    directory = place("nanopb")
    for name in ("pb.h", "pb_common.h", "pb_decode.h", "pb_encode.h"):
        if not os.path.exists(os.path.join(directory, name)):
            shutil.copy(os.path.join("/usr/include", name), directory)
    return directory


def compile_one(compiler, source, flags, name):
    out = os.path.join(place("objects"), slug(name) + ".o")
    run(compiler + ["-c", "-O1", "-I" + ROOT, "-I" + os.path.join(ROOT, "port"),
                    "-isystem", nanopb_headers()]
        + flags + [source, "-o", out])
    return out


def core_with(compiler, flags):
    return lambda name: compile_one(compiler, CORE, STRICT + flags, name)


def port_with(compiler, port):
    def check(name):
        source = write(os.path.join(place("sources"), slug(name) + ".c"),
                       '#define CGRPC_IMPLEMENTATION\n#include "%s"\n' % port)
        compile_one(compiler, source, STRICT, name)
    return check


def declarations_with(compiler):
    """A file that only declares, and defines instances, of every port."""
    def check(name):
        source = write(
            os.path.join(place("sources"), slug(name) + ".c"),
            '#include "cgrpc_posix.h"\n#include "cgrpc_memory.h"\n'
            "CGRPC_SERVER_DEFINE(server, 2, 3, 64, 256, 64);\n"
            "CGRPC_CHANNEL_DEFINE(channel, 64, 256);\n"
            "CGRPC_CALL_DEFINE(call, 64);\n"
            "CGRPC_POSIX_DEFINE(posix, 2);\n"
            "CGRPC_MEMORY_DEFINE(memory, 2, 256);\n"
            "const void *instances[5];\n"
            "int use(void);\n"
            "int use(void)\n{\n"
            "    instances[0] = &server;\n    instances[1] = &channel;\n"
            "    instances[2] = &call;\n    instances[3] = &posix;\n"
            "    instances[4] = &memory;\n    return 0;\n}\n")
        compile_one(compiler, source, STRICT, name)
    return check


def each_switch():
    roles = (("", []), (", server only", ["-DCGRPC_CLIENT=0"]),
             (", client only", ["-DCGRPC_SERVER=0"]))
    for switch, default in switches().items():
        for role, flags in roles:
            if switch in ("CGRPC_SERVER", "CGRPC_CLIENT"):
                flags = []
                if role:
                    continue
            yield ("compiles with %s=%d%s" % (switch, 1 - default, role),
                   core_with(["gcc", "-std=c99"],
                             ["-D%s=%d" % (switch, 1 - default)] + flags))
    everything = ["-D%s=0" % name for name in switches()
                  if name not in ("CGRPC_SERVER", "CGRPC_CLIENT")]
    for role, flags in roles:
        yield ("compiles with every option off%s" % role,
               core_with(["gcc", "-std=c99"], everything + flags))
        yield ("compiles with every option on%s" % role,
               core_with(["clang", "-std=c99"],
                         [flag[:-1] + "1" for flag in everything] + flags))


def cross():
    for cpu in ("cortex-m0plus", "cortex-m4"):
        yield ("compiles with arm-none-eabi-gcc for %s" % cpu,
               core_with(["arm-none-eabi-gcc", "-mthumb", "-mcpu=" + cpu,
                          "-std=c99", "-Os"], []))


# ---- the object --------------------------------------------------------------

ALLOWED = re.compile(r"memcpy|memmove|memset|memcmp|pb_\w+")
ALLOWED_BY_TARGET = re.compile(  # what the compiler itself may call
    r"__aeabi_\w+|__gnu_thumb1_case_\w+|_GLOBAL_OFFSET_TABLE_")


def needs_only(compiler, tool, flags):
    def check(name):
        made = compile_one(compiler, CORE, flags, name)
        needed = [line.split()[-1] for line in
                  run([tool, "--undefined-only", made]).splitlines()]
        wrong = [one for one in needed if not ALLOWED.fullmatch(one)
                 and not ALLOWED_BY_TARGET.fullmatch(one)]
        if wrong:
            raise Failed("also needs " + ", ".join(wrong))
    return check


def holds_no_data(compiler, tool, flags):
    def check(name):
        made = compile_one(compiler, CORE, flags, name)
        for line in run([tool, "-A", made]).splitlines():
            words = line.split()
            if len(words) >= 2 and re.match(r"\.(data|bss|tdata|tbss)",
                                            words[0]) and words[1] != "0":
                raise Failed("%s holds %s bytes" % (words[0], words[1]))
    return check


def objects():
    host = ["gcc", "-std=c99"]
    arm = ["arm-none-eabi-gcc", "-mthumb", "-mcpu=cortex-m0plus", "-std=c99"]
    for level in ("-O0", "-O2", "-Os"):
        yield ("needs four functions of the C library, and nanopb (%s)" % level,
               needs_only(host, "nm", [level]))
    yield ("needs four functions of the C library, and nanopb (Cortex-M)",
           needs_only(arm, "arm-none-eabi-nm", ["-Os"]))
    yield ("has no variables: .data and .bss are empty",
           holds_no_data(host, "size", ["-fno-pic"]))
    yield ("has no variables: .data and .bss are empty (Cortex-M)",
           holds_no_data(arm, "arm-none-eabi-size", ["-Os"]))


# ---- macros -------------------------------------------------------------------

def refuses(flags, says, file="cgrpc.h"):
    def check(name):
        source = write(os.path.join(place("sources"), slug(name) + ".c"),
                       '#include "%s"\n' % file)
        out = run(["gcc", "-std=c99", "-fsyntax-only", "-I" + ROOT,
                   "-I" + os.path.join(ROOT, "port"), "-isystem",
                   nanopb_headers()] + flags + [source], good=False)
        if not re.search(r"#error \"" + says, out):
            raise Failed("does not say so:\n" + out)
    return check


def macros():
    for macro, values in BAD_MACROS.items():
        file = "cgrpc_posix.h" if "POSIX" in macro else "cgrpc.h"
        for value in values:
            yield ("refuses %s=%s and says the bounds" % (macro, value),
                   refuses(["-D%s=%s" % (macro, value)],
                           macro + " must be ", file))
    yield ("refuses to be neither server nor client",
           refuses(["-DCGRPC_SERVER=0", "-DCGRPC_CLIENT=0"],
                   "CGRPC_SERVER and CGRPC_CLIENT are both 0"))
    yield ("says what to do when system headers hide POSIX",
           refuses(["-include", "stdio.h", "-DCGRPC_IMPLEMENTATION"],
                   "POSIX is hidden", "cgrpc_posix.h"))
    yield "has a test for every #error", every_error_has_a_test
    yield "reads the file that CGRPC_CONFIG_H names", reads_config


def every_error_has_a_test(name):
    for file in ("cgrpc.h",) + PORTS:
        for macro in re.findall(r'#error "(CGRPC_\w+) must', header(file)):
            if macro not in BAD_MACROS:
                raise Failed(macro + " is not in BAD_MACROS")


def reads_config(name):
    directory = place("config")
    write(os.path.join(directory, "my_config.h"),
          "#define CGRPC_STATE_BYTES 4321\n")
    source = write(os.path.join(directory, "a.c"),
                   '#include "cgrpc.h"\nchar state[CGRPC_STATE_BYTES];\n'
                   "char same[sizeof(state) == 4321 ? 1 : -1];\n")
    compile_one(["gcc", "-std=c99"], source,
                ["-I" + directory, '-DCGRPC_CONFIG_H="my_config.h"'], name)


def layouts():
    for macro in ("CGRPC_METADATA_BYTES=256", "CGRPC_STATE_BYTES=64",
                  "CGRPC_HPACK_TABLE_BYTES=8192", "CGRPC_HPACK_CACHE=16"):
        yield ("init notices that two files differ in %s"
               % macro.split("=")[0], notices_layout(macro, "-3 -3"))
    yield "init accepts two files that agree", notices_layout(None, "0 0")


def notices_layout(macro, expected):
    def check(name):
        objects = [
            compile_one(["gcc", "-std=c99"], os.path.join(
                HERE, "two_files", "a.c"), ["-D" + macro] if macro else [],
                name + " a"),
            compile_one(["gcc", "-std=c99"], CORE, [], name + " b")]
        program = os.path.join(place("programs"), slug(name))
        run(["gcc"] + objects + ["-lprotobuf-nanopb", "-o", program])
        said = run([program]).strip()
        if said != expected:
            raise Failed("said %s instead of %s" % (said, expected))
    return check


# ---- other machines -------------------------------------------------------------

def unit_tests():
    """The unit tests in other words, and as C++."""
    for test in ("unit/test_memory.c", "port/test_posix_io.c"):
        yield ("%s passes in 32 bits" % os.path.basename(test),
               unit_test(test, ["gcc", "-m32", "-std=c99"]))
        yield ("%s passes as C++11" % os.path.basename(test),
               unit_test(test, ["g++", "-std=c++11"]))
    yield ("test_posix_io.c passes with poll()",
           unit_test("port/test_posix_io.c",
                     ["gcc", "-std=c99", "-DCGRPC_POSIX_POLL=1"]))


def unit_test(test, compiler):
    def check(name):
        plus = compiler[0] == "g++"
        made = os.path.join(build.generate("examples/hello/hello.proto"))
        guide = build.generate("examples/route_guide/route_guide.proto")
        pb, sources = build.nanopb()
        program = os.path.join(place("programs"), slug(name))
        includes = build.includes(ROOT, os.path.join(ROOT, "port"),
                                  os.path.join(ROOT, "tests", "unit"),
                                  made, guide, pb)
        objects = []
        plain = ["gcc"] + [f for f in compiler[1:] if f == "-m32"]
        for source in sources + [os.path.join(made, "hello.pb.c"),
                                 os.path.join(guide, "route_guide.pb.c")]:
            objects.append(os.path.join(place("objects"), slug(
                name + os.path.basename(source)) + ".o"))
            run(plain + ["-c", source, "-o", objects[-1]] + includes)
        run(compiler + includes + (["-x", "c++"] if plus else [])
            + [os.path.join(ROOT, "tests", test)]
            + (["-x", "none"] if plus else []) + objects
            + ["-lpthread", "-o", program])
        run([program])
    return check


# ---- ways into a build -----------------------------------------------------------

def plain_way(name):
    """One file with CGRPC_IMPLEMENTATION, and one line of gcc."""
    directory = place("plain")
    run(["protoc", "--plugin=protoc-gen-cgrpc=" + os.path.join(
        ROOT, "tools", "protoc-gen-cgrpc"), "-I.", "--nanopb_out=" + directory,
        "--cgrpc_out=" + directory, "hello.proto"], os.path.dirname(HELLO))
    program = os.path.join(directory, "plain")
    run(["gcc", "-I" + ROOT, "-I" + os.path.join(ROOT, "port"),
         "-I" + directory, os.path.join(HERE, "consumer", "main.c"),
         os.path.join(directory, "hello.pb.c"), "-lprotobuf-nanopb",
         "-o", program])
    says_hello(program)


def says_hello(program):
    said = run([program]).strip()
    if said != "Hello, consumer!":
        raise Failed("said " + said)


def installed():
    """The prefix that cgrpc is installed into, once."""
    prefix = os.path.join(OUT, "prefix")
    if not os.path.exists(os.path.join(prefix, ".done")):
        shutil.rmtree(prefix, ignore_errors=True)
        run(["cmake", "-S", ROOT, "-B", place("install"), "-G", "Ninja",
             "-DCGRPC_BUILD=OFF", "-DCMAKE_INSTALL_PREFIX=" + prefix])
        run(["cmake", "--install", place("install")])
        write(os.path.join(prefix, ".done"), "")
    return prefix


def consume(name, *options):
    directory = os.path.join(OUT, slug(name))
    shutil.rmtree(directory, ignore_errors=True)
    run(["cmake", "-S", os.path.join(HERE, "consumer"), "-B", directory,
         "-G", "Ninja", "-DPROTO=" + HELLO] + list(options))
    run(["cmake", "--build", directory])
    says_hello(os.path.join(directory, "consumer"))


def by_find_package(name):
    consume(name, "-DCMAKE_PREFIX_PATH=" + installed())


def by_fetch_content(name):
    consume(name, "-DFETCH=" + ROOT)


def by_moved_package(name):
    moved = os.path.join(OUT, "moved")
    shutil.rmtree(moved, ignore_errors=True)
    shutil.copytree(installed(), moved)
    consume(name, "-DCMAKE_PREFIX_PATH=" + moved)


def installs_version(name):
    script = write(
        os.path.join(place("version"), "find.cmake"),
        "cmake_minimum_required(VERSION 3.16)\n"
        'include("%s/share/cmake/cgrpc/cgrpc-config-version.cmake")\n'
        'message("version ${PACKAGE_VERSION}")\n' % installed())
    said = run(["cmake", "-DPACKAGE_FIND_VERSION=0.1", "-P", script]).strip()
    if said != "version " + version():
        raise Failed("cgrpc.h has %s, the package says %s" % (version(), said))


def by_pkg_config(name):
    prefix = installed()
    directory = place("pkg-config")
    environment = dict(os.environ, PKG_CONFIG_PATH=os.path.join(
        prefix, "share", "pkgconfig"))
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "cgrpc"],
                           env=environment, capture_output=True, text=True)
    modversion = subprocess.run(["pkg-config", "--modversion", "cgrpc"],
                                env=environment, capture_output=True,
                                text=True).stdout.strip()
    if flags.returncode or modversion != version():
        raise Failed("%s%s, version %s" % (flags.stdout, flags.stderr,
                                           modversion))
    run(["protoc", "--plugin=protoc-gen-cgrpc=" + os.path.join(
        prefix, "bin", "protoc-gen-cgrpc"), "-I.",
        "--nanopb_out=" + directory, "--cgrpc_out=" + directory,
        "hello.proto"], os.path.dirname(HELLO))
    words = flags.stdout.split()
    program = os.path.join(directory, "consumer")
    run(["gcc", "-I" + directory]
        + [word for word in words if word.startswith("-I")]
        + [os.path.join(HERE, "consumer", "main.c"),
           os.path.join(directory, "hello.pb.c"), "-o", program]
        + [word for word in words if not word.startswith("-I")])
    says_hello(program)


def platformio_manifest(name):
    with open(os.path.join(ROOT, "library.json")) as file:
        manifest = json.load(file)
    if manifest["version"] != version():
        raise Failed("library.json says version %s, cgrpc.h %s" % (
            manifest["version"], version()))
    for example in manifest["examples"]:
        base = os.path.join(ROOT, example["base"])
        for file in example["files"]:
            path = os.path.join(base, file)
            if not os.path.exists(path):
                raise Failed("no %s/%s" % (example["base"], file))
            with open(path) as text:
                for other in re.findall(r'#include "(\.\./[^"]+)"', text.read()):
                    other = os.path.normpath(os.path.join(
                        os.path.dirname(file), other))
                    if other not in example["files"]:
                        raise Failed("%s includes %s, which the example %s "
                                     "does not list" % (file, other,
                                                        example["name"]))


def ways():
    yield "builds in the plain way: one file, one line of gcc", plain_way
    yield "builds as an installed package", by_find_package
    yield "builds as an installed package that was moved", by_moved_package
    yield "builds with pkg-config", by_pkg_config
    yield "builds by FetchContent", by_fetch_content
    yield "installs the version that stands in cgrpc.h", installs_version
    yield "library.json agrees with cgrpc.h and examples/", platformio_manifest


# ---- running ------------------------------------------------------------------

def checks():
    for name, compiler in COMPILERS.items():
        yield "the core compiles with " + name, core_with(compiler, [])
        for port in PORTS:
            yield ("%s compiles with %s" % (port, name),
                   port_with(compiler, port))
        yield ("instances of everything compile with " + name,
               declarations_with(compiler))
    for group in (each_switch, cross, objects, macros, layouts, unit_tests,
                  ways):
        yield from group()


def run_one(pair):
    name, check = pair
    try:
        check(name)
        return name, None
    except (Failed, deps.Missing, OSError) as failure:
        return name, str(failure)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    chosen = [(name, check) for name, check in checks()
              if not options.words or any(w in name for w in options.words)]
    if options.list:
        for name, _ in chosen:
            print(name)
        return
    shutil.rmtree(OUT, ignore_errors=True)
    try:
        deps.apt(*PACKAGES)
        nanopb_headers()
        if any(check is by for by in (by_find_package, by_pkg_config,
                                      by_moved_package)
               for _, check in chosen):
            installed()
    except (deps.Missing, Failed) as problem:
        deps.die(problem)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, wrong in pool.map(run_one, chosen):
            print("%s %s" % ("FAIL" if wrong else "ok  ", name), flush=True)
            if wrong:
                failed += 1
                print(re.sub("(?m)^", "       ", wrong))
    print("%d passed, %d failed" % (len(chosen) - failed, failed))
    sys.exit(1 if failed or not chosen else 0)


if __name__ == "__main__":
    main()
