"""The names by which a server may be called."""

from __future__ import annotations

import socket

import pytest

from vidcli.serve.gate import Hosts
from vidcli.serve.listening import is_loopback


@pytest.mark.parametrize("host", ["192.0.2.1", "192.0.2.1:80", "[2001:db8::1]:80", "cats:80", "localhost"])
def test_a_server_for_others_is_called_by_addresses_and_its_names(host: str) -> None:
    hosts = Hosts("0.0.0.0", ["Cats"])
    assert host in hosts
    assert socket.gethostname() in hosts
    assert "evil.example" not in hosts


def test_a_server_for_this_machine_takes_other_names_too() -> None:
    assert "cats:80" in Hosts("127.0.0.1", ["cats"])
    assert "192.0.2.1" not in Hosts("127.0.0.1", ["cats"])
    assert socket.gethostname() not in Hosts("127.0.0.1")


def test_loopback_addresses_are_known() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.9.9.9", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.0.2.1", "localhost.example", "")))
