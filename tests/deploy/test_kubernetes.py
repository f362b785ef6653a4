"""The Kubernetes manifests: kubectl renders them, the published schemas take them, and what they say holds together.

No API server takes part: what only a cluster would notice (admission, storage classes, KEDA's and Prometheus' own
checks of their kinds) is not seen here.
"""
import json
import re

import pytest
import yaml

from kubernetes_manifests import (KUBERNETES, OTHERS, RENDERED, ROOT, arguments, find, kinds, render, seconds, selected,
                                  template, templates, wrong)


@pytest.fixture(scope="module")
def manifests():
    return {name: render(KUBERNETES / name) for name in RENDERED}


@pytest.mark.parametrize("name", RENDERED)
def test_schemas_take_every_object(manifests, name):
    documents = [document for document in manifests[name] if (document["apiVersion"], document["kind"]) not in OTHERS]
    for version in ("1.29", "1.37"):
        assert wrong(documents, version) == [], version


def test_a_wrong_field_and_an_unknown_kind_are_noticed(manifests):
    server = json.loads(json.dumps(find(manifests["base"], "StatefulSet", "mantissa-server")))
    server["spec"]["template"]["spec"]["terminationGracePeriod"] = 30
    assert "terminationGracePeriod" in wrong([server])[0]
    monitor = find(manifests["overlays/monitoring"], "PodMonitor", "mantissa-worker")
    assert "SchemaNotFoundError" in wrong([monitor])[0]


def test_the_kinds_without_a_schema_are_those_that_are_used(manifests):
    used = {(document["apiVersion"], document["kind"]) for documents in manifests.values() for document in documents}
    assert OTHERS <= used


@pytest.mark.parametrize("name", RENDERED)
def test_no_object_is_there_twice_and_all_are_in_one_namespace(manifests, name):
    documents = manifests[name]
    assert len(set(kinds(documents))) == len(documents)
    for document in documents:
        assert document["kind"] == "Namespace" or document["metadata"]["namespace"] == "mantissa", document["metadata"]
        assert document["metadata"]["labels"].get("app.kubernetes.io/part-of") == "mantissa" or document["metadata"][
            "labels"].get("grafana_dashboard"), document["metadata"]


@pytest.mark.parametrize("name", RENDERED)
def test_pods_keep_to_the_restricted_standard(manifests, name):
    """https://kubernetes.io/docs/concepts/security/pod-security-standards: `restricted`, which the namespace asks for."""
    labels = find(manifests[name], "Namespace", "mantissa")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    made = templates(manifests[name])
    assert len(made) == 2, "the server and the worker"
    for pod in (made["spec"] for made in made):
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers", "ephemeralContainers"} & pod.keys()
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True and context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"sysctls", "seLinuxOptions", "supplementalGroups"} & context.keys()
        assert pod["automountServiceAccountToken"] is False and pod["serviceAccountName"].startswith("mantissa-")
        assert pod["enableServiceLinks"] is False, "MANTISSA_* would be set by it"
        for volume in pod["volumes"]:
            assert volume.keys() - {"name"} <= {"emptyDir", "persistentVolumeClaim", "secret", "configMap"}, volume
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"], volume
        for container in pod["containers"]:
            assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                                    "capabilities": {"drop": ["ALL"]}}
            assert not any("hostPort" in port for port in container["ports"])


@pytest.mark.parametrize("name", RENDERED)
def test_every_container_has_limits_and_asks_for_what_it_needs(manifests, name):
    for made in templates(manifests[name]):
        for container in made["spec"]["containers"]:
            for part in ("requests", "limits"):
                assert {"cpu", "memory", "ephemeral-storage"} <= container["resources"][part].keys(), container["name"]


