"""Results of `ctcedge bench` and their JSON form."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import Any

from ctcedge.bench import machine
from ctcedge.bench.sessions import BareSession
from ctcedge.bench.throughput import STAGES, PipelineRun
from ctcedge.classification.analysis import InferenceProvenance
from ctcedge.cpus import cores
from ctcedge.model.folder import Model
from ctcedge.version import __version__

SCHEMA = "ctcedge/bench/1"


@dataclass(frozen=True, slots=True)
class Round:
    """One round: the bare sessions, then the pipeline, then the bare sessions again.

    Attributes:
        session_per_s: images per second of the bare session of the pipeline's graph, before and
            after.
        session_cpu_us: CPU time per image there, us, including spinning.
        fp32_session_per_s: images per second of the FP32 graph; None where the model has none.
        pipeline: timing of the pipeline.
    """

    session_per_s: float
    session_cpu_us: float
    fp32_session_per_s: float | None
    pipeline: PipelineRun

    @property
    def fraction_of_session(self) -> float:
        """The pipeline's speed as a fraction of the bare session's."""
        return self.pipeline.crops_per_s / self.session_per_s

    @property
    def speed_up(self) -> float | None:
        """Speed of the graph relative to FP32; None where the model has no FP32 graph."""
        fp32 = self.fp32_session_per_s
        return None if fp32 is None else self.session_per_s / fp32

    def as_json(self) -> dict[str, Any]:
        """The round's part of the output of `--json`."""
        pipeline, speed_up = self.pipeline, self.speed_up
        return {
            "session_per_s": round(self.session_per_s, 1),
            "pipeline_per_s": round(pipeline.crops_per_s, 1),
            "share": round(self.fraction_of_session, 4),
            "cpu_us_per_crop_outside_session": round(pipeline.cpu_us_outside_session, 1),
            "cpu_us_per_crop": round(pipeline.cpu_us, 1),
            "cpu_us_per_crop_less_bare_session": round(pipeline.cpu_us - self.session_cpu_us, 1),
            "fp32_session_per_s": (
                None if self.fp32_session_per_s is None else round(self.fp32_session_per_s, 1)
            ),
            "times_fp32": None if speed_up is None else round(speed_up, 2),
        }


@dataclass(frozen=True, slots=True)
class Parity:
    """Agreement of a provider with the CPU.

    Attributes:
        crops: number of compared crops.
        same_calls: fraction of crops with the same call.
        flips: fraction of crops that one calls CTC and the other leukocyte.
        largest_difference: largest difference of a probability.
    """

    crops: int
    same_calls: float
    flips: float
    largest_difference: float


@dataclass(frozen=True, slots=True)
class Bench:
    """Results of a benchmark.

    Attributes:
        model: the model.
        provenance: provider and graph of the pipeline.
        provider_reason: why this provider was chosen, one line.
        rounds: results of the rounds, at least one.
        sessions: bare sessions, those of the pipeline's provider first.
        unavailable: reasons why something does not run here, by provider or `provider graph`.
        crops: crops of a round: `count`, `drawn` (synthetic) or not, `unclassified`, mean `bytes`
            and `file_system`.
        sidecars: `file_system` and `folder` of the temporary folder.
        batch: batch size of the pipeline.
        latency_ms: time from file to sidecar of single crops: `median`, `p99` and number of
            `crops`.
        start_s: `open`: model and session; `classify_one`: a whole `ctcedge classify` of one crop.
        peak_memory_mb: peak memory of the pipeline, measured before anything else ran.
        gpu_memory_mb: increase of the GPU's memory in use, MiB; None where it is unknown.
        golden_difference: largest difference of a probability from the model's golden outputs; None
            where the model has none for this graph.
        parity: agreement with the CPU; None where the pipeline ran there.
    """

    model: Model
    provenance: InferenceProvenance
    provider_reason: str
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
        """The round with the median fraction of the session's speed, the lower of two."""
        ranked = sorted(self.rounds, key=lambda result: result.fraction_of_session)
        return ranked[(len(ranked) - 1) // 2]

    @property
    def steady(self) -> bool:
        """Whether start and end of each run could be left out."""
        return all(result.pipeline.steady for result in self.rounds)

    def spread(self) -> dict[str, tuple[float, float]]:
        """Lowest and highest value of the rounds, of each headline figure."""
        rounds = [result.as_json() for result in self.rounds]
        names = ("session_per_s", "pipeline_per_s", "share", "cpu_us_per_crop_outside_session")
        values = {name: [result[name] for result in rounds] for name in names}
        return {name: (min(figures), max(figures)) for name, figures in values.items()}

    def stages_us(self) -> dict[str, float]:
        """CPU time per crop of each stage, us, medians over rounds.

        `other` is the pipeline's CPU time outside the session and the stages: queues, Python.
        """
        stages = {
            name: round(
                1e6 * statistics.median(result.pipeline.stages[name] for result in self.rounds), 1
            )
            for name in STAGES
        }
        outside = statistics.median(
            result.pipeline.cpu_us_outside_session for result in self.rounds
        )
        measured = sum(stages.values()) - stages["infer"]
        return stages | {"other": round(max(0.0, outside - measured), 1)}

    def fraction_of_limit(self) -> float | None:
        """The pipeline's speed on a GPU as a fraction of its limit; None on the CPU.

        The limit is the lower of two speeds: the speed of the bare session, and the speed at which
        all cores could run the stages outside it without waiting.
        """
        if self.provenance.provider == "cpu":
            return None
        stages = self.stages_us()
        outside = sum(stages.values()) - stages["infer"] - stages["other"]
        limit = min(self.typical.session_per_s, cores() * 1e6 / outside)
        return self.typical.pipeline.crops_per_s / limit

    def as_json(self) -> dict[str, Any]:
        """The output of `--json`; its first figures are those of `typical`."""
        spec, stages = self.model.spec, self.stages_us()
        total = sum(stages.values())
        figures, of_limit = self.typical.as_json(), self.fraction_of_limit()
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
            **{name: figures[name] for name in headline},
            "share_of_limit": None if of_limit is None else round(of_limit, 4),
            "spread": {name: list(values) for name, values in self.spread().items()},
            "rounds": [result.as_json() for result in self.rounds],
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
                "share": {name: round(spent / total, 4) for name, spent in stages.items()},
            },
            "sessions": [session.as_json() for session in self.sessions],
            "unavailable": self.unavailable,
            "golden": {
                "largest_difference": self.golden_difference,
                "tolerance": spec.golden.tolerance,
            },
            "parity": self.parity and asdict(self.parity),
            "provider": self.provenance.provider,
            "provider_reason": self.provider_reason,
            "model": {
                "name": spec.name,
                "version": spec.version,
                "sha256": self.model.sha256,
                "variant": self.provenance.variant,
                "input_px": spec.input.size,
            },
            "machine": machine.facts(),
            "software": {"ctcedge": __version__, **machine.versions()},
        }
