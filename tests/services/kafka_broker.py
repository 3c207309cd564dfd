"""An Apache Kafka broker for tests: KRaft mode, on 127.0.0.1, its data in a directory of its own.

Maven fetches the jars once, into ``~/.cache/hexviz-tests``. By hand: ``python tests/services/kafka_broker.py`` prints
the address and runs until it is interrupted.
"""

import base64
import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

POM = Path(__file__).with_name("kafka-pom.xml")
VERSION = re.search(r"<version>([\d.]+\.\d+)</version>", POM.read_text(encoding="utf-8")).group(1)
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "hexviz-tests"
START_S = 60
DISK_BYTES = 512 << 20
_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
"""Ends the broker with the tests, even where those are killed."""
_JAVA = ["java", "-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]
SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,SASL:SASL_PLAINTEXT",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "auto.create.topics.enable": "false",
    "num.network.threads": "2",
    "num.io.threads": "2",
    "log.segment.bytes": "16777216",
    "log.retention.ms": "3600000",
    "log.retention.bytes": "268435456",
    # A broker that was killed is taken for gone after a second, so that it may register again at once.
    "broker.session.timeout.ms": "1000",
    "broker.heartbeat.interval.ms": "200",
    "sasl.enabled.mechanisms": "PLAIN",
    "listener.name.sasl.plain.sasl.jaas.config": (
        'org.apache.kafka.common.security.plain.PlainLoginModule required user_hexviz="s3cretpw";'
    ),
}


def missing():
    """What is needed and not there, in words; None where all is there."""
    for program, package in (("java", "default-jre-headless"), ("mvn", "maven")):
        if shutil.which(program) is None:
            return f"{program} is not installed: apt-get install {package}"
    return None


def jars():
    """The directory of the broker's jars, fetched where it is not there yet."""
    place = CACHE / f"kafka-{VERSION}"
    if place.is_dir():
        return place
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.is_dir():
            fetched = Path(tempfile.mkdtemp(dir=CACHE))
            command = ["mvn", "-q", "-B", "-f", POM, "dependency:copy-dependencies", f"-DoutputDirectory={fetched}"]
            subprocess.run(command, check=True, timeout=600, capture_output=True, cwd=fetched)
            fetched.rename(place)
    return place


def free_ports(count):
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


