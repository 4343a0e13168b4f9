"""Requests that try to be read in two ways, and honest ones that must get through beside them.

Each case is raw bytes with two marks in them: {k} becomes the case's own name in a path, {hidden} a whole second request
that must never be answered or forwarded where the first one is refused. What is expected:

    refuse   one 4xx, 501 or 505 and the end of the connection; nothing reaches the upstream
    body     the head is good and the body is not: the same, but the upstream may have seen the beginning of a body; it must
             never see a complete request
    accept   `answers` final answers below 400; the upstream sees exactly `requests`: (method, body) each, unambiguous
    either   the RFCs leave it open: as refuse, or answered with nothing hidden coming out
"""
import dataclasses

HOST = b"Host: h\r\n"


@dataclasses.dataclass
class Case:
    name: str
    raw: bytes
    expect: str = "refuse"
    answers: int = 1
    requests: tuple = ()          # of accept: (method, body)
    methods: tuple = (b"GET",)    # how the answers are to be read
    closes: bool = False          # of accept: the node ends the connection after them
    statuses: tuple = ()          # of refuse: these only

    def bytes_for(self, mark):
        hidden = b"GET /{k}/hidden HTTP/1.1\r\nHost: h\r\n\r\n"
        return self.raw.replace(b"{hidden}", hidden).replace(b"{k}", mark)


cases = []


def add(name, raw, expect="refuse", **more):
    if isinstance(name, bytes):
        name = name.decode("latin-1")
    cases.append(Case(name, raw, expect, **more))


def show(data):
    return repr(data)[2:-1]


def post(fields, body=b"", method=b"POST", version=b"HTTP/1.1", host=HOST):
    return method + b" /{k} " + version + b"\r\n" + host + fields + b"\r\n" + body


def get(fields=b"", target=b"/{k}", version=b"HTTP/1.1", host=HOST, method=b"GET"):
    return method + b" " + target + b" " + version + b"\r\n" + host + fields + b"\r\n"


CHUNKED_BODY = b"5\r\nhello\r\n0\r\n\r\n"

# --- Content-Length ---

for value in (b"+5", b"-5", b"-0", b"5 5", b"5,5", b"5, 5", b"5,6", b"5;", b"5;q=1", b"0x5", b"0X05", b"0o5", b"0b101", b"5.0", b"5.", b".5",
              b"5e0", b"5E1", b"", b" ", b"\t", b"abc", b"a5", b"5a", b"5h", b"\"5\"", b"'5'", b"(5)", b"5\t5", b"1_0", b"5_", b"_5", b"5#", b"=5",
              b"5=5", b"5/1", b",5", b"5,", b",", b"5 ;", b"\xd9\xa5", b"\xef\xbc\x95", b"\xb2", b"\xa05", b"5\xa0", b"5\xc2\xa0", b"5\x00", b"\x005",
              b"5\x0b", b"\x0b5", b"5\x0c", b"\x0c5", b"5\x08", b"5\x7f", b"5\x1f", b"9223372036854775808", b"18446744073709551615",
              b"18446744073709551616", b"18446744073709551621", b"99999999999999999999999999", b"4294967301x", b"NaN", b"inf", b"null", b"true",
              b"5%20", b"%35", b"&#53;", b"5\\r\\n", b"$5", b"1e1", b"0 5", b"+0", b"--5", b"5-", b"5+"):
    add(f"content-length {show(value)}", post(b"Content-Length: " + value + b"\r\n", b"hello{hidden}"))
for value in (b"5", b"05", b"0000000000000000005", b" 5", b"\t5", b"5 ", b"5\t", b"  \t 5 \t "):
    add(f"content-length good {show(value)}", post(b"Content-Length:" + value + b"\r\n", b"hello"), "accept", requests=((b"POST", b"hello"),))
for name in (b"content-length", b"CONTENT-LENGTH", b"cOnTeNt-LeNgTh"):
    add(b"content-length as " + name, post(name + b": 5\r\n", b"hello"), "accept", requests=((b"POST", b"hello"),))
for first, second in ((b"5", b"5"), (b"5", b"6"), (b"0", b"5"), (b"5", b"0"), (b"5", b"05"), (b"5", b""), (b"", b"5"), (b"5", b"-5"), (b"0", b"0"),
                      (b"5", b"5, 5")):
    for other in (b"Content-Length", b"content-length", b"CONTENT-LENGTH"):
        add(f"two content-lengths {show(first)} {show(second)} {other.decode()}",
            post(b"Content-Length: " + first + b"\r\nX: y\r\n" + other + b": " + second + b"\r\n", b"hello{hidden}"))
add("three content-lengths", post(b"Content-Length: 5\r\n" * 3, b"hello{hidden}"))
add("a hundred content-lengths", post(b"Content-Length: 5\r\n" * 98, b"hello{hidden}"))

# --- Transfer-Encoding, alone and beside Content-Length ---

