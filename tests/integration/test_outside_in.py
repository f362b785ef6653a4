"""What each port answers to somebody who shows nothing. SECURITY.md has the list, and this holds it to it."""
import http.client
import re
import socket
import ssl

import grpc
import pytest
from google.protobuf import empty_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from conftest import ROOT, until
from secured import refusal, secured  # noqa: F401 (a fixture)
from test_access import served

HEADING = "## What answers without credentials"


def listed():
    """Of SECURITY.md's table: (port, what is asked) -> what is answered."""
    text = (ROOT / "SECURITY.md").read_text().split(HEADING)[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    return {(port, asked): answer for port, asked, answer in rows if port != "port" and not port.startswith("---")}


def answers_in_plain_text(address, said=b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
    """What comes back on a bare connection."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(said)
        try:
            return connection.recv(4096)
        except ConnectionResetError:
            return b""


def get(address, path):
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(errors="replace")


def outcome(call):
    refused = refusal(call)
    return refused[0] if refused else "OK"


def test_what_each_port_answers_without_credentials(secured):  # noqa: F811
    secured.server.kill()
    secured.start_server(MANTISSA_HEALTH_LISTEN="127.0.0.1:0")
    worker = secured.start_worker()
    seen = {}
    api = "API, 50051"
    anonymous = secured.secure_channel()
    methods = list(served(secured.channel()))
    ours = {outcome(lambda: method.call(anonymous, method.request())) for method in methods
            if method.name.startswith("mantissa.v1.")}
    seen[api, "every method of mantissa.v1"] = " or ".join(sorted(ours))
    health = health_pb2_grpc.HealthStub(anonymous)
    assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
    seen[api, "grpc.health.v1.Health"] = "OK"
    reflection = next(method for method in methods if "Reflection" in method.name)
    seen[api, "reflection"] = outcome(lambda: reflection.call(anonymous, reflection.request(list_services="")))
    unknown = anonymous.unary_unary("/no.such.Service/Method", request_serializer=lambda m: m.SerializeToString(),
                                    response_deserializer=empty_pb2.Empty.FromString)
    seen[api, "a method that is none"] = outcome(lambda: unknown(empty_pb2.Empty(), timeout=20))
    plain = answers_in_plain_text(secured.address)
    assert b"HTTP" not in plain and b"mantissa" not in plain.lower(), plain
    seen[api, "plain text"] = "the connection is closed"

    probes = "health, 50052 (--health-listen)"
    address_of_probes = (secured.folder / "address").read_text().split()[2]
    with grpc.insecure_channel(address_of_probes) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
        seen[probes, "grpc.health.v1.Health"] = "OK"
        seen[probes, "any other method"] = " or ".join(sorted({
            outcome(lambda: method.call(channel, method.request())) for method in methods if "Health" not in method.name}))

    metrics = "/metrics of the server, 9464"
    status, text = get(secured.metrics, "/metrics")
    assert status == 200 and "mantissa_rpcs_total" in text
    seen[metrics, "GET /metrics"] = "names and figures of jobs, no specs"
    assert {get(secured.metrics, path)[0] for path in ("/", "/debug", "/../etc/passwd", "/config")} == {404}
    seen[metrics, "any other path"] = "404"

    of_worker = "/metrics of a worker, 9465"
    port = until(lambda: re.search(r'"metrics_port":(\d+)', worker.log_text()), "the worker says its port").group(1)
    assert get(f"127.0.0.1:{port}", "/metrics")[0] == 200
    seen[of_worker, "GET /metrics"] = "figures of devices and of the worker, no jobs"
    assert get(f"127.0.0.1:{port}", "/config")[0] == 404
    seen[of_worker, "any other path"] = "404"

    assert seen == listed(), "SECURITY.md says what is true"
    # And there is no port that is not in the list.
    ports = {int(secured.address.rsplit(":", 1)[1]), int(secured.metrics.rsplit(":", 1)[1]),
             int(address_of_probes.rsplit(":", 1)[1]), int(port)}
    assert listening(secured.processes(secured.server)) | listening(secured.processes(worker)) == ports


def listening(processes):
    """TCP ports that these processes listen on."""
    import os
    import pathlib
    inodes = set()
    for pid in processes:
        for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = os.readlink(entry)
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in pathlib.Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                ports.add(int(fields[1].rsplit(":", 1)[1], 16))
    return ports


def test_old_and_weak_tls_is_not_spoken(secured):  # noqa: F811
    host, port = secured.address.rsplit(":", 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(connection)
