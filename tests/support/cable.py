"""A cable between a client and a server that a test can cut and mend."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

PIECE_BYTES = 65536


class Cable(socketserver.ThreadingTCPServer):
    """Carries bytes from a free port of the loopback to ``host:port`` and back."""

    daemon_threads = True

    def __init__(self, address: str) -> None:
        super().__init__(("127.0.0.1", 0), _Strand)
        host, _, port = address.rpartition(":")
        self.target = (host, int(port))
        self._ends: set[socket.socket] = set()
        self._is_cut = False
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        """Its near end."""
        return f"127.0.0.1:{self.server_address[1]}"

    def cut(self) -> None:
        """Breaks every connection; new ones are closed as soon as they are made."""
        with self._lock:
            self._is_cut = True
            for end in self._ends:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Lets connections through again."""
        with self._lock:
            self._is_cut = False

    @contextmanager
    def strand(self, *ends: socket.socket) -> Iterator[bool]:
        """Both ends of a connection while it lasts; false when the cable is cut."""
        with self._lock:
            self._ends.update(ends)
            is_whole = not self._is_cut
        try:
            yield is_whole
        finally:
            with self._lock:
                self._ends.difference_update(ends)

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.cut()
        self.shutdown()
        self.server_close()


class _Strand(socketserver.BaseRequestHandler):
    """One connection through the cable."""

    server: Cable
    request: socket.socket

    def handle(self) -> None:
        far = socket.create_connection(self.server.target)
        with far, self.server.strand(self.request, far) as is_whole:
            if not is_whole:
                return
            back = threading.Thread(target=_carry, args=(far, self.request))
            back.start()
            _carry(self.request, far)
            back.join()


def _carry(source: socket.socket, target: socket.socket) -> None:
    """Bytes in one direction, until either end is gone."""
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE_BYTES):
            target.sendall(piece)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
