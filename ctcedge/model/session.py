"""ONNX Runtime sessions whose execution provider is verified.

The list of available providers only shows what the package was built with: where a library is
missing, a session that was requested on CUDA silently runs on the CPU. A session therefore counts
as running on CUDA only if it reports that after creation and a convolution has run.
"""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ctcedge.errors import ModelError, ProviderError
from ctcedge.model import gpu
from ctcedge.model.folder import OTHER_MODEL, Model
from ctcedge.model.limits import call_limited, check_operators
from ctcedge.model.spec import ACTIVATION_NAME, FEATURES_NAME, INPUT_NAME, OUTPUT_NAME, Variant
from ctcedge.settings import ProviderChoice

RUNTIME_VERSION = str(ort.__version__)
"""Version of ONNX Runtime."""

Provider: TypeAlias = Literal["cpu", "cuda"]

_ORT_NAMES: dict[Provider, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
}
# INT8 convolutions have no CUDA kernels.
_VARIANTS: dict[Provider, tuple[Variant, ...]] = {
    "cpu": ("int8",),
    "cuda": ("fp16", "fp32"),
}
_CPU_BATCH = 32  # fits into the caches of a core
_FATAL = 4  # log severity: fatal errors only
_WARNING = 3
CUDA_HELP = (
    "install the NVIDIA driver, and the CUDA libraries with:"
    " pip install 'onnxruntime-gpu[cuda,cudnn]'"
)


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """Output of the network for a batch of crops.

    Attributes:
        logits: (n,) float32, positive for CTC.
        features: (n, d) float32, spatial average of the network's last feature maps; None where
            the graph has no such output.
    """

    logits: NDArray[np.float32]
    features: NDArray[np.float32] | None

    @classmethod
    def concatenate(cls, first: ModelOutput, second: ModelOutput) -> ModelOutput:
        """Join the outputs of two batches of the same graph."""
        features = None
        if first.features is not None and second.features is not None:
            features = np.concatenate((first.features, second.features))
        return cls(np.concatenate((first.logits, second.logits)), features)


