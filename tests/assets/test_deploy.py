"""The deployment's files fit each other, the settings, Dagster's schemas, and the pods that it would make of them."""

import json
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import Definitions, ExecutorDefinition
from dagster._config import process_config
from dagster._core.instance.config import dagster_instance_config_schema
from pydantic import ValidationError

pytest.importorskip("dagster_k8s", reason="not installed: dagster-k8s; it comes with the extra dev")
from dagster_k8s import DagsterK8sJobConfig, construct_dagster_k8s_job
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import UserDefinedDagsterK8sConfig

from assets.compute import GPU_POOL, K8S_TAG
from assets.graph import build
from sessrec_pipeline.feed import FeedSettings, load_settings
from sessrec_pipeline.settings import SettingsError

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
EVERY_GPU_ASSET: dict[str, Any] = {"training": {"validate_epochs": True, "tuning_trials": 1}}
GPU_ASSETS = {
    "gru4rec_checkpoint", "gru4rec_rankings", "gru4rec_tuning", "gru4rec_validation", "study_sampled_negatives"
}  # fmt: skip
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCATION = PROJECT["tool"]["dg"]["project"]["code_location_target_module"]


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


@pytest.fixture(scope="module")
def values() -> Any:
    return read("values.yaml")


@pytest.fixture(scope="module")
def deployment(values: Any) -> Any:
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    return deployment


