#!/usr/bin/python3
"""etcd, a server that our client did not expect, restarted under it.

    tests/interop/etcd.py --bin build/host/bin
    tests/interop/etcd.py --bin build/host/bin --minutes 5

Our client (etcd_client.c) knows a part of etcd's messages (etcd.proto). etcd,
etcdctl and the .proto files of etcd are Debian's, unpacked into the cache: no
service is installed; a second, newer etcd comes through the Go module proxy.
What we put, etcdctl reads; what it puts, our watch sees, whatever happens to
the server in between.
"""
import base64
import json
import os
import queue
import random
import re
import shutil
import signal
import subprocess
import threading
import time

from cases import Cases, check, need, parser, same
import deps
import golang

HERE = os.path.dirname(os.path.abspath(__file__))
NEWER = "go.etcd.io/etcd/server/v3"
SOURCES = {  # where etcd's sources keep what its .proto files import
    "etcd/mvcc/mvccpb/kv.proto": "mvcc/mvccpb/kv.proto",
    "etcd/auth/authpb/auth.proto": "auth/authpb/auth.proto",
    "rpc.proto": "etcdserver/etcdserverpb/rpc.proto",
}


# ---- etcd and etcdctl ------------------------------------------------------

class Etcd:
    """One member, its data in `place`; started and stopped at will."""

    def __init__(self, place, server=None):
        os.makedirs(place, exist_ok=True)
        self.place = place
        self.server = server or os.path.join(deps.apt_files("etcd-server"),
                                             "usr/bin/etcd")
        self.control = os.path.join(deps.apt_files("etcd-client"),
                                    "usr/bin/etcdctl")
        self.port, self.peers = deps.free_port(), deps.free_port()
        self.address = "127.0.0.1:%d" % self.port
        self.process = None
        self.starts = 0

    def start(self):
        self.starts += 1
        url = "http://%s" % self.address
        peers = "http://127.0.0.1:%d" % self.peers
        self.process = deps.Process(
            [self.server, "--name", "one", "--data-dir",
             os.path.join(self.place, "data"),
             "--listen-client-urls", url, "--advertise-client-urls", url,
             "--listen-peer-urls", peers,
             "--initial-advertise-peer-urls", peers,
             "--initial-cluster", "one=" + peers],
            log=os.path.join(self.place, "etcd-%d.log" % self.starts))
        self.process.start()
        self.process.wait_ready("ready to serve client requests", timeout=20)
        # ready once it has a leader: it may still refuse for a moment
        end = time.monotonic() + 20
        while self.ctl("endpoint", "health", good=False).returncode:
            check(time.monotonic() < end, "etcd has no leader")
            time.sleep(0.05)

    def stop(self, how=signal.SIGTERM):
        if self.process:
            self.process.signal(how)
            check(self.process.wait(20) is not None, "etcd does not end")
            self.process = None

    def ctl(self, *arguments, good=True):
        done = subprocess.run(
            [self.control, "--endpoints", self.address] + list(arguments),
            capture_output=True, text=True, timeout=20,
            env=dict(os.environ, ETCDCTL_API="3"))
        check(done.returncode == 0 or not good, done.stderr)
        return done

    def get(self, key):
        return self.ctl("get", "--print-value-only", key).stdout[:-1]

    def found(self, prefix):
        """All keys that begin so, with values."""
        said = json.loads(self.ctl("get", "--prefix", prefix, "-w",
                                   "json").stdout)
        return [(base64.b64decode(kv["key"]),
                 base64.b64decode(kv.get("value", "")))
                for kv in said.get("kvs", [])]

    def history(self, prefix, count, revision=1):
        """What happened since `revision`, at least `count` events, as our
        client prints them."""
        lines, end = [], time.monotonic() + 30
        process = subprocess.Popen(
            [self.control, "--endpoints", self.address, "watch", "--prefix",
             prefix, "--rev", str(revision), "-w", "json"],
            stdout=subprocess.PIPE, text=True,
            preexec_fn=deps.die_with_parent)
        timer = threading.Timer(30, process.kill)
        timer.start()
        try:
            while len(lines) < count:
                line = process.stdout.readline()
                check(line, "etcdctl saw %d of %d events" % (len(lines),
                                                            count))
                lines += map(event_line, json.loads(line)["Events"] or [])
        finally:
            timer.cancel()
            process.kill()
            process.wait()
        return lines


