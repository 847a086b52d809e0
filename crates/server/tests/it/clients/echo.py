"""A WebSocket service that sends back what it gets, and prints its port."""

import asyncio

from websockets.asyncio.server import serve


async def echo(session):
    async for message in session:
        await session.send(message)


async def main():
    async with serve(echo, "127.0.0.1", 0, max_size=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
