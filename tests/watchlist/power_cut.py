"""Lives of a device that end by SIGKILL, each beginning with what the one before left on the disk.

    python -m tests.watchlist.power_cut FOLDER SEED CUTS

Prints, for each life, one line of JSON: what it had begun and finished, in order. A life takes up
lists, swaps them, lets them expire, withdraws them, is stopped and resumed, until it is killed a
moment after one of these has begun; the seed says after which, and how long.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import msgspec

from edge.events.outbox import Outbox
from tests.watchlist.lists import A, Device, delivery, listing
from tests.watchlist.test_authorisation import LIST, authorised
from tests.watchlist.test_gallery import directions, entry

LONGEST_S = 0.02
MOST_DEEDS = 4
PEOPLE = [entry(i + 10_000, v) for i, v in enumerate(directions(700))]
ROOMY = authorised(max_entries=10_000)


def make(data, sequence):
    return msgspec.json.encode({"sequence": sequence, "data": data})


class Machine(Device):
    """A device whose receipts go into a real outbox."""

    def __init__(self, folder):
        self.outbox = Outbox(folder / "outbox.db", make, now=time.time)
        super().__init__(folder)

    def start(self):
        self.receipts = lambda receipt, name: self.outbox.put(receipt, once=name)
        return super().start()


def live(folder, seed, say):
    """Go on until killed; `say` what is begun (-) and what is done (+)."""
    chance = random.Random(seed)
    device = Machine(folder)
    device.lists.resume()
    version = device.store.life.floor.version
    while True:
        what = chance.choice(["offer", "withdraw", "expire", "stop"])
        if device.version() is None:
            what = "offer"
        if what == "offer":
            version += 1
            some = chance.sample(PEOPLE, 300)
            say("-", "offer", version)
            device.now = LIST.issued
            device.offer(delivery(listing(version, entry(version, A), *some, base=ROOMY)))
        else:
            say("-", what, version)
            if what == "withdraw":
                device.withdraw()
            elif what == "expire":
                device.now = LIST.expires
                device.settle()
            else:
                device.lists.stop("order")
                device.settle()
                device.lists.resume()
        say("+", what, version)


def cut_short(folder, seed):
    """Have a life end in its n-th deed; return whether it was killed, and what it said."""
    chance = random.Random(seed)
    inward, outward = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(inward)
        try:
            live(folder, seed, lambda *words: os.write(outward, json.dumps(words).encode() + b"\n"))
        finally:
            os._exit(1)  # a life that ends by itself has failed
    os.close(outward)
    with os.fdopen(inward) as pipe:
        said = [json.loads(pipe.readline()) for _ in range(2 * chance.randrange(MOST_DEEDS) + 1)]
        time.sleep(chance.uniform(0, LONGEST_S))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status), said + [json.loads(line) for line in pipe]


def main():
    folder, seed, cuts = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for cut in range(cuts):
        killed, said = cut_short(folder, 1000 * seed + cut)
        sys.stdout.write(json.dumps({"killed": killed, "said": said}) + "\n")
        sys.stdout.flush()
        sys.stdin.readline()  # until the one who watches has looked


if __name__ == "__main__":
    main()
