"""TCP relays that make near hosts far away: every byte arrives half a round trip later, in both directions."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace

from benchmarks.estate import Host

CHUNK = 65536


@contextlib.contextmanager
def far_away(hosts: Iterable[Host], rtt_ms: int) -> Iterator[tuple[Host, ...]]:
    """The hosts as they are reached over relays on the loopback address, for as long as the context lasts."""
    if rtt_ms == 0:
        yield tuple(hosts)
        return
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def relay(host: Host) -> asyncio.Server:
        return asyncio.run_coroutine_threadsafe(_serve(host.address, host.port, rtt_ms / 1000), loop).result()

    relays = [(host, relay(host)) for host in hosts]
    try:
        yield tuple(
            replace(host, address="127.0.0.1", port=server.sockets[0].getsockname()[1]) for host, server in relays
        )
    finally:
        asyncio.run_coroutine_threadsafe(_close([server for _, server in relays]), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _serve(address: str, port: int, rtt_s: float) -> asyncio.Server:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The server complains of connections that are cancelled when it closes.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(rtt_s)  # TCP's own handshake
            far_reader, far_writer = await asyncio.open_connection(address, port)
            await asyncio.gather(_forward(reader, far_writer, rtt_s / 2), _forward(far_reader, writer, rtt_s / 2))

    return await asyncio.start_server(connected, "127.0.0.1", 0)


async def _close(servers: Iterable[asyncio.Server]) -> None:
    for server in servers:
        server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Reading does not wait for writing, so the delay costs time and no bandwidth."""
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def read() -> None:
        data = b" "
        while data:
            with contextlib.suppress(ConnectionError):
                data = await reader.read(CHUNK)
            await under_way.put((loop.time() + delay_s, data))

    async def write() -> None:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                break
            writer.write(data)
            await writer.drain()

    with contextlib.suppress(ConnectionError):
        await asyncio.gather(read(), write())
    writer.close()
