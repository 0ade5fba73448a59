#!/usr/bin/python3
"""tests/MATRIX.md: for each outside suite and each peer, cases passed of run.

    tests/matrix.py             writes it, from what the last runs found
    tests/matrix.py --check     fails where it says something else than they

The suites leave what they found in build/results (tools/lib/results.py); a new
one is added to SOURCES. As the last suite of tools/test, --check looks only at
what that very run has found, and skips itself where a suite did not take part.
"""
import argparse
import difflib
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tools", "lib"))
import deps
import results

MATRIX = os.path.join(ROOT, "tests", "MATRIX.md")

# Name in build/results: the suite of tools/test that makes it. The order is
# that of the table.
SOURCES = {
    "interop_quick": "interop",
    "interop": "peers",
    "connect-server": "connect",
    "connect-client": "connect",
    "connect-both": "connect",
    "negative_peer": "negative",
    "tools": "tools",
    "proxies": "proxies",
    "evolution": "evolution",
    "etcd": "etcd",
}

HEAD = """\
# What the outside says

Suites and programs that others wrote, against cgrpc: cases passed of cases run,
as `tools/test` found them. Made by `tests/matrix.py`; do not edit.

| suite | peer | our side | passed | run |
|---|---|---|--:|--:|
"""
NOTES = """
## What is not in these numbers, and why

"""


def title(row):
    return "%s, %s, our %s" % (row["suite"], row["peer"], {
        "both": "client and server"}.get(row["ours"], row["ours"]))


def line(row):
    good = row["passed"] == row["run"]
    return "| %s | %s | %s | %s | %d |\n" % (
        row["suite"], row["peer"], row["ours"],
        row["passed"] if good else "**%d**" % row["passed"], row["run"])


def by_note(rows):
    """note -> titles of the rows that have it, in order."""
    found = {}
    for row in rows:
        for note in row["notes"]:
            found.setdefault(note, []).append(title(row))
    return found


def render(rows):
    failures = [row for row in rows if row["passed"] != row["run"]
                and not row["notes"]]
    for row in failures:
        row["notes"] = ["%d cases failed, and nobody has said why"
                        % (row["run"] - row["passed"])]
    text = HEAD + "".join(line(row) for row in rows)
    notes = by_note(rows)
    if notes:
        text += NOTES + "".join("- %s. (%s)\n" % (note.rstrip("."), "; ".join(
            titles)) for note, titles in notes.items())
    return text


def stale(name):
    """Why the results of a suite do not count, or ""."""
    path = os.path.join(results.PLACE, name + ".json")
    if not os.path.exists(path):
        return "the suite %s has not run" % SOURCES[name]
    began = float(os.environ.get("CGRPC_TEST_BEGAN", 0))
    if os.path.getmtime(path) < began:
        return "the suite %s did not take part in this run" % SOURCES[name]
    return ""


def unversioned(text):
    """Peers without their versions: a distribution's may be another tomorrow,
    and what is compared is the cases."""
    return re.sub(r" v?\d+(\.\d+)+", "", text).splitlines()


def differences(committed, measured):
    return [one for one in difflib.unified_diff(
        unversioned(committed), unversioned(measured), "tests/MATRIX.md",
        "this run", lineterm="", n=0) if not one.startswith("@@")]


def end(passed, failed, skipped):
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    sys.exit(1 if failed else 0)


def table_only(text, skipped):
    """The lines of the table less those of rows that this machine cannot
    have: what stands committed of them, and all notes, is left unjudged."""
    starts = tuple("| %s | %s | %s |" % (row["suite"], row["peer"],
                                         row["ours"]) for row in skipped)
    return "\n".join(one for one in text.splitlines()
                     if one.startswith("|") and not one.startswith(starts))


def show(rows):
    print("table: what the outside suites found: cases passed of cases run")
    for row in rows:
        print("  %-24s %-36s our %-8s %4d of %4d" % (
            row["suite"], row["peer"], row["ours"], row["passed"],
            row["run"]))
    print()


def check(rows):
    committed, measured = "", render(rows)
    if os.path.exists(MATRIX):
        with open(MATRIX) as file:
            committed = file.read()
    skipped = [row for row in rows if row.get("skipped")]
    for row in skipped:
        print("skip %s: %s" % (title(row), row["skipped"]))
    if skipped:
        committed = table_only(committed, skipped)
        measured = table_only(measured, skipped)
    wrong = differences(committed, measured)
    if wrong:
        print("FAIL tests/MATRIX.md says something else than this run. If the "
              "run is right, `tests/matrix.py` writes it anew: commit that.")
        print("\n".join("     " + one for one in wrong))
    end(int(not wrong), int(bool(wrong)), len(skipped))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    found = results.read()
    unknown = sorted(set(found) - set(SOURCES))
    if unknown:
        deps.die("build/results has %s, which SOURCES of tests/matrix.py does "
                 "not name: add it, or remove the file" % ", ".join(unknown))
    missing = [why for why in map(stale, SOURCES) if why]
    if missing:
        print("skip matrix: " + "; ".join(dict.fromkeys(missing)))
        if not options.check:
            deps.die("nothing is written")
        end(0, 0, 1)
    rows = [row for name in SOURCES for row in found[name]]
    show(rows)
    if options.check:
        check(rows)
    for row in rows:
        if row.get("skipped"):
            deps.die("%s was skipped here (%s): write the matrix on a machine "
                     "that has it" % (title(row), row["skipped"]))
    with open(MATRIX, "w") as file:
        file.write(render(rows))


if __name__ == "__main__":
    main()
