"""The manifests: of Kubernetes' form, pods confined as `restricted` wants, nobody speaks who need not, settings that load."""

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import desk.settings
import gateway.settings
from channels.redis_line import Address
from tests.docker.dockerfile import DOCKER

FOLDER = DOCKER / "kubernetes"
Manifest = dict[str, Any]


def manifests() -> Iterator[Manifest]:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    for name in kustomization["resources"]:
        yield from yaml.safe_load_all((FOLDER / name).read_text())


ALL = list(manifests())
IDS = [f"{one['kind']}-{one['metadata'].get('namespace', '')}-{one['metadata']['name']}" for one in ALL]
PODS = {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in ALL if one["kind"] in {"Deployment", "Job"}}
POD = pytest.mark.parametrize("pod", [pytest.param(one, id=name) for name, one in PODS.items()])


def found(kind: str, name: str) -> Manifest:
    (one,) = [one for one in ALL if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return one


@pytest.mark.parametrize("manifest", [pytest.param(one, id=name) for one, name in zip(ALL, IDS, strict=True)])
def test_every_manifest_is_of_its_kinds_form(manifest: Manifest) -> None:
    kubernetes_validate.validate(manifest, "1.37.0", strict=True)


def test_a_manifest_of_another_form_is_found() -> None:
    bent = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "one"}, "spec": {"prots": []}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(bent, "1.37.0", strict=True)


def test_the_folder_has_no_manifest_that_is_not_applied() -> None:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    named = {
        *kustomization["resources"],
        *(file for one in kustomization["configMapGenerator"] for file in one["files"]),
    }
    assert named | {"kustomization.yaml"} == {path.name for path in FOLDER.iterdir()}


def test_kustomize_builds_it() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not on this machine; each manifest was checked by Kubernetes' own schemas")
    done = subprocess.run(["kubectl", "kustomize", FOLDER], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = list(yaml.safe_load_all(done.stdout))
    (settings,) = [one for one in made if one["metadata"]["name"].startswith("gateway-settings-")]
    assert settings["data"]["gateway.toml"] == (FOLDER / "gateway.toml").read_text()
    (pod,) = [one for one in made if one["kind"] == "Deployment" and one["metadata"]["name"] == "gateway"]
    volumes = pod["spec"]["template"]["spec"]["volumes"]
    assert {"name": "settings", "configMap": {"name": settings["metadata"]["name"]}} in volumes


@POD
def test_every_pod_is_confined(pod: Manifest) -> None:
    own = pod["securityContext"]
    assert own["runAsNonRoot"] is True
    assert own["runAsUser"] == own["runAsGroup"] == 10001
    assert own["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert not any("hostPath" in one for one in pod["volumes"])
    for one in (*pod["initContainers"], *pod["containers"]):
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert one["resources"]["limits"]["memory"]
        assert one["image"] == "registry.invalid/rogatory"


@pytest.mark.parametrize("namespace", ["rogatory-gateway", "rogatory-desk"])
def test_each_namespace_lets_in_confined_pods_alone_and_no_traffic_by_itself(namespace: str) -> None:
    assert found("Namespace", namespace)["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    (nobody,) = [
        one["spec"]
        for one in ALL
        if one["kind"] == "NetworkPolicy" and one["metadata"] == {"name": "nobody", "namespace": namespace}
    ]
    assert nobody == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_no_secret_stands_in_a_manifest() -> None:
    assert [one for one in ALL if one["kind"] == "Secret"] == []
    for pod in PODS.values():
        for one in (*pod["initContainers"], *pod["containers"]):
            assert "envFrom" not in one
            for variable in one.get("env", []):
                assert set(variable) == {"name", "value"}
                assert re.search(r"://[^/@\s]*:[^/@\s]*@", variable["value"]) is None


@POD
def test_secrets_are_copied_for_the_one_user_who_reads_them(pod: Manifest) -> None:
    """A Secret's files are open to the group, or not ours to read: a key ring is opened from a file of mode 0400 alone."""
    (copied,) = [one for one in pod["volumes"] if one["name"] == "private"]
    assert copied["emptyDir"]["medium"] == "Memory"
    mounts = {one["name"] for container in pod["containers"] for one in container["volumeMounts"]}
    assert "secrets" not in mounts
    assert all(one["secret"]["defaultMode"] == 0o440 for one in pod["volumes"] if "secret" in one)


def test_the_gateway_is_probed_and_leaves_in_order() -> None:
    (container,) = PODS["gateway"]["containers"]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    readiness = container["readinessProbe"]
    assert pause > readiness["periodSeconds"] * readiness["failureThreshold"]
    drain = gateway.settings.load(FOLDER / "gateway.toml").drain.total_seconds()
    assert PODS["gateway"]["terminationGracePeriodSeconds"] > pause + drain


def test_one_of_two_gateways_always_stands() -> None:
    spec = found("Deployment", "gateway")["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    budget = found("PodDisruptionBudget", "gateway")["spec"]
    assert budget["minAvailable"] == 1
    assert budget["selector"] == spec["selector"]
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    spread = spec["template"]["spec"]["topologySpreadConstraints"]
    assert {one["topologyKey"] for one in spread} == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}


def test_of_the_desk_there_is_never_more_than_one() -> None:
    spec = found("Deployment", "desk")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def reached(policy: Manifest) -> set[tuple[str, str, int]]:
    """Namespace, name and port of each place that a policy lets pods go to."""
    return {
        (
            place["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"],
            "".join(place.get("podSelector", {}).get("matchLabels", {}).values()),
            port["port"],
        )
        for rule in policy["spec"].get("egress", [])
        for place in rule["to"]
        for port in rule["ports"]
    }


def test_who_may_go_where() -> None:
    record, queue = ("rogatory-data", "postgresql", 5432), ("rogatory-data", "redis", 6379)
    assert reached(found("NetworkPolicy", "gateway")) == {record, queue}
    assert reached(found("NetworkPolicy", "migrate")) == {record}
    assert reached(found("NetworkPolicy", "desk")) == {queue, ("ingress-nginx", "", 443)}
    for one in ALL:
        if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == "names":
            assert reached(one) == {("kube-system", "kube-dns", 53)}


def test_only_the_edge_comes_in_and_only_to_the_gateway() -> None:
    open_ones = {
        one["metadata"]["name"]: one["spec"]["ingress"]
        for one in ALL
        if one["kind"] == "NetworkPolicy" and "ingress" in one["spec"]
    }
    assert list(open_ones) == ["gateway"]
    ((rule,),) = open_ones.values()
    assert rule["ports"] == [{"protocol": "TCP", "port": 8440}]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}]


