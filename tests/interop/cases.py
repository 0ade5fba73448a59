"""Cases that scripts run against a peer: a line each, counts, results.

    options = parser(__doc__).parse_args()     has --bin
    cases = Cases("proxies", "HTTP proxies")
    with cases.peer("nginx 1.22.1", "server"):
        cases.run("large messages", large, "nginx")
    cases.finish()

A case is a function that returns if all is well and raises if not; its name is
a sentence. What it returns, if anything, is shown behind its name.
"""
import argparse
import contextlib
import os
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools", "lib"))
import deps
import results

EXPECTED = (AssertionError, deps.Missing)  # their text says enough


def parser(about):
    made = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("--bin", required=True, type=os.path.abspath,
                      metavar="DIRECTORY", help="of our programs")
    return made


def need(*packages):
    """Debian packages that a script imports from."""
    try:
        deps.apt(*packages)
    except deps.Missing as missing:
        deps.die(missing)


def same(said, wanted):
    if said != wanted:
        raise AssertionError("said\n  %s\ninstead of\n  %s" % (
            str(said)[:2000], str(wanted)[:2000]))


def check(good, text):
    if not good:
        raise AssertionError(str(text)[:2000])


def why(problem):
    if isinstance(problem, EXPECTED):
        return str(problem)
    return "%s: %s" % (type(problem).__name__, problem)


class Server:
    """One of our servers, or one that says as they do where it listens:
    `with Server(program, "--port", "0") as server:` server.address"""

    def __init__(self, *command):
        self.process = deps.Process(list(command))

    def start(self):
        self.process.start()
        try:
            self.address = self.process.wait_ready(
                r"listening on (\S+)\n", timeout=20).group(1)
        except deps.Missing:
            self.stop()
            raise
        return self

    @property
    def port(self):
        return int(self.address.rsplit(":", 1)[1])

    def stop(self):
        self.process.stop()

    def __enter__(self):
        return self.start()

    def __exit__(self, *unused):
        self.stop()


def run_tests(namespace, *arguments):
    """The functions that are called test_..., which is the sentence: how many
    (passed, failed)."""
    passed = failed = 0
    for name, test in list(namespace.items()):
        if not name.startswith("test_"):
            continue
        try:
            test(*arguments)
            wrong = ""
        except Exception as problem:
            wrong = ": " + why(problem)
        passed += not wrong
        failed += bool(wrong)
        print("%s %s%s" % ("FAIL" if wrong else "ok  ",
                           name[len("test_"):].replace("_", " "), wrong),
              flush=True)
    return passed, failed


class Cases:
    def __init__(self, script, suite):
        self.script, self.suite = script, suite
        self.rows, self.row = [], None

    @contextlib.contextmanager
    def peer(self, name, ours):
        """The cases of this block count for that peer; `ours` is which side
        we are: "server", "client", "both" or "neither"."""
        self.row = {"suite": self.suite, "peer": name, "ours": ours,
                    "passed": 0, "run": 0, "notes": []}
        self.rows.append(self.row)
        print(name + (", our " + ours if ours in ("server", "client")
                      else ""), flush=True)
        try:
            yield self
        except Exception as problem:
            self.count("the peer itself", problem, 0)

    def run(self, name, function, *arguments):
        began, problem, said = time.monotonic(), None, None
        try:
            said = function(*arguments)
        except Exception as wrong:
            problem = wrong
        self.count(name, problem, time.monotonic() - began, said)

    def count(self, name, problem, seconds, said=None):
        self.row["run"] += 1
        self.row["passed"] += not problem
        print("  %s %s%s%s" % (
            "FAIL" if problem else "ok  ", name,
            ": " + str(said) if said else "",
            " (%.1f s)" % seconds if seconds > 1 else ""), flush=True)
        if problem:
            print("       " + why(problem).replace("\n", "\n       "),
                  flush=True)
            self.note(name, " ".join(why(problem).split())[:200])

    def note(self, name, reason):
        """Stands beside the peer's counts in the published matrix."""
        self.row["notes"].append("%s: %s" % (name, reason))

    def all_passed(self):
        return all(row["passed"] == row["run"] for row in self.rows)

    def finish(self, publish=True):
        """Ends the script. `publish` False: a run of some cases, which is not
        what the script stands for in the matrix. Peers of which `ours` is
        "neither" are counted, not published."""
        if publish:
            results.write(self.script, [row for row in self.rows
                                        if row["ours"] != "neither"])
        passed = sum(row["passed"] for row in self.rows)
        run = sum(row["run"] for row in self.rows)
        print("%d passed, %d failed, 0 skipped" % (passed, run - passed))
        sys.exit(0 if passed and passed == run else 1)
