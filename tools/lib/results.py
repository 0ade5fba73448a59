"""What the suites have found, for the published matrix.

    results.write("connect", rows)     build/results/connect.json

A row says how many cases of a suite passed, against whom:
    {"suite": "gRPC interop", "peer": "grpc-go v1.83.1", "ours": "server",
     "passed": 14, "run": 14, "notes": ["case: reason, clause"]}
"""
import json
import os

import deps


def write(name, rows):
    place = os.path.join(deps.ROOT, "build", "results")
    os.makedirs(place, exist_ok=True)
    with open(os.path.join(place, name + ".json"), "w") as file:
        json.dump(rows, file, indent=1, sort_keys=True)
