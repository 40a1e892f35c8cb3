"""Where an object store is: a URL that holds no secret, to a client of it.

- `s3://bucket/prefix?endpoint=…&region=…`: Amazon's, or any that speaks as it does;
- `gs://bucket/prefix?endpoint=…`: Google's;
- `az://container/prefix?account=…&endpoint=…`: Azure's.

Each takes `ca=<file>`, a certificate (PEM) that is trusted beside the machine's own, and `credentials=<file>`: a file of mode 0600
that holds a JSON object, for S3 of `access_key_id`, `secret_access_key` and `session_token`, for Azure of `account_key` or
`client_id`, `client_secret` and `tenant_id`, for Google the service account's own. Without it, the client finds what its machine
was given (AWS_…, GOOGLE_…, AZURE_… in the environment, or the machine's own role). An endpoint without TLS is taken on loopback
alone. Nothing is asked of the store here.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import parse_qsl, urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from crypto import strict
from crypto.errors import KeyringError, NotStrict
from crypto.keyring import read_passphrase
from gateway.store import StoreError

if TYPE_CHECKING:
    from obstore.store import AzureConfig, ClientConfig, GCSConfig, ObjectStore, RetryConfig, S3Config

LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
ASKS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "s3": frozenset({"endpoint", "region", "ca", "credentials"}),
        "gs": frozenset({"endpoint", "ca", "credentials"}),
        "az": frozenset({"endpoint", "account", "ca", "credentials"}),
    }
)
SECRETS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "s3": frozenset({"access_key_id", "secret_access_key", "session_token"}),
        "az": frozenset({"account_key", "client_id", "client_secret", "tenant_id"}),
    }
)
RETRIES: Final["RetryConfig"] = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=30),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=2), "base": 2},
}
CONNECTING: Final = timedelta(seconds=5)
ANSWERING: Final = timedelta(seconds=60)  # one request, of a part or a window at most


def bucket(url: str) -> "ObjectStore":
    """The client for `url`. Raises StoreError (`blobs-url`, `blobs-credentials`, `blobs-ca`)."""
    parts = urlsplit(url)
    asks = _asks(parts.scheme, parts.query)
    name, prefix = parts.netloc, parts.path.strip("/") or None
    if not name or "@" in name or ":" in name or parts.fragment:
        raise StoreError("blobs-url")  # a secret in an address would be in every list of processes
    try:
        return _MADE[parts.scheme](name, prefix, asks, _client(asks))
    except (BaseError, ValueError):
        raise StoreError("blobs-url") from None  # its text may quote what it was given


def _asks(scheme: str, query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise StoreError("blobs-url") from None
    asks = dict(pairs)
    if len(asks) < len(pairs) or not asks.keys() <= ASKS[scheme] or not all(asks.values()):
        raise StoreError("blobs-url")
    if (endpoint := asks.get("endpoint")) is not None:
        to = urlsplit(endpoint)
        if not (to.scheme == "https" or (to.scheme == "http" and to.hostname in LOOPBACK)) or "@" in to.netloc:
            raise StoreError("blobs-url")
    return asks


def _client(asks: Mapping[str, str]) -> "ClientConfig":
    options: ClientConfig = {"connect_timeout": CONNECTING, "timeout": ANSWERING}
    if asks.get("endpoint", "").startswith("http:"):
        options["allow_http"] = True
    if "ca" in asks:
        try:
            options["root_certificate"] = Path(asks["ca"]).read_bytes()
        except OSError:
            raise StoreError("blobs-ca") from None
    return options


def _credentials(scheme: str, asks: Mapping[str, str]) -> dict[str, str]:
    if "credentials" not in asks:
        return {}
    try:
        found = strict.loads(read_passphrase(Path(asks["credentials"])))
    except (KeyringError, NotStrict):
        raise StoreError("blobs-credentials") from None
    secrets = {name: one for name, one in found.items() if isinstance(one, str)}
    if len(secrets) < len(found) or not secrets.keys() <= SECRETS[scheme]:
        raise StoreError("blobs-credentials")
    return secrets


def _s3(name: str, prefix: str | None, asks: Mapping[str, str], client: "ClientConfig") -> "ObjectStore":
    config: dict[str, str] = {key: asks[key] for key in ("endpoint", "region") if key in asks}
    config |= _credentials("s3", asks)
    return S3Store(name, prefix=prefix, config=cast("S3Config", config), client_options=client, retry_config=RETRIES)


def _gs(name: str, prefix: str | None, asks: Mapping[str, str], client: "ClientConfig") -> "ObjectStore":
    config: dict[str, str] = {"base_url": asks["endpoint"]} if "endpoint" in asks else {}
    if "credentials" in asks:
        try:
            config["service_account_key"] = read_passphrase(Path(asks["credentials"])).decode()
        except (KeyringError, UnicodeDecodeError):
            raise StoreError("blobs-credentials") from None
    return GCSStore(name, prefix=prefix, config=cast("GCSConfig", config), client_options=client, retry_config=RETRIES)


def _az(name: str, prefix: str | None, asks: Mapping[str, str], client: "ClientConfig") -> "ObjectStore":
    given = {"account": "account_name", "endpoint": "endpoint"}
    config = {given[key]: asks[key] for key in given if key in asks} | _credentials("az", asks)
    return AzureStore(
        name, prefix=prefix, config=cast("AzureConfig", config), client_options=client, retry_config=RETRIES
    )


_MADE: Final[Mapping[str, Callable[[str, str | None, Mapping[str, str], "ClientConfig"], "ObjectStore"]]] = (
    MappingProxyType({"s3": _s3, "gs": _gs, "az": _az})
)
