"""A real broker of Apache Kafka for a demonstration, tests and measurements: one process, from the artifacts that Maven brings.

It needs Java 17 and `mvn`. What Maven brings, 43 MB, is kept in a directory and used again. Nothing is secured: it listens on the
loopback address, and keeps its data below a directory of the caller's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tlog.errors import NotCheckedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VERSION: Final = "4.4.0"
CLUSTER_ID: Final = "MkU3OEVBNTcwNTJENDM2Qk"
_READY_SECONDS: Final = 60.0
_MAVEN_SECONDS: Final = 300
_POM: Final = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>tlog</groupId><artifactId>broker</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.4.0</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version></dependency>
  </dependencies>
</project>
"""
_LOGGING: Final = """Configuration:
  Appenders: {Console: {name: console, target: SYSTEM_ERR, PatternLayout: {pattern: "%d %p %c: %m%n"}}}
  Loggers: {Root: {level: warn, AppenderRef: {ref: console}}}
"""
_PROPERTIES: Final = """process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
share.coordinator.state.topic.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.min.isr=1
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.segment.bytes=67108864
log.retention.check.interval.ms=1000
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=8388608
"""
_JAVA: Final = (
    "java", "-Xms128m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
    "-Dlog4j2.configurationFile=log4j2.yaml",
)  # fmt: skip


class Broker:
    """One broker below a directory. A context manager: it ends with it.

    Attributes:
        bootstrap: its address, once it runs.

    """

    def __init__(self, directory: Path, is_ready: Callable[[str], bool]) -> None:
        """Prepare.

        Args:
            directory: where its data and its log go; made if need be.
            is_ready: tells whether a broker at an address answers.

        """
        self._directory = directory
        self._is_ready = is_ready
        self._process: subprocess.Popen[bytes] | None = None
        self._broker, self._controller = _free_ports()
        self.bootstrap = f"127.0.0.1:{self._broker}"

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it: what it holds is thrown away."""
        self.kill()

    def start(self) -> None:
        """Start it, with the data that it has, and wait until it answers.

        Raises:
            NotCheckedError: there is no Java or no Maven, Maven brings nothing, or the broker does not answer.

        """
        environment = {**os.environ, "CLASSPATH": f"{artifacts()}/*"}
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / "log4j2.yaml").write_text(_LOGGING)
        numbers = {"broker": self._broker, "controller": self._controller, "data": self._directory / "data"}
        (self._directory / "server.properties").write_text(_PROPERTIES.format_map(numbers))
        if not (self._directory / "data" / "meta.properties").exists():
            command = (*_JAVA, "kafka.tools.StorageTool", "format", "--standalone", "--cluster-id", CLUSTER_ID)
            self._run((*command, "-c", "server.properties", "--ignore-formatted"), environment)
        with (self._directory / "broker.out").open("ab") as out:
            self._process = subprocess.Popen(
                (*_JAVA, "kafka.Kafka", "server.properties"),
                cwd=self._directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        deadline = time.monotonic() + _READY_SECONDS
        while not self._is_ready(self.bootstrap):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                message = f"the broker does not answer; see {self._directory / 'broker.out'}"
                raise NotCheckedError(message)
            time.sleep(0.2)

    def _run(self, command: tuple[str, ...], environment: dict[str, str]) -> None:
        done = subprocess.run(command, cwd=self._directory, env=environment, capture_output=True, check=False)
        if done.returncode:
            message = (
                f"{command[len(_JAVA)]} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-500:]}"
            )
            raise NotCheckedError(message)

    @property
    def pid(self) -> int:
        """The number of its process, which runs."""
        assert self._process is not None  # noqa: S101 - whoever asks has started it
        return self._process.pid

    def kill(self) -> None:
        """Kill it at once, as a crash would; `start` goes on with what is on its disk."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def lacks() -> str:
    """Return what a broker needs and this machine lacks, "" if nothing."""
    return next((f"{each} is not installed" for each in ("java", "mvn") if shutil.which(each) is None), "")


def artifacts() -> Path:
    """Return the directory of Kafka's jars, fetched once for all processes of this user.

    Raises:
        NotCheckedError: there is no Java or no Maven, or Maven brings nothing.

    """
    if missing := lacks():
        message = f"{missing}, and a broker of Apache Kafka needs it"
        raise NotCheckedError(message)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tlog" / f"kafka-{VERSION}"
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "lock"):
        if not (cache / "lib" / "complete").exists():
            (cache / "pom.xml").write_text(_POM)
            command = (
                "mvn",
                "-q",
                "-B",
                "dependency:copy-dependencies",
                "-DoutputDirectory=lib",
                "-DincludeScope=runtime",
            )
            try:
                done = subprocess.run(
                    command,
                    cwd=cache,
                    capture_output=True,
                    check=False,
                    timeout=_MAVEN_SECONDS,
                    stdin=subprocess.DEVNULL,
                )
            except subprocess.TimeoutExpired:
                done = None
            if done is None or done.returncode:
                message = "Maven cannot bring Apache Kafka; it needs the network once"
                raise NotCheckedError(message)
            (cache / "lib" / "complete").touch()
    return cache / "lib"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]
