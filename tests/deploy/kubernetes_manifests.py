"""The Kubernetes manifests as kubectl renders them, and the published schemas that they are held to."""
import json
import os
import pathlib
import re
import subprocess

import yaml

ROOT = pathlib.Path(os.environ.get("MANTISSA_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
DEPS = pathlib.Path(os.environ.get("MANTISSA_DEPS_DIR", ROOT / "build/deps"))
KUBERNETES = ROOT / "deploy/kubernetes"
VENV = DEPS / "kubernetes-venv/bin"
RENDERED = ["base", *sorted(f"overlays/{path.name}" for path in (KUBERNETES / "overlays").iterdir())]

# Kinds of operators, for which Kubernetes publishes no schema.
OTHERS = {("keda.sh/v1alpha1", "ScaledJob"), ("keda.sh/v1alpha1", "TriggerAuthentication"),
          ("monitoring.coreos.com/v1", "PodMonitor")}

# Runs where kubernetes-validate is: documents in, what is wrong with each out. A kind without a schema raises, too.
VALIDATE = """
import json, sys, kubernetes_validate
wrong = []
for document in json.load(sys.stdin):
    try:
        kubernetes_validate.validate(document, sys.argv[1], strict=True)
    except Exception as error:
        wrong.append(f"{document.get('kind')} {document['metadata']['name']}: {type(error).__name__}: {error}")
print(json.dumps(wrong))
"""


def render(folder):
    done = subprocess.run([VENV / "kubectl", "kustomize", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, f"kustomize has something to say of {folder}:\n{done.stderr}"
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def wrong(documents, version="1.37"):
    done = subprocess.run([VENV / "python", "-c", VALIDATE, version], input=json.dumps(documents), capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def find(documents, kind, name):
    found = [document for document in documents if (document["kind"], document["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1, f"{kind} {name}: {len(found)} of it"
    return found[0]


def kinds(documents):
    return sorted((document["kind"], document["metadata"]["name"]) for document in documents)


def template(document):
    """The pods that an object makes; None for one that makes none."""
    if document["kind"] in ("Deployment", "StatefulSet"):
        return document["spec"]["template"]
    return document["spec"]["jobTargetRef"]["template"] if document["kind"] == "ScaledJob" else None


def templates(documents):
    return [made for made in map(template, documents) if made]


def arguments(pod):
    container, = pod["spec"]["containers"]
    return dict((argument.lstrip("-").split("=", 1) + [""])[:2] for argument in container["args"])


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(s|m|min)", text).groups()
    return int(number) * (1 if unit == "s" else 60)


def selected(selector, labels):
    return selector.get("matchLabels", {}).items() <= labels.items()
