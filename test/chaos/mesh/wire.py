#!/usr/bin/python3
"""A switch in user space: the network between the namespaces of a chaos run.

    wire.py SEED NAME...

Makes a TAP device per name and carries Ethernet frames between them. The device at index i is given the hardware address
02:53:4d:00:00:(i + 1) by whoever moves it to its namespace. Standard input takes one JSON object per line, with all rules
there are from now on:

    {"rules": [{"from": 0, "to": 1, "cut": true}, {"from": 1, "to": 2, "delay": 200, "loss": 5}]}

`from` and `to` are indexes, `delay` is in milliseconds, `loss` in percent. A frame without a rule passes at once. Each line is
answered by `ok`. The end of standard input ends the program, and the devices with it.
"""

import fcntl
import heapq
import json
import os
import random
import selectors
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
# Frames that wait for their delay; a switch with more of them drops, as switches do.
MAXIMUM_WAITING = 20_000
FRAME_BYTES = 65_536


def open_tap(name):
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return tap


class Wire:
    def __init__(self, seed, names):
        self.random = random.Random(seed)
        self.taps = [open_tap(name) for name in names]
        self.rules = {}
        self.waiting = []
        self.order = 0

    def command(self, line):
        self.rules = {(rule["from"], rule["to"]): rule for rule in json.loads(line)["rules"]}

    def carry(self, source, frame):
        last = frame[5]
        if frame[0] & 1 == 0 and 1 <= last <= len(self.taps):
            self.pass_on(source, last - 1, frame)
            return
        for target in range(len(self.taps)):
            if target != source:
                self.pass_on(source, target, frame)

    def pass_on(self, source, target, frame):
        rule = self.rules.get((source, target))
        if rule is None:
            self.deliver(target, frame)
            return
        if rule.get("cut") or self.random.random() * 100 < rule.get("loss", 0):
            return
        delay = rule.get("delay", 0)
        if delay == 0:
            self.deliver(target, frame)
        elif len(self.waiting) < MAXIMUM_WAITING:
            self.order += 1
            heapq.heappush(self.waiting, (time.monotonic() + delay / 1000, self.order, target, frame))

    def deliver_due(self):
        now = time.monotonic()
        while self.waiting and self.waiting[0][0] <= now:
            _, _, target, frame = heapq.heappop(self.waiting)
            self.deliver(target, frame)

    def deliver(self, target, frame):
        try:
            os.write(self.taps[target], frame)
        except OSError:
            # The device is down or its queue is full: the frame is lost, as on a wire.
            return

    def run(self):
        selector = selectors.DefaultSelector()
        for index, tap in enumerate(self.taps):
            selector.register(tap, selectors.EVENT_READ, index)
        commands = sys.stdin.buffer.raw
        selector.register(commands, selectors.EVENT_READ, None)
        text = b""
        print("ready", flush=True)
        while True:
            timeout = max(0, self.waiting[0][0] - time.monotonic()) if self.waiting else None
            for key, _ in selector.select(timeout):
                if key.data is not None:
                    self.read(key.data)
                    continue
                chunk = commands.read(65_536)
                if not chunk:
                    return
                *lines, text = (text + chunk).split(b"\n")
                for line in lines:
                    self.command(line)
                    print("ok", flush=True)
            self.deliver_due()

    def read(self, source):
        # A few at a time, so that one busy device does not keep the others waiting.
        for _ in range(32):
            try:
                frame = os.read(self.taps[source], FRAME_BYTES)
            except BlockingIOError:
                return
            except OSError:
                # The device is down for the moment.
                return
            if len(frame) >= 14:
                self.carry(source, frame)


if __name__ == "__main__":
    Wire(int(sys.argv[1]), sys.argv[2:]).run()
