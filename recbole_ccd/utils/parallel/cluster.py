"""A Ray cluster to hand: the one of ``RAY_ADDRESS``, or one on this machine for as long as it is needed."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from types import ModuleType

import torch

import recbole_ccd
from recbole_ccd.utils.errors import ConfigError, RunError, one_line
from recbole_ccd.utils.openmp import waiting_settings

ADDRESS = "RAY_ADDRESS"
"""The environment variable that names an existing cluster, as ``host:port`` or in other forms Ray knows."""

_SECONDS_TO_ANSWER = 5.0
# RFC 9113: a frame without settings (3 bytes of length, its type and 5 more), and what a client says first
_SETTINGS = b"\0\0\0\4\0\0\0\0\0"
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS
# of the cluster that is begun when no other one is named
_OF_OUR_OWN = "local"


def ray_module() -> ModuleType:
    """Ray itself, which takes seconds to import and is needed by nothing else here.

    Raises:
        ConfigError: If it is not installed, or cannot be imported.
    """
    try:
        with _signals_kept(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
            import ray.exceptions
    # the second is that of a ray that is older than the numpy beside it
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"parallel: ray needs the package ray, which cannot be imported ({one_line(error)}); install it, "
            "or leave parallel out"
        ) from error
    return ray


def connect(ray: ModuleType, at_once: int) -> None:
    """Connects this process to the cluster of ``RAY_ADDRESS``, or begins one here.

    Args:
        ray: the module.
        at_once: workers of a cluster that is begun here.

    Raises:
        RunError: If nobody answers at the address, or the cluster cannot be used.
    """
    address = os.environ.get(ADDRESS) or _OF_OUR_OWN
    package, threads = Path(recbole_ccd.__file__).parent, str(torch.get_num_threads())
    load_manifest = {"address": address, "log_to_driver": False, "configure_logging": False}
    surroundings = {"RAY_USAGE_STATS_ENABLED": "0"}
    if address == _OF_OUR_OWN:
        load_manifest |= {"num_cpus": at_once, "include_dashboard": False}
        # workers inherit them, which is seconds faster than Ray's own way; they find what is found here
        paths = [
            str(package.parent),
            *(path for path in map(os.path.abspath, sys.path) if os.path.isdir(path)),
        ]
        surroundings |= {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": threads}
    else:
        _check_answer(address)
        load_manifest["runtime_env"] = {
            "py_modules": [str(package)],
            "env_vars": {"OMP_NUM_THREADS": threads, **waiting_settings()},
            "excludes": ["__pycache__"],
        }
    try:
        with _signals_kept(), _environment(surroundings):
            ray.init(**load_manifest)
    # the first is also that of newer rays whose token is another one
    except (ray.exceptions.RayError, RuntimeError, ValueError, OSError) as error:
        raise _unusable(address, str(error)) from error


def _check_answer(address: str) -> None:
    """Refuses an address where nobody listens, or another than Ray does; Ray itself would try for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon:
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_ANSWER) as connection:
            # with TLS only Ray itself can greet
            if os.environ.get("RAY_USE_TLS", "0") in ("", "0", "false"):
                _check_greeting(connection)
    except (OSError, ValueError, OverflowError) as error:
        raise _unusable(address, str(error)) from error


def _check_greeting(connection: socket.socket) -> None:
    """Refuses who does not speak as Ray does: gRPC, that is HTTP/2, which begins with settings of both sides.

    Raises:
        OSError: If there is no answer in time, or another one.
    """
    end = monotonic() + _SECONDS_TO_ANSWER
    connection.sendall(_GREETING)
    answer = b""
    while len(answer) < len(_SETTINGS):
        # whoever sends a byte now and then shall not keep us
        connection.settimeout(max(end - monotonic(), 1e-3))
        try:
            more = connection.recv(len(_SETTINGS) - len(answer))
        except TimeoutError:
            raise OSError(f"no answer within {_SECONDS_TO_ANSWER:g} seconds") from None
        if not more:
            break
        answer += more
    if len(answer) < len(_SETTINGS) or answer[3] != _SETTINGS[3]:
        raise OSError("what answers there is not Ray")


def _unusable(address: str, reason: str) -> RunError:
    if address == _OF_OUR_OWN:
        return RunError(f"parallel: ray cannot begin workers here ({one_line(reason)}); leave parallel out")
    return RunError(
        f"{ADDRESS} is {one_line(repr(address))}, where no Ray cluster can be used ({one_line(reason)}); "
        f"start it, correct {ADDRESS}, or unset it for workers on this machine"
    )


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Sets variables of the environment for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keeps who listens to SIGTERM: Ray puts a handler of its own in the place of any other."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        # None is one that was not set from Python
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)
