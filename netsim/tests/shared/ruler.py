#!/usr/bin/env python3
"""Measures a house of `netsim matrix`: how far the server and the other are, and how fast its router's ports go by."""
import json, socket, sys, time

PORT = 7000


def open_socket():
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.settimeout(10)
    return udp


def serve():
    seen, udp = {}, open_socket()
    udp.settimeout(None)
    udp.bind(("", PORT))
    print('{"event":"ready"}', flush=True)
    while True:
        text, source = udp.recvfrom(200)
        me, peer = text.decode().split()
        seen[me] = source
        udp.sendto(json.dumps([source, seen.get(peer)]).encode(), source)


def ask(udp, server, me, peer):
    udp.sendto(f"{me} {peer}".encode(), (server, PORT))
    while True:
        text, source = udp.recvfrom(200)
        if source[1] == PORT:
            return json.loads(text)


def distance(server, me, peer):
    """Fails unless there are 40 ms to the server and back, and 30 to the other."""
    udp, other, rounds = open_socket(), None, {"server": [], "peer": []}
    while other is None or len(rounds["server"]) < 10:
        began = time.monotonic()
        other = ask(udp, server, me, peer)[1]
        rounds["server"].append(time.monotonic() - began)
    until = time.monotonic() + 3
    udp.settimeout(0.05)
    while time.monotonic() < until:
        udp.sendto(f"ping {time.monotonic()}".encode(), tuple(other))
        try:
            while True:
                word, at = udp.recvfrom(200)[0].decode().split()
                if word == "ping":
                    udp.sendto(f"pong {at}".encode(), tuple(other))
                elif word == "pong":
                    rounds["peer"].append(time.monotonic() - float(at))
        except (TimeoutError, ValueError):
            continue
    server, peer = (min(rounds[of]) * 1000 for of in ("server", "peer"))
    print(f"server {server:.1f} peer {peer:.1f}", file=sys.stderr)
    sys.exit(0 if server >= 40 and 30 <= peer < server else 1)


def ports(server, me, peer, least, most):
    """Fails unless so many others have taken a port of the router in a second."""
    first = ask(open_socket(), server, me, peer)[0][1]
    time.sleep(1)
    gone = ask(open_socket(), server, me, peer)[0][1] - first - 1
    print(f"{gone} gone", file=sys.stderr)
    print('{"event":"message"}')
    sys.exit(0 if int(least) <= gone <= int(most) else 1)


{"serve": serve, "distance": distance, "ports": ports}[sys.argv[1]](*sys.argv[2:])
