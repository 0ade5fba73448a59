"""Worst-case stack of C code, from gcc's -fcallgraph-info=su.

    graph = stack.Graph(["core.ci", "pb_decode.ci"], resolve)
    graph.worst("cgrpc_server_poll")   -> (bytes, [(function, its own), ...])

`resolve(function, expression)` is asked about each indirect call, with the
source text of what is called ("conn->ops->open"): it returns the names of the
functions that this can be, [] for one that is outside of what is measured, or
None, which is kept in graph.unresolved.
"""
import collections
import re


class Graph:
    def __init__(self, paths, resolve):
        self.own = {}      # title -> bytes of its frame
        self.dynamic = set()
        self.calls = collections.defaultdict(set)
        self.unresolved = []
        self.outside = set()
        indirect = []
        for path in paths:
            with open(path) as lines:
                for line in lines:
                    self.node(line) or self.edge(line, indirect)
        self.titles = collections.defaultdict(set)
        for title in self.own:
            self.titles[short(title)].add(title)
        self.sources = {}
        for caller, place in indirect:
            self.resolve(caller, place, resolve)
        self.memory = {}
        self.recursive = set()

    def node(self, line):
        match = re.match(r'node: \{ title: "([^"]+)" label: "([^"]*)"', line)
        if not match:
            return False
        size = re.search(r"\\n(\d+) bytes \((\w+)", match.group(2))
        if size:
            self.own[match.group(1)] = int(size.group(1))
            if size.group(2) != "static":
                self.dynamic.add(short(match.group(1)))
        return True

    def edge(self, line, indirect):
        match = re.match(r'edge: \{ sourcename: "([^"]+)" targetname: '
                         r'"([^"]+)"(?: label: "([^"]*)")?', line)
        if not match:
            return
        caller, callee, place = match.groups()
        if callee == "__indirect_call":
            indirect.append((caller, place or ""))
        else:
            self.calls[caller].add(callee)

    def expression(self, place):
        """The source text of what is called at "file:line:column"."""
        file, line, column = place.rsplit(":", 2)
        if file not in self.sources:
            with open(file) as text:
                self.sources[file] = text.read().splitlines()
        lines = self.sources[file]
        text = " ".join([lines[int(line) - 1][int(column) - 1:]]
                        + lines[int(line):int(line) + 2])
        match = re.search(r"([\w\].>\[-]*(?:->|\.)\s*\w+)\)?\s*\(", text) or \
            re.match(r"\(?\*?(\w+)\)?\s*\(", text)
        return match.group(1) if match else text.strip()

    def resolve(self, caller, place, resolve):
        text = self.expression(place)
        names = resolve(short(caller), text)
        if names is None:
            self.unresolved.append("%s in %s (%s)" % (
                text, short(caller), place.rsplit("/", 1)[-1]))
        for name in names or []:
            self.calls[caller].add(name)

    def targets(self, name):
        """The nodes of a callee: a title, or a name without its file."""
        if name in self.own:
            return [name]
        return sorted(self.titles.get(name, ()))

    def worst(self, name):
        best = (0, [])
        for title in self.targets(name):
            best = max(best, self.walk(title, frozenset()),
                       key=lambda found: found[0])
        return best

    def walk(self, title, path):
        """A recursion is followed once around and noted."""
        if title in path:
            self.recursive.add(short(title))
            return 0, []
        if title in self.memory:
            return self.memory[title]
        best, cut = (0, []), len(self.recursive)
        for callee in sorted(self.calls[title]):
            found = self.targets(callee)
            if not found:
                self.outside.add(callee)
            for target in found:
                best = max(best, self.walk(target, path | {title}),
                           key=lambda one: one[0])
        own = self.own[title]
        result = best[0] + own, [(short(title), own)] + best[1]
        if len(self.recursive) == cut:
            self.memory[title] = result
        return result


def short(title):
    """A node's function without its file and what inlining made of it."""
    return re.sub(r"\.(constprop|part|isra|cold)(\.\d+)?", "",
                  title.rsplit(":", 1)[-1])
