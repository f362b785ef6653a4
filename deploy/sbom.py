#!/usr/bin/env python3
"""Lists what is in an image or an installed tree, as SPDX 2.3 in JSON.

usage: deploy/sbom.py image NAME     an image that the docker command sees
       deploy/sbom.py tree FOLDER    what cmake --install made

Packages are read from where they are recorded: Debian's database, and the records of the wheels that LibTorch came in. Of a
tree they are those that its programs load on this machine. Header-only libraries leave no record in a program, so their
versions are those of the packages on this machine, on which the tree was built.
"""
import datetime
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import uuid

# Compiled into the programs.
HEADER_ONLY = ("libcli11-dev", "nlohmann-json3-dev")
OURS = re.compile(r"^(?:usr/local/)?(?:bin/mantissa|lib/mantissa/[^/]+$)")
WHEEL = re.compile(r"^(?:usr/local/)?lib/mantissa/libtorch/([^/]+)-([^/-]+)\.dist-info(?:/|$)")
VERSION = re.compile(r"^project\(mantissa VERSION ([0-9.]+)", re.MULTILINE)


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"sbom: {' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def version_here():
    return VERSION.search((pathlib.Path(__file__).resolve().parents[1] / "CMakeLists.txt").read_text())[1]


def identifier(*parts):
    return "SPDXRef-" + "-".join(re.sub(r"[^A-Za-z0-9.-]", "-", part) for part in parts)


def package(kind, name, version, supplier, purl, **more):
    return {"SPDXID": identifier(kind, name), "name": name, "versionInfo": version, "supplier": supplier,
            "downloadLocation": "NOASSERTION", "filesAnalyzed": False, "licenseConcluded": "NOASSERTION",
            "licenseDeclared": "NOASSERTION", "copyrightText": "NOASSERTION",
            "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                              "referenceLocator": purl}]} | more


def debian(name, version, architecture):
    # A purl has no room for an epoch's colon or a tilde as they are.
    escaped = version.replace("+", "%2B").replace(":", "%3A")
    return package("deb", name, version, "Organization: Debian",
                   f"pkg:deb/debian/{name.replace('+', '%2B')}@{escaped}?arch={architecture}&distro=debian-12")


def wheel(name, version):
    return package("wheel", name, version, "NOASSERTION", f"pkg:pypi/{name.lower().replace('_', '-')}@{version}")


def from_dpkg_status(text):
    for stanza in text.split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", stanza, re.MULTILINE))
        if fields.get("Status") == "install ok installed":
            yield debian(fields["Package"], fields["Version"], fields["Architecture"])


def from_this_machine(names):
    for name in sorted(set(names)):
        found = run("dpkg-query", "--show", "--showformat", "${Version} ${Architecture}\n", name).split("\n")[0].split()
        yield debian(name.split(":")[0], *found)


def owners(paths):
    """The Debian package of each file that has one. A merged /usr: dpkg knows some files by the name without it."""
    names = {name: path for path in paths for name in (path, path.removeprefix("/usr"))}
    found = subprocess.run(["dpkg-query", "--search", *names], capture_output=True, text=True).stdout
    return {names[name]: package.split(",")[0] for package, name in re.findall(r"^(\S.*?): (/.*)$", found, re.MULTILINE)}


def loaded_by(programs, folder):
    """What programs load from outside of their folder and of LibTorch: packages, or files that belong to none."""
    libraries = set()
    for program in programs:
        for path in map(os.path.realpath, re.findall(r"=> (/\S+)", run("ldd", str(program)))):
            if not path.startswith(f"{folder}/") and "/torch/lib/" not in path and "/nvidia/" not in path:
                libraries.add(path)
    packaged = owners(libraries)
    yield from from_this_machine(packaged.values())
    for path in sorted(libraries - packaged.keys()):
        name = pathlib.PurePath(path).name
        yield package("file", name, "NOASSERTION", "NOASSERTION", f"pkg:generic/{name}", packageFileName=path,
                      checksums=[{"algorithm": "SHA256",
                                  "checksumValue": hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()}])


class Contents:
    """What was found below one root. Files are named without a leading slash."""

    def __init__(self):
        self.hashes, self.wheels, self.dpkg_status, self.elf = {}, {}, None, []

    def see(self, name, read):
        found = WHEEL.match(name)
        if found:
            self.wheels[found[1]] = found[2]
        if name == "var/lib/dpkg/status":
            self.dpkg_status = read().decode()
        if OURS.match(name):
            data = read()
            self.hashes[name] = hashlib.sha256(data).hexdigest()
            if data.startswith(b"\x7fELF"):
                self.elf.append(name)


def of_tree(folder):
    contents = Contents()
    for directory, _, files in os.walk(folder, followlinks=True):
        for file in files:
            path = pathlib.Path(directory, file)
            if path.is_file() and not path.is_symlink():
                contents.see(path.relative_to(folder).as_posix(), path.read_bytes)
    return contents


def of_image(name):
    contents = Contents()
    container = run("docker", "create", name).strip()
    try:
        with subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as export:
            with tarfile.open(fileobj=export.stdout, mode="r|") as archive:
                for member in archive:
                    if member.isfile():
                        contents.see(member.name.removeprefix("./"), lambda m=member: archive.extractfile(m).read())
        if export.returncode != 0:
            sys.exit(f"sbom: docker export of {name} failed")
    finally:
        run("docker", "rm", container)
    return contents


def document(subject, contents, packages):
    version = version_here()
    ours = [package("program", pathlib.PurePosixPath(name).name, version, "NOASSERTION",
                    f"pkg:generic/{pathlib.PurePosixPath(name).name}@{version}",
                    licenseDeclared="Apache-2.0", packageFileName=f"/{name}",
                    checksums=[{"algorithm": "SHA256", "checksumValue": value}])
            for name, value in sorted(contents.hashes.items())]
    if not ours:
        sys.exit(f"sbom: {subject} has no program of Mantissa")
    found = sorted(packages, key=lambda entry: entry["SPDXID"])
    relations = [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES",
                  "relatedSpdxElement": entry["SPDXID"]} for entry in ours]
    relations += [{"spdxElementId": ours[0]["SPDXID"], "relationshipType": "DEPENDS_ON",
                   "relatedSpdxElement": entry["SPDXID"]} for entry in found]
    now = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", datetime.datetime.now().timestamp())),
                                          datetime.timezone.utc)
    return {"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": subject,
            "documentNamespace": f"https://mantissa.dev/spdx/{re.sub(r'[^A-Za-z0-9.-]', '-', subject)}-{uuid.uuid4()}",
            "creationInfo": {"created": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
                             "creators": [f"Tool: mantissa-sbom-{version}"]},
            "packages": ours + found, "relationships": relations}


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ("image", "tree"):
        sys.exit(__doc__)
    kind, subject = sys.argv[1:]
    contents = of_image(subject) if kind == "image" else of_tree(pathlib.Path(subject).resolve())
    packages = [wheel(*entry) for entry in contents.wheels.items()] + list(from_this_machine(HEADER_ONLY))
    if kind == "image":
        if contents.dpkg_status is None:
            sys.exit(f"sbom: {subject} has no Debian package database")
        packages += from_dpkg_status(contents.dpkg_status)
    else:
        folder = pathlib.Path(subject).resolve()
        packages += loaded_by([folder / name for name in contents.elf], folder)
    json.dump(document(subject, contents, packages), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
