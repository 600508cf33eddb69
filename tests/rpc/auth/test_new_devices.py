"""Mails about sign-ins from devices and networks that were not used lately."""

from greenroom.auth.v1 import auth_service_pb2 as pb
from server.auth.models import Session
from server.core.unit import Unit
from tests.rpc.auth.scenes import in_unit, mail_number, set_user, turn
from tests.rpc.auth.second_factors import challenge_of, code_now, complete, enrolled
from tests.rpc.auth.test_passwords_reset import settled
from tests.support.serve import Greenroom, Person

SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    " Version/18.0 Mobile/15E148 Safari/604.1"
)
SUBJECT = "A sign-in from a new device"


async def told(server: Greenroom, who: Person) -> int:
    await settled(server)
    return sum(mail["Subject"] == SUBJECT for mail in server.mails(who.email))


async def move_sessions(server: Greenroom, who: Person, **values: object) -> None:
    """Makes it seem as if somebody's sessions had been used elsewhere."""

    def change(_unit: Unit) -> None:
        Session.update(**values).where(Session.user == who.id).execute()

    await in_unit(server, change, write=True)


async def test_a_first_sign_in_and_the_same_device_again_are_no_news(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await server.log_in(ada.email)
    assert await told(server, ada) == 0


async def test_another_device_is_told_of_once(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await move_sessions(server, ada, user_agent=SAFARI)
    await server.log_in(ada.email)
    mail = await mail_number(server, ada.email, 2)
    assert mail["Subject"] == SUBJECT
    await server.log_in(ada.email)
    assert await told(server, ada) == 1


async def test_another_network_is_told_of(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await move_sessions(server, ada, ip="203.0.113.9")
    await server.log_in(ada.email)
    assert await told(server, ada) == 1


async def test_sessions_that_have_ended_count_and_old_ones_do_not(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await server.auth.LogOut(pb.LogOutRequest(), metadata=ada.metadata)
    await server.log_in(ada.email)
    assert await told(server, ada) == 0
    turn(server, 91 * 24 * 3600)
    await server.log_in(ada.email)
    assert await told(server, ada) == 1


async def test_a_sign_in_that_lacks_its_second_factor_is_told_of_when_it_is_whole(
    server: Greenroom,
) -> None:
    who = await enrolled(server)
    await move_sessions(server, who.person, ip="203.0.113.9")
    challenge = await challenge_of(server, who)
    await complete(server, challenge.challenge_token, totp=code_now(server, who.secret))
    assert await told(server, who.person) == 1


async def test_an_address_that_nobody_has_proven_is_told_nothing(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await move_sessions(server, ada, ip="203.0.113.9")
    await set_user(server, ada, email_verified_at=None)
    await server.log_in(ada.email)
    assert await told(server, ada) == 0
