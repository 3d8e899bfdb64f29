"""A Spark cluster on this machine: a master, workers, a Connect server, each a process of its own, all on loopback.

The server's packages stand apart from ours: ``python`` is that of an environment with ``pyspark`` in the version
of our ``pyspark-client`` (``make .venv-spark/installed``); Java 17 or newer is needed, too.
"""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

PATIENCE = 90
"""Seconds in which a process must listen."""
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cluster:
    """Where a cluster of this machine listens, and its processes."""

    url: str
    """What ``[engine] url`` takes."""
    driver: str
    """Address of the Connect server's pages, as JSON."""
    processes: Mapping[str, subprocess.Popen[bytes]]
    """master, worker0, worker1, ..., connect."""

    def executors(self) -> list[dict[str, Any]]:
        """What the driver says of the processes that run its tasks."""
        (application,) = told(self.driver)
        return [e for e in told(f"{self.driver}/{application['id']}/executors") if e["id"] != "driver"]

    def cpu_seconds(self) -> float:
        """What all of it, executors included, has used so far."""
        ticks = 0
        for pid in self._pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS

    def peak_mb(self) -> float:
        """Sum of the most that each process held."""
        lines = [line for pid in self._pids() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6

    def _pids(self) -> list[int]:
        found = [process.pid for process in self.processes.values()]
        for pid in found:  # grows while it is read: children of children
            children = Path(f"/proc/{pid}/task/{pid}/children")
            found += map(int, children.read_text().split())
        return found


def told(address: str) -> Any:
    """JSON of a page."""
    with urllib.request.urlopen(address, timeout=10) as answer:
        return json.load(answer)


def free_port() -> int:
    """A port of loopback on which nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody listens on a port of loopback."""
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


def wait_for(what: Callable[[], bool], name: str) -> None:
    """Until it is so; TimeoutError after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while True:
        with suppress(OSError):  # it listens before its pages are there
            if what():
                return
        if time.monotonic() > end:
            raise TimeoutError(f"{name} is not there after {PATIENCE} s")
        time.sleep(0.2)


@contextmanager
def spark_cluster(
    python: str,
    folder: Path,
    workers: int = 2,
    memory: str = "768m",
    options: Mapping[str, str] = MappingProxyType({}),
    java: str = "",
) -> Iterator[Cluster]:
    """Start it, and stop it at the end. Each worker has one core and one executor of ``memory``.

    ``folder`` takes logs and shuffle files, ``options`` are added to the server's configuration, ``java`` to the flags
    of every process.
    """
    found = "import pyspark; print(pyspark.__path__[0])"
    spark = subprocess.run([python, "-c", found], check=True, capture_output=True, text=True).stdout.strip()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "PYSPARK_"))}
    environment |= {"SPARK_HOME": spark, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_DIRS": str(folder)}
    environment |= {"SPARK_DAEMON_JAVA_OPTS": java}
    processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(name: str, *command: object) -> None:
        with (folder / f"{name}.log").open("wb") as log:
            processes[name] = subprocess.Popen(
                list(map(str, command)), env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True
            )

    run = f"{spark}/bin/spark-class"
    host = ("--host", "127.0.0.1")
    port, pages, driver, connect = free_port(), free_port(), free_port(), free_port()
    try:
        package = "org.apache.spark.deploy"
        start("master", run, f"{package}.master.Master", *host, "--port", port, "--webui-port", pages)
        wait_for(lambda: listens(port) and listens(pages), "the master")
        for n in range(workers):
            size = ("--cores", 1, "--memory", "8g", "--webui-port", free_port(), "--work-dir", folder / f"worker{n}")
            start(f"worker{n}", run, f"{package}.worker.Worker", f"spark://127.0.0.1:{port}", *host, *size)
        configuration = {
            "spark.connect.grpc.binding.address": "127.0.0.1",
            "spark.connect.grpc.binding.port": connect,
            "spark.driver.host": "127.0.0.1",
            "spark.driver.memory": memory,
            "spark.executor.memory": memory,
            "spark.driver.extraJavaOptions": java,
            "spark.executor.extraJavaOptions": java,
            "spark.ui.port": driver,
            **options,
        }
        start(
            "connect", f"{spark}/bin/spark-submit", "--master", f"spark://127.0.0.1:{port}",
            *[word for key, value in configuration.items() for word in ("--conf", f"{key}={value}")],
            "--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal",
        )  # fmt: skip
        wait_for(lambda: bool(told(f"http://127.0.0.1:{pages}/json/")["aliveworkers"] == workers), "a worker")
        wait_for(lambda: listens(connect), "the Connect server")
        yield Cluster(f"sc://127.0.0.1:{connect}", f"http://127.0.0.1:{driver}/api/v1/applications", processes)
    finally:
        for process in reversed(processes.values()):  # the server before its workers before their master
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
