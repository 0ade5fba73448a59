"""A Go that is new enough for the tools that the tests build.

    golang.path()       the directory with `go`

Go from 1.21 on fetches newer versions of itself as they are asked for. Where
there is none, or an older one (Debian 12 has 1.19), the one from Debian's
backports is unpacked into build/cache; nothing is installed.
"""
import glob
import os
import re
import shutil
import subprocess

import deps

PACKAGES = ("golang-1.23-go", "golang-1.23-src")


def version(go):
    try:
        said = subprocess.run([go, "version"], capture_output=True, text=True)
    except OSError:
        return (0, 0)
    found = re.search(r"go(\d+)\.(\d+)", said.stdout)
    return tuple(map(int, found.groups())) if found else (0, 0)


def path():
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
    for part in ("lists/partial", "archives/partial", "parts"):
        os.makedirs(os.path.join(place, part), exist_ok=True)
    with open(os.path.join(place, "sources.list"), "w") as file:
        for suite in (release(), release() + "-backports"):
            file.write("deb %s %s main\n" % (mirror, suite))
    options = ["-o", "Dir::Etc::SourceList=%s/sources.list" % place,
               "-o", "Dir::Etc::SourceParts=%s/parts" % place,
               "-o", "Dir::State::Lists=%s/lists" % place,
               "-o", "Dir::Cache=%s" % place,
               "-o", "Dir::Cache::archives=%s/archives" % place,
               "-o", "Debug::NoLocking=1"]
    if os.geteuid() == 0:
        options += ["-o", "APT::Sandbox::User=root"]
    deps.run_quietly("reading the package list of Debian's backports",
                     ["apt-get"] + options + ["update"])
    deps.run_quietly("fetching Go (" + " ".join(PACKAGES) + ")",
                     ["apt-get"] + options + ["download"] + list(PACKAGES),
                     cwd=place)
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
