#!/usr/bin/env python3
"""Tests of tools/protoc-gen-cgrpc.

    tests/generator/run.py              runs all
    tests/generator/run.py --update     writes golden/ anew; read the diff
    tests/generator/run.py -v           names every test

Needs protoc, nanopb (generator and headers), gcc, g++ and clang: on Debian and
Ubuntu what is missing is installed, elsewhere the compilers that are there are
used. Installs buf from npm into build/cache, in the version of versions.txt,
and makes a virtual environment (python3 -m venv) for one check.
"""

import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tools", "lib"))
import deps

PACKAGES = ("gcc", "g++", "clang", "libc6-dev", "protobuf-compiler", "nanopb",
            "libnanopb-dev", "python3-protobuf", "python3-venv")
SYSTEM_PYTHON = "/usr/bin/python3"
PLUGIN = os.path.join(ROOT, "tools", "protoc-gen-cgrpc")
PROTO = os.path.join(HERE, "proto")
ERRORS = os.path.join(HERE, "errors")
GOLDEN = os.path.join(HERE, "golden")

WARNINGS = ("-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wundef "
            "-Wcast-qual -Werror").split()
COMPILERS = [("gcc", "c", "c99"), ("clang", "c", "c99"),
             ("g++", "c++", "c++11"), ("clang++", "c++", "c++11")]


class Run:
    """One way to call the plugin; its goldens are in golden/<name>/."""

    def __init__(self, name, files, options="", nanopb=None, root=PROTO):
        self.name = name
        self.files = files
        self.options = options
        # What nanopb's plugin is given: the same, or None for no nanopb.
        self.nanopb = options if nanopb is None else nanopb
        self.root = root


def all_protos():
    found = []
    for directory, _, names in os.walk(PROTO):
        found += [os.path.relpath(os.path.join(directory, name), PROTO)
                  for name in names if name.endswith(".proto")]
    return sorted(found)


def runs():
    some = ["all_kinds.proto", "callbacks.proto"]
    mixed = ["deep/er/in_a_directory.proto", "common/types.proto"]
    rename = ("rename=kinds.v1.AllKinds:Four,rename=kinds.v1.AllKinds.Bidi:"
              "default")
    examples = os.path.join(ROOT, "examples")
    return [
        Run("default", all_protos()),
        Run("raw", ["all_kinds.proto", "comments.proto", "keywords.proto"],
            "raw"),
        Run("c_style", some, "-C"),
        Run("names", mixed, "-e.nano,-H.hpp,-Qbracket,-Lbracket"),
        Run("strip_path", mixed, "--strip-path"),
        Run("settings", ["all_kinds.proto", "nested.proto",
                         "common/types.proto", "common/public.proto"],
            "-s mangle_names:M_PACKAGE_INITIALS,-s max_size:20"),
        # Two ways to name an .options file that is not beside its .proto.
        Run("options_path", ["sized.proto"], "-Ielsewhere"),
        Run("options_file", ["sized.proto"], "-felsewhere/sized.options"),
        Run("rename", ["all_kinds.proto"], rename, nanopb=""),
        Run("route_guide", ["route_guide.proto"],
            root=os.path.join(examples, "route_guide")),
        Run("hello", ["hello.proto"], root=os.path.join(examples, "hello")),
    ]


# ---------------------------------------------------------------------------
# Protocol buffers by hand, so that no package is needed
# ---------------------------------------------------------------------------

