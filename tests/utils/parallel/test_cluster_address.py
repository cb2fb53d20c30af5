"""Who answers at ``RAY_ADDRESS``, found out before Ray waits for minutes."""

import socket
import threading
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from recbole_ccd.utils.errors import RunError
from recbole_ccd.utils.parallel import cluster

SETTINGS = b"\0\0\x06\4\0\0\0\0\0" + b"\0\4\0\x10\0\0"


@pytest.fixture
def address_of(monkeypatch):
    """Begins a server that says something, or nothing, to whoever connects; ``None`` hangs up."""
    monkeypatch.setattr(cluster, "_SECONDS_TO_ANSWER", 0.2)
    servers = []

    def begin(answer):
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def serve():
            try:
                connection, _ = server.accept()
            except OSError:
                return  # nobody came
            servers.append(connection)
            if answer is None:
                connection.close()
            else:
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        return f"127.0.0.1:{server.getsockname()[1]}"

    yield begin
    for server in servers:
        server.close()


STRANGERS = {
    "silence": (b"", "no answer within 0.2 seconds"),
    "a part of an answer": (SETTINGS[:5], "no answer within 0.2 seconds"),
    "HTTP/1.1": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what answers there is not Ray"),
    "a mail server": (b"220 mail.example.org ESMTP\r\n", "what answers there is not Ray"),
    "hanging up": (None, ""),
}


@pytest.mark.parametrize("who", STRANGERS)
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_stranger_is_refused_in_one_line(who, scheme, address_of):
    answer, reason = STRANGERS[who]
    with pytest.raises(RunError, match="RAY_ADDRESS is .*, where no Ray cluster can be used") as caught:
        cluster._check_answer(scheme + address_of(answer))
    assert reason in str(caught.value) and "\n" not in str(caught.value)


def test_who_speaks_http_2_is_left_to_ray(address_of):
    cluster._check_answer(address_of(SETTINGS))


def test_with_tls_nobody_but_ray_can_tell(address_of, monkeypatch):
    monkeypatch.setenv("RAY_USE_TLS", "1")
    cluster._check_answer(address_of(b""))


class RayError(Exception):
    """What a ray that wants another token ends with."""


def test_a_cluster_that_wants_another_token_is_refused_in_one_line(address_of, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", address_of(SETTINGS))
    ray = SimpleNamespace(
        init=Mock(side_effect=RayError("no token.\nSee elsewhere")),
        exceptions=SimpleNamespace(RayError=RayError),
    )
    with pytest.raises(RunError, match=r"RAY_ADDRESS is .*no Ray cluster can be used \(no token") as caught:
        cluster.connect(ray, 1)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_ray_is_known_by_its_greeting():
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=1, include_dashboard=False, configure_logging=False, log_to_driver=False)
    try:
        cluster._check_answer(ray.get_runtime_context().gcs_address)
    finally:
        ray.shutdown()
