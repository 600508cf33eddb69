"""Which sign-ins count as the same device on the same network."""

import pytest

from server.auth.usecases.new_devices import _place_of

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0"
HERE = "203.0.113.7"


def test_a_new_version_is_the_same_device() -> None:
    assert _place_of(FIREFOX.format(140), HERE) == _place_of(FIREFOX.format(141), HERE)
    assert _place_of("my-app/1.2.3 (build 7)", HERE) == _place_of("my-app/1.3 (build 8)", HERE)


@pytest.mark.parametrize(
    ("agent", "address"),
    [
        (FIREFOX.format(140).replace("X11; Linux x86_64", "Windows NT 10.0; Win64; x64"), HERE),
        ("my-app/1.2.3", HERE),
        ("", HERE),
        (FIREFOX.format(140), "203.0.113.8"),
        (FIREFOX.format(140), ""),
    ],
)
def test_another_system_browser_or_network_is_another_device(agent: str, address: str) -> None:
    assert _place_of(agent, address) != _place_of(FIREFOX.format(140), HERE)


def test_an_ipv6_network_is_one_place() -> None:
    assert _place_of("", "2001:db8::1") == _place_of("", "2001:db8::ffff")
