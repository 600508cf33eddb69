"""The pages that the links of mails open, served by Envoy itself, and their routes.

A page is one file without a reference to another. Its headers allow its own script and style, by
their hashes, and calls to its own origin; nothing else is loaded, nothing frames it, and its address
is told to nobody.
"""

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "pages"

PAGES = {
    "/verify-email": "verify-email.html",
    "/reset-password": "reset-password.html",
    "/accept-invite": "reset-password.html",
    "/log-in": "log-in.html",
}
"""File of each path. An invitation is accepted by choosing a password, like a reset."""

LOG_IN = "/log-in"
"""Where the pages lead to in the end: to LOG_IN_URL where that is set."""

_NO_TRANSCODER = (
    "typed_per_filter_config: {envoy.filters.http.grpc_json_transcoder: "
    '{"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}'
)
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def page_routes() -> Iterator[str]:
    """The routes as lines of YAML."""
    for path, file in PAGES.items():
        get = '{name: ":method", string_match: {exact: GET}}'
        yield "- name: page"
        yield f'  match: {{path: "{path}", headers: [{get}]}}'
        yield f"  direct_response: {{status: 200, body: {{filename: server/edge/pages/{file}}}}}"
        yield f"  {_NO_TRANSCODER}"
        yield "  response_headers_to_add:"
        for name, value in _headers_of((FOLDER / file).read_text(encoding="utf-8")).items():
            header = f'{{key: {name}, value: "{value}"}}'
            yield f"    - {{header: {header}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}"


def _headers_of(page: str) -> dict[str, str]:
    return {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": "; ".join(_policy_of(page)),
        "referrer-policy": "no-referrer",
    }


def _policy_of(page: str) -> Iterator[str]:
    yield "default-src 'none'"
    for kind, content in _INLINE.findall(page):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        yield f"{kind}-src 'sha256-{digest}'"
    yield "connect-src 'self'"
    yield "base-uri 'none'"
    yield "form-action 'none'"
    yield "frame-ancestors 'none'"


def set_pages(routes: list[dict[str, Any]], log_in_url: str) -> None:
    """Lets the routes find their files from anywhere, and sends people to the log-in page of the
    setting, if there is one."""
    for route in routes:
        if route["name"] != "page":
            continue
        path = route["match"]["path"]
        if path == LOG_IN and log_in_url:
            _redirect(route, log_in_url)
        else:
            route["direct_response"]["body"] = {"filename": str((FOLDER / PAGES[path]).resolve())}


def _redirect(route: dict[str, Any], target: str) -> None:
    route["direct_response"] = {"status": 303}
    # A percent sign begins a variable of Envoy's.
    header = {"key": "location", "value": target.replace("%", "%%")}
    route["response_headers_to_add"] = [
        {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    ]