def event_line(event):
    kv = event["kv"]
    value = base64.b64decode(kv.get("value", "")).decode()
    key = base64.b64decode(kv["key"]).decode()
    if event.get("type") == 1:
        return "event delete %s - %d" % (key, kv["mod_revision"])
    return "event put %s %s %d" % (
        key, "#%d" % len(value) if len(value) > 32 else value,
        kv["mod_revision"])


# ---- our client ------------------------------------------------------------

class Client:
    """etcd_client, with a log in `place`."""

    def __init__(self, directory, place, port):
        self.answers, self.news = queue.Queue(), []
        self.errors = open(os.path.join(place, "client.log"), "a")
        self.process = subprocess.Popen(
            [os.path.join(directory, "etcd_client"), "--port", str(port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
            text=True, preexec_fn=deps.die_with_parent)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            line = line.rstrip("\n")
            if line.startswith(("event ", "alive ", "watch ")):
                self.news.append(line)
            else:
                self.answers.put(line)

    def ask(self, *words, timeout=15):
        check(self.process.poll() is None, "our client has ended")
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        try:
            return self.answers.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError("no answer to %s" % (words,)) from None

    def events(self):
        return [line for line in self.news if line.startswith("event ")]

    def heard(self, start):
        return [line for line in self.news if line.startswith(start)]

    def wait_for(self, condition, what, seconds=15):
        end = time.monotonic() + seconds
        while not condition():
            check(time.monotonic() < end, "%s within %d s; news: %s" % (
                what, seconds, self.news[-8:]))
            check(self.process.poll() is None, "our client has ended")
            time.sleep(0.01)

    def stop(self):
        """Its exit code."""
        try:
            self.process.stdin.write("quit\n")
            self.process.stdin.close()
            return self.process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            return self.process.wait()
        finally:
            self.errors.close()


def revision_of(answer):
    found = re.fullmatch(r"put (\d+)", answer)
    check(found, "%r is no put" % answer)
    return int(found.group(1))


# ---- the .proto files ------------------------------------------------------

def compiled(place, *arguments):
    out = os.path.join(place, "descriptors")
    subprocess.run(["protoc", "--include_imports", "--descriptor_set_out="
                    + out] + list(arguments), check=True)
    from google.protobuf import descriptor_pb2
    with open(out, "rb") as file:
        return descriptor_pb2.FileDescriptorSet.FromString(file.read())


def theirs(place):
    """etcd's own, without options: those need imports of other projects."""
    source = deps.apt_source("etcd")
    tree = os.path.join(place, "protos")
    for name, path in SOURCES.items():
        with open(os.path.join(source, path)) as file:
            text = file.read()
        text = re.sub(r'import "(gogoproto|google)/[^\n]*\n', "", text)
        text = re.sub(r"option \(google\.api\.http\) = \{.*?\};", "", text,
                      flags=re.S)
        text = re.sub(r"option \([^;]*;", "", text)
        text = re.sub(r"\s*\[\(gogoproto[^\]]*\]", "", text)
        # an annotation of several blocks leaves its brace and semicolon
        text = re.sub(r"(rpc [^{}]*)\{[^{}]*\}", r"\1{}", text)
        out = os.path.join(tree, name)
        os.makedirs(os.path.dirname(out), exist_ok=True)
        with open(out, "w") as file:
            file.write(text)
    return compiled(place, "-I" + tree, "rpc.proto")


def flattened(files):
    """({message.field: what it is}, {service.method: what it is}), without
    the packages of the types: a message of another file is the same one."""
    fields, methods = {}, {}

    def bare(name):
        return name.split(".")[-1]

    def walk(message, prefix):
        name = prefix + message.name
        for field in message.field:
            fields["%s.%s" % (name, field.name)] = (
                field.number, field.label, field.type, bare(field.type_name))
        for inner in message.nested_type:
            walk(inner, name + ".")
        for enum in message.enum_type:
            for value in enum.value:
                fields["%s.%s" % (name, value.name)] = value.number

    for file in files.file:
        for message in file.message_type:
            walk(message, "")
        for service in file.service:
            for method in service.method:
                methods["%s.%s.%s" % (file.package, service.name,
                                      method.name)] = (
                    bare(method.input_type), bare(method.output_type),
                    method.client_streaming, method.server_streaming)
    return fields, methods


def is_a_part_of_etcd(place):
    ours = flattened(compiled(place, "-I" + HERE, "etcd.proto"))
    all_of_it = flattened(theirs(place))
    for part, whole in zip(ours, all_of_it):
        same({name: whole.get(name) for name in part}, part)
    missing = ["ResponseHeader.cluster_id", "ResponseHeader.member_id",
               "ResponseHeader.raft_term", "KeyValue.create_revision",
               "KeyValue.version", "KeyValue.lease", "TxnResponse.responses"]
    same([(name in all_of_it[0], name in ours[0]) for name in missing],
         [(True, False)] * len(missing))
    return "%d of %d methods, %d of %d fields" % (
        len(ours[1]), len(all_of_it[1]), len(ours[0]), len(all_of_it[0]))


# ---- cases -----------------------------------------------------------------

class World:
    """etcd, our client, and what they have agreed on so far."""

    def __init__(self, directory, place, server=None):
        self.directory = directory
        self.etcd = Etcd(place, server)
        self.client = None

    def new_client(self):
        return Client(self.directory, self.etcd.place, self.etcd.port)

    def stop(self):
        if self.client:
            self.client.process.kill()
            self.client.process.wait()
        if self.etcd.process:
            self.etcd.process.stop()


def puts_and_gets(w):
    first = revision_of(w.client.ask("put", "a/one", "eins"))
    same(w.etcd.get("a/one"), "eins")
    w.etcd.ctl("put", "a/two", "zwei")
    same(w.client.ask("get", "a/two"), "got zwei %d" % (first + 1))
    same(w.client.ask("get", "a/one"), "got eins %d" % first)
    same(w.client.ask("get", "a/three"), "nothing")
    same(revision_of(w.client.ask("put", "a/one", "uno")), first + 2)
    same(w.etcd.get("a/one"), "uno")


def skips_what_it_does_not_know(w):
    """etcdctl shows that the fields are on the wire, and not zero."""
    w.client.ask("lease", 600)
    revision = revision_of(w.client.ask("lput", "a/leased", "x"))
    said = json.loads(w.etcd.ctl("get", "a/leased", "-w", "json").stdout)
    check(all(said["header"][name] for name in
              ("cluster_id", "member_id", "raft_term")), said)
    check(all(said["kvs"][0][name] for name in
              ("create_revision", "version", "lease")), said)
    same(w.client.ask("get", "a/leased"), "got x %d" % revision)
    same(w.client.ask("swap", "a/leased", "y", "z"), "kept")
    same(w.client.ask("swap", "a/leased", "x", "z"), "swapped")
    same(w.etcd.get("a/leased"), "z")
    w.client.ask("lput", "a/leased", "x")  # the swap took the lease off it
    same(w.client.ask("revoke"), "revoked")
    same(w.client.ask("get", "a/leased"), "nothing")
    same(w.etcd.found("a/leased"), [])


def check_of(pairs):
    value = 2166136261
    for byte in b"".join(key + text for key, text in pairs):
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return "%d %d %08x" % (len(pairs), sum(len(k) + len(v)
                                           for k, v in pairs), value)


def ranges(w):
    """The replies are larger than any field; one is 14 KB in a buffer of
    16 KB, in 100 callbacks."""
    for number in range(100):
        w.client.ask("fill", "r/%02d" % number, 100, chr(97 + number % 26))
    pairs = w.etcd.found("r/")
    same(len(pairs), 100)
    same(w.client.ask("range", "r/", 0), "range %s 1" % check_of(pairs))
    same(w.client.ask("range", "r/", 7), "range %s 15" % check_of(pairs))
    same(w.client.ask("range", "r/9", 0), "range %s 1" % check_of(pairs[90:]))


def refuses_a_reply_beyond_its_buffer(w):
    """64 KB for a buffer of 16: an exact status, and the page after it."""
    for number in range(64):
        w.client.ask("fill", "big/%02d" % number, 1000,
                     chr(97 + number % 26))
    pairs = w.etcd.found("big/")
    same(sum(len(value) for _, value in pairs), 64000)
    for _ in range(3):
        same(w.client.ask("range", "big/", 0),
             "RESOURCE_EXHAUSTED: message over the receiver's limit")
    same(w.client.ask("range", "big/", 10), "range %s 7" % check_of(pairs))


def refuses_a_value_beyond_its_field(w):
    """1,100 bytes for a field of 1,024. (4 KB go up through 512.)"""
    w.client.ask("fill", "long", 1024, "x")
    same(w.client.ask("get", "long").split()[:2], ["got", "#1024"])
    w.client.ask("fill", "long", 1100, "x")
    same(w.client.ask("get", "long"), "INTERNAL: answer cannot be decoded")
    w.client.ask("fill", "long", 4096, "y")
    same(w.etcd.get("long"), "y" * 4096)
    same(w.client.ask("delete", "long"), "deleted 1")


def hears_errors(w):
    """etcd's own words."""
    same(w.client.ask("put", "", "", ""),
         "INVALID_ARGUMENT: etcdserver: key is not provided")
    w.client.ask("lease", 600)
    w.client.ask("revoke")
    same(w.client.ask("revoke"),
         "NOT_FOUND: etcdserver: requested lease not found")


def deletes(w):
    for name in ("x", "y", "z"):
        w.etcd.ctl("put", "d/" + name, name)
    same(w.client.ask("delete", "d/"), "deleted 3")
    same(w.etcd.found("d/"), [])


def watches(w):
    w.client.ask("watch", "w/", 0)
    w.client.wait_for(lambda: w.client.heard("watch from"), "a watch")
    w.etcd.ctl("put", "w/theirs", "1")
    w.client.ask("put", "w/ours", "2")
    w.etcd.ctl("put", "elsewhere", "3")
    w.etcd.ctl("del", "w/theirs")
    w.client.ask("fill", "w/ours", 900, "x")
    w.client.ask("delete", "w/")
    w.client.wait_for(lambda: len(w.client.events()) >= 5, "5 events")
    same(w.client.events(), w.etcd.history("w/", 5))


def hears_of_a_compaction(w):
    """A watch from a revision that is gone: told, and not tried again."""
    other = w.new_client()
    try:
        last = revision_of(other.ask("put", "c", "1"))
        w.etcd.ctl("compact", str(last))
        other.ask("watch", "c", 1)
        other.wait_for(lambda: other.heard("watch compacted"), "the news")
        same(other.heard("watch "), ["watch from 1",
                                     "watch compacted %d" % last])
        other.ask("watch", "c", last)
        other.wait_for(lambda: other.events(), "the event")
        same(other.events(), ["event put c 1 %d" % last])
    finally:
        same(other.stop(), 0)
    w.since = last


def keeps_a_lease(w):
    """2 seconds: alive after 5 because of our stream, gone after we end it."""
    w.client.ask("lease", 2)
    w.client.ask("lput", "l/key", "here")
    before = len(w.client.heard("alive 2"))
    time.sleep(5)
    same(w.etcd.get("l/key"), "here")
    answers = len(w.client.heard("alive 2")) - before
    check(6 <= answers <= 9, "%d answers in 5 s" % answers)
    same(w.client.heard("alive lost"), [])
    w.client.ask("revoke")
    same(w.etcd.found("l/"), [])


def put_until_it_is_there(w, key, value):
    """As a device does: again, as long as the server is not there."""
    end = time.monotonic() + 30
    while True:
        said = w.client.ask("put", key, value)
        if said.startswith("put "):
            return
        check(re.match("(UNAVAILABLE|DEADLINE_EXCEEDED): ", said), said)
        check(time.monotonic() < end, "etcd does not come back: " + said)
        time.sleep(0.05)


def restart_for(w, seconds, chance):
    """Puts and deletes from both sides; etcd ends, by SIGTERM or SIGKILL, and
    comes back, after the next or after a pause: the number of restarts."""
    restarts = ours = theirs = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end or restarts < 3:
        for _ in range(chance.randint(20, 60)):
            put_until_it_is_there(w, "s/%d" % chance.randint(0, 20),
                                  "ours-%d" % ours)
            ours += 1
        for _ in range(chance.randint(3, 8)):
            w.etcd.ctl("put", "s/%d" % chance.randint(0, 20),
                       "theirs-%d" % theirs)
            theirs += 1
        w.etcd.ctl("del", "--prefix", "s/1")
        w.etcd.stop(chance.choice((signal.SIGTERM, signal.SIGKILL)))
        restarts += 1
        if chance.random() < 0.5:
            said = w.client.ask("get", "s/0")
            check(said.startswith(("UNAVAILABLE", "DEADLINE")), said)
        time.sleep(chance.choice((0, 0.3, 1.0)))
        w.etcd.start()
        for _ in range(3):  # while our client may not be back
            w.etcd.ctl("put", "s/after", "theirs-%d" % theirs)
            theirs += 1
    return restarts


def survives_restarts(w, seconds, seed):
    """In the end our watch has seen what etcdctl sees."""
    client, started = w.client, time.monotonic()
    known = len(client.heard("watch from"))
    client.ask("watch", "s/", 0)
    client.wait_for(lambda: len(client.heard("watch from")) > known,
                    "a watch")
    client.ask("lease", 5)
    put_until_it_is_there(w, "s/start", "0")
    client.wait_for(lambda: client.events()[-1:]
                    and "s/start" in client.events()[-1], "the first event")
    began = len(client.events()) - 1
    client.ask("lput", "lease", "kept")
    restarts = restart_for(w, seconds, random.Random(seed))
    put_until_it_is_there(w, "s/end", "0")
    client.wait_for(lambda: "s/end" in client.events()[-1], "the last event",
                    30)
    seen = client.events()[began:]
    same(seen, w.etcd.history("s/", len(seen), w.since))
    lost = len(client.heard("watch lost"))
    check(lost >= restarts, "%d losses, %d restarts" % (lost, restarts))
    same(client.ask("get", "lease").split()[:2], ["got", "kept"])
    alive = len(client.heard("alive 5"))
    check(alive >= seconds / 5, "%d answers for the lease" % alive)
    return "%d restarts in %d s, %d events, %d answers for the lease" % (
        restarts, time.monotonic() - started, len(seen), alive)


def ends_well(w):
    same(w.client.stop(), 0)
    w.etcd.stop()


CASES = [
    ("Put and Range: each reads what the other puts", puts_and_gets),
    ("fields that we did not declare are skipped",
     skips_what_it_does_not_know),
    ("Range: 100 keys in one reply, and in pages", ranges),
    ("Range: a reply over the channel's limit",
     refuses_a_reply_beyond_its_buffer),
    ("Range: a value over the field's limit",
     refuses_a_value_beyond_its_field),
    ("errors in etcd's words", hears_errors),
    ("DeleteRange", deletes),
    ("Watch: events of both, in order", watches),
    ("Watch: compacted", hears_of_a_compaction),
    ("LeaseKeepAlive", keeps_a_lease),
]


def newer_etcd():
    """The path of an etcd some years younger than Debian's, built through the
    Go module proxy: its messages have grown."""
    pinned = deps.version(NEWER)
    path = os.path.join(deps.cache_dir("go", "etcd-" + pinned), "etcd")
    with deps.Lock("go"):
        if not os.path.exists(path):
            golang.build_around(path, NEWER, (NEWER,), go="1.26")
    return path


def run_cases(cases, w, minutes, seed):
    try:
        w.etcd.start()
        w.client = w.new_client()
        for name, function in CASES:
            cases.run(name, function, w)
        cases.run("restarts under a watch and a lease", survives_restarts,
                  w, minutes * 60, seed)
        cases.run("our client ends well", ends_well, w)
    finally:
        w.stop()


def main():
    made = parser(__doc__)
    made.add_argument("--minutes", type=float, default=0.3,
                      help="of restarts (0.3)")
    made.add_argument("--seed", type=int, default=1)
    options = made.parse_args()
    need("python3-protobuf", "protobuf-compiler")
    cases = Cases("etcd", "etcd")
    place = deps.cache_dir("run", "etcd-%d" % os.getpid())
    try:
        old = World(options.bin, os.path.join(place, "old"))
        new = World(options.bin, os.path.join(place, "new"), newer_etcd())
    except deps.Missing as missing:
        deps.die(missing)
    with cases.peer("etcd " + deps.debian_version("etcd-server"), "client"):
        cases.run("etcd.proto is a part of etcd's", is_a_part_of_etcd, place)
        run_cases(cases, old, options.minutes, options.seed)
    with cases.peer("etcd " + deps.version(NEWER),
                    "client"):
        run_cases(cases, new, options.minutes / 3, options.seed)
    if cases.all_passed():
        shutil.rmtree(place)  # etcd's data: 64 MB of preallocated log
    cases.finish()


if __name__ == "__main__":
    main()