def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7f) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(data):
    """Yields (number, value); only varints and length-delimited ones."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        value, at = varint(data, at)
        if key & 7 == 2:
            value, at = data[at:at + value], at + value
        yield key >> 3, value


def field(number, data):
    out, length = bytearray([number << 3 | 2]), len(data)
    while length > 0x7f:
        out.append(length & 0x7f | 0x80)
        length >>= 7
    return bytes(out) + bytes([length]) + data


class Response:
    def __init__(self, data):
        self.error, self.features, self.files = None, 0, {}
        for number, value in fields(data):
            if number == 1:
                self.error = value.decode()
            elif number == 2:
                self.features = value
            elif number == 15:
                parts = dict(fields(value))
                self.files[parts[1].decode()] = parts[15].decode()


# ---------------------------------------------------------------------------
# The tests
# ---------------------------------------------------------------------------

class Tests:
    def __init__(self, args):
        self.args = args
        self.passed = self.failed = 0
        self.skipped = []
        self.temp = tempfile.mkdtemp(prefix="cgrpc-generator-")
        self.nanopb_proto = find_nanopb_proto()
        self.results = {}  # name of a run -> its files
        self.where = {}    # name of a run -> (directory, pb directory)

    def check(self, name, ok, detail=""):
        if ok:
            self.passed += 1
            if self.args.verbose:
                print("ok    " + name)
            return
        self.failed += 1
        print("FAIL  " + name)
        for line in str(detail).strip().split("\n")[:30]:
            print("      " + line)

    def skip(self, name, why):
        self.skipped.append("%s: %s" % (name, why))

    def directory(self, *parts):
        path = os.path.join(self.temp, *parts)
        os.makedirs(path, exist_ok=True)
        return path

    # -- calling the plugin --------------------------------------------------

    def request(self, root, files, parameter=""):
        """The CodeGeneratorRequest that protoc would send."""
        out = os.path.join(self.temp, "set.pb")
        subprocess.run(
            ["protoc", "-I" + root, "-I" + self.nanopb_proto,
             "--include_imports", "--include_source_info",
             "--descriptor_set_out=" + out]
            + [os.path.join(root, name) for name in files], check=True)
        with open(out, "rb") as opened:
            descriptors = [value for _, value in fields(opened.read())]
        return (b"".join(field(1, name.encode()) for name in files)
                + (field(2, parameter.encode()) if parameter else b"")
                + b"".join(field(15, value) for value in descriptors))

    def plugin(self, request, root, env=None, python=None):
        done = subprocess.run((python or []) + [PLUGIN], input=request,
                              cwd=root, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE,
                              env=dict(os.environ, **(env or {})))
        if done.returncode != 0:
            return Response(field(1, b"exit status: " + done.stderr))
        return Response(done.stdout)

    def generate(self, run, files=None, env=None):
        files = run.files if files is None else files
        return self.plugin(self.request(run.root, files, run.options),
                           run.root, env)

    # -- goldens -------------------------------------------------------------

    def goldens(self, run):
        response = self.generate(run)
        self.check("%s__is_generated" % run.name, response.error is None,
                   response.error)
        self.results[run.name] = response.files
        golden = os.path.join(GOLDEN, run.name)
        if self.args.update:
            shutil.rmtree(golden, ignore_errors=True)
            write_files(golden, response.files)
        expected = read_files(golden)
        self.check("%s__makes_these_files_and_no_others" % run.name,
                   set(expected) == set(response.files),
                   "golden: %s\nmade: %s" % (sorted(expected),
                                             sorted(response.files)))
        for name in sorted(set(expected) & set(response.files)):
            self.check("%s/%s__is_as_in_golden" % (run.name, name),
                       expected[name] == response.files[name],
                       difference(expected[name], response.files[name]))

    def properties(self):
        """What holds for every generated file, whatever it says."""
        for run, files in self.results.items():
            for name, text in files.items():
                label = "%s/%s__" % (run, name)
                self.check(label + "has_one_include_guard",
                           guard_is_good(text))
                self.check(label + "has_no_spaces_at_line_ends_and_no_tabs",
                           not re.search(r"[ \t]$|\t", text, re.MULTILINE))
                self.check(label + "ends_in_one_newline",
                           text.endswith("*/\n")
                           and not text.endswith("\n\n"))
                long_lines = [line for line in text.split("\n")
                              if len(line) > 80 and may_break(line)]
                self.check(label + "keeps_to_80_columns",
                           not long_lines or "long_names" in name,
                           "\n".join(long_lines))
        guards = [guard_of(text)
                  for text in self.results["default"].values()]
        self.check("guards_differ_between_files",
                   len(guards) == len(set(guards)))

    # -- protoc --------------------------------------------------------------

    def protoc(self, run):
        """The same through protoc, with nanopb beside it."""
        out = self.directory("protoc", run.name)
        pb = self.directory("pb", run.name)
        command = ["protoc", "-I.", "-I" + self.nanopb_proto,
                   "--plugin=" + PLUGIN, "--cgrpc_out=" + out]
        if run.options:
            command.append("--cgrpc_opt=" + run.options)
        done = subprocess.run(command + run.files, cwd=run.root,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        self.check("protoc__%s__gives_what_the_plugin_gave" % run.name,
                   done.returncode == 0
                   and read_files(out) == self.results[run.name], done.stdout)
        self.where[run.name] = (out, pb)
        if "raw" in run.options:
            return
        command = ["protoc", "-I.", "-I" + self.nanopb_proto,
                   "--nanopb_out=" + pb]
        if run.nanopb:
            command.append("--nanopb_opt=" + run.nanopb)
        extra = ["nanopb.proto"] if run.name == "default" else []
        done = subprocess.run(command + run.files + extra, cwd=run.root,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        self.check("protoc__%s__nanopb_runs_too" % run.name,
                   done.returncode == 0, done.stdout)

    def protoc_error(self):
        """protoc shows the plugin's error, and fails."""
        done = subprocess.run(
            ["protoc", "-I.", "--plugin=" + PLUGIN,
             "--cgrpc_out=" + self.directory("none"), "method_clash.proto"],
            cwd=ERRORS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True)
        self.check("protoc__shows_errors_and_fails",
                   done.returncode != 0
                   and "method_clash.proto:9: the C name" in done.stdout,
                   done.stdout)

    # -- determinism ---------------------------------------------------------

    def determinism(self):
        run = runs()[0]
        expected = self.results["default"]
        for seed in ("0", "1", "4711"):
            response = self.generate(run, env={"PYTHONHASHSEED": seed})
            self.check("hash_seed_%s__changes_nothing" % seed,
                       response.files == expected)
        response = self.generate(run, files=list(reversed(run.files)))
        self.check("files_in_reverse_order__change_nothing",
                   response.files == expected)
        alone = {}
        for name in run.files:
            alone.update(self.generate(run, files=[name]).files)
        self.check("one_file_at_a_time__changes_nothing", alone == expected)
        self.check("proto3_optional__is_announced", response.features & 1)

    def no_files(self):
        response = self.generate(runs()[0], files=["no_service.proto"])
        self.check("a_file_without_services__gives_nothing_and_no_error",
                   response.error is None and response.files == {})

    # -- errors --------------------------------------------------------------

    def errors(self):
        for name in sorted(os.listdir(ERRORS)):
            if name.endswith(".proto"):
                self.error(name)

    def error(self, name):
        with open(os.path.join(ERRORS, name)) as opened:
            text = opened.read()
        options = ",".join(re.findall(r"^// option: (.*)$", text, re.M))
        expected = re.findall(r"^// expect: (.*)$", text, re.M)
        response = self.plugin(self.request(ERRORS, [name], options), ERRORS)
        said = response.error or "no error"
        self.check("error__%s__says_what_and_what_to_change" % name[:-6],
                   expected and all(part in said for part in expected), said)
        self.check("error__%s__gives_no_file" % name[:-6],
                   not response.files)

    def errors_of_two_files(self):
        files = ["library_name.proto", "method_clash.proto"]
        response = self.plugin(self.request(ERRORS, files), ERRORS)
        said = response.error or "no error"
        self.check("errors_of_two_files__are_told_at_once",
                   "library_name.proto:5:" in said
                   and "method_clash.proto:9:" in said, said)

    def rename_mends(self):
        options = "rename=Svc.Foo_start:FooStart"
        request = self.request(ERRORS, ["method_clash.proto"], options)
        response = self.plugin(request, ERRORS)
        text = response.files.get("method_clash.cgrpc.h", "")
        self.check("rename__mends_a_clash_and_keeps_the_wire_name",
                   '#define Svc_FooStart_PATH "/Svc/Foo_start"' in text,
                   response.error or text)

    def missing_packages(self):
        run = runs()[0]
        request = self.request(run.root, ["all_kinds.proto"])
        bare = [sys.executable, "-I", "-S"]
        said = self.plugin(request, run.root, {"CGRPC_SYSTEM_PYTHON": "1"},
                           bare).error or "no error"
        self.check("without_pythons_protobuf__the_remedy_is_told",
                   "apt-get install python3-protobuf" in said, said)
        said = self.plugin(request, run.root,
                           {"NANOPB_GENERATOR": "/nowhere"}).error or ""
        self.check("without_nanopb__the_remedies_are_told",
                   "apt-get install nanopb" in said
                   and "--cgrpc_opt=nanopb=DIR" in said
                   and "--cgrpc_opt=raw" in said, said)
        raw = self.request(run.root, ["all_kinds.proto"], "raw")
        response = self.plugin(raw, run.root,
                               {"NANOPB_GENERATOR": "/nowhere"})
        self.check("without_nanopb__raw_still_works",
                   response.error is None and response.files, response.error)
        self.virtual_environment(request, run)

    def virtual_environment(self, request, run):
        """One without packages, made here: with a link to the system's
        Python, as is usual, and with a copy of it."""
        for kind in ("symlinks", "copies"):
            name = ("a_virtual_environment_of_%s__falls_back_on_the_systems_"
                    "python" % kind)
            place = os.path.join(self.temp, "venv", kind)
            made = subprocess.run(
                [SYSTEM_PYTHON, "-m", "venv", "--without-pip", "--" + kind,
                 place], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True)
            if made.returncode:
                self.check(name, False, "python3 -m venv: " + made.stdout)
                continue
            response = self.plugin(request, run.root, python=[
                os.path.join(place, "bin", "python")])
            self.check(name, response.error is None and response.files,
                       response.error)

    # -- compiling -----------------------------------------------------------

    def compilers(self):
        found = []
        for compiler in COMPILERS:
            if shutil.which(compiler[0]):
                found.append(compiler)
            else:
                self.skip("compiling with " + compiler[0], "not installed")
        return found

    def compile(self, compiler, source, where, extra=()):
        """(ok, output) of a compilation without code."""
        program, language, standard = compiler
        out, pb = where
        command = ([program, "-x", language, "-std=" + standard] + WARNINGS
                   + ["-fsyntax-only", "-I" + out, "-I" + self.args.include,
                      "-isystem", pb,
                      "-isystem", os.path.join(pb, "deep", "er")]
                   + nanopb_include(self.args) + list(extra) + ["-"])
        done = subprocess.run(command, input=source, text=True,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        return done.returncode == 0, done.stdout

    def compile_all(self):
        jobs = []
        compilers = self.compilers()
        roles = [[], ["-DCGRPC_SERVER=0"], ["-DCGRPC_CLIENT=0"]]
        for run in runs():
            raw = ["-DCGRPC_NANOPB=0"] if "raw" in run.options else []
            for name in sorted(self.results[run.name]):
                for compiler in compilers:
                    for role in roles:
                        jobs.append((run, name, compiler, role + raw))

        def job(item):
            run, name, compiler, extra = item
            # Twice: the guard must work.
            source = '#include "{0}"\n#include "{0}"\n'.format(name)
            return self.compile(compiler, source, self.where[run.name], extra)

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for item, (ok, output) in zip(jobs, pool.map(job, jobs)):
                run, name, compiler, extra = item
                self.check("%s/%s__compiles_with_%s_%s%s" % (
                    run.name, name, compiler[0], compiler[2],
                    "".join("_" + word for word in extra)), ok, output)

    def refused_by_the_compiler(self):
        cases = [
            ("handlers_of_another_service", "all_kinds.cgrpc.h",
             "static const kinds_v1_OnlyStreams_handlers mine = { 0 };\n"
             "extern const cgrpc_serving s[];\n"
             "const cgrpc_serving s[] = "
             "{ kinds_v1_AllKinds_SERVING(&mine) };\n", [], ""),
            ("a_message_of_the_wrong_type", "all_kinds.cgrpc.h",
             "extern bool f(cgrpc_call *c, const kinds_v1_Ask *m);\n"
             "bool f(cgrpc_call *c, const kinds_v1_Ask *m)\n"
             "{ return kinds_v1_AllKinds_Bidi_reply(c, m); }\n", [], ""),
            ("no_nanopb", "all_kinds.cgrpc.h", "", ["-DCGRPC_NANOPB=0"],
             "generate it again with --cgrpc_opt=raw"),
        ]
        for compiler in self.compilers():
            for name, header, source, extra, expected in cases:
                ok, output = self.compile(
                    compiler, '#include "%s"\n%s' % (header, source),
                    self.where["default"], extra)
                self.check("%s__is_refused_by_%s" % (name, compiler[0]),
                           not ok and expected in output, output)

    def other_version(self):
        out = self.directory("other_version")
        real = os.path.join(os.path.abspath(self.args.include), "cgrpc.h")
        write_files(out, {"cgrpc.h": '#include "%s"\n'
                          "#undef CGRPC_GENERATED_VERSION\n"
                          "#define CGRPC_GENERATED_VERSION 2\n" % real})
        for compiler in self.compilers():
            ok, output = self.compile(
                compiler, '#include "all_kinds.cgrpc.h"\n',
                (out, self.where["default"][1]),
                ["-I" + self.where["default"][0]])
            self.check("another_version_of_cgrpc.h__is_refused_by_"
                       + compiler[0], not ok and
                       "generate it again" in output, output)

    def raw_needs_no_nanopb(self):
        out, _ = self.where["raw"]
        for compiler in self.compilers()[:1]:
            done = subprocess.run(
                [compiler[0], "-M", "-DCGRPC_NANOPB=0",
                 "-I" + self.args.include,
                 os.path.join(out, "all_kinds.cgrpc.h")],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            self.check("raw__includes_nothing_of_nanopb",
                       done.returncode == 0 and "pb.h" not in done.stdout
                       and "pb_" not in done.stdout, done.stdout)

    # -- running -------------------------------------------------------------

    def run_generated(self):
        """calls.c, linked with what it needs of nanopb but no cgrpc."""
        out, pb = self.where["default"]
        objects = []
        for name in ("all_kinds", "callbacks"):
            objects.append(os.path.join(self.temp, name + ".o"))
            subprocess.run(["cc", "-c", "-I" + pb,
                            os.path.join(pb, name + ".pb.c"), "-o",
                            objects[-1]] + nanopb_include(self.args),
                           check=True)
        for compiler, language, standard in self.compilers():
            program = os.path.join(self.temp, "calls_" + compiler)
            done = subprocess.run(
                [compiler, "-x", language, "-std=" + standard, "-g"]
                + WARNINGS + ["-I" + out, "-I" + self.args.include,
                              "-isystem", pb]
                + nanopb_include(self.args)
                + [os.path.join(HERE, "calls.c"), "-x", "none"] + objects
                + [self.args.nanopb_library, "-o", program],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            self.check("calls.c__builds_with_" + compiler,
                       done.returncode == 0, done.stdout)
            if done.returncode == 0:
                self.calls(program, compiler)

    def calls(self, program, compiler):
        done = subprocess.run([program], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        results = re.findall(r"^(ok|FAIL) +(\S.*)$", done.stdout, re.M)
        self.check("calls.c__runs_with_" + compiler,
                   results and done.returncode in (0, 1), done.stdout)
        for verdict, name in results:
            self.check("%s__%s" % (compiler, name), verdict == "ok")

    # -- buf -----------------------------------------------------------------

    def buf(self):
        try:
            program = deps.npm_tool("buf")
        except deps.Missing as problem:
            self.check("buf__can_be_installed", False, problem)
            return
        root = self.directory("buf", "in")
        shutil.copytree(PROTO, root, dirs_exist_ok=True)
        shutil.copy(os.path.join(self.nanopb_proto, "nanopb.proto"), root)
        write_files(root, {"buf.yaml": "version: v2\n"})
        for strategy in ("directory", "all"):
            out = self.directory("buf", strategy)
            write_files(root, {"buf.gen.yaml":
                               "version: v2\nplugins:\n"
                               "  - local: %s\n    out: %s\n"
                               "    strategy: %s\n" % (PLUGIN, out,
                                                       strategy)})
            done = subprocess.run(
                [program, "generate"], cwd=root, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True,
                env=dict(os.environ, BUF_CACHE_DIR=self.directory("cache")))
            self.check("buf__strategy_%s__gives_the_same" % strategy,
                       done.returncode == 0
                       and read_files(out) == self.results["default"],
                       done.stdout)

    # -- all of it -----------------------------------------------------------

    def run(self):
        for run in runs():
            self.goldens(run)
            self.protoc(run)
        self.properties()
        self.determinism()
        self.no_files()
        self.errors()
        self.errors_of_two_files()
        self.protoc_error()
        self.rename_mends()
        self.missing_packages()
        self.buf()
        self.compile_all()
        self.refused_by_the_compiler()
        self.other_version()
        self.raw_needs_no_nanopb()
        self.run_generated()


# ---------------------------------------------------------------------------
# Helpers
# ---------------------------------------------------------------------------

def find_nanopb_proto():
    """The directory of nanopb.proto."""
    places = [os.environ.get("NANOPB_PROTO")]
    for program in ("protoc-gen-nanopb", "nanopb_generator.py"):
        path = shutil.which(program)
        if path:
            places.append(os.path.join(
                os.path.dirname(os.path.realpath(path)), "proto"))
    places.append("/usr/lib/python3/dist-packages/proto")
    for place in filter(None, places):
        if os.path.exists(os.path.join(place, "nanopb.proto")):
            return place
    sys.exit("nanopb.proto not found: install nanopb ('apt-get install "
             "nanopb') or set NANOPB_PROTO to its directory")


def nanopb_include(args):
    return ["-isystem", args.nanopb_include] if args.nanopb_include else []


def read_files(directory):
    files = {}
    for path, _, names in os.walk(directory):
        for name in names:
            full = os.path.join(path, name)
            with open(full, encoding="utf-8") as opened:
                files[os.path.relpath(full, directory)] = opened.read()
    return files


def write_files(directory, files):
    for name, text in files.items():
        path = os.path.join(directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as opened:
            opened.write(text)


def difference(expected, got):
    import difflib
    return "\n".join(difflib.unified_diff(
        expected.split("\n"), got.split("\n"), "golden", "made",
        lineterm="", n=1))


def guard_of(text):
    return re.search(r"^#ifndef (\w+)$", text, re.M).group(1)


def guard_is_good(text):
    guard = guard_of(text)
    return ("#ifndef {0}\n#define {0}\n".format(guard) in text
            and text.endswith("#endif /* %s */\n" % guard)
            and re.fullmatch(r"CGRPC_[A-Z0-9_]+", guard))


def may_break(line):
    """Comments of the .proto and texts of #error stay as they are."""
    return not (line.startswith("#error") or line.lstrip().startswith("*")
                or line.lstrip().startswith("/*"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--update", action="store_true")
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("--include", default=ROOT, metavar="DIR",
                        help="where cgrpc.h is")
    parser.add_argument("--nanopb-include", metavar="DIR",
                        help="where pb.h is, if not where compilers look")
    parser.add_argument("--nanopb-library", default="-lprotobuf-nanopb",
                        help="what to link for nanopb")
    args = parser.parse_args()
    if shutil.which("dpkg-query"):
        try:
            deps.apt(*PACKAGES)
        except deps.Missing as problem:
            deps.die(problem)
    tests = Tests(args)
    try:
        tests.run()
    finally:
        shutil.rmtree(tests.temp)
    for skipped in tests.skipped:
        print("skip  " + skipped)
    print("%d passed, %d failed" % (tests.passed, tests.failed))
    sys.exit(1 if tests.failed else 0)


if __name__ == "__main__":
    main()
