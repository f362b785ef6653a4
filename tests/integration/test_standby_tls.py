"""Two servers on one PostgreSQL that ask who calls, each with a certificate of its own: what a site runs that wants both."""
import shutil
import ssl
import subprocess

import grpc
import pytest

from conftest import BIN, until
from observed import value_in
from secured import Secured, refusal
from standby_pair import Pair, started
from test_access import jobs_of, served
from test_standby import families


class SecuredPair(Secured, Pair):
    """A certificate has its server's own names and NAME, by which clients know both: whoever dials several addresses is
    told one name."""

    NAME = "servers.mantissa.test"
    CHANNEL_OPTIONS = [*Pair.CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", NAME)]

    def make_certificate_of(self, number):
        """A new one, of the key that is there, put in the place of the old by one rename."""
        key, made = self.certs / f"server-{number}-key.pem", self.certs / "server-key.pem"
        made.unlink(missing_ok=True)
        if key.exists():
            shutil.copy(key, made)
        certificate, _ = self.make_certificate("server", self.NAME, "127.0.0.1", days=30 if key.exists() else 365)
        made.rename(key)
        certificate.rename(self.certs / f"server-{number}.pem")

    def start_one(self, number, **variables):
        if not (self.certs / f"server-{number}.pem").exists():
            self.make_certificate_of(number)
        super().start_one(number, **(self.asking(f"server-{number}") | variables))

    def channel_to(self, number):
        return self.secure_channel(token=self.root, address=self.addresses[number])

    def launch_worker(self, name="ws-1", server=None, **variables):
        return super().launch_worker(name, server, **({"MANTISSA_TLS_SERVER_NAME": self.NAME} | variables))

    def cli(self, *arguments, **more):
        return super().cli("--tls-server-name", self.NAME, *arguments, **more)

    def shown(self, number):
        """The certificate of a server, in PEM."""
        host, port = self.addresses[number].rsplit(":", 1)
        return ssl.get_server_certificate((host, int(port)))


@pytest.fixture
def pair(tmp_path):
    with started(SecuredPair, tmp_path) as it:
        yield it


def test_a_job_and_those_who_wait_for_it_go_on_over_a_take_over(pair):
    pair.start_worker()
    token = pair.make_token("vision", "user")
    user = jobs_of(pair.secure_channel(token=token), pair)
    pb = pair.pb("job_service")
    for server in pair.servers:
        until(lambda: has_read_tokens(server), "the token is known")
    job = user.SubmitJob(pb.SubmitJobRequest(spec=pair.digits(iterations=20_000)), wait_for_ready=True)
    path = pair.folder / "token-of-vision"
    path.write_text(token)
    waiting = subprocess.Popen(
        [BIN / "mantissa", "--address", pair.address, "--tls-ca", pair.certs / "ca.pem", "--tls-server-name", pair.NAME,
         "--token-file", path, "wait", job.id], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={})
    try:
        pair.wait_iteration(job.id, 500)
        old = pair.active()
        epoch = pair.answers(old)
        pair.servers[old].kill()
        assert until(lambda: pair.answers(1 - old), "the standby serves", 10) > epoch
        said, _ = waiting.communicate(timeout=120)
    finally:
        waiting.kill()
        waiting.wait()
    assert waiting.returncode == 0, said
    done = user.GetJob(pb.GetJobRequest(job_id=job.id), wait_for_ready=True)
    assert done.state == pair.pb("job").Job.SUCCEEDED and done.tenant == "vision", done
    assert done.attempt == 1, "no attempt was stopped by it"
    assert pair.cli("get", job.id, token=pair.make_token("audio", "user")).returncode != 0, "nor is it anybody else's"


def has_read_tokens(server):
    """Since it was started, because there were new ones."""
    return "the tokens have been read again" in server.log_text()


def channel_to(pair, number, token):
    """To one server, whatever its health says."""
    credentials = grpc.ssl_channel_credentials((pair.certs / "ca.pem").read_bytes())
    if token:
        credentials = grpc.composite_channel_credentials(credentials, grpc.access_token_call_credentials(token))
    return grpc.secure_channel(pair.addresses[number], credentials, options=Secured.CHANNEL_OPTIONS)


def asked(pair, number, token):
    """What it refuses a listing with; None where it answers."""
    with channel_to(pair, number, token) as channel:
        return refusal(lambda: jobs_of(channel, pair).ListJobs(pair.pb("job_service").ListJobsRequest()))


def test_who_stands_by_says_so_to_everybody_and_asks_who_calls_once_it_serves(pair):
    active = pair.active()
    standby = 1 - active
    nobody = "mantissa_" + "0" * 64
    # There is nothing behind it to be let in to, so it asks nobody; the word is all that is to be had from it.
    for token in (None, nobody, pair.root):
        assert asked(pair, standby, token) == ("UNAVAILABLE", "STANDBY")
    with pair.channel_to(active) as serving, channel_to(pair, standby, nobody) as channel:
        methods = [method for method in served(serving) if "Health" not in method.name]
        refused = {refusal(lambda: method.call(channel, method.request())) for method in methods}
    assert len(methods) > 20 and refused == {("UNAVAILABLE", "STANDBY")}, "reflection, too"
    address = pair.addresses[standby]
    with grpc.insecure_channel(address, options=Secured.CHANNEL_OPTIONS) as channel:
        listing = pair.pb("job_service").ListJobsRequest()
        assert refusal(lambda: jobs_of(channel, pair).ListJobs(listing)) == ("UNAVAILABLE", ""), "nor to plain text"
    told = pair.cli("list", address=address)
    assert told.returncode == 6 and "STANDBY" in told.stderr, told
    plain = subprocess.run([BIN / "mantissa", "--address", address, "list"], capture_output=True, text=True, env={})
    assert plain.returncode == 6 and "--tls-ca" in plain.stderr and "STANDBY" not in plain.stderr, plain.stderr

    pair.servers[active].kill()
    until(lambda: pair.answers(standby), "the standby serves", 10)
    assert asked(pair, standby, None)[0] == "UNAUTHENTICATED"
    assert asked(pair, standby, nobody)[0] == "UNAUTHENTICATED"
    assert asked(pair, standby, pair.root) is None


def test_who_dials_several_addresses_has_to_give_the_name_that_their_certificates_share(pair):
    ca = str(pair.certs / "ca.pem")
    environment = {"PATH": "/usr/bin:/bin", "MANTISSA_TLS_CA": ca}
    for program, flag, *rest in [("mantissa", "--address", "list"),
                                 ("mantissa-worker", "--server", "--state-dir", pair.folder / "unmade")]:
        started = subprocess.run([BIN / program, flag, pair.address, *rest], capture_output=True, text=True, timeout=60,
                                 env=environment)
        assert started.returncode == 2, started
        assert "--tls-server-name: is missing" in started.stderr and f"{flag} lists several" in started.stderr, started
    assert not (pair.folder / "unmade").exists()
    # With it they are served; and a list of one is a name.
    assert pair.cli("list").returncode == 0
    address = pair.addresses[pair.active()]
    one = subprocess.run([BIN / "mantissa", "--address", f"ipv4:{address}", "list"], capture_output=True, text=True,
                         env=environment)
    assert one.returncode == 4 and "--token-file" in one.stderr, one
    # Plain text is held against no name.
    plain = subprocess.run([BIN / "mantissa", "--address", pair.address, "list"], capture_output=True, text=True, env={})
    assert plain.returncode == 6 and "--tls-server-name: is missing" not in plain.stderr, plain


def test_what_is_replaced_while_a_server_stands_by_holds_once_it_serves(pair):
    active = pair.active()
    standby = 1 - active

    def left():
        return value_in(families(pair.servers[standby])[1], "mantissa_server_certificate_expiry_timestamp_seconds")

    ends, shown = left(), pair.shown(standby)
    assert ends < float("inf"), "that of a standby is seen before it is needed"
    pair.make_certificate_of(standby)
    newcomer = pair.make_token("vision", "user")
    until(lambda: left() < ends, "the standby has looked at its certificate")
    until(lambda: has_read_tokens(pair.servers[standby]), "and at the tokens")
    until(lambda: pair.shown(standby) != shown, "and shows the new one")
    pair.servers[active].kill()
    until(lambda: pair.answers(standby), "the standby serves", 10)
    assert pair.shown(standby) != shown
    assert asked(pair, standby, newcomer) is None
