"""A TCP address behind which a Unix socket answers, until the link is cut."""
import contextlib
import socket
import threading


class Link:
    """cut("drop"): what is connected is disconnected, and nobody connects. cut("blackhole"): nothing passes, and
    neither end is told; what was on its way arrives when mend() is called, as through a network that comes back."""

    def __init__(self, path):
        self.path = str(path)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.lock, self.passes, self.dropping, self.ends = threading.Lock(), threading.Event(), False, set()
        self.passes.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, how):
        if how == "blackhole":
            return self.passes.clear()
        with self.lock:
            self.dropping = True
            for end in self.ends:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def mend(self):
        with self.lock:
            self.dropping = False
        self.passes.set()

    def close(self):
        self.listener.close()
        self.cut("drop")
        self.passes.set()

    def _accept(self):
        with contextlib.suppress(OSError):  # until it is closed
            while True:
                near, _ = self.listener.accept()
                far = socket.socket(socket.AF_UNIX)
                with self.lock:
                    if self.dropping:
                        near.close()
                        far.close()
                        continue
                    self.ends |= {near, far}
                far.connect(self.path)
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.passes.wait()
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
        with self.lock:
            self.ends.discard(source)
        source.close()
