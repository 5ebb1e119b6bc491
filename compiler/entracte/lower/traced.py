"""A pipeline traced for Core ML, and the weights that its stages read."""

from entracte.ir import Pipeline
from entracte.lower.backend import CORE_ML
from entracte.store.cache import Cache
from entracte.trace.weights import PipelineWeights
from entracte.trace.wire import OnStage, TracedPipeline, trace_pipeline

__all__ = ["trace_with_weights"]


def trace_with_weights(
    pipeline: Pipeline, cache: Cache, progress: OnStage = lambda *_: None
) -> tuple[TracedPipeline, PipelineWeights]:
    """Trace what is compiled, once the weights' files were looked at; their values are not read.

    Raises `ConfigError` naming the stage.
    """
    weights = PipelineWeights(pipeline, cache)
    return trace_pipeline(pipeline, CORE_ML, progress, cache, weights.look), weights
