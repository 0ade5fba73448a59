"""ghz, which calls a gRPC method many times at once.

    ghz.run(address, proto, "package.Service.Method", request, 2000, "-c", "40")

returns its report, in which every call ended as `wanted`.
"""
import json
import os
import subprocess

from cases import check, same
import golang

SECONDS = 120


def run(address, proto, call, data, count, *options, include=None,
        wanted="OK"):
    """`proto` is a path, below `include` if that is given. A list as `data`:
    the messages of a stream."""
    include = include or os.path.dirname(proto)
    done = subprocess.run(
        [golang.tool("ghz"), "--insecure", "--import-paths", include,
         "--proto", os.path.relpath(proto, include), "--call", call,
         "-d", json.dumps(data), "-n", str(count), "-O", "json"]
        + list(options) + [address],
        capture_output=True, text=True, timeout=SECONDS)
    check(done.returncode == 0, done.stdout[-500:] + done.stderr)
    report = json.loads(done.stdout)
    same(report["statusCodeDistribution"], {wanted: count})
    same((report["count"], len(report["details"])), (count, count))
    if wanted == "OK":
        same(report["errorDistribution"], {})
    return report
