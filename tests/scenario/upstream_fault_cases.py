"""Answers of upstreams that are wrong, lie, or stop half way.

The word "evil" stands in whatever must not reach a client. What is expected of the node:

    bad     502; nothing of the answer is passed on
    late    504 within the upstream's time limits
    cut     the head was good, the body breaks: 502, or an answer that the client can tell is not complete
    good    passed on as `status` and `body`
    any     good or bad, but one whole answer
"""
import dataclasses


@dataclasses.dataclass
class Case:
    name: str
    answer: bytes             # what the upstream sends once it has the request's head
    then: str = "keep"        # and does after that: keep (the connection, waiting), close, reset, drip (a byte at a time, without end)
    expect: str = "bad"
    method: bytes = b"GET"
    status: int = 200
    body: bytes = b""
    unread: bool = False      # the request has a body of 4 MB that the upstream does not read


cases = []


def add(name, answer, then="keep", expect="bad", **more):
    cases.append(Case(name, answer, then, expect, **more))


def show(data):
    return repr(data[:40])[2:-1]


def ok(fields=b"", body=b"", line=b"HTTP/1.1 200 OK"):
    return line + b"\r\n" + fields + b"\r\n" + body


SECOND = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

# --- no HTTP, or not quite ---

for raw in (b"evil\r\n\r\n", b"\x00\x01\x02\x03evil\r\n\r\n", b"<html>evil</html>", b"evil" * 20000, b"\x15\x03\x03\x00\x02\x02\x28", b"SSH-2.0-evil\r\n",
            b"220 evil ESMTP\r\n", b"GET / HTTP/1.1\r\nHost: evil\r\n\r\n", b"\r\n" + SECOND, b"\r\n\r\n" + SECOND, b"\n" + SECOND, b" " + SECOND,
            b"\x00" + SECOND, b"\xef\xbb\xbf" + SECOND, b"X: y\r\n" + SECOND, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00"):
    for then in ("keep", "close"):
        add(f"no answer {show(raw)}, {then}", raw, then)
for line in (b"HTTP/1.1", b"HTTP/1.1 ", b"HTTP/1.1 2", b"HTTP/1.1 20", b"HTTP/1.1 2000 evil", b"HTTP/1.1 099 evil", b"HTTP/1.1 000 evil", b"HTTP/1.1 600 evil",
             b"HTTP/1.1 999 evil", b"HTTP/1.1 -20 evil", b"HTTP/1.1 +20 evil", b"HTTP/1.1 2x0 evil", b"HTTP/1.1 abc evil", b"HTTP/1.1  200 evil", b"HTTP/1.1\t200 evil",
             b"HTTP/1.1 200OK evil", b"HTTP/1.1200 evil", b"HTTP/1.1 2 00 evil", b"HTTP/1.1 200.5 evil", b"HTTP/1.1 0x0 evil", b"HTTP/2 200 evil", b"HTTP/2.0 200 evil",
             b"HTTP/1.2 200 evil", b"HTTP/0.9 200 evil", b"HTTP/1 200 evil", b"HTTP/1.10 200 evil", b"HTTP/11 200 evil", b"HTTP/01.1 200 evil", b"HTTP/.1 200 evil",
             b"http/1.1 200 evil", b"HTTPS/1.1 200 evil", b"ICY 200 evil", b"RTSP/1.0 200 evil", b"HTTP 200 evil", b"HTTP/1.1:200 evil", b"200 OK evil",
             b"HTTP/1.1 200 evil\x00", b"HTTP/1.1 200 ev\ril", b"HTTP/1.1 200 evil\x0b", b"HTTP/1.1 200 evil\x7f", b"HTTP/1.1 200\revil", b"HTTP/1.1 \xb2\xb0\xb0 evil"):
    add(f"status line {show(line)}", ok(b"Content-Length: 4\r\n", b"evil", line))
add("status line ended by LF", b"HTTP/1.1 200 OK\nContent-Length: 4\r\n\r\nevil")
add("status line ended by CR", b"HTTP/1.1 200 OK\rContent-Length: 4\r\n\r\nevil")
add("status line of 100 KB", ok(line=b"HTTP/1.1 200 " + b"evil" * 25000))
add("no reason", ok(b"Content-Length: 4\r\n", b"good", b"HTTP/1.1 200"), expect="any", body=b"good")
add("no reason but its space", ok(b"Content-Length: 4\r\n", b"good", b"HTTP/1.1 200 "), expect="good", body=b"good")

# --- fields ---

for field in (b"evil", b"evil evil", b"X-Evil : evil", b"X-Evil\t: evil", b" X-Evil: evil", b"\tX-Evil: evil", b": evil", b"X Evil: evil", b"X-Evil: ev\x00il", b"X-\x00Evil: evil",
              b"X-Evil: ev\ril", b"X-Evil: evil\r", b"X-Evil: ev\nil", b"X-Evil: ev\x0bil", b"X-Evil: ev\x0cil", b"X-Evil: ev\x08il", b"X-Evil: ev\x7fil", b"X-Evil: ev\x1bil", b"X-(Evil): evil",
              b"X-\xc3\xa9vil: evil", b"X-Evil: y\r\n evil", b"X-Evil: y\r\n\tevil", b"X-Evil:\r\n evil", b"X-Evil: y\r\n ", b"X-Evil: evil\n", b"\nX-Evil: evil", b"\rX-Evil: evil",
              b"X-Evil: evil\n\nHTTP/1.1 200 OK", b"\"X-Evil\": evil", b"X-Evil; evil", b"X-Evil= evil", b"X\r\n-Evil: evil"):
    add(f"field {show(field)}", ok(field + b"\r\nContent-Length: 4\r\n", b"evil"))
    if field[:1] not in b" \t":
        add(f"last field {show(field)}", ok(b"Content-Length: 4\r\n" + field + b"\r\n", b"evil"))
add("first field is a fold", ok(b" evil\r\nContent-Length: 4\r\n", b"evil"))
add("head ended by LF LF", b"HTTP/1.1 200 OK\r\nContent-Length: 4\n\nevil")
add("head ended by CR LF LF", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\nevil")
add("head with LF throughout", b"HTTP/1.1 200 OK\nContent-Length: 4\n\nevil")
add("ten thousand fields", ok(b"X-Evil: evil\r\n" * 10000))
add("a thousand fields", ok(b"X-Evil: y\r\n" * 1000 + b"Content-Length: 4\r\n", b"evil"))
add("a field of 200 KB", ok(b"X-Evil: " + b"evil" * 50000 + b"\r\nContent-Length: 4\r\n", b"evil"))
add("a name of 200 KB", ok(b"Evil" * 50000 + b": y\r\nContent-Length: 4\r\n", b"evil"))
add("a head without an end", b"HTTP/1.1 200 OK\r\n" + b"X-Evil: evil\r\n" * 20000)

# --- framing ---

for value in (b"+4", b"-4", b"4 4", b"4,4", b"4, 4", b"4,5", b"4;", b"0x4", b"4.0", b"", b" ", b"abc", b"4a", b"\"4\"", b"4\x0b", b"9223372036854775808", b"18446744073709551616", b"18446744073709551620",
              b"99999999999999999999999", b"4\x00", b"4 evil", b"1e1", b"-1", b"0 4", b"\xb2"):
    add(f"content-length {show(value)}", ok(b"Content-Length: " + value + b"\r\n", b"evil"), "close")
for first, second in ((b"4", b"4"), (b"4", b"5"), (b"0", b"4"), (b"4", b"0"), (b"4", b""), (b"4", b"04")):
    add(f"two content-lengths {show(first)} {show(second)}", ok(b"Content-Length: " + first + b"\r\ncontent-length: " + second + b"\r\n", b"evil"))
CHUNKED_EVIL = b"4\r\nevil\r\n0\r\n\r\n"
for value in (b"chunked", b"Chunked", b"gzip", b"identity", b"x", b"chunked, gzip", b"gzip, chunked"):
    add(f"content-length and transfer-encoding {show(value)}", ok(b"Content-Length: 4\r\nTransfer-Encoding: " + value + b"\r\n", CHUNKED_EVIL))
    add(f"transfer-encoding {show(value)} and content-length", ok(b"Transfer-Encoding: " + value + b"\r\nContent-Length: 14\r\n", CHUNKED_EVIL))
for value in (b"xchunked", b"identity", b"gzip", b"gzip, chunked", b"chunked, chunked", b"chunked, gzip", b"chunked,", b",chunked", b"chunked;q=1", b"\"chunked\"", b"chun ked", b"\x0bchunked", b"chunked\x00",
              b"", b"cow", b"chunked\xa0", b"identity, chunked"):
    add(f"transfer-encoding {show(value)}", ok(b"Transfer-Encoding: " + value + b"\r\n", CHUNKED_EVIL), "close")
for first, second in ((b"chunked", b"chunked"), (b"chunked", b"identity"), (b"identity", b"chunked"), (b"gzip", b"chunked"), (b"chunked", b"x")):
    add(f"two transfer-encodings {show(first)} {show(second)}", ok(b"Transfer-Encoding: " + first + b"\r\nTransfer-Encoding: " + second + b"\r\n", CHUNKED_EVIL))
add("chunked in HTTP/1.0", ok(b"Transfer-Encoding: chunked\r\n", CHUNKED_EVIL, b"HTTP/1.0 200 OK"), "close")
add("Transfer_Encoding", ok(b"Transfer_Encoding: chunked\r\nContent-Length: 4\r\n", b"evil"))

# --- statuses that have no body, and those that are not final ---

add("204 with a length", ok(b"Content-Length: 4\r\n", b"evil", b"HTTP/1.1 204 No Content"))
add("204 with chunks", ok(b"Transfer-Encoding: chunked\r\n", CHUNKED_EVIL, b"HTTP/1.1 204 No Content"))
add("204 with a body behind", ok(b"", b"evil", b"HTTP/1.1 204 No Content"), expect="any", status=204)
add("204 with a second answer behind", ok(b"", SECOND, b"HTTP/1.1 204 No Content"), expect="any", status=204)
add("304 with a body behind", ok(b"Content-Length: 4\r\n", b"evil", b"HTTP/1.1 304 Not Modified"), expect="any", status=304)
add("304 with chunks", ok(b"Transfer-Encoding: chunked\r\n", CHUNKED_EVIL, b"HTTP/1.1 304 Not Modified"), expect="any", status=304)
add("304 with a second answer behind", ok(b"ETag: \"x\"\r\n", SECOND, b"HTTP/1.1 304 Not Modified"), expect="any", status=304)
add("101 unasked", ok(b"Upgrade: websocket\r\nConnection: Upgrade\r\n", b"evil", b"HTTP/1.1 101 Switching Protocols"))
add("101 bare", ok(b"", b"evil", b"HTTP/1.1 101 Switching Protocols"))
add("101, then 200", ok(line=b"HTTP/1.1 101 Switching Protocols") + SECOND)
for status in (b"100 Continue", b"102 Processing", b"103 Early Hints", b"199 x"):
    interim = b"HTTP/1.1 " + status + b"\r\n\r\n"
    add(f"{status.decode()}, then good", interim + ok(b"Content-Length: 4\r\n", b"good"), expect="good", body=b"good")
    add(f"{status.decode()} five times, then good", interim * 5 + ok(b"Content-Length: 4\r\n", b"good"), expect="good", body=b"good")
    add(f"{status.decode()} and nothing", interim, "close")
    add(f"{status.decode()} a thousand times", interim * 1000 + SECOND)
    add(f"{status.decode()}, then silence", interim, "keep", "late")
    add(f"{status.decode()} with a length", b"HTTP/1.1 " + status + b"\r\nContent-Length: 4\r\n\r\nevil" + SECOND)
    add(f"{status.decode()} with chunks", b"HTTP/1.1 " + status + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED_EVIL + SECOND)
    add(f"{status.decode()}, then garbage", interim + b"evil\r\n\r\n")
add("100 without end, a piece at a time", b"HTTP/1.1 100 Continue\r\n\r\n", "drip", "late-or-bad")
add("HEAD with a body", ok(b"Content-Length: 4\r\n", b"evil"), method=b"HEAD", expect="good")
add("HEAD with chunks", ok(b"Transfer-Encoding: chunked\r\n", CHUNKED_EVIL), method=b"HEAD", expect="good")
add("HEAD with a second answer", ok(b"Content-Length: 4\r\n", SECOND), method=b"HEAD", expect="good")
add("HEAD with an enormous length", ok(b"Content-Length: 9223372036854775807\r\n"), method=b"HEAD", expect="good")
add("HEAD with two lengths", ok(b"Content-Length: 4\r\nContent-Length: 5\r\n"), method=b"HEAD")
add("HEAD without a length, closed", ok(b"", b"evil"), "close", method=b"HEAD", expect="good")

# --- bodies ---

for size in (b"g", b"", b" ", b"-4", b"+4", b"0x4", b"4 ", b" 4", b"4;", b"4;=", b"4;a=\"", b"4;a=\x00", b"4\x00", b"4\n", b"4\r", b"ffffffffffffffff", b"fffffffffffffffff", b"8000000000000004", b"00000000000000000004",
             b"4.0", b"4,4", b"four", b"4" + b";a" * 300):
    add(f"first chunk {show(size)}", ok(b"Transfer-Encoding: chunked\r\n", size + b"\r\nevil\r\n0\r\n\r\n"), expect="cut")
    add(f"later chunk {show(size)}", ok(b"Transfer-Encoding: chunked\r\n", b"4\r\ngood\r\n" + size + b"\r\nevil\r\n0\r\n\r\n"), expect="cut")
for ending in (b"", b"\n", b"\r", b"\rX", b"X\r\n", b"\r\r\n", b"XX"):
    add(f"chunk end {show(ending)}", ok(b"Transfer-Encoding: chunked\r\n", b"4\r\ngood" + ending + b"0\r\n\r\n"), "close", expect="cut")
add("chunk longer than said", ok(b"Transfer-Encoding: chunked\r\n", b"4\r\ngoodevil\r\n0\r\n\r\n"), expect="cut")
add("chunk shorter than said", ok(b"Transfer-Encoding: chunked\r\n", b"8\r\ngood\r\n0\r\n\r\n"), expect="cut")
add("chunk lines ended by LF", ok(b"Transfer-Encoding: chunked\r\n", b"4\ngood\n0\n\n"), expect="cut")
for trailer in (b"Content-Length: 4", b"Transfer-Encoding: chunked", b"X-Evil : evil", b" evil", b"evil", b"X-Evil: ev\x00il", b"X-Evil: ev\nil", b"X-Evil: ev\ril"):
    add(f"trailer {show(trailer)}", ok(b"Transfer-Encoding: chunked\r\n", b"4\r\ngood\r\n0\r\n" + trailer + b"\r\n\r\n"), expect="cut")
add("trailers without end", ok(b"Transfer-Encoding: chunked\r\n", b"4\r\ngood\r\n0\r\n" + b"X-Evil: evil\r\n" * 5000), expect="cut")
add("a body a byte at a time", ok(b"Content-Length: 10\r\n"), "drip", expect="good", body=b"d" * 10)
for then in ("close", "reset", "keep"):
    add(f"shorter than its length, {then}", ok(b"Content-Length: 100000000\r\n", b"good"), then, expect="cut")
    add(f"not a byte of its length, {then}", ok(b"Content-Length: 10\r\n"), then, expect="cut")
    add(f"no chunk, {then}", ok(b"Transfer-Encoding: chunked\r\n"), then, expect="cut")
    add(f"no last chunk, {then}", ok(b"Transfer-Encoding: chunked\r\n", b"4\r\ngood\r\n"), then, expect="cut")
    add(f"half a chunk, {then}", ok(b"Transfer-Encoding: chunked\r\n", b"8\r\ngood"), then, expect="cut")
    add(f"half a chunk line, {then}", ok(b"Transfer-Encoding: chunked\r\n", b"4\r\ngood\r\n4"), then, expect="cut")
    add(f"no empty line behind the last chunk, {then}", ok(b"Transfer-Encoding: chunked\r\n", b"4\r\ngood\r\n0\r\n"), then, expect="cut")
add("until the end, reset", ok(b"", b"good"), "reset", expect="cut")
add("until the end, silent", ok(b"", b"good"), "keep", expect="cut")
add("until the end", ok(b"", b"good"), "close", expect="good", body=b"good")
add("until the end, of HTTP/1.0", ok(b"", b"good", b"HTTP/1.0 200 OK"), "close", expect="good", body=b"good")
add("nothing until the end", ok(b""), "close", expect="good")
for label, answer in (("a length", ok(b"Content-Length: 4\r\n", b"good")), ("chunks", ok(b"Transfer-Encoding: chunked\r\n", b"4\r\ngood\r\n0\r\n\r\n")), ("length 0", ok(b"Content-Length: 0\r\n"))):
    body = b"" if label == "length 0" else b"good"
    for extra in (b"evil", b"\r\n", b"\r\n\r\nevil", SECOND, SECOND * 50, b"0\r\n\r\n", b"\x00", b"evil" * 50000):
        add(f"{label} and {show(extra)} of {len(extra)} behind", answer + extra, expect="any", body=body)
    for then in ("close", "reset"):
        add(f"{label}, then {then}", answer, then, expect="good" if then == "close" else "any", body=body)
add("Connection: close and kept open", ok(b"Connection: close\r\nContent-Length: 4\r\n", b"good"), expect="good", body=b"good")
add("keep-alive and closed", ok(b"Connection: keep-alive\r\nContent-Length: 4\r\n", b"good"), "close", expect="good", body=b"good")
add("HTTP/1.0 kept open", ok(b"Content-Length: 4\r\n", b"good", b"HTTP/1.0 200 OK"), expect="good", body=b"good")
add("hop-by-hop fields", ok(b"Connection: X-Evil\r\nX-Evil: evil\r\nKeep-Alive: timeout=evil\r\nContent-Length: 4\r\n", b"good"), expect="any", body=b"good")

# --- no answer at all ---

add("closed without a byte", b"", "close")
add("reset without a byte", b"", "reset")
add("never a byte", b"", "keep", "late")
for part in (b"H", b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r"):
    add(f"closed behind {show(part)}", part, "close")
    add(f"reset behind {show(part)}", part, "reset")
    add(f"silent behind {show(part)}", part, "keep", "late")
add("a head a byte at a time, without end", b"HTTP/1.1 200 OK\r\nX: ", "drip", "late-or-bad")

# --- before the request's body was read ---

add("answered early", ok(b"Connection: close\r\nContent-Length: 4\r\n", b"good"), method=b"POST", unread=True, expect="any", body=b"good")
add("answered early and closed", ok(b"Content-Length: 4\r\n", b"good", b"HTTP/1.1 413 Too Large"), "close", method=b"POST", unread=True, expect="any", status=413, body=b"good")
add("reset in the middle of the request", b"", "reset", method=b"POST", unread=True)
add("closed in the middle of the request", b"", "close", method=b"POST", unread=True)
add("never read, never answered", b"", method=b"POST", unread=True, expect="late-or-bad")
add("malformed early", b"evil\r\n\r\n", method=b"POST", unread=True)
add("early and cut", ok(b"Content-Length: 400\r\n", b"good"), "close", method=b"POST", unread=True, expect="cut")
add("early 100, then closed", b"HTTP/1.1 100 Continue\r\n\r\n", "close", method=b"POST", unread=True)

assert len({case.name for case in cases}) == len(cases), [c.name for c in cases if sum(d.name == c.name for d in cases) > 1][:5]