@pytest.fixture
def deployed(deployment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeedSettings:
    """The settings that a pod of the code location has."""
    for name, value in {**deployment["env"], "SESSREC_HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    for section, fields in EVERY_GPU_ASSET.items():
        for field, value in fields.items():
            monkeypatch.setenv(f"SESSREC_{section}__{field}".upper(), json.dumps(value))
    return load_settings()


# GPU assets


def steps(definitions: Definitions) -> dict[str, Any]:
    """The op of each asset."""
    return {n.key.to_user_string(): n.assets_def.op for n in definitions.resolve_asset_graph().asset_nodes}


def tag(op: Any) -> dict[str, Any]:
    return json.loads(op.tags[K8S_TAG]) if K8S_TAG in op.tags else {}  # type: ignore[no-any-return]


def test_gpu_assets_and_only_those_ask_for_a_gpu(feed: Callable[..., FeedSettings]) -> None:
    ops = steps(build(feed(**EVERY_GPU_ASSET)))
    assert {name for name, op in ops.items() if op.pool == GPU_POOL} == GPU_ASSETS
    assert {name for name, op in ops.items() if "nvidia.com/gpu" in str(tag(op))} == GPU_ASSETS
    for op in ops.values():
        UserDefinedDagsterK8sConfig.from_dict(tag(op))


def pod_of(step: str, definitions: Definitions, values: Any, deployment: Any) -> dict[str, Any]:
    """Spec of the pod that the executor makes for a step: launcher, code location, op tags, executor, in this order."""
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    everywhere = {re.sub("[A-Z]", lambda m: f"_{m[0].lower()}", key): value for key, value in launcher.items()}
    location = {
        "volumes": deployment["volumes"],
        "volume_mounts": deployment["volumeMounts"],
        "resources": deployment["resources"],
        "security_context": deployment["securityContext"],
        "env_vars": [f"{name}={value}" for name, value in deployment["env"].items()],
    }
    op, executor = steps(definitions)[step], definitions.executor
    assert isinstance(executor, ExecutorDefinition)
    site = executor.apply_config_mapping({"config": {}}).value["config"]["per_step_k8s_config"].get(op.name, {})
    context = K8sContainerContext()
    for part in ({"run_k8s_config": everywhere}, location, {"run_k8s_config": tag(op)}, {"run_k8s_config": site}):
        context = context.merge(K8sContainerContext.create_from_config({"k8s": part}))
    job = construct_dagster_k8s_job(
        DagsterK8sJobConfig(job_image="sessrec", dagster_home="/opt", instance_config_map="instance"),
        ["dagster"],
        "step",
        context.run_k8s_config,
    )
    return job.to_dict()["spec"]["template"]["spec"]  # type: ignore[no-any-return]


def test_a_gpu_step_becomes_a_pod_on_a_gpu_node_with_the_feed(
    deployed: FeedSettings, values: Any, deployment: Any
) -> None:
    definitions = build(deployed)
    assert set(steps(definitions)) >= GPU_ASSETS
    for step in steps(definitions):
        pod = pod_of(step, definitions, values, deployment)
        (container,) = pod["containers"]
        limits = container["resources"]["limits"]
        assert limits.get("nvidia.com/gpu") == ("1" if step in GPU_ASSETS else None), step
        assert limits["memory"] == deployment["resources"]["limits"]["memory"], step
        assert (pod["node_selector"] or {}) == (deployed.compute.gpu_pod["nodeSelector"] if step in GPU_ASSETS else {})
        assert len(pod["tolerations"] or []) == (step in GPU_ASSETS), step
        assert "/feed" in {mount["mount_path"] for mount in container["volume_mounts"]}
        assert "sessrec-feed" in str(pod["volumes"])
        assert {variable["name"]: variable["value"] for variable in container["env"]}["SESSREC_HOME"] == "/feed"
        assert pod["security_context"]["run_as_non_root"]
        assert container["security_context"]["allow_privilege_escalation"] is False


def test_every_step_after_ingestion_is_a_pod_of_its_own(deployed: FeedSettings) -> None:
    definitions = build(deployed)
    executors = {name: definitions.resolve_job_def(name).executor_def.name for name in ("rebuild", "studies", "ingest")}
    assert executors == {"rebuild": "pods", "studies": "pods", "ingest": "in_process"}


def test_settings_of_pods_that_cannot_be_used_are_told(
    feed: Callable[..., FeedSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValidationError, match='gpu_pod is for steps = "pods"'):
        feed(compute={"gpu_pod": {"nodeSelector": {}}})
    with pytest.raises(SettingsError, match=r"gpu_pod is no part of a pod's spec: .*nodeSelektor"):
        build(feed(compute={"steps": "pods", "gpu_pod": {"nodeSelektor": {}}}))
    monkeypatch.setitem(sys.modules, "dagster_k8s", None)
    with pytest.raises(SettingsError, match=re.escape("pip install 'sessrec_pipeline[k8s]'")):
        build(feed(compute={"steps": "pods"}))


# The chart's values


def test_the_instance_limits_gpu_steps_and_retries_dead_runs(values: Any) -> None:
    """What the chart writes to dagster.yaml from these values, as far as it differs from its defaults."""
    daemon, retention = values["dagsterDaemon"], values["retention"]
    coordinator = daemon["runCoordinator"]["config"]["queuedRunCoordinator"]
    instance = {
        **values["additionalInstanceConfig"],
        "telemetry": values["telemetry"],
        "run_coordinator": {
            "module": "dagster._core.run_coordinator",
            "class": daemon["runCoordinator"]["type"],
            "config": {"max_concurrent_runs": coordinator["maxConcurrentRuns"]},
        },
        "run_retries": {"enabled": True, "max_retries": daemon["runRetries"]["maxRetries"]},
        "retention": {kind: {"purge_after_days": retention[kind]["purgeAfterDays"]} for kind in ("sensor", "schedule")},
    }
    found = process_config(dagster_instance_config_schema(), instance)
    assert found.success, found.errors
    here = yaml.safe_load((ROOT / "sessrec_pipeline" / "dagster.yaml").read_text())
    for section in ("telemetry", "nux", "retention"):
        assert instance[section] == here[section], section
    assert instance["concurrency"]["pools"] == here["concurrency"]["pools"]
    assert coordinator["maxConcurrentRuns"] == here["concurrency"]["runs"]["max_concurrent_runs"]
    assert instance["run_retries"].items() <= here["run_retries"].items()


def test_the_webserver_is_reached_through_a_login_alone(values: Any) -> None:
    assert values["dagsterWebserver"]["service"]["type"] == "ClusterIP"
    assert values["ingress"]["dagsterWebserver"]["tls"]["enabled"]
    assert "nginx.ingress.kubernetes.io/auth-url" in values["ingress"]["annotations"]
    policies = [part for part in manifests() if part["kind"] == "NetworkPolicy"]
    assert policies[0]["spec"]["podSelector"] == {} and "Ingress" in policies[0]["spec"]["policyTypes"]


def manifests() -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / "cluster.yaml").read_text()))


