"""What the group says once it serves: where everything is."""

from collections.abc import Sequence

from server.core.config import Settings
from server.edge.addresses import public_url
from server.edge.ground import Ports

_FIRST_CALL = (
    '{"email": "ada@example.org", "password": "a long enough secret", "persona": "PERSONA_CREATOR"}'
)


def welcome(settings: Settings, servers: Sequence[Ports], stores: Sequence[str]) -> str:
    """The banner. ``stores`` are lines about what the group runs beside the servers and Envoy."""
    url = public_url(settings)
    place = url.partition("://")[2]
    mail = "leaves through SMTP_URL" if settings.smtp_url else f"lands in {settings.mail_dir}/"
    secure = "TLS" if settings.tls_cert_file else "no TLS"
    insecure = " --insecure" if settings.tls_cert_file else ""
    grpc = ", ".join(f"{settings.grpc_host}:{ports.grpc}" for ports in servers)
    metrics = ", ".join(
        f"http://{settings.metrics_host}:{ports.metrics}/metrics" for ports in servers
    )
    beside = "".join(f"  {line}\n" for line in stores)
    return f"""
Greenroom is up.

  REST       {url}/v1/...
  gRPC-web   {url}
  gRPC       {place} ({secure}); without Envoy {grpc}
  health     {url}/healthz
  metrics    {metrics}
  mail       {mail}
  state      {settings.state_dir}/
{beside}
Try it:      make demo
or by hand:  curl{insecure} {url}/v1/auth:signUp -d '{_FIRST_CALL}'
Stop it:     Ctrl-C
"""
