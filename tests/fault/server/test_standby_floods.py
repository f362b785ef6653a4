"""P18 of a standby: nobody in particular floods it, and it keeps within its memory and takes over all the same."""
import json

import pytest

from conftest import until
from figures import emit
from observed import value_in
from standby_pair import started
from test_floods import FLOODS, MOST_MIB, SCALE, flooding, memory_mib
from test_standby import families
from test_standby_tls import SecuredPair


@pytest.fixture
def pair(tmp_path):
    with started(SecuredPair, tmp_path) as it:
        yield it


@pytest.mark.parametrize("kind", ["streams", "resets", "messages", "metadata"])
def test_a_flooded_standby_takes_over(pair, tmp_path, kind):
    active = pair.active()
    standby = pair.servers[1 - active]
    token_file = tmp_path / "nobody.token"
    token_file.write_text("nobody's")
    with flooding(pair.addresses[1 - active], pair.certs / "ca.pem", token_file, kind) as flood:
        told = json.loads(flood.stdout.readline())
        print(told)
        most_mib = memory_mib(standby, "VmHWM")
        assert most_mib <= MOST_MIB, f"{most_mib:.0f} MiB"
        if kind == "resets":
            _, text = families(standby)
            assert value_in(text, "mantissa_ended_connections_total") > 0, "who opens calls only to reset them is met"
        pair.servers[active].kill()
        until(lambda: pair.answers(1 - active), "the standby serves, with what is still open of the flood", 10)
    emit(f"flood_of_standby_{kind}", "rss_most", round(most_mib, 3), "MiB", FLOODS[kind], None,
         f"MANTISSA_FLOOD={SCALE} python -m pytest tests/fault/server/test_standby_floods.py")
