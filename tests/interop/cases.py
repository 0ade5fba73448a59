"""Cases that scripts run against a peer: a line each, counts, results.

    cases = Cases("proxies", "HTTP proxies")
    with cases.peer("nginx 1.22.1", "server"):
        cases.run("large messages", large, "nginx")
    cases.finish()

A case is a function that returns if all is well and raises AssertionError,
deps.Missing, OSError or what subprocess raises if not; its name is a sentence.
What it returns, if anything, is shown behind its name.
"""
import contextlib
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools", "lib"))
import deps
import results

WRONG = (AssertionError, deps.Missing, OSError, subprocess.SubprocessError)


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


class Cases:
    def __init__(self, script, suite):
        self.script, self.suite = script, suite
        self.rows, self.row = [], None
        self.skipped = 0

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
        except WRONG as problem:
            self.count("the peer itself", problem, 0)

    def run(self, name, function, *arguments):
        began, problem, said = time.monotonic(), None, None
        try:
            said = function(*arguments)
        except WRONG as wrong:
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
            print("       " + str(problem).replace("\n", "\n       "),
                  flush=True)
            self.note(name, " ".join(str(problem).split())[:200])

    def note(self, name, reason):
        """Stands beside the peer's counts in the published matrix."""
        self.row["notes"].append("%s: %s" % (name, reason))

    def skip(self, name, reason):
        self.skipped += 1
        print("  skip %s: %s" % (name, reason), flush=True)
        self.note(name, "not run: " + reason)

    def finish(self):
        """Peers of which `ours` is "neither" are counted, not published."""
        results.write(self.script, [row for row in self.rows
                                    if row["ours"] != "neither"])
        passed = sum(row["passed"] for row in self.rows)
        run = sum(row["run"] for row in self.rows)
        print("%d passed, %d failed, %d skipped" % (passed, run - passed,
                                                    self.skipped))
        sys.exit(0 if passed and passed == run else 1)
