"""HTTP/2 as raw frames, for tests that are no good clients."""
import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE = 1, 4  # settings


def tls(server, h2=False, window=None):
    sock = socket.socket()
    sock.settimeout(120)
    if window:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    sock.connect((server.kube.server.hostname, server.port))
    context = server.kube.tls
    context.set_alpn_protocols(["h2"] if h2 else ["http/1.1"])
    return context.wrap_socket(sock, server_hostname=server.kube.server.hostname)


def frame(kind, flags, stream, body=b""):
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


def number(n):
    return struct.pack(">I", n)


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *p) for p in pairs))


def literal(name, value):
    """A field without compression, shorter than 127 bytes each, or a longer value."""
    n = len(value)
    length = bytes([n]) if n < 127 else b"\x7f" + integer(n - 127)
    return b"\x00" + bytes([len(name)]) + name + length + value


def integer(n):
    """What follows a full prefix (RFC 7541, 5.1)."""
    out = b""
    while n >= 128:
        out, n = out + bytes([n % 128 | 128]), n >> 7
    return out + bytes([n])


def get(where, method=b"GET", more=b""):
    return literal(b":method", method) + literal(b":scheme", b"https") + literal(b":path", where) + literal(b":authority", b"x") + more


def ask(stream, where, more=b""):
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, get(where, more=more))


def h2(server, *pairs, window=None):
    """A connection; pairs: its SETTINGS."""
    sock = tls(server, h2=True, window=window)
    sock.sendall(PREFACE + settings(*pairs))
    return sock


def frames(sock):
    """Kind, flags, stream and body of each, until the connection ends."""
    def exactly(n):
        got = b""
        while len(got) < n:
            more = sock.recv(n - len(got))
            if not more:
                raise EOFError
            got += more
        return got
    try:
        while True:
            head = exactly(9)
            yield head[3], head[4], struct.unpack(">I", head[5:])[0], exactly(int.from_bytes(head[:3], "big"))
    except (EOFError, OSError):
        return


def flood(sock, piece, n, wait_s=5):
    """Sends until all is sent, or the server hung up or takes no more; reads nothing. How often it could be sent."""
    sock.settimeout(wait_s)
    for i in range(n):
        try:
            sock.sendall(piece if isinstance(piece, bytes) else piece(i))
        except OSError:
            return i
    return n