@pytest.mark.parametrize("name", RENDERED)
def test_every_image_has_a_version(manifests, name):
    version = re.search(r"project\(mantissa VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text()).group(1)
    images = {container["image"] for made in templates(manifests[name]) for container in made["spec"]["containers"]}
    assert images <= {f"mantissa/{image}:{version}" for image in ("server", "worker", "worker-cuda")}, images


@pytest.mark.parametrize("name", RENDERED)
def test_probes_ask_what_answers(manifests, name):
    for made in templates(manifests[name]):
        container, = made["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        given = arguments(made)
        for probe in ("startupProbe", "livenessProbe"):
            assert container[probe]["failureThreshold"] * container[probe]["periodSeconds"] >= 60
        if container["name"] == "server":
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                assert container[probe]["grpc"]["port"] == ports["health"], probe
                assert int(given["health-listen"].rsplit(":", 1)[1]) == ports["health"]
            assert "service" not in container["livenessProbe"]["grpc"], "a standby lives, too"
        else:
            for probe in ("startupProbe", "livenessProbe"):
                assert container[probe]["httpGet"] == {"path": "/metrics", "port": "metrics"}


def test_readiness_is_the_api_of_one_server_and_the_life_of_two(manifests):
    """A standby that never got ready would hold up every rollout and every drain of a node."""
    def asked(name, kind):
        container, = template(find(manifests[name], kind, "mantissa-server"))["spec"]["containers"]
        return container["readinessProbe"]["grpc"].get("service", "")
    source = (ROOT / "server/rpc/grpc_server.h").read_text()
    readiness = re.search(r'kReadinessName\[\] = "([^"]+)"', source).group(1)
    assert asked("base", "StatefulSet") == readiness
    assert asked("overlays/postgres", "Deployment") == ""


@pytest.mark.parametrize("name", RENDERED)
def test_ports_are_those_that_are_listened_on(manifests, name):
    for made in templates(manifests[name]):
        container, = made["spec"]["containers"]
        given = arguments(made)
        flags = {"grpc": "listen", "health": "health-listen", "metrics": "metrics-listen"}
        for port in container["ports"]:
            host, number = given[flags[port["name"]]].rsplit(":", 1)
            assert host == "0.0.0.0" and int(number) == port["containerPort"], port


@pytest.mark.parametrize("name", RENDERED)
def test_selectors_find_pods_and_their_ports(manifests, name):
    documents = manifests[name]
    pods = [(made["metadata"]["labels"], {port["name"] for port in made["spec"]["containers"][0]["ports"]})
            for made in templates(documents)]

    def ports_of(selector):
        found = [ports for labels, ports in pods if selected(selector, labels)]
        assert found, f"{selector} selects no pod"
        return set().union(*found)

    for document in documents:
        kind, spec = document["kind"], document.get("spec", {})
        if kind in ("Deployment", "StatefulSet"):
            assert selected(spec["selector"], template(document)["metadata"]["labels"])
        elif kind == "Service":
            ports = ports_of({"matchLabels": spec["selector"]})
            assert {port["targetPort"] for port in spec["ports"]} <= ports
        elif kind == "PodDisruptionBudget":
            ports_of(spec["selector"])
        elif kind == "PodMonitor":
            assert {endpoint["port"] for endpoint in spec["podMetricsEndpoints"]} <= ports_of(spec["selector"])
        elif kind == "NetworkPolicy":
            ports = ports_of(spec["podSelector"])
            for rule in spec.get("ingress", []):
                assert {port["port"] for port in rule["ports"]} <= ports, document["metadata"]["name"]
            for rule in spec.get("egress", []):
                named = {port["port"] for port in rule["ports"] if isinstance(port["port"], str)}
                for peer in rule.get("to", []):
                    if "namespaceSelector" not in peer:
                        assert named <= ports_of(peer["podSelector"])


@pytest.mark.parametrize("name", RENDERED)
def test_the_network_is_shut_but_for_what_is_named(manifests, name):
    deny = find(manifests[name], "NetworkPolicy", "mantissa-deny")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for document in manifests[name]:
        if document["kind"] == "NetworkPolicy":
            for rule in document["spec"].get("ingress", []):
                assert rule["from"] and rule["ports"], document["metadata"]["name"]
            for rule in document["spec"].get("egress", []):
                assert rule["ports"], document["metadata"]["name"]


@pytest.mark.parametrize("name", RENDERED)
def test_workers_find_the_server_and_both_have_their_secrets(manifests, name):
    service = find(manifests[name], "Service", "mantissa-server")
    port, = service["spec"]["ports"]
    address = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc:{port['port']}"
    for made in templates(manifests[name]):
        container, = made["spec"]["containers"]
        given, mounts = arguments(made), {mount["name"]: mount for mount in container["volumeMounts"]}
        secrets = {volume["name"]: volume["secret"] for volume in made["spec"]["volumes"] if "secret" in volume}
        assert not any(secret.get("optional") for secret in secrets.values()), "without it, no pod"
        needed = {"server": {"tls-certificate", "tls-key", "tls-client-ca", "tokens"},
                  "worker": {"tls-ca", "tls-certificate", "tls-key"}}[container["name"]]
        assert needed <= given.keys()
        for flag in needed:
            volume = "tokens" if flag == "tokens" else "tls"
            assert given[flag].startswith(mounts[volume]["mountPath"] + "/") and mounts[volume]["readOnly"], flag
            assert volume in secrets
        if container["name"] == "worker":
            assert given["server"] == address


@pytest.mark.parametrize("name", RENDERED)
def test_volumes_that_are_mounted_are_there(manifests, name):
    documents = manifests[name]
    claims = {document["metadata"]["name"] for document in documents if document["kind"] == "PersistentVolumeClaim"}
    for document in documents:
        made = template(document)
        if not made:
            continue
        volumes = {volume["name"] for volume in made["spec"]["volumes"]}
        volumes |= {claim["metadata"]["name"] for claim in document["spec"].get("volumeClaimTemplates", [])}
        container, = made["spec"]["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts.keys() == volumes, document["metadata"]["name"]
        for volume in made["spec"]["volumes"]:
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            assert claim is None or claim in claims, claim
        given = arguments(made)
        for folder in [given[flag] for flag in ("data-dir", "state-dir") if flag in given]:
            assert any(folder.startswith(f"{mount}/") for mount in mounts.values()), f"{folder} can't be written"
        # A flag that is given twice is in `given` once.
        roots = [text.split("=")[2] for text in container["args"] if text.startswith("--root=")]
        assert set(roots) <= set(mounts.values()), roots


@pytest.mark.parametrize("name", RENDERED)
def test_a_pod_has_the_time_that_its_drain_takes(manifests, name):
    """SIGTERM drains with a checkpoint: within --drain-grace, and then a little for the process to end."""
    for made in templates(manifests[name]):
        grace, given = made["spec"]["terminationGracePeriodSeconds"], arguments(made)
        container, = made["spec"]["containers"]
        if container["name"] == "server":
            options = (ROOT / "server/program/server_options.h").read_text()
            drain = int(re.search(r"drain_timeout\{([\d']+)\}", options).group(1).replace("'", "")) // 1000
        else:
            drain = seconds(given["drain-grace"])
        assert grace >= drain + 15, container["name"]
        assert "lifecycle" not in container, "SIGTERM is enough"


def test_every_flag_is_one_of_the_program(manifests):
    """As the sources declare them."""
    declared = {"server": ROOT / "server/program/server_options.cc", "worker": ROOT / "worker/agent/worker_settings.cc"}
    for documents in manifests.values():
        for made in templates(documents):
            name = made["spec"]["containers"][0]["name"]
            assert made["spec"]["containers"][0]["command"] == [f"mantissa-{name}"]
            known = set(re.findall(r'\{"([a-z-]+)",', declared[name].read_text()))
            assert arguments(made).keys() <= known, name


# What each overlay changes: a patch that matches nothing passes kustomize in silence.


def test_postgres_has_two_servers_that_share_everything(manifests):
    documents = manifests["overlays/postgres"]
    server = find(documents, "Deployment", "mantissa-server")
    assert ("StatefulSet", "mantissa-server") not in kinds(documents)
    assert server["spec"]["replicas"] == 2
    assert not {"serviceName", "volumeClaimTemplates"} & server["spec"].keys()
    assert server["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    pod = server["spec"]["template"]["spec"]
    environment = {entry["name"]: entry["valueFrom"]["secretKeyRef"] for entry in pod["containers"][0]["env"]}
    assert environment == {"MANTISSA_POSTGRES": {"name": "mantissa-postgres", "key": "uri"},
                           "PGPASSWORD": {"name": "mantissa-postgres", "key": "password"}}
    data, = (volume for volume in pod["volumes"] if volume["name"] == "data")
    claim = find(documents, "PersistentVolumeClaim", data["persistentVolumeClaim"]["claimName"])
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    spread, = pod["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert selected(spread["labelSelector"], server["spec"]["template"]["metadata"]["labels"])
    budget = find(documents, "PodDisruptionBudget", "mantissa-server")
    assert budget["spec"]["minAvailable"] < server["spec"]["replicas"], "else no node could ever be drained"
    egress = find(documents, "NetworkPolicy", "mantissa-server-postgres")["spec"]["egress"]
    assert {"ports": [{"port": 5432}]} in egress


def test_gpu_workers_have_a_gpu_of_a_node_with_gpus(manifests):
    plain = template(find(manifests["base"], "Deployment", "mantissa-worker"))["spec"]
    pod = template(find(manifests["overlays/gpu"], "Deployment", "mantissa-worker"))["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert pod["containers"][0]["image"].startswith("mantissa/worker-cuda:")
    assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert pod["containers"][0]["args"] == plain["containers"][0]["args"], "and nothing else of it differs"


def test_autoscaled_workers_are_the_base_ones_as_pilots(manifests):
    documents, base = manifests["overlays/autoscale"], manifests["base"]
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert (kind, "mantissa-worker") in kinds(base) and (kind, "mantissa-worker") not in kinds(documents)
    job = find(documents, "ScaledJob", "mantissa-worker")
    pod, plain = template(job), template(find(base, "Deployment", "mantissa-worker"))
    assert pod["metadata"] == plain["metadata"]
    assert pod["spec"].pop("restartPolicy") == "Never"
    added = ["--pilot", "--pilot-margin=120s", "--pilot-idle=120s"]
    assert pod["spec"]["containers"][0]["args"] == plain["spec"]["containers"][0]["args"] + added
    pod["spec"]["containers"][0]["args"] = plain["spec"]["containers"][0]["args"]
    assert pod["spec"] == plain["spec"]
    pod["spec"]["restartPolicy"] = "Never"
    given = {flag: text for flag, text in (argument[2:].split("=") for argument in added[1:])}
    assert seconds(given["pilot-margin"]) >= seconds(arguments(plain)["drain-grace"]), "the worker refuses less"
    assert job["spec"]["scalingStrategy"]["strategy"] == "accurate", "the metric counts what waits, not what runs"
    assert job["spec"]["rollout"]["strategy"] == "gradual", "an update stops nobody"


def test_keda_asks_the_server_in_words_that_it_knows(manifests):
    documents = manifests["overlays/autoscale"]
    trigger, = find(documents, "ScaledJob", "mantissa-worker")["spec"]["triggers"]
    assert trigger["type"] == "external"
    service = find(documents, "Service", "mantissa-server")
    address = f"mantissa-server.mantissa.svc:{service['spec']['ports'][0]['port']}"
    assert trigger["metadata"].pop("scalerAddress") == address
    source = (ROOT / "server/rpc/scaler/scaler_metadata.cc").read_text()
    assert trigger["metadata"].keys() <= set(re.findall(r'constexpr char k\w+\[\] = "(\w+)"', source))
    trigger["metadata"]["scalerAddress"] = address
    login = find(documents, "TriggerAuthentication", trigger["authenticationRef"]["name"])
    assert {entry["parameter"]: (entry["name"], entry["key"]) for entry in login["spec"]["secretTargetRef"]} == {
        "caCert": ("mantissa-scaler-tls", "ca.crt"), "tlsClientCert": ("mantissa-scaler-tls", "tls.crt"),
        "tlsClientKey": ("mantissa-scaler-tls", "tls.key")}
    rule, = find(documents, "NetworkPolicy", "mantissa-server-scaler")["spec"]["ingress"]
    assert rule["from"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "keda"}


def test_monitoring_scrapes_both_programs_under_the_names_that_alerts_use(manifests):
    documents = manifests["overlays/monitoring"]
    server = template(find(documents, "StatefulSet", "mantissa-server"))
    assert arguments(server)["metrics-listen"] == "0.0.0.0:9464"
    assert "metrics-listen" not in arguments(template(find(manifests["base"], "StatefulSet", "mantissa-server")))
    assert {"tls-certificate", "tls-key", "tls-client-ca", "tokens"} <= arguments(server).keys(), "the API keeps TLS"
    jobs = {job["job_name"] for job in yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())[
        "scrape_configs"]}
    monitors = [document for document in documents if document["kind"] == "PodMonitor"]
    for monitor in monitors:
        assert monitor["spec"]["jobLabel"] == "app.kubernetes.io/name"
    assert {monitor["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] for monitor in monitors} == jobs
    rule, = find(documents, "NetworkPolicy", "mantissa-metrics")["spec"]["ingress"]
    assert rule["ports"] == [{"port": "metrics"}]


def test_every_dashboard_is_a_config_map_that_grafana_collects(manifests):
    maps = [document for document in manifests["overlays/monitoring"] if document["kind"] == "ConfigMap"]
    held = {name: text for document in maps for name, text in document["data"].items()}
    committed = {path.name: path.read_text() for path in (ROOT / "deploy/grafana/dashboards").glob("*.json")}
    assert held == committed
    for document in maps:
        assert document["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert len(json.dumps(document)) < 1_000_000, "an object may have a megabyte"


def test_overlays_add_nothing_but_what_is_said_here(manifests):
    base = set(kinds(manifests["base"]))
    added = {name: sorted(kind for kind, _ in set(kinds(documents)) - base) for name, documents in manifests.items()}
    assert added == {
        "base": [], "overlays/gpu": [],
        "overlays/postgres": ["Deployment", "NetworkPolicy", "PersistentVolumeClaim", "PodDisruptionBudget"],
        "overlays/autoscale": ["NetworkPolicy", "ScaledJob", "TriggerAuthentication"],
        "overlays/monitoring": ["ConfigMap", "ConfigMap", "ConfigMap", "NetworkPolicy", "PodMonitor", "PodMonitor"]}
