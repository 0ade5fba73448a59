"""What a suite found, for tests/MATRIX.md.

    results.write("peers", [{"suite": "gRPC interop", "peer": "grpc-go v1.83.1",
                             "ours": "server", "passed": 17, "run": 17,
                             "notes": ["half_duplex: ..."]}])
    results.read()      the rows of all suites: name -> rows

`ours` is the side that cgrpc had: "server", "client" or "both". A note names
what was not run or did not pass, with the reason and the clause that decides.
"skipped" is there, with the reason, if this machine cannot have the peer.
"""
import glob
import json
import os

import deps

PLACE = os.path.join(deps.ROOT, "build", "results")


def write(name, rows):
    os.makedirs(PLACE, exist_ok=True)
    with open(os.path.join(PLACE, name + ".json"), "w") as file:
        json.dump(rows, file, indent=1, sort_keys=True)


def read():
    found = {}
    for path in sorted(glob.glob(os.path.join(PLACE, "*.json"))):
        with open(path) as file:
            name = os.path.splitext(os.path.basename(path))[0]
            found[name] = json.load(file)
    return found
