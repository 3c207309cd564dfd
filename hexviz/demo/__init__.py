"""The workflow that ``hexviz demo`` and the first notebook run: a real one, scaled down."""

from hexviz.demo.airrflow import (
    AIRRFLOW_FAULTS,
    AIRRFLOW_PATH_S,
    DEFAULT_SPEED,
    MAX_CONCURRENT_NODES,
    Fault,
    InstrumentError,
    airrflow,
    workflow_from_csv,
)
from hexviz.demo.policies import airrflow_policies
from hexviz.demo.table import Task, airrflow_csv, read_tasks

__all__ = [
    "AIRRFLOW_FAULTS",
    "AIRRFLOW_PATH_S",
    "DEFAULT_SPEED",
    "MAX_CONCURRENT_NODES",
    "Fault",
    "InstrumentError",
    "Task",
    "airrflow",
    "airrflow_csv",
    "airrflow_policies",
    "read_tasks",
    "workflow_from_csv",
]
