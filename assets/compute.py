"""Where steps run: on a GPU or not, as processes or pods."""

from collections.abc import Iterable
from typing import Any

import dagster as dg

from assets.processes import owning
from sessrec_pipeline.settings import ComputeSettings, SettingsError

GPU_POOL = "gpu"
K8S_TAG = "dagster-k8s/config"


def gpu(count: int = 1) -> dict[str, Any]:
    """Keyword arguments of ``@dg.asset`` for a step that wants ``count`` GPUs where there are any.

    The pool lets one such step run at a time on one box (``dagster.yaml`` limits it); the op tags ask Kubernetes for
    a GPU where steps are pods. On a laptop both cost nothing.
    """
    return {
        "pool": GPU_POOL,
        "op_tags": {K8S_TAG: {"container_config": {"resources": {"limits": {"nvidia.com/gpu": str(count)}}}}},
    }


def executor(settings: ComputeSettings, gpu_steps: Iterable[str]) -> dg.ExecutorDefinition:
    """What runs the steps of a run: a process for each, as is Dagster's own choice, or a pod.

    ``gpu_steps`` are the steps whose pods get ``[compute] gpu_pod``. SettingsError where that is no part of a pod's
    spec, or the extra is missing.
    """
    if settings.steps == "processes":
        return owning(dg.multi_or_in_process_executor)
    try:
        from dagster_k8s import k8s_job_executor  # noqa: PLC0415 - an extra
        from dagster_k8s.job import UserDefinedDagsterK8sConfig  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError(
            f'[compute] steps = "pods" needs the extra k8s ({error}): '
            "pip install 'sessrec_pipeline[k8s]' with the constraints of the project"
        ) from error
    gpu_pod = {"pod_spec_config": settings.gpu_pod}
    try:
        UserDefinedDagsterK8sConfig.from_dict(gpu_pod)
    except Exception as error:
        raise SettingsError(f"[compute] gpu_pod is no part of a pod's spec: {error}") from error
    made: dg.ExecutorDefinition = k8s_job_executor.configured(
        {"per_step_k8s_config": dict.fromkeys(gpu_steps, gpu_pod) if settings.gpu_pod else {}}, name="pods"
    )
    return made
