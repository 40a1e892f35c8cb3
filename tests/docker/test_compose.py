"""The whole on one host: the file has compose's form, every container is confined, and who meets whom is what was meant."""

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import desk.settings
import gateway.settings
from channels.redis_line import Address
from tests.docker.dockerfile import DOCKER

COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EACH = pytest.mark.parametrize("service", [pytest.param(one, id=name) for name, one in SERVICES.items()])
SETTINGS = re.compile(r"ROGATORY_(GATEWAY|DESK|REVIEWER)_([A-Z_]+)")
MODELS = {
    "GATEWAY": gateway.settings.GatewaySettings,
    "DESK": desk.settings.DeskSettings,
    "REVIEWER": desk.settings.ReviewerSettings,
}
NOT_SECRET = {"ROGATORY_DOMAIN", "POSTGRES_PASSWORD_FILE", "POSTGRES_INITDB_ARGS"}
DIGESTS = {"PYTHON_DIGEST", "CADDY_DIGEST", "POSTGRES_DIGEST", "REDIS_DIGEST"}


def met(name: str) -> set[str]:
    """Who shares a network with a service."""
    mine = set(SERVICES[name]["networks"])
    return {other for other, one in SERVICES.items() if other != name and mine & set(one["networks"])}


def test_it_has_the_form_of_a_compose_file() -> None:
    spec = importlib.util.find_spec("check_jsonschema")
    assert spec is not None
    assert spec.origin is not None
    schema = json.loads((Path(spec.origin).parent / "builtin_schemas/vendor/compose-spec.json").read_text())
    checker = jsonschema.Draft202012Validator(schema)
    assert [(list(one.absolute_path), one.message) for one in checker.iter_errors(COMPOSE)] == []
    assert list(checker.iter_errors(COMPOSE | {"services": {"one": {"read_only": "perhaps", "nets": []}}}))


