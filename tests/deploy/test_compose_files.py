"""docker-compose.yml, its overlays and the Dockerfile as they are committed: valid for both Composes, and true to each other.
test_compose.py brings them up."""
import functools
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(os.environ.get("MANTISSA_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
BIN = pathlib.Path(os.environ.get("MANTISSA_BIN_DIR", ROOT / "build/release/bin"))
DEPS = pathlib.Path(os.environ.get("MANTISSA_DEPS_DIR", ROOT / "build/deps"))
FILE, DOCKERFILE = ROOT / "docker-compose.yml", ROOT / "deploy/docker/Dockerfile"
# Those that are documented, by the names of their overlays in the order in which they are given.
PAIR, TLS = ("postgres",), ("tls",)
TLS_PAIR = ("postgres", "tls", "postgres-tls")
COMBINATIONS = [(), ("gpu",), PAIR, TLS, TLS_PAIR, *((*files, "gpu") for files in (PAIR, TLS, TLS_PAIR))]
VERSION = re.search(r"^project\(mantissa VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text(), re.MULTILINE)[1]
# What overlays ask of whoever uses them.
GIVEN = {"POSTGRES_PASSWORD": "canary", "MANTISSA_CERTIFICATES": "/nowhere"}
COMPOSES = {"docker-compose 1.29": shutil.which("docker-compose"), "Compose v2": DEPS / "compose-v2/docker-compose"}


def composed(program, *files, **variables):
    """What a Compose makes of the files, or its error."""
    named = [word for file in files for word in ("-f", file)]
    environment = {key: value for key, value in os.environ.items() if key not in GIVEN} | variables
    return subprocess.run([program, *named, "config"], capture_output=True, text=True, cwd=ROOT, env=environment)


def files_of(overlays):
    return [FILE, *(ROOT / f"deploy/compose/{overlay}.yaml" for overlay in overlays)]


def named(overlays):
    return "+".join(overlays) or "base"


@functools.lru_cache(maxsize=None)
def services(*overlays):
    """Of docker-compose.yml with these, as docker-compose 1.29 merges them."""
    program = COMPOSES["docker-compose 1.29"]
    if program is None:
        pytest.fail("docker-compose is not installed: deploy/setup.sh --tests installs it")
    done = composed(program, *files_of(overlays), **GIVEN)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)["services"]


def environment_of(service):
    return service.get("environment", {})


@pytest.mark.parametrize("compose", COMPOSES)
@pytest.mark.parametrize("overlays", COMBINATIONS, ids=named)
def test_both_composes_take_every_combination(compose, overlays):
    program = COMPOSES[compose]
    if program is None or not pathlib.Path(program).exists():
        pytest.skip(f"SKIPPED: {compose} is not here; run deploy/setup.sh --tests")
    done = composed(program, *files_of(overlays), **GIVEN)
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr.lower(), done.stderr
    assert "${" not in done.stdout, "a variable that was not replaced"


def test_every_overlay_is_in_a_combination_and_says_its_command():
    overlays = {path.stem for path in (ROOT / "deploy/compose").glob("*.yaml")}
    assert overlays == {overlay for overlays in COMBINATIONS for overlay in overlays}
    for overlay in overlays:
        said = (ROOT / f"deploy/compose/{overlay}.yaml").read_text().split("services:")[0]
        shown, = re.findall(r"docker compose ((?:-f \S+ (?:\\\n# +)?)+)up -d", said)
        files = re.findall(r"-f (\S+)", shown)
        assert [str(path.relative_to(ROOT)) for path in files_of(TLS_PAIR if overlay == "postgres-tls" else (overlay,))] == files


def test_what_an_overlay_needs_is_asked_for_by_name():
    program = COMPOSES["docker-compose 1.29"]
    for overlay, variable in [("postgres", "POSTGRES_PASSWORD"), ("tls", "MANTISSA_CERTIFICATES")]:
        done = composed(program, FILE, ROOT / f"deploy/compose/{overlay}.yaml")
        assert done.returncode != 0 and variable in done.stderr and "set it" in done.stderr, overlay


def test_every_service_is_held_in():
    for overlays in COMBINATIONS:
        for name, service in services(*overlays).items():
            where = f"{name} of {named(overlays)}"
            assert service["restart"] == "unless-stopped", where
            assert service["security_opt"] == ["no-new-privileges:true"], where
            assert service["healthcheck"]["test"][0] == "CMD", f"{where}: a program, not a shell"
            limits = service["deploy"]["resources"]["limits"]
            assert limits["cpus"] and limits["memory"], where
            if name != "postgres":  # its image changes the owner of its data before it lays its rights down
                assert service["read_only"] is True and service["cap_drop"] == ["ALL"], where
            for port in service.get("ports", []):
                assert str(port).startswith("127.0.0.1:"), f"{where}: {port} is open to the network"


def test_services_start_when_what_they_need_is_healthy():
    base, postgres = services(), services("postgres")
    healthy = {"condition": "service_healthy"}
    assert base["worker"]["depends_on"] == {"server": healthy}
    assert base["prometheus"]["depends_on"] == {"server": healthy}
    assert base["grafana"]["depends_on"] == {"prometheus": healthy}
    assert postgres["server"]["depends_on"] == {"postgres": healthy}
    assert postgres["server-b"]["depends_on"] == {"postgres": healthy}


def test_workers_share_checkpoints_and_servers_share_files():
    base, postgres = services(), services("postgres")
    assert "checkpoints:/checkpoints:rw" in base["worker"]["volumes"]
    assert postgres["server"]["volumes"] == postgres["server-b"]["volumes"] == ["server:/var/lib/mantissa:rw"]
    for service in ("server", "server-b"):
        assert environment_of(postgres[service])["MANTISSA_POSTGRES"].startswith("postgresql://mantissa@postgres/")
        assert "--live" in postgres[service]["healthcheck"]["test"], "one that stands by is no fault"
    assert environment_of(postgres["worker"])["MANTISSA_SERVER"] == "dns:servers:50051"
    for service in ("server", "server-b"):
        assert postgres[service]["networks"]["default"]["aliases"] == ["servers"]


@pytest.mark.parametrize("overlays", [PAIR, TLS_PAIR], ids=named)
def test_the_second_server_is_what_the_first_is(overlays):
    merged = services(*overlays)
    first, second = merged["server"], dict(merged["server-b"])  # what is cached stays as it is
    assert second.pop("ports") != first["ports"]
    assert second == {key: value for key, value in first.items() if key not in ("build", "ports")}


def test_tls_is_given_whole_and_only_from_the_folder_that_is_named():
    tls = services("tls")
    for service, settings in [("server", ("TLS_CERTIFICATE", "TLS_KEY", "TLS_CLIENT_CA", "TOKENS", "TLS_CA")),
                              ("worker", ("TLS_CERTIFICATE", "TLS_KEY", "TLS_CA"))]:
        given = environment_of(tls[service])
        for setting in settings:
            assert given[f"MANTISSA_{setting}"].startswith("/certificates/"), (service, setting)
        assert f"{GIVEN['MANTISSA_CERTIFICATES']}:/certificates:ro" in tls[service]["volumes"]
    worker = environment_of(tls["worker"])
    assert worker["MANTISSA_TLS_CERTIFICATE"] == f"/certificates/worker-{worker['MANTISSA_WORKER_ID']}.pem"


def test_two_servers_with_tls_have_all_of_both():
    merged = services(*TLS_PAIR)
    for service in ("server", "server-b"):
        given = environment_of(merged[service])
        assert given["MANTISSA_POSTGRES"].startswith("postgresql://mantissa@postgres/"), service
        for setting in ("TLS_CERTIFICATE", "TLS_KEY", "TLS_CLIENT_CA", "TOKENS", "TLS_CA"):
            assert given[f"MANTISSA_{setting}"].startswith("/certificates/"), (service, setting)
        assert f"{GIVEN['MANTISSA_CERTIFICATES']}:/certificates:ro" in merged[service]["volumes"], service
        check = merged[service]["healthcheck"]["test"]
        assert "--live" in check and "--unset=MANTISSA_TLS_CERTIFICATE" in check, service
    worker = environment_of(merged["worker"])
    assert worker["MANTISSA_SERVER"] == "dns:servers:50051" and worker["MANTISSA_TLS_CERTIFICATE"]
    # That name is what the certificate is held against.
    made, = re.findall(r"certs.sh certs server (.*)", (ROOT / "deploy/compose/tls.yaml").read_text())
    assert "servers" in made.split()


@pytest.mark.parametrize("overlays", [files for files in COMBINATIONS if "gpu" in files], ids=named)
def test_the_gpu_is_reserved_for_the_worker(overlays):
    worker = services(*overlays)["worker"]
    device, = worker["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia" and "gpu" in device["capabilities"]
    assert worker["image"].startswith("mantissa/worker-cuda:")
    assert worker["build"]["target"] == "worker-cuda"


def test_images_of_ours_have_the_version_of_the_project():
    for overlays in COMBINATIONS:
        for service in services(*overlays).values():
            if service["image"].startswith("mantissa/"):
                assert service["image"].endswith(f":{VERSION}"), "the default of MANTISSA_TAG"
            else:
                assert re.search(r":v?\d+", service["image"]), "pinned"


def test_every_file_that_is_mounted_is_there():
    base = services()
    bound = [volume.split(":")[0] for service in base.values() for volume in service.get("volumes", [])
             if volume.startswith("/")]
    assert len(bound) == 4
    for path in bound:
        assert pathlib.Path(path).exists(), path


def test_prometheus_scrapes_what_the_file_starts():
    config = yaml.safe_load((ROOT / "deploy/compose/prometheus.yml").read_text())
    users = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    assert config["global"] == users["global"] and config["rule_files"] == users["rule_files"]
    assert [job["job_name"] for job in config["scrape_configs"]] == [job["job_name"] for job in users["scrape_configs"]]
    base = services()
    names = {name: service for name, service in base.items()}
    for name, service in base.items():
        networks = service.get("networks") or {}
        names.update({alias: service for alias in (networks.get("default") or {}).get("aliases", [])})
    for job in config["scrape_configs"]:
        found, = job["dns_sd_configs"]
        service = names[found["names"][0]]
        assert environment_of(service)["MANTISSA_METRICS_LISTEN"] == f"0.0.0.0:{found['port']}"
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.fail("promtool is not installed: deploy/setup.sh --tests installs it")
    subprocess.run([promtool, "check", "config", "--syntax-only", ROOT / "deploy/compose/prometheus.yml"], check=True)


def test_grafana_finds_its_dashboards_and_its_data_source():
    """Grafana itself is run nowhere offline; what it reads at its start is held to what is mounted."""
    base = services()
    mounts = {}
    for volume in base["grafana"]["volumes"]:
        source, target = volume.split(":")[:2]
        mounts[target] = source
    provisioning = pathlib.Path(mounts["/etc/grafana/provisioning"])
    source, = yaml.safe_load((provisioning / "datasources/mantissa.yml").read_text())["datasources"]
    host, port = re.fullmatch(r"http://([a-z]+):(\d+)", source["url"]).groups()
    assert base[host]["image"].startswith("prom/prometheus:")
    assert str(base[host]["ports"][0]).split(":")[2].startswith(port)
    provider, = yaml.safe_load((provisioning / "dashboards/mantissa.yml").read_text())["providers"]
    dashboards = pathlib.Path(mounts[provider["options"]["path"]])
    boards = {path.name: json.loads(path.read_text()) for path in dashboards.glob("*.json")}
    assert {board["uid"] for board in boards.values()} == {"mantissa-fleet", "mantissa-job", "mantissa-devices"}
    home = environment_of(base["grafana"])["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith(provider["options"]["path"]) and pathlib.PurePosixPath(home).name in boards


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("overlays", COMBINATIONS, ids=named)
def test_every_setting_of_ours_is_one_that_its_program_knows(overlays):
    for service in services(*overlays).values():
        program = re.match(r"mantissa/(server|worker)", service["image"])
        if program:
            # The health check of a server is the command line beside it.
            programs = [f"mantissa-{program[1]}", *(["mantissa"] if program[1] == "server" else [])]
            known = {name for it in programs for name in re.findall(r"\b(MANTISSA_\w+)\b", output(BIN / it, "--help"))}
            given = {name for name in environment_of(service) if name.startswith("MANTISSA_")}
            assert given and given <= known, given - known


def packages_of(stage):
    """Debian packages that a stage of the Dockerfile installs."""
    text = DOCKERFILE.read_text().split(f" AS {stage}\n")[1].split("\nFROM ")[0]
    found = re.search(r"apt-get install -y --no-install-recommends \\\n(.*?)\n    &&", text, re.DOTALL)[1]
    return set(found.replace("\\", " ").split())


@pytest.mark.parametrize("stage, programs", [("server", ("mantissa-server", "mantissa")),
                                             ("worker", ("mantissa-worker", "mantissa-trainer"))])
def test_the_images_install_what_their_programs_load_and_no_more(stage, programs):
    libraries = set()
    for program in programs:
        path = BIN / program
        if not path.exists():
            pytest.fail(f"{path} is not built")
        direct = set(re.findall(r"NEEDED.*\[(.*)\]", output("readelf", "-d", path)))
        libraries |= {os.path.realpath(where) for name, where in re.findall(r"(\S+) => (/\S+)", output("ldd", path))
                      if name in direct and "/torch/" not in where}
    # A merged /usr: dpkg knows some files by the name without it, so one of two is never found.
    found = subprocess.run(["dpkg-query", "--search", *libraries, *(path.removeprefix("/usr") for path in libraries)],
                           capture_output=True, text=True).stdout
    needed = {line.split(":")[0] for line in found.splitlines()}
    # Of every Debian, and what comes with another by itself: libgrpc++ with libgrpc, spdlog with fmt.
    needed -= {"libc6", "libgcc-s1", "libstdc++6", "libgrpc29"}
    assert packages_of(stage) - {"ca-certificates", "libfmt9"} == needed
