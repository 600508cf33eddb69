"""The README's first program is the example, and the example works."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from tests.support.serve import PASSWORD

CLIENT = Path(__file__).parents[3] / "clients/python"


def test_readme_holds_the_first_program() -> None:
    program = (CLIENT / "examples/first.py").read_text()
    assert f"```python\n{program}```" in (CLIENT / "README.md").read_text()


async def test_first_program_says_hello(server: Any) -> None:
    ada = await server.person("Ada")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(CLIENT / "examples/first.py"), server.address, ada.email, PASSWORD),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert out.decode() == "Hello, Ada\n"
    assert process.returncode == 0
