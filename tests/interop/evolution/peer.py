#!/usr/bin/python3
"""The same servers and clients by grpcio and Google's protobuf.

    evolution/peer.py server v1       prints "listening on 127.0.0.1:PORT"
    evolution/peer.py client v2 --port PORT

It reads v1/device.proto or v2/device.proto, never both.
"""
import argparse
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import protos
import grpc


def load(version):
    return protos.load(os.path.join(HERE, version), "device.proto")


# ---- as print.h prints it --------------------------------------------------

def text_v1(r):
    place = {"room": lambda: r.room,
             "point": lambda: "(%d,%d)" % (r.point.x, r.point.y),
             None: lambda: ""}[r.WhichOneof("place")]()
    return "id=%d name=%s value=%d state=%d unit=%d place=%s samples=%s " \
        "note=%s" % (r.id, r.name, r.value, r.state, r.unit, place,
                     "".join("%d," % s for s in r.samples), r.note)


def text_v2(r):
    place = {"room": lambda: r.room,
             "point": lambda: "(%d,%d,%d)" % (r.point.x, r.point.y, r.point.z),
             "fix": lambda: "<%.2f,%.2f,%d>" % (
                 r.fix.latitude, r.fix.longitude, len(r.fix.satellites)),
             None: lambda: ""}[r.WhichOneof("place")]()
    return "id=%d value=%d state=%d place=%s samples=%s note=%s exact=%.2f " \
        "battery=%s labels=%s blob=%d serial=%x" % (
            r.id, r.value, r.state, place,
            "".join("%d," % s for s in r.samples), r.note, r.exact,
            r.battery if r.HasField("battery") else "-",
            "".join("%s:%s," % pair for pair in sorted(r.labels.items())),
            len(r.blob), r.serial)


# ---- the servers -----------------------------------------------------------

class Server1:
    def __init__(self, pb):
        self.pb = pb

    def read(self, id):
        out = self.pb.Reading(id=id, name="sensor-%d" % id, value=id * 100,
                              state=3 if id == 4 else 2, unit=5,
                              samples=[-1, 0, 1], note="fine")
        if id == 5:
            out.point.x, out.point.y = -7, 8
        else:
            out.room = "lab"
        return out

    def Get(self, query, context):
        return self.read(query.id)

    Widen = Legacy = Get

    def List(self, query, context):
        for id in range(1, query.id + 1):
            yield self.read(id)

    def Report(self, readings, context):
        values = [r.value for r in readings]
        return self.pb.Summary(count=len(values), sum=sum(values))

    def Chat(self, readings, context):
        yield from readings

    def Echo(self, reading, context):
        return reading

    def Recode(self, code, context):
        return self.pb.Code(code="got-%.10s" % code.code)

    def Gather(self, reading, context):
        return self.pb.Summary(count=1, sum=reading.value)

    def Reboot(self, query, context):
        return self.pb.Summary(count=query.id)


class Server2(Server1):
    def read(self, id):
        out = self.pb.Reading(
            id=id, value=10 ** 10 if id == 2 else id * 100,
            state=([2, 2, 2, 9, 3] + [1] * id)[id], samples=[-1, 0, 1],
            note="fine", exact=1.5, battery=0, blob=bytes(20),
            serial=0xC0FFEE)
        out.labels["floor"] = "two"
        if id == 5:
            out.fix.latitude, out.fix.longitude = 46.5, 9.25
            out.fix.satellites.extend([0, 0, 0])
        else:
            out.room = "lab"
        return out

    def Get(self, query, context):
        return self.read(query.id)

    Calibrate = Get

    def List(self, query, context):
        for number in range(query.id):
            yield self.read(number + 2 if number else 1)

    Widen = List

    def Report(self, readings, context):
        values = [r.value for r in readings]
        return self.pb.Summary(count=len(values), sum=sum(values), mean=(
            sum(values) / len(values) if values else 0))

    Gather = Report

    def Recode(self, code, context):
        return self.pb.Code(code=code.code + 1000)


# ---- the clients -----------------------------------------------------------

class Client:
    def __init__(self, version, port):
        self.pb = load(version)
        self.text = {"v1": text_v1, "v2": text_v2}[version]
        self.stub = protos.Stub(
            self.pb, grpc.insecure_channel("127.0.0.1:%d" % port))

    def show(self, reply):
        if reply is None:  # grpcio's word for an OK without a message
            return "nothing"
        if isinstance(reply, self.pb.Reading):
            return self.text(reply)
        if isinstance(reply, self.pb.Code):
            return str(reply.code)
        return "count=%d sum=%d" % (reply.count, reply.sum)

    def run(self, name, method, request, quiet=False):
        try:
            reply = getattr(self.stub, method)(request, timeout=2)
            if hasattr(reply, "__next__"):
                for one in reply:
                    print("%s: - %s" % (name, self.show(one)))
                print(name + ": OK")
            else:
                print(("%s: OK %s" % (name, "" if quiet else self.show(
                    reply))).rstrip(" "))
        except grpc.RpcError as error:
            print("%s: %s" % (name, error.code().name))

    def mine_v1(self):
        return self.pb.Reading(id=9, name="echo", value=-5, state=3, unit=6,
                               point=self.pb.Point(x=3, y=-4),
                               samples=[1, 2, 3, 4], note="short")

    def mine_v2(self, **changes):
        fields = dict(id=9, value=-5, state=9, samples=[1, -1], note="short",
                      fix=self.pb.Fix(latitude=1.5, longitude=2.5,
                                      satellites=[0, 0]), exact=2.25,
                      battery=50, labels={"a": "b"}, blob=bytes(3), serial=7)
        fields.update(changes)
        return self.pb.Reading(**fields)

    def run_common(self, query, sent):
        for id in range(1, 6):
            self.run("get-%d" % id, "Get", query(id))
        self.run("list", "List", query(3))
        self.run("report", "Report", iter([sent] * 3))
        self.run("chat", "Chat", iter([sent] * 2))
        self.run("echo", "Echo", sent)

    def run_v1(self):
        def query(id):
            return self.pb.Query(id=id)
        self.run_common(query, self.mine_v1())
        self.run("recode", "Recode", self.pb.Code(code="42"))
        for id in (0, 1, 3):
            self.run("widen-%d" % id, "Widen", query(id))
        self.run("gather-1", "Gather", self.mine_v1())
        self.run("legacy", "Legacy", query(3))
        self.run("reboot", "Reboot", query(3), True)

    def run_v2(self):
        def query(id):
            return self.pb.Query(id=id, language="en")
        self.run_common(query, self.mine_v2())
        for name, changes in (("long-note", {"note": "n" * 100}),
                              ("more-samples", {"samples": range(6)}),
                              ("large-value", {"value": 10 ** 10}),
                              ("large-blob", {"blob": bytes(700)})):
            self.run("echo-" + name, "Echo", self.mine_v2(**changes))
        self.run("recode", "Recode", self.pb.Code(code=42))
        for id in (0, 1, 3):
            self.run("widen-%d" % id, "Widen", query(id))
        for count in (0, 1, 2):
            self.run("gather-%d" % count, "Gather",
                     iter([self.mine_v2()] * count))
        self.run("calibrate", "Calibrate", query(3))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("role", choices=("server", "client"))
    parser.add_argument("version", choices=("v1", "v2"))
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    if options.role == "server":
        pb = load(options.version)
        protos.serve(pb, {"v1": Server1, "v2": Server2}[options.version](pb))
    client = Client(options.version, options.port)
    getattr(client, "run_" + options.version)()


if __name__ == "__main__":
    main()
