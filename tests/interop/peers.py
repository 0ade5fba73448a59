#!/usr/bin/python3
"""gRPC's interop cases, with every peer, in both directions.

    tests/interop/peers.py --bin build/host/bin
    tests/interop/peers.py --bin build/host/bin --peer grpc-go --case ping_pong
    tests/interop/peers.py --bin build/host/bin --quick    ourselves and grpcio
    tests/interop/peers.py --bin build/host/bin --others   all the rest

Each case of doc/interop-test-descriptions.md of gRPC that needs neither TLS nor
compression, first with our server and the peer's client, then the reverse. The
peers are fetched and built on first use (see peer_programs.py). The special
cases that are not run, and why, stand in LEFT_OUT below.

Prints a line a case, then a table: for each peer under S what its client said
of our server, under C what our client said of its server. "-" is a case that
the peer lacks; the reasons follow. The last line is the count.
"""
import argparse
import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import peer_programs
from peer_programs import CORE, deps
import results

CASES = CORE + ["rpc_soak", "channel_soak", "pick_first_unary",
                "very_large_request", "half_duplex"]

SUITE = "gRPC interop"
QUICK = ("cgrpc", "grpcio")

# Special cases that nobody is asked for.
LEFT_OUT = {
    "client_compressed_*, server_compressed_*":
        "compression is optional (gRPC over HTTP/2, Message-Encoding) and not "
        "built in",
    "cacheable_unary":
        "HTTP GET: gRPC over HTTP/2 knows only POST",
    "compute_engine_creds, service_account_creds, jwt_token_creds, "
    "oauth2_auth_token, per_rpc_creds, google_default_credentials, "
    "compute_engine_channel_credentials":
        "they need Google's token servers and TLS",
    "orca_per_rpc, orca_oob":
        "load reports of xDS, which no part of gRPC over HTTP/2 asks for",
    "max_concurrent_streams_connection_scaling (Java)":
        "a second connection of one channel; ours has one, as the header says",
    "slow_consumer, long_lived_channel (C++)":
        "in no description; 40 seconds of reading slowly, an hour of calls",
}

# Seconds that a client may take for one case, and for all of them.
CASE_TIMEOUT = 40
SOAK_TIMEOUT = peer_programs.SOAK_SECONDS + 30


class Outcome:
    """Of one peer in one direction: case -> "" (passed) or what went wrong."""

    def __init__(self, peer, ours, lacks):
        self.peer, self.ours, self.lacks = peer, ours, lacks
        self.found = {}

    def where(self):
        return "%s, our %s" % (self.peer.name, self.ours)


print_lock = threading.Lock()


def tell(outcome, case, wrong):
    outcome.found[case] = wrong
    with print_lock:
        print("%s %s: %s%s" % ("FAIL" if wrong else "ok  ", outcome.where(),
                               case, ": " + wrong if wrong else ""),
              flush=True)


# ---- one client ------------------------------------------------------------

def execute(peer, command, timeout):
    """(exit code, output) of a client; None: it had to be stopped, and was
    first asked where it hangs: Java's threads answer one signal, Go's, C++'s
    and Python's the other."""
    with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace",
            env=peer.environment, cwd=peer.directory,
            preexec_fn=deps.die_with_parent) as process:
        try:
            output = process.communicate(timeout=timeout)[0]
            return process.returncode, output
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT if command[0] == "java"
                                else signal.SIGABRT)
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
        return None, process.communicate()[0]


def why(code, output):
    """What a client that failed said, on one line."""
    said = re.findall(r"^FAILED \S+: (.*)", output, re.M)
    if not said:
        said = [" / ".join(output.strip().splitlines()[-4:]) or "no word"]
    ended = "it hung" if code is None else "exit code %d" % code
    return "%s: %s" % (ended, said[0][:600])


def run_single(client, port, case, outcome):
    """A case in a process of its own. grpcio's client was seen to hang, once in
    some hundred runs, in a case whose call its own clock ends: a client that
    is not ours, and hangs, is asked again, once."""
    timeout = SOAK_TIMEOUT if "soak" in case else CASE_TIMEOUT
    code, output = execute(client, client.single(port, case), timeout)
    if code is None and client.name != "cgrpc":
        with print_lock:
            print("again %s: %s: it hung\n%s" % (outcome.where(), case, output),
                  flush=True)
        code, output = execute(client, client.single(port, case), timeout)
    tell(outcome, case, "" if code == 0 else why(code, output))


def run_clients(client, port, cases, outcome):
    together = [case for case in cases if client.single(port, case) is None]
    if together:
        code, output = execute(client, client.client(port, together),
                               SOAK_TIMEOUT)
        for case in together:
            failed = re.search(r"^FAILED %s: (.*)" % case, output, re.M)
            if failed:
                tell(outcome, case, failed.group(1))
            elif re.search(r"^passed %s$" % case, output, re.M):
                tell(outcome, case, "")
            else:
                tell(outcome, case, why(code, output))
        return
    for case in cases:
        run_single(client, port, case, outcome)


# ---- one peer in one direction ---------------------------------------------

def run_direction(client, server, cases, outcome):
    wanted = [case for case in cases if case not in outcome.lacks]
    port = deps.free_port()
    process = deps.Process(server.server(port), env=server.environment,
                           cwd=server.directory)
    try:
        with process:
            process.wait_ready(port=port, timeout=60)
            run_clients(client, port, wanted, outcome)
            if not process.running():
                tell(outcome, "the server lives on", "it ended with %s: %s" % (
                    process.popen.returncode, process.output()[-600:]))
        if server.name == "cgrpc" and process.popen.returncode != 0:
            tell(outcome, "the server ends well", "exit code %d: %s" % (
                process.popen.returncode, process.output()[-600:]))
    except (deps.Missing, OSError) as problem:
        for case in wanted:
            if case not in outcome.found:
                tell(outcome, case, str(problem))


