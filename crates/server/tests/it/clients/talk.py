"""Eight WebSocket sessions at once, each with messages of random sizes that must come back as they were."""

import asyncio
import random
import sys

from websockets.asyncio.client import connect


async def session(number):
    dice = random.Random(number)
    async with connect(f"ws://{sys.argv[1]}/echo", max_size=None, proxy=None) as talk:
        messages = [dice.randbytes(dice.choice([0, 1, 125, 126, 65535, 65536, dice.randrange(300_000)])) for _ in range(40)]

        async def hear():
            for at, message in enumerate(messages):
                heard = await talk.recv()
                assert heard == message, f"session {number}, message {at}: {len(message)} bytes came back as {len(heard)}"

        hearing = asyncio.create_task(hear())
        for message in messages:
            await talk.send(message)
        await hearing
        await talk.send("words")
        assert await talk.recv() == "words"


async def main():
    await asyncio.wait_for(asyncio.gather(*(session(number) for number in range(8))), 30)


asyncio.run(main())
