"""Close sockets but for loopback and Unix ones. Used by the tests, and through `sitecustomize` by what they start."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys

_connect = socket.socket.connect
_connect_ex = socket.socket.connect_ex
_sendto = socket.socket.sendto
_getaddrinfo = socket.getaddrinfo


class OutsideError(OSError):
    """Something tried to leave this machine."""


def is_local(host: object) -> bool:
    """True for loopback, for "any address", and for names that mean this machine."""
    if host in (None, "", b"", "localhost", b"localhost", socket.gethostname()):
        return True
    text = host.decode() if isinstance(host, bytes) else str(host)
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _check(host: object) -> None:
    if is_local(host):
        return
    log = os.environ.get("LOOPBACK_GUARD_LOG")
    if log:
        with open(log, "a", encoding="utf-8") as out:  # noqa: PTH123 - imported before anything else
            out.write(f"{host} {sys.argv[:4]}\n")
    raise OutsideError(f"tests may not leave this machine: {host!r}")


def _guard(call):
    def guarded(self, *args):
        address = args[-1]
        # Connecting a datagram socket sends nothing: it is how `distributed` asks for this machine's address.
        if isinstance(address, tuple) and not (call is _connect and self.type == socket.SOCK_DGRAM):
            _check(address[0])
        return call(self, *args)

    return guarded


def _resolve(host, *args, **kwargs):
    _check(host)
    return _getaddrinfo(host, *args, **kwargs)


def close() -> None:
    """Close sockets in this process."""
    socket.socket.connect = _guard(_connect)
    socket.socket.connect_ex = _guard(_connect_ex)
    socket.socket.sendto = _guard(_sendto)
    socket.getaddrinfo = _resolve


def reopen() -> None:
    """Undo `close`."""
    socket.socket.connect = _connect
    socket.socket.connect_ex = _connect_ex
    socket.socket.sendto = _sendto
    socket.getaddrinfo = _getaddrinfo