def build(peer):
    """None, or ("skip" or "FAIL", why it cannot be had)."""
    try:
        peer.build()
    except peer_programs.Unfit as unfit:
        return "skip", str(unfit)
    except (deps.Missing, OSError, subprocess.SubprocessError) as missing:
        return "FAIL", str(missing)
    return None


def plan(ours, peers):
    """The outcomes to come, and who plays which part in them."""
    for peer in peers:
        if peer is ours:
            yield Outcome(peer, "client and server", {}), ours, ours
        else:
            yield Outcome(peer, "server", peer.client_lacks), peer, ours
            yield Outcome(peer, "client", peer.server_lacks), ours, peer


# ---- what came of it -------------------------------------------------------

def cell(outcome, case):
    if case in outcome.lacks:
        return "-"
    return {None: "", "": "ok"}.get(outcome.found.get(case), "FAIL")


def table(outcomes, cases):
    columns = {}
    for outcome in outcomes:
        columns.setdefault(outcome.peer.name, []).append(outcome)
    width = max(len(case) for case in cases) + 1
    print("\ntable: the peers, by case; S: our server, C: our client")
    print("%*s" % (-width, "peer:") + "".join("%-17s" % n for n in columns))
    print("%*s" % (-width, "our part:") + "".join(
        "%-17s" % ("both" if len(pair) == 1 else "S     C")
        for pair in columns.values()))
    for case in cases:
        print("%*s" % (-width, case) + "".join(
            "%-17s" % "".join("%-6s" % cell(outcome, case) for outcome in pair)
            for pair in columns.values()))
    print()


def reasons(outcomes, cases):
    for outcome in outcomes:
        for case in cases:
            if case in outcome.lacks:
                print("n/a  %s: %s: %s" % (outcome.where(), case,
                                           outcome.lacks[case]))
    for names, reason in LEFT_OUT.items():
        print("n/a  all: %s: %s" % (names, reason))


def skipped_rows(peer, reason):
    return [{"suite": SUITE, "peer": full_name(peer), "ours": ours,
             "passed": 0, "run": 0, "notes": [], "skipped": reason}
            for ours in ("server", "client")]


def full_name(peer):
    return (peer.name + " " + peer.version).strip()


def rows(outcomes, cases):
    made = []
    for outcome in outcomes:
        notes = ["%s: failed: %s" % (case, wrong)
                 for case, wrong in outcome.found.items() if wrong]
        notes += ["%s: not run: %s" % (case, outcome.lacks[case])
                  for case in cases if case in outcome.lacks]
        if outcome.peer.name == "cgrpc":
            notes += ["%s: not run, with no peer: %s" % left
                      for left in LEFT_OUT.items()]
        made.append({
            "suite": SUITE, "peer": full_name(outcome.peer),
            "ours": "both" if outcome.peer.name == "cgrpc" else outcome.ours,
            "passed": sum(not wrong for wrong in outcome.found.values()),
            "run": len(outcome.found), "notes": notes})
    return made


def choose(peers, options):
    if options.quick or options.others:
        return [peer for peer in peers
                if (peer.name in QUICK) == options.quick]
    for name in options.peer:
        if not any(name in peer.name for peer in peers):
            deps.die("no peer is called %s; there are: %s" % (
                name, ", ".join(peer.name for peer in peers)))
    return [peer for peer in peers if not options.peer
            or any(name in peer.name for name in options.peer)]


def run_all(ours, peers, cases):
    outcomes, running = [], []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for outcome, client, server in plan(ours, peers):
            outcomes.append(outcome)
            running.append(pool.submit(run_direction, client, server, cases,
                                       outcome))
    for one in running:
        one.result()
    return outcomes


def publish(options, made):
    """What a run of some peers or cases finds is not what it stands for."""
    if options.peer or options.case:
        return
    if options.quick or not options.others:
        results.write("interop_quick",
                      [row for row in made if row["peer"].startswith(QUICK)])
    if options.others or not options.quick:
        results.write("interop", [row for row in made
                                  if not row["peer"].startswith(QUICK)])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--peer", action="append", default=[])
    parser.add_argument("--case", action="append", default=[], choices=CASES,
                        metavar="CASE")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--others", action="store_true")
    options = parser.parse_args()
    ours, everybody = peer_programs.all_peers(os.path.abspath(options.bin))
    cases = options.case or CASES
    failed, ready, skipped = 0, [], []
    for peer in choose(everybody, options):
        problem = build(peer)
        if not problem:
            ready.append(peer)
            continue
        print("%s %s: %s" % (problem[0], peer.name, problem[1]), flush=True)
        if problem[0] == "skip":
            skipped.append((peer, problem[1]))
        else:
            failed += 1
    began = time.monotonic()
    outcomes = run_all(ours, ready, cases)
    table(outcomes, cases)
    reasons(outcomes, cases)
    made = rows(outcomes, cases)
    publish(options, made + [row for peer, reason in skipped
                             for row in skipped_rows(peer, reason)])
    print("%.0f s" % (time.monotonic() - began))
    failed += sum(row["run"] - row["passed"] for row in made)
    print("%d passed, %d failed, %d skipped" % (
        sum(row["passed"] for row in made), failed, len(skipped)))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
