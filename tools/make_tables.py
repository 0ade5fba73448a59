#!/usr/bin/env python3
"""Makes the constant HPACK tables of cgrpc.h.

    tools/make_tables.py                    prints them
    tools/make_tables.py --check cgrpc.h    compares; exit 1 if they differ

Every table stands in the header between BEGIN GENERATED and END GENERATED.
The specification below is RFC 7541: appendix A (names) and appendix B (the
length of each symbol's code; the codes themselves are canonical).
"""
import sys

STATIC_NAMES = """
:authority :method :path :scheme :status accept-charset accept-encoding
accept-language accept-ranges accept access-control-allow-origin age allow
authorization cache-control content-disposition content-encoding
content-language content-length content-location content-range content-type
cookie date etag expect expires from host if-match if-modified-since
if-none-match if-range if-unmodified-since last-modified link location
max-forwards proxy-authenticate proxy-authorization range referer refresh
retry-after server set-cookie strict-transport-security transfer-encoding
user-agent vary via www-authenticate
""".split()

EXTRA_NAMES = """
te grpc-timeout grpc-encoding grpc-accept-encoding grpc-status grpc-message
grpc-status-details-bin connection keep-alive proxy-connection upgrade
""".split()

# Code length -> the symbols that have it. Characters stand for themselves,
# numbers are byte values, a-b is a range, 256 is EOS.
LENGTHS = {
    5: ("012aceiost", ""),
    6: (" %-./3456789=A_bdfghlmnpru", ""),
    7: (":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz", ""),
    8: ("&*,;XZ", ""),
    10: ("!\"()?", ""),
    11: ("'+|", ""),
    12: ("#>", ""),
    13: ("$@[]~", "0"),
    14: ("^}", ""),
    15: ("<`{", ""),
    19: ("\\", "195 208"),
    20: ("", "128 130 131 162 184 194 224 226"),
    21: ("", "153 161 167 172 176 177 179 209 216 217 227 229 230"),
    22: ("", "129 132-134 136 146 154 156 160 163 164 169 170 173 178 181 "
             "185-187 189 190 196 198 228 232 233"),
    23: ("", "1 135 137-141 143 147 149-152 155 157 158 165 166 168 174 175 "
             "180 182 183 188 191 197 231 239"),
    24: ("", "9 142 144 145 148 159 171 206 215 225 236 237"),
    25: ("", "199 207 234 235"),
    26: ("", "192 193 200-202 205 210 213 218 219 238 240 242 243 255"),
    27: ("", "203 204 211 212 214 221-223 241 244-248 250-254"),
    28: ("", "2-8 11 12 14-21 23-31 127 220 249"),
    30: ("", "10 13 22 256"),
}


def symbols_of(spec):
    chars, numbers = spec
    found = [ord(c) for c in chars]
    for part in numbers.split():
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return sorted(found)


def huffman():
    """The symbols in the order of their codes, and the count a length."""
    counts = [len(symbols_of(LENGTHS.get(n, ("", "")))) for n in range(5, 31)]
    symbols = [s for n in sorted(LENGTHS) for s in symbols_of(LENGTHS[n])]
    if sorted(symbols) != list(range(257)):
        sys.exit("make_tables: a symbol is missing or stands twice")
    if sum(c << (30 - n) for n, c in enumerate(counts, 5)) != 1 << 30:
        sys.exit("make_tables: the code is not complete")
    return symbols[:-1], counts


def rows(values):
    line, out = "   ", []
    for value in values:
        if len(line) + len(" %d," % value) > 78:
            out.append(line)
            line = "   "
        line += " %d," % value
    return "\n".join(out + [line.rstrip(",")])


def array(name, values):
    return "static const uint8_t %s[%d] = {\n%s\n};" % (
        name, len(values), rows(values))


def names():
    texts = ['"\\%o" "%s"' % (len(n), n) for n in STATIC_NAMES + EXTRA_NAMES]
    lines, line = [], "   "
    for text in texts:
        if len(line) + 1 + len(text) > 78:
            lines.append(line)
            line = "   "
        line += " " + text
    return "static const char CG_NAMES[] =\n%s;" % "\n".join(lines + [line])


def blocks():
    symbols, counts = huffman()
    yield "names", names()
    yield "huffman", (array("CG_HUFFMAN_COUNTS", counts) + "\n" +
                      array("CG_HUFFMAN_SYMBOLS", symbols))


def block(name, text):
    return ("/* BEGIN GENERATED %s (tools/make_tables.py) */\n%s\n"
            "/* END GENERATED %s */\n" % (name, text, name))


def main():
    made = [block(name, text) for name, text in blocks()]
    if sys.argv[1:2] != ["--check"]:
        sys.stdout.write("\n".join(made))
        return 0
    header = open(sys.argv[2]).read()
    missing = [text for text in made if text not in header]
    for text in missing:
        print("differs: " + text.splitlines()[0])
    print("%d tables, %d differ" % (len(made), len(missing)))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
