"""TLS, mutual TLS and authentication on both transports, with real certificates."""

from __future__ import annotations

import http.client
import ssl
import time
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from certificates import OPENSSL, Authority, openssl
from otlp import request, span
from otlp_receiver import DEADLINE, Service, Store, serving
from tracetaxa.errors import ConfigError
from tracetaxa.receive import Credential, Tls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from certificates import Pair

SECRET = "a-secret-of-22-letters"
CHAT = request(span(1, 1))

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="certificates are made with the openssl command")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "test authority")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Pair:
    return authority.sign("server")


@pytest.fixture(scope="module")
def client_pair(authority: Authority) -> Pair:
    return authority.sign("client")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Authority(tmp_path_factory.mktemp("other"), "another authority").sign("stranger")


def over_http(service: Service, context: ssl.SSLContext | None, **headers: str) -> int:
    """The status of one Export. Raises OSError when there is no connection."""
    host, _, port = service.http_target.rpartition(":")
    if context is None:
        connection = http.client.HTTPConnection(host, int(port), timeout=DEADLINE)
    else:
        connection = http.client.HTTPSConnection(host, int(port), timeout=DEADLINE, context=context)
    named = {"content-type": "application/x-protobuf"} | {k.replace("_", "-"): v for k, v in headers.items()}
    try:
        connection.request("POST", "/v1/traces", CHAT.SerializeToString(), named)
        return connection.getresponse().status
    finally:
        connection.close()


def over_grpc(
    service: Service, credentials: grpc.ChannelCredentials | None, metadata: tuple[tuple[str, str], ...] = ()
) -> grpc.StatusCode:
    channel = (
        grpc.insecure_channel(service.target)
        if credentials is None
        else grpc.secure_channel(service.target, credentials)
    )
    with channel:
        try:
            TraceServiceStub(channel).Export(CHAT, timeout=DEADLINE, metadata=metadata)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def trusting(authority: Authority, pair: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.pair.cert))
    if pair is not None:
        context.load_cert_chain(pair.cert, pair.key)
    return context


def trusting_channel(authority: Authority, pair: Pair | None = None) -> grpc.ChannelCredentials:
    root = authority.pair.cert.read_bytes()
    if pair is None:
        return grpc.ssl_channel_credentials(root)
    return grpc.ssl_channel_credentials(root, pair.key.read_bytes(), pair.cert.read_bytes())


# ------------------------------------------------------------------------------------------------- TLS


def test_tls_on_both_transports(authority: Authority, server: Pair) -> None:
    tls = Tls(server.cert, server.key)
    store = Store()
    with serving(store, receiver={"tls": tls}, http={"context": tls.context()}) as (service, _):
        assert over_http(service, trusting(authority)) == 200
        assert over_grpc(service, trusting_channel(authority)) is grpc.StatusCode.OK
        assert store.writes == 2
        with pytest.raises((OSError, http.client.HTTPException)):
            over_http(service, None)
        with pytest.raises(ssl.SSLCertVerificationError):
            over_http(service, ssl.create_default_context())
        assert over_grpc(service, None) is grpc.StatusCode.UNAVAILABLE
        # Who does not speak TLS harms nobody.
        assert over_http(service, trusting(authority)) == 200
        assert over_grpc(service, trusting_channel(authority)) is grpc.StatusCode.OK
    assert store.writes == 4


def test_mutual_tls_lets_in_whom_the_authority_knows(
    authority: Authority, server: Pair, client_pair: Pair, stranger: Pair
) -> None:
    tls = Tls(server.cert, server.key, authority.pair.cert)
    store = Store()
    with serving(store, receiver={"tls": tls}, http={"context": tls.context()}) as (service, _):
        for unknown in (None, stranger):
            with pytest.raises((OSError, http.client.HTTPException)):
                over_http(service, trusting(authority, unknown))
            assert over_grpc(service, trusting_channel(authority, unknown)) is grpc.StatusCode.UNAVAILABLE
        assert store.writes == 0
        assert over_http(service, trusting(authority, client_pair)) == 200
        assert over_grpc(service, trusting_channel(authority, client_pair)) is grpc.StatusCode.OK
    assert store.writes == 2


def test_oldest_version(authority: Authority, server: Pair) -> None:
    old = trusting(authority)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    context = Tls(server.cert, server.key, min_version="1.3").context()
    with serving(http={"context": context}) as (service, _):
        with pytest.raises(OSError, match=r"(?i)protocol|version|reset"):
            over_http(service, old)
        assert over_http(service, trusting(authority)) == 200