def test_docker_compose_reads_it(tmp_path: Path) -> None:
    asking = ["docker", "compose", "version"]
    if shutil.which("docker") is None or subprocess.run(asking, capture_output=True, check=False).returncode != 0:
        pytest.skip("docker compose is not on this machine; the form was checked by the specification's schema")
    values = tmp_path / "env"
    digests = "".join(f"{name}=sha256:{'0' * 64}\n" for name in sorted(DIGESTS))
    values.write_text(digests + "ROGATORY_DOMAIN=requests.chat.example\nROGATORY_PLATFORM=chat.example\n")
    command = ["docker", "compose", "-f", DOCKER / "compose.yml", "--env-file", values, "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@EACH
def test_every_container_is_confined(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert not service.get("privileged")
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert not any("docker.sock" in str(one) for one in service["volumes"])


def test_one_capability_is_kept_by_one_container() -> None:
    kept = {name: one["cap_add"] for name, one in SERVICES.items() if "cap_add" in one}
    assert kept == {"caddy": ["NET_BIND_SERVICE"]}


@EACH
def test_no_environment_has_a_secret(service: dict[str, Any]) -> None:
    for name, value in service.get("environment", {}).items():
        found = SETTINGS.fullmatch(name)
        assert name in NOT_SECRET or (found is not None and found[2].lower() in MODELS[found[1]].model_fields)
        assert re.search(r"://[^/@\s]*:[^/@\s]*@", str(value)) is None
        if "PASSWORD" in name:
            assert str(value).startswith("/run/secrets/")
    assert "env_file" not in service


def test_every_secret_is_a_file_that_is_read_by_somebody_and_laid_out_by_the_script() -> None:
    used = {name for one in SERVICES.values() for name in one.get("secrets", [])}
    assert used == set(COMPOSE["secrets"])
    assert all(set(one) == {"file"} and one["file"].startswith("./secrets/") for one in COMPOSE["secrets"].values())
    ignored = (DOCKER / ".gitignore").read_text().splitlines()
    assert "/secrets/" in ignored


def test_a_party_gets_its_own_secrets_and_nobody_elses() -> None:
    held = {name: set(one.get("secrets", [])) for name, one in SERVICES.items()}
    assert held["gateway"] == {"gateway_passphrase", "gateway_pgpass", "gateway_redis"}
    assert held["desk"] == {"desk_passphrase", "desk_redis"}
    assert held["migrate"] == {"owner_pgpass"}
    assert held["redis"] == {"redis_key", "redis_users"}
    assert held["caddy"] == set()
    keys = {name: [one for one in told["volumes"] if "/keys:" in one] for name, told in SERVICES.items()}
    assert {name: folders for name, folders in keys.items() if folders} == {
        "gateway": ["./secrets/gateway/keys:/run/keys:ro"],
        "desk": ["./secrets/desk/keys:/run/keys:ro"],
    }


@EACH
def test_every_foreign_image_is_pinned_by_an_argument_that_make_pin_fills(service: dict[str, Any]) -> None:
    if "build" in service:
        assert service["build"]["args"]["PYTHON_DIGEST"].startswith("${PYTHON_DIGEST:?")
    else:
        assert re.match(r"docker\.io/library/[a-z]+:[\w.-]+@\$\{[A-Z]+_DIGEST:\?.+\}$", service["image"])


def test_who_meets_whom() -> None:
    assert met("gateway") == {"caddy", "postgres", "redis", "desk", "migrate"}
    assert met("desk") == {"caddy", "redis", "gateway"}
    assert met("postgres") == {"gateway", "migrate"}
    assert met("redis") == {"gateway", "desk"}
    assert set(SERVICES["gateway"]["networks"]) & set(SERVICES["desk"]["networks"]) == {"queue"}


def test_only_the_proxy_meets_the_outside() -> None:
    open_ones = {name for name, one in COMPOSE["networks"].items() if not one.get("internal")}
    assert open_ones == {"outside"}
    assert [name for name, one in SERVICES.items() if open_ones & set(one["networks"])] == ["caddy"]
    assert [name for name, one in SERVICES.items() if "ports" in one] == ["caddy"]


def test_two_gateways_start_after_what_they_need() -> None:
    one = SERVICES["gateway"]
    assert one["deploy"]["replicas"] == 2
    assert {name: how["condition"] for name, how in one["depends_on"].items()} == {
        "migrate": "service_completed_successfully",
        "postgres": "service_healthy",
        "redis": "service_healthy",
    }
    for name in ("caddy", "gateway", "postgres", "redis"):
        assert SERVICES[name]["healthcheck"]["test"]


def test_the_stop_is_longer_than_the_drain() -> None:
    loaded = gateway.settings.load(DOCKER / "config/gateway.toml")
    assert int(SERVICES["gateway"]["stop_grace_period"].removesuffix("s")) > loaded.drain.total_seconds()


def test_the_queue_is_served_with_the_access_list_and_over_tls_alone() -> None:
    (users,) = [line.split()[1] for line in config_of_redis() if line.startswith("aclfile")]
    assert users == "/run/secrets/redis_users"
    assert COMPOSE["secrets"]["redis_users"]["file"] == "./secrets/redis/users.acl"
    assert "redis-users.acl" in (DOCKER / "make-secrets.sh").read_text()
    assert {"port 0", "appendfsync always", "maxmemory-policy noeviction"} <= set(config_of_redis())


def config_of_redis() -> list[str]:
    return (DOCKER / "redis.conf").read_text().splitlines()


@pytest.mark.parametrize("party", ["gateway", "desk"])
def test_the_settings_name_only_files_that_are_mounted(party: str) -> None:
    mounted = [str(one).split(":")[1] for one in SERVICES[party]["volumes"]]
    mounted += [f"/run/secrets/{name}" for name in SERVICES[party]["secrets"]]
    named = re.findall(r"(?<==)/[\w./]+|(?<=\")/[\w./]+", (DOCKER / f"config/{party}.toml").read_text())
    assert named
    assert [one for one in named if not any(one == way or one.startswith(f"{way}/") for way in mounted)] == []


def test_the_settings_load() -> None:
    served = gateway.settings.load(DOCKER / "config/gateway.toml")
    worked = desk.settings.load_desk(DOCKER / "config/desk.toml")
    assert (served.platform, served.public_url) == (worked.platform, worked.gateway)
    assert served.store.startswith("postgresql://gateway@")
    assert "sslmode=verify-full" in served.store
    for party, channel in (("gateway", served.channel), ("desk", worked.channel)):
        found = Address.parse(channel)
        assert (found.tls, found.user, found.hosts) == (True, party, (("redis", 6379),))
