"""Connections send what they have at once."""

from __future__ import annotations

import socket
from contextlib import closing

from vidcli.serve.listening import listen


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with (
        closing(listen("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        closing(listener.accept()[0]) as connection,
    ):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
