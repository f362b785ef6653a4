"""A link between a program and a server it leans on that a test can cut and heal."""
import socket
import threading


class Link:
    """A TCP proxy to `target` (host:port, or the path of a Unix socket). `cut` ends every connection and refuses new
    ones, as a stopped host does; `silence` lets connections stand and nothing through, as a cut cable does; `heal`
    undoes either, and what was sent into the silence arrives, as TCP sees to it. From one thread at a time."""

    def __init__(self, target):
        self._target = str(target)
        self._flowing = threading.Event()
        self._flowing.set()
        self._lock = threading.Lock()
        self._sockets = set()
        self._listener, self.port = None, 0
        self._listen()
        self.address = f"127.0.0.1:{self.port}"

    def cut(self):
        self._stop_listening()
        self._flowing.set()  # what waited in a silence meets its end
        with self._lock:
            ended, self._sockets = self._sockets, set()
        for end in ended:
            shut(end)

    def silence(self):
        self._flowing.clear()

    def heal(self):
        self._flowing.set()
        if self._listener is None:
            self._listen()

    close = cut

    def _listen(self):
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _stop_listening(self):
        if self._listener is not None:
            shut(self._listener)  # wakes the accept
            self._listener.close()
            self._listener = None

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(client, listener), daemon=True).start()

    def _connect(self, client, listener):
        self._flowing.wait()
        try:
            server = self._dial()
        except OSError:
            client.close()
            return
        with self._lock:
            if listener is not self._listener:  # cut meanwhile
                client.close()
                server.close()
                return
            self._sockets |= {client, server}
        for source, sink in ((client, server), (server, client)):
            if source.family == socket.AF_INET:
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _dial(self):
        if not self._target.startswith("/"):
            host, port = self._target.rsplit(":", 1)
            return socket.create_connection((host, int(port)))
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._target)
        return server

    def _pump(self, source, sink):
        try:
            while data := source.recv(1 << 16):
                self._flowing.wait()
                sink.sendall(data)
        except OSError:
            pass
        shut(sink)
        with self._lock:
            self._sockets.discard(source)
        source.close()


def shut(end):
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
