"""A server that asks who calls: TLS, client certificates and tokens, made by the scripts that operators use."""
import shutil
import subprocess

import grpc
import pytest

from conftest import BIN, ROOT, Cluster, closing


class Secured(Cluster):
    """The test itself is `root`, an admin of tenant `ops`; others come in by as_token and as_certificate."""

    def __init__(self, folder):
        super().__init__(folder)
        self.certs, self.tokens = folder / "certs", folder / "tokens"
        self.tokens.write_text("# made by the test\n")
        self.make_certificate("server", "localhost", "127.0.0.1")
        self.root = self.make_token("ops", "admin")

    def make_certificate(self, *arguments, folder=None, days=365, at=None):
        """Of deploy/certs.sh; the paths of certificate and key. `at`: made as if it were then (for date(1), UTC)."""
        folder = folder or self.certs
        then = ["faketime", "-f", at] if at else []
        subprocess.run([*then, ROOT / "deploy/certs.sh", folder, *arguments], check=True, stdout=subprocess.DEVNULL,
                       env={"PATH": "/usr/bin:/bin", "TZ": "UTC", "MANTISSA_CERT_DAYS": str(days)})
        name = arguments[0] if arguments[0] == "server" else "-".join(arguments)
        return folder / f"{name}.pem", folder / f"{name}-key.pem"

    def make_token(self, tenant, role, name=""):
        """Of `mantissa token`; the tenant has its data from then on."""
        shutil.copytree(self.data / "digits", self.data / "tenants" / tenant / "digits", dirs_exist_ok=True)
        made = subprocess.run([BIN / "mantissa", "token", tenant, role, "--append-to", self.tokens,
                               *(["--name", name] if name else [])], check=True, capture_output=True, text=True)
        return made.stdout.strip()

    def asking(self, name="server"):
        """Settings by which a server with the certificate of that name asks who calls."""
        return {"MANTISSA_TLS_CERTIFICATE": str(self.certs / f"{name}.pem"),
                "MANTISSA_TLS_KEY": str(self.certs / f"{name}-key.pem"),
                "MANTISSA_TLS_CLIENT_CA": str(self.certs / "ca.pem"), "MANTISSA_TOKENS": str(self.tokens)}

    def launch_server(self, program="mantissa-server", **variables):
        super().launch_server(program, **(self.asking() | variables))

    def launch_worker(self, name="ws-1", server=None, **variables):
        certificate, key = self.make_certificate("worker", name)
        shows = {"MANTISSA_TLS_CA": str(self.certs / "ca.pem"), "MANTISSA_TLS_CERTIFICATE": str(certificate),
                 "MANTISSA_TLS_KEY": str(key)}
        return super().launch_worker(name, server, **(shows | variables))

    def secure_channel(self, token=None, certificate=None, key=None, ca=None, metadata=(), address=None):
        credentials = grpc.ssl_channel_credentials((ca or self.certs / "ca.pem").read_bytes(),
                                                   key.read_bytes() if key else None,
                                                   certificate.read_bytes() if certificate else None)
        calls = [grpc.access_token_call_credentials(token)] if token else []
        if metadata:
            calls.append(grpc.metadata_call_credentials(lambda _, callback: callback(tuple(metadata), None)))
        if calls:
            together = calls[0] if len(calls) == 1 else grpc.composite_call_credentials(*calls)
            credentials = grpc.composite_channel_credentials(credentials, together)
        channel = grpc.secure_channel(address or self.address, credentials, options=self.CHANNEL_OPTIONS)
        self.channels.append(channel)
        return channel

    def channel(self):
        return self.secure_channel(token=self.root)

    def as_certificate(self, *arguments):
        certificate, key = self.make_certificate(*arguments)
        return self.secure_channel(certificate=certificate, key=key)

    def cli(self, *arguments, token=None, **more):
        """The command with a token; the test's own where none is given."""
        path = self.folder / "token-of-the-command"
        path.write_text((token or self.root) + "\n")
        return super().cli("--tls-ca", self.certs / "ca.pem", "--token-file", path, *arguments, **more)


def refusal(call):
    """What a call was refused with, or None: code and reason of its ErrorInfo."""
    from google.rpc import error_details_pb2
    from grpc_status import rpc_status
    try:
        call()
    except grpc.RpcError as error:
        rich = rpc_status.from_call(error)
        info = error_details_pb2.ErrorInfo()
        for detail in rich.details if rich else ():
            if detail.Unpack(info):
                return error.code().name, info.reason
        return error.code().name, ""
    return None


def retry_info(call):
    """Whether the refusal of a call says when to try again."""
    from google.rpc import error_details_pb2
    from grpc_status import rpc_status
    with pytest.raises(grpc.RpcError) as caught:
        call()
    rich = rpc_status.from_call(caught.value)
    return any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in rich.details)


@pytest.fixture
def secured(tmp_path):
    """A running server that asks who calls, without workers."""
    with closing(Secured(tmp_path)) as it:
        it.start_server()
        yield it
