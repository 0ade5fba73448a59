#!/usr/bin/python3
"""A RouteGuide by grpcio, which shares nothing with ours: the server for our
client, or the client for our server.

    route_guide_peer.py server [--port N]   prints "listening on 127.0.0.1:N"
    route_guide_peer.py client --port N     tests what is there

It knows the same features as examples/route_guide: it reads features.c. Needs
the Debian packages python3-grpcio, python3-protobuf, protobuf-compiler.
"""
import argparse
import concurrent.futures
import math
import os
import queue
import re
import sys
import threading
import time

import protos
import grpc

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
GUIDE = os.path.join(ROOT, "examples", "route_guide")
SERVICE = "routeguide.RouteGuide"


pb = protos.load(GUIDE, "route_guide.proto")


def load_features():
    with open(os.path.join(GUIDE, "features.c")) as file:
        return [pb.Feature(name=name, location=pb.Point(
            latitude=int(latitude), longitude=int(longitude)))
            for latitude, longitude, name in re.findall(
                r'\{ (-?\d+), (-?\d+), "([^"]*)" \}', file.read())]


FEATURES = load_features()


def find_feature(point):
    for feature in FEATURES:
        if feature.location == point:
            return feature
    return pb.Feature(location=point)


def inside(point, area):
    return (min(area.lo.latitude, area.hi.latitude) <= point.latitude
            <= max(area.lo.latitude, area.hi.latitude)
            and min(area.lo.longitude, area.hi.longitude) <= point.longitude
            <= max(area.lo.longitude, area.hi.longitude))


def metres(a, b):
    up = math.sin(math.radians(b.latitude / 1e7 - a.latitude / 1e7) / 2)
    along = math.sin(math.radians(b.longitude / 1e7 - a.longitude / 1e7) / 2)
    h = up * up + math.cos(math.radians(a.latitude / 1e7)) * math.cos(
        math.radians(b.latitude / 1e7)) * along * along
    return 2 * 6371000 * math.asin(math.sqrt(h))


def summary(points):
    return pb.RouteSummary(
        point_count=len(points),
        feature_count=sum(find_feature(p).name != "" for p in points),
        distance=int(sum(map(metres, points, points[1:]))))


# ---- the server ------------------------------------------------------------

class Guide:
    def __init__(self):
        self.notes = []

    def GetFeature(self, point, context):
        return find_feature(point)

    def ListFeatures(self, area, context):
        return (f for f in FEATURES if inside(f.location, area))

    def RecordRoute(self, points, context):
        start = time.monotonic()
        answer = summary(list(points))
        answer.elapsed_time = int(time.monotonic() - start)
        return answer

    def RouteChat(self, notes, context):
        for note in notes:
            yield from [n for n in self.notes if n.location == note.location]
            self.notes.append(note)


# ---- the client --------------------------------------------------------------

class Client(protos.Stub):
    def __init__(self, port):
        self.channel = grpc.insecure_channel(
            "127.0.0.1:%d" % port,
            options=[("grpc.use_local_subchannel_pool", 1)])
        super().__init__(pb, self.channel)

    def other(self, service, name):
        """A method that no .proto has."""
        return protos.call(self.channel, protos.Method(
            service, name, pb.Point, pb.Feature, "unary_unary"))


