"""``python crowd.py URL CLIENTS EVENTS``: so many clients at once, until each has had so many events or lost them.

Prints one line of JSON: how many clients were complete, the fewest events, all that were lost, and the latency.
"""

import asyncio
import json
import os
import sys
import time

from websockets.asyncio.client import connect

LIMIT_S = 60


async def one(url, token, events, ready, lags):
    headers = {"Authorization": f"Bearer {token}"}
    origin = url.replace("ws://", "http://")
    got = lost = 0
    async with connect(
        f"{url}/events", origin=origin, additional_headers=headers, compression=None, proxy=None, open_timeout=60
    ) as client:
        ready.release()
        async for message in client:
            frame = json.loads(message)
            got += len(frame["events"])
            lost += frame["dropped"]
            if frame["events"]:
                lags.append(time.monotonic_ns() - frame["events"][0]["data"]["monotonic_ns"])
            if got + lost >= events:
                return got, lost
    return got, lost


async def main(url, clients, events):
    token, ready, lags = os.environ["HEXVIZ_TOKEN"], asyncio.Semaphore(0), []
    tasks = [asyncio.create_task(one(url, token, events, ready, lags)) for _ in range(clients)]
    for _ in range(clients):
        await asyncio.wait_for(ready.acquire(), LIMIT_S)
    print("ready", flush=True)
    done, late = await asyncio.wait(tasks, timeout=LIMIT_S)
    counts = [task.result() for task in done if task.exception() is None]
    for task in late:
        task.cancel()
    complete = sum(got + lost == events for got, lost in counts)
    lags.sort()
    p99_ms = lags[len(lags) * 99 // 100] / 1e6 if lags else 0.0
    facts = {
        "complete": complete,
        "fewest": min((got for got, _ in counts), default=0),
        "lost": sum(lost for _, lost in counts),
    }
    print(json.dumps({**facts, "p99_ms": round(p99_ms, 1)}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