def test_the_settings_load_and_name_what_is_there() -> None:
    served = gateway.settings.load(FOLDER / "gateway.toml")
    worked = desk.settings.load_desk(FOLDER / "desk.toml")
    assert (served.platform, served.public_url) == (worked.platform, worked.gateway)
    hosts = {rule["host"] for one in ALL if one["kind"] == "Ingress" for rule in one["spec"]["rules"]}
    assert {f"https://{host}" for host in hosts} == {served.public_url}
    for address, user in ((served.channel, "gateway"), (worked.channel, "desk")):
        found = Address.parse(address)
        assert (found.tls, found.user, found.hosts) == (True, user, (("redis.rogatory-data.svc", 6379),))
    (job,) = PODS["migrate"]["containers"]
    owner = {one["name"]: one["value"] for one in job["env"]}["ROGATORY_GATEWAY_STORE"]
    assert owner.replace("rogatory_owner@", "gateway@") == served.store
    (container,) = PODS["desk"]["containers"]
    assert {"name": "ROGATORY_REVIEWER_PLATFORM", "value": worked.platform} in container["env"]


@pytest.mark.parametrize(("party", "name"), [("gateway", "gateway"), ("desk", "desk")])
def test_the_settings_name_only_files_that_are_mounted(party: str, name: str) -> None:
    (container,) = PODS[name]["containers"]
    mounted = [one["mountPath"] for one in container["volumeMounts"]]
    named = re.findall(r"(?<==)/[\w./]+|(?<=\")/[\w./]+", (FOLDER / f"{party}.toml").read_text())
    (init,) = PODS[name]["initContainers"]
    copied = {word.rpartition("/")[2] for word in " ".join(init["args"]).split() if word.startswith("/secrets/")}
    for one in named:
        assert any(one == way or one.startswith(f"{way}/") for way in mounted), one
        if one.startswith("/run/rogatory/"):
            assert one.removeprefix("/run/rogatory/keys/") in copied


@pytest.mark.parametrize("name", ["gateway", "migrate", "desk"])
def test_what_the_init_container_copies_can_be_opened_by_its_reader_alone(name: str, tmp_path: Path) -> None:
    (init,) = PODS[name]["initContainers"]
    for folder in ("secrets", "reviewers", "run/rogatory"):
        (tmp_path / folder).mkdir(parents=True)
    secrets = ("gateway.ring", "gateway.passphrase", "pgpass", "redis", "desk.ring", "desk.passphrase")
    for one in (*(f"secrets/{secret}" for secret in secrets), "reviewers/carol.ring"):
        (tmp_path / one).write_text(one)
        (tmp_path / one).chmod(0o440)
    script = re.sub(r"(?<!\w)/(secrets|reviewers|run/rogatory)\b", rf"{tmp_path}/\1", init["args"][0])
    subprocess.run([*init["command"], script], check=True, umask=0o022)
    made = [one for one in (tmp_path / "run/rogatory").rglob("*") if one.name != "reviewer.toml"]
    assert {one.stat().st_mode & 0o777 for one in made if one.is_dir()} == {0o700}
    assert {one.stat().st_mode & 0o777 for one in made if one.is_file()} == {0o400}
    if name == "desk":
        home = tmp_path / "run/rogatory/reviewers/carol"
        told = tomllib.loads((home / "reviewer.toml").read_text())
        assert (told["name"], (home / told["ring"]).read_text()) == ("carol", "reviewers/carol.ring")
        assert not (home / told["passphrase_file"]).exists()  # so that it is asked for
