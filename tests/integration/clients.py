"""Clients that never let up: each asks until it is answered."""
import random
import threading

import grpc

# Of a server that is away, or going: calls that reach one as it ends are cancelled by gRPC before we can refuse them.
AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class Client(threading.Thread):
    """Asks one thing after another until it is told to stop. A fault of its own, or an answer that it does not expect,
    ends it; finish() tells."""

    def __init__(self, cluster, name, seed):
        super().__init__(name=name)
        self.cluster, self.random = cluster, random.Random(f"{seed}/{name}")
        self.pb, self.jobs = cluster.pb("job_service"), cluster.jobs()
        self.tries, self.fault = 0, None
        self.stopping = threading.Event()

    def run(self):
        try:
            while not self.stopping.is_set():
                self.once()
        except Exception as error:  # told by finish()
            self.fault = error

    def ask(self, method, request, *expected):
        """The answer, or the name of the code if it is among those that are expected; None when it is time to stop."""
        self.tries = 0
        while not self.stopping.is_set():
            self.tries += 1
            try:
                return method(request, timeout=5, wait_for_ready=True)
            except grpc.RpcError as error:
                if error.code() in AGAIN:
                    continue
                if error.code().name in expected:
                    return error.code().name
                raise
        return None

    @staticmethod
    def finish(clients):
        for client in clients:
            client.stopping.set()
        for client in clients:
            client.join()
        faults = [f"{client.name}: {client.fault}" for client in clients if client.fault]
        assert not faults, faults