def test_certificates_that_do_not_fit_are_told_plainly(
    tmp_path: Path, authority: Authority, server: Pair, client_pair: Pair
) -> None:
    locked = tmp_path / "locked.key"
    openssl("ec", "-in", server.key, "-aes128", "-passout", "pass:secret", "-out", locked)
    empty = tmp_path / "empty.pem"
    empty.touch()
    for tls, what in (
        (Tls(tmp_path / "none.pem", server.key, key="receiver.grpc.tls"), "can't read .*none.pem"),
        (Tls(server.cert, client_pair.key, key="receiver.grpc.tls"), "key values mismatch"),
        (Tls(server.cert, locked, key="receiver.grpc.tls"), "unencrypted key"),
        (Tls(empty, server.key, key="receiver.grpc.tls"), "empty.pem"),
        (
            Tls(server.cert, server.key, empty, key="receiver.grpc.tls"),
            "client_ca_file: .* holds no certificate",
        ),
    ):
        for use in (tls.context, tls.grpc_credentials):
            with pytest.raises(ConfigError, match=f"receiver.grpc.tls.*{what}") as refusal:
                use()
            assert "BEGIN" not in str(refusal.value)


# ------------------------------------------------------------------------------------------------- who may send


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n", "utf-8")
    return path


@pytest.fixture(params=["bearer", "header"])
def credential(request: pytest.FixtureRequest, secret_file: Path) -> Credential:
    return Credential.read(secret_file, "key", None if request.param == "bearer" else "X-Api-Key")


def test_only_those_with_the_secret_may_send(credential: Credential) -> None:
    right = f"Bearer {SECRET}" if credential.bearer else SECRET
    wrong = [right[:-1], right + "x", right.upper(), "", "Bearer", f"Basic {SECRET}"]
    store = Store()
    guarded = {"credential": credential}
    with serving(store, receiver=guarded, http=guarded) as (service, _):
        assert over_http(service, None) == 401
        assert over_grpc(service, None) is grpc.StatusCode.UNAUTHENTICATED
        for value in wrong:
            assert over_http(service, None, **{credential.header: value}) == 401
            metadata = ((credential.header, value),)
            assert over_grpc(service, None, metadata) is grpc.StatusCode.UNAUTHENTICATED
        assert store.writes == 0
        assert over_http(service, None, **{credential.header: right}) == 200
        assert over_grpc(service, None, ((credential.header, right),)) is grpc.StatusCode.OK
    assert store.writes == 2


def test_without_the_secret_health_answers_and_nothing_else(credential: Credential) -> None:
    with serving(receiver={"credential": credential}) as (_, sender):
        health = HealthStub(sender.channel).Check(HealthCheckRequest(), timeout=DEADLINE)
        assert health.status == HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as refusal:
            MetricsServiceStub(sender.channel).Export(ExportMetricsServiceRequest(), timeout=DEADLINE)
        assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED
        # Refused on the headers: a message above the limit does not change the answer.
        error = sender.refused(bytes(65 * 2**20))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert SECRET not in error.details()


def test_secrets_are_not_shown(credential: Credential) -> None:
    assert SECRET not in repr(credential)
    assert SECRET not in str(credential)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"short", "shorter than 16"),
        (b"", "shorter than 16"),
        (b"two lines of\nthe secret", "one line"),
        ("пароль-из-букв-и-знаков".encode(), "ASCII"),
        (b"\xff\xfe" * 10, "not text"),
        (None, "can't read"),
    ],
)
def test_a_secret_that_no_one_should_use(tmp_path: Path, content: bytes | None, what: str) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"receiver.auth.*{what}") as refusal:
        Credential.read(path, "receiver.auth.bearer_token_file")
    assert "the secret\n" not in str(refusal.value)


# ------------------------------------------------------------------------------------------------- slow ones


def test_slow_grpc_request_is_cut_off_and_kept_by_its_sender() -> None:
    def nothing() -> Iterator[bytes]:
        deadline = time.monotonic() + DEADLINE
        while not done and time.monotonic() < deadline:
            time.sleep(0.005)
        yield from ()

    done: list[bool] = []
    store = Store()
    with serving(store, receiver={"read_seconds": 0.1}) as (service, sender):
        call = sender.channel.stream_unary(f"/{sender.signal.service}/Export").future(
            nothing(), timeout=DEADLINE
        )
        with pytest.raises(grpc.RpcError) as refusal:
            call.result()
        done.append(True)
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "had not come" in refusal.value.details()
        assert service.room.requests == 0
        sender.send(CHAT)
    assert store.writes == 1
