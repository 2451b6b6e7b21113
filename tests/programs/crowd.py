"""Many connections at once, from one event loop.

usage: crowd.py CASE HOST COUNT
"""

import asyncio
import resource
import sys

CASE, HOST, COUNT = sys.argv[1], sys.argv[2], int(sys.argv[3])


async def exchange(number):
    """One connection, one answer."""
    reader, writer = await asyncio.open_connection(HOST, 7000)
    data = f"number {number}\n".encode()
    writer.write(data)
    back = await reader.readline()
    return reader, writer, back == data


async def at_once():
    """All of them, each closed as soon as it is served."""

    async def one(number):
        _, writer, right = await exchange(number)
        writer.close()
        await writer.wait_closed()
        return right

    answers = await asyncio.gather(*map(one, range(COUNT)), return_exceptions=True)
    report(answers)


async def open_together():
    """All of them open at the same time, and then each asked once more."""
    gate = asyncio.Semaphore(200)

    async def one(number):
        async with gate:
            return await exchange(number)

    connections = await asyncio.gather(*map(one, range(COUNT)), return_exceptions=True)
    broken = [found for found in connections if isinstance(found, BaseException)]
    connections = [found for found in connections if not isinstance(found, BaseException)]

    async def again(reader, writer, right):
        writer.write(b"again\n")
        return right and await reader.readline() == b"again\n"

    report(broken + await asyncio.gather(*(again(*each) for each in connections), return_exceptions=True))
    for _, writer, _ in connections:
        writer.close()


async def refused():
    """All of them refused, each with the true error."""

    async def one(_):
        try:
            await asyncio.open_connection(HOST, 4444)
        except ConnectionRefusedError:
            return True
        return False

    report(await asyncio.gather(*map(one, range(COUNT)), return_exceptions=True))


async def responsive():
    """The event loop continues while a connect waits for a silent peer."""
    silent = [asyncio.create_task(asyncio.open_connection("198.18.0.1", 7005)) for _ in range(COUNT)]
    longest = 0.0
    loop = asyncio.get_running_loop()
    for _ in range(50):
        begun = loop.time()
        await asyncio.sleep(0.01)
        longest = max(longest, loop.time() - begun)
    _, writer, right = await exchange(0)
    writer.close()
    print("the loop goes on:", longest < 0.3, right, any(task.done() for task in silent))
    for task in silent:
        task.cancel()
    await asyncio.gather(*silent, return_exceptions=True)


def report(answers):
    """The number of expected results, and the other results."""
    wrong = sorted({repr(answer) for answer in answers if answer is not True})
    print(sum(answer is True for answer in answers), "right", *wrong)


_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
asyncio.run({"at-once": at_once, "open": open_together, "refused": refused, "responsive": responsive}[CASE]())