def status_of(call):
    """The status that a call ends with."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def spread(count):
    return [FEATURES[i * 7 % len(FEATURES)].location for i in range(count)]


def test_finds_each_feature(c):
    return all(c.GetFeature(f.location, timeout=10) == f for f in FEATURES)


def test_answers_an_unknown_point_with_a_nameless_feature(c):
    point = pb.Point(latitude=1, longitude=-2)
    return c.GetFeature(point, timeout=10) == pb.Feature(location=point)


def test_lists_all_features_in_order(c):
    world = pb.Rectangle(lo=pb.Point(latitude=-900000000,
                                     longitude=-1800000000),
                         hi=pb.Point(latitude=900000000,
                                     longitude=1800000000))
    return list(c.ListFeatures(world, timeout=10)) == FEATURES


def test_lists_a_rectangle_whichever_corner_comes_first(c):
    a, b = FEATURES[0].location, FEATURES[9].location
    both = [list(c.ListFeatures(pb.Rectangle(lo=lo, hi=hi), timeout=10))
            for lo, hi in ((a, b), (b, a))]
    wanted = [f for f in FEATURES
              if inside(f.location, pb.Rectangle(lo=a, hi=b))]
    return both[0] == both[1] == wanted and len(wanted) >= 2


def test_lists_nothing_where_nothing_is(c):
    return list(c.ListFeatures(pb.Rectangle(), timeout=10)) == []


def test_sums_up_a_walk(c):
    points = spread(30) + [pb.Point(latitude=5, longitude=5)]
    answer = c.RecordRoute(iter(points), timeout=10)
    wanted = summary(points)
    return ((answer.point_count, answer.feature_count)
            == (wanted.point_count, wanted.feature_count)
            and abs(answer.distance - wanted.distance) < 10
            + wanted.distance / 1e6)


def test_sums_up_an_empty_walk(c):
    return c.RecordRoute(iter(()), timeout=10) == pb.RouteSummary()


def test_sums_up_5000_points(c):
    answer = c.RecordRoute(iter(spread(5000)), timeout=60)
    return (answer.point_count, answer.feature_count) == (5000, 5000)


def test_counts_the_seconds_of_a_walk(c):
    def slowly():
        yield FEATURES[0].location
        time.sleep(1.2)
        yield FEATURES[1].location
    return c.RecordRoute(slowly(), timeout=10).elapsed_time in (1, 2)


def note(place, text):
    return pb.RouteNote(location=pb.Point(latitude=place, longitude=77),
                        message=text)


def test_answers_notes_while_the_client_still_talks(c):
    say = queue.Queue()
    answers = c.RouteChat(iter(say.get, None), timeout=10)
    say.put(note(1, "one"))
    say.put(note(1, "two"))
    first = next(answers)
    say.put(note(1, "three"))
    second, third = next(answers), next(answers)
    say.put(None)
    return [first.message, second.message, third.message,
            list(answers)] == ["one", "one", "two", []]


def test_keeps_places_apart(c):
    say = [note(10, "here"), note(11, "there"), note(10, "again")]
    heard = list(c.RouteChat(iter(say), timeout=10))
    return [n.message for n in heard] == ["here"]


def test_carries_many_notes_each_way(c):
    say = [note(20, "note %d" % i) for i in range(40)]
    heard = list(c.RouteChat(iter(say), timeout=20))
    return [n.message for n in heard] == [
        "note %d" % j for i in range(40) for j in range(i)]


def test_talks_with_many_at_once(c):
    def one(i):
        return (c.GetFeature(FEATURES[i % 64].location, timeout=20)
                == FEATURES[i % 64]
                and len(list(c.ListFeatures(pb.Rectangle(
                    lo=pb.Point(latitude=0, longitude=0),
                    hi=pb.Point(latitude=900000000, longitude=900000000)),
                    timeout=20))) == 64)
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        return all(pool.map(one, range(100)))


def test_names_an_unknown_method(c):
    call = c.other(SERVICE, "Nothing")
    return status_of(lambda: call(pb.Point(), timeout=10)) \
        == grpc.StatusCode.UNIMPLEMENTED


def test_names_an_unknown_service(c):
    call = c.other("routeguide.Other", "GetFeature")
    return status_of(lambda: call(pb.Point(), timeout=10)) \
        == grpc.StatusCode.UNIMPLEMENTED


def test_refuses_a_note_that_is_too_large(c):
    say = [note(30, "x" * 100000)]
    return status_of(lambda: list(c.RouteChat(iter(say), timeout=10))) \
        == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_refuses_bytes_that_are_no_message(c):
    call = c.channel.unary_unary("/%s/GetFeature" % SERVICE,
                                 lambda text: text, pb.Feature.FromString)
    return status_of(lambda: call(b"\xff\xff\xff", timeout=10)) in (
        grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT)


def test_goes_on_after_a_cancelled_stream(c):
    stream = c.ListFeatures(pb.Rectangle(
        lo=pb.Point(), hi=pb.Point(latitude=900000000, longitude=900000000)),
        timeout=10)
    next(stream)
    stream.cancel()
    return test_finds_each_feature(c)


def test_lets_a_deadline_pass(c):
    held = threading.Event()

    def waiting():
        yield FEATURES[0].location
        held.wait(5)
    code = status_of(lambda: c.RecordRoute(waiting(), timeout=0.3))
    held.set()
    return code == grpc.StatusCode.DEADLINE_EXCEEDED \
        and test_sums_up_a_walk(c)


def test_takes_metadata_that_nobody_asked_for(c):
    extra = [("x-note-%d" % i, "v" * (i * 10)) for i in range(10)] + [
        ("x-raw-bin", bytes(range(256)))]
    return c.GetFeature(FEATURES[3].location, metadata=extra,
                        timeout=10) == FEATURES[3]


def run_client(port):
    client = Client(port)
    passed = failed = 0
    for name, test in list(globals().items()):
        if not name.startswith("test_"):
            continue
        try:
            good, why = test(client), ""
        except (grpc.RpcError, StopIteration) as error:
            good, why = False, ": " + " ".join(str(error).split())[:200]
        passed += bool(good)
        failed += not good
        print("%s grpcio client: %s%s" % (
            "ok  " if good else "FAIL",
            name[len("test_"):].replace("_", " "), why), flush=True)
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("role", choices=("server", "client"))
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    if options.role == "server":
        protos.serve(pb, Guide(), options.port)
    else:
        sys.exit(run_client(options.port))


if __name__ == "__main__":
    main()
