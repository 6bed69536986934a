"""Start the broker as the image apache/kafka does: ``KAFKA_NODE_ID=1`` becomes ``node.id=1``."""

import os
import subprocess
from pathlib import Path

JAVA = ["/opt/java/bin/java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData"]
CLASSES = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", "/opt/kafka/libs/*"]
CONFIG = "/tmp/server.properties"  # noqa: S108 - of a container
CLUSTER_ID = "5L6g3nShT-eMCtK--X86sw"

given = {name.removeprefix("KAFKA_"): value for name, value in os.environ.items() if name.startswith("KAFKA_")}
lines = [f"{name.lower().replace('_', '.')}={value}\n" for name, value in given.items()]
Path(CONFIG).write_text("".join(lines), encoding="utf-8")
storage = ["kafka.tools.StorageTool", "format", "--ignore-formatted", "--cluster-id", CLUSTER_ID, "-c", CONFIG]
subprocess.run([*JAVA, *CLASSES, *storage], check=True)
os.execv(JAVA[0], [*JAVA, *CLASSES, "kafka.Kafka", CONFIG])  # noqa: S606 - no shell is the point