ODD_CODINGS = (
    b"xchunked", b"chunkedx", b"chunked, identity", b"identity", b"identity, chunked", b"chunked, chunked", b"chunked,chunked", b"chunked,",
    b",chunked", b", chunked", b"chunked, ", b",", b"chunked;", b"chunked;q=1", b"chunked;q=0", b"chunked ; x", b"\"chunked\"", b"'chunked'",
    b"\"chunked", b"chun ked", b"chun\tked", b"chunked\x0b", b"\x0bchunked", b"chunked\x0c", b"\x0cchunked", b"\x00chunked", b"chunked\x00",
    b"chun\x00ked", b"\xa0chunked", b"chunked\xa0", b"\xc2\xa0chunked", b"chunked\x85", b"\xef\xbb\xbfchunked", b"chunked\x7f", b"chunked\x08",
    b"\x1fchunked", b"gzip", b"deflate", b"gzip, chunked", b"gzip,chunked", b"deflate, chunked", b"chunked, gzip", b"chunked gzip", b"x-chunked",
    b"chunked-x", b"chunke", b"hunked", b"c", b"x", b"", b" ", b"\t", b"null", b"cow", b"trailers", b"chunked\\", b"chunked/1", b"(chunked)",
    b"<chunked>", b"[chunked]", b"{chunked}", b":chunked", b": chunked", b"=chunked", b"chunked=1", b"c%68unked", b"chunked#", b"chunked\xe2\x84\xaa",
    b"c\xe2\x84\x8eunked", b"\xc3\xa7hunked", b"chunKed\xcc\x81", b"identity;q=1, chunked;q=0.5", b"chunked;foo=\"bar, chunked\"", b"gzip chunked")
for value in ODD_CODINGS:
    add(f"transfer-encoding {show(value)}", post(b"Transfer-Encoding: " + value + b"\r\n", CHUNKED_BODY + b"{hidden}"))
    add(f"content-length and transfer-encoding {show(value)}",
        post(b"Content-Length: 15\r\nTransfer-Encoding: " + value + b"\r\n", CHUNKED_BODY + b"{hidden}"))
for value in (b"chunked", b"Chunked", b"CHUNKED", b"cHuNkEd", b" chunked", b"\tchunked", b" \t chunked", b"chunked ", b"chunked\t"):
    add(f"transfer-encoding good {show(value)}", post(b"Transfer-Encoding:" + value + b"\r\n", CHUNKED_BODY), "accept",
        requests=((b"POST", b"hello"),))
    for length in (b"0", b"5", b"15", b"1000"):
        add(f"transfer-encoding {show(value)} before content-length {length.decode()}",
            post(b"Transfer-Encoding:" + value + b"\r\nContent-Length: " + length + b"\r\n", CHUNKED_BODY + b"{hidden}"))
    add(f"content-length before transfer-encoding {show(value)}",
        post(b"Content-Length: 4\r\nTransfer-Encoding:" + value + b"\r\n", CHUNKED_BODY + b"{hidden}"))
for first, second in ((b"chunked", b"chunked"), (b"chunked", b"identity"), (b"identity", b"chunked"), (b"chunked", b"x"), (b"x", b"chunked"),
                      (b"gzip", b"chunked"), (b"chunked", b""), (b"", b"chunked")):
    for name in (b"Transfer-Encoding", b"transfer-encoding"):
        add(f"two transfer-encodings {show(first)} {show(second)} {name.decode()}",
            post(b"Transfer-Encoding: " + first + b"\r\n" + name + b": " + second + b"\r\n", CHUNKED_BODY + b"{hidden}"))
add("transfer-encoding in HTTP/1.0", post(b"Transfer-Encoding: chunked\r\n", CHUNKED_BODY + b"{hidden}", version=b"HTTP/1.0"))
add("transfer-encoding in HTTP/1.0 kept alive", post(b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n", CHUNKED_BODY + b"{hidden}",
                                                     version=b"HTTP/1.0"))
add("transfer-encoding and content-length in HTTP/1.0", post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"hello{hidden}",
                                                            version=b"HTTP/1.0"))

# --- names of framing fields, disguised ---

for name, value in ((b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"15")):
    guard = b"Content-Length: 4\r\n" if name[:1] == b"T" else b"Transfer-Encoding: chunked\r\n"
    for label, line in (
            ("space before the colon", name + b" : " + value), ("tab before the colon", name + b"\t: " + value),
            ("two spaces before the colon", name + b"  : " + value), ("leading space", b" " + name + b": " + value),
            ("leading tab", b"\t" + name + b": " + value), ("underscore", name.replace(b"-", b"_") + b": " + value),
            ("space for the dash", name.replace(b"-", b" ") + b": " + value), ("no colon", name + b" " + value), ("no colon, equals", name + b"=" + value),
            ("NUL behind", name + b"\x00: " + value), ("NUL before", b"\x00" + name + b": " + value),
            ("NUL within", name[:4] + b"\x00" + name[4:] + b": " + value), ("VT behind", name + b"\x0b: " + value),
            ("FF behind", name + b"\x0c: " + value), ("VT before", b"\x0b" + name + b": " + value), ("CR behind", name + b"\r: " + value),
            ("CR before", b"\r" + name + b": " + value), ("LF before", b"\n" + name + b": " + value), ("LF behind", name + b"\n: " + value),
            ("bare CR hides it", b"X: y\r" + name + b": " + value), ("bare LF hides it", b"X: y\n" + name + b": " + value),
            ("LF CR hides it", b"X: y\n\r" + name + b": " + value), ("CR CR LF hides it", b"X: y\r\r\n" + name + b": " + value),
            ("folded away", b"X: y\r\n " + name + b": " + value), ("folded away by a tab", b"X: y\r\n\t" + name + b": " + value),
            ("value folded", name + b":\r\n " + value), ("value folded by a tab", name + b":\r\n\t" + value),
            ("value behind a bare LF", name + b":\n " + value), ("value behind a bare CR", name + b":\r " + value),
            ("quoted", b"\"" + name + b"\": " + value), ("in parentheses", b"(" + name + b"): " + value), ("semicolon", name + b"; " + value),
            ("two colons", name + b":: " + value), ("colon first", b":" + name + b": " + value), ("comma", name + b",: " + value),
            ("slash", name + b"/: " + value), ("no-break space", name + b"\xa0: " + value), ("UTF-8 behind", name + b"\xc2\xa0: " + value),
            ("byte order mark", b"\xef\xbb\xbf" + name + b": " + value), ("backspace", name + b"\x08: " + value), ("DEL", name + b"\x7f: " + value),
            ("en dash", name.replace(b"-", b"\xe2\x80\x93") + b": " + value), ("high bit", bytes([name[0] | 0x80]) + name[1:] + b": " + value),
            ("value with a CR", name + b": " + value + b"\r"), ("value with CR and X", name + b": " + value + b"\rX: y"),
            ("value with LF and X", name + b": " + value + b"\nX: y")):
        add(f"{name.decode()}: {label}", post(line + b"\r\n", CHUNKED_BODY + b"{hidden}"))
        if label == "underscore":
            add(f"{name.decode()}: {label} beside the other", post(guard + line + b"\r\n", b"5\r\nh{hidden}"))
        else:
            add(f"{name.decode()}: {label} beside the other", post(guard + line + b"\r\n", CHUNKED_BODY + b"{hidden}"))

