from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.journeys.town import Town


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    """A town with gateway and desk running."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        town = Town(tmp_path / "town", session)
        town.lay_out()
        try:
            await town.start("gateway")
            await town.start("desk")
            yield town
        finally:
            town.end()