class Broker:
    """One broker: started, stopped, killed, halted and started again on the same ports and data.

    Clients that come to ``proxied_port`` are sent to ``proxy_port``, where a test may put a proxy between. With
    ``beside`` it is the second broker of a cluster.
    """

    def __init__(self, *, beside=None, **settings):
        self.home = Path(tempfile.mkdtemp(prefix="hexviz-kafka-"))
        self.data, self.log = self.home / "data", self.home / "log"
        self.process = self.no_disk = None
        self.port, self.sasl_port, self.proxied_port, self.proxy_port, controller = free_ports(5)
        self.jars = jars()
        self.cluster = beside.cluster if beside else base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self.voters = beside.voters if beside else f"1@127.0.0.1:{controller}"
        roles = {"process.roles": "broker", "node.id": "2"} if beside else {}
        host = "://127.0.0.1:"
        both = f"PLAINTEXT{host}{self.port},SASL{host}{self.sasl_port},PROXIED{host}"
        self.settings = SETTINGS | {
            "listeners": f"{both}{self.proxied_port}" + ("" if beside else f",CONTROLLER{host}{controller}"),
            "advertised.listeners": f"{both}{self.proxy_port}",
            "controller.quorum.voters": self.voters,
            "log.dirs": str(self.data),
            "metadata.log.dir": str(self.home / "metadata"),
            **roles,
            **{name.replace("_", "."): str(value) for name, value in settings.items()},
        }
        self.config = self.home / "server.properties"
        self.config.write_text("".join(f"{name}={value}\n" for name, value in self.settings.items()))

    def _command(self, *arguments):
        return [*_JAVA, f"{self.jars}/*", *map(str, arguments)]

    def _tool(self, *arguments):
        subprocess.run(self._command(*arguments), check=True, capture_output=True, timeout=START_S)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def fresh(self, partitions=2, **options):
        """The address of an empty topic."""
        name = f"t-{uuid.uuid4().hex[:12]}"
        self.make_topic(name, partitions, **options)
        return f"kafka://{self.address}/{name}"

    def through_proxy(self, url):
        """The same topic, reached by the proxy."""
        return url.replace(str(self.port), str(self.proxy_port))

    def launch(self):
        """Start it, and do not wait until it answers."""
        if not (self.home / "metadata").exists():
            self._tool("kafka.tools.StorageTool", "format", f"--cluster-id={self.cluster}", "-c", self.config)
        with self.log.open("ab") as log:
            command = [*_WITH_PARENT, *self._command("kafka.Kafka", self.config)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.home, start_new_session=True)
        return self

    @property
    def is_up(self):
        return self.process is not None and self.process.poll() is None

    def start(self):
        """Start it where it is not up, and wait until it answers."""
        if self.is_up:
            return self
        self.launch()
        limit = time.monotonic() + START_S
        admin = self.admin()
        while time.monotonic() < limit:
            with contextlib.suppress(Exception):
                if admin.list_topics(timeout=0.5).brokers:
                    return self
            assert self.process.poll() is None, self.log.read_text()
        raise AssertionError(f"Kafka did not start within {START_S} s: {self.log.read_text()}")

    def admin(self):
        from confluent_kafka.admin import AdminClient

        quick = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200, "log_level": 0}
        return AdminClient({"bootstrap.servers": self.address, **quick})

    def make_topic(self, name, partitions=1, replicas=1, **config):
        from confluent_kafka.admin import NewTopic

        topic = NewTopic(
            name, partitions, replicas, config={key.replace("_", "."): str(v) for key, v in config.items()}
        )
        admin = self.admin()
        admin.create_topics([topic])[name].result(START_S)

    def change_topic(self, url, name, value):
        """Set ``name`` of the configuration of a topic."""
        from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

        entry = ConfigEntry(name, str(value), incremental_operation=AlterConfigOpType.SET)
        topic = ConfigResource("topic", url.rpartition("/")[2], incremental_configs=[entry])
        admin = self.admin()
        admin.incremental_alter_configs([topic])[topic].result(START_S)

    def give_quota(self, client_id, bytes_per_s):
        """Let clients of this name send so much; those who send more are told to wait, and not heard meanwhile."""
        self._tool(
            "kafka.admin.ConfigCommand", "--bootstrap-server", self.address, "--alter", "--entity-type", "clients",
            "--entity-name", client_id, "--add-config", f"producer_byte_rate={bytes_per_s}",
        )  # fmt: skip

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def halt(self):
        """It takes connections and answers nothing."""
        self.signal(signal.SIGSTOP)

    def go_on(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        """kill -9, where it is up."""
        if self.is_up:
            self.signal(signal.SIGKILL)
            self.process.wait(30)

    def stop(self):
        """An orderly end; SIGKILL where that takes longer than half a minute."""
        if not self.is_up:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()

    def mount_disk(self):
        """Put the data on a disk of their own, where that may be done: ``no_disk`` says why not."""
        self.data.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", self.data]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        self.no_disk = done.stderr.strip()

    def fill_disk(self, but=0):
        """Leave no room on the disk but for so many bytes."""
        usage = shutil.disk_usage(self.data)
        self._resize_disk(usage.used + but)

    def empty_disk(self):
        self._resize_disk(DISK_BYTES)

    def _resize_disk(self, size):
        subprocess.run(["mount", "-o", f"remount,size={size}", self.data], check=True)

    def remove(self):
        self.kill()
        if self.no_disk == "":
            subprocess.run(["umount", self.data], check=True)
        shutil.rmtree(self.home, ignore_errors=True)


def main():
    broker = Broker(auto_create_topics_enable="true")
    try:
        print(broker.start().address, flush=True)  # noqa: T201
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    finally:
        broker.remove()


if __name__ == "__main__":
    main()