@dataclass(frozen=True, slots=True)
class Engine:
    """An ONNX Runtime session whose provider is verified.

    Attributes:
        provider: execution provider.
        variant: graph of the model.
        reason: how the provider was chosen, one line.
        session: the ONNX Runtime session.
        options: by which its runs can be ended; None for the default.
    """

    provider: Provider
    variant: Variant
    reason: str
    session: ort.InferenceSession
    options: ort.RunOptions | None = None

    @property
    def optimal_batch_size(self) -> int:
        """Batch size at which the provider is fastest."""
        return _CPU_BATCH if self.provider == "cpu" else gpu.MAX_BATCH

    def infer(self, inputs: NDArray[np.uint8]) -> ModelOutput:
        """Run the network; thread-safe. On the CPU, each call uses one thread.

        Args:
            inputs: (n, size, size) uint8, made by `preprocess.network_input`.
        """
        if not self._has_output(FEATURES_NAME):
            return ModelOutput(self._run([OUTPUT_NAME], inputs)[0], None)
        logits, features = self._run([OUTPUT_NAME, FEATURES_NAME], inputs)
        return ModelOutput(logits, features)

    def activation(self, inputs: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """Run the network for its class-activation maps.

        Args:
            inputs: (n, size, size) uint8, made by `preprocess.network_input`.

        Returns:
            (n, h, w) float32, see `ctcedge.model.spec`; None where the graph has no such output.
        """
        if not self._has_output(ACTIVATION_NAME):
            return None
        return self._run([ACTIVATION_NAME], inputs)[0]

    def _has_output(self, output: str) -> bool:
        return any(node.name == output for node in self.session.get_outputs())

    def _run(self, outputs: list[str], inputs: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        crops = len(inputs)
        if self.provider != "cpu":
            inputs = gpu.pad_to_bucket(inputs)
        arrays = self.session.run(outputs, {INPUT_NAME: inputs[:, None]}, self.options)
        if any(array.shape[:1] != (len(inputs),) for array in arrays):
            raise ModelError(
                f"the {self.variant} graph returns {[array.shape for array in arrays]} for"
                f" {len(inputs)} crops; {OTHER_MODEL}"
            )
        return [np.asarray(array[:crops], np.float32) for array in arrays]


def open_engine(
    model: Model, choice: ProviderChoice = "auto", gpu_memory_mb: int | None = None
) -> Engine:
    """Open a session on the chosen provider.

    Args:
        model: the model folder; the graph's hash and its input and output are checked.
        choice: `auto` uses CUDA where a session runs there, else the CPU; any other provider is
            used or an error.
        gpu_memory_mb: GPU memory limit, MiB; None for no limit.

    Raises:
        ProviderError: the requested provider does not run on this machine.
        ModelError: the graph cannot be used.
    """
    if choice != "auto":
        return _open(model, choice, f"--provider {choice}", gpu_memory_mb)
    try:
        return _open(model, "cuda", "CUDA is usable", gpu_memory_mb)
    except ProviderError as error:
        reason = str(error).partition(";")[0]
    return _open(model, "cpu", f"CUDA is not usable: {reason}", None)


def nvidia_driver_problem() -> str | None:
    """Return why the NVIDIA driver cannot be used; None where it can."""
    import ctypes

    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "no NVIDIA driver is installed"
    code = driver.cuInit(0)
    count = ctypes.c_int(0)
    if code == 0:
        code = driver.cuDeviceGetCount(ctypes.byref(count))
    if code != 0:
        return f"the NVIDIA driver reports error {code}"
    return None if count.value else "the NVIDIA driver finds no GPU"


def _open(model: Model, provider: Provider, why: str, gpu_memory_mb: int | None) -> Engine:
    variant = next((v for v in _VARIANTS[provider] if v in model.spec.graphs), None)
    if variant is None:
        wanted = " or ".join(_VARIANTS[provider])
        raise ProviderError(f"model {model.spec.name} has no {wanted} graph for {provider}")
    if provider != "cpu":
        _require_gpu(provider)
    graph = model.read_graph(variant)
    loading, running = ort.SessionOptions(), ort.RunOptions()

    def load_and_try() -> Engine:
        session = _session(graph, loading, provider, gpu_memory_mb)
        _check_shapes(model, session)
        _try(Engine(provider, variant, why, session, running), model.spec.input.size)
        return Engine(provider, variant, why, session)

    def cancel() -> None:
        loading.set_load_cancellation_flag(True)
        running.terminate = True

    try:
        check_operators(graph)
        if provider != "cpu":  # CUDA reserves memory as it likes, and may compile kernels
            return load_and_try()
        return call_limited(load_and_try, cancel, len(graph))
    except ModelError as error:
        reason = str(error)
    except TimeoutError as error:
        reason = f"ONNX Runtime cannot run the graph: {error}"
    path = model.folder / model.spec.graphs[variant].file
    raise ModelError(f"{path}: {reason}; {OTHER_MODEL}")


def _try(engine: Engine, size: int) -> None:
    """Run the network for two crops.

    Raises:
        ModelError: it fails, or returns anything but finite numbers for each.
        ProviderError: it fails on a GPU.
    """
    grey = np.full((2, size, size), 128, np.uint8)
    try:
        output, activation = engine.infer(grey), engine.activation(grey)
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise _failed(engine.provider, error) from None
    for name, dimensions, array in (
        ("number", 1, output.logits),
        ("row of features", 2, output.features),
        ("activation map", 3, activation),
    ):
        if array is not None and not _has_one_for_each(array, dimensions):
            raise ModelError(f"it does not return one finite {name} for each crop")


def _has_one_for_each(array: NDArray[np.float32], dimensions: int) -> bool:
    """Whether an output for two crops holds two finite numbers, rows or maps."""
    return array.ndim == dimensions and len(array) == 2 and bool(np.isfinite(array).all())


def _require_gpu(provider: Provider) -> None:
    if _ORT_NAMES[provider] not in ort.get_available_providers():
        raise ProviderError(
            f"the installed onnxruntime has no {provider} provider;"
            " run: pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
        )
    problem = nvidia_driver_problem()
    if problem:
        raise ProviderError(f"{problem}; {CUDA_HELP}, or use --provider cpu")
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it cannot load
        ort.preload_dlls()


def _session(
    graph: bytes, options: ort.SessionOptions, provider: Provider, gpu_memory_mb: int | None
) -> ort.InferenceSession:
    options.log_severity_level = _FATAL
    # Parallel batches of one thread each keep all cores busy: no thread waits for another.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    providers: list[tuple[str, dict[str, str]]] = []
    if provider != "cpu":
        providers.append((_ORT_NAMES["cuda"], gpu.cuda_options(gpu_memory_mb)))
    providers.append((_ORT_NAMES["cpu"], {}))
    severity = ort.set_default_logger_severity
    severity(_FATAL)
    try:
        # Without fallback, Python's wrapper neither prints nor moves to the CPU by itself.
        session = ort.InferenceSession(graph, options, providers=providers, enable_fallback=0)
    except Exception as error:  # as above
        raise _failed(provider, error) from None
    finally:
        severity(_WARNING)
    if session.get_providers()[0] != _ORT_NAMES[provider]:
        raise ProviderError(f"ONNX Runtime could not load its {provider} libraries; {CUDA_HELP}")
    return session


def _failed(provider: Provider, error: Exception) -> ModelError | ProviderError:
    text = (str(error).strip() or type(error).__name__).splitlines()[0][:300].replace(";", ",")
    if provider == "cpu":
        return ModelError(f"ONNX Runtime cannot run the graph: {text}")
    return ProviderError(f"ONNX Runtime failed on {provider}: {text}; {CUDA_HELP}")


def _check_shapes(model: Model, session: ort.InferenceSession) -> None:
    size = model.spec.input.size

    def described(nodes: list[Any]) -> list[tuple[str, str, list[object]]]:
        return [
            (node.name, node.type, [d if isinstance(d, int) else "n" for d in node.shape])
            for node in nodes
        ]

    optional = (FEATURES_NAME, ACTIVATION_NAME)
    try:
        outputs = [node for node in session.get_outputs() if node.name not in optional]
        actual = described(session.get_inputs()), described(outputs)
    except UnicodeDecodeError:
        raise ModelError("it has names that are not UTF-8") from None
    expected = (
        [(INPUT_NAME, "tensor(uint8)", ["n", 1, size, size])],
        [(OUTPUT_NAME, "tensor(float)", ["n"])],
    )
    if actual != expected:
        raise ModelError(
            f"it takes {actual[0]} and returns {actual[1]}, but {expected[0]} and {expected[1]}"
            " are expected"
        )
