"""What several test folders share: a real S3 server on this machine, and Hugging Face kept off the network."""

import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

BUCKET = "viewmill-tests"


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in a hook of the same name
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests in one process, which makes its data once, and all of Ray's on one cluster."""
    for item in items:
        group = "ray" if item.get_closest_marker("ray") else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start moto's S3 server and point the environment at it; yields its endpoint."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_CONFIG_FILE", str(tmp_path_factory.mktemp("aws") / "none"))
        fsspec.filesystem("s3", skip_instance_cache=True).mkdir(BUCKET)
        yield endpoint
    server.stop()


@pytest.fixture
def s3_url(s3: str, tmp_path: Path) -> str:
    """Return the URL of an empty folder in a bucket."""
    return f"s3://{BUCKET}/{tmp_path.parent.name}/{tmp_path.name}"


@pytest.fixture(scope="session")
def hf_offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep Hugging Face's libraries off the network and out of the home folder; before they are imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_DATASETS_OFFLINE", "1")
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("huggingface")))
        yield


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Start Ray with two CPUs on this machine; jobs in this process use it and leave it running."""
    from factory.cluster import start_ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")  # Ray would let its workers starve beside whatever else runs here
        stop = start_ray(None, cpus=2)
        yield
        stop()


@pytest.fixture(autouse=True)
def accelerate_begins_anew() -> Iterator[None]:
    """Let each test choose its precision: Accelerate keeps the first one that a process asks for."""
    yield
    if (state := sys.modules.get("accelerate.state")) is not None:
        state.AcceleratorState._reset_state()