# --- chunks ---

CHUNKED = b"Transfer-Encoding: chunked\r\n"
for line in (b"5 ", b" 5", b"\t5", b"5\t", b"0x5", b"0X5", b"+5", b"-5", b"5;", b"5;a=", b"5;=b", b"5;a=b;", b"5;;a", b"5;a b", b"5;a=b c", b"5;a=\"x",
             b"5;a=\"x\"y", b"5;a=\"x\x00\"", b"5;a=\"x\ry\"", b"5;a=\x0b", b"5;\x00", b"5;a\x00", b"5;a=(b)", b"5;a,b", b"5:a", b"5,a", b"5=a", b"g", b"",
             b"5g", b"5_", b"5.0", b"'5'", b"\"5\"", b"5h", b"5\x00", b"\x005", b"5\x0b", b"5\x0c", b"5\x7f", b"5\xa0", b"\xef\xbc\x95", b"10000000000000005",
             b"FFFFFFFFFFFFFFFFF", b"ffffffffffffffff", b"8000000000000005", b"7fffffffffffffff", b"00000000000000005", b"000000000000000000000000005",
             b"5\r", b"5\r\r", b"5\n", b"\n5", b"\r\n5", b"five", b"%35", b"5" + b";a" * 200, b"5;" + b"a" * 300, b"5;a=\"" + b"b" * 300 + b"\""):
    add(f"chunk size {show(line[:40])}", post(CHUNKED, line + b"\r\nhello\r\n0\r\n\r\n{hidden}"), "body")
for line in (b"5;a\nb", b"5\n;a", b"5;a\r;b", b"5;a=\"\n\"", b"5;a=b\nX"):
    add(f"chunk line broken {show(line)}", post(CHUNKED, line + b"\r\nhello\r\n0\r\n\r\n{hidden}"), "body")
for ending in (b"\n", b"\r", b"", b"X", b"XX", b"X\r\n", b"\rX", b"\n\r", b"\r\r\n", b"\n\n", b" \r\n", b"\x00\r\n", b"!!\r\n"):
    add(f"chunk end {show(ending)}", post(CHUNKED, b"5\r\nhello" + ending + b"0\r\n\r\n{hidden}"), "body")
for size, data in ((b"3", b"hello"), (b"6", b"hello"), (b"4", b"hello"), (b"1", b"hello"), (b"7", b"hello")):
    add(f"chunk of {data.decode()} said to be {size.decode()}", post(CHUNKED, size + b"\r\n" + data + b"\r\nX\r\n\r\n{hidden}"), "body")
add("chunk lines ended by LF", post(CHUNKED, b"5\nhello\n0\n\n{hidden}"), "body")
add("last chunk ended by LF", post(CHUNKED, b"5\r\nhello\r\n0\n\n{hidden}"), "body")
add("last line LF", post(CHUNKED, b"5\r\nhello\r\n0\r\n\n{hidden}"), "body")
add("last line CR", post(CHUNKED, b"5\r\nhello\r\n0\r\n\rX{hidden}"), "body")
for last in (b"0 ", b" 0", b"0;", b"-0", b"+0", b"0x0", b"0\r", b"0\x00", b"0_0", b"00000000000000000000"):
    add(f"last chunk {show(last)}", post(CHUNKED, b"5\r\nhello\r\n" + last + b"\r\n\r\n{hidden}"), "body")
