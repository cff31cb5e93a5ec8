#!/usr/bin/env python3
"""Somebody else's program in `netsim matrix`: a server that tells two peers of each other, and peers that punch with UDP."""
import json, socket, sys, time

PORT = 7000


def say(**event):
    print(json.dumps(event), flush=True)


def serve():
    seen = {}
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("", PORT))
    say(event="ready")
    while True:
        text, source = udp.recvfrom(200)
        me, peer = text.decode().split()
        seen[me] = source
        if peer in seen:
            udp.sendto(json.dumps(seen[peer]).encode(), source)


def meet(server, me, peer):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.settimeout(0.05)
    other, heard, answered = None, False, False
    give_up = time.monotonic() + 5
    while not (heard and answered) and time.monotonic() < give_up:
        if other:
            udp.sendto(b"I hear you" if heard else b"hello?", other)
        else:
            udp.sendto(f"{me} {peer}".encode(), (server, PORT))
        try:
            text, source = udp.recvfrom(200)
        except TimeoutError:
            continue
        if source == (server, PORT):
            other = other or tuple(json.loads(text))
            continue
        if not heard:
            say(event="path", kind="direct")
            say(event="message")
        other, heard, answered = source, True, answered or text == b"I hear you"
    for _ in range(3 if heard else 0):
        udp.sendto(b"I hear you", other)  # The other may not have had it yet.
    sys.exit(0 if heard and answered else 1)


serve() if sys.argv[1:] == ["serve"] else meet(*sys.argv[1:])