def test_the_feeds_volume_is_claimed_and_shared(deployment: Any) -> None:
    (claim,) = (part for part in manifests() if part["kind"] == "PersistentVolumeClaim")
    (volume,) = deployment["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


@pytest.mark.parametrize("name", ["cluster.yaml", "compose.yaml", "compose.gpu.yaml", "values.yaml", "Dockerfile"])
def test_nothing_secret_stands_in_the_files(name: str) -> None:
    lines = [line.partition("#")[0] for line in (DEPLOY / name).read_text().splitlines()]
    assert not [line for line in lines if re.search(r"(password|token|secret_?key)\W*[:=]\s*\S", line, re.I)]


# The image


def instructions() -> list[tuple[str, str]]:
    """Instruction and arguments of each line of the Dockerfile, continued lines put together."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.M).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]  # type: ignore[misc]


def test_the_image_is_pinned_and_runs_as_nobody_special(values: Any, deployment: Any) -> None:
    lines = instructions()
    (python,) = (value for word, value in lines if word == "ARG" and value.startswith("PYTHON="))
    assert re.fullmatch(r"PYTHON=3\.\d+\.\d+-slim-\w+", python)
    stages = [value.split()[0] for word, value in lines if word == "FROM"]
    assert stages == ["python:${PYTHON}"] * 2
    assert "latest" not in (DEPLOY / "Dockerfile").read_text() and "ADD" not in dict(lines)
    users = [value for word, value in lines[[w for w, _ in lines].index("FROM", 2) :] if word == "USER"]
    user = deployment["podSecurityContext"]
    assert users == [f"{user['runAsUser']}:{user['runAsGroup']}"]
    assert values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]["podSpecConfig"]["securityContext"] == user
    for command in (value for word, value in lines if word == "RUN" and "pip install" in value):
        assert "--no-cache-dir" in command
        assert "--require-hashes" in command or "--no-deps --no-build-isolation" in command


def test_what_the_image_copies_is_there_and_let_through() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for word, value in instructions():
        if word == "COPY" and not value.startswith("--from"):
            for source in shlex.split(value)[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in ignored, source
    assert "*" in ignored


def test_the_image_has_the_extras_that_its_uses_need() -> None:
    (install,) = (v for w, v in instructions() if w == "RUN" and ".[" in v)
    extras = re.findall(r"\.\[([\w,]+)\]", install)[0].split(",")
    assert set(extras) <= set(PROJECT["project"]["optional-dependencies"])
    needed = [PROJECT["project"]["dependencies"], *(PROJECT["project"]["optional-dependencies"][e] for e in extras)]
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "requirements" / "run.txt").read_text().splitlines()}
    assert {re.split(r"[><=]", name)[0].strip().lower() for names in needed for name in names} <= pinned


# One code location everywhere


def test_all_ways_load_the_same_code_location(deployment: Any) -> None:
    services = read("compose.yaml")["services"]
    commands = [deployment["dagsterApiGrpcArgs"], *(service["command"] for service in services.values())]
    assert [command[command.index("--module-name") + 1] for command in commands] == [LOCATION] * 3
    for service in services.values():
        assert shutil.which(service["command"][0], path=str(Path(sys.executable).parent)), service["command"][0]
        assert service["environment"]["SESSREC_HOME"] == deployment["env"]["SESSREC_HOME"] == "/feed"
    assert [port for s in services.values() for port in s.get("ports", [])] == ["127.0.0.1:3000:3000"]
    assert set(read("compose.gpu.yaml")["services"]) == {"daemon"}