for trailer in (b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Host: evil", b"Connection: close", b"Transfer-Encoding : chunked", b" X: y", b"\tX: y",
                b"X : y", b"X", b"no colon here", b"X: a\x00", b"X: a\x0b", b"X: a\rb", b"X: a\nb", b": v", b"X: a\r\n b", b"GET /{k}/hidden HTTP/1.1",
                b"Trailer: x", b"TE: trailers", b"Upgrade: h2c", b"X\x00: y", b"X\r: y", b"X(): y", b"Expect: 100-continue"):
    add(f"trailer {show(trailer)}", post(CHUNKED, b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n\r\n{hidden}"), "body")
add("too many trailers", post(CHUNKED, b"0\r\n" + b"X: y\r\n" * 200 + b"\r\n{hidden}"), "body")
add("too large trailers", post(CHUNKED, b"0\r\nX: " + b"y" * 20000 + b"\r\n\r\n{hidden}"), "body")
add("chunk lines cost more than they carry", post(CHUNKED, (b"1;" + b"a" * 200 + b"\r\nx\r\n") * 300 + b"0\r\n\r\n{hidden}"), "body")
for label, body, whole in (
        ("one chunk", CHUNKED_BODY, b"hello"), ("no data", b"0\r\n\r\n", b""), ("upper case", b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        ("lower case", b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"), ("leading zeros", b"0005\r\nhello\r\n00\r\n\r\n", b"hello"),
        ("sixteen digits", b"0000000000000005\r\nhello\r\n0000000000000000\r\n\r\n", b"hello"),
        ("bytes one by one", b"".join(b"1\r\n%c\r\n" % c for c in b"hello world") + b"0\r\n\r\n", b"hello world"),
        ("an extension", b"5;a\r\nhello\r\n0\r\n\r\n", b"hello"), ("an extension with a value", b"5;a=b\r\nhello\r\n0;c=d\r\n\r\n", b"hello"),
        ("a quoted extension", b"5;a=\"b;c\\\"d\"\r\nhello\r\n0\r\n\r\n", b"hello"), ("two extensions", b"5;a=b;c\r\nhello\r\n0\r\n\r\n", b"hello"),
        ("a trailer", b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", b"hello"), ("two trailers", b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n", b"hello"),
        ("data like a chunk", b"7\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n\r\n")):
    add(f"chunked body: {label}", post(CHUNKED, body), "accept", requests=((b"POST", whole),))

# --- bytes where they do not belong ---

for byte in list(range(0, 9)) + list(range(10, 32)) + [127]:
    raw = bytes([byte])
    add(f"byte {byte:#04x} in a value", get(b"X-Value: a" + raw + b"b\r\n") + b"{hidden}")
    add(f"byte {byte:#04x} begins a value", get(b"X-Value:" + raw + b"b\r\n") + b"{hidden}")
for byte in list(range(0, 33)) + [127, 128, 160, 173, 255] + list(b"\"(),/;<=>?@[\\]{}"):
    raw = bytes([byte])
    add(f"byte {byte:#04x} in a name", get(b"X-Na" + raw + b"me: v\r\n") + b"{hidden}")
for byte in list(range(0, 33)) + [127, 128, 160, 255] + list(b"\"<>\\^`{|}#"):
    raw = bytes([byte])
    loose = byte in b"\"<>\\^`{|}#" or byte >= 128
    if byte in b"`{|}^\"<>":
        add(f"byte {byte:#04x} in the path", get(target=b"/{k}" + raw + b"x") + b"{hidden}", "either", answers=2)
    else:
        add(f"byte {byte:#04x} in the path", get(target=b"/{k}" + raw + b"x") + b"{hidden}")
for byte in list(range(0, 33)) + [127, 128, 255] + list(b"\"(),/:;<=>?@[\\]{}"):
    add(f"byte {byte:#04x} in the method", get(method=b"GE" + bytes([byte]) + b"T") + b"{hidden}")
for byte in (0x80, 0xa0, 0xe4, 0xff):
    add(f"byte {byte:#04x} in a value", get(b"X-Value: a" + bytes([byte]) + b"b\r\n"), "either", answers=1)

# --- line ends and folds ---

line, field, last = b"GET /{k} HTTP/1.1", b"Host: h", b"X: y"
for label, raw in (
        ("LF everywhere", line + b"\n" + field + b"\n\n"), ("CR everywhere", line + b"\r" + field + b"\r\r\r\n\r\n"),
        ("LF behind the request line", line + b"\n" + field + b"\r\n\r\n"), ("LF behind Host", line + b"\r\n" + field + b"\n" + last + b"\r\n\r\n"),
        ("LF ends the head", line + b"\r\n" + field + b"\r\n\n"), ("LF LF ends the head", line + b"\r\n" + field + b"\n\n"),
        ("CR CR LF", line + b"\r\r\n" + field + b"\r\n\r\n"), ("LF CR", line + b"\n\r" + field + b"\n\r\n\r"),
        ("CR LF CR ends the head", line + b"\r\n" + field + b"\r\n\rX\r\n\r\n"), ("CR behind the version", line + b"\r" + field + b"\r\n\r\n"),
        ("CR in the request line", b"GET /{k}\rX HTTP/1.1\r\n" + field + b"\r\n\r\n"), ("LF in the request line", b"GET /{k}\nX HTTP/1.1\r\n" + field + b"\r\n\r\n"),
        ("CR LF in the request line", b"GET /{k}\r\nX HTTP/1.1\r\n" + field + b"\r\n\r\n"), ("CR behind GET", b"GET\r /{k} HTTP/1.1\r\n" + field + b"\r\n\r\n"),
        ("CR in Host", line + b"\r\nHost: h\rX: y\r\n\r\n"), ("LF CR LF ends the head", line + b"\r\n" + field + b"\n\r\n"),
        ("spaces before the end", line + b"\r\n" + field + b"\r\n \r\n\r\n"), ("tab before the end", line + b"\r\n" + field + b"\r\n\t\r\n\r\n"),
        ("an empty line within", line + b"\r\n\r\n" + field + b"\r\n\r\n"), ("NUL before the end", line + b"\r\n" + field + b"\r\n\x00\r\n\r\n")):
    add(f"line ends: {label}", raw + b"{hidden}")
for label, fields in (
        ("a fold", b"X: y\r\n z\r\n"), ("a fold by a tab", b"X: y\r\n\tz\r\n"), ("an empty fold", b"X: y\r\n \r\n"), ("a fold of Host", b"X-Host: a\r\n h\r\n"),
        ("two folds", b"X: y\r\n z\r\n\tw\r\n"), ("a fold like a field", b"X: y\r\n Content-Length: 5\r\n"), ("a fold behind an empty value", b"X:\r\n z\r\n"),
        ("a fold behind LF", b"X: y\n z\r\n"), ("a fold in Connection", b"Connection:\r\n close\r\n")):
    add(f"obs-fold: {label}", get(fields) + b"{hidden}")
add("obs-fold: the first line", b"GET /{k} HTTP/1.1\r\n Host: h\r\nHost: h\r\n\r\n{hidden}")
add("obs-fold: the first line by a tab", b"GET /{k} HTTP/1.1\r\n\tX: y\r\nHost: h\r\n\r\n{hidden}")
add("obs-fold: the request line", b"GET /{k}\r\n HTTP/1.1\r\nHost: h\r\n\r\n{hidden}")

# --- before the request line ---

add("one empty line before", b"\r\n" + get(), "accept", requests=((b"GET", b""),))
for label, raw in (("two empty lines", b"\r\n\r\n"), ("LF", b"\n"), ("CR", b"\r"), ("a space", b" "), ("a tab", b"\t"), ("NUL", b"\x00"), ("byte order mark", b"\xef\xbb\xbf"),
                   ("CR LF space", b"\r\n "), ("CR LF LF", b"\r\n\n"), ("VT", b"\x0b"), ("a field line", b"X: y\r\n"), ("a colon", b":"), ("a quote", b"\""),
                   ("a PROXY line", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"), ("a PROXY block", b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + b"\x01" * 12)):
    add(f"before the request line: {label}", raw + get() + b"{hidden}")
add("TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64 + b"{hidden}")
add("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{hidden}")
add("HTTP/2 preface with Host", b"PRI * HTTP/2.0\r\nHost: h\r\n\r\nSM\r\n\r\n{hidden}")

# --- version ---

for version in (b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/3.0", b"HTTP/0.9", b"HTTP/9.9", b"HTTP/0.0"):
    add(f"version {show(version)}", get(version=version) + b"{hidden}", statuses=(505, 400))
for version in (b"", b"HTTP", b"HTTP/", b"HTTP/1", b"HTTP/1.", b"HTTP/.1", b"HTTP/11", b"HTTP/1.10", b"HTTP/1.01", b"HTTP/01.1", b"HTTP/1.1.1", b"http/1.1",
                b"Http/1.1", b"hTTP/1.1", b"HTTP/1,1", b"HTTP/1.x", b"HTTP/x.1", b"HTTP/ 1.1", b"HTTP /1.1", b"HTTP/1 .1", b"HTTP/1. 1", b"HTTP/+1.1", b"HTTP/-1.1",
                b"HTTP\\1.1", b"HTTP//1.1", b"HTTPS/1.1", b"XTTP/1.1", b"HTTP/1.1X", b"HTTP/1.1 ", b"HTTP/1.1\t", b"HTTP/1.1 X", b" HTTP/1.1", b"\tHTTP/1.1",
                b"HTTP/1.1 HTTP/1.1", b"HTTP/1.0 HTTP/1.1", b"HTTP/1.1\x00", b"HTTP/1.1\x0b", b"HTTP/\xef\xbc\x91.1", b"HTTP/1\xc2\xb71", b"ICY/1.1", b"RTSP/1.0", b"SIP/2.0"):
    add(f"version {show(version)}", get(version=version) + b"{hidden}")
add("HTTP/0.9", b"GET /{k}\r\n")
add("HTTP/0.9 and more", b"GET /{k}\r\n\r\n{hidden}")
add("HTTP/0.9 with a space", b"GET /{k} \r\n\r\n{hidden}")
add("a method alone", b"GET\r\n\r\n{hidden}")
add("an empty request line", b" \r\nHost: h\r\n\r\n{hidden}")

# --- method ---

for method in (b"", b"get", b"Get", b"post", b"Post", b"gET", b"head", b"put", b"GET,POST", b"GET/", b"GET:", b"(GET)", b"\"GET\"", b"GET;", b"[GET]", b"G@T", b"GET=",
               b"A" * 33, b"A" * 500, b"A" * 9000, b"\xc3\x89T\xc3\x89"):
    add(f"method {show(method[:20])} of {len(method)}", get(method=method) + b"{hidden}")
for method in (b"DELETE", b"OPTIONS", b"PATCH", b"PUT", b"PURGE", b"M-SEARCH", b"PROPFIND", b"X"):
    add(f"method {method.decode()}", get(method=method), "either", answers=1)
for name in (b"X-HTTP-Method-Override", b"X-Method-Override"):
    add(f"{name.decode()} changes nothing", get(name + b": DELETE\r\n"), "accept", requests=((b"GET", b""),))
add("TRACE", get(method=b"TRACE"), "either")
add("TRACE with a body", post(b"Content-Length: 5\r\n", b"hello{hidden}", method=b"TRACE"))
add("TRACE with chunks", post(CHUNKED, CHUNKED_BODY + b"{hidden}", method=b"TRACE"))
add("CONNECT to a path", get(method=b"CONNECT") + b"{hidden}")
add("CONNECT without a port", b"CONNECT h HTTP/1.1\r\nHost: h\r\n\r\n{hidden}")
add("CONNECT with a body", b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nContent-Length: 5\r\n\r\nhello{hidden}")
add("CONNECT with chunks", b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}")
add("CONNECT elsewhere", b"CONNECT evil:443 HTTP/1.1\r\nHost: h\r\n\r\n{hidden}")

# --- white space in the request line ---

for label, raw in (("two spaces behind the method", b"GET  /{k} HTTP/1.1"), ("a tab behind the method", b"GET\t/{k} HTTP/1.1"), ("tab and space", b"GET\t /{k} HTTP/1.1"),
                   ("two spaces before the version", b"GET /{k}  HTTP/1.1"), ("a tab before the version", b"GET /{k}\tHTTP/1.1"), ("a space at the end", b"GET /{k} HTTP/1.1 "),
                   ("a tab at the end", b"GET /{k} HTTP/1.1\t"), ("a space in the path", b"GET /{k} /x HTTP/1.1"), ("VT", b"GET\x0b/{k} HTTP/1.1"), ("FF", b"GET\x0c/{k} HTTP/1.1"),
                   ("FF before the version", b"GET /{k}\x0cHTTP/1.1"), ("CR before the version", b"GET /{k}\rHTTP/1.1"), ("no-break space", b"GET\xa0/{k}\xa0HTTP/1.1"),
                   ("no space at all", b"GET/{k}HTTP/1.1"), ("no target", b"GET  HTTP/1.1"), ("no target, one space", b"GET HTTP/1.1"), ("unit separators", b"GET\x1f/{k}\x1fHTTP/1.1"),
                   ("NUL", b"GET\x00/{k} HTTP/1.1"), ("escaped", b"GET%20/{k}%20HTTP/1.1"), ("plus", b"GET+/{k}+HTTP/1.1")):
    add(f"request line: {label}", raw + b"\r\nHost: h\r\n\r\n{hidden}")

# --- target ---

for target in (b"{k}", b"x/{k}", b"?x", b"//h\\{k}", b"\\{k}", b"*", b"/*#{k}", b"/{k}#f", b"h:80", b"h", b"http:", b"http:/", b"http://", b"http:///{k}", b"http://?x", b"http://#",
               b"ftp://h/{k}", b"file:///{k}", b"javascript:/{k}", b"http://user@h/{k}", b"http://user:pw@h/{k}", b"http://h:/{k}", b"http://h:0/{k}", b"http://h:65536/{k}",
               b"http://h:x/{k}", b"http://h:80x/{k}", b"http://h:+80/{k}", b"http://[::1/{k}", b"http://::1/{k}", b"http://h\\/{k}", b"http://h%2f/{k}", b"http://evil/{k}",
               b"http://h.evil/{k}", b"http://evil@h/{k}", b"http://h#@evil/{k}", b"http://h,evil/{k}", b"http://h evil/{k}", b"http://h\x00/{k}", b"http:\\\\h\\{k}", b"https:/h/{k}",
               b"http//h/{k}", b"://h/{k}", b"/{k}%", b"/{k}%0", b"/{k}%zz", b"/{k}%00", b"/{k}%0d%0aX:y", b"/{k}%0a", b"/../{k}", b"/{k}/../../x", b"/%2e%2e/{k}", b"/..%2f{k}",
               b"/{k}/..;/x", b"/{k}%c0%af", b"/{k}%c0%ae", b"/{k}%5cx", b"/{k}%7f", b"/{k}%1f", b"/{k} HTTP/1.1\r\nX: y\r\n\r\nGET /{k}"):
    add(f"target {show(target)}", get(target=target) + b"{hidden}")
for target in (b"http://h/{k}", b"HTTP://h/{k}", b"http://H/{k}", b"http://h:80/{k}", b"/{k}?", b"/{k}?a=b&c", b"/{k}/./x", b"/x/../{k}", b"/{k}%20", b"/{k}%41", b"//{k}", b"/{k};x=y",
               b"/{k}%2Fx", b"/{k}%25", b"/{k}?x=%0d%0a", b"/{k}?http://x", b"/{k}:80", b"/{k}@h", b"/{k}?a?b", b"/{k}+x"):
    add(f"target good {show(target)}", get(target=target), "accept", requests=((b"GET", b""),))
add("absolute target without Host", get(target=b"http://h/{k}", host=b""))
add("absolute target and two Hosts", get(target=b"http://h/{k}", host=HOST * 2) + b"{hidden}")
add("absolute target and a bad Host", get(target=b"http://h/{k}", host=b"Host: h h\r\n") + b"{hidden}")
add("absolute target and an empty Host", get(target=b"http://h/{k}", host=b"Host:\r\n") + b"{hidden}")
add("OPTIONS *", get(target=b"*", method=b"OPTIONS"), "either")
add("long target", get(target=b"/{k}" + b"a" * 9000) + b"{hidden}", statuses=(414,))
add("long target without an end", b"GET /{k}" + b"a" * 70000, statuses=(414,))
add("long query", get(target=b"/{k}?" + b"a" * 9000) + b"{hidden}", statuses=(414,))
add("target of 8000 bytes", get(target=b"/{k}?" + b"a" * 8000), "accept", requests=((b"GET", b""),))

# --- Host ---

add("no Host", get(host=b"") + b"{hidden}")
for fields in (b"Host: h\r\nHost: h\r\n", b"Host: h\r\nHost: evil\r\n", b"Host: h\r\nhost: h\r\n", b"Host: h\r\nHost:\r\n", b"Host:\r\nHost: h\r\n", b"Host: h\r\nX: y\r\nHOST: evil\r\n",
               b" Host: h\r\n", b"Host : h\r\n", b"Host\t: h\r\n", b"Host:\r\n h\r\n", b"Host\r\n", b"Host h\r\n", b"Host: h\r\n evil\r\n", b"Host: h\r\n\tX: y\r\n", b"Host: h\x00\r\n",
               b"Host: h\rX: y\r\n", b"X: y\rHost: h\r\n", b"X: y\nHost: h\r\n", b"Host\x00: h\r\n", b"\x00Host: h\r\n", b"Host: h\r\nHost : evil\r\n", b"Host: h\r\n Host: evil\r\n"):
    add(f"Host lines {show(fields)}", get(host=fields) + b"{hidden}")
for value in (b"", b" ", b"h h", b"h,evil", b"h, evil", b"h;evil", b"h/", b"h/x", b"h?x", b"h#x", b"h\\x", b"@h", b"user@h", b"u:p@h", b"h@evil", b":80", b"h:", b"h:0", b"h:65536", b"h:99999",
              b"h:x", b"h:80x", b"h:-1", b"h:+80", b"h:8 0", b"h:80:80", b"h:080000", b"[", b"[]", b"[::1", b"::1", b"::1]", b"[::1]x", b"[::1]:", b"[::1]:x", b"[::g]", b"[1.2.3.4]",
              b"[fe80::1%25eth0]", b"h..x", b".h", b"h%2e", b"h%00", b"h\x0b", b"h\x7f", b"h\xa0", b"\xc3\xa4", b"h\"", b"\"h\"", b"'h'", b"h<x>", b"{h}", b"h|x", b"h^x", b"h`x`", b"http://h",
              b"(h)", b"h=x", b"h&x", b"h$x", b"h!", b"h*", b"*", b"a" * 256, b"h\x00.evil", b"h\t.evil", b"h\x0c"):
    add(f"Host {show(value[:30])} of {len(value)}", get(host=b"Host: " + value + b"\r\n") + b"{hidden}")
for value in (b"h", b"H", b"h.", b"h.example.com", b"h:80", b"h:8080", b"127.0.0.1", b"127.0.0.1:80", b"[::1]", b"[::1]:80", b"a-b.c", b"a_b", b" h ", b"\th\t", b"xn--p1ai", b"1"):
    add(f"Host good {show(value)}", get(host=b"Host:" + value + b"\r\n"), "accept", requests=((b"GET", b""),))

# --- Connection, Upgrade, Expect ---

for value in (b"content-length", b"close, content-length", b"Content-Length, keep-alive", b"transfer-encoding", b"close, Transfer-Encoding", b"host", b"close, host", b"cookie", b"authorization",
              b"x-forwarded-for", b"X-Forwarded-Host", b"x-real-ip", b"forwarded", b"expect", b"content-type", b"connection", b"via", b"a b", b"\"close\"", b"close;x", b"close x", b"(close)",
              b"close\x0b", b"keep-alive/1"):
    add(f"Connection: {show(value)}", post(b"Connection: " + value + b"\r\nContent-Length: 5\r\n", b"hello{hidden}"))
for value in (b"keep-alive", b"Keep-Alive", b"x-own", b"te", b"", b",", b" , keep-alive , ", b"keep-alive, keep-alive", b"trailer"):
    add(f"Connection good: {show(value)}", post(b"Connection: " + value + b"\r\nX-Own: secret\r\nContent-Length: 5\r\n", b"hello"), "accept", requests=((b"POST", b"hello"),))
for value in (b"close", b"CLOSE", b"keep-alive, close", b"close, keep-alive", b"x-own, close", b"close,,", b"close, close"):
    add(f"Connection ends: {show(value)}", post(b"Connection: " + value + b"\r\nX-Own: secret\r\nContent-Length: 5\r\n", b"hello{hidden}"), "accept", closes=True,
        requests=((b"POST", b"hello"),))
add("two Connection fields", get(b"Connection: keep-alive\r\nConnection: close\r\n") + b"{hidden}", "accept", closes=True, requests=((b"GET", b""),))
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
for label, fields in (("h2c", H2C), ("h2c alone", b"Upgrade: h2c\r\nConnection: Upgrade\r\n"), ("websocket", b"Upgrade: websocket\r\nConnection: Upgrade\r\n"),
                      ("unnamed", b"Upgrade: h2c\r\n"), ("nothing", b"Connection: upgrade\r\n"), ("h2c, websocket", b"Upgrade: h2c, websocket\r\nConnection: upgrade\r\n"),
                      ("TLS", b"Upgrade: TLS/1.0\r\nConnection: Upgrade\r\n"), ("HTTP/2", b"Upgrade: websocket, HTTP/2.0\r\nConnection: Upgrade\r\n")):
    add(f"upgrade: {label}", get(fields), "accept", requests=((b"GET", b""),))
    add(f"upgrade with a body: {label}", post(fields + b"Content-Length: 5\r\n", b"hello"), "either")
for value in (b"200-ok", b"100-continue, x", b"100-continue;q=1", b"\"100-continue\"", b"100", b"continue", b"", b"100-continue 100-continue", b"x=y"):
    add(f"Expect: {show(value)}", post(b"Expect: " + value + b"\r\nContent-Length: 5\r\n", b"hello{hidden}"), statuses=(417, 400))
add("two Expects", post(b"Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n", b"hello"), "either")
add("Expect without a body", get(b"Expect: 100-continue\r\n"), "accept", requests=((b"GET", b""),))
add("Expect in HTTP/1.0", post(b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"hello", version=b"HTTP/1.0"), "either", closes=True)
add("Expect not waited for", post(b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"hello"), "either")
add("obfuscated Expect", post(b"Expect: y 100-continue\r\nContent-Length: 5\r\n", b"hello{hidden}"), statuses=(417, 400))

# --- bodies that look like requests ---

inner = b"GET /{k}/inner HTTP/1.1\r\nHost: h\r\n\r\n"
for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"POST", b"PUT", b"PATCH"):
    # The mark becomes seven bytes: see mark_of().
    size = len(inner) - len(b"{k}") + 7
    add(f"{method.decode()} hides a request in its body", post(b"Content-Length: %d\r\n" % size, inner, method=method), "accept", requests=((method, inner),),
        methods=(method,))
    add(f"{method.decode()} hides a request in a chunk", post(CHUNKED, b"%x\r\n" % size + inner + b"\r\n0\r\n\r\n", method=method), "accept",
        requests=((method, inner),), methods=(method,))
    add(f"{method.decode()} with length 0 and a second request", post(b"Content-Length: 0\r\n", b"{hidden}", method=method), "accept", answers=2,
        requests=((method, b""), (b"GET", b"")), methods=(method, b"GET"))
add("GET without framing and a body", get() + b"hello{hidden}", "either")
add("garbage behind a request", get() + b"\x00\x01\x02garbage", "either")
add("POST without framing and a body", post(b"", b"a=b&c=d\r\n\r\n"), "either")

# --- HTTP/1.0 ---

add("HTTP/1.0", get(version=b"HTTP/1.0"), "accept", closes=True, requests=((b"GET", b""),))
add("HTTP/1.0 without Host", get(version=b"HTTP/1.0", host=b""), "accept", closes=True, requests=((b"GET", b""),))
add("HTTP/1.0 ends though more follows", get(version=b"HTTP/1.0") + b"{hidden}", "accept", closes=True, requests=((b"GET", b""),))
add("HTTP/1.0 kept alive", get(b"Connection: keep-alive\r\n", version=b"HTTP/1.0"), "accept", requests=((b"GET", b""),))
add("HTTP/1.0 with a body", post(b"Content-Length: 5\r\n", b"hello", version=b"HTTP/1.0"), "accept", closes=True, requests=((b"POST", b"hello"),))
add("HTTP/1.0 with two Hosts", get(version=b"HTTP/1.0", host=HOST * 2) + b"{hidden}")
add("HTTP/1.0 with two lengths", post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello{hidden}", version=b"HTTP/1.0"))

# --- limits ---

add("a hundred fields", get(b"X: y\r\n" * 99), "accept", requests=((b"GET", b""),))
add("too many fields", get(b"X: y\r\n" * 150) + b"{hidden}", statuses=(431,))
add("ten thousand fields", get(b"X: y\r\n" * 10000) + b"{hidden}", statuses=(431,))
add("a field of 20 KB", get(b"X: " + b"y" * 20000 + b"\r\n"), "accept", requests=((b"GET", b""),))
add("a field of 40 KB", get(b"X: " + b"y" * 40000 + b"\r\n") + b"{hidden}", statuses=(431,))
add("a name of 40 KB", get(b"X" * 40000 + b": y\r\n") + b"{hidden}", statuses=(431,))
add("a field that never ends", b"GET /{k} HTTP/1.1\r\nHost: h\r\nX: " + b"y" * 100000, statuses=(431,))

# --- names that some servers take for others ---

for field in (b"X_Forwarded_For: 1.2.3.4", b"x_forwarded_host: evil", b"X_Real_IP: 1.2.3.4", b"Proxy_Connection: close"):
    add(f"ambiguous {show(field)}", get(field + b"\r\n") + b"{hidden}")
for field in (b"X-Forwarded-For: 1.2.3.4", b"Forwarded: for=1.2.3.4", b"X-Real-IP: 1.2.3.4", b"Via: 1.0 x", b"Proxy: http://evil/", b"X-Original-URL: /admin", b"X-Rewrite-URL: /admin"):
    add(f"foreign {show(field)}", get(field + b"\r\n"), "accept", requests=((b"GET", b""),))

# --- pipelining ---

add("two requests", get() + get(), "accept", answers=2, requests=((b"GET", b""),) * 2)
add("a good one before a bad one", get() + b"GET /{k}/bad HTTP/1.1\r\nHost : h\r\n\r\n{hidden}", "pipeline-refuse", answers=2, requests=((b"GET", b""),))
add("a body before a bad one", post(b"Content-Length: 5\r\n", b"hello") + b"POST /{k} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello{hidden}",
    "pipeline-refuse", answers=2, requests=((b"POST", b"hello"),))
add("HEAD and GET", get(method=b"HEAD") + get(), "accept", answers=2, requests=((b"HEAD", b""), (b"GET", b"")), methods=(b"HEAD", b"GET"))
add("a hundred with bodies", b"".join(post(b"Content-Length: 5\r\n", b"%05d" % i) if i % 2 else post(CHUNKED, b"5\r\n%05d\r\n0\r\n\r\n" % i) for i in range(100)), "accept", answers=100,
    requests=tuple((b"POST", b"%05d" % i) for i in range(100)))
add("a hundred GETs", get() * 100, "accept", answers=100, requests=((b"GET", b""),) * 100)
add("chunked, then a request", post(CHUNKED, CHUNKED_BODY) + get(), "accept", answers=2, requests=((b"POST", b"hello"), (b"GET", b"")))
add("an empty line between", get() + b"\r\n" + get(), "accept", answers=2, requests=((b"GET", b""),) * 2)


def mark_of(number):
    return b"k%05dk" % number


assert len({case.name for case in cases}) == len(cases), [c.name for c in cases if sum(d.name == c.name for d in cases) > 1][:5]
