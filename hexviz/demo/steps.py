"""What the nodes of the demo do: small, real work on synthetic reads of DNA, the same for the same seed.

Each step takes the reads that its parents handed on and returns reads, or a report of them (a dict of plain values).
The steps stand for the tools of the workflow that the table was taken from; they are not those tools.
"""

from __future__ import annotations

import hashlib
import random
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

Reads = tuple[str, ...]
Step = Callable[[Reads], Reads | dict[str, Any]]

READS_PER_SAMPLE = 160
"""How many reads a sample starts with."""
MOST_READS = 320
"""How many reads a step looks at where several samples come together."""
_BASES = "ACGT"
_COMPLEMENT = str.maketrans(_BASES, "TGCA")
_UMI = 4


def sequence(sample: str, seed: int) -> Reads:
    """Synthetic reads of one sample: a barcode and one of a few templates, now and then with a base read wrongly."""
    rng = random.Random(f"{seed}:{sample}")
    templates = ["".join(rng.choices(_BASES, k=60)) for _ in range(12)]
    reads = []
    for _ in range(READS_PER_SAMPLE):
        read = list(rng.choice(templates))
        read[rng.randrange(len(read))] = rng.choice("ACGTN")
        reads.append("".join(rng.choices(_BASES, k=_UMI)) + "".join(read))
    return tuple(reads)


def gather(inputs: Mapping[str, Any]) -> Reads:
    """The reads among what the parents handed on, at most ``MOST_READS`` of them, in the order of the parents."""
    found = [value for value in inputs.values() if isinstance(value, tuple)]
    return tuple(chain.from_iterable(reads[: MOST_READS // len(found)] for reads in found))


def keep_certain(reads: Reads) -> Reads:
    """Drop the reads with a base that could not be told."""
    return tuple(read for read in reads if "N" not in read)


def unpack(reads: Reads) -> Reads:
    """Compress and decompress the reads, as a step that moves files does."""
    packed = zlib.compress("\n".join(reads).encode(), level=6)
    return tuple(zlib.decompress(packed).decode().split())


def cluster(reads: Reads) -> Reads:
    """Bring reads with the same barcode together."""
    return tuple(sorted(reads, key=lambda read: (read[:_UMI], read)))


def consensus(reads: Reads) -> Reads:
    """One read per pair of neighbours: where the two differ, the base that is more common in all reads."""
    common = [base for base, _ in Counter("".join(reads)).most_common()]
    pairs = zip(reads[::2], reads[1::2], strict=False)
    return tuple("".join(min(two, key=common.index) for two in zip(*pair, strict=False)) for pair in pairs) or reads


def assemble(reads: Reads) -> Reads:
    """Join each read with its reverse complement, as a pair of reads from both ends of a fragment."""
    return tuple(read + read[::-1].translate(_COMPLEMENT) for read in reads)


def collapse(reads: Reads) -> Reads:
    """Keep one of equal reads, in order."""
    return tuple(dict.fromkeys(reads))


def sign(reads: Reads) -> Reads:
    """Order the reads by their digest: a parse of headers that touches every read."""
    return tuple(sorted(reads, key=lambda read: hashlib.sha256(read.encode()).digest()))


def report(reads: Reads) -> dict[str, Any]:
    """Count the reads: how many, how many different ones, their mean length and their share of G and C."""
    bases = Counter(chain.from_iterable(reads))
    total = bases.total()
    return {
        "reads": len(reads),
        "different": len(set(reads)),
        "mean_length": round(total / len(reads), 1) if reads else 0.0,
        "gc_share": round((bases["G"] + bases["C"]) / total, 4) if total else 0.0,
    }


def merge(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One report of several: how many there are, and the reads that they counted."""
    return {"reports": len(reports), "reads": sum(report.get("reads", 0) for report in reports)}


STEPS: dict[str, Step] = {
    "REPORT": report,
    "QC": report,
    "CHECK": report,
    "VERSIONS": report,
    "THRESHOLD": report,
    "LINEAGES": report,
    "LOGS": report,
    "FILTER": keep_certain,
    "UNZIP": unpack,
    "MERGE": unpack,
    "ASSEMBLE": assemble,
    "CONSENSUS": consensus,
    "CLUSTER": cluster,
    "CLONES": cluster,
    "PAIR": cluster,
    "COLLAPSE": collapse,
    "PARSE": sign,
    "GENES": sign,
}
"""The step by a word in the name of the process; the first that fits is taken."""


def step_for(process: str) -> Step:
    """The step that stands for ``process``: by a word in its name, else the one that drops uncertain reads."""
    return next((step for word, step in STEPS.items() if word in process), keep_certain)
