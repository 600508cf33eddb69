"""Accounts, roles and sign-ups over REST: the paths, the bodies and the mask in the query."""

import subprocess
import sys
import uuid
from pathlib import Path

import httpx

from tests.support.site import PASSWORD, Site, running

ROOT = Path(__file__).resolve().parents[2]


def _root(site: Site, rest: httpx.Client) -> dict[str, str]:
    """The first super_admin, made beside the running server."""
    address, password = f"{uuid.uuid4()}@example.com", "a very long sentence about tea"
    made = subprocess.run(
        [sys.executable, "-m", "server", "admin", "create", "--email", address, "--password-stdin"],
        cwd=ROOT,
        env=site.environ,
        input=password,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert made.returncode == 0, made.stderr
    reply = rest.post("/v1/auth:logIn", json={"email": address, "password": password})
    token = reply.raise_for_status().json()["signedIn"]["tokens"]["accessToken"]
    return {"authorization": f"Bearer {token}"}


def test_staff_work_over_rest(tmp_path: Path) -> None:
    with running(tmp_path) as site, httpx.Client(base_url=site.url, timeout=20) as rest:
        root, ann = _root(site, rest), site.person("ann")
        rest.headers.update(root)
        listed = rest.get("/v1/users", params={"text": "ANN-", "order_by": "display_name"})
        (user,) = listed.raise_for_status().json()["users"]
        assert (user["id"], user["roles"]) == (ann.id, ["creator"])
        assert rest.get("/v1/roles", params={"page_size": 3}).json()["nextPageToken"]

        one = f"/v1/users/{ann.id}"
        assert rest.get(one, headers=ann.headers).json()["user"]["id"] == ann.id
        body = {"displayName": "Ann", "accessLevel": "ACCESS_LEVEL_VIEW", "etag": user["etag"]}
        mask = {"update_mask": "displayName,accessLevel"}
        changed = rest.patch(one, params=mask, json=body).raise_for_status().json()["user"]
        assert (changed["displayName"], changed["accessLevel"]) == ("Ann", "ACCESS_LEVEL_VIEW")
        assert rest.patch(one, params=mask, json=body).status_code == 409
        assert rest.patch(one, json=body).status_code == 400

        roles = rest.put(f"{one}/roles", json={"roles": ["brand", "agent"]})
        assert roles.raise_for_status().json()["user"]["roles"] == ["agent", "brand"]
        reason = {"reason": "spam", "untilTime": "2035-01-01T00:00:00Z"}
        assert rest.post(f"{one}:suspend", json=reason).status_code == 200
        assert rest.get("/v1/auth/me", headers=ann.headers).status_code == 401
        assert rest.post(f"{one}:reinstate", json={}).status_code == 200
        assert rest.post(f"{one}:ban", json={"reason": "fraud"}).status_code == 200
        gone = rest.delete(one).raise_for_status().json()["user"]
        assert gone["status"] == "USER_STATUS_DELETED" and gone["purgeTime"]
        back = rest.post(f"{one}:undelete", json={}).raise_for_status().json()["user"]
        assert back["status"] == "USER_STATUS_BANNED"

        new = {"email": "new@example.com", "roles": ["editor"], "sendInvite": True}
        made = rest.post("/v1/users", json={**new, "requestId": str(uuid.uuid4())})
        assert made.raise_for_status().json()["user"]["status"] == "USER_STATUS_PENDING"
        assert site.mailed_token("new@example.com").startswith("grv_")

        for name in ("yes", "no"):
            sign_up = {"email": f"{name}@example.org", "password": PASSWORD}
            rest.post("/auth/signup", json={**sign_up, "persona": "PERSONA_BRAND"})
        no, yes = rest.get("/v1/auth/registrations", params={"text": "example.org"}).json()[
            "registrations"
        ]
        path = "/v1/auth/registrations"
        approved = rest.post(f"{path}/{yes['id']}:approve", json={}).raise_for_status().json()
        assert approved["registration"]["status"] == "REGISTRATION_STATUS_APPROVED"
        rejected = rest.post(f"{path}/{no['id']}:reject", json={"reason": "unknown"})
        assert rejected.raise_for_status().json()["registration"]["reason"] == "unknown"
