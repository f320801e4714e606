"""What was measured, and how `--json` tells it."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import Any

from ctcedge.bench import machine
from ctcedge.bench.sessions import BareSession
from ctcedge.bench.throughput import STAGES, Passed
from ctcedge.classification.analysis import InferenceProvenance
from ctcedge.model.folder import Model
from ctcedge.version import __version__

SCHEMA = "ctcedge/bench/1"


@dataclass(frozen=True, slots=True)
class Round:
    """The bare sessions, then the pipeline, then the bare sessions again.

    Attributes:
        session_per_s: images a second of the graph that the pipeline runs, mean of the two.
        session_cpu_us: CPU time of an image there, us, spinning included.
        fp32_session_per_s: the same of the FP32 graph; None where the model has none.
        passed: what the pipeline did.
    """

    session_per_s: float
    session_cpu_us: float
    fp32_session_per_s: float | None
    passed: Passed

    @property
    def share(self) -> float:
        """How much of the bare session's speed the pipeline keeps."""
        return self.passed.crops_per_s / self.session_per_s

    @property
    def speed_up(self) -> float | None:
        """How much faster the graph is than in FP32."""
        fp32 = self.fp32_session_per_s
        return None if fp32 is None else self.session_per_s / fp32

    def as_json(self) -> dict[str, Any]:
        """What `--json` tells of it."""
        passed, speed_up = self.passed, self.speed_up
        return {
            "session_per_s": round(self.session_per_s, 1),
            "pipeline_per_s": round(passed.crops_per_s, 1),
            "share": round(self.share, 4),
            "cpu_us_per_crop_outside_session": round(passed.cpu_us_outside_session, 1),
            "cpu_us_per_crop": round(passed.cpu_us, 1),
            "cpu_us_per_crop_less_bare_session": round(passed.cpu_us - self.session_cpu_us, 1),
            "fp32_session_per_s": (
                None if self.fp32_session_per_s is None else round(self.fp32_session_per_s, 1)
            ),
            "times_fp32": None if speed_up is None else round(speed_up, 2),
        }


@dataclass(frozen=True, slots=True)
class Parity:
    """Whether a provider other than the CPU says what the CPU says.

    Attributes:
        crops: compared.
        same_calls: share of crops that both call the same.
        flips: share that one calls CTC and the other leukocyte.
        largest_difference: of a probability.
    """

    crops: int
    same_calls: float
    flips: float
    largest_difference: float


@dataclass(frozen=True, slots=True)
class Bench:
    """All that was measured.

    Attributes:
        model: that was measured.
        ran: where the pipeline ran, and which graph.
        why: how the provider was chosen, one line.
        rounds: at least one.
        sessions: bare, those of the pipeline's provider first.
        unavailable: by provider or `provider graph`, why it does not run here.
        crops: what went through: `count` a round, `drawn` or given, `unclassified`, mean `bytes`
            and `file_system`.
        sidecars: `file_system` on which they were written, and `folder`.
        batch: crops a call of the network in the pipeline.
        latency_ms: from file to sidecar of one crop alone: `median`, `p99`, and `crops`, on how
            many.
        start_s: `open`: model and session; `classify_one`: a whole `ctcedge classify` of a crop.
        peak_memory_mb: of the pipeline, before anything else was measured.
        gpu_memory_mb: MiB that came to be used while the pipeline ran; None where not known.
        golden_difference: largest of a probability from the model's golden outputs; None where the
            model has none for this graph.
        parity: None where the pipeline ran on the CPU.
    """

    model: Model
    ran: InferenceProvenance
    why: str
    rounds: list[Round]
    sessions: list[BareSession]
    unavailable: dict[str, str]
    crops: dict[str, Any]
    sidecars: dict[str, Any]
    batch: int
    latency_ms: dict[str, float]
    start_s: dict[str, float]
    peak_memory_mb: float
    gpu_memory_mb: int | None
    golden_difference: float | None
    parity: Parity | None

    @property
    def typical(self) -> Round:
        """The round whose share is the median, the lower one of two."""
        ranked = sorted(self.rounds, key=lambda each: each.share)
        return ranked[(len(ranked) - 1) // 2]

    @property
    def steady(self) -> bool:
        """Whether start and end of each run could be left out."""
        return all(each.passed.steady for each in self.rounds)

    def stages_us(self) -> dict[str, float]:
        """CPU time of each stage per crop, us, medians over rounds.

        `rest` is what the pipeline takes outside the session beyond the stages: records, queues,
        Python.
        """
        stages = {
            name: round(
                1e6 * statistics.median(each.passed.stages[name] for each in self.rounds), 1
            )
            for name in STAGES
        }
        outside = statistics.median(each.passed.cpu_us_outside_session for each in self.rounds)
        known = sum(stages.values()) - stages["infer"]
        return stages | {"rest": round(max(0.0, outside - known), 1)}

    def share_of_limit(self) -> float | None:
        """How near the pipeline on a GPU comes to what limits it; None where it is on the CPU.

        The limit is the lower of two speeds: that of the bare session, and that at which all cores
        could do the stages outside it, if nothing kept them waiting.
        """
        if self.ran.provider == "cpu":
            return None
        stages = self.stages_us()
        outside = sum(stages.values()) - stages["infer"] - stages["rest"]
        limit = min(self.typical.session_per_s, machine.cores() * 1e6 / outside)
        return self.typical.passed.crops_per_s / limit

    def as_json(self) -> dict[str, Any]:
        """What `--json` tells; the first figures are those of `typical`."""
        spec, stages = self.model.spec, self.stages_us()
        total = sum(stages.values())
        told, of_limit = self.typical.as_json(), self.share_of_limit()
        headline = (
            "session_per_s",
            "pipeline_per_s",
            "share",
            "cpu_us_per_crop_outside_session",
            "fp32_session_per_s",
            "times_fp32",
        )
        return {
            "schema": SCHEMA,
            **{name: told[name] for name in headline},
            "share_of_limit": None if of_limit is None else round(of_limit, 4),
            "rounds": [each.as_json() for each in self.rounds],
            "steady_state": self.steady,
            "batch": self.batch,
            "crops": self.crops,
            "sidecars": self.sidecars,
            "latency_ms": self.latency_ms,
            "start_s": self.start_s,
            "peak_memory_mb": self.peak_memory_mb,
            "gpu_memory_mb": self.gpu_memory_mb,
            "stages": {
                "cpu_us_per_crop": stages,
                "share": {name: round(each / total, 4) for name, each in stages.items()},
            },
            "sessions": [each.as_json() for each in self.sessions],
            "unavailable": self.unavailable,
            "golden": {
                "largest_difference": self.golden_difference,
                "tolerance": spec.golden.tolerance,
            },
            "parity": self.parity and asdict(self.parity),
            "provider": self.ran.provider,
            "provider_reason": self.why,
            "model": {
                "name": spec.name,
                "version": spec.version,
                "sha256": self.model.sha256,
                "variant": self.ran.variant,
                "input_px": spec.input.size,
            },
            "machine": machine.facts(),
            "software": {"ctcedge": __version__, **machine.versions()},
        }
