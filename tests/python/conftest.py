"""What all questions share: the engine's ports, the contract, and the record of promises."""

import base64
import collections
import importlib
import json
import os
import pathlib
import re
import sys

import grpc
import pytest
from grpc_tools import protoc
import grpc_tools

import clients

_promised = collections.defaultdict(list)


def _contract_root():
    """The folder that the contract's import paths start from."""
    found = list(pathlib.Path(os.environ["RINGTAIL_PROTO"]).rglob("raccoon.proto"))
    assert len(found) == 1, f"one raccoon.proto is the contract, not {found}"
    inside = pathlib.PurePath("raystack/raccoon/v1beta1/raccoon.proto")
    if found[0].parts[-4:] == inside.parts:
        return found[0].parents[3], str(inside)
    return found[0].parent, found[0].name


@pytest.fixture(scope="session")
def generated(tmp_path_factory):
    """The module that protoc made of the contract, by the end of its name."""
    out = tmp_path_factory.mktemp("contract")
    root, name = _contract_root()
    known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    words = ["protoc", f"-I{root}", f"-I{known}", f"--python_out={out}",
             f"--grpc_python_out={out}", name]
    assert protoc.main(words) == 0
    sys.path.insert(0, str(out))
    module = name.removesuffix(".proto").replace("/", ".")
    return lambda end: importlib.import_module(module + end)


@pytest.fixture(scope="session")
def proto(generated):
    """The contract's types, generated from its file by the real protoc."""
    return generated("_pb2")


@pytest.fixture(scope="session")
def channel():
    with grpc.insecure_channel(f"127.0.0.1:{os.environ['RINGTAIL_GRPC']}") as channel:
        yield channel


@pytest.fixture(scope="session")
def events(generated, channel):
    """The generated client of gRPC."""
    return generated("_pb2_grpc").EventServiceStub(channel)


@pytest.fixture(scope="session")
def port():
    return int(os.environ["RINGTAIL_PORT"])


@pytest.fixture(scope="session")
def admin():
    return clients.Admin(int(os.environ["RINGTAIL_ADMIN"]))


@pytest.fixture
def kind(request):
    """An event type of this question alone, so that its topic holds nothing else."""
    return re.sub(r"[^A-Za-z0-9]+", "-", request.node.name).strip("-")[:120]


@pytest.fixture
def topic(kind):
    return f"clickstream-{kind}-log"


@pytest.fixture
def promise():
    """Notes payloads that were acknowledged, in order, for the comparison with the log."""

    def note(kind, *payloads):
        _promised[f"clickstream-{kind}-log"].extend(payloads)

    return note


def pytest_sessionfinish():
    encoded = {
        topic: [base64.b64encode(payload).decode() for payload in payloads]
        for topic, payloads in _promised.items()
    }
    pathlib.Path(os.environ["RINGTAIL_PROMISED"]).write_text(json.dumps(encoded))
