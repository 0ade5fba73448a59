"""What the tests take from Go modules, and a Go that is new enough for it.

    golang.tool("h2spec")                      a programme of TOOLS: its path
    golang.module("connectrpc.com/conformance")  its files: the directory
    golang.run("building it", ["build", "."], cwd=place)   go itself

Go from 1.21 on fetches newer versions of itself as they are asked for. Where
there is none, or an older one (Debian 12 has 1.19), the one from Debian's
backports is unpacked into build/cache; nothing is installed.
"""
import glob
import json
import os
import re
import shutil
import subprocess

import deps

PACKAGES = ("golang-1.23-go", "golang-1.23-src")

# Programmes: the module that is pinned, the package in it, and, of a module
# from before go.mod, the modules that must be pinned beside it.
BESIDE_H2SPEC = ("github.com/fatih/color", "github.com/spf13/cobra",
                 "golang.org/x/net")
TOOLS = {
    "h2spec": ("github.com/summerwind/h2spec", "cmd/h2spec", BESIDE_H2SPEC),
    "h2specd": ("github.com/summerwind/h2spec", "cmd/h2specd", BESIDE_H2SPEC),
    "grpcurl": ("github.com/fullstorydev/grpcurl", "cmd/grpcurl", ()),
    "ghz": ("github.com/bojand/ghz", "cmd/ghz", ()),
    "connectconformance": ("connectrpc.com/conformance",
                           "cmd/connectconformance", ()),
    "http2": ("google.golang.org/grpc", "interop/http2", ()),
}


# ---- what it builds --------------------------------------------------------

def tool(name, pinned=None):
    """The path of a programme of TOOLS, built at its pinned version, or at
    another."""
    module_name, package, beside = TOOLS[name]
    pinned = pinned or deps.version(module_name)
    package = module_name + "/" + package
    place = deps.cache_dir("go", "%s-%s" % (name, pinned.split("+")[0]))
    made = os.path.join(place, name)
    with deps.Lock("go"):
        if os.path.exists(made):
            return made
        if beside:
            build_around(made, package, (module_name,) + beside)
        else:
            install("%s@%s" % (package, pinned), place)
    return made


def install(package, place):
    """A programme of a module whose own go.mod names what it imports."""
    run("go install " + package, ["install", package], GOBIN=place)


def build_around(made, package, modules, go="1.23"):
    """The programme `made`, in a module of ours that requires `modules` at
    their pinned versions. `package` is one of theirs, or "." for ours. `go` is
    the Go that they want: unlike go install, go build takes no newer one."""
    place = os.path.dirname(made)
    with open(os.path.join(place, "go.mod"), "w") as file:
        file.write("module around\n\ngo %s\n\nrequire (\n%s)\n" % (
            go, "".join("\t%s %s\n" % (one, deps.version(one))
                        for one in modules)))
    run("building %s of %s" % (os.path.basename(made), modules[0]),
        ["build", "-o", made, package], cwd=place)


def module(name, pinned=None):
    """The directory with the files of a module, at its pinned version, or at
    another. It belongs to Go's own cache, and nothing is to be changed
    there."""
    pinned = pinned or deps.version(name)
    done = subprocess.run(
        [os.path.join(path(), "go"), "mod", "download", "-json",
         "%s@%s" % (name, pinned)], text=True, cwd=deps.cache_dir("go"),
        env=environment(), capture_output=True, stdin=subprocess.DEVNULL,
        timeout=300)
    found = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    if "Dir" not in found:
        raise deps.Missing("the Go module %s %s cannot be had: %s" % (
            name, pinned, found.get("Error") or done.stderr.strip()))
    return found["Dir"]


def run(what, arguments, cwd=None, **more):
    """`go` with these arguments; `more` goes into its environment."""
    deps.run_quietly(what, [os.path.join(path(), "go")] + arguments, cwd=cwd,
                     env=environment(**more))


def environment(**more):
    """With a Go that may fetch a newer one where a module asks for it."""
    found = dict(os.environ, GOFLAGS="-mod=mod", CGO_ENABLED="0", **more)
    found.setdefault("GOTOOLCHAIN", "auto")
    found["PATH"] = path() + os.pathsep + found["PATH"]
    return found


# ---- Go itself -------------------------------------------------------------


def version(go):
    try:
        said = subprocess.run([go, "version"], capture_output=True, text=True)
    except OSError:
        return (0, 0)
    found = re.search(r"go(\d+)\.(\d+)", said.stdout)
    return tuple(map(int, found.groups())) if found else (0, 0)


def path():
    """The directory with `go`."""
    for go in (shutil.which("go"), "/usr/local/go/bin/go"):
        if go and version(go) >= (1, 21):
            return os.path.dirname(go)
    return unpacked()


def unpacked():
    place = deps.cache_dir("golang")
    with deps.Lock("golang"):
        found = glob.glob(os.path.join(place, "root/usr/lib/go-*/bin/go"))
        if not found:
            unpack(place)
            found = glob.glob(os.path.join(place, "root/usr/lib/go-*/bin/go"))
    if not found:
        raise deps.Missing("Go 1.21 or newer is needed: install it from "
                           "https://go.dev/dl/")
    return os.path.dirname(found[0])


def release():
    with open("/etc/os-release") as file:
        found = re.search(r"^VERSION_CODENAME=(\w+)", file.read(), re.M)
    return found.group(1) if found else "stable"


def unpack(place):
    """With lists of its own, so that the system's apt does not change."""
    mirror = None
    for line in deps.deb_src_lines():
        found = re.search(r"(https?://\S+/debian)/? ", line)
        if found:
            mirror = found.group(1)
            break
    if not mirror:
        raise deps.Missing("Go 1.21 or newer is needed, and apt knows no "
                           "Debian mirror to fetch it from: install it by "
                           "hand from https://go.dev/dl/")
    apt_get = deps.private_apt(place, [
        "deb %s %s main" % (mirror, suite)
        for suite in (release(), release() + "-backports")])
    deps.run_quietly("reading the package list of Debian's backports",
                     apt_get + ["update"])
    deps.run_quietly("fetching Go (" + " ".join(PACKAGES) + ")",
                     apt_get + ["download"] + list(PACKAGES), cwd=place)
    for package in sorted(glob.glob(os.path.join(place, "golang-*.deb"))):
        deps.run_quietly("unpacking " + os.path.basename(package),
                         ["dpkg-deb", "-x", package,
                          os.path.join(place, "root")])
        os.remove(package)
    mend_links(os.path.join(place, "root"))


def mend_links(root):
    """Debian's Go finds its parts by absolute links: make them relative."""
    for directory, folders, files in os.walk(root):
        for name in folders + files:
            link = os.path.join(directory, name)
            if os.path.islink(link) and os.readlink(link).startswith("/"):
                target = root + os.readlink(link)
                os.remove(link)
                os.symlink(os.path.relpath(target, directory), link)
